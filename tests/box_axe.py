"""kill -9 of `calls` just before one of its outward effects, and a successor a moment later.

An effect is whatever a kill can fall before: a message or another command to the engine, a read of its rings, a write
to the slots, the commit. All of them are the rows of EFFECTS. The first run counts the effects; then each is a run of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.box import Box

DOWN = 0.3  # seconds until the next process runs

# Whose methods they are, and which.
ENGINE = (
    "send", "dial", "shut", "keep", "open", "describe", "connect", "mix", "disconnect", "play", "play_files", "record", "send_digits",
    "close", "poll", "consumed",
)  # fmt: skip
SLOTS = ("commit", "left")
AREA = ("write", "free")


class Killed(BaseException):
    """Nothing of the process runs on: no boundary for exceptions may catch it."""


class Axe:
    """Counts effects while it is armed, and kills before number `at` (0: never)."""

    def __init__(self, box: Box, at: int) -> None:
        self.box, self.at = box, at
        self.count = 0
        self.armed = False
        self.dead = False
        self.fell_before = ""

    def effect(self, name: str, original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        if self.dead:
            raise Killed
        if self.armed:
            self.count += name not in ("poll", "consumed", "commit", "left") or bool(self.box.engine._events)
            if self.count == self.at:
                self.fall(name)
                raise Killed
        return original(*arguments, **named)

    def fall(self, before: str) -> None:
        self.at, self.dead, self.fell_before = 0, True, before
        asyncio.get_running_loop().call_soon(self._bury)

    def _bury(self) -> None:
        self.box.kill()
        asyncio.get_running_loop().call_later(DOWN, self._rise)

    def _rise(self) -> None:
        self.dead = False
        self.box.start()


class Watched:
    """An extension type, whose methods cannot be replaced."""

    def __init__(self, of: Any, made: Axe, names: Sequence[str]) -> None:
        self._of = of
        for name in names:
            original = getattr(of, name)
            setattr(self, name, lambda *arguments, name=name, original=original: made.effect(name, original, *arguments))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._of)

    def __len__(self) -> int:
        return len(self._of)


class WatchedSlots(Watched):
    def __init__(self, of: Any, made: Axe) -> None:
        super().__init__(of, made, SLOTS)
        self.legs, self.calls = Watched(of.legs, made, AREA), Watched(of.calls, made, AREA)


@contextmanager
def axe(box: Box, at: int = 0) -> Iterator[Axe]:
    made = Axe(box, at)
    undone: list[Callable[[], None]] = []

    def wrap(owner: Any, name: str) -> None:
        original = getattr(owner, name)
        setattr(owner, name, lambda *arguments, **named: made.effect(name, original, *arguments, **named))
        undone.append(lambda: delattr(owner, name))

    for name in ENGINE:
        wrap(box.engine, name)
    box.wrap = lambda slots: WatchedSlots(slots, made)
    try:
        yield made
    finally:
        box.wrap = lambda slots: slots
        for undo in undone:
            undo()
