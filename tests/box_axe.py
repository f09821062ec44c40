"""kill -9 of `calls` just before one of its outward effects, and a successor a moment later.

An effect is whatever a kill can fall before: a message or another command to the engine, a read of its rings, a write
to the memory of the turn. All of them are the rows of EFFECTS. The first run counts the effects; then each is a run of
its own.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tests.box import Box

# Whose methods they are, and which.
EFFECTS: Mapping[str, Sequence[str]] = {
    "flows": ("send", "dial", "shut", "keep"),
    "media": (
        "open", "close", "describe", "connect", "disconnect", "mix", "play", "play_files", "record", "send_digits",
    ),
    "rings": ("poll", "consumed"),
    "slots": ("commit", "left"),
    "legs": ("write", "free"),
    "calls": ("write", "free"),
}  # fmt: skip


class Killed(BaseException):
    """Nothing of the process runs on: no boundary for exceptions may catch it."""


class Axe:
    """Counts effects while it is armed, and kills before number `at` (0: never), and its successor before its number
    `again`. `down`: seconds until the next process runs."""

    def __init__(self, box: Box, at: int, again: int, down: float) -> None:
        self.box, self.at, self._again, self.down = box, at, again, down
        self.count = 0
        self.armed = False
        self.dead = False
        self.fell_before = ""

    def effect(self, name: str, original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        if self.dead:
            raise Killed
        if self.armed and self._is_one(name):
            self.count += 1
            if self.count == self.at:
                self.fall(name)
                raise Killed
        return original(*arguments, **named)

    def _is_one(self, name: str) -> bool:
        """Not a read of nothing."""
        engine = self.box.engine
        return {"poll": len(engine._events) > engine._read, "consumed": engine._read > 0}.get(name, True)

    def fall(self, before: str) -> None:
        self.at, self.dead, self.fell_before = 0, True, before
        for task in self.box._tasks:  # whoever writes records must not hear of a turn that does not count
            task.cancel()
        asyncio.get_running_loop().call_soon(self._bury)

    def _bury(self) -> None:
        self.box.kill()
        asyncio.get_running_loop().call_later(self.down, self._rise)

    def _rise(self) -> None:
        self.dead = False
        if self._again:
            self.at, self._again = self.count + self._again, 0
        self.box.start()


class Watched:
    """The slots, or one of their areas, with the axe above some methods."""

    def __init__(self, axe: Axe, inner: Any, names: Sequence[str]) -> None:
        self._inner = inner
        for name in names:
            setattr(self, name, functools.partial(axe.effect, name, getattr(inner, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._inner)

    def __len__(self) -> int:
        return len(self._inner)


@contextmanager
def axe(box: Box, at: int = 0, again: int = 0, down: float = 0.3, outbox: bool = True) -> Iterator[Axe]:
    """Above this box, from before its first start. `outbox`: the slots keep what the last turn had to say."""
    made = Axe(box, at, again, down)
    for name in (*EFFECTS["flows"], *EFFECTS["media"], *EFFECTS["rings"]):
        setattr(box.engine, name, functools.partial(made.effect, name, getattr(box.engine, name)))

    def above(slots: Any) -> Any:
        found: Any = Watched(made, slots, EFFECTS["slots"])
        found.legs, found.calls = (
            Watched(made, slots.legs, EFFECTS["legs"]),
            Watched(made, slots.calls, EFFECTS["calls"]),
        )
        if not outbox:
            found.unsent = []
        return found

    box.wrap = above
    yield made
