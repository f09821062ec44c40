"""Offers of a leg after the first one (RFC 3264 §8, RFC 3261 §14): hold and retrieve, re-keying, other codecs, late offers.

Each leg is answered by itself. The phone's new offer is answered at once from what both legs have in common; only when nothing is, the other
leg is asked first (bridge.Pair). Ours are made one at a time until the leg is as it shall be: glare and further tries stay in here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from appliance.calls.history.facts import Kind
from appliance.calls.legs.sound import Sounding
from appliance.sip import events
from appliance.sip.errors import PeerError, WrongState
from appliance.sip.text.message import Request
from appliance.sip.text.sdp import Format

log = logging.getLogger(__name__)

TRIES = 5  # of an offer that met another one
AGAIN_AFTER = 2.2  # seconds


class Offering(Sounding):
    # ---- offers of the phone, after the first
    def _offered(self, request: Request) -> None:
        """re-INVITE or UPDATE: answered at once, or when the other leg has been asked for these codecs."""
        terms = self.stream.terms
        self._give_up_ours()
        try:
            if not request.sdp:
                body = self.stream.offer_all(terms.formats())
                self._board.sip(lambda stack, now: stack.accept(self.session, body, now))
                return
            terms.take_offer(request.sdp)
            if self.bridge is not None and not self.bridge.offered(self):
                self._due = True
                return
            self._answer_offer()
        except PeerError as error:
            self._refuse_offer(error)

    def answer_offer(self) -> None:
        """The other leg has been asked: now the answer that waited."""
        if not self._due or self.over:
            return
        self._due = False
        try:
            self._answer_offer()
        except PeerError:
            log.info("%s and the other leg have nothing in common any more", self.party)
            self._refuse_offer(PeerError(488, "Not Acceptable Here"))

    def _answer_offer(self) -> None:
        other = self.partner
        was = self.held_by_them
        body = self.stream.answer(other.stream if other is not None else None)
        self._board.sip(lambda stack, now: stack.accept(self.session, body, now))
        self._renegotiated(was)
        self._woken()

    def _renegotiated(self, was_held: bool) -> None:
        """Something else was agreed."""
        if self.held_by_them != was_held:
            self.tells(Kind.HELD if self.held_by_them else Kind.RESUMED, "them")
        self._described()
        if self.bridge is not None:
            self.bridge.renegotiated(self)

    def _refuse_offer(self, error: PeerError) -> None:
        self.stream.terms.forget()
        self._board.quietly(
            lambda stack, now: stack.reject(self.session, error.status, now, reason=error.reason, headers=error.headers)
        )

    # ---- what it shall be, and our offers until it is
    def shall_have(self, formats: Sequence[Format]) -> None:
        """Other codecs; `Company.settled` follows."""
        self._wish, self._tries = tuple(formats), 0
        self._strive()

    def hold(self, held: bool) -> None:
        if self.stream.held_by_us != held:
            self.stream.held_by_us = held
            self._tries = 0
            self.tells(Kind.HELD if held else Kind.RESUMED, "us")
            self._strive()

    @property
    def is_as_it_shall(self) -> bool:
        """It knows what we want of it; a phone may have answered less, and is not asked again for that."""
        return self._wish is None and self.stream.held_by_us == self.stream.hold_told

    def _strive(self) -> None:
        if not self.answered or self._offering or self.is_as_it_shall or self._due:
            return
        formats = self._wish if self._wish is not None else self.stream.terms.formats()
        if self._tries >= TRIES:
            self._settled()
            return
        self._tries += 1
        try:
            body = self.stream.offer(formats)
            self._board.sip(lambda stack, now: stack.offer(self.session, body, now))
        except WrongState:  # another offer is under way
            self._board.turn.alarm(self, "again", self._board.turn.now + AGAIN_AFTER)
            return
        self._offering = True
        self._changed()

    def _offer_answered(self, event: events.OfferAnswered) -> None:
        self._offering = False
        if 200 <= event.status < 300 and event.response is not None:
            self._taken(event.response.sdp)
            self._settled()
            return
        self._give_up_ours()
        if event.status in (491, 500, 503) and self._tries < TRIES:
            self._board.turn.alarm(self, "again", self._board.turn.now + AGAIN_AFTER)
        else:
            self._settled()

    def _settled(self) -> None:
        self._wish = None
        self.stream.hold_told = self.stream.held_by_us
        if self.bridge is not None:
            self.bridge.settled(self)
        self._woken()

    def _taken(self, body: bytes) -> None:
        try:
            self.stream.terms.take_answer(body)
        except PeerError as error:
            log.warning("%s answered a re-INVITE with: %s", self.party, error.reason)
            self.stream.terms.forget()
            return
        self._renegotiated(self.held_by_them)

    def _give_up_ours(self) -> None:
        """Our offer came to nothing; theirs, which may have come meanwhile, stays."""
        if self.stream.terms.media.state == "offered":
            self.stream.terms.forget()

    def timer(self, name: str, now: float) -> None:
        if name == "again":
            self._strive()
        else:
            super().timer(name, now)
