"""Ringing an extension: an INVITE to each of its phones at once, the first answer wins (RFC 3261 §16.7 for the failures).

Early media of one phone only reaches the caller, the first that sends any; the others just ring. A phone of an extension with
"preferred" encryption is offered SRTP when its signalling is TLS, and once more without when it refuses that offer. The losers
are told that the call was completed elsewhere, so that it is not listed as missed (RFC 3326).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import media_core
from appliance import cti
from appliance.callcontrol.api import Cause, Clear, Party
from appliance.callcontrol.exchange import Exchange
from appliance.callcontrol.leg import PhoneLeg
from appliance.callcontrol.registrar import Binding
from appliance.callcontrol.terms import widened
from appliance.calls.causes import best, cause_of
from appliance.calls.history.record import LegRecord
from appliance.config.model import Extension
from appliance.sip import events
from appliance.sip.errors import PeerError, UnusableAddress, WrongState
from appliance.words import Person, Said

if TYPE_CHECKING:
    from appliance.callcontrol.call import Call

log = logging.getLogger(__name__)

ELSEWHERE = ("Reason", 'SIP;cause=200;text="Call completed elsewhere"')
UNSUITABLE = (415, 488, 606)  # the offer is refused, not the call
FOR_ALL = (600, 603, 604)  # a person has decided, or there is nobody: RFC 3261 §16.7 step 5


class Fork:
    def __init__(self, call: Call, exchange: Exchange, extension: Extension) -> None:
        self._call = call
        self._exchange = exchange
        self._extension = extension
        self._events: asyncio.Queue[tuple[PhoneLeg, events.Event]] = asyncio.Queue()
        self._early: PhoneLeg | None = None
        self._rang = False
        self.branches: list[PhoneLeg] = []
        self.refused: list[LegRecord] = []
        self.answer: PhoneLeg | None = None

    def deliver(self, leg: PhoneLeg, event: events.Event) -> None:
        self._events.put_nowait((leg, event))

    def lost(self, leg: PhoneLeg, status: int) -> None:
        self._events.put_nowait((leg, events.Rejected(leg.session, status, "Lost", None)))

    async def winner(self) -> PhoneLeg:
        """The leg that has answered; Clear when nobody has, or nobody can."""
        exchange = self._exchange
        lines = self._call.snapshot.lines_of.get(self._extension.id, ())
        for line in lines:
            for binding in exchange.registrar.bindings(line.id):
                self._ring_phone(binding)
        if not self.branches:
            raise Clear(Cause.ABSENT)
        self._call.save()
        exchange.news.put_nowait(cti.CallsChanged())
        try:
            async with asyncio.timeout(self._extension.ring_seconds):
                while self.answer is None:
                    leg, event = await self._events.get()
                    if leg in self.branches:
                        self._take(leg, event)
        except TimeoutError:
            raise Clear(Cause.NO_ANSWER) from None
        return self.answer

    def drop(self, *, answered: bool) -> None:
        """Stop ringing all phones but the one that has answered; idempotent."""
        for leg in self.branches:
            if leg is self.answer:
                continue
            self._exchange.leave(leg)
            if not leg.over:
                leg.over = True
                self._stop(leg, [ELSEWHERE] if answered else [])
            leg.close(self._exchange.media)
        self.branches = [self.answer] if self.answer is not None else []

    def _stop(self, leg: PhoneLeg, headers: list[tuple[str, str]]) -> None:
        try:
            self._exchange.sip(lambda stack, now: stack.hang_up(leg.session, now, headers=headers))
        except WrongState:
            log.debug("call %s: %s is over already", self._call.id, leg.party)
        except Exception as error:  # the stack has cleared up behind it; the other phones must hear of it too
            who = Person(leg.party.name, leg.party.number)
            self._exchange.fault(error, Said.of("fault.ringing", error=type(error).__name__, who=who))

    def _ring_phone(self, binding: Binding) -> None:
        exchange, call = self._exchange, self._call
        if not binding.reachable or (flow := exchange.flow_of(binding)) is None:
            return
        try:
            port = exchange.media.open(call.caller.port.id)
        except media_core.OutOfService:
            if not self.branches:
                raise Clear(Cause.NO_CHANNEL) from None
            return  # ring as many as there are ports for
        party = Party(self._extension.number, self._extension.name)
        leg = PhoneLeg(
            exchange,
            side="callee",
            party=party,
            line=binding.line,
            encrypt=self._extension.encrypt,
            flow=flow,
            port=port,
        )
        leg.user_agent = binding.user_agent
        leg.target = binding.contact
        self.branches.append(leg)
        self._invite(leg)

    def _invite(self, leg: PhoneLeg) -> None:
        exchange, caller = self._exchange, self._call.caller
        formats = caller.terms.offered_formats()
        offer = leg.terms.offer(widened(formats) if leg.terms.wide else formats, "sendrecv")
        from_, headers = caller.identity(exchange.host)
        to = f"<sip:{leg.party.number}@{exchange.host}>"
        leg.session = exchange.sip(
            lambda stack, now: stack.invite(
                leg.flow.id, leg.target, now, from_=from_, to=to, offer=offer, headers=headers
            )
        )
        exchange.enter(self._call, leg)

    # ---- what the phones answer
    def _take(self, leg: PhoneLeg, event: events.Event) -> None:
        match event:
            case events.Progress(response=response):
                self._progress(leg, response.status, response.sdp)
            case events.Accepted(response=response):
                self._accepted(leg, response.sdp)
            case events.Rejected(status=503, response=None):
                self._rejected(leg, 408)  # nobody there: not an answer of the phone
            case events.Rejected(status=status):
                self._rejected(leg, status)

    def _progress(self, leg: PhoneLeg, status: int, body: bytes) -> None:
        call = self._call
        if call.caller.answered:
            return
        if body and self._early is None and call.caller.terms.has_offer and self._early_media(leg, status, body):
            return
        if body and self._early is not leg:
            with contextlib.suppress(PeerError):  # nobody hears it, but its 200 need not have the answer again (RFC 3262 §5)
                leg.terms.take_answer(body)
        if not self._rang and self._early is None and status in (180, 182, 183):
            self._rang = True
            self._tell_caller(180, b"")

    def _early_media(self, leg: PhoneLeg, status: int, body: bytes) -> bool:
        call = self._call
        try:
            leg.terms.take_answer(body)
            answer = call.caller.answer(leg)
        except UnusableAddress as error:  # its 200 has to carry the same answer (RFC 3261 §13.2.1)
            self._refuse(leg, error)
            return True
        except PeerError as error:
            log.info("call %s: early media of %s not used: %s", call.id, leg.party, error.reason)
            return False
        self._early = leg
        call.describe(leg)
        call.describe(call.caller)
        call.bridge = call.caller, leg
        call.connect_media()
        self._tell_caller(183 if status == 183 else 180, answer)
        return True

    def _tell_caller(self, status: int, body: bytes) -> None:
        caller = self._call.caller
        headers = caller.connected_line(self._exchange.host, self._call.callee)
        try:
            self._exchange.sip(
                lambda stack, now: stack.ring(caller.session, now, status=status, headers=headers, body=body)
            )
        except WrongState:
            log.debug("call %s: caller is gone", self._call.id)

    def _accepted(self, leg: PhoneLeg, body: bytes) -> None:
        try:
            if body or leg.terms.agreed is None:
                leg.terms.take_answer(body)
        except PeerError as error:
            self._refuse(leg, error)
            return
        self._call.describe(leg)
        self.answer = leg

    def _refuse(self, leg: PhoneLeg, error: PeerError) -> None:
        """What this phone has answered is of no use."""
        log.warning("call %s: answer of %s cannot be used: %s", self._call.id, leg.party, error.reason)
        self._stop(leg, [("Reason", f'SIP;cause=488;text="{error.reason}"')])
        self._rejected(leg, 488, retry=False)

    def _rejected(self, leg: PhoneLeg, status: int, *, retry: bool = True) -> None:
        self._exchange.leave(leg)
        if retry and status in UNSUITABLE and leg.terms.relent(self._call.caller.terms.offered_formats()):
            self._invite(leg)
            return
        leg.over = True
        leg.status = status
        self.branches.remove(leg)
        if self._early is leg:
            self._early = None
            self._call.bridge = None
            self._exchange.media.disconnect(leg.port.id)
        self.refused.append(leg.close(self._exchange.media))
        if not self.branches or status in FOR_ALL:
            final = best([record.status for record in self.refused])
            raise Clear(cause_of(final), status=final if final >= 400 and final not in (401, 407, 481, 408) else 0)
