"""The 2xx of an INVITE and its ACK, both ways, first INVITE or later one (RFC 3261 §13.2.2.4, §13.3.1.4).

Ours is repeated here until its ACK comes, on every transport. Theirs gets an ACK, and the same again as often as it is repeated; one that
carried the offer waits in `owed` for the user's answer.
"""

from __future__ import annotations

from appliance.sip.dialog import Dialog
from appliance.sip.text.body import SDP_TYPE
from appliance.sip.text.message import Headers, Request, Response
from appliance.sip.transaction import T1, T2, Transaction
from appliance.sip.usage.session import MAX_FORKS, Session


class Acks:
    __slots__ = ("_interval", "_sent", "_session", "late", "owed", "unacked")

    def __init__(self, session: Session) -> None:
        self._session = session
        self.unacked: tuple[int, bytes, Request] | None = None  # CSeq, our 2xx that waits, the request that it answers
        self.owed = 0  # CSeq of their 2xx that waits for our answer
        self.late: tuple[str, int, bytes] | None = None  # the last ACK with an answer in it: To tag, CSeq, and it
        self._interval = T1
        self._sent: dict[tuple[str, int], bytes] = {}  # (To tag, CSeq) -> ACK to repeat
        session.before_end.append(self._settle)

    # ---- our 2xx
    def answer(self, transaction: Transaction, body: bytes, now: float, headers: Headers) -> None:
        request = transaction.request
        data = self._session.respond(transaction, 200, now, "", headers, body)
        self.unacked = (transaction.cseq[0], data, request)
        self.wait(now)

    def wait(self, now: float) -> None:
        self._interval = T1
        self._session.set("2xx", now + T1)
        self._session.set("no ack", now + 64 * T1)

    def acked(self, request: Request) -> bool:
        """Whether it is the ACK that is waited for."""
        if self.unacked is None or self.unacked[0] != request.cseq[0]:
            return False
        self.forget()
        return True

    def forget(self) -> None:
        self.unacked = None
        self._session.clear("2xx", "no ack")

    def repeat(self, now: float) -> None:
        """Timer "2xx"."""
        if self.unacked is not None:
            self._session.agent.send_once(self._session.flow, self.unacked[1])
            self._interval = min(self._interval * 2, T2)
            self._session.set("2xx", now + self._interval)

    # ---- their 2xx
    def acknowledge(self, number: int, now: float, answer: bytes = b"") -> None:
        """An ACK with an answer is kept over a restart as long as it may be asked for: without it the call has no sound."""
        dialog = self._session.dialog
        assert dialog is not None
        self.owed = 0
        ack = self.send(dialog, number, answer)
        if answer:
            self._session.local_sdp = answer
            self.keep((dialog.remote_tag, number, ack), now)

    def _settle(self, now: float) -> None:
        """Before a BYE: who waits for our answer gets an ACK without one."""
        if self.owed:
            self.acknowledge(self.owed, now)

    def send(self, dialog: Dialog, number: int, answer: bytes = b"") -> bytes:
        fields = [("Content-Type", SDP_TYPE)] if answer else []
        ack = dialog.request("ACK", self._session.via(), fields, answer, number=number).to_bytes()
        while len(self._sent) >= MAX_FORKS:
            del self._sent[next(iter(self._sent))]
        self._sent[dialog.remote_tag, number] = ack
        self._session.agent.send_once(self._session.flow, ack)
        return ack

    def keep(self, ack: tuple[str, int, bytes], now: float) -> None:
        self.late, self._sent[ack[:2]] = ack, ack[2]
        self._session.set("ack", now + 64 * T1)

    def again(self, response: Response) -> bool:
        """Whether it is a repetition; it has its ACK again."""
        ack = self._sent.get((response.to_tag, response.cseq[0]))
        if ack is not None:
            self._session.agent.send_once(self._session.flow, ack)
        return ack is not None

    def late_2xx(self, response: Response) -> None:
        """One whose transaction we no longer have: after a restart, or very late."""
        dialog = self._session.dialog
        if self.again(response) or self._session.phase != "confirmed" or self.owed or dialog is None:
            return
        if dialog.remote_tag == response.to_tag:
            self.send(dialog, response.cseq[0])

    @property
    def has_room(self) -> bool:
        return len(self._sent) < MAX_FORKS
