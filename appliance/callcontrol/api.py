"""What services see of call control: the nouns call, leg, party, cause, and the verbs a call script is written with.

A script is one coroutine `async def script(call: Call) -> None`; it runs as one asyncio task. The caller hanging up cancels it;
whatever it leaves open is cleared behind it. It ends a call by returning (normal clearing) or by raising `Clear`. Verbs are
CSTA's words (ECMA-269) as far as they exist; causes are the numbers of ITU-T Q.850. Nothing here knows SIP.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from appliance.calls.causes import Cause as Cause
from appliance.config.model import Extension, Snapshot

Tone = tuple[float, float, int]  # Hz, second Hz or 0, milliseconds; 0, 0 is a pause


@dataclass(frozen=True, slots=True)
class Party:
    """Who is at a leg: what is shown on phones, pages and call records."""

    number: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.number})" if self.name else self.number


class Clear(Exception):
    """End the call with this cause. `status` and `warning` only matter while the caller is not answered yet."""

    def __init__(self, cause: Cause, *, status: int = 0, warning: str = "") -> None:
        super().__init__(f"cause {int(cause)}")
        self.cause = cause
        self.status = status
        self.warning = warning


class Leg(Protocol):
    """One telephone's side of a call."""

    @property
    def party(self) -> Party: ...


class Call(Protocol):
    """A call while its script runs. Every awaited verb raises `Clear` when what it waits for has failed for good."""

    @property
    def id(self) -> str: ...
    @property
    def dialled(self) -> str: ...
    @property
    def caller(self) -> Leg: ...
    @property
    def snapshot(self) -> Snapshot: ...  # the configuration this call began with
    @property
    def step(self) -> str: ...  # last reached step; not "" at the start of a script after a restart

    def reached(self, step: str) -> None: ...  # keep the step: a restart of the process resumes the script with it
    async def answer(self) -> None: ...  # the caller's leg, by ourselves
    async def ring(self, extension: Extension) -> Leg: ...  # all its phones; the first that answers
    async def play(self, leg: Leg, tones: Sequence[Tone]) -> None: ...  # until played
    def connect(self, a: Leg, b: Leg) -> None: ...  # audio both ways; connect(a, a) echoes
    async def talk(self) -> None: ...  # until a leg hangs up


Script = Callable[[Call], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Service:
    """A row of the service table: a number that is served by a script instead of a phone."""

    name: str  # stays the same for ever: it is kept in call slots, and the claim of its number names it
    title: str  # for people
    script: Script
