"""A sentence before it has words: its key, and the facts in it. Plain data that msgspec writes and reads."""

from __future__ import annotations

from typing import Any

import msgspec


class Duration(msgspec.Struct, frozen=True, tag="duration"):
    seconds: float


class Instant(msgspec.Struct, frozen=True, tag="instant"):
    """Shown in the office's time zone."""

    unix: float


class PhoneNumber(msgspec.Struct, frozen=True, tag="number"):
    """As this office has to dial it."""

    digits: str


class Person(msgspec.Struct, frozen=True, tag="person"):
    """Who is at a telephone; either part may be empty."""

    name: str
    number: str


class Listed(msgspec.Struct, frozen=True, tag="list"):
    """Facts in a row: a, b and c; with `any`: a, b or c."""

    facts: tuple[Any, ...]  # of Fact
    any: bool = False


class Said(msgspec.Struct, frozen=True, tag="said"):
    """`key` is a section and a name of the catalogue, "plan.busy"; facts by the names that stand in its pattern."""

    key: str
    facts: dict[str, Any] = {}  # of Fact

    @classmethod
    def of(cls, key: str, **facts: Fact) -> Said:
        return cls(key, facts)


Fact = int | float | str | Duration | Instant | PhoneNumber | Person | Listed | Said
_KINDS = Duration | Instant | PhoneNumber | Person | Listed | Said


def pack(said: Said) -> bytes:
    return msgspec.json.encode(said)


def unpack(data: bytes | str) -> Said:
    """ValueError when it is no sentence. Facts within come as data first, for a fact may be a sentence itself."""
    try:
        found = _fact(msgspec.json.decode(data))
    except (msgspec.DecodeError, TypeError, RecursionError) as error:
        raise ValueError("no sentence") from error
    if not isinstance(found, Said):
        raise ValueError("no sentence")
    return found


def _fact(value: Any) -> Fact:
    if isinstance(value, bool) or not isinstance(value, int | float | str | dict):
        raise TypeError("no fact")
    if not isinstance(value, dict):
        return value
    made: Any = msgspec.convert(value, _KINDS)
    if isinstance(made, Said):
        return Said(made.key, {name: _fact(fact) for name, fact in made.facts.items()})
    if isinstance(made, Listed):
        return Listed(tuple(_fact(fact) for fact in made.facts), made.any)
    return made  # type: ignore[no-any-return]
