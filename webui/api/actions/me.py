"""Who asks, and what they may."""

from __future__ import annotations

import msgspec

from appliance.words import Said
from webui.api.operations import Asked, Operations

operations = Operations(Said.of("api.caller"))


class HeldRight(msgspec.Struct):
    """`kind` is a kind of record, another part of the system, or * for all. `fields` null: all of them."""

    kind: str
    verb: str
    rows: str
    fields: list[str] | None


class Me(msgspec.Struct):
    name: str
    language: str
    rights: list[HeldRight]


@operations.add("GET", "/me", may="", said=Said.of("api.me"), answer=Me)
def me(asked: Asked) -> Me:
    actor = asked.caller.actor
    held = [HeldRight(one.kind, one.verb, one.rows, sorted(one.fields) if one.fields else None) for one in actor.rights]
    return Me(actor.name, asked.words.language, held)
