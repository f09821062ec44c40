"""What every leg and call needs and nobody owns alone: the turn, the media, who is registered, what is told to the outside.

`sessions` and `ports` find the leg that an event belongs to. `finished` and `news` go up: the process takes the records of ended calls from
the one, the control socket what has changed from the other. Both are bounded by the number of calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import media_core
from appliance import cti
from appliance.calls.api import Files, Service, Sound, Tone
from appliance.calls.history.faults import Faults
from appliance.calls.history.record import CallRecord
from appliance.calls.registrar.registrar import Binding, Registrar
from appliance.calls.turns.turn import Slotted, Turn
from appliance.config.model import Snapshot
from appliance.sip.errors import WrongState
from appliance.sip.stack import Stack
from appliance.words import Said, english, printable

log = logging.getLogger(__name__)

T = TypeVar("T")
LegT = TypeVar("LegT", bound="Listed")
CallT = TypeVar("CallT")


class Media(Protocol):
    """What of `media_core.MediaEngine` a call needs."""

    def owns(self, port: int) -> bool: ...
    def open(self, beside: int | None = None) -> media_core.Leg: ...
    def describe(self, leg: int, remote: media_core.Remote, *, anew: bool = True) -> None: ...
    def connect(
        self, a: int, b: int, a_to_b: Mapping[int, int] = ..., b_to_a: Mapping[int, int] = ..., *, anew: bool = True
    ) -> None: ...
    def mix(self, leg: int, room: int, *, muted: bool = False, anew: bool = True) -> None: ...
    def disconnect(self, leg: int) -> None: ...
    def play(self, leg: int, tones: Sequence[Tone], payload_type: int, *, serial: int = 0) -> None: ...
    def play_files(
        self, leg: int, paths: Sequence[str], payload_type: int, *, loop: bool = False, serial: int = 0
    ) -> None: ...
    def record(self, leg: int, path: str, *, sides: str = "both", seconds: int = 0, serial: int = 0) -> None: ...
    def send_digits(self, leg: int, digits: str, *, serial: int = 0) -> None: ...
    def stats(self, leg: int) -> media_core.LegStats: ...
    def close(self, leg: int) -> media_core.LegStats: ...
    def legs(self) -> list[int]: ...
    def counters(self) -> dict[str, int]: ...


class Listed(Slotted, Protocol):
    """A leg, as the switchboard knows it."""

    def forgotten(self) -> None: ...


def no_prompts(said: Said) -> Files:
    """Where nothing has been spoken yet."""
    return Files(())


class Switchboard(Generic[LegT, CallT]):
    def __init__(
        self,
        turn: Turn,
        media: Media,
        registrar: Registrar,
        services: Mapping[str, Service],
        snapshot: Snapshot,
        most_calls: int,
        *,
        host: str,
        unix: Callable[[], float],
        tokens: Callable[[], str],
        secrets: Callable[[int], bytes],
    ) -> None:
        self.turn = turn
        self.media = media
        self.registrar = registrar
        self.services = services
        self.snapshot = snapshot
        self.most_calls = most_calls
        self.host = host  # address phones are told, in SDP and From
        self.unix = unix  # wall clock, for stories only
        self.tokens = tokens
        self.secrets = secrets  # SDES keys
        self.prompts: Callable[[Said], Files] = no_prompts
        self.sessions: dict[str, LegT] = {}
        self.ports: dict[int, LegT] = {}  # media leg -> leg
        self.calls: dict[str, CallT] = {}  # call id -> call, until it has ended
        self.leaving: dict[str, LegT] = {}  # sessions of legs that have ended, until the goodbye is through
        self.probes: dict[str, LegT] = {}  # transaction that asks whether a phone is still there
        self.rooms: dict[int, Any] = {}  # conferences by number
        self.selftest: set[str] = set()  # ids of extensions whose calls are the self-test's
        self.finished: deque[tuple[int | None, CallRecord]] = deque()  # slot, record
        self.changed = asyncio.Event()  # something waits to be written to disk
        self.news: asyncio.Queue[cti.Message] = asyncio.Queue()
        self.faults = Faults()
        self._numbers = 0  # of bridges

    def number(self) -> int:
        """Of the next bridge."""
        self._numbers += 1
        return self._numbers

    def numbered(self, number: int) -> None:
        """This one is taken."""
        self._numbers = max(self._numbers, number)

    def settle(self) -> None:
        """Before a turn is committed: which legs have changed with their sessions."""
        stack, turn = self.turn.driver.stack, self.turn
        for id in stack.touched:
            leg = self.sessions.get(id)
            if leg is not None:
                turn.changed(leg)
        stack.touched.clear()
        for id in [id for id in self.leaving if not stack.alive(id)]:
            leg = self.leaving.pop(id)
            for _ in range(2):  # once more what a fault has kept from being done
                try:
                    leg.forgotten()
                    break
                except Exception as error:
                    self.fault(error, Said.of("fault.turn", error=type(error).__name__))

    def finish(self, slot: int | None, record: CallRecord) -> None:
        """A call is over: its record goes to the disk, once this turn counts."""

        def leave() -> None:
            self.finished.append((slot, record))
            self.changed.set()

        self.turn.later(leave, None)

    def fault(self, error: BaseException, said: Said) -> None:
        """A bug of ours, caught where it could cost no more than this sentence says."""
        log.error("%s", english().say(said, escape=printable), exc_info=error)
        self.faults.add(said, self.unix())

    def sip(self, command: Callable[[Stack, float], T]) -> T:
        return self.turn.sip(command)

    def quietly(self, command: Callable[[Stack, float], Any]) -> None:
        """The other side may have given up in the meantime."""
        try:
            self.turn.sip(command)
        except WrongState:
            log.debug("a command came too late")

    def sounds(self, sound: Sound) -> Sequence[Tone] | Files:
        return self.prompts(sound) if isinstance(sound, Said) else sound

    def flow_of(self, binding: Binding) -> media_core.FlowInfo | None:
        """The flow to a phone; a UDP address is dialled again when its flow is gone. None when it cannot be reached."""
        driver = self.turn.driver
        if not binding.away and (info := driver.flow(binding.flow)) is not None:
            return info
        if binding.transport != "UDP":
            return None
        try:
            info = driver.dial_udp(binding.host, binding.port)
        except media_core.OutOfService:
            return None
        self.registrar.reattach(binding, info.id)
        return info
