"""Phones that were registered and are not any more although nobody switched them off properly, and why. Pure: time is an argument.

One per phone, kept until a phone of the same line comes back that may be it (the same instance, host or program), or its line is gone.
A phone that says goodbye (expires=0) has not dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from appliance.calls.registrar.registrar import Binding

Why = Literal["expired", "closed"]
MOST = 10  # of a line


@dataclass(frozen=True, slots=True)
class Drop:
    time: float  # unix
    why: Why  # closed: its connection ended; expired: it did not register again in time
    binding: Binding


class Drops:
    def __init__(self) -> None:
        self._of: dict[str, list[Drop]] = {}  # line -> its phones, the oldest first

    def __iter__(self) -> Iterator[Drop]:
        return (drop for drops in self._of.values() for drop in drops)

    def add(self, binding: Binding, why: Why, time: float) -> None:
        before = [drop for drop in self._of.get(binding.line, ()) if not _same(drop.binding, binding)]
        known = next((drop for drop in self._of.get(binding.line, ()) if _same(drop.binding, binding)), None)
        self._of[binding.line] = [*before, known or Drop(time, why, binding)][-MOST:]

    def back(self, binding: Binding) -> None:
        """It has registered."""
        if left := [drop for drop in self._of.get(binding.line, ()) if not _same(drop.binding, binding)]:
            self._of[binding.line] = left
        else:
            self._of.pop(binding.line, None)

    def keep(self, lines: Collection[str]) -> None:
        """Forget the lines that are no longer there."""
        self._of = {line: drops for line, drops in self._of.items() if line in lines}


def _same(one: Binding, other: Binding) -> bool:
    if one.instance and other.instance:
        return one.instance == other.instance
    return one.host == other.host or (bool(one.user_agent) and one.user_agent == other.user_agent)
