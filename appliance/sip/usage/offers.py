"""Offers after the first one, both ways: re-INVITE (RFC 3261 §14), UPDATE (RFC 3311), and the refreshes of the session timer.

One exchange at a time. States: idle; offering (ours is out); owed (its 2xx carried the offer, the user owes the answer); answer due (theirs
waits for the user); ack due (our 2xx waits for its ACK). Glare: theirs during ours is 491, theirs on top of theirs 500 with Retry-After; a
491 for ours is tried again after the time §14.1 gives, at most TRIES times. An offer that comes while an ACK is still under way waits for it.
Our refusal of a re-INVITE is remembered until its ACK: over TCP and TLS nobody repeats what a process that died may have failed to say.

Before the call is answered an offer goes by UPDATE, in an early dialog in which the first offer has had its answer reliably (`early`, RFC 3311
§5.1); one that comes before that gets 491 or 500, by whose the open offer is (§5.2). Also their offer in a PRACK is answered here.

Nobody is told of a refresh, but for one whose 200 describes something else than before.
"""

from __future__ import annotations

from appliance.sip.dialog import merge
from appliance.sip.errors import PeerError, WrongState
from appliance.sip.events import OfferAnswered, Offered
from appliance.sip.text.body import SDP_TYPE
from appliance.sip.text.message import Headers, Request, Response
from appliance.sip.transaction import INVITE_SERVER, Transaction
from appliance.sip.usage.acks import Acks
from appliance.sip.usage.early import Early
from appliance.sip.usage.ending import Ending
from appliance.sip.usage.refresh import SessionTimer, check_timer
from appliance.sip.usage.session import Session, described

TRIES = 4
EARLY = ("incoming", "calling")


class Offers:
    __slots__ = (
        "_acks",
        "_agent",
        "_early",
        "_ending",
        "_session",
        "_timer",
        "asked",
        "body",
        "headers",
        "refreshing",
        "refusal",
        "state",
        "tag",
        "transaction",
        "tries",
        "waiting",
    )

    def __init__(self, session: Session, acks: Acks, ending: Ending, early: Early, refresh: SessionTimer) -> None:
        self._session = session
        self._agent = session.agent
        self._acks = acks
        self._ending = ending
        self._early = early
        self._timer = refresh
        self.state = "idle"
        self.transaction: Transaction | None = None  # ours that is out, or theirs that waits
        self.tag = ""  # of the early dialog ours is in
        self.body = b""
        self.headers: tuple[tuple[str, str], ...] = ()
        self.tries = 0
        self.waiting = False  # ours waits: for an ACK, or for the glare to pass
        self.refreshing = False  # ours is a session refresh: nobody is told
        self.asked = False  # their offer had no SDP: the ACK brings the answer
        self.refusal: Transaction | None = None  # their re-INVITE that was refused last and has not been acknowledged
        session.before_end.append(self.abandon)

    # ---- our offer
    def offer(self, body: bytes, now: float, headers: Headers) -> None:
        if self.waiting or self.state in ("offering", "owed", "answer due"):
            raise WrongState("another offer is in progress")
        phase, tag = self._session.phase, ""
        waits = phase in ("answered", "owing") or self.state == "ack due"
        if phase in EARLY:
            tag = self._early.settled
            if not tag or not body or not self._session.peer_updates:
                raise WrongState("nothing can be offered before the answer")
        elif phase != "confirmed" and not waits:
            raise WrongState("the call is not set up")
        self.body, self.headers, self.tries, self.tag = body, tuple(headers), 0, tag
        if waits:
            self.waiting = True
        else:
            self._send(now)

    def next(self, now: float) -> None:
        """An ACK has passed: what waited for it may go."""
        if self.waiting and self.state == "idle" and self._session.phase == "confirmed" and self.tries == 0:
            self._send(now)

    def _send(self, now: float, method: str = "") -> None:
        session = self._session
        is_early = session.phase in EARLY
        dialog = session.dialog_with(self.tag) if is_early else session.dialog
        self.waiting = False
        if dialog is None:  # another early dialog has become the call
            self._report(503, None)
            return
        self.tries += 1
        self.state = "offering"
        can = self._agent.can
        defaults = [session.own_contact, can.allow, can.supported, ("User-Agent", self._agent.user_agent)]
        defaults += self._timer.offered
        if self.body:
            defaults.append(("Content-Type", SDP_TYPE))
        method = method or ("UPDATE" if is_early else "INVITE")
        self.transaction = session.send(
            dialog.request(method, session.via(), merge(defaults, self.headers), self.body), now
        )

    def responded(self, transaction: Transaction, response: Response, now: float) -> None:
        if response.status < 200:
            return
        is_ours = transaction is self.transaction and self.state == "offering"
        if response.status < 300 and transaction.cseq[1] == "INVITE" and not is_ours:
            self._acks.late_2xx(response)
            return
        if not is_ours or self._session.is_over:
            return
        self.state, self.transaction = "idle", None
        if response.status < 300:
            self._succeeded(transaction, response, now)
        elif self.refreshing:
            self._refused(transaction, response.status, response, now)
        elif response.status in (408, 481) and self._session.phase not in EARLY:
            self._ending.die(now, f"{response.status} {response.reason}")
        elif response.status == 491 and self.tries < TRIES:
            self.retry_later(now)
        else:
            self._report(response.status, response)

    def _succeeded(self, transaction: Transaction, response: Response, now: float) -> None:
        session = self._session
        dialog = session.dialog_with(response.to_tag)
        if dialog is not None:
            dialog.refresh(response)
        self._timer.take(response, now)
        if self.body:
            session.local_sdp = self.body
        if transaction.cseq[1] == "INVITE":
            if self.body:
                self._acks.acknowledge(response.cseq[0], now)
            else:
                self.state, self._acks.owed = "owed", response.cseq[0]
        before, session.remote_sdp = session.remote_sdp, described(response.sdp) or session.remote_sdp
        if self.refreshing and session.remote_sdp != before:
            self.refreshing = False
        self._report(200, response)

    def _report(self, status: int, response: Response | None) -> None:
        if self.refreshing:
            self.refreshing = False
        else:
            self._agent.emit(OfferAnswered(self._session.id, status, response))

    def _refused(self, transaction: Transaction, status: int, response: Response | None, now: float) -> None:
        """Our refresh was."""
        self.refreshing = False
        if self._timer.refused(transaction.cseq[1], status, response, now):
            self._refresh(now)

    def _refresh(self, now: float) -> None:
        method = self._timer.method
        self.refreshing, self.headers, self.tries = True, (), 0
        self.body = b"" if method == "UPDATE" else self._session.local_sdp
        self._send(now, method)

    def retry_later(self, now: float) -> None:
        """RFC 3261 §14.1: who made the Call-ID waits 2.1 to 4 s, the other up to 2 s, in steps of 10 ms."""
        part = self._agent.fraction()
        wait = part * 2.0 if self._session.is_called else 2.1 + part * 1.9
        self.waiting = True
        self._session.set("retry", now + round(wait, 2))

    def failed(self, transaction: Transaction, status: int, now: float) -> None:
        """No response, or the flow is gone; a lost flow does not end the dialog, the phone may come back."""
        self.acknowledged(transaction)
        if transaction is not self.transaction or self._session.is_over:
            return
        self.state, self.transaction = "idle", None
        if transaction.is_server:
            return  # their re-INVITE went with their connection
        if self.refreshing:
            self._refused(transaction, status, None, now)
        elif status == 408 and self._session.phase not in EARLY:
            self._ending.die(now, "No answer")
        else:
            self._report(status, None)

    def acknowledge(self, answer: bytes, now: float) -> None:
        if self.state != "owed":
            raise WrongState("no 2xx waits for an ACK")
        self.state = "idle"
        self._acks.acknowledge(self._acks.owed, now, answer)

    # ---- their offer
    def requested(self, request: Request, transaction: Transaction, now: float) -> None:
        """re-INVITE, UPDATE, or a PRACK with an offer."""
        session, phase = self._session, self._session.phase
        check_timer(request)
        if request.method == "UPDATE" and not request.sdp and phase != "over":
            self._refreshed(request, transaction, now)
            return
        is_update = request.method != "INVITE"
        if phase in ("ending", "over"):
            raise PeerError(481, "The call has ended")
        is_theirs = phase == "incoming" and not (
            is_update and self._early.settled
        )  # their first offer waits for its answer
        if self.state == "answer due" or is_theirs:
            wait = str(int(self._agent.fraction() * 10))
            raise PeerError(500, "Another offer is in progress", (("Retry-After", wait),))
        is_settled = phase == "calling" and is_update and self._early.has_settled(request.from_tag)
        if self.state != "idle" or not (is_settled or phase in ("confirmed", "incoming")):
            raise PeerError(491, "Request Pending")
        if (
            self.waiting
        ):  # ours met theirs (491) and was to be tried again: theirs is first, and ours would be out of date behind it
            self.waiting = False
            session.clear("retry")
            self._report(491, None)
        self.state, self.transaction = "answer due", transaction
        self.asked = not request.sdp
        session.remote_sdp = described(request.sdp) or session.remote_sdp
        self._retarget(request)
        if request.method == "INVITE":
            self._agent.respond(transaction, 100, now)
        self._agent.emit(Offered(session.id, request))

    def _retarget(self, request: Request) -> None:
        dialog = self._session.dialog_with(request.from_tag)
        if dialog is not None and request.method != "PRACK":  # which refreshes no target (RFC 3262 §3)
            dialog.refresh(request)

    def _refreshed(self, request: Request, transaction: Transaction, now: float) -> None:
        """UPDATE without SDP: a new target or a session refresh."""
        self._retarget(request)
        self._session.respond(transaction, 200, now, "", self._timer.answer(request, now))

    def accept(self, body: bytes, now: float, headers: Headers) -> None:
        transaction = self._due()
        if transaction.cseq[1] != "PRACK":
            headers = (*self._timer.answer(transaction.request, now), *headers)
        self._session.local_sdp = body
        if transaction.cseq[1] == "INVITE":
            self.state = "ack due"
            self._acks.answer(transaction, body, now, headers)
        else:
            self.state, self.transaction = "idle", None
            self._session.respond(transaction, 200, now, "", headers, body)

    def reject(self, status: int, now: float, reason: str, headers: Headers) -> None:
        transaction = self._due()
        self.state, self.transaction = "idle", None
        self._session.respond(transaction, status, now, reason, headers)
        self.refused(transaction)

    def refused(self, transaction: Transaction) -> None:
        """A request of theirs has been, by whomever. Here it matters when it is a re-INVITE, and came where their answers go."""
        session, waits = self._session, (transaction.kind, transaction.state) == (INVITE_SERVER, "completed")
        if waits and transaction is not session.transaction and transaction.flow == session.flow:
            self.refusal, transaction.user = transaction, session.mark

    def acknowledged(self, transaction: Transaction) -> None:
        """Our refusal is, or never will be."""
        if transaction is self.refusal:
            self.refusal = None

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
            self._session.respond(transaction, 487, now)
        if self.state == "offering" and transaction is not None:
            self._agent.layer.abandon(transaction, now)
        self.state, self.waiting = "idle", False

    # ---- time
    def timer(self, name: str, now: float) -> None:
        session = self._session
        if name == "retry" and self.waiting and (session.phase == "confirmed" or session.phase in EARLY):
            if self.state == "idle":
                self._send(now)
            else:
                session.set("retry", now + 1.0)
        elif session.phase == "confirmed" and name in ("refresh", "expire"):
            busy = self.state != "idle" or self.waiting
            if self._timer.due(name, now, busy=busy):
                self._refresh(now)
