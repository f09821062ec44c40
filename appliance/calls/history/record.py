"""The call record: what is kept of a call after it has ended. Pure; `summary` makes it from the story, the store keeps it.

One record per thread, written whatever way the call ended, also after a restart of the process in mid-call. Times are unix
seconds; a leg's figures are what the media core counted from this side (received: from that telephone, sent: to it).
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from appliance.calls.history.causes import Cause
from appliance.words import Said

Outcome = Literal["answered", "busy", "no answer", "cancelled", "refused", "failed"]
Side = Literal["caller", "callee", "system"]
Fate = Literal["answered", "missed", "answered elsewhere", "busy", "refused", "cancelled", "failed"]
"""What became of ringing a phone or a person. Missed: it rang and nobody took it; cancelled: the caller hung up before it rang."""
PartKind = Literal["calling", "ringing", "talking", "holding", "on hold", "alone"]
"""Holding: this phone has put the other one on hold; alone: connected, and hears no other phone."""


UNSAID = Said("stored.unreadable")  # a record that waits in a slot of a version that said it otherwise


class LegRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One telephone's side. There is one for each phone that was rung."""

    side: Side
    number: str
    name: str = ""
    address: str = ""  # host:port of signalling
    transport: str = ""
    signalling_secure: bool = False
    media_secure: bool = False  # SRTP was agreed on at the end; what was encrypted in fact is counted
    not_encrypted: str = ""  # why it is not, a key of the catalogue; "" when it is or when no sound was agreed on
    codec: str = ""
    user_agent: str = ""
    status: int = 0  # the phone's final answer to our INVITE, 0: none
    packets_received: int = 0
    packets_sent: int = 0
    secured_received: int = 0  # packets of them that were SRTP
    secured_sent: int = 0
    lost: int = 0
    jitter_ms: float = 0.0
    dropped_source: int = 0
    dropped_auth: int = 0
    burst_lost: int = 0  # of the lost ones: in bursts (RFC 3611)
    burst_longest: int = 0  # packets from the first to the last of the longest burst
    poor_seconds: float = 0.0  # of the call, judged in intervals of 10 s
    worst_lost: float = 0.0  # 0..1, in the worst interval
    worst_jitter_ms: float = 0.0
    far_lost: int = 0  # of what was sent, as the phone's RTCP says; likewise jitter and round trip
    far_jitter_ms: float = 0.0
    round_trip_ms: float = 0.0
    receives: bool = True  # audio from this phone was to be expected at the end (not on hold)
    who: int = 0  # its number in the thread, from 1; 0: a record of before there were stories
    fate: Fate | Literal[""] = ""  # of a phone that was rung
    began: float = 0.0
    ended: float = 0.0


class PersonRecord(msgspec.Struct, frozen=True):
    """Somebody whom the call was to reach, whatever number of phones that is."""

    number: str
    name: str
    fate: Fate


class Part(msgspec.Struct, frozen=True):
    """How long a leg was in one state; those of a leg add up to all its time."""

    who: int
    kind: PartKind
    seconds: float


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    started: float
    answered: float | None
    ended: float
    caller_number: str
    caller_name: str
    dialled: str
    callee_number: str = ""
    callee_name: str = ""
    outcome: Outcome
    cause: int
    hung_up_by: str  # a Side, or who ended it from the admin page, in words
    legs: tuple[LegRecord, ...] = ()
    people: tuple[PersonRecord, ...] = ()
    parts: tuple[Part, ...] = ()
    said: Said = UNSAID  # how it went
    selftest: bool = False
    service: str = ""  # that was called; callee_name is its title in English then

    @property
    def seconds(self) -> float:
        """Talking time."""
        return max(0.0, self.ended - self.answered) if self.answered is not None else 0.0


_OUTCOMES: dict[Cause, Outcome] = {
    Cause.BUSY: "busy",
    Cause.NO_ANSWER: "no answer",
    Cause.NO_RESPONSE: "no answer",
    Cause.REJECTED: "refused",
    Cause.NOT_AUTHORISED: "refused",
}


def is_somebody(hung_up_by: str) -> bool:
    """Whether it is a person on the admin page: neither of the telephones nor the system."""
    return hung_up_by not in get_args(Side)


def outcome_of(cause: Cause, hung_up_by: str, *, answered: bool) -> Outcome:
    if answered:
        return "answered"
    if (hung_up_by == "caller" or is_somebody(hung_up_by)) and cause == Cause.NORMAL:
        return "cancelled"
    return _OUTCOMES.get(cause, "failed")
