"""Which numbers belong to what. Pure: records say which numbers they claim, this finds who has one and who would share one.

A claim is exact, or a prefix whose rest is an argument of a kind (`*8` and an extension). It holds in a context: dialled inside, or
called from outside on a line. Emergency numbers go before everything, exact claims before prefixes, longer prefixes before shorter ones. Two claims
that could take the same string conflict, and the form says so by name when the second one is saved.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

INSIDE = ""  # the context of what is dialled on our own telephones; others are ids of lines
EMERGENCY, EXTENSION, SERVICE = "emergency", "extension", "service"
_DIGITS = re.compile(r"[0-9]{1,40}")


class Destination(NamedTuple):
    """Where something can be sent: a kind and which one of it (an extension's id, a service's name, an emergency number)."""

    kind: str
    id: str


class Claim(NamedTuple):
    """A tuple, for there are as many as extensions, made anew after each save."""

    number: str  # all of it, or its beginning when there is an argument
    target: Destination
    argument: str = ""  # "": none; "number": any digits; "extension": one that is there
    context: str = INSIDE


class Claims:
    """The index of all claims; the first of two that conflict wins, which happens only to data that was never checked."""

    def __init__(self, claims: Iterable[Claim] = ()) -> None:
        self._emergency: dict[str, Claim] = {}
        self._exact: dict[tuple[str, str], Claim] = {}
        self._again: dict[tuple[str, str], list[Claim]] = {}  # of data that was never checked, and of saves that will be refused
        self._prefixes: dict[str, list[Claim]] = {}  # context -> longest first
        for claim in claims:
            if claim.target.kind == EMERGENCY:
                self._emergency.setdefault(claim.number, claim)
            elif claim.argument:
                self._prefixes.setdefault(claim.context, []).append(claim)
            elif self._exact.setdefault((claim.context, claim.number), claim) is not claim:
                self._again.setdefault((claim.context, claim.number), []).append(claim)
        for prefixes in self._prefixes.values():
            prefixes.sort(key=lambda claim: -len(claim.number))

    def __iter__(self) -> Iterator[Claim]:
        yield from self._emergency.values()
        yield from self._exact.values()
        for again in self._again.values():
            yield from again
        for prefixes in self._prefixes.values():
            yield from prefixes

    def find(self, dialled: str, context: str = INSIDE) -> tuple[Claim, str] | None:
        """Whose number this is, and the argument behind it ("" without)."""
        exact = (self._emergency.get(dialled) if context == INSIDE else None) or self._exact.get((context, dialled))
        if exact is not None:
            return exact, ""
        for claim in self._prefixes.get(context, ()):
            rest = dialled.removeprefix(claim.number)
            if rest != dialled and self._fits(claim.argument, rest):
                return claim, rest
        return None

    def conflict(self, claim: Claim, mine: Collection[Claim] = ()) -> Claim | None:
        """One, but for those in `mine`, that could take a string which `claim` takes. A claim without an argument is looked up, however
        many there are; what begins other numbers is compared with each."""
        others = self if claim.argument or claim.target.kind == EMERGENCY else self._near(claim)
        return next(
            (
                other
                for other in others
                if other.context == claim.context and other not in mine and self._overlap(claim, other)
            ),
            None,
        )

    def _near(self, claim: Claim) -> Iterator[Claim]:
        if (emergency := self._emergency.get(claim.number)) is not None:
            yield emergency
        place = (claim.context, claim.number)
        if (exact := self._exact.get(place)) is not None:
            yield exact
            yield from self._again.get(place, ())
        yield from self._prefixes.get(claim.context, ())

    def _overlap(self, one: Claim, other: Claim) -> bool:
        short, long = sorted((one, other), key=lambda claim: len(claim.number))
        rest = long.number.removeprefix(short.number)
        if not short.argument or rest == long.number:
            return one.number == other.number and bool(one.argument) == bool(other.argument)
        if not rest:  # the same beginning: only an argument and none are apart
            return bool(long.argument) and bool(short.argument)
        if not long.argument:
            return self._fits(short.argument, rest)
        if short.argument == "extension":
            return any(number.startswith(rest) for number in self._extensions())
        return bool(_DIGITS.fullmatch(rest))

    def _fits(self, argument: str, rest: str) -> bool:
        if argument == "extension":
            claim = self._exact.get((INSIDE, rest))
            return claim is not None and claim.target.kind == EXTENSION
        return bool(_DIGITS.fullmatch(rest))

    def _extensions(self) -> Iterator[str]:
        return (
            number
            for (context, number), claim in self._exact.items()
            if context == INSIDE and claim.target.kind == EXTENSION
        )
