"""Offers after the first one: re-INVITE and UPDATE, both ways (RFC 3261 §14, RFC 3311); session timer (RFC 4028).

One exchange at a time. States: idle; offering (our re-INVITE is out); owed (its 2xx carried the offer, the user owes
the answer); answer due (theirs waits for the user); ack due (our 2xx waits for its ACK). Glare: theirs during ours is 491,
theirs on top of theirs 500 with Retry-After; a 491 for ours is tried again after the time §14.1 gives, at most TRIES
times. An offer that comes while an ACK is still under way waits for it.

The session timer is SessionTimer's; its refreshes are exchanges that nobody is told of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.sip.body import SDP_TYPE
from appliance.sip.dialog import merge
from appliance.sip.errors import PeerError, WrongState
from appliance.sip.events import OfferAnswered, Offered
from appliance.sip.message import Headers, Request, Response
from appliance.sip.session_timer import SessionTimer, check_timer
from appliance.sip.transaction import Transaction

if TYPE_CHECKING:
    from appliance.sip.session import Session

TRIES = 4

class Exchange:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._agent = session.agent
        self.state = "idle"
        self.transaction: Transaction | None = None  # ours that is out, or theirs that waits
        self.body = b""
        self.headers: tuple[tuple[str, str], ...] = ()
        self.tries = 0
        self.waiting = False  # ours waits: for an ACK, or for the glare to pass
        self.owed = 0  # CSeq of the 2xx that carried the offer
        self.refreshing = False  # ours is a session refresh: nobody is told
        self.asked = False  # their offer had no SDP: the ACK brings the answer
        self.session_timer = SessionTimer(session)

    # ---- our offer
    def offer(self, body: bytes, now: float, headers: Headers) -> None:
        if self.waiting or self.state in ("offering", "owed", "answer due"):
            raise WrongState("another offer is in progress")
        self._begin(body, tuple(headers), now)

    def _begin(self, body: bytes, headers: tuple[tuple[str, str], ...], now: float) -> None:
        self.body, self.headers, self.tries = body, headers, 0
        if self._session.phase in ("answered", "owing") or self.state == "ack due":
            self.waiting = True
        elif self._session.phase == "confirmed":
            self._send("INVITE", now)
        else:
            raise WrongState("the call is not set up")

    def next(self, now: float) -> None:
        """An ACK has passed: what waited for it may go."""
        if self.waiting and self.state == "idle" and self._session.phase == "confirmed" and self.tries == 0:
            self._send("INVITE", now)

    def _send(self, method: str, now: float) -> None:
        session = self._session
        assert session.dialog is not None
        self.waiting = False
        self.tries += 1
        self.state = "offering"
        can = self._agent.can
        defaults = [session.own_contact, can.allow, can.supported, ("User-Agent", self._agent.user_agent)]
        defaults += self.session_timer.offered
        if self.body:
            defaults.append(("Content-Type", SDP_TYPE))
        request = session.dialog.request(
            method, self._agent.via(session.flow), merge(defaults, self.headers), self.body
        )
        self.transaction = self._agent.send(request, session.flow, now, session)

    def responded(self, transaction: Transaction, response: Response, now: float) -> None:
        session = self._session
        if response.status < 200:
            return
        if 200 <= response.status < 300 and transaction.cseq[1] == "INVITE" and not self._is_first(transaction):
            session.repeat_ack(response)  # a repeated 2xx
            return
        if transaction is not self.transaction or self.state != "offering":
            return
        self.state, self.transaction = "idle", None
        if response.status < 300:
            self._succeeded(transaction, response, now)
        elif self.refreshing:
            self._refused(transaction, response.status, response, now)
        elif response.status in (408, 481):
            session.die(now, f"{response.status} {response.reason}")
        elif response.status == 491 and self.tries < TRIES:
            self.retry_later(now)
        else:
            self._report(response.status, response, now)

    def _is_first(self, transaction: Transaction) -> bool:
        return transaction is self.transaction and self.state == "offering"

    def _succeeded(self, transaction: Transaction, response: Response, now: float) -> None:
        session = self._session
        assert session.dialog is not None
        session.dialog.refresh(response)
        self.session_timer.take(response, now)
        if self.body:
            session.local_sdp = self.body
        if transaction.cseq[1] == "INVITE":
            if self.body:
                session.send_ack(response.cseq[0], b"")
            else:
                self.state, self.owed = "owed", transaction.cseq[0]
        self._report(200, response, now)

    def _report(self, status: int, response: Response | None, now: float) -> None:
        if self.refreshing:
            self.refreshing = False
        else:
            self._agent.emit(OfferAnswered(self._session.id, status, response))

    def _refused(self, transaction: Transaction, status: int, response: Response | None, now: float) -> None:
        """Our refresh was."""
        self.refreshing = False
        if self.session_timer.refused(transaction.cseq[1], status, response, now):
            self._refresh(now)

    def _refresh(self, now: float) -> None:
        method = self.session_timer.method
        self.refreshing, self.headers, self.tries = True, (), 0
        self.body = b"" if method == "UPDATE" else self._session.local_sdp
        self._send(method, now)

    def retry_later(self, now: float) -> None:
        """RFC 3261 §14.1: who made the Call-ID waits 2.1 to 4 s, the other up to 2 s, in steps of 10 ms."""
        part = self._agent.fraction()
        wait = part * 2.0 if self._session.is_called else 2.1 + part * 1.9
        self.waiting = True
        self._agent.timers.set(self._session, "retry", now + round(wait, 2))

    def failed(self, transaction: Transaction, status: int, now: float) -> None:
        """No response, or the flow is gone; a lost flow does not end the dialog, the phone may come back."""
        if transaction is not self.transaction:
            return
        self.state, self.transaction = "idle", None
        if transaction.is_server:
            return  # their re-INVITE went with their connection
        if self.refreshing:
            self._refused(transaction, status, None, now)
        elif status == 408:
            self._session.die(now, "No answer")
        else:
            self._report(status, None, now)

    def acknowledge(self, answer: bytes, now: float) -> None:
        if self.state != "owed":
            raise WrongState("no 2xx waits for an ACK")
        self.state = "idle"
        self._session.send_answer(self.owed, answer, now)

    # ---- their offer
    def requested(self, request: Request, transaction: Transaction, now: float) -> None:
        session = self._session
        assert session.dialog is not None or session.forks
        check_timer(request)
        if request.method == "UPDATE" and not request.sdp and session.phase != "over":
            self._refreshed(request, transaction, now)
            return
        if self.state == "answer due" or session.phase == "incoming":
            raise PeerError(
                500, "Another offer is in progress", (("Retry-After", str(int(self._agent.fraction() * 10))),)
            )
        if session.phase in ("ending", "over"):
            raise PeerError(481, "The call has ended")
        if self.state != "idle" or session.phase != "confirmed":
            raise PeerError(491, "Request Pending")
        if self.waiting:  # ours met theirs (491) and was to be tried again: theirs is first, and ours would be out of date behind it
            self.waiting = False
            self._agent.timers.clear(session, "retry")
            self._report(491, None, now)
        self.state, self.transaction = "answer due", transaction
        self.asked = not request.sdp
        session.dialog_refresh(request)
        if request.method == "INVITE":
            self._agent.respond(transaction, 100, now)
        self._agent.emit(Offered(session.id, request))

    def _refreshed(self, request: Request, transaction: Transaction, now: float) -> None:
        """UPDATE without SDP: a new target or a session refresh."""
        self._session.dialog_refresh(request)
        self._session.respond(transaction, 200, now, "", self.session_timer.answer(request, now), b"")

    def accept(self, body: bytes, now: float, headers: Headers) -> None:
        transaction = self._due()
        headers = (*self.session_timer.answer(transaction.request, now), *headers)
        if transaction.cseq[1] == "INVITE":
            self.state = "ack due"
            self._session.send_2xx(transaction, body, now, headers)
        else:
            self.state, self.transaction = "idle", None
            self._session.local_sdp = body
            self._session.respond(transaction, 200, now, "", headers, body)

    def reject(self, status: int, now: float, reason: str, headers: Headers) -> None:
        transaction = self._due()
        self.state, self.transaction = "idle", None
        self._session.respond(transaction, status, now, reason, headers, b"")

    def _due(self) -> Transaction:
        if self.state != "answer due" or self.transaction is None:
            raise WrongState("no offer waits for an answer")
        return self.transaction

    def acked(self) -> bool:
        """ACK for our 2xx to their re-INVITE; whether it brings the answer."""
        if self.state == "ack due":
            self.state, self.transaction = "idle", None
        return self.asked

    def abandon(self, now: float) -> None:
        """The session ends: their request that waits gets 487, ours is nobody's."""
        transaction, self.transaction = self.transaction, None
        if self.state == "answer due" and transaction is not None:
            self._session.respond(transaction, 487, now, "", (), b"")
        if self.state == "owed":
            self._session.send_ack(self.owed, b"")
        if self.state == "offering" and transaction is not None:
            self._agent.layer.abandon(transaction, now)
        self.state, self.waiting = "idle", False

    # ---- time
    def timer(self, name: str, now: float) -> None:
        session = self._session
        if session.phase != "confirmed":
            return
        if name == "retry" and self.waiting:
            if self.state == "idle":
                self._send("INVITE", now)
            else:
                self._agent.timers.set(session, "retry", now + 1.0)
        elif name in ("refresh", "expire") and self.session_timer.due(name, now, busy=self.state != "idle" or self.waiting):
            self._refresh(now)
