"""The turn: everything that happens in `calls` happens in one, and a turn commits before it speaks.

1. It reads inputs from the rings without moving their read indices.
2. Legs and calls act on them; messages and commands to the media core wait in the outbox.
3. When nothing is ready any more, the slots of what has changed go to their older halves, with the outbox and how far was read.
4. One aligned store of the turn's number makes all of them count (media_core.Slots).
5. The read indices move, then the outbox leaves.

So a kill at any instruction leaves the last committed turn: what was read after it is read again, what it wanted to say is said again,
which SIP takes as a repetition, and nobody has heard anything of a turn that does not count.

One event, one message, one step of a script is one exception boundary: whoever raises costs what it belongs to. Where nobody can be charged,
for the turn itself fails, nothing of it is said and the process ends: the next one goes on from the turn before. It reads one input at a
time, and leaves one out that fails again alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol, TypeVar

import media_core
from appliance.flows.driver import Driver, Event
from appliance.sip.stack import Stack
from appliance.sip.timers import Timers
from appliance.words import Said

log = logging.getLogger(__name__)

INPUTS = 128  # read at most in one turn
BEHIND = 8  # turns in a row that have read so many: the box does not keep up
RETRY = 0.005  # seconds until messages are offered again to a core that took none
SOFTWARE = 70  # exit status: a fault of ours (sysexits.h)

T = TypeVar("T")


class Engine(Protocol):
    """What of `media_core.MediaEngine` a turn needs."""

    def fileno(self) -> int: ...
    def poll(self, limit: int = 256) -> list[media_core.Event]: ...
    def positions(self) -> tuple[int, ...]: ...
    def consumed(self) -> None: ...
    def cork(self) -> None: ...
    def uncork(self) -> None: ...


class Slotted(Protocol):
    """A leg or a call: what is kept of it in a slot."""

    slot: int | None

    @property
    def area(self) -> media_core.Area: ...
    def pack(self) -> bytes:
        """b"": nothing, the slot is free again."""


class Runs(Protocol):
    """What can be ready: a call whose script has something to look at."""

    def step(self) -> None: ...


class Poison(Exception):
    """An input with which a turn could not be committed."""


def end_process() -> None:
    os._exit(SOFTWARE)


class Turn:
    def __init__(self, engine: Engine, driver: Driver, slots: media_core.Slots) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self.driver = driver
        self.slots = slots
        self.timers = Timers()
        self.handle: Callable[[Event], None] = lambda event: None  # call control's way in
        self.fault: Callable[[BaseException, Any, Said], None] = lambda error, whose, said: None
        self.settle: Callable[[], None] = lambda: None  # finds what else has changed
        self.die: Callable[[], None] = end_process
        self._ready: dict[Runs, None] = {}
        self._changed: dict[Slotted, None] = {}
        self._commands: deque[tuple[Callable[[], Any], Any]] = deque()  # what to do, and for whom
        self._inside = False
        self._retry = False  # the core has taken no more messages
        self._closed = False
        self._reading = False
        self._timer: asyncio.TimerHandle | None = None
        self._full = 0  # turns in a row that have read INPUTS
        self._leave_out = slots.failure > 1  # the next input: with it alone a process before this one has failed
        self._careful = INPUTS if slots.failure else 0  # inputs that are still read one at a time
        self._alone = False  # this turn has read one input and no other

    @property
    def now(self) -> float:
        return self._loop.time()

    @property
    def behind(self) -> bool:
        """The box does not keep up with what comes in."""
        return self._full >= BEHIND

    def begin(self) -> None:
        """From now on inputs are read."""
        self._loop.add_reader(self._engine.fileno(), self._readable)
        self._reading = True
        self.run(lambda: None)

    def close(self) -> None:
        """No further turn. Flows, media and slots stay as they are."""
        self._closed = True
        if self._reading:
            self._loop.remove_reader(self._engine.fileno())
        if self._timer is not None:
            self._timer.cancel()

    # ---- inside a turn
    def sip(self, command: Callable[[Stack, float], T]) -> T:
        return self.driver.run(command, self.now)

    def later(self, command: Callable[[], Any], whose: Any) -> None:
        """A command to the media core, when the turn has been committed."""
        self._commands.append((command, whose))

    def changed(self, slotted: Slotted) -> None:
        """Its slot is written at the end of the turn."""
        self._changed[slotted] = None

    def ready(self, run: Runs) -> None:
        self._ready[run] = None

    def alarm(self, owner: Hashable, name: str, when: float) -> None:
        """`owner.timer(name, now)` at this moment."""
        self.timers.set(owner, name, when)

    # ---- turns
    def run(self, work: Callable[[], T]) -> T:
        """A turn for what comes from elsewhere (a page, a new configuration)."""
        if self._inside or self._closed:
            return work()
        self._inside, self._alone = True, False
        self._engine.cork()  # one wake-up for all that the turn says
        try:
            return work()
        finally:
            self._guarded(self._finish)
            self._engine.uncork()
            self._inside = False

    def _finish(self) -> None:
        for step in (self._settle, self._commit, self._leave, self._set_timer):
            step()

    def _guarded(self, step: Callable[[], None]) -> None:
        """Of the turn itself: nothing may come behind it when it fails."""
        if self._closed:
            return
        try:
            step()
        except Exception as error:
            log.critical("a turn has failed: call control ends, its successor goes on from the last one that counts", exc_info=error)
            self.slots.fail(self._alone)
            self.close()
            self.die()

    def _readable(self) -> None:
        self.run(lambda: self._guarded(self._read))

    def _read(self) -> None:
        found: Sequence[media_core.Event] = self._engine.poll(1 if self._careful else INPUTS)
        self._full = self._full + 1 if len(found) >= INPUTS else 0
        if self._careful and found:
            self._alone, self._careful = True, self._careful - 1
            if self._leave_out:
                self._leave_out, kind = False, type(found[0]).__name__
                self.fault(Poison(kind), None, Said.of("fault.input", event=kind))
                found = ()
        now = self.now
        for event in found:  # all of them first: who dials and gives up in the same moment rings nobody
            self.driver.take(event, now)
        self._settle()
        self._due()

    def _wake(self) -> None:
        self._timer = None
        self.run(lambda: self._guarded(self._due))

    def _due(self) -> None:
        now = self.now
        self.driver.wake(now)
        while (due := self.timers.due(now)) is not None:
            owner: Any = due[0]
            try:
                owner.timer(due[1], now)
            except Exception as error:
                self.fault(error, owner, Said.of("fault.timer", error=type(error).__name__))

    def _settle(self) -> None:
        """Until nothing is ready any more."""
        events = self.driver.events
        while True:
            while events:
                self.handle(events.popleft())
            if not self._ready:
                return
            run = next(iter(self._ready))
            del self._ready[run]
            try:
                run.step()
            except Exception as error:
                self.fault(error, run, Said.of("fault.turn", error=type(error).__name__))

    def _commit(self) -> None:
        self.settle()
        while self._changed:
            slotted, _ = self._changed.popitem()
            if slotted.slot is None:
                continue
            try:
                payload = slotted.pack()
                if not payload:
                    slotted.area.free(slotted.slot)
                    slotted.slot = None
                elif not slotted.area.write(slotted.slot, payload):
                    log.warning("%r is too large for its slot, the slot stays as it was", slotted)
            except Exception as error:
                self.fault(error, slotted, Said.of("fault.slot", error=type(error).__name__))
        self.slots.commit(self._engine.positions(), self.driver.outbox)
        self._engine.consumed()

    def _leave(self) -> None:
        while self._commands:
            command, whose = self._commands.popleft()
            try:
                command()
            except media_core.StaleHandle:
                log.debug("a media leg was closed before")
            except Exception as error:
                self.fault(error, whose, Said.of("fault.command", error=type(error).__name__))
        self._retry = not self.driver.leave()
        if not self._retry:
            self.slots.left()

    def _set_timer(self) -> None:
        if self._closed:
            return
        whens = [when for when in (self.driver.deadline(), self.timers.deadline()) if when is not None]
        if self._ready or self.driver.events or self._changed:
            whens.append(self.now)
        elif self._retry:
            whens.append(self.now + RETRY)
        when = min(whens, default=None)
        if when is None:
            return
        if self._timer is not None:
            if self.now < self._timer.when() <= when:  # most deadlines are called off again: to wake once for nothing is less work than to move it each time
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._wake)
