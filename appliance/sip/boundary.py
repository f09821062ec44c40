"""One input, one boundary: an exception while a message, a closed flow, a timer or a command is worked on costs at most the session it
belongs to, and never the input behind it.

Whose fault it is makes no difference to what is cleared, only to what is said: a response that no dialog can be made of is the peer's
(PeerError), everything else is a bug of ours. The session is ended in the usual way (500, CANCEL, BYE) and its user told; when that
fails too it is buried: its transactions and timers are dropped and the far end gets one last BYE or CANCEL.
"""

from __future__ import annotations

import contextlib
import logging

from appliance.sip.agent import Agent
from appliance.sip.errors import PeerError
from appliance.sip.events import Answered, Cancelled, Ended, Fault, FlowId, Rejected
from appliance.sip.transaction import T1, Transaction, cancel_for
from appliance.sip.usage.invite import Invite

log = logging.getLogger(__name__)

WORDS = "Internal fault"


class Boundary:
    """`usage` is whose input is worked on, as far as it is known yet; the transaction is the one the layer has touched last."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.usage: Invite | None = None
        self.flow: FlowId | None = None

    def begin(self, flow: FlowId | None = None, usage: Invite | None = None, transaction: Transaction | None = None) -> None:
        self.flow, self.usage, self._agent.layer.touched = flow, usage, transaction

    def fault(self, error: Exception, now: float) -> None:
        layer = self._agent.layer
        transaction, layer.touched = layer.touched, None
        usage = self.usage
        if usage is None and transaction is not None and isinstance(transaction.user, Invite):
            usage = transaction.user
        ours = not isinstance(error, PeerError)
        words = WORDS if ours else str(error)
        if ours:
            log.error("a fault in the SIP stack", exc_info=error)
        try:
            if usage is not None:
                self._end(usage, now, words)
            session = usage.session if usage is not None else None
            if transaction is not None and (session is None or transaction is not session.transaction or session.phase == "over"):
                self._drop(transaction, now)
        except Exception as second:
            log.error("a fault while clearing up behind a fault", exc_info=second)
            self._bury(usage, transaction, now)
        facts = self._agent.facts(self.flow) if self.flow is not None else None
        cause = f"{type(error).__name__}: {error}"[:200] if ours else error.reason[:200]  # type: ignore[attr-defined]
        self._agent.output.append(Fault(usage.id if usage is not None else "", facts.remote[0] if facts else "", cause, ours))

    def _end(self, usage: Invite, now: float, words: str) -> None:
        session, ending = usage.session, usage.ending
        if session.phase != "over":
            self._agent.touched.add(session.id)
        match session.phase:
            case "incoming":
                ending.abort(now)
                self._agent.emit(Cancelled(session.id, words))
            case "calling":
                ending.hang_up(now, ())
                session.set("cancel", now + 64 * T1)  # whatever has become of the transaction's own timers
                self._agent.emit(Rejected(session.id, 500, words, None))
            case "answered" if session.transaction is not None and not session.transaction.is_over:
                ending.abort(now)
                self._agent.emit(Ended(session.id, "fault", words))
            case "answered" | "owing" | "confirmed":
                ending.die(now, words, by="fault")
            case "cancelling" | "ending":
                self._bury(usage, None, now)
            case "refused":  # its user has been told
                session.move("over")

    def _drop(self, transaction: Transaction, now: float) -> None:
        """Its request is answered, its user told, and no timer is left of it."""
        if transaction.is_server and not transaction.is_over:
            self._agent.respond(transaction, 500, now)
            return
        if transaction.user == "request" and not transaction.is_over:
            self._agent.emit(Answered(transaction.id, 500, None))
        self._agent.layer.drop(transaction)

    def _bury(self, usage: Invite | None, transaction: Transaction | None, now: float) -> None:
        agent = self._agent
        if usage is None:
            if transaction is not None:
                agent.layer.drop(transaction)
            return
        session = usage.session
        invite, dialog = session.transaction, session.dialog
        with contextlib.suppress(Exception):
            if dialog is not None and dialog.confirmed:
                agent.send_once(session.flow, dialog.request("BYE", agent.via(session.flow)).to_bytes())
            elif invite is not None and not invite.is_server and not invite.is_over:
                agent.send_once(session.flow, cancel_for(invite.request).to_bytes())
        for each in agent.layer.of(usage):
            agent.layer.drop(each)
        usage.ending.forget()
        agent.output.append(Ended(session.id, "fault", WORDS))
