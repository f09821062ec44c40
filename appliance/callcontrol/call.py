"""A call: legs, one script, one end. The B2BUA of RFC 7092 (signalling and media, each leg negotiated by itself).

The script is one asyncio task. It ends by itself, by a caller who hangs up (cancelled), by a cause (`Clear`) or by a bug, which
costs this call only: cause 41 and an alarm. Whatever the way, `_finish` runs once: it clears every leg, closes media, makes the
record and frees nothing else's. Hold, re-keying and codec changes go on beside the script: a phone's new offer is answered at
once from what both legs have in common, and the other leg is told afterwards (`_align`); only when nothing is in common must the
other phone be asked first.

Each transition is kept in the call's slot, from which `restored` builds the call again in a new process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec

import media_core
from appliance import cti
from appliance.callcontrol import api, cdr, diagnosis
from appliance.callcontrol.api import Cause, Clear, Party, Script, Tone
from appliance.callcontrol.causes import STATUS, WORDS
from appliance.callcontrol.exchange import Exchange
from appliance.callcontrol.leg import PhoneLeg
from appliance.callcontrol.ringing import Fork
from appliance.callcontrol.slot import CallSlot
from appliance.model import Extension, Snapshot
from appliance.sip import events
from appliance.sip.errors import PeerError, WrongState

log = logging.getLogger(__name__)

AUDIT = 30.0  # seconds between looks at a call whose phones may have vanished
SILENT_MS = 20_000  # no audio for this long makes a phone suspect
OFFER_RETRIES = 5
ACK_WAIT = 35.0  # the stack gives up a 2xx without ACK after 64*T1


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
        self.refusals: list[cdr.LegRecord] = []  # phones that have refused, for the record
        self.fork: Fork | None = None
        self.bridge: tuple[PhoneLeg, PhoneLeg] | None = None
        self.ended = False
        self._cause = Cause.NORMAL
        self._side: cdr.Side = "system"
        self._status = 0
        self._warning = ""
        self._left = asyncio.Event()
        self._played = asyncio.Event()
        self._confirmed = asyncio.Event()
        self._work: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._detached = False
        self._probes: dict[str, PhoneLeg] = {}
        self._aligning: set[PhoneLeg] = set()
        self._slot = exchange.journal.claim() if slot is None else slot

    # ---- life
    def start(self, script: Script) -> None:
        self._exchange.calls[self.id] = self
        for leg in self.legs:
            self._exchange.sessions[leg.session] = (self, leg)
        self._task = asyncio.get_running_loop().create_task(self._run(script), name=f"call {self.id}")

    def detach(self) -> list[asyncio.Task[None]]:
        """The process ends, the call does not: stop working on it and leave its slot as it is."""
        self._detached = True
        tasks = [*self._work, *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        return tasks

    def end(self, side: cdr.Side, cause: Cause, *, status: int = 0, warning: str = "") -> None:
        """Clear the call now. The first reason counts."""
        if self._task is None or self.ended or self._left.is_set():
            return
        self._side, self._cause, self._status, self._warning = side, cause, status, warning
        self._left.set()
        self._task.cancel()

    def clear(self) -> None:
        """An administrator or the self-test ends the call."""
        self.end("system", Cause.NORMAL)

    def fault(self, error: BaseException) -> None:
        """A bug of ours: it ends this call and is shown, nothing else."""
        log.error("call %s: fault", self.id, exc_info=error)
        self._exchange.alarms.append(f"An internal fault ended the call {self.id}: {type(error).__name__}.")
        self.end("system", Cause.TEMPORARY_FAILURE)

    async def _run(self, script: Script) -> None:
        self.save()
        try:
            await script(self)
        except Clear as clear:
            self._set("system", clear.cause, clear.status, clear.warning)
        except asyncio.CancelledError:
            if not self._detached and not self._left.is_set():  # cancelled by nobody we know
                self._set("system", Cause.TEMPORARY_FAILURE)
        except Exception as error:
            log.exception("call %s: fault in the script %s", self.id, self.script_name)
            self._exchange.alarms.append(f"An internal fault ended the call {self.id}: {type(error).__name__}.")
            self._set("system", Cause.TEMPORARY_FAILURE)
        finally:
            if not self._detached:
                self._finish()

    def _set(self, side: cdr.Side, cause: Cause, status: int = 0, warning: str = "") -> None:
        if not self._left.is_set():
            self._side, self._cause, self._status, self._warning = side, cause, status, warning
            self._left.set()

    def _finish(self) -> None:
        self.ended = True
        for task in self._work:
            task.cancel()
        if self.fork is not None:
            self.fork.drop(answered=False)
            self.refusals = self.fork.refused
        self._clear_caller()
        for leg in self.legs[1:]:
            self._clear_leg(leg)
        for leg in self.legs:
            self._exchange.sessions.pop(leg.session, None)
        record = self._record((*(leg.close(self._exchange.media) for leg in self.legs), *self.refusals))
        if self._slot is not None:
            self._exchange.journal.write(self._slot, CallSlot.of_record(record))
        self._exchange.calls.pop(self.id, None)
        self._exchange.finished.append((self._slot, record))
        self._exchange.changed.set()
        self._tell(cti.CallsChanged())
        log.info("call %s: %s", self.id, record.sentence)

    def _clear_caller(self) -> None:
        leg = self.caller
        if leg.over:
            return
        leg.over = True
        if leg.answered:
            self._hang_up(leg)
            return
        headers = [("Reason", f'Q.850;cause={int(self._cause)};text="{WORDS[self._cause]}"')]
        if self._warning:
            headers.append(("Warning", f'399 {self._exchange.host} "{self._warning}"'))
        status = self._status or STATUS[self._cause]
        if status == 503:
            headers.append(("Retry-After", "10"))
        self._sip_quietly(lambda stack, now: stack.reject(leg.session, status, now, headers=headers))

    def _clear_leg(self, leg: PhoneLeg) -> None:
        if not leg.over:
            leg.over = True
            self._hang_up(leg)

    def _hang_up(self, leg: PhoneLeg) -> None:
        headers = [("Reason", f'Q.850;cause={int(self._cause)};text="{WORDS[self._cause]}"')]
        self._sip_quietly(lambda stack, now: stack.hang_up(leg.session, now, headers=headers))

    def _sip_quietly(self, command: Any) -> None:
        """Clearing goes on when a leg is gone already."""
        try:
            self._exchange.sip(command)
        except WrongState:
            log.debug("call %s: already over", self.id)

    def _record(self, legs: tuple[cdr.LegRecord, ...]) -> cdr.CallRecord:
        callee = self.callee or Party(self.dialled)
        record = cdr.CallRecord(
            id=self.id,
            started=self.started,
            answered=self.answered,
            ended=self._exchange.unix(),
            caller_number=self.caller.party.number,
            caller_name=self.caller.party.name,
            dialled=self.dialled,
            callee_number=callee.number,
            callee_name=callee.name,
            outcome=cdr.outcome_of(self._cause, self._side, answered=self.answered is not None),
            cause=int(self._cause),
            hung_up_by=self._side,
            legs=legs,
            selftest=self.selftest,
        )
        return msgspec.structs.replace(record, sentence=diagnosis.sentence(record))

    # ---- verbs of a script
    def reached(self, step: str) -> None:
        self.step = step
        self.save()

    async def answer(self) -> None:
        """Answer the caller by ourselves."""
        if not self.caller.answered:
            await self._answer_caller(None)

    async def ring(self, extension: Extension) -> api.Leg:
        self.callee = Party(extension.number, extension.name)
        self.fork = Fork(self, self._exchange, extension)
        try:
            leg = await self.fork.winner()
        finally:
            fork, self.fork = self.fork, None
            fork.drop(answered=fork.answer is not None)
            self.refusals = fork.refused
        self.legs.append(leg)
        leg.answered = True
        return leg

    async def play(self, leg: api.Leg, tones: Sequence[Tone]) -> None:
        phone = self._mine(leg)
        payload_type = phone.tone_payload_type()
        if payload_type is None:  # no G.711 agreed: silence instead of the prompt
            return
        self._played.clear()
        self._exchange.media.play(phone.port.id, tones, payload_type)
        async with asyncio.timeout(sum(tone[2] for tone in tones) / 1000 + 5):
            await self._played.wait()

    def connect(self, a: api.Leg, b: api.Leg) -> None:
        self.bridge = self._mine(a), self._mine(b)
        self._connect_media()
        self.save()

    async def talk(self) -> None:
        """Until a leg hangs up; meanwhile phones that have vanished are found."""
        for leg in self.legs:
            self._align(leg)
        while True:
            try:
                async with asyncio.timeout(AUDIT):
                    await self._left.wait()
                return
            except TimeoutError:
                self._audit()

    async def answer_with(self, leg: PhoneLeg) -> None:
        """Answer the caller with what the phone that answered can do, and connect both."""
        if not self.caller.answered:
            await self._answer_caller(leg)
        # the early answer of another phone may have bound the caller to codecs that this one did not choose
        if not self.caller.common(leg) and not await self._reoffer(leg, self.caller.formats()):
            raise Clear(Cause.INCOMPATIBLE)
        self.connect(self.caller, leg)
        self.reached("talking")

    async def _answer_caller(self, other: PhoneLeg | None) -> None:
        leg, sip = self.caller, self._exchange.sip
        headers = leg.connected_line(self._exchange.host, self.callee)
        try:
            body = leg.answer_body(other)
        except PeerError as error:
            raise Clear(Cause.INCOMPATIBLE, status=488, warning=error.reason) from error
        try:
            sip(lambda stack, now: stack.accept(leg.session, body, now, headers=headers))
        except WrongState as error:  # cancelled in this very moment; the event is on its way
            raise Clear(Cause.NORMAL) from error
        leg.answered = True
        self.answered = self._exchange.unix()
        if leg.waits_for_answer:  # late offer: the ACK brings the answer
            async with asyncio.timeout(ACK_WAIT):
                await self._confirmed.wait()
        self.describe(leg)
        self._tell(cti.CallsChanged())

    def describe(self, leg: PhoneLeg) -> None:
        """Tell the media core what was agreed for this leg."""
        self._exchange.media.describe(leg.port.id, leg.remote())

    def _mine(self, leg: api.Leg) -> PhoneLeg:
        assert isinstance(leg, PhoneLeg)
        return leg

    def _connect_media(self) -> None:
        if self.bridge is None:
            return
        a, b = self.bridge
        self._exchange.media.connect(a.port.id, b.port.id, a.payload_map(b), b.payload_map(a))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Work beside the script that ends with the call."""
        task = asyncio.get_running_loop().create_task(self._guard(work), name=f"call {self.id} beside")
        self._work.add(task)
        task.add_done_callback(self._work.discard)

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
                self._late_answer(leg, body)
            case events.Progress() | events.Accepted() | events.Rejected():
                if self.fork is not None:
                    self.fork.deliver(leg, event)
            case events.Offered(request=request):
                self._offered(leg, request)
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
                self.fork.lost(leg)
            return
        if by == "peer":
            self.end(leg.side, Cause.NORMAL)
        else:
            log.warning("call %s: %s is gone: %s", self.id, leg.party, reason)
            self.end("system", Cause.TIMER)

    def _late_answer(self, leg: PhoneLeg, body: bytes) -> None:
        """The ACK of our 2xx that carried an offer (late offer of the INVITE or of a re-INVITE)."""
        if leg.waits_for_answer:
            try:
                leg.take_answer(body)
            except PeerError as error:
                log.warning("call %s: %s answered in its ACK: %s", self.id, leg.party, error.reason)
                self.end("system", Cause.INCOMPATIBLE)
                return
            leg.follow_answer()
            self.describe(leg)
            self._after_offer(leg)
        if leg is self.caller:
            self._confirmed.set()
        self.save()

    def _offered(self, leg: PhoneLeg, request: Any) -> None:
        sip = self._exchange.sip
        other = self.other(leg)
        try:
            if not request.body:
                body = leg.offer_body(leg.formats(), leg.direction_for(other))
                leg.waits_for_answer = True
                sip(lambda stack, now: stack.accept(leg.session, body, now))
                return
            if request.content_type != "application/sdp":
                raise PeerError(415, "Unsupported Media Type", (("Accept", "application/sdp"),))
            leg.take_offer(request.body)
            if other is not None and other is not leg and not leg.offered_common(other):
                self.spawn(self._ask_other(leg, other))
                return
            answer = leg.answer_body(other)
        except PeerError as error:
            leg.forget_offer()
            status, reason, headers = error.status, error.reason, error.headers
            sip(lambda stack, now: stack.reject(leg.session, status, now, reason=reason, headers=headers))
            return
        sip(lambda stack, now: stack.accept(leg.session, answer, now))
        self.describe(leg)
        self._after_offer(leg)

    async def _ask_other(self, leg: PhoneLeg, other: PhoneLeg) -> None:
        """The new offer has no codec in common with the other leg: change that one first."""
        if await self._reoffer(other, leg.offered_formats()):
            answer = leg.answer_body(other)
            self._exchange.sip(lambda stack, now: stack.accept(leg.session, answer, now))
            self.describe(leg)
            self._after_offer(leg)
        else:
            leg.forget_offer()
            self._exchange.sip(lambda stack, now: stack.reject(leg.session, 488, now))

    def _after_offer(self, leg: PhoneLeg) -> None:
        self._connect_media()
        other = self.other(leg)
        if other is not None and other is not leg:
            self._align(other)
        self.save()
        self._tell(cti.CallsChanged())

    def other(self, leg: PhoneLeg) -> PhoneLeg | None:
        if self.bridge is None or leg not in self.bridge:
            return None
        return self.bridge[1] if leg is self.bridge[0] else self.bridge[0]

    def _align(self, leg: PhoneLeg) -> None:
        """Offer the leg the direction that the other one wants now, if it has another."""
        other = self.other(leg)
        if other is None or other is leg or leg in self._aligning or not leg.answered:
            return
        if leg.direction_for(other) != leg.local_direction:
            self._aligning.add(leg)
            self.spawn(self._align_until(leg, other))

    async def _align_until(self, leg: PhoneLeg, other: PhoneLeg) -> None:
        try:
            while leg.direction_for(other) != leg.local_direction and not leg.over:
                if not await self._reoffer(leg, leg.formats()):
                    return
        finally:
            self._aligning.discard(leg)

    async def _reoffer(self, leg: PhoneLeg, formats: Any) -> bool:
        """re-INVITE; True when the phone has taken it. Glare is tried again (RFC 3261 §14.1)."""
        for attempt in range(OFFER_RETRIES):
            if attempt:
                await asyncio.sleep(2.2 if leg.side == "callee" else 1.0)  # who made the Call-ID waits longer
            if leg.over:
                return False
            body = leg.offer_body(formats, leg.direction_for(self.other(leg)))
            answered = leg.expect_answer()
            try:
                self._exchange.sip(lambda stack, now, body=body: stack.offer(leg.session, body, now))  # type: ignore[misc]
            except WrongState:  # another offer is under way
                leg.forget_offer()
                continue
            event = await answered
            if 200 <= event.status < 300 and event.response is not None:
                try:
                    leg.take_answer(event.response.body)
                except PeerError as error:
                    log.warning("call %s: %s answered a re-INVITE with %s", self.id, leg.party, error.reason)
                    return False
                self.describe(leg)
                self._connect_media()
                self.save()
                self._tell(cti.CallsChanged())
                return True
            leg.forget_offer()
            if event.status not in (491, 500, 503):
                return False
        return False

    def _in_dialog(self, leg: PhoneLeg, transaction: str, request: Any) -> None:
        status, headers = 405, [("Allow", ", ".join(ALLOW))]
        if request.method == "INFO":
            digit = _info_digit(request)
            status, headers = (200, []) if digit else (415, [("Accept", ", ".join(INFO_TYPES))])
            other = self.other(leg)
            if digit and other is not None and other is not leg:
                self._exchange.media.send_digits(other.port.id, digit)
        elif request.method == "OPTIONS":
            status = 200
        elif request.method == "NOTIFY":
            status, headers = 481, []
        self._exchange.sip(lambda stack, now: stack.respond(transaction, status, now, headers=headers))

    # ---- what the media core and the network do
    def media(self, event: media_core.Event) -> None:
        match event:
            case media_core.PlayEnded():
                self._played.set()
            case media_core.MediaStarted() | media_core.MediaSilent():
                self._tell(cti.CallsChanged())

    def moved(self, line: str, old: int, flow: media_core.FlowInfo) -> None:
        """A phone of this line has come back on another flow."""
        fork_legs = self.fork.branches if self.fork is not None else []
        for leg in [*self.legs, *fork_legs]:
            if leg.line == line and leg.flow.id == old and not leg.over:
                leg.flow = flow
                self._sip_quietly(lambda stack, now, leg=leg: stack.rebind(leg.session, flow.id, now))
                self.save()

    def _audit(self) -> None:
        """Ask phones that have been silent whether they still have this call (a lost phone sends no BYE)."""
        for leg in self.legs:
            if leg.over or not leg.answered:
                continue
            stats = self._exchange.media.stats(leg.port.id)
            silent = not 0 <= stats.received.last_seen_ms < SILENT_MS
            if silent and leg not in self._probes.values():
                self._probe(leg)
        self.save()

    def _probe(self, leg: PhoneLeg) -> None:
        try:
            transaction = self._exchange.sip(lambda stack, now: stack.request("OPTIONS", now, session=leg.session))
        except WrongState:
            return
        self._probes[transaction] = leg

    def probed(self, transaction: str, status: int) -> None:
        leg = self._probes.pop(transaction, None)
        if leg is None or self.ended:
            return
        if status == 481:  # the phone has forgotten the call
            self.end("system", Cause.TIMER)
        elif status in (408, 503):
            leg.missed += 1
            if leg.missed >= 2:
                self.end("system", Cause.TIMER)
        else:
            leg.missed = 0

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
            caller=self.leg_view(self.caller),
            callees=[self.leg_view(leg) for leg in callees],
            dialled=self.dialled,
        )

    def leg_view(self, leg: PhoneLeg) -> cti.LegView:
        return leg.view(self.other(leg), self._exchange.media)

    def _tell(self, message: cti.Message) -> None:
        self._exchange.news.put_nowait(message)


ALLOW = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER", "INFO", "UPDATE")
INFO_TYPES = ("application/dtmf-relay", "application/dtmf")


def _info_digit(request: Any) -> str:
    """The digit of a SIP INFO of the old kind, "" when it is none."""
    text = request.body[:200].decode("ascii", "replace")
    if request.content_type == "application/dtmf":
        digit = text.strip()
    elif request.content_type == "application/dtmf-relay":
        fields = dict(line.partition("=")[::2] for line in text.splitlines())
        digit = next((value.strip() for name, value in fields.items() if name.strip().lower() == "signal"), "")
    else:
        return ""
    return digit.upper() if len(digit) == 1 and digit.upper() in "0123456789*#ABCD" else ""
