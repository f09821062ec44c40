"""A call: legs, one script, one end. The B2BUA of RFC 7092 (signalling and media, each leg negotiated by itself).

The script is one asyncio task. It ends by itself, by a caller who hangs up (cancelled), by a cause (`Clear`) or by a bug, which
costs this call only: cause 41 and an alarm. Whatever the way, `_finish` runs once: it clears every leg, closes media, makes the
record and frees nothing else's. Hold, re-keying and codec changes go on beside the script (`renegotiation`).

Each transition is kept in the call's slot, from which `recovery` builds the call again in a new process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec

import media_core
from appliance import cti
from appliance.callcontrol.abilities import DIGITS, info_digit
from appliance.callcontrol.api import Cause, Clear, Party, Script
from appliance.callcontrol.audit import Audit
from appliance.callcontrol.exchange import Exchange
from appliance.callcontrol.leg import PhoneLeg
from appliance.callcontrol.renegotiation import Renegotiation
from appliance.callcontrol.ringing import Fork
from appliance.callcontrol.slot import CallSlot
from appliance.callcontrol.verbs import Verbs
from appliance.calls import causes
from appliance.calls.causes import STATUS
from appliance.calls.history.diagnosis import diagnose
from appliance.calls.history.record import CallRecord, LegRecord, outcome_of
from appliance.config.model import Snapshot
from appliance.sip import events
from appliance.sip.errors import WrongState
from appliance.sip.text.message import Request
from appliance.words import Person, PhoneNumber, Said, english, printable

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


class Call:
    def __init__(
        self,
        exchange: Exchange,
        id: str,
        caller: PhoneLeg,
        dialled: str,
        script_name: str,
        snapshot: Snapshot,
        *,
        started: float,
        slot: int | None = None,
    ) -> None:
        self._exchange = exchange
        self.id = id
        self.caller = caller
        self.dialled = dialled
        self.script_name = script_name
        self.snapshot = snapshot
        self.step = ""
        self.started = started
        self.answered: float | None = None
        self.selftest = False
        self.callee: Party | None = None  # whom the caller wanted, before anybody answered
        self.legs: list[PhoneLeg] = [caller]
        self.refusals: list[LegRecord] = []  # phones that have refused, for the record
        self.fork: Fork | None = None
        self.bridge: tuple[PhoneLeg, PhoneLeg] | None = None
        self.ended = False
        self._cause = Cause.NORMAL
        self._side = "system"  # who ended it, see CallRecord.hung_up_by
        self._status = 0
        self._warning = ""
        self._left = asyncio.Event()
        self.played = asyncio.Event()  # the tones of a script
        self.confirmed = asyncio.Event()  # ACK of the caller
        self.renegotiation = Renegotiation(self, exchange)
        self._work: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._detached = False
        self._audit = Audit(exchange)
        self._slot = slot

    # ---- life
    def start(self, script: Script) -> None:
        if self._slot is None:
            self._slot = self._exchange.journal.claim()
        self._task = asyncio.get_running_loop().create_task(self._run(script), name=f"call {self.id}")
        self._task.add_done_callback(self._done)
        self._exchange.calls[self.id] = self
        for leg in self.legs:
            self._exchange.enter(self, leg)

    def _done(self, task: asyncio.Task[None]) -> None:
        """Cancelled before its first step, or the end itself has met a fault: the end is gone through now."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._report(error)
        if not self._detached and self.id in self._exchange.calls:
            self._finish()

    def detach(self) -> list[asyncio.Task[None]]:
        """The process ends, the call does not: stop working on it and leave its slot as it is."""
        self._detached = True
        tasks = [*self._work, *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        return tasks

    def end(self, side: str, cause: Cause, *, status: int = 0, warning: str = "") -> None:
        """Clear the call now. The first reason counts."""
        if self._task is None or self.ended or self._left.is_set():
            return
        self._side, self._cause, self._status, self._warning = side, cause, status, warning
        self._left.set()
        self._task.cancel()

    def fault(self, error: BaseException) -> None:
        """A bug of ours: it ends this call and is shown, nothing else."""
        self._report(error)
        self.end("system", Cause.TEMPORARY_FAILURE)

    async def _run(self, script: Script) -> None:
        try:
            self.save()
            await script(Verbs(self, self._exchange))
        except Clear as clear:
            self._set("system", clear.cause, clear.status, clear.warning)
        except asyncio.CancelledError:
            if not self._detached and not self._left.is_set():  # cancelled by nobody we know
                self._set("system", Cause.TEMPORARY_FAILURE)
        except Exception as error:
            self._set("system", Cause.TEMPORARY_FAILURE)
            self._report(error)
        finally:
            if not self._detached:
                self._finish()

    def _report(self, error: BaseException) -> None:
        caller = Person(self.caller.party.name, self.caller.party.number)
        number = PhoneNumber(self.dialled)
        self._exchange.fault(error, Said.of("fault.call", error=type(error).__name__, caller=caller, number=number))

    def _set(self, side: str, cause: Cause, status: int = 0, warning: str = "") -> None:
        if not self._left.is_set():
            self._side, self._cause, self._status, self._warning = side, cause, status, warning
            self._left.set()

    def _finish(self) -> None:
        """Each step is taken, whatever becomes of the others."""
        self.ended = True
        for task in self._work:
            task.cancel()
        if self.fork is not None:
            self._surely(lambda fork: fork.drop(answered=False), self.fork)
            self.refusals = self.fork.refused
        self._surely(self._clear_caller, self.caller)
        for leg in self.legs[1:]:
            self._surely(self._clear_leg, leg)
        for leg in self.legs:
            self._exchange.leave(leg)
        closed = [self._surely(lambda leg: leg.close(self._exchange.media), leg) for leg in self.legs]
        record = self._surely(self._record, (*(leg for leg in closed if leg is not None), *self.refusals))
        if self._slot is not None and record is not None:
            self._surely(lambda slot: self._exchange.journal.write(slot, CallSlot.of_record(record)), self._slot)
        if record is not None:
            self._exchange.finished.append((self._slot, record))
            log.info("call %s: %s", self.id, english().say(record.said, escape=printable))
        elif self._slot is not None:
            self._exchange.journal.free(self._slot)
        self._exchange.calls.pop(self.id, None)
        self._exchange.changed.set()
        self._tell(cti.CallsChanged())

    def _surely(self, step: Callable[[T], R], argument: T) -> R | None:
        """A step of the clearing; a fault is tried once more, for a call must not stay."""
        for _ in range(2):
            try:
                return step(argument)
            except Exception as error:
                self._report(error)
        return None

    def _clear_caller(self, leg: PhoneLeg) -> None:
        if leg.over:
            return
        if leg.answered:
            self._clear_leg(leg)
            return
        headers = [self._reason()]
        if self._warning:
            headers.append(("Warning", f'399 {self._exchange.host} "{self._warning}"'))
        status = self._status or STATUS[self._cause]
        if status == 503:
            headers.append(("Retry-After", "10"))
        self._sip_quietly(lambda stack, now: stack.reject(leg.session, status, now, headers=headers))
        leg.over = True

    def _reason(self) -> tuple[str, str]:
        return "Reason", f'Q.850;cause={int(self._cause)};text="{english().say(causes.said(self._cause))}"'

    def _clear_leg(self, leg: PhoneLeg) -> None:
        if not leg.over:
            self._hang_up(leg)
            leg.over = True

    def _hang_up(self, leg: PhoneLeg) -> None:
        headers = [self._reason()]
        self._sip_quietly(lambda stack, now: stack.hang_up(leg.session, now, headers=headers))

    def _sip_quietly(self, command: Any) -> None:
        """Clearing goes on when a leg is gone already."""
        try:
            self._exchange.sip(command)
        except WrongState:
            log.debug("call %s: already over", self.id)

    def _record(self, legs: tuple[LegRecord, ...]) -> CallRecord:
        callee = self.callee or Party(self.dialled)
        record = CallRecord(
            id=self.id,
            started=self.started,
            answered=self.answered,
            ended=self._exchange.unix(),
            caller_number=self.caller.party.number,
            caller_name=self.caller.party.name,
            dialled=self.dialled,
            callee_number=callee.number,
            callee_name=callee.name,
            outcome=outcome_of(self._cause, self._side, answered=self.answered is not None),
            cause=int(self._cause),
            hung_up_by=self._side,
            legs=legs,
            selftest=self.selftest,
        )
        return msgspec.structs.replace(record, said=diagnose(record))

    def describe(self, leg: PhoneLeg) -> None:
        """Tell the media core what was agreed for this leg."""
        self._exchange.media.describe(leg.port.id, leg.terms.remote(leg.flow.remote[0]))

    def connect_media(self) -> None:
        """Compile the bridge, if there is one, into the media core."""
        if self.bridge is not None:
            a, b = self.bridge
            self._exchange.media.connect(
                a.port.id, b.port.id, a.terms.payload_map(b.terms), b.terms.payload_map(a.terms)
            )

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Work beside the script that ends with the call."""
        task = asyncio.get_running_loop().create_task(self._guard(work), name=f"call {self.id} beside")
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        task.add_done_callback(lambda _: work.close())  # cancelled before its first step, it would be complained of

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self.fault(error)

    # ---- what the phones do
    def handle(self, leg: PhoneLeg, event: events.Event) -> None:
        if self.ended:
            return
        match event:
            case events.Cancelled():
                leg.over = True
                self.end("caller", Cause.NORMAL)
            case events.Ended(by=by, reason=reason):
                self._ended(leg, by, reason)
            case events.Confirmed(body=body):
                if leg.terms.owed:
                    self.renegotiation.late_answer(leg, body)
                if leg is self.caller:
                    self.confirmed.set()
            case events.Progress() | events.Accepted() | events.Rejected():
                if self.fork is not None:
                    self.fork.deliver(leg, event)
            case events.Offered(request=request):
                self.renegotiation.offered(leg, request)
            case events.OfferAnswered():
                leg.offer_answered(event)
            case events.InDialog(transaction=transaction, request=request):
                self._in_dialog(leg, transaction, request)

    def _ended(self, leg: PhoneLeg, by: str, reason: str) -> None:
        if leg.over:
            return
        leg.over = True
        if leg not in self.legs:
            if self.fork is not None:
                self.fork.lost(leg, 500 if by == "fault" else 503)
            return
        if by == "peer":
            self.end(leg.side, Cause.NORMAL)
        else:
            log.warning("call %s: %s is gone: %s", self.id, leg.party, reason)
            self.end("system", Cause.TEMPORARY_FAILURE if by == "fault" else Cause.TIMER)

    def other(self, leg: PhoneLeg) -> PhoneLeg | None:
        """The phone this one talks to, None for none (or only with itself)."""
        if self.bridge is None or leg not in self.bridge or self.bridge[0] is self.bridge[1]:
            return None
        return self.bridge[1] if leg is self.bridge[0] else self.bridge[0]

    def _in_dialog(self, leg: PhoneLeg, transaction: str, request: Request) -> None:
        """INFO, the only one that the stack does not answer by itself; without a body it asks whether the call is still there."""
        digit, other = info_digit(request) if request.body else "", self.other(leg)
        if digit and other is not None:
            self._exchange.media.send_digits(other.port.id, digit)
        status = 200 if digit or not request.body else 415
        headers = [] if status == 200 else [("Accept", ", ".join(DIGITS))]
        self._exchange.sip(lambda stack, now: stack.respond(transaction, status, now, headers=headers))

    # ---- what the media core and the network do
    def media(self, leg: PhoneLeg, event: media_core.Event) -> None:
        leg.quality.take(event)
        match event:
            case media_core.PlayEnded():
                self.played.set()
            case media_core.MediaQuality():
                if leg.quality.now is not None:
                    log.info("call %s: the sound from %s is poor: %s", self.id, leg.party, english().say(leg.quality.now))
                self.save()
                self._tell(cti.CallsChanged())
            case media_core.MediaStarted() | media_core.MediaSilent() | media_core.AuthenticationFailed():
                self._tell(cti.CallsChanged())

    def moved(self, line: str, old: int, flow: media_core.FlowInfo) -> None:
        """A phone of this line has come back on another flow."""
        fork_legs = self.fork.branches if self.fork is not None else []
        for leg in [*self.legs, *fork_legs]:
            if leg.line == line and leg.flow.id == old and not leg.over:
                leg.flow = flow
                self._exchange.enter(self, leg)
                self._sip_quietly(lambda stack, now, leg=leg: stack.rebind(leg.session, flow.id, now))
                self.save()

    def look(self) -> None:
        """Look for phones that have vanished."""
        self._audit.look(self.legs)
        self.save()

    def probed(self, transaction: str, status: int) -> None:
        if not self.ended and self._audit.answered(transaction, status):
            self.end("system", Cause.TIMER)

    # ---- what is shown and kept
    def save(self) -> None:
        """Keep this state in the slot."""
        if self._slot is None or self.ended or self._detached:
            return
        if not self._exchange.journal.write(self._slot, CallSlot.of(self, self._exchange)):
            log.warning("call %s: too large for its slot, would not survive a restart", self.id)

    def view(self) -> cti.CallView:
        callees = self.legs[1:] or (self.fork.branches if self.fork is not None else [])
        return cti.CallView(
            id=self.id,
            started=self.started,
            answered=self.answered,
            caller=self.caller.view(self.other(self.caller), self._exchange.media),
            callees=[leg.view(self.other(leg), self._exchange.media) for leg in callees],
            dialled=self.dialled,
        )

    def _tell(self, message: cti.Message) -> None:
        self._exchange.news.put_nowait(message)
