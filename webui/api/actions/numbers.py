"""Numbers: which are in use and by what, the next free one, and where a dialled one leads."""

from __future__ import annotations

from typing import Annotated

import msgspec

from appliance.calls.plan.plan import asked as planned
from appliance.config.model import Problem, Refused, next_number, owner
from appliance.words import PhoneNumber, Said
from webui.api.operations import Asked, Operations

operations = Operations(Said.of("api.numbers"))


class Number(msgspec.Struct):
    """`target` is what it leads to, as KIND:ID."""

    number: str
    target: str
    owner: str


class Numbers(msgspec.Struct):
    next_extension: str
    items: list[Number]
    next: int | None


class NumbersQuery(msgspec.Struct, forbid_unknown_fields=True):
    """`cursor`: `next` of the answer before."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100
    cursor: Annotated[int, msgspec.Meta(ge=0, le=10**9)] = 0


class PlanQuery(msgspec.Struct, forbid_unknown_fields=True, rename={"caller": "from"}):
    """`from`: the number of the extension that dials."""

    number: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    caller: Annotated[str, msgspec.Meta(min_length=1, max_length=12)]


class Step(msgspec.Struct):
    """`depth`: a step follows the one before it that is less deep."""

    depth: int
    key: str
    sentence: str


class Plan(msgspec.Struct):
    number: str
    steps: list[Step]


@operations.add(
    "GET", "/numbers", may="see extension", said=Said.of("api.numbers-in-use"), query=NumbersQuery, answer=Numbers
)
def numbers(asked: Asked) -> Numbers:
    snapshot, start = asked.caller.acting.snapshot, asked.query.cursor
    claims = sorted(snapshot.claims, key=lambda claim: (len(claim.number), claim.number))
    shown = claims[start : start + asked.query.limit]
    found = [Number(claim.number, ":".join(claim.target), asked.say(owner(claim, snapshot))) for claim in shown]
    after = start + len(shown)
    return Numbers(next_number(snapshot), found, after if shown and after < len(claims) else None)


@operations.add(
    "GET",
    "/plan",
    may="see extension",
    said=Said.of("api.plan"),
    query=PlanQuery,
    answer=Plan,
    refuses=frozenset({422}),
)
def plan(asked: Asked) -> Plan:
    snapshot = asked.caller.acting.snapshot
    caller = snapshot.extension_by_number.get(asked.query.caller)
    if caller is None:
        raise Refused(Problem("from", Said.of("plan.nobody", number=PhoneNumber(asked.query.caller))))
    steps = planned(asked.query.number, caller, snapshot)
    return Plan(asked.query.number, [Step(depth, said.key, asked.say(said)) for depth, said in steps])
