"""How a session ends: BYE both ways (RFC 3261 §15), CANCEL both ways (§9), a far end that is gone (§12.2.1.2), a fault of ours."""

from __future__ import annotations

from appliance.sip.dialog import merge
from appliance.sip.errors import PeerError
from appliance.sip.events import Cancelled, Ended, Rejected
from appliance.sip.text.message import Headers, Request, Response
from appliance.sip.transaction import T1, Transaction, cancel_for
from appliance.sip.usage.acks import Acks
from appliance.sip.usage.session import TIMERS, Session

GONE = {408: "No answer", 503: "The connection is gone"}


class Ending:
    __slots__ = ("_acks", "_session", "bye", "cancel_sent")

    def __init__(self, session: Session, acks: Acks) -> None:
        self._session = session
        self._acks = acks
        self.bye: Transaction | None = None
        self.cancel_sent = False

    # ---- we end it
    def hang_up(self, now: float, headers: Headers) -> None:
        """BYE, CANCEL or 603, what fits. No BYE before our 2xx has its ACK (§15)."""
        session = self._session
        match session.phase:
            case "incoming":
                session.clear_up(now)
                session.refuse(603, now, "", headers)
            case "calling":
                session.clear_up(now)
                session.parting = tuple(headers)
                session.move("cancelling")
                self.cancel(now)
            case "owing":
                self.say_bye(now, headers)
            case "answered" | "confirmed" if self._acks.unacked is not None:
                if session.parting is None:
                    session.parting = tuple(headers)
            case "confirmed":
                self.say_bye(now, headers)

    def cancel(self, now: float) -> None:
        """As soon as there has been a provisional response (§9.1)."""
        session, transaction = self._session, self._session.invite
        if transaction.state != "proceeding" or self.cancel_sent:
            return
        self.cancel_sent = True
        headers = tuple((name, value) for name, value in session.parting or () if name.lower() == "reason")
        session.agent.send(cancel_for(transaction.request, headers), transaction.flow, now, None)
        session.set("cancel", now + 64 * T1)

    def cancel_ignored(self, now: float) -> None:
        """Timer "cancel": nothing else would ever end it (§9.1)."""
        session = self._session
        if session.phase == "cancelling":
            session.agent.layer.drop(session.invite)
            session.over(Rejected(session.id, 487, "No answer to our CANCEL", None))

    def say_bye(self, now: float, headers: Headers = ()) -> None:
        session = self._session
        session.clear_up(now)
        assert session.dialog is not None
        session.clear(*TIMERS)
        self._acks.unacked = None
        session.move("ending")
        defaults = [("User-Agent", session.agent.user_agent)]
        self.bye = session.send(session.dialog.request("BYE", session.via(), merge(defaults, headers)), now)

    def die(self, now: float, words: str, by: str = "timeout") -> None:
        """The far end is as good as gone: say BYE, and that it is over (§12.2.1.2)."""
        session = self._session
        if session.phase != "ending" and not session.is_over:
            told = session.parting is not None
            self.say_bye(now, session.parting or ())
            session.move("over")
            if not told:
                session.agent.emit(Ended(session.id, by, words))

    # ---- they end it
    def cancelled(self, now: float, reason: str) -> None:
        """CANCEL (§9.2), an early BYE, or a reliable response that nobody acknowledges."""
        session = self._session
        if session.phase == "incoming":
            session.clear_up(now)
            session.refuse(487, now)
            session.agent.emit(Cancelled(session.id, reason))

    def bye_received(self, request: Request, transaction: Transaction, now: float) -> None:
        session = self._session
        if session.phase in ("calling", "cancelling"):
            raise PeerError(481, "The call is not set up yet")
        session.agent.respond(transaction, 200, now)
        reason = request.get("Reason") or ""
        if session.phase == "incoming":
            self.cancelled(now, reason)
        elif session.phase == "ending" or session.parting is not None:  # both hang up: nobody needs to be told
            session.move("over")
        elif session.phase != "over":
            session.clear_up(now)
            session.over(Ended(session.id, "peer", reason))

    # ---- what comes of it
    def responded(self, response: Response) -> None:
        """To our BYE."""
        if response.status >= 200 and self._session.phase == "ending":
            self._session.move("over")

    def acked(self) -> None:
        """Our refusal is."""
        if self._session.phase == "refused":
            self._session.move("over")

    def failed(self, transaction: Transaction, status: int) -> None:
        """No response (408) or no flow (503) for our BYE or the first INVITE, or theirs has gone with its connection;
        or nobody has acknowledged our refusal."""
        session, words = self._session, GONE[status]
        if transaction.cseq[1] == "BYE":
            if session.phase == "ending":
                session.over(Ended(session.id, "timeout", words))
        elif session.phase in ("calling", "cancelling"):
            session.over(Rejected(session.id, status, words, None))
        elif session.phase == "incoming":
            session.over(Cancelled(session.id, words))
        elif session.phase == "refused":
            session.move("over")

    # ---- behind a fault
    def abort(self, now: float) -> None:
        """An INVITE that cannot be worked on any more."""
        self._session.refuse(500, now)

    def forget(self) -> None:
        """Whatever state it is in, nothing is left of it."""
        session = self._session
        session.clear(*TIMERS)
        session.phase, self._acks.unacked = "over", None
        session.agent.over.append(session.id)
