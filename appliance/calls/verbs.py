"""The verbs of a call script (`api.Call`): waiting, what is remembered of a run, and what shall be with legs and sound.

A verb says what shall be: it looks at what is and does the rest. What it waits for stands in the legs, so it is only woken and looks again.
Those that had ended when the process died return at once what they had returned (`_again`, `_done`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import Any, NoReturn

import msgspec

from appliance import cti
from appliance.calls import api, bridge
from appliance.calls.api import Cause, Clear, Left, Sound, Unanswered
from appliance.calls.fork import Fork, failed
from appliance.calls.history.facts import Kind
from appliance.calls.history.story import Story
from appliance.calls.legs.endpoint import Endpoint
from appliance.calls.legs.leg import Leg
from appliance.calls.legs.terms import bridges
from appliance.calls.plan.party import Party
from appliance.calls.switchboard import Switchboard
from appliance.config.claims import EXTENSION, Destination
from appliance.config.model import Snapshot
from appliance.sip.errors import WrongState

ACK_WAIT = 40.0  # seconds; the stack gives up a 2xx without ACK after 64*T1 and says so
AUDIT_EVERY = 30.0
REMEMBERED = 64  # verbs that have ended since the state was kept last


class _Pause:
    """Until something has happened."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Verbs(ABC):
    """What a script does with its call; what a call is and how it ends is `Call`'s."""

    id: str

    def __init__(self, board: Switchboard[Leg, Any], story: Story) -> None:
        self._board = board
        self.story = story
        self.snapshot: Snapshot = board.snapshot
        self.callee: Party | None = None  # whom it shall reach, before anybody has answered
        self.caller_leg: Leg | None = None
        self.all_legs: list[Leg] = []
        self.refused: list[int] = []
        self.ring_from = 0
        self.ring_until = 0.0
        self.rang = False
        self.answered_at: float | None = None  # the caller, unix
        self._kept = b""
        self._epoch = 0  # how often the state was kept
        self._finished: list[Any] = []  # what the verbs since then have returned
        self._count = 0  # verbs of this run
        self._left: list[Left] = []  # legs that another call has adopted

    @abstractmethod
    def open_leg(self, party: Party, endpoint: Endpoint) -> Leg: ...

    @abstractmethod
    def woken(self, leg: Leg) -> None: ...

    @abstractmethod
    def failed(self, error: BaseException) -> None: ...

    @abstractmethod
    def _changed(self) -> None: ...

    # ---- waiting
    async def _until(self, true: Callable[[], Any], *legs: Leg, deadline: float | None = None) -> bool:
        """False: the deadline has passed. Left when one of these legs, or the caller's, is not ours any more."""
        turn = self._board.turn
        while not true():
            self._look_at(*legs)
            if deadline is not None:
                if turn.now >= deadline:
                    return False
                turn.alarm(self, "wait", deadline)
            await _Pause()
        turn.timers.clear(self, "wait")
        return True

    def _look_at(self, *legs: Leg) -> None:
        if self._left:
            raise self._left.pop(0)
        watched = (*legs, self.caller_leg) if self.caller_leg is not None else legs
        for leg in watched:
            if leg is not None and leg.over:
                raise Left(leg)

    def keep(self, state: msgspec.Struct) -> None:
        self._forget_verbs(msgspec.msgpack.encode(state))

    def _forget_verbs(self, kept: bytes) -> None:
        self._kept = kept
        self._epoch += 1
        self._finished, self._count = [], 0
        self._changed()

    def _again(self) -> tuple[int, Any]:
        """The serial of this verb, and what it returned before the restart; None: it has not ended."""
        self._look_at()
        self._count += 1
        serial = (self._epoch % 0x8000) << 16 | self._count
        return serial, self._finished[self._count - 1] if self._count <= len(self._finished) else None

    def _done(self, result: Any) -> Any:
        if len(self._finished) == self._count - 1 < REMEMBERED:
            self._finished.append(result)
            self._changed()
        return result

    # ---- verbs about legs
    async def answered(self, leg: api.Leg) -> None:
        await self._answered(own(leg), None)

    async def _answered(self, leg: Leg, other: Leg | None) -> None:
        if leg.incoming and leg.state in ("initiated", "alerting"):
            try:
                leg.answer(other, self.callee)
                self.answered_at = self._board.unix()
            except WrongState as error:  # cancelled in this very moment; the event is on its way
                raise Left(leg) from error
            self._board.news.put_nowait(cti.CallsChanged())
            self._changed()
        deadline = self._board.turn.now + ACK_WAIT
        if not await self._until(lambda: leg.answered and not leg.stream.terms.owed, leg, deadline=deadline):
            raise Clear(Cause.TIMER)

    async def ringing(self, who: Destination, *, seconds: float = 0.0) -> Leg:
        _, done = self._again()
        if done is not None:
            found = next((leg for leg in self.all_legs if leg.who == done[0]), None)
            if found is not None:
                return found
            if not done[2]:  # it has left meanwhile
                raise Clear(Cause.NORMAL)
            raise Unanswered(done[1], Cause(done[2]), status=done[3])
        fork = Fork(self._board, self)
        try:
            if not self.ring_from:
                extension = self.snapshot.extensions.get(who.id) if who.kind == EXTENSION else None
                if extension is None:
                    raise failed(Cause.UNALLOCATED)
                if self.callee is None or self.callee.number != extension.number:
                    self.story.add(self._board.unix(), Kind.WANTED, 0, extension.number, extension.name)
                fork.begin(extension, seconds or extension.ring_seconds)
            leg = await self._first(fork)
        except Unanswered as error:
            fork.stop(None)
            self._done((0, error.outcome, int(error.cause), error.status))
            raise
        fork.stop(leg)
        self._done((leg.who, "", 0, 0))
        return leg

    async def _first(self, fork: Fork) -> Leg:
        while (leg := fork.look()) is None:
            await self._until(_once(), deadline=self.ring_until)
        return leg

    async def bridged(self, a: api.Leg, b: api.Leg) -> NoReturn:
        one, two = own(a), own(b)
        fresh = one.partner is not two or not (one.answered and two.answered)
        await self._answered(one, two)
        await self._answered(two, one)
        if fresh:
            # the early answer of another phone may have bound the caller to codecs that this one did not choose
            if not one.stream.terms.shares(two.stream.terms) and not two.stream.terms.wide:
                two.shall_have(one.stream.terms.formats())
                await self._until(lambda: two.is_as_it_shall, one, two)
            if not bridges(one.stream.terms, two.stream.terms):
                raise Clear(Cause.INCOMPATIBLE)
            if one.partner is two and one.bridge is not None:
                one.bridge.connect()
            else:
                bridge.Pair.of(self._board, one, two, self._board.number())
        await self._for_ever(one, two)

    async def looped(self, leg: api.Leg) -> NoReturn:
        this = own(leg)
        if this.bridge is None or this.bridge.kind != "loop":
            bridge.Loop.of(self._board, this, self._board.number())
        await self._for_ever(this)

    async def mixed(self, leg: api.Leg, room: int, *, muted: bool = False) -> NoReturn:
        this = own(leg)
        mix = bridge.room(self._board, room)
        if this.bridge is not mix:
            mix.enter(this, muted=muted)
        await self._for_ever(this)

    async def _for_ever(self, *legs: Leg) -> NoReturn:
        """Until one of them leaves; those that have vanished are found."""
        self._board.turn.alarm(self, "audit", self._board.turn.now + AUDIT_EVERY)
        while True:
            await self._until(_once(), *legs)

    async def hold(self, leg: api.Leg) -> None:
        await self._held(own(leg), True)

    async def retrieve(self, leg: api.Leg) -> None:
        await self._held(own(leg), False)

    async def _held(self, leg: Leg, held: bool) -> None:
        leg.hold(held)
        await self._until(lambda: leg.is_as_it_shall, leg)

    # ---- verbs about sound
    async def play(self, leg: api.Leg, sound: Sound) -> None:
        this = own(leg)
        serial, done = self._again()
        if done is None and this.play(sound, serial) and not getattr(sound, "loop", False):
            longest = _seconds(self._board.sounds(sound))
            deadline = self._board.turn.now + longest if longest else None
            await self._until(lambda: this.played == serial, this, deadline=deadline)
        self._done(True)

    async def record(
        self, leg: api.Leg, path: str, *, sides: str = "received", seconds: int = 0, until: str = ""
    ) -> float:
        this = own(leg)
        serial, done = self._again()
        if done is not None:
            return float(done)
        if until:
            this.listen()
        this.record(path, serial, sides=sides, seconds=seconds)
        await self._until(lambda: this.recorded[0] == serial or any(each in this.digits for each in until), this)
        if this.recorded[0] != serial:
            this.record("", serial)
            await self._until(lambda: this.recorded[0] == serial, this)
            this.collected(len(this.digits))  # not before: until then the key says, after a restart too, that it has to end
        return float(self._done(this.recorded[1] / 1000))

    async def collect(
        self, leg: api.Leg, *, prompt: Sound | None = None, most: int = 1, seconds: float = 5.0, until: str = ""
    ) -> str:
        this = own(leg)
        serial, done = self._again()
        if done is not None:
            return str(done)
        this.listen()
        turn = self._board.turn
        if prompt is not None and not this.digits and this.play(prompt, serial):
            longest = _seconds(self._board.sounds(prompt))
            deadline = turn.now + longest if longest else None
            await self._until(lambda: this.played == serial or this.digits, this, deadline=deadline)
            if this.played != serial:
                this.stop_playing()

        def complete() -> bool:
            return len(this.digits) >= most or any(each in this.digits for each in until)

        while not complete():
            before = this.digits
            if not await self._until(lambda: this.digits != before, this, deadline=turn.now + seconds):  # noqa: B023
                break
        found = this.digits[:most]
        end = min((found.index(each) for each in until if each in found), default=len(found))
        this.collected(min(end + 1, len(found)))
        return str(self._done(found[:end]))

    async def send_digits(self, leg: api.Leg, digits: str) -> None:
        this = own(leg)
        serial, done = self._again()
        if done is None:
            this.send_digits(digits, serial)
            deadline = self._board.turn.now + 1 + len(digits)
            await self._until(lambda: this.sent == serial, this, deadline=deadline)
        self._done(True)


def own(leg: api.Leg) -> Leg:
    assert isinstance(leg, Leg)
    return leg


def _once() -> Callable[[], bool]:
    """True the second time it is asked: a wait for whatever happens."""
    asked = iter((False,))
    return lambda: next(asked, True)


def _seconds(sound: Any) -> float:
    """How long it takes at most, should its end not be told; 0.0: nobody knows."""
    return sum(tone[2] for tone in sound) / 1000 + 1 if isinstance(sound, (tuple, list)) else 0.0
