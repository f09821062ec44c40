"""Where a dialled number leads: a tree of steps, each with its reasons. Pure: number, who dials and a snapshot in, the tree out.

A step is an action and what follows each outcome of it. Default deny: what nobody claims is refused as unallocated. Digits are filtered
before anything looks at them (only what a telephone can dial reaches a claim). Whether phones are reachable is seen when they are rung: the tree
says what is then done. A call, the command line and the page ask the same function, so what they say is what happens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from appliance.calls.history import causes
from appliance.calls.history.causes import Cause
from appliance.config.claims import EMERGENCY, EXTENSION
from appliance.config.model import Extension, Snapshot, owner
from appliance.words import Duration, Person, PhoneNumber, Said, english

_DIALLABLE = re.compile(r"[0-9*#+A-Za-z._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Ring:
    extension: Extension


@dataclass(frozen=True, slots=True)
class Serve:
    service: str
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Refuse:
    cause: Cause
    status: int = 0  # 0: what the cause maps to
    warning: str = ""  # for the caller's telephone


Action = Ring | Serve | Refuse
Outcome = Literal["no-answer", "busy", "unreachable"]


@dataclass(frozen=True, slots=True)
class Step:
    action: Action
    why: tuple[Said, ...] = ()
    then: Mapping[Outcome, Step] = field(default_factory=dict)


def plan(dialled: str, caller: Extension, snapshot: Snapshot) -> Step:
    """What happens when the telephone of `caller` dials this."""
    if not _DIALLABLE.fullmatch(dialled):
        return Step(Refuse(Cause.INVALID_NUMBER), (Said.of("plan.not-dialable"),))
    number = PhoneNumber(dialled)
    found = snapshot.claims.find(dialled)
    if found is None:
        return Step(Refuse(Cause.UNALLOCATED), (Said.of("plan.nobody", number=number),))
    claim, argument = found
    if claim.target.kind == EMERGENCY:  # nothing can carry it yet (model.OUTSIDE)
        warning = english().say(Said.of("plan.no-line"))
        return Step(Refuse(Cause.NO_ROUTE, warning=warning), (Said.of("plan.emergency-no-line", number=number),))
    whose = Said.of("plan.owner", number=number, owner=owner(claim, snapshot))
    if claim.target.kind == EXTENSION:
        return _extension(whose, snapshot.extensions[claim.target.id], caller, snapshot)
    return Step(Serve(claim.target.id, argument), (whose, Said.of("plan.serves")))


def _extension(whose: Said, extension: Extension, caller: Extension, snapshot: Snapshot) -> Step:
    if extension.id == caller.id:  # the person is on this very phone
        return Step(Refuse(Cause.BUSY), (whose, Said.of("plan.own-number")))
    if not snapshot.lines_of.get(extension.id):
        return Step(Refuse(Cause.ABSENT), (whose, Said.of("plan.no-lines")))
    who = Person(extension.name, extension.number)
    rings = Said.of("plan.rings", who=who, time=Duration(extension.ring_seconds))
    outcomes: Mapping[Outcome, Cause] = {
        "no-answer": Cause.NO_ANSWER, "busy": Cause.BUSY, "unreachable": Cause.ABSENT
    }  # fmt: skip
    then = {outcome: Step(Refuse(cause)) for outcome, cause in outcomes.items()}
    return Step(Ring(extension), (whose, rings), then)


def asked(
    dialled: str, caller: Extension, snapshot: Snapshot, at: datetime | None = None
) -> Iterator[tuple[int, Said]]:
    """Question and answer for people: who dials what, what happens, and whether another time would change it."""
    yield 0, Said.of("plan.head", who=Person(caller.name, caller.number), number=PhoneNumber(dialled))
    yield from explained(plan(dialled, caller, snapshot))
    if at is not None:
        yield 0, Said.of("plan.always")


def explained(step: Step, depth: int = 0) -> Iterator[tuple[int, Said]]:
    """The tree in sentences, each with how deep it stands."""
    for said in step.why:
        yield depth, said
    if isinstance(step.action, Refuse):
        yield depth, Said.of("plan.refused", cause=causes.said(step.action.cause))
    for outcome, next_step in step.then.items():
        yield depth, Said.of(f"plan.{outcome}")
        yield from explained(next_step, depth + 1)
