"""What happens now: calls, phones, who was turned away, the processes and what needs attention."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from appliance import cti
from appliance.config.admin import NotFound
from appliance.words import Said
from webui.api.operations import Asked, Operations, moment
from webui.work import live, nightly, ready, today

operations = Operations(Said.of("api.live"))
TIMES = (datetime, datetime | None)


class Sentence(msgspec.Struct):
    key: str
    sentence: str


class LiveLeg(msgspec.Struct):
    """A phone in a call. `poor` says how bad its sound is just now."""

    number: str
    name: str
    address: str
    transport: str
    signalling_secure: bool
    media_secure: bool
    codec: str
    state: str
    packets_received: int
    packets_sent: int
    lost: int
    jitter_ms: float
    poor: Sentence | None


class LiveCall(msgspec.Struct):
    id: str
    started: datetime
    answered: datetime | None
    dialled: str
    caller: LiveLeg
    callees: list[LiveLeg]


class LiveCalls(msgspec.Struct):
    items: list[LiveCall]


class Registration(msgspec.Struct):
    """A phone that can be called. `line` is the id of its line."""

    number: str
    name: str
    line: str
    sip_username: str
    address: str
    transport: str
    secure: bool
    user_agent: str
    since: datetime
    expires: datetime


class RegistrationList(msgspec.Struct):
    items: list[Registration]


class Refusal(msgspec.Struct):
    """A phone that was turned away, why, and what helps. `over`: when a phone has registered for the line since."""

    time: datetime
    kind: str
    address: str
    line: str
    account: str
    message: Sentence
    repair: Sentence
    count: int
    over: datetime | None


class RefusalList(msgspec.Struct):
    items: list[Refusal]


class Process(msgspec.Struct):
    name: str
    state: str
    uptime: float
    restarts: int
    memory: int


class Alarm(msgspec.Struct):
    id: str
    severity: str
    since: datetime
    message: Sentence
    repair: Sentence


class SystemStatus(msgspec.Struct):
    version: str
    started: datetime
    healthy: bool
    processes: list[Process]
    counters: dict[str, int]
    alarms: list[Alarm]
    addresses: dict[str, str]


class Drop(msgspec.Struct):
    """A phone that was registered and is not any more; `why`: closed (its connection ended) or expired."""

    time: datetime
    why: str
    line: str
    address: str
    user_agent: str


class DropList(msgspec.Struct):
    items: list[Drop]


class Hour(msgspec.Struct):
    start: datetime
    counts: dict[str, int]


class Today(msgspec.Struct):
    """Calls by their result: of this day in the office, and of each of the last 24 hours."""

    day: dict[str, int]
    hours: list[Hour]


class ReadyStep(msgspec.Struct):
    state: Literal["done", "open", "later"]
    title: Sentence
    told: Sentence | None


class Ready(msgspec.Struct):
    items: list[ReadyStep]


def sentence(said: Said, asked: Asked) -> Sentence:
    return Sentence(said.key, asked.say(said))


def copied(view: msgspec.Struct, type_: type[Any], **more: Any) -> Any:
    """The members of a message that the answer has too, times as such."""
    for one in msgspec.structs.fields(type_):
        if one.name not in more:
            value = getattr(view, one.name)
            more[one.name] = moment(value) if value is not None and one.type in TIMES else value
    return type_(**more)


def _there(found: Any) -> Any:
    if found is None:
        raise cti.Unavailable("no answer")
    return found


@operations.add("GET", "/live-calls", may="see call", said=Said.of("api.live-calls"), answer=LiveCalls)
def live_calls(asked: Asked) -> LiveCalls:
    def leg(view: cti.LegView) -> LiveLeg:
        made: LiveLeg = copied(view, LiveLeg, poor=sentence(view.poor, asked) if view.poor else None)
        return made

    calls = _there(live.live_calls(asked.here)).calls
    return LiveCalls(
        [copied(one, LiveCall, caller=leg(one.caller), callees=[leg(each) for each in one.callees]) for one in calls]
    )


@operations.add("POST", "/live-calls/{id}/end", may="do call", said=Said.of("api.end-call"))
def end_call(asked: Asked) -> None:
    calls = _there(live.live_calls(asked.here)).calls
    if not any(one.id == asked.names["id"] for one in calls):
        raise NotFound
    live.end_call(asked.here, asked.caller.acting, asked.names["id"], asked.caller.actor.name)


@operations.add("GET", "/registrations", may="see status", said=Said.of("api.registrations"), answer=RegistrationList)
def registrations(asked: Asked) -> RegistrationList:
    found = _there(live.registrations(asked.here)).registrations
    return RegistrationList([copied(one, Registration) for one in found])


@operations.add("GET", "/refusals", may="see status", said=Said.of("api.turned-away"), answer=RefusalList)
def refusals(asked: Asked) -> RefusalList:
    return RefusalList(
        [
            copied(one, Refusal, message=sentence(one.message, asked), repair=sentence(one.repair, asked))
            for one in live.refusals(asked.here)
        ]
    )


@operations.add("GET", "/status", may="see system", said=Said.of("api.status"), answer=SystemStatus)
def status(asked: Asked) -> SystemStatus:
    found = _there(live.system(asked.here))
    made: SystemStatus = copied(
        found,
        SystemStatus,
        processes=[copied(one, Process) for one in found.processes],
        alarms=[
            copied(one, Alarm, message=sentence(one.message, asked), repair=sentence(one.repair, asked))
            for one in found.alarms
        ],
    )
    return made


@operations.add("GET", "/drops", may="see status", said=Said.of("api.drops"), answer=DropList)
def drops(asked: Asked) -> DropList:
    return DropList([copied(one, Drop) for one in _there(live.phones(asked.here)).drops])


@operations.add("GET", "/today", may="see status", said=Said.of("api.today"), answer=Today)
def this_day(asked: Asked) -> Today:
    _, counts = today.today(asked.here)
    hours = [Hour(moment(one.start), {str(result): count for result, count in one.counts.items()}) for one in today.hours(asked.here)]
    return Today({str(result): count for result, count in counts.items()}, hours)


@operations.add("GET", "/ready", may="see status", said=Said.of("api.ready"), answer=Ready)
def is_ready(asked: Asked) -> Ready:
    here = asked.here
    facts = ready.Facts(
        snapshot=here.admin.snapshot, phones=live.phones(here), backups=nightly.state(here), now=here.now()
    )
    return Ready(
        [
            ReadyStep(one.state, sentence(one.title, asked), sentence(one.told, asked) if one.told else None)
            for one in ready.steps(facts)
        ]
    )
