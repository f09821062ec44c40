"""A sentence before it has words: its key, and the facts in it. Plain data that msgspec writes and reads."""

from __future__ import annotations

import msgspec


class Duration(msgspec.Struct, frozen=True, tag="duration"):
    seconds: float


class Instant(msgspec.Struct, frozen=True, tag="instant"):
    """Shown in the office's time zone."""

    unix: float


class Day(msgspec.Struct, frozen=True, tag="day"):
    """A date without a time, of no zone."""

    iso: str


class PhoneNumber(msgspec.Struct, frozen=True, tag="number"):
    """As this office has to dial it."""

    digits: str


class Person(msgspec.Struct, frozen=True, tag="person"):
    """Who is at a telephone; either part may be empty."""

    name: str
    number: str


class Listed(msgspec.Struct, frozen=True, tag="list"):
    """Facts in a row: a, b and c; with `any`: a, b or c."""

    facts: tuple[Fact, ...]
    any: bool = False


class Said(msgspec.Struct, frozen=True, tag="said"):
    """`key` is a section and a name of the catalogue, "plan.busy"; facts by the names that stand in its pattern."""

    key: str
    facts: dict[str, Fact] = {}

    @classmethod
    def of(cls, key: str, **facts: Fact) -> Said:
        return cls(key, facts)


Fact = int | float | str | Duration | Instant | Day | PhoneNumber | Person | Listed | Said
_decode = msgspec.json.Decoder(Said).decode


def pack(said: Said) -> bytes:
    return msgspec.json.encode(said)


def unpack(data: bytes | str) -> Said:
    """ValueError when it is no sentence."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError("no sentence") from error
