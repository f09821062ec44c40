"""One session with one endpoint, and its media port. Nobody but the leg writes the leg.

What stands in it is `standing`, its sound `sound`, its offers `offers`; here it calls, is called, and ends.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import media_core
from appliance.calls.api import Cause
from appliance.calls.history import causes
from appliance.calls.history.causes import STATUS
from appliance.calls.history.facts import Kind
from appliance.calls.history.quality import Quality
from appliance.calls.legs.abilities import info_answer, info_digit
from appliance.calls.legs.endpoint import Endpoint
from appliance.calls.legs.kept import leg_slot
from appliance.calls.legs.offers import Offering
from appliance.calls.legs.standing import Owner
from appliance.calls.legs.stream import Stream
from appliance.calls.legs.terms import OWN, widened
from appliance.calls.plan.party import Party
from appliance.calls.switchboard import Switchboard
from appliance.calls.turns import slots
from appliance.sip import events
from appliance.sip.errors import PeerError, UnusableAddress, WrongState
from appliance.sip.text.message import Request
from appliance.sip.text.sdp import Format
from appliance.sip.text.uri import NameAddr, Uri
from appliance.words import english

log = logging.getLogger(__name__)

ELSEWHERE = ("Reason", 'SIP;cause=200;text="Call completed elsewhere"')
UNSUITABLE = (415, 488, 606)  # the offer is refused, not the call
SILENT_MS = 20_000
MISSES = 2


class Leg(Offering):
    # ---- as the called party
    def received(self, session: str, offer: bytes) -> None:
        """An INVITE has come. PeerError for an offer that cannot be taken; the leg stands all the same, to be refused."""
        self._enter(session)
        self._move("initiated")
        if offer:
            self.stream.terms.take_offer(offer)

    def ring(self, status: int = 180, answer: bytes = b"", callee: Party | None = None) -> None:
        """Tell the caller that it rings; with `answer` it hears early media."""
        headers = self._connected_line(callee)
        self._board.quietly(
            lambda stack, now: stack.ring(self.session, now, status=status, headers=headers, body=answer)
        )
        if self.state == "initiated":
            self._move("alerting")

    def early(self, other: Leg) -> bytes | None:
        """An early answer, so that the caller hears the other leg before anybody has answered; None when nothing fits."""
        if not self.stream.terms.has_offer:
            return None
        answer = self.stream.answer(other.stream)
        self.stream.early_answer = answer
        self.early_media = True
        self.describe()
        self._changed()
        return answer

    def answer(self, other: Leg | None, callee: Party | None = None) -> None:
        """Our 2xx. PeerError 488 when the offer has nothing that we or the other leg have; WrongState: the caller has given up."""
        body = self.stream.answer(other.stream if other is not None else None)
        headers = self._connected_line(callee)
        self._board.sip(lambda stack, now: stack.accept(self.session, body, now, headers=headers))
        self._move("connected")
        self.tells(Kind.ANSWERED)
        self._described()

    def refuse(self, cause: Cause, *, status: int = 0, warning: str = "") -> None:
        """The caller was not answered and will not be."""
        headers = [_reason(cause)]
        if warning:
            headers.append(("Warning", f'399 {self._board.host} "{warning}"'))
        status = status or STATUS[cause]
        if status == 503:
            headers.append(("Retry-After", "10"))
        self._board.quietly(lambda stack, now: stack.reject(self.session, status, now, headers=headers))
        self._end("system", cause)

    # ---- as the calling party
    def invite(self) -> None:
        """Ring the phone, with the codecs the caller can take."""
        terms, host, caller = self.stream.terms, self._board.host, self._caller
        formats = self._rung_with()
        offer = terms.offer(widened(formats) if terms.wide else formats, "sendrecv")
        from_, headers = identity(caller.party if caller is not None else self.party, host)
        to = f"<sip:{self.party.number}@{host}>"
        session = self._board.sip(
            lambda stack, now: stack.invite(
                self.endpoint.flow.id, self.endpoint.target, now, from_=from_, to=to, offer=offer, headers=headers
            )
        )
        self._leave()
        self._enter(session)
        if self.state == "null":
            self._move("initiated")
        self._changed()

    @property
    def _caller(self) -> Leg | None:
        return self.owner.caller_leg if self.owner is not None else None

    def _rung_with(self) -> Sequence[Format]:
        caller = self._caller
        return caller.stream.terms.offered_formats() if caller is not None else OWN

    # ---- the end
    def hang_up(
        self, cause: Cause = Cause.NORMAL, *, elsewhere: bool = False, reason: str = "", by: str = "system"
    ) -> None:
        """BYE, CANCEL or a refusal, what fits; of a leg that has ended, nothing. `elsewhere`: another one has answered (RFC 3326)."""
        if self.over:
            return
        if self.incoming and not self.answered:
            self.refuse(cause)
            return
        headers = [ELSEWHERE] if elsewhere else [("Reason", reason)] if reason else []
        if self.answered and not reason:
            headers = [_reason(cause)]
        if self.session:
            self._board.quietly(lambda stack, now: stack.hang_up(self.session, now, headers=headers))
        if elsewhere:
            self.tells(Kind.ELSEWHERE)
        self._end(by, cause)

    def _end(self, by: str, cause: Cause) -> None:
        """What others would be left with goes first, so that a fault on the way costs only words."""
        if self.over:
            return
        receives = self.answered and self.stream.wants_send
        board, port, bridge = self._board, self.stream.port.id, self.bridge
        self._move("ended")
        self.ended_by = by
        board.turn.timers.clear(self, "again", "hold tone", "relay")
        board.ports.pop(port, None)
        board.turn.later(lambda: board.media.close(port), None)
        if self.session:
            board.leaving[self.session] = self
        self._woken()
        if bridge is not None:
            bridge.left(self)
        try:
            stats = board.media.stats(port)
        except media_core.StaleHandle:
            stats = None
        if self.owner is not None and stats is not None:
            self.owner.story.counted(board.unix(), self.who, stats, self.quality, receives)
        self.tells(Kind.ENDED, by, int(cause))

    def forgotten(self) -> None:
        """The stack knows its session no longer: nothing more is to be said to this phone."""
        self._leave()
        self._changed()

    # ---- what the phone does
    def take(self, event: events.Event) -> None:
        """One event of its session."""
        if self.over:
            if isinstance(event, events.Accepted):  # 200 crossed our CANCEL (RFC 3261 §9.1)
                self._board.quietly(lambda stack, now: stack.hang_up(event.session, now))
            elif isinstance(event, events.InDialog):
                self._board.quietly(lambda stack, now: stack.respond(event.transaction, 481, now))
            return
        match event:
            case events.Progress(response=response):
                self._progress(response.status, response.sdp)
            case events.Accepted(response=response):
                self._accepted(response.sdp)
            case events.Rejected(status=503, response=None):
                self._rejected(408)  # nobody there: not an answer of the phone
            case events.Rejected(status=status):
                self._rejected(status)
            case events.Cancelled():
                self._end("peer", Cause.NORMAL)
            case events.Ended(by=by, reason=reason):
                if by != "peer":
                    log.warning("%s is gone: %s", self.party, reason)
                cause = Cause.NORMAL if by == "peer" else Cause.TEMPORARY_FAILURE if by == "fault" else Cause.TIMER
                self._end(by, cause)
            case events.Confirmed(body=body):
                self._confirmed(body)
            case events.Offered(request=request):
                self._offered(request)
            case events.OfferAnswered():
                self._offer_answered(event)
            case events.InDialog(transaction=transaction, request=request):
                self._in_dialog(transaction, request)
        self._changed()

    def _progress(self, status: int, body: bytes) -> None:
        if self.state == "initiated" and status in (180, 182, 183):
            self._move("alerting")
            self.tells(Kind.RANG)
        self.progress = status
        if body and not self.early_media:
            try:
                self.stream.terms.take_answer(body)
            except UnusableAddress as error:  # its 200 has to carry the same answer (RFC 3261 §13.2.1)
                self._unusable(error)
                return
            except PeerError as error:
                log.info("early media of %s is not used: %s", self.party, error.reason)
            else:
                self.early_media = True
                self.describe()
        self._woken()

    def _accepted(self, body: bytes) -> None:
        try:
            if body or self.stream.terms.agreed is None:
                self.stream.terms.take_answer(body)
        except PeerError as error:
            self._unusable(error)
            return
        self._move("connected")
        self.tells(Kind.ANSWERED)
        self._described()
        self._woken()

    def _unusable(self, error: PeerError) -> None:
        """What this phone has answered is of no use."""
        log.warning("the answer of %s cannot be used: %s", self.party, error.reason)
        reason = f'SIP;cause=488;text="{error.reason}"'
        self._board.quietly(lambda stack, now: stack.hang_up(self.session, now, headers=[("Reason", reason)]))
        self._refused(488)

    def _rejected(self, status: int) -> None:
        if status in UNSUITABLE and self.stream.terms.relent(self._rung_with()):
            self.invite()
        elif status == 408 and self.state == "initiated" and self.endpoint.next_way():
            self.stream.terms.forget()
            self.invite()
        else:
            self._refused(status)

    def _refused(self, status: int) -> None:
        self.status = status
        self.tells(Kind.REFUSED, status)
        self._end("peer", Cause.REJECTED)

    def _confirmed(self, body: bytes) -> None:
        terms = self.stream.terms
        if terms.owed:
            try:
                terms.take_answer(body)
            except PeerError as error:
                log.warning("%s answered in its ACK: %s", self.party, error.reason)
                self.hang_up(Cause.INCOMPATIBLE)
                return
            terms.owed = False
            was = self.held_by_them
            self.stream.follow()  # the phone had asked for the offer: its answer says what it wants
            self._renegotiated(was)
        self._strive()
        self._woken()

    # ---- other requests of the phone
    def _in_dialog(self, transaction: str, request: Request) -> None:
        """INFO, the only one that the stack does not answer by itself; without a body it asks whether the call is still there."""
        digit = info_digit(request) if request.body else ""
        if digit:
            self._pressed(digit)
            if self.bridge is not None:
                self.bridge.pressed(self, digit)
        status, headers = info_answer(request, digit)
        self._board.quietly(lambda stack, now: stack.respond(transaction, status, now, headers=headers))

    @property
    def media_host(self) -> str:
        """Where its packets come from, as far as is known."""
        try:
            return self._board.media.stats(self.stream.port.id).remote[0]
        except media_core.StaleHandle:
            return ""

    def moved(self, flow: media_core.FlowInfo) -> None:
        """Its phone has come back on another flow."""
        self.endpoint.moved(flow)
        if self.session:
            self._enter(self.session)
            self._board.quietly(lambda stack, now: stack.rebind(self.session, flow.id, now))
        self.tells(Kind.FLOW, self.endpoint.address, self.endpoint.transport, self.endpoint.secure)
        self._changed()

    def look(self) -> None:
        """A lost phone sends no BYE: one from which no sound has come for a while is asked by OPTIONS inside its dialog. 481 means it has
        forgotten the call; no answer twice means it is gone. Who answers is left alone, however long it is silent: it may be held or muted."""
        if not self.answered or self in self._board.probes.values():
            return
        age = self._board.media.stats(self.stream.port.id).received.last_seen_ms
        if 0 <= age < SILENT_MS:
            self._missed = 0
            return
        try:
            transaction = self._board.sip(lambda stack, now: stack.request("OPTIONS", now, session=self.session))
        except WrongState:
            return
        self._board.probes[transaction] = self

    def probed(self, status: int) -> None:
        """The answer to that question."""
        self._missed = self._missed + 1 if status in (408, 503) else 0
        if not self.over and (status == 481 or self._missed >= MISSES):
            self.hang_up(Cause.TIMER, by="timeout")

    # ---- headers
    def _connected_line(self, callee: Party | None) -> list[tuple[str, str]]:
        """Whom the caller has reached."""
        if callee is None:
            return []
        return [("P-Asserted-Identity", str(NameAddr(Uri("sip", callee.number, self._board.host), callee.name)))]

    # ---- survival
    def pack(self) -> bytes:
        """Its slot; b"" when nothing is left to be said to this phone."""
        try:
            dialog = self._board.turn.driver.stack.dump(self.session) if self.session else None
        except WrongState:
            dialog = None
        if self.over and dialog is None:
            return b""
        return slots.pack(leg_slot(self, dialog))


def _reason(cause: Cause) -> tuple[str, str]:
    return "Reason", f'Q.850;cause={int(cause)};text="{english().say(causes.said(cause))}"'


def identity(party: Party, host: str) -> tuple[str, list[tuple[str, str]]]:
    """From and the asserted identity towards the other side: the line's extension, never what the phone claims."""
    address = str(NameAddr(Uri("sip", party.number, host), party.name))
    return address, [("P-Asserted-Identity", address)]


def restored(board: Switchboard[Leg, Any], slot: int, kept: slots.LegSlot, owner: Owner | None) -> Leg:
    """As `kept` has it, for its owner; without one only its goodbye is seen through."""
    transport = media_core.Transport(kept.transport)
    flow = media_core.FlowInfo(kept.flow, transport, kept.local, kept.remote, kept.cipher)
    endpoint = Endpoint(kept.line, kept.encrypt, [flow], kept.target, kept.user_agent)  # type: ignore[arg-type]
    signalling = flow.remote[0]
    if kept.stream is not None:
        stream = Stream.restored(kept.stream, signalling=signalling, secrets=board.secrets, owns=board.media.owns)
    else:
        stream = Stream.new(
            media_core.Leg(0, 0), host=board.host, encrypt=endpoint.encrypt, secure=endpoint.secure, signalling=signalling,
            secrets=board.secrets, owns=board.media.owns,
        )  # fmt: skip
    number, name, account = kept.party
    leg = Leg(
        board, owner, side=kept.side, party=Party(number, name, tuple((kind, of) for kind, of in account)),  # type: ignore[misc]
        endpoint=endpoint, stream=stream, incoming=kept.incoming, who=kept.who,
    )  # fmt: skip
    leg.slot, leg.state, leg.digits = slot, kept.state, kept.digits  # type: ignore[assignment]
    leg.quality = Quality(*kept.poor)
    leg.status, leg.early_media, leg.progress = kept.status, kept.early_media, kept.progress
    leg.relay, leg.relayed = kept.relay, kept.relayed
    leg.played, leg.sent, leg.recorded = kept.played, kept.sent, kept.recorded
    leg._wish = tuple(Format(*each) for each in kept.wish) if kept.wish is not None else None
    leg._offering, leg._due = kept.offering, kept.state == "connected" and stream.terms.has_offer
    leg._told = (stream.codec, stream.terms.secure)
    if kept.dialog is not None:
        leg._enter(board.sip(lambda stack, now: stack.restore(kept.dialog, now)))
    if not leg.over:
        board.ports[stream.port.id] = leg
    elif leg.session:
        board.leaving[leg.session] = leg
    return leg
