"""What a story amounts to: the call record, the live view, the counters. Pure.

A story is read fact by fact; between two facts every leg that is there is in one state, so the parts of a leg add up to all its time.
A clock that is set back takes no time away: such facts count as of the moment of those before. Facts of a leg that is not known (left out of
the middle), of a kind that is not known (of a newer version) or without a value say nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import msgspec

import media_core
from appliance import cti
from appliance.calls.history.causes import Cause, cause_of
from appliance.calls.history.diagnosis import diagnose
from appliance.calls.history.facts import Fact, Kind
from appliance.calls.history.quality import Quality
from appliance.calls.history.record import UNSAID, CallRecord, Fate, LegRecord, Part, PartKind, PersonRecord, outcome_of
from appliance.calls.history.story import Story
from appliance.words import Said, english

_FATES: tuple[Fate, ...] = ("answered", "refused", "answered elsewhere", "missed", "busy", "cancelled", "failed")
_GROUPS: tuple[
    dict[str, Any], ...
] = (  # of Kind.COUNTED: the fields of LegRecord in their order, and what is said where one is missing
    {"packets_received": 0, "secured_received": 0, "lost": 0, "jitter_ms": 0.0},
    {"dropped_source": 0, "dropped_auth": 0},
    {"burst_lost": 0, "burst_longest": 0},
    {"packets_sent": 0, "secured_sent": 0},
    {"far_lost": 0, "far_jitter_ms": 0.0, "round_trip_ms": 0.0},
    {"poor_seconds": 0.0, "worst_lost": 0.0, "worst_jitter_ms": 0.0},
    {"receives": False},
)


@dataclass(slots=True)
class _Leg:
    who: int
    side: str
    number: str
    name: str
    began: int  # milliseconds, as all times here
    address: str = ""
    transport: str = ""
    signalling_secure: bool = False
    user_agent: str = ""
    codec: str = ""
    media_secure: bool = False
    not_encrypted: str = ""
    rang: bool = False
    answered: int | None = None
    status: int = 0
    elsewhere: bool = False
    held_by_them: bool = False
    held_by_us: bool = False
    bridged: bool = False
    other: int = 0
    ended: int | None = None
    parts: dict[PartKind, int] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Read:
    """A story as it stands after its last fact."""

    left_out: int
    count: int = 0  # facts that have been read

    began: int = 0
    now: int = 0
    begun: bool = False
    dialled: str = ""
    selftest: bool = False
    service: str = ""
    told: str = ""  # its title, in a story of before titles were sentences
    wanted: list[tuple[str, str]] = field(default_factory=list)
    legs: dict[int, _Leg] = field(default_factory=dict)
    over: tuple[Cause, str] | None = None

    @property
    def caller(self) -> _Leg | None:
        return next((leg for leg in self.legs.values() if leg.side == "caller"), None)

    @property
    def callees(self) -> list[_Leg]:
        return [leg for leg in self.legs.values() if leg.side != "caller"]

    @property
    def answered(self) -> int | None:
        """When the caller was; of a call that nobody made, when the first phone was."""
        legs = [self.caller] if self.caller is not None else self.legs.values()
        return min((leg.answered for leg in legs if leg is not None and leg.answered is not None), default=None)

    @property
    def title(self) -> str:
        """Of the service, as a text to be searched and for who has nothing else; sentences say it in the reader's language."""
        title = Said(f"{self.service}.title")
        return self.told or (english().say(title) if english().has(title.key) else self.service)

    @property
    def callee(self) -> tuple[str, str, str]:
        """Number and name of who has answered first; of a call nobody answered, of whom it was to reach first. Of a service its name, too."""
        answered = [leg for leg in self.callees if leg.answered is not None]
        if self.answered is not None and answered:
            first = min(answered, key=lambda leg: leg.answered or 0)
            return first.number, first.name, ""
        if self.wanted:
            return *self.wanted[0], ""
        if self.service:
            return self.dialled, self.title, self.service if not self.told and self.title != self.service else ""
        return next(((leg.number, leg.name, "") for leg in self.callees), (self.dialled, "", ""))

    def state(self, leg: _Leg) -> PartKind:
        if leg.answered is None:
            return "calling" if leg.side == "caller" else "ringing"
        if not leg.bridged:
            return "alone"
        if leg.held_by_them:
            return "holding"
        other = self.legs.get(leg.other)
        return "on hold" if leg.held_by_us or (other is not None and other.held_by_them) else "talking"


def _read(story: Story) -> _Read:
    """Goes on where the last reading stopped; once more from the beginning when facts have been left out since."""
    memo = story.memo
    read = memo if isinstance(memo, _Read) and memo.left_out == story.left_out else _Read(left_out=story.left_out)
    for fact in story.since(read.count):
        at = round(fact.time * 1000)
        if not read.begun:
            read.begun, read.began, read.now = True, at, at
        if (passed := at - read.now) > 0:
            read.now = at
            for leg in read.legs.values():
                if leg.ended is None:
                    kind = read.state(leg)
                    leg.parts[kind] = leg.parts.get(kind, 0) + passed
        if fact.who == 0:
            _of_call(read, fact)
        elif fact.kind == Kind.LEG and fact.who not in read.legs:
            read.legs[fact.who] = _Leg(fact.who, fact.get(0, ""), fact.get(1, ""), fact.get(2, ""), read.now)
        elif (known := read.legs.get(fact.who)) is not None:
            _of_leg(known, fact, read.now)
    read.count, story.memo = len(story.facts), read
    return read


def _of_call(read: _Read, fact: Fact) -> None:
    match fact.kind:
        case Kind.BEGAN if not read.dialled:
            read.dialled, read.selftest = fact.get(0, ""), fact.get(2, False)
        case Kind.SERVICE:
            read.service, read.told = fact.get(0, ""), fact.get(1, "")
        case Kind.WANTED:
            read.wanted.append((fact.get(0, ""), fact.get(1, "")))
        case Kind.OVER:
            read.over = _cause(fact.get(0, 0)), fact.get(1, "system")


def _of_leg(leg: _Leg, fact: Fact, now: int) -> None:
    match fact.kind:
        case Kind.FLOW:
            leg.address, leg.transport, leg.signalling_secure = fact.get(0, ""), fact.get(1, ""), fact.get(2, False)
        case Kind.AGENT:
            leg.user_agent = fact.get(0, "")
        case Kind.RANG:
            leg.rang = True
        case Kind.ANSWERED if leg.answered is None:
            leg.answered, leg.status = now, 0
        case Kind.REFUSED:
            leg.status = fact.get(0, 0)
        case Kind.ELSEWHERE:
            leg.elsewhere = True
        case Kind.HELD | Kind.RESUMED:
            held = fact.kind == Kind.HELD
            if fact.get(0, "them") == "us":
                leg.held_by_us = held
            else:
                leg.held_by_them = held
        case Kind.MEDIA:
            leg.codec, leg.media_secure, leg.not_encrypted = fact.get(0, ""), fact.get(1, False), fact.get(2, "")
        case Kind.BRIDGED:
            leg.bridged, leg.other = True, fact.get(0, 0)
        case Kind.ALONE:
            leg.bridged, leg.other = False, 0
        case Kind.POOR:
            _figures(leg, _GROUPS[5], fact, 0)
        case Kind.COUNTED if 0 <= (group := fact.get(0, -1)) < len(_GROUPS):
            _figures(leg, _GROUPS[group], fact, 1)
        case Kind.ENDED if leg.ended is None:
            leg.ended = now


def _figures(leg: _Leg, group: Mapping[str, Any], fact: Fact, first: int) -> None:
    for place, (name, missing) in enumerate(group.items(), first):
        leg.figures[name] = fact.get(place, missing)


def _cause(number: int) -> Cause:
    try:
        return Cause(number)
    except ValueError:
        return Cause.NORMAL_UNSPECIFIED


# ---- the call record
def record(story: Story) -> CallRecord:
    """Of a call that is over; where nothing says so it was cut off."""
    read = _read(story)
    cause, hung_up_by = read.over or (Cause.TEMPORARY_FAILURE, "system")
    caller, (callee_number, callee_name, service) = read.caller, read.callee
    made = CallRecord(
        id=story.id,
        started=read.began / 1000,
        answered=_seconds(read.answered),
        ended=read.now / 1000,
        caller_number=caller.number if caller is not None else "",
        caller_name=caller.name if caller is not None else "",
        dialled=read.dialled,
        callee_number=callee_number,
        callee_name=callee_name,
        service=service,
        outcome=outcome_of(cause, hung_up_by, answered=read.answered is not None),
        cause=int(cause),
        hung_up_by=hung_up_by,
        legs=tuple(_leg_record(leg, read) for leg in read.legs.values()),
        people=_people(read),
        parts=tuple(
            Part(leg.who, kind, leg.parts[kind] / 1000)
            for leg in read.legs.values()
            for kind in get_args(PartKind)
            if leg.parts.get(kind)
        ),
        selftest=read.selftest,
    )
    return msgspec.structs.replace(made, said=diagnose(made))


def as_row(record: CallRecord) -> dict[str, Any]:
    """With the fields of records.CallRow."""
    plain = {name: msgspec.to_builtins(getattr(record, name)) for name in ("legs", "people", "parts")}
    return msgspec.structs.asdict(record) | plain | {"said": diagnose(record) if record.said == UNSAID else record.said}


def _seconds(milliseconds: int | None) -> float | None:
    return milliseconds / 1000 if milliseconds is not None else None


def _leg_record(leg: _Leg, read: _Read) -> LegRecord:
    return LegRecord(
        side="caller" if leg.side == "caller" else "callee",
        number=leg.number,
        name=leg.name,
        address=leg.address,
        transport=leg.transport,
        signalling_secure=leg.signalling_secure,
        media_secure=leg.media_secure,
        not_encrypted=leg.not_encrypted,
        codec=leg.codec,
        user_agent=leg.user_agent,
        status=leg.status,
        who=leg.who,
        fate=_fate(leg, read) if leg.side != "caller" else "",
        began=leg.began / 1000,
        ended=(leg.ended if leg.ended is not None else read.now) / 1000,
        **({"receives": False} | leg.figures),
    )


def _fate(leg: _Leg, read: _Read) -> Fate:
    if leg.answered is not None:
        return "answered"
    if leg.elsewhere:
        return "answered elsewhere"
    if leg.status >= 300:
        match cause_of(leg.status):
            case Cause.BUSY:
                return "busy"
            case Cause.REJECTED:
                return "refused"
        return "missed" if leg.rang or leg.status == 480 else "failed"
    if leg.rang:
        return "missed"
    return "cancelled" if read.over is not None and read.over[0] == Cause.NORMAL else "failed"


def _people(read: _Read) -> tuple[PersonRecord, ...]:
    """In the order in which they were called; of several phones of one person what tells most."""
    people: dict[str, tuple[str, list[Fate]]] = {number: (name, []) for number, name in read.wanted}
    for leg in read.callees:
        people.setdefault(leg.number, (leg.name, []))[1].append(_fate(leg, read))
    return tuple(
        PersonRecord(number, name, min(fates, key=_FATES.index, default="failed"))
        for number, (name, fates) in people.items()
    )


# ---- while it goes on
def live(
    story: Story,
    stats: Mapping[int, media_core.LegStats],
    quality: Mapping[int, Quality],
    *,
    id: str = "",
    dialled: str = "",
    legs: Collection[int] | None = None,
) -> cti.CallView:
    """One call of the thread: the legs with these numbers, or all there are. `stats` and `quality` are by a leg's number, too; a leg that
    has none has counted nothing yet. `id` and `dialled` are the call's, where they are not the thread's."""
    read = _read(story)
    living = [leg for leg in read.legs.values() if leg.ended is None and (legs is None or leg.who in legs)]
    caller = next((leg for leg in living if leg.side == "caller"), None)
    if caller is None:
        called = read.caller is not None and living  # who began it has left; the others go on
        caller = living[0] if called else _Leg(0, "caller", "", read.title, read.began)
    return cti.CallView(
        id=id or story.id,
        started=read.began / 1000,
        answered=_seconds(read.answered),
        caller=_view(caller, read, stats.get(caller.who), quality.get(caller.who)),
        callees=[_view(leg, read, stats.get(leg.who), quality.get(leg.who)) for leg in living if leg is not caller],
        dialled=dialled or read.dialled,
    )


_STATES: Mapping[PartKind, str] = {
    "calling": "ringing",
    "ringing": "ringing",
    "talking": "talking",
    "alone": "talking",
    "holding": "held",
    "on hold": "on-hold",
}


def _view(leg: _Leg, read: _Read, stats: media_core.LegStats | None, quality: Quality | None) -> cti.LegView:
    return cti.LegView(
        number=leg.number,
        name=leg.name,
        address=leg.address,
        transport=leg.transport,
        signalling_secure=leg.signalling_secure,
        media_secure=leg.media_secure,
        codec=leg.codec,
        state=_STATES[read.state(leg)],
        packets_received=stats.received.packets if stats else 0,
        packets_sent=stats.sent.packets if stats else 0,
        lost=stats.received.lost if stats else 0,
        jitter_ms=round(stats.received.jitter_ms, 2) if stats else 0.0,
        poor=quality.now if quality else None,
        forged=quality.forged if quality else 0,
        secured_received=stats.received.secured if stats else 0,
        secured_sent=stats.sent.secured if stats else 0,
    )


def counters(stories: Iterable[Story]) -> dict[str, int]:
    """Of the calls that go on."""
    answered = [any(fact.kind == Kind.ANSWERED for fact in story.facts) for story in stories]
    return {"calls": len(answered), "calls_answered": sum(answered)}
