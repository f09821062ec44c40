"""A session: one INVITE usage from the INVITE to the end of its dialog (RFC 3261 §13-15), either side.

Phases, the only ones there are, and what moves between them (`_MOVES`):

    called:  incoming --accept--> answered --ACK--> confirmed
    calling: calling --2xx--> confirmed, or --2xx with the offer--> owing --acknowledge--> confirmed
             calling --hang_up--> cancelling --final--> over
    both:    confirmed --hang_up--> ending --answer to BYE--> over;  anything --BYE, timeout, refusal--> over

The couplings to the other machines: the INVITE transaction is `transaction`; the dialog is `dialog` (and `forks` while
early); offers after the first one are the Exchange's. A 2xx is repeated here until its ACK comes, on every transport
(§13.3.1.4). A second 2xx from another branch of a fork is acknowledged and ended at once. Nobody is told anything of
a session after its last event (Rejected, Cancelled, Ended), nor after our own reject.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from appliance.sip.agent import Agent
from appliance.sip.body import SDP_TYPE
from appliance.sip.dialog import Dialog, merge, with_tag
from appliance.sip.errors import PeerError, WrongState
from appliance.sip.events import (
    Accepted,
    Cancelled,
    Confirmed,
    Ended,
    FlowId,
    InDialog,
    Invited,
    Progress,
    Rejected,
    SessionId,
)
from appliance.sip.exchange import Exchange
from appliance.sip.message import Headers, Request, Response
from appliance.sip.transaction import T1, T2, Transaction, cancel_for

MAX_FORKS = 16
PROVISIONAL_EVERY = 60.0  # seconds; proxies give up after three minutes of silence (RFC 3261 §13.3.1.1)

# phase -> phases that may follow
_MOVES: Mapping[str, frozenset[str]] = {
    "incoming": frozenset({"answered", "over"}),
    "answered": frozenset({"confirmed", "ending", "over"}),
    "calling": frozenset({"owing", "confirmed", "cancelling", "over"}),
    "cancelling": frozenset({"ending", "over"}),
    "owing": frozenset({"confirmed", "ending", "over"}),
    "confirmed": frozenset({"ending", "over"}),
    "ending": frozenset({"over"}),
    "over": frozenset(),
}
_TIMERS = ("2xx", "no ack", "1xx", "cancel", "ack", "retry", "refresh", "expire")


class Session:
    def __init__(self, agent: Agent, id: SessionId, flow: FlowId, phase: str, call_id: str, user: str, *, is_called: bool, is_sips: bool) -> None:
        self.agent = agent
        self.id = id
        self.flow = flow
        self.phase = phase
        self.call_id = call_id
        self.user = user  # of our Contact
        self.is_called = is_called
        self.is_sips = is_sips
        self.waiting: tuple[Request, bytes] | None = None  # theirs whose answer or ACK is due, and what of it is kept over a restart
        self.sent: Request | None = None  # our INVITE, as long as answers to it may come
        self.had_offer = False  # it had one
        self.dialog: Dialog | None = None
        self.forks: dict[str, Dialog] = {}  # To tag -> early dialog of our INVITE
        self.transaction: Transaction | None = None  # of the first INVITE
        self.exchange = Exchange(self)
        self.local_tag = ""
        self.local_sdp = b""
        self.peer_allows: list[str] = []
        self.unacked: tuple[int, bytes, Request] | None = None  # CSeq and 2xx that waits for its ACK, the request
        self._interval = T1
        self._acks: dict[tuple[str, int], bytes] = {}  # (To tag, CSeq) -> ACK to repeat
        self.owed = 0  # CSeq of the 2xx that waits for our acknowledge
        self.cancel_sent = False
        self.bye: Transaction | None = None
        self.late_ack: tuple[str, int, bytes] | None = None  # the last one with an answer in it: To tag, CSeq and the ACK
        self.parting: tuple[tuple[str, str], ...] | None = None  # hang up as soon as the ACK is there

    def move(self, phase: str) -> None:
        assert phase in _MOVES[self.phase], f"{self.phase} -> {phase}"
        self.phase = phase
        if phase == "over":
            self.agent.timers.clear(self, *_TIMERS)
            self.unacked = None
            self.agent.over.append(self.id)

    def dialog_refresh(self, request: Request) -> None:
        if (dialog := self.dialog_with(request.from_tag)) is not None:
            dialog.refresh(request)

    @property
    def key(self) -> tuple[str, str]:
        return self.call_id, self.local_tag

    @property
    def own_contact(self) -> tuple[str, str]:
        return self.agent.contact(self.flow, self.user, sips=self.is_sips)

    # ---- we are called
    @classmethod
    def called(cls, agent: Agent, flow: FlowId, request: Request, transaction: Transaction, now: float) -> Session:
        facts = request.call_id, request.to.uri.user
        session = cls(agent, agent.tokens(), flow, "incoming", *facts, is_called=True, is_sips=request.uri.scheme == "sips")
        session.local_tag = agent.tokens()
        session.dialog = Dialog.received(request, session.local_tag)
        session.transaction = transaction
        session.peer_allows = request.tokens("Allow")
        transaction.user = session
        if agent.is_proven(flow):  # others hear 100 when the user has found out who they are
            agent.respond(transaction, 100, now)
        agent.emit(Invited(session.id, flow, request))
        return session

    def ring(self, status: int, now: float, reason: str, headers: Headers, body: bytes) -> None:
        if self.phase != "incoming" or not 100 <= status <= 199:
            raise WrongState("only an INVITE that is not answered yet can ring")
        if status == 100:
            if not self._open_transaction.last:
                self.agent.respond(self._open_transaction, 100, now)
            return
        self.respond(self._open_transaction, status, now, reason, headers, body)
        self.rings(now)

    def rings(self, now: float) -> None:
        if self._open_transaction.last:
            self.agent.timers.set(self, "1xx", now + PROVISIONAL_EVERY)

    def accept(self, body: bytes, now: float, headers: Headers) -> None:
        if self.phase != "incoming":
            self.exchange.accept(body, now, headers)
            return
        assert self.dialog is not None
        self.dialog.confirmed = True
        timer = self.exchange.session_timer.answer(self._open_transaction.request, now)
        self.move("answered")
        self.agent.timers.clear(self, "1xx")
        self.send_2xx(self._open_transaction, body, now, (*timer, *headers))

    def reject(self, status: int, now: float, reason: str, headers: Headers) -> None:
        if not 300 <= status <= 699:
            raise WrongState("a refusal is 300 to 699")
        if self.phase != "incoming":
            self.exchange.reject(status, now, reason, headers)
            return
        self.respond(self._open_transaction, status, now, reason, headers)
        self.move("over")

    @property
    def _open_transaction(self) -> Transaction:
        assert self.transaction is not None
        return self.transaction

    @property
    def _invite(self) -> Request:
        assert self.sent is not None
        return self.sent

    def respond(
        self, transaction: Transaction, status: int, now: float, reason: str = "", headers: Headers = (), body: bytes = b""
    ) -> bytes:
        defaults: list[tuple[str, str]] = []
        if 101 <= status <= 299:
            defaults += [self.own_contact, self.agent.can.allow]
        if 200 <= status <= 299:
            defaults.append(self.agent.can.supported)
        if body:
            defaults.append(("Content-Type", SDP_TYPE))
        headers = merge(defaults, headers)
        return self.agent.respond(transaction, status, now, reason=reason, to_tag=self.local_tag, headers=headers, body=body)

    def send_2xx(self, transaction: Transaction, body: bytes, now: float, headers: Headers) -> None:
        """200 to an INVITE, first or later, repeated until the ACK."""
        self.local_sdp = body
        request = transaction.request
        data = self.respond(transaction, 200, now, "", headers, body)
        self.unacked = (transaction.cseq[0], data, request)
        self.await_ack(now)

    def await_ack(self, now: float) -> None:
        self._interval = T1
        self.agent.timers.set(self, "2xx", now + T1)
        self.agent.timers.set(self, "no ack", now + 64 * T1)

    def cancelled(self, now: float, reason: str) -> None:
        """CANCEL (§9.2), an early BYE, or the caller's connection is gone."""
        if self.phase != "incoming":
            return
        self.respond(self._open_transaction, 487, now)
        self._over(Cancelled(self.id, reason))

    def acked(self, request: Request, now: float) -> None:
        if self.unacked is None or self.unacked[0] != request.cseq[0]:
            return
        self.unacked = None
        self.agent.timers.clear(self, "2xx", "no ack")
        if self.phase == "answered":
            self.move("confirmed")
            if self.parting is None:
                self.agent.emit(Confirmed(self.id, request.sdp))
        elif self.exchange.acked() and self.parting is None:
            self.agent.emit(Confirmed(self.id, request.sdp))
        if self.parting is not None:
            self._bye(now, self.parting)
        else:
            self.exchange.next(now)

    # ---- we call
    @classmethod
    def calling(
        cls, agent: Agent, flow: FlowId, target: str, now: float, from_: str, to: str, offer: bytes, headers: Headers
    ) -> Session:
        tag = agent.tokens()
        from_tagged = with_tag(from_, tag)
        fields = [("Via", agent.via(flow)), ("Max-Forwards", "70"), ("From", from_tagged), ("To", to)]
        fields += [("Call-ID", agent.tokens()), ("CSeq", "1 INVITE"), agent.can.allow, agent.can.supported]
        fields.append(("User-Agent", agent.user_agent))
        if offer:
            fields.append(("Content-Type", SDP_TYPE))
        invite = Request("INVITE", target, merge(fields, headers), offer)
        facts = invite.call_id, invite.from_.uri.user
        session = cls(agent, agent.tokens(), flow, "calling", *facts, is_called=False, is_sips=invite.uri.scheme == "sips")
        session.sent = invite = Request("INVITE", target, merge([session.own_contact], invite.headers), offer)
        session.had_offer = bool(offer)
        session.local_tag = tag
        session.local_sdp = offer
        session.transaction = agent.send(invite, flow, now, session)
        return session

    def responded(self, transaction: Transaction, response: Response, now: float) -> None:
        """A response to a request of ours."""
        method = transaction.cseq[1]
        if method == "BYE":
            if response.status >= 200 and self.phase == "ending":
                self.move("over")
        elif method == "INVITE" and transaction is self.transaction:
            self._invite_responded(response, now)
        elif method in ("INVITE", "UPDATE"):
            self.exchange.responded(transaction, response, now)

    def _invite_responded(self, response: Response, now: float) -> None:
        if response.status < 200:
            self._provisionally(response, now)
        elif response.status < 300:
            self._succeeded(response, now)
        elif self.phase in ("calling", "cancelling"):
            self._over(Rejected(self.id, response.status, response.reason, response))

    def _provisionally(self, response: Response, now: float) -> None:
        if self.phase == "cancelling":
            self.send_cancel(now)  # not allowed before a provisional response (§9.1)
            return
        if self.phase != "calling" or response.status == 100:
            return
        tag = response.to_tag
        if tag and tag not in self.forks:
            if len(self.forks) >= MAX_FORKS:
                return
            self.forks[tag] = Dialog.answered(self._invite, response)
        self.agent.emit(Progress(self.id, tag, response))

    def _succeeded(self, response: Response, now: float) -> None:
        tag = response.to_tag
        known = self._acks.get((tag, response.cseq[0]))
        if known is not None:
            self.agent.send_once(self.flow, known)
        elif self.phase == "calling":
            self.dialog = Dialog.unrouted(self._invite, response)
            self.dialog.confirmed = True
            self.forks.clear()
            self.owed = response.cseq[0]
            self.move("owing")  # from here on it must be acknowledged, whatever is wrong with the rest of it
            self.dialog = Dialog.answered(self._invite, response)
            self.dialog.confirmed = True
            self.peer_allows = response.tokens("Allow")
            self.exchange.session_timer.take(response, now)
            if self.had_offer:
                self.send_ack(response.cseq[0], b"")
                self.move("confirmed")
            self.agent.emit(Accepted(self.id, response))
        elif self.phase == "cancelling":  # the 200 was faster than our CANCEL
            self.dialog = self._dialog_to_end(response)
            self.send_ack(response.cseq[0], b"")
            self._bye(now, self.parting or ())
            self.agent.emit(Rejected(self.id, 487, "Request Terminated", None))
        elif len(self._acks) < MAX_FORKS and (self.dialog is None or tag != self.dialog.remote_tag):
            self._end_fork(response, now)

    def _end_fork(self, response: Response, now: float) -> None:
        """Another branch of a fork answered too (§13.2.2.4)."""
        other = self._dialog_to_end(response)
        ack = other.request("ACK", self.agent.via(self.flow), number=response.cseq[0]).to_bytes()
        self._acks[other.remote_tag, response.cseq[0]] = ack
        self.agent.send_once(self.flow, ack)
        self.agent.send(other.request("BYE", self.agent.via(self.flow)), self.flow, now, None)

    def _dialog_to_end(self, response: Response) -> Dialog:
        try:
            return Dialog.answered(self._invite, response)
        except PeerError:
            return Dialog.unrouted(self._invite, response)

    def send_answer(self, number: int, answer: bytes, now: float) -> None:
        """The ACK of a 2xx that carried the offer. Without it the call has no sound: it is kept over a restart as long as it may be asked for."""
        self.local_sdp = answer
        ack = self.send_ack(number, answer)
        assert self.dialog is not None
        self.restore_ack((self.dialog.remote_tag, number, ack), now)

    def restore_ack(self, ack: tuple[str, int, bytes], now: float) -> None:
        self.late_ack = ack
        self._acks[ack[:2]] = ack[2]
        self.agent.timers.set(self, "ack", now + 64 * T1)

    def send_ack(self, number: int, body: bytes) -> bytes:
        """ACK of a 2xx, kept so that a repeated 2xx gets it again."""
        assert self.dialog is not None
        fields = [("Content-Type", SDP_TYPE)] if body else []
        ack = self.dialog.request("ACK", self.agent.via(self.flow), fields, body, number=number).to_bytes()
        while len(self._acks) >= MAX_FORKS:
            del self._acks[next(iter(self._acks))]
        self._acks[self.dialog.remote_tag, number] = ack
        self.agent.send_once(self.flow, ack)
        return ack

    def repeat_ack(self, response: Response) -> None:
        """A 2xx whose transaction we no longer have: after a restart, or very late."""
        if (known := self._acks.get((response.to_tag, response.cseq[0]))) is not None:
            self.agent.send_once(self.flow, known)
        elif self.phase == "confirmed" and self.exchange.state != "owed" and self.dialog_with(response.to_tag) is not None:
            self.send_ack(response.cseq[0], b"")

    def acknowledge(self, answer: bytes, now: float) -> None:
        if self.phase == "owing":
            self.send_answer(self.owed, answer, now)
            self.move("confirmed")
            self.exchange.next(now)
        else:
            self.exchange.acknowledge(answer, now)

    def failed(self, transaction: Transaction, status: int, now: float) -> None:
        """No response (408) or no flow (503)."""
        method = transaction.cseq[1]
        words = "No answer" if status == 408 else "The connection is gone"
        if method == "BYE":
            if self.phase == "ending":
                self._over(Ended(self.id, "timeout", words))
        elif transaction is self.transaction:
            if self.phase in ("calling", "cancelling"):
                self._over(Rejected(self.id, status, words, None))
            elif self.phase == "incoming":
                self._over(Cancelled(self.id, words))
        elif method in ("INVITE", "UPDATE"):
            self.exchange.failed(transaction, status, now)

    # ---- the end
    def hang_up(self, now: float, headers: Headers) -> None:
        match self.phase:
            case "incoming":
                self.respond(self._open_transaction, 603, now, "", headers)
                self.move("over")
            case "calling":
                self.parting = tuple(headers)
                self.move("cancelling")
                if self._open_transaction.state == "proceeding":
                    self.send_cancel(now)
            case "answered":  # not before the ACK (§15)
                if self.parting is None:
                    self.parting = tuple(headers)
            case "owing":
                self.send_ack(self.owed, b"")
                self._bye(now, headers)
            case "confirmed":
                if self.unacked is not None and self.parting is None:
                    self.parting = tuple(headers)
                elif self.unacked is None:
                    self.exchange.abandon(now)
                    self._bye(now, headers)

    def send_cancel(self, now: float) -> None:
        transaction = self._open_transaction
        if transaction.is_over or self.cancel_sent:
            return
        self.cancel_sent = True
        headers = tuple((name, value) for name, value in self.parting or () if name.lower() == "reason")
        cancel = cancel_for(transaction.request, headers)
        self.agent.send(cancel, transaction.flow, now, None)
        self.agent.timers.set(self, "cancel", now + 64 * T1)

    def _bye(self, now: float, headers: Headers = ()) -> None:
        assert self.dialog is not None
        self.agent.timers.clear(self, *_TIMERS)
        self.unacked = None
        self.move("ending")
        defaults = [("User-Agent", self.agent.user_agent)]
        bye = self.dialog.request("BYE", self.agent.via(self.flow), merge(defaults, headers))
        self.bye = self.agent.send(bye, self.flow, now, self)

    def die(self, now: float, words: str, by: str = "timeout") -> None:
        """The far end is as good as gone: say BYE, and that it is over (§12.2.1.2)."""
        if self.phase not in ("ending", "over"):
            self.exchange.abandon(now)
            if self.phase == "owing":
                self.send_ack(self.owed, b"")
            told = self.parting is not None
            self._bye(now, self.parting or ())
            self.move("over")
            if not told:
                self.agent.emit(Ended(self.id, by, words))

    def abort(self, now: float) -> None:
        """An INVITE that cannot be worked on any more."""
        self.respond(self._open_transaction, 500, now)
        self.move("over")

    def forget(self) -> None:
        """Whatever state it is in, nothing is left of it."""
        self.agent.timers.clear(self, *_TIMERS)
        self.phase, self.unacked = "over", None
        self.agent.over.append(self.id)

    def _over(self, event: Cancelled | Rejected | Ended) -> None:
        self.move("over")
        self.agent.emit(event)

    # ---- inside the dialog
    def dialog_with(self, remote_tag: str) -> Dialog | None:
        if self.dialog is not None:
            return self.dialog if self.dialog.remote_tag == remote_tag else None
        return self.forks.get(remote_tag)

    def requested(self, flow: FlowId, request: Request, transaction: Transaction, now: float) -> None:
        """A request with our tag. The dialog has been found by both tags."""
        dialog = self.dialog_with(request.from_tag)
        assert dialog is not None
        if not dialog.take(request.cseq[0]):
            raise PeerError(500, "CSeq out of order")
        if flow != self.flow and self.agent.same_peer(self.flow, flow):
            self.flow = flow  # its NAT has given it another port
        transaction.user = self
        match request.method:
            case "BYE":
                self._bye_received(request, transaction, now)
            case "INVITE" | "UPDATE":
                self.exchange.requested(request, transaction, now)
            case "OPTIONS":
                self.respond(transaction, 200, now, "", self.agent.can.all, b"")
            case _:
                if self.phase in ("ending", "over"):
                    raise PeerError(481, "The call has ended")
                self.agent.emit(InDialog(self.id, transaction.id, request))

    def _bye_received(self, request: Request, transaction: Transaction, now: float) -> None:
        if self.phase in ("calling", "cancelling"):
            raise PeerError(481, "The call is not set up yet")
        self.agent.respond(transaction, 200, now)
        reason = request.get("Reason") or ""
        if self.phase == "incoming":
            self.cancelled(now, reason)
        elif self.phase == "ending" or self.parting is not None:  # both hang up: nobody needs to be told
            self.move("over")
        elif self.phase != "over":
            self.exchange.abandon(now)
            self._over(Ended(self.id, "peer", reason))

    # ---- time
    def timer(self, name: str, now: float) -> None:
        handlers: Mapping[str, Callable[[float], None]] = {
            "2xx": self._repeat_2xx,
            "no ack": lambda now: self.die(now, "The far end never confirmed the answer"),
            "1xx": self._repeat_1xx,
            "cancel": self._cancel_ignored,
        }
        if name == "ack":
            self.late_ack = None
        elif name in handlers:
            handlers[name](now)
        else:
            self.exchange.timer(name, now)

    def _repeat_2xx(self, now: float) -> None:
        if self.unacked is not None:
            self.agent.send_once(self.flow, self.unacked[1])
            self._interval = min(self._interval * 2, T2)
            self.agent.timers.set(self, "2xx", now + self._interval)

    def _repeat_1xx(self, now: float) -> None:
        self.agent.send_once(self.flow, self._open_transaction.last)
        self.agent.timers.set(self, "1xx", now + PROVISIONAL_EVERY)

    def _cancel_ignored(self, now: float) -> None:
        if self.phase == "cancelling":
            self.agent.layer.drop(self._open_transaction)  # nothing else would ever end it (§9.1)
            self._over(Rejected(self.id, 487, "No answer to our CANCEL", None))
