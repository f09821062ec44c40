"""Before the answer: provisional responses both ways, reliable ones with their PRACK (RFC 3262), and the early dialogs they make.

Ours are reliable when the caller demands it, or supports it and there is an answer in the response; one at a time, each repeated until its
PRACK comes, further ones wait in order. A 2xx waits for the PRACK of an answer (RFC 3262 §3). An INVITE
without an offer gets no offer before its 2xx. Who demands reliable responses and acknowledges none is refused, 504; who only says that it
supports them and does not goes on without (§3 would refuse it too, and cut a call that rings).

Theirs get their PRACK by themselves, in order; repeated ones and such as miss their predecessor are passed over. An early dialog in which the
first offer has been answered reliably is settled: from then on there may be offers in it (RFC 3311, see offers).

Bounds: MAX_FORKS early dialogs, MAX_QUEUE responses of ours that wait, RSeq below 2**31 (§7.1).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from appliance.sip.dialog import Dialog
from appliance.sip.errors import PeerError, WrongState
from appliance.sip.events import Cancelled, Progress
from appliance.sip.text.message import Headers, Message, Request, Response
from appliance.sip.transaction import T1, Transaction
from appliance.sip.usage.session import MAX_FORKS, Session, described, takes_update

TAG = "100rel"
MAX_QUEUE = 8
MAX_RSEQ = 2**31
PROVISIONAL_EVERY = 60.0  # seconds; proxies give up after three minutes of silence (RFC 3261 §13.3.1.1)
_RACK = re.compile(r"([0-9]{1,10})[ \t]+([0-9]{1,10})[ \t]+([A-Za-z0-9\-.!%*_+`'~]{1,64})")


def demands(message: Message) -> bool:
    """Whether it has to be, or was, acknowledged."""
    return message.get("Require") is not None and TAG in message.require


class Provisional(NamedTuple):
    """One of ours that has not been sent yet."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Early:
    __slots__ = (
        "_interval",
        "_session",
        "agreed",
        "answers",
        "deaf",
        "heard",
        "pracks",
        "put_off",
        "queue",
        "rseq",
        "unacked",
    )

    def __init__(self, session: Session) -> None:
        self._session = session
        # ours
        self.rseq = 0  # of our last reliable one
        self.unacked = b""  # that one, until its PRACK is there
        self.answers = False  # it has the answer
        self.queue: list[Provisional] = []
        self.put_off: tuple[bytes, tuple[tuple[str, str], ...]] | None = (
            None  # the 2xx that waits for the PRACK: body and headers
        )
        self.deaf = False  # it has acknowledged nothing
        self._interval = T1
        # theirs
        self.heard: dict[str, int] = {}  # To tag -> RSeq of the last one in order
        self.pracks: dict[str, Transaction] = {}  # To tag -> our PRACK that has no answer yet
        # both
        self.agreed: set[str] = set()  # tags of the far end, where the first offer has been answered reliably

    @property
    def settled(self) -> str:
        """The early dialog in which offers are possible, "" for none or several."""
        return next(iter(self.agreed)) if len(self.agreed) == 1 else ""

    def has_settled(self, tag: str) -> bool:
        return tag in self.agreed

    # ---- ours
    def ring(self, status: int, now: float, reason: str, headers: Headers, body: bytes) -> None:
        session = self._session
        if session.phase != "incoming" or not 100 <= status <= 199:
            raise WrongState("only an INVITE that is not answered yet can ring")
        if status == 100:
            if not session.invite.last:
                session.agent.respond(session.invite, 100, now)
            return
        invite, can = session.invite.request, session.agent.can
        demanded, body = demands(invite), body if session.had_offer or not body else b""
        knows = TAG in can.extensions and not self.deaf and (demanded or (bool(body) and TAG in invite.supported))
        if knows and session.had_offer and self.agreed:
            body = b""  # the answer has been given
        if not knows or not (body or demanded):
            session.respond(session.invite, status, now, reason, headers, body)
            self.repeats(now)
        elif not self.unacked:
            self._send(Provisional(status, reason, tuple(headers), body), now)
        elif len(self.queue) < MAX_QUEUE:
            self.queue.append(Provisional(status, reason, tuple(headers), body))

    def _send(self, what: Provisional, now: float) -> None:
        session = self._session
        first = 1 + int(session.agent.fraction() * (MAX_RSEQ - 2**16))
        self.rseq = self.rseq + 1 if self.rseq else first
        self.answers = bool(what.body)
        if what.body:
            session.local_sdp = what.body
        fields = (("Require", TAG), ("RSeq", str(self.rseq)), *what.headers)
        self.unacked = session.respond(session.invite, what.status, now, what.reason, fields, what.body)
        self.wait(now)

    def wait(self, now: float) -> None:
        """For the PRACK."""
        self._interval = T1
        self._session.set("reliable", now + T1)
        self._session.set("no prack", now + 64 * T1)
        self.repeats(now)

    def repeats(self, now: float) -> None:
        if self._session.invite.last:
            self._session.set("1xx", now + PROVISIONAL_EVERY)

    def acknowledged(self, request: Request, transaction: Transaction, now: float) -> bool:
        """A PRACK; PeerError 481 for one that fits nothing. Whether it brings an offer, whose answer goes with its 200."""
        session, match = self._session, _RACK.fullmatch((request.get("RAck") or "").strip(" \t"))
        if match is None:
            raise PeerError(400, "Malformed RAck")
        cseq = session.transaction.cseq if session.transaction is not None else (0, "")
        named = (int(match[1]), (int(match[2]), match[3]))
        if named != (self.rseq, cseq) or (session.phase == "incoming" and not self.unacked) or session.phase == "over":
            raise PeerError(481, "No response waits for this PRACK")
        if session.phase != "incoming":  # the answer was faster
            session.respond(transaction, 200, now)
            return False
        session.clear("reliable", "no prack")
        self.unacked = b""
        if self.answers:
            self.agreed.add(request.from_tag)
        offers = bool(request.sdp and self.agreed)
        if not offers:
            session.respond(transaction, 200, now)
        if self.queue and self.put_off is None:
            self._send(self.queue.pop(0), now)
        return offers

    def holds_back(self, body: bytes, headers: Headers) -> bool:
        """Whether a 2xx has to wait for the PRACK of the answer."""
        if self.put_off is not None:
            raise WrongState("it has been answered")
        if self.unacked and self.answers:
            self.put_off = body, tuple(headers)
        return self.put_off is not None

    # ---- theirs
    def heard_of(self, response: Response, invite: Request, now: float) -> None:
        """A provisional response to our INVITE."""
        session, tag = self._session, response.to_tag
        if tag and tag not in session.forks:
            if len(session.forks) >= MAX_FORKS:
                return
            session.forks[tag] = Dialog.answered(invite, response)
        if demands(response) and TAG in session.agent.can.extensions and not self._acknowledge(response, tag, now):
            return
        if response.body:
            session.remote_sdp = described(response.sdp) or session.remote_sdp
        session.agent.emit(Progress(session.id, tag, response))

    def _acknowledge(self, response: Response, tag: str, now: float) -> bool:
        """PRACK; False for one that must be passed over (RFC 3262 §4)."""
        session, dialog, text = self._session, self._session.forks.get(tag), (response.get("RSeq") or "").strip(" \t")
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else 0
        last = self.heard.get(tag, 0)
        if dialog is None or not 0 < number < MAX_RSEQ or (last and number != last + 1):
            return False
        self.heard[tag] = number
        if response.sdp and session.had_offer:
            self.agreed.add(tag)
            session.peer_updates = takes_update(response)
        dialog.refresh(response)
        fields = [("RAck", f"{number} {response.cseq[0]} {response.cseq[1]}"), ("User-Agent", session.agent.user_agent)]
        self.pracks[tag] = session.send(dialog.request("PRACK", session.via(), fields), now)
        return True

    def answered(self, transaction: Transaction) -> None:
        """Our PRACK has its answer, or will have none: the response it is for is repeated or not, the call goes on."""
        self.pracks = {tag: each for tag, each in self.pracks.items() if each is not transaction}

    def over(self) -> None:
        """There is an answer, or there will be none."""
        if self._session.is_called:
            self._session.clear("1xx", "reliable", "no prack")
        self.unacked, self.put_off = b"", None
        for each in (self.queue, self.heard, self.pracks, self.agreed):
            each.clear()

    # ---- time
    def timer(self, name: str, now: float) -> None:
        session = self._session
        if session.phase != "incoming":
            return
        if name == "1xx":
            session.agent.send_once(session.flow, session.invite.last)
            session.set("1xx", now + PROVISIONAL_EVERY)
        elif name == "reliable":
            session.agent.send_once(session.flow, self.unacked)
            self._interval *= 2
            session.set("reliable", now + self._interval)
        elif demands(session.invite.request):
            session.clear_up(now)
            session.refuse(504, now)
            session.agent.emit(Cancelled(session.id, "No PRACK for a reliable response"))
        else:
            self.deaf, self.unacked, waiting = True, b"", [*self.queue]
            self.queue.clear()
            session.clear("reliable")
            for each in waiting:
                self.ring(each.status, now, each.reason, each.headers, each.body)
