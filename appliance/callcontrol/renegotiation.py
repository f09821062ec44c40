"""Offers after the first one: hold and resume, re-keying, another codec, late offers (RFC 3264 §8, RFC 3261 §14).

Each leg is answered by itself. A phone's new offer is answered at once from what both legs have in common, and the other leg is
told afterwards, if its direction must change (`align`); only when nothing is in common the other phone is asked first, and if it has none of these codecs the core transcodes.
Glare is the stack's work; what it reports as failed leaves the session as it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from appliance import cti
from appliance.callcontrol.api import Cause
from appliance.callcontrol.exchange import Exchange
from appliance.callcontrol.leg import PhoneLeg, wanted
from appliance.callcontrol.terms import bridges
from appliance.sip.errors import PeerError, WrongState
from appliance.sip.media.negotiation import common
from appliance.sip.text.message import Request
from appliance.sip.text.sdp import Format

if TYPE_CHECKING:
    from appliance.callcontrol.call import Call

log = logging.getLogger(__name__)

TRIES = 5
AGAIN_AFTER = 2.2  # seconds, when another offer is under way


class Renegotiation:
    def __init__(self, call: Call, exchange: Exchange) -> None:
        self._call = call
        self._exchange = exchange
        self._aligning: set[PhoneLeg] = set()

    # ---- the phone offers
    def offered(self, leg: PhoneLeg, request: Request) -> None:
        """re-INVITE or UPDATE."""
        sip, other = self._exchange.sip, self._call.other(leg)
        self._give_up_ours(leg)
        try:
            if not request.sdp:
                body = leg.terms.offer(leg.terms.formats(), wanted(other))
                leg.terms.owed = True
                sip(lambda stack, now: stack.accept(leg.session, body, now))
                return
            leg.terms.take_offer(request.sdp)
            if other is not None and not leg.terms.shares(other.terms) and not self._transcodes(leg, other):
                self._call.spawn(self._ask_other(leg, other))
                return
            answer = leg.answer(other)
        except PeerError as error:
            leg.terms.forget()
            status, reason, headers = error.status, error.reason, error.headers
            sip(lambda stack, now: stack.reject(leg.session, status, now, reason=reason, headers=headers))
            return
        self._accept(leg, answer)

    @staticmethod
    def _transcodes(leg: PhoneLeg, other: PhoneLeg) -> bool:
        """They had nothing in common before this offer either, and need not have."""
        return not common(leg.terms.formats(), other.terms.formats()) and bridges(leg.terms, other.terms)

    def _accept(self, leg: PhoneLeg, answer: bytes) -> None:
        self._exchange.sip(lambda stack, now: stack.accept(leg.session, answer, now))
        self._changed(leg)

    async def _ask_other(self, leg: PhoneLeg, other: PhoneLeg) -> None:
        """The new offer has no codec in common with the other leg: change that one first, or else transcode."""
        if await self.offer(other, leg.terms.offered_formats()) or bridges(leg.terms, other.terms):
            try:
                answer = leg.answer(other)
            except PeerError:
                log.info("call %s: nothing in common any more", self._call.id)
            else:
                self._accept(leg, answer)
                return
        leg.terms.forget()
        self._exchange.sip(lambda stack, now: stack.reject(leg.session, 488, now))

    def late_answer(self, leg: PhoneLeg, body: bytes) -> None:
        """The ACK of our 2xx that carried an offer."""
        try:
            leg.terms.take_answer(body)
        except PeerError as error:
            log.warning("call %s: %s answered in its ACK: %s", self._call.id, leg.party, error.reason)
            self._call.end("system", Cause.INCOMPATIBLE)
            return
        leg.terms.owed = False
        leg.follow()  # the phone had asked for the offer: its answer says what it wants
        self._changed(leg)

    def _changed(self, leg: PhoneLeg) -> None:
        self._call.describe(leg)
        self._call.connect_media()
        other = self._call.other(leg)
        if other is not None:
            self.align(other)
        self._exchange.news.put_nowait(cti.CallsChanged())

    # ---- we offer
    def align(self, leg: PhoneLeg) -> None:
        """Offer the leg the direction that the other one wants now, if it has another."""
        other = self._call.other(leg)
        if other is None or leg in self._aligning or not leg.answered:
            return
        if leg.direction_for(other) != leg.terms.direction:
            self._aligning.add(leg)
            self._call.spawn(self._align_until(leg, other))

    async def _align_until(self, leg: PhoneLeg, other: PhoneLeg) -> None:
        try:
            while leg.direction_for(other) != leg.terms.direction and not leg.over:
                if not await self.offer(leg, leg.terms.formats()):
                    return
        finally:
            self._aligning.discard(leg)

    async def offer(self, leg: PhoneLeg, formats: Sequence[Format]) -> bool:
        """re-INVITE; True when the phone has taken it."""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(AGAIN_AFTER)
            if leg.over:
                return False
            answered = leg.expect_answer()
            try:
                body = leg.terms.offer(formats, leg.direction_for(self._call.other(leg)))
                self._exchange.sip(lambda stack, now, body=body: stack.offer(leg.session, body, now))  # type: ignore[misc]
            except WrongState:  # another offer is under way
                continue
            self._call.save()
            event = await answered
            if 200 <= event.status < 300 and event.response is not None:
                return self._taken(leg, event.response.sdp)
            self._give_up_ours(leg)
            if event.status not in (491, 500, 503):
                return False
        return False

    @staticmethod
    def _give_up_ours(leg: PhoneLeg) -> None:
        """Our offer came to nothing; theirs, which may have come meanwhile, stays."""
        if leg.terms.media.state == "offered":
            leg.terms.forget()

    def _taken(self, leg: PhoneLeg, body: bytes) -> bool:
        try:
            leg.terms.take_answer(body)
        except PeerError as error:
            log.warning("call %s: %s answered a re-INVITE with: %s", self._call.id, leg.party, error.reason)
            leg.terms.forget()
            return False
        self._call.describe(leg)
        self._call.connect_media()
        self._call.save()
        self._exchange.news.put_nowait(cti.CallsChanged())
        return True
