"""What every call needs and nobody owns alone: the ways to the wire, to the media, to the clock and to the journal.

`finished` and `news` go up: `controller` takes the records of ended calls from the one, the control socket what has changed
from the other. Both are bounded by the number of calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

import media_core
from appliance import cti
from appliance.callcontrol.api import Tone
from appliance.callcontrol.faults import Faults
from appliance.callcontrol.journal import Journal
from appliance.callcontrol.registrar import Binding, Registrar
from appliance.calls.history.record import CallRecord
from appliance.sip.stack import Stack
from appliance.transport import Transport
from appliance.words import Said, english, printable

if TYPE_CHECKING:
    from appliance.callcontrol.call import Call
    from appliance.callcontrol.leg import PhoneLeg

log = logging.getLogger(__name__)

T = TypeVar("T")


class Media(Protocol):
    """What of `media_core.MediaEngine` a call needs."""

    def owns(self, port: int) -> bool: ...
    def open(self, beside: int | None = None) -> media_core.Leg: ...
    def describe(self, leg: int, remote: media_core.Remote) -> None: ...
    def connect(self, a: int, b: int, a_to_b: Mapping[int, int] = ..., b_to_a: Mapping[int, int] = ...) -> None: ...
    def disconnect(self, leg: int) -> None: ...
    def play(self, leg: int, tones: Sequence[Tone], payload_type: int) -> None: ...
    def send_digits(self, leg: int, digits: str) -> None: ...
    def stats(self, leg: int) -> media_core.LegStats: ...
    def close(self, leg: int) -> media_core.LegStats: ...
    def legs(self) -> list[int]: ...
    def counters(self) -> dict[str, int]: ...


@dataclass(slots=True)
class Exchange:
    transport: Transport
    media: Media
    journal: Journal
    registrar: Registrar
    host: str  # address phones are told, in SDP and From
    unix: Callable[[], float]  # wall clock, for records only
    tokens: Callable[[], str]
    secrets: Callable[[int], bytes]  # SDES keys
    sessions: dict[str, tuple[Call, PhoneLeg]] = field(default_factory=dict)  # who gets the events of a session
    calls: dict[str, Call] = field(default_factory=dict)  # call id -> call, until it has ended
    finished: deque[tuple[int | None, CallRecord]] = field(default_factory=deque)  # journal slot, record
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # something waits to be written to disk
    news: asyncio.Queue[cti.Message] = field(default_factory=asyncio.Queue)
    faults: Faults = field(default_factory=Faults)

    def fault(self, error: BaseException, what: Said) -> None:
        """A bug of ours, caught where it could cost no more than `what` says."""
        log.error("%s", english().say(what, escape=printable), exc_info=error)
        self.faults.add(what, self.unix())

    def sip(self, command: Callable[[Stack, float], T]) -> T:
        return self.transport.run(command)

    def enter(self, call: Call, leg: PhoneLeg) -> None:
        """The leg has a session."""
        self.sessions[leg.session] = (call, leg)
        self.transport.occupy(leg.flow.id, leg.session)

    def leave(self, leg: PhoneLeg) -> None:
        """Its session is over, or is the call's no longer."""
        self.sessions.pop(leg.session, None)
        self.transport.vacate(leg.session)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def flow_of(self, binding: Binding) -> media_core.FlowInfo | None:
        """The flow to a phone; a UDP address is dialled again when its flow is gone. None when it cannot be reached."""
        if not binding.away and (info := self.transport.flow(binding.flow)) is not None:
            return info
        if binding.transport != "UDP":
            return None
        try:
            info = self.transport.dial_udp(binding.host, binding.port)
        except media_core.OutOfService:
            return None
        self.registrar.reattach(binding, info.id)
        return info
