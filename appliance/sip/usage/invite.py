"""The INVITE usage, put together: from the INVITE to the end of its dialog, either side (RFC 3261 §13-15).

Each input goes to the part it belongs to: what comes before the answer to early, the 2xx and its ACK to acks, offers after the first one to
offers, the end to ending. Left to do here is the first INVITE itself: its answer, theirs or ours, and a fork's second answer, which is
acknowledged and ended at once (§13.2.2.4).
"""

from __future__ import annotations

from appliance.sip.agent import Agent
from appliance.sip.dialog import Dialog, merge, with_tag
from appliance.sip.errors import PeerError, WrongState
from appliance.sip.events import Accepted, Confirmed, FlowId, InDialog, Invited, Rejected, SessionId
from appliance.sip.text.body import SDP_TYPE
from appliance.sip.text.message import Headers, Request, Response
from appliance.sip.text.uri import NameAddr, Uri
from appliance.sip.transaction import Transaction
from appliance.sip.usage.acks import Acks
from appliance.sip.usage.early import TAG, Early
from appliance.sip.usage.ending import Ending
from appliance.sip.usage.offers import Offers
from appliance.sip.usage.refresh import SessionTimer
from appliance.sip.usage.session import Session, described, takes_update


class Invite:
    __slots__ = ("acks", "agent", "early", "ending", "offers", "refresh", "session")

    def __init__(self, session: Session) -> None:
        session.mark = self
        self.session = session
        self.agent = session.agent
        self.acks = Acks(session)
        self.ending = Ending(session, self.acks)
        self.refresh = SessionTimer(session, self.ending)
        self.early = Early(session)
        self.offers = Offers(session, self.acks, self.ending, self.early, self.refresh)

    @property
    def id(self) -> SessionId:
        return self.session.id

    # ---- we are called
    @classmethod
    def called(cls, agent: Agent, flow: FlowId, request: Request, transaction: Transaction, now: float) -> Invite:
        is_sips = request.uri.scheme == "sips"
        session = Session(
            agent,
            agent.tokens(),
            flow,
            "incoming",
            request.call_id,
            request.to.uri.user,
            is_called=True,
            is_sips=is_sips,
        )
        session.local_tag = agent.tokens()
        session.dialog = Dialog.received(request, session.local_tag)
        session.transaction = transaction
        session.had_offer = bool(request.sdp)
        session.remote_sdp = described(request.sdp)
        session.peer_updates = takes_update(request)
        usage = transaction.user = cls(session)
        if agent.is_proven(flow):  # others hear 100 when the user has found out who they are
            agent.respond(transaction, 100, now)
        agent.emit(Invited(session.id, flow, request))
        return usage

    def accept(self, body: bytes, now: float, headers: Headers) -> None:
        """Their offer that waits, or else the INVITE."""
        if self.offers.state == "answer due" or self.session.phase != "incoming":
            self.offers.accept(body, now, headers)
            self._catch_up(now)
        elif not self.early.holds_back(body, headers):
            self._answer(body, now, headers)

    def _catch_up(self, now: float) -> None:
        """Our 2xx has waited for the PRACK, and for the answer to an offer in it."""
        if (
            self.session.phase == "incoming"
            and not self.early.unacked
            and self.early.put_off is not None
            and self.offers.state == "idle"
        ):
            self._answer(self.early.put_off[0], now, self.early.put_off[1])

    def _answer(self, body: bytes, now: float, headers: Headers) -> None:
        session = self.session
        assert session.dialog is not None
        session.dialog.confirmed = True
        timer = self.refresh.answer(session.invite.request, now)
        session.move("answered")
        if not self.early.agreed:
            session.local_sdp = body
        elif body != session.local_sdp:
            body = b""  # the answer has been given: the same may come again, for who looks for it here, another one would mean nothing
        self.early.over()
        self.acks.answer(session.invite, body, now, (*timer, *headers))

    def reject(self, status: int, now: float, reason: str, headers: Headers) -> None:
        """Their offer that waits, or else the INVITE."""
        session = self.session
        if not 300 <= status <= 699:
            raise WrongState("a refusal is 300 to 699")
        if self.offers.state == "answer due" or session.phase != "incoming":
            self.offers.reject(status, now, reason, headers)
            self._catch_up(now)
            return
        session.refuse(status, now, reason, headers)

    def acked(self, request: Request, now: float) -> None:
        session = self.session
        if not self.acks.acked(request):
            return
        tells = True
        if session.phase == "answered":
            session.move("confirmed")
        else:
            tells = self.offers.acked()
        if session.parting is not None:
            self.ending.say_bye(now, session.parting)
            return
        session.remote_sdp = described(request.sdp) or session.remote_sdp
        if tells:
            self.agent.emit(Confirmed(session.id, request.sdp))
        self.offers.next(now)

    # ---- we call
    @classmethod
    def calling(
        cls, agent: Agent, flow: FlowId, target: str, now: float, from_: str, to: str, offer: bytes, headers: Headers
    ) -> Invite:
        tag, via, call_id = agent.tokens(), agent.via(flow), agent.tokens()
        user = NameAddr.parse(from_).uri.user
        is_sips = Uri.parse(target).scheme == "sips"
        fields = [("Via", via), ("Max-Forwards", "70"), ("From", with_tag(from_, tag)), ("To", to)]
        fields += [("Call-ID", call_id), ("CSeq", "1 INVITE"), agent.contact(flow, user, sips=is_sips), agent.can.allow]
        # an offer of theirs in a provisional response would have to be answered in its PRACK (RFC 3262 §5)
        fields += [agent.can.supported if offer else agent.can.supported_without(TAG), ("User-Agent", agent.user_agent)]
        if offer:
            fields.append(("Content-Type", SDP_TYPE))
        session = Session(agent, agent.tokens(), flow, "calling", call_id, user, is_called=False, is_sips=is_sips)
        session.sent = invite = Request("INVITE", target, merge(fields, headers), offer)
        invite.known(call_id, (1, "INVITE"), from_tag=tag)
        session.local_tag, session.local_sdp, session.had_offer = tag, offer, bool(offer)
        usage = cls(session)
        session.transaction = session.send(invite, now)
        return usage

    def responded(self, transaction: Transaction, response: Response, now: float) -> None:
        """A response to a request of ours."""
        session, method = self.session, transaction.cseq[1]
        if method == "BYE":
            self.ending.responded(response)
        elif method == "PRACK":
            if response.status >= 200:
                self.early.answered(transaction)
        elif method == "INVITE" and transaction is session.transaction:
            if response.status < 200:
                self._provisionally(response, now)
            elif response.status < 300:
                self._succeeded(response, now)
            elif session.phase in ("calling", "cancelling"):
                session.over(Rejected(session.id, response.status, response.reason, response))
        elif method in ("INVITE", "UPDATE"):
            self.offers.responded(transaction, response, now)

    def _provisionally(self, response: Response, now: float) -> None:
        if self.session.phase == "cancelling":
            self.ending.cancel(now)
        elif self.session.phase == "calling" and response.status != 100:
            self.early.heard_of(response, self._invite, now)

    @property
    def _invite(self) -> Request:
        assert self.session.sent is not None
        return self.session.sent

    def _succeeded(self, response: Response, now: float) -> None:
        session, number = self.session, response.cseq[0]
        if self.acks.again(response):
            return
        if session.phase == "calling":
            self._accepted(response, now)
        elif session.phase == "cancelling":  # the 200 was faster than our CANCEL
            session.dialog = self._dialog_to_end(response)
            self.acks.acknowledge(number, now)
            self.ending.say_bye(now, session.parting or ())
            self.agent.emit(Rejected(session.id, 487, "Request Terminated", None))
        elif self.acks.has_room and (session.dialog is None or response.to_tag != session.dialog.remote_tag):
            other = self._dialog_to_end(response)
            self.acks.send(other, number)
            self.agent.send(other.request("BYE", session.via()), session.flow, now, None)

    def _accepted(self, response: Response, now: float) -> None:
        session, number = self.session, response.cseq[0]
        early = session.forks.get(response.to_tag)
        session.dialog = Dialog.unrouted(self._invite, response)
        session.dialog.confirmed = True
        session.forks.clear()
        self.acks.owed = number
        session.move("owing")  # from here on it must be acknowledged, whatever is wrong with the rest of it
        session.dialog.routed(response)
        if early is not None:
            session.dialog.follow(early)
        session.peer_updates = takes_update(response)
        if self.early.has_settled(response.to_tag):
            response.ignore_sdp()  # the answer has been given, and perhaps changed since (RFC 3261 §13.2.1)
        session.remote_sdp = described(response.sdp) or session.remote_sdp
        self.early.over()
        self.refresh.take(response, now)
        if session.had_offer:
            self.acks.acknowledge(number, now)
            session.move("confirmed")
        self.agent.emit(Accepted(session.id, response))

    def _dialog_to_end(self, response: Response) -> Dialog:
        try:
            return Dialog.answered(self._invite, response)
        except PeerError:
            return Dialog.unrouted(self._invite, response)

    def acknowledge(self, answer: bytes, now: float) -> None:
        if self.session.phase == "owing":
            self.acks.acknowledge(self.acks.owed, now, answer)
            self.session.move("confirmed")
            self.offers.next(now)
        else:
            self.offers.acknowledge(answer, now)

    def failed(self, transaction: Transaction, status: int, now: float) -> None:
        """No response (408) or no flow (503)."""
        method = transaction.cseq[1]
        if method == "BYE" or transaction is self.session.transaction:
            self.ending.failed(transaction, status)
        elif method == "PRACK" and not transaction.is_server:
            self.early.answered(transaction)
        elif method in ("INVITE", "UPDATE", "PRACK"):
            self.offers.failed(transaction, status, now)

    # ---- inside the dialog
    def requested(self, flow: FlowId, request: Request, transaction: Transaction, now: float) -> None:
        """A request with our tag. The dialog has been found by both tags."""
        session = self.session
        dialog = session.dialog_with(request.from_tag)
        assert dialog is not None
        if not dialog.take(request.cseq[0]):
            raise PeerError(500, "CSeq out of order")
        if flow != session.flow and self.agent.same_peer(session.flow, flow):
            session.flow = flow  # its NAT has given it another port
        transaction.user = self
        match request.method:
            case "BYE":
                self.ending.bye_received(request, transaction, now)
            case "PRACK":
                self._acknowledged(request, transaction, now)
            case "INVITE" | "UPDATE":
                self.offers.requested(request, transaction, now)
            case "OPTIONS":
                session.respond(transaction, 200, now, "", self.agent.can.all)
            case _:
                if session.phase in ("ending", "over"):
                    raise PeerError(481, "The call has ended")
                self.agent.emit(InDialog(session.id, transaction.id, request))

    def _acknowledged(self, request: Request, transaction: Transaction, now: float) -> None:
        if self.early.acknowledged(request, transaction, now):
            self.offers.requested(request, transaction, now)
        self._catch_up(now)

    # ---- time
    def timer(self, name: str, now: float) -> None:
        match name:
            case "2xx":
                self.acks.repeat(now)
            case "no ack":
                self.ending.die(now, "The far end never confirmed the answer")
            case "ack":
                self.acks.late = None
            case "1xx" | "reliable" | "no prack":
                self.early.timer(name, now)
                self._catch_up(now)
            case "cancel":
                self.ending.cancel_ignored(now)
            case _:
                self.offers.timer(name, now)
