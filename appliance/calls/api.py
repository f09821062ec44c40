"""What services see of call control: the whole promise. A service is a script over `Call`, and nothing else of `calls` is known to it.

    async def script(call: Call, state: State) -> None

`state` is a small struct of the service's own; `call.keep(state)` keeps it. When the process dies the script is called again with the kept
state and with the legs as they are, ringing ones included. So verbs say what shall be, not what to do once: `answered`, `ringing`, `bridged`
look at what is and do the rest; `play`, `record`, `collect` and `send_digits` go on where they were, and those that had ended since the last
`keep` return at once with what they had returned.

Scripts are stepped by the call, not by asyncio: a script awaits the verbs and nothing else. It ends the call by returning (normal clearing) or
by raising `Clear`. `Left` is raised in the verb that waits when a leg it is about, or the caller's, has ended or was adopted by another
call; not caught, it ends the call in the way of that leg. Verbs are CSTA's words (ECMA-269) as far as they exist; causes are the
numbers of ITU-T Q.850. Nothing here knows SIP.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Protocol

import msgspec

from appliance.calls.history.causes import Cause
from appliance.calls.plan.party import Party
from appliance.config.claims import Destination
from appliance.config.model import Snapshot
from appliance.words import Said

__all__ = [
    "Call", "Cause", "Clear", "Destination", "Files", "Left", "Leg", "NoState", "Outcome", "Party", "Said", "Script", "Service", "Sound", "Tone",
    "Unanswered",
]  # fmt: skip

Tone = tuple[float, float, int]  # Hz, second Hz or 0, milliseconds; 0, 0 is a pause
Outcome = Literal["no-answer", "busy", "unreachable", "refused", "failed"]
State = Literal["null", "initiated", "alerting", "connected", "ended"]


class Clear(Exception):
    """End the call with this cause. `status` and `warning` only matter while the caller is not answered yet."""

    def __init__(self, cause: Cause, *, status: int = 0, warning: str = "") -> None:
        super().__init__(f"cause {int(cause)}")
        self.cause = cause
        self.status = status
        self.warning = warning


class Unanswered(Clear):
    """Ringing came to nothing. Not caught, it ends the call with what the phones have said."""

    def __init__(self, outcome: Outcome, cause: Cause, *, status: int = 0) -> None:
        super().__init__(cause, status=status)
        self.outcome = outcome


class Leg(Protocol):
    """One telephone's side of a call. Only the leg itself changes what stands here."""

    @property
    def party(self) -> Party: ...
    @property
    def state(self) -> State: ...
    @property
    def held_by_them(self) -> bool: ...
    @property
    def digits(self) -> str: ...  # pressed and not collected yet


class Left(Exception):
    """The leg is not with this call any more: it has ended (`to` is ""), or the call `to` has adopted it."""

    def __init__(self, leg: Leg, to: str = "") -> None:
        super().__init__(f"{leg.party} has left")
        self.leg = leg
        self.to = to


@dataclass(frozen=True, slots=True)
class Files:
    """Sound files (WAV, Ogg/Opus, FLAC, MP3) by absolute path, one after the other."""

    paths: tuple[str, ...]
    loop: bool = False  # again and again, until something else plays


# What is played: tones, files, or a sentence, of which there is a recording or which is spoken.
Sound = Sequence[Tone] | Files | Said


class Call(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def dialled(self) -> str: ...
    @property
    def target(self) -> Destination: ...  # what this script serves
    @property
    def argument(self) -> str: ...  # what was dialled behind a prefix that the service claims
    @property
    def caller(self) -> Leg: ...  # Clear when the call has none (wake-up, click to dial)
    @property
    def legs(self) -> Sequence[Leg]: ...  # those it owns, without those that have ended
    @property
    def snapshot(self) -> Snapshot: ...  # the configuration in force

    def keep(self, state: msgspec.Struct) -> None:
        """A restart of the process runs the script again with this."""

    # ---- legs
    async def answered(self, leg: Leg) -> None:
        """The leg is connected: a caller is answered, one that rings is waited for."""

    async def ringing(self, who: Destination, *, seconds: float = 0.0) -> Leg:
        """All phones of the extension ring, for its own time if none is given; the first that answers. Unanswered."""

    async def bridged(self, a: Leg, b: Leg) -> NoReturn:
        """They hear each other, the caller is answered for it, and that goes on until one leaves: Left."""

    async def looped(self, leg: Leg) -> NoReturn:
        """It hears itself, until it leaves: Left."""

    async def mixed(self, leg: Leg, room: int, *, muted: bool = False) -> NoReturn:
        """It is in the conference of this number, until it leaves: Left."""

    async def hold(self, leg: Leg) -> None:
        """It is told that it is held: it neither speaks to nor hears the other side."""

    async def retrieve(self, leg: Leg) -> None:
        """It is held no longer."""

    def hang_up(self, leg: Leg, cause: Cause = Cause.NORMAL) -> None: ...

    # ---- sound
    async def play(self, leg: Leg, sound: Sound) -> None:
        """Until it has been played; what loops, at once."""

    async def record(self, leg: Leg, path: str, *, sides: str = "received", seconds: int = 0, until: str = "") -> float:
        """Into this file, until `seconds`, a digit of `until`, or the leg leaves; the seconds recorded. It appends after a restart."""

    async def collect(
        self, leg: Leg, *, prompt: Sound | None = None, most: int = 1, seconds: float = 5.0, until: str = ""
    ) -> str:
        """Digits, pressed during the prompt (which that ends) or within `seconds` of it and of each other; at most `most`, without the one
        of `until` that ended it. From RFC 4733 events, SIP INFO, or the tones in the sound of a phone that has neither."""

    async def send_digits(self, leg: Leg, digits: str) -> None: ...

    # ---- to other calls
    def adopt(self, leg: Leg) -> None:
        """The leg is this call's from now on; the script of the call it was with gets `Left`."""

    def transfer(self, leg: Leg, to: Destination) -> None:
        """The leg goes to a call of its own, whose script is what the destination says."""

    async def go(self, to: Destination) -> NoReturn:
        """This call goes on as what the destination says."""


class NoState(msgspec.Struct, array_like=True):
    """Of a script that has nothing to remember."""


Script = Callable[[Call, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Service:
    """A row of the service table: a number that is served by a script instead of a phone."""

    name: str  # stays the same for ever: it is kept in call slots, and the claim of its number names it
    script: Script
    state: type[msgspec.Struct] = NoState

    @property
    def title(self) -> Said:
        return Said(f"{self.name}.title")
