"""A call: a script and the legs that name it as their owner (ECMA-269). The B2BUA of RFC 7092: signalling and media, each leg by itself.

The script is a coroutine, stepped whenever something stands in one of the legs that was not there before. It ends by returning, by a cause
(`Clear`), by a leg that has left (`Left`), or by a bug, which costs this call only: cause 41 and an alarm. Whatever the way, `_finish` runs
once: it clears every leg, writes the record and frees nothing else's.

After a restart the script runs again with its kept state. The verbs that had ended since then return at once what they had returned, so it
comes to where it was, and goes on with the legs as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NoReturn

import msgspec

import media_core
from appliance import cti
from appliance.calls import api
from appliance.calls.api import Cause, Clear, Left
from appliance.calls.history.facts import Kind
from appliance.calls.history.story import Story
from appliance.calls.history.summary import record as record_of
from appliance.calls.legs.endpoint import Endpoint
from appliance.calls.legs.leg import Leg
from appliance.calls.legs.stream import Stream
from appliance.calls.plan.party import AccountExceeded, Link, Party
from appliance.calls.switchboard import Switchboard
from appliance.calls.turns import slots
from appliance.calls.verbs import AUDIT_EVERY, Verbs, own
from appliance.config.claims import SERVICE, Destination
from appliance.config.model import Extension
from appliance.sip.errors import PeerError
from appliance.words import Person, PhoneNumber, Said, english

log = logging.getLogger(__name__)


class _Go(Exception):
    def __init__(self, to: Destination) -> None:
        super().__init__()
        self.to = to


class Call(Verbs):
    def __init__(
        self, board: Switchboard[Leg, Call], id: str, target: Destination, *, dialled: str = "", argument: str = "", story: Story | None = None
    ) -> None:  # fmt: skip
        super().__init__(board, story or Story(id))
        self.id = id
        self.target = target
        self.dialled = dialled
        self.argument = argument
        self.started = board.unix()
        self.selftest = False
        self.slot: int | None = None
        self.area = board.turn.slots.calls
        self._record = b""
        self._script: Coroutine[Any, Any, None] | None = None
        self._said: Said | None = None  # how it went, where the story cannot tell
        self.shares = False  # its story is another call's, too
        self._over = False

    def __repr__(self) -> str:
        return f"call {self.id}"

    # ---- life
    def begin(self) -> None:
        """It exists from here on; its script runs in this turn."""
        if self.slot is None:
            self.slot = self.area.claim()
        self._board.calls[self.id] = self
        self._changed()
        self._board.turn.ready(self)
        self._board.news.put_nowait(cti.CallsChanged())

    def _changed(self) -> None:
        self._board.turn.changed(self)

    def told(self, wanted: Extension | None) -> None:
        """The story begins: what was dialled, and whom that is to reach."""
        now, service = self._board.unix(), self._board.services.get(_script_of(self.target))
        self.story.add(now, Kind.BEGAN, 0, self.dialled, service.name if service is not None else "", self.selftest)
        if wanted is not None:
            self.callee = Party(wanted.number, wanted.name)
            self.story.add(now, Kind.WANTED, 0, wanted.number, wanted.name)
        elif service is not None:
            self.callee = Party(self.dialled, english().say(service.title))
            self.story.add(now, Kind.SERVICE, 0, service.name)

    def woken(self, leg: Leg) -> None:
        if not self._over:
            self._board.turn.ready(self)
            self._changed()

    def failed(self, error: BaseException) -> None:
        """A bug of ours: it ends this call and is shown, nothing else."""
        name, number = type(error).__name__, PhoneNumber(self.dialled)
        self._board.fault(error, Said.of("fault.call", error=name, caller=self._whose(), number=number))
        self._finish("system", Cause.TEMPORARY_FAILURE)

    def _whose(self) -> Person | Said:
        if self.caller_leg is None:
            return Said.of("fault.the-system")
        return Person(self.caller_leg.party.name, self.caller_leg.party.number)

    def end(self, who: str, cause: Cause = Cause.NORMAL, *, status: int = 0, warning: str = "") -> None:
        """Clear the call now; `who`: in words, from the page, or "system"."""
        self._board.turn.run(lambda: self._finish(who, cause, status=status, warning=warning))

    def cannot_go_on(self, why: Said) -> None:
        """What was kept of it is not enough for this version of the product."""
        self._said = why
        self.end("system", Cause.TEMPORARY_FAILURE)

    def timer(self, name: str, now: float) -> None:
        if name == "audit":
            for leg in self.legs:
                leg.look()
            self._board.turn.alarm(self, "audit", now + AUDIT_EVERY)
        self._board.turn.ready(self)

    def step(self) -> None:
        """Let the script look at what is; it goes on to its next wait."""
        if self._over:
            return
        try:
            if self._script is None:
                self._script = self._start()
            self._script.send(None)
        except StopIteration:
            self._finish("system", Cause.NORMAL)
        except Clear as clear:
            self._finish("system", clear.cause, status=clear.status, warning=clear.warning)
        except Left as left:
            self._finish(*_because_of(left))
        except _Go as go:
            self._go(go.to)
        except PeerError as error:
            self._finish("system", Cause.INCOMPATIBLE, status=error.status, warning=error.reason)
        except Exception as error:
            self.failed(error)

    def _start(self) -> Coroutine[Any, Any, None]:
        service = self._board.services.get(_script_of(self.target))
        if service is None:  # this version of the product has it no longer
            raise Clear(
                Cause.NOT_IMPLEMENTED if self.caller_leg is None or self.caller_leg.answered else Cause.UNALLOCATED
            )
        state = msgspec.msgpack.decode(self._kept, type=service.state) if self._kept else service.state()
        self._count = 0
        script = service.script(self, state)
        assert isinstance(script, Coroutine)
        return script

    def _go(self, to: Destination) -> None:
        self.target, self.argument, self._script, self.callee = to, "", None, None
        service = self._board.services.get(_script_of(to))
        if service is not None and to.kind == SERVICE:
            self.callee = Party(to.id, english().say(service.title))
        self._forget_verbs(b"")
        self._board.turn.ready(self)

    def _finish(self, who: str, cause: Cause, *, status: int = 0, warning: str = "") -> None:
        """Each step is taken, whatever becomes of the others."""
        if self._over:
            return
        self._over = True
        board = self._board
        board.turn.timers.clear(self, "wait", "audit")
        steps: list[Callable[[], object]] = [partial(self._clear, leg, cause, status, warning) for leg in self.all_legs]
        if self._script is not None:
            steps.append(self._script.close)
        steps += [partial(board.calls.pop, self.id, None), partial(self._write_down, who, cause)]
        for step in (each for each in steps for _ in range(2)):  # twice, for what a fault has kept from being done; done it does nothing
            try:
                step()
            except Exception as error:
                name, number = type(error).__name__, PhoneNumber(self.dialled)
                board.fault(error, Said.of("fault.clearing", error=name, caller=self._whose(), number=number))
        self._changed()
        board.news.put_nowait(cti.CallsChanged())

    def _clear(self, leg: Leg, cause: Cause, status: int, warning: str) -> None:
        if leg.over:
            return
        if leg.incoming and not leg.answered:
            leg.refuse(cause, status=status, warning=warning)
        else:
            leg.hang_up(cause)

    def _write_down(self, who: str, cause: Cause) -> None:
        """One entry for all the legs that ever stood together: the last of their calls writes it."""
        if self._record:
            return
        if self.shares and any(other.story is self.story for other in self._board.calls.values()):
            return
        self.story.add(self._board.unix(), Kind.OVER, 0, int(cause), who)
        record = record_of(self.story)
        if self._said is not None:
            record = msgspec.structs.replace(record, said=self._said)
        self._board.finish(self.slot, record)
        self._record = msgspec.msgpack.encode(record)

    # ---- legs
    @property
    def caller(self) -> Leg:
        if self.caller_leg is None:
            raise Clear(Cause.NORMAL)
        return self.caller_leg

    @property
    def legs(self) -> list[Leg]:
        return [leg for leg in self.all_legs if not leg.over]

    def open_leg(self, party: Party, endpoint: Endpoint, *, incoming: bool = False, side: str = "callee") -> Leg:
        """OutOfService: no port is free."""
        board = self._board
        beside = next((leg.stream.port.id for leg in self.legs), None)
        port = board.media.open(beside)
        try:
            return self._leg_at(port, party, endpoint, incoming, side)
        except BaseException:
            board.ports.pop(port.id, None)
            board.media.close(port.id)
            raise

    def _leg_at(self, port: media_core.Leg, party: Party, endpoint: Endpoint, incoming: bool, side: str) -> Leg:
        board = self._board
        stream = Stream.new(
            port, host=board.host, encrypt=endpoint.encrypt, secure=endpoint.secure, signalling=endpoint.flow.remote[0],
            secrets=board.secrets, owns=board.media.owns,
        )  # fmt: skip
        leg = Leg(
            board, self, side=side, party=party, endpoint=endpoint, stream=stream, incoming=incoming, who=self.story.leg()
        )  # fmt: skip
        leg.opened()
        self.all_legs.append(leg)
        if incoming:
            self.caller_leg = leg
        return leg

    def hang_up(self, leg: api.Leg, cause: Cause = Cause.NORMAL) -> None:
        own(leg).hang_up(cause)

    def adopt(self, leg: api.Leg) -> None:
        this = own(leg)
        other = this.owner
        if other is self or not isinstance(other, Call):
            return
        self._share_story(other)
        other.all_legs.remove(this)
        if other.caller_leg is this:
            other.caller_leg = None
        other._left.append(Left(this, self.id))
        if this.bridge is not None:
            this.bridge.left(this)
        this.belongs(self, this.who)
        self.all_legs.append(this)
        self._board.turn.ready(other)
        self._board.turn.ready(self)
        self._changed()

    def _share_story(self, other: Call) -> None:
        """One thread from now on; the legs of the other's go on in their numbers behind ours."""
        mine, theirs = self.story, other.story
        if mine is theirs:
            return
        merged = Story.merged(mine, theirs)
        for call in {self, other, *self._board.calls.values()}:
            if call.story is theirs:
                call._renumber(mine.last)
            if call.story in (mine, theirs):
                call.story, call.shares = merged, True
                call._changed()

    def _renumber(self, by: int) -> None:
        for leg in self.all_legs:
            leg.belongs(self, leg.who + by)
        if self.ring_from:
            self.ring_from += by

    def transfer(self, leg: api.Leg, to: Destination) -> None:
        self._sent_on(own(leg), "transfer")
        call = Call(self._board, self._board.tokens()[:16], to, dialled=to.id)
        call.selftest = self.selftest
        call.begin()
        call.adopt(leg)
        call.caller_leg = own(leg)

    async def go(self, to: Destination) -> NoReturn:
        if self.caller_leg is not None:
            self._sent_on(self.caller_leg, "forward")
        raise _Go(to)

    def _sent_on(self, leg: Leg, kind: Link) -> None:
        """It goes on, on the account of whom it has reached here. Clear when it goes in a circle."""
        try:
            leg.sent_on(kind, self.callee.number if self.callee is not None else self.dialled)
        except AccountExceeded as error:
            self._said = Said.of("call.in-a-circle", number=PhoneNumber(error.number))
            raise Clear(Cause.OUT_OF_ORDER, status=482) from error

    # ---- survival
    def pack(self) -> bytes:
        """Its slot; of a call that is over, only the record that waits to be written down."""
        if self._over:
            return slots.pack(slots.CallSlot(self.id, record=self._record)) if self._record else b""
        callee = (self.callee.number, self.callee.name) if self.callee is not None else ("", "")
        return slots.pack(
            slots.CallSlot(
                self.id,
                _script_of(self.target),
                self._kept,
                self.dialled,
                self.argument,
                (self.target.kind, self.target.id),
                self.started,
                self.selftest,
                callee,
                self.caller_leg.who if self.caller_leg is not None else 0,
                self.story.pack(),
                self._epoch,
                tuple(self._finished),
                self.ring_from,
                self.ring_until,
                tuple(self.refused),
                self.rang,
                answered=self.answered_at,
            )
        )

    def close(self) -> None:
        """The process ends, the call does not."""
        self._over = True
        if self._script is not None:
            self._script.close()


def restored(board: Switchboard[Leg, Call], slot: int, kept: slots.CallSlot, story: Story) -> Call:
    """As `kept` has it, without its legs yet."""
    call = Call(board, kept.id, Destination(*kept.target), dialled=kept.dialled, argument=kept.argument, story=story)
    call.slot, call.started, call.selftest = slot, kept.started, kept.selftest
    call.callee = Party(*kept.callee) if kept.callee[0] else None
    call.ring_from, call.ring_until = kept.ring_from, kept.ring_until
    call.refused, call.rang, call.answered_at = list(kept.refused), kept.rang, kept.answered
    call._kept, call._epoch, call._finished = kept.state, kept.epoch, list(kept.finished)
    return call


def _script_of(target: Destination) -> str:
    """Which script serves a destination: a service its own, everything else the one of its kind."""
    return target.id if target.kind == "service" else target.kind


def _because_of(left: Left) -> tuple[str, Cause]:
    """Who has ended the call, and why."""
    leg = left.leg
    assert isinstance(leg, Leg)
    if left.to:
        return "system", Cause.NORMAL
    if leg.ended_by == "peer":
        return leg.side, Cause.NORMAL
    return (
        "system",
        Cause.TEMPORARY_FAILURE
        if leg.ended_by == "fault"
        else Cause.TIMER
        if leg.ended_by == "timeout"
        else Cause.NORMAL,
    )
