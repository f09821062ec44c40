"""A session in a few plain values, so that a call outlives the process that drives it.

What is kept is what the far end would miss: the dialogs, the phase, and of what is under way the last message that has no answer yet. Ours
(INVITE, re-INVITE, UPDATE, BYE, a 2xx without its ACK) is kept as it was sent and sent once more under the same branch and CSeq, which
the far end takes as a repetition; a CANCEL is made again from its INVITE. Of theirs (INVITE, re-INVITE, UPDATE) what an answer needs.

Values are only appended, with a default: those of a version that knew fewer are taken over, and so are those of one that knew more.
What came off the wire is bytes, for it need not be UTF-8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from appliance.sip.agent import Agent
from appliance.sip.dialog import Dialog, text, wire
from appliance.sip.message import Request, parse
from appliance.sip.session import Session
from appliance.sip.transaction import CLIENT, INVITE_CLIENT, INVITE_SERVER, SERVER, Transaction

Pairs = tuple[tuple[bytes, bytes], ...]
T = TypeVar("T", bound="tuple[Any, ...]")

# of a request that waits for our answer: what its answers echo, what a dialog or CANCEL is made of, and the session timer's
_NEEDED = (
    "From", "To", "Call-ID", "CSeq", "Timestamp", "Route", "Record-Route", "Supported", "Require", "Session-Expires", "Min-SE",
)  # fmt: skip


class Kept(NamedTuple):
    """Of a session. Requests are whole messages: ours as sent, theirs with the fields that are needed."""

    id: str
    flow: int
    phase: str
    is_called: bool
    local_tag: str
    call_id: bytes
    user: bytes
    is_sips: bool
    had_offer: bool = False
    dialog: Sequence[Any] | None = None
    forks: Sequence[Sequence[Any]] = ()
    peer_allows: bytes = b""
    invite: bytes = b""
    proceeding: bool = False  # our INVITE has had a 1xx
    provisional: bytes = b""  # our last one
    unacked: tuple[int, bytes, bytes] | None = None  # CSeq, 2xx, the INVITE that it answers
    owed: int = 0  # CSeq of the 2xx that waits for our acknowledge
    cancel_sent: bool = False
    parting: Pairs | None = None  # headers of the BYE that waits for the ACK, or of the CANCEL
    bye: bytes = b""
    offers: Sequence[Any] = ()
    timer: Sequence[Any] = ()
    ack: tuple[bytes, int, bytes] | None = None  # To tag, CSeq and the ACK: our last one with an answer in it


class KeptOffers(NamedTuple):
    """Of offers after the first one: `Exchange`."""

    state: str = "idle"
    request: bytes = b""  # ours that is out, or theirs that waits for our answer
    owed: int = 0  # CSeq of the 2xx that carried the offer
    body: bytes = b""  # of ours that waits
    headers: Pairs = ()
    tries: int = 0
    waiting: bool = False
    refreshing: bool = False
    asked: bool = False


def _known(kind: type[T], values: Sequence[Any]) -> T:
    return kind(*values[: len(kind._fields)])  # type: ignore[attr-defined]


def _pairs(headers: Sequence[tuple[str, str]]) -> Pairs:
    return tuple((wire(name), wire(value)) for name, value in headers)


def _headers(pairs: Sequence[Sequence[bytes]]) -> tuple[tuple[str, str], ...]:
    return tuple((text(name), text(value)) for name, value in pairs)


def _needed(session: Session, request: Request) -> bytes:
    """The request, one at a time, with the fields that are needed."""
    if session.waiting is None or session.waiting[0] is not request:
        vias = [("Via", via) for via in request.vias]
        fields = [(name, value) for name in _NEEDED for value in request.get_all(name)]
        session.waiting = request, Request(request.method, request.uri_text, (*vias, *fields)).to_bytes()
    return session.waiting[1]


def dump(session: Session) -> tuple[Any, ...]:
    phase, invite, unacked, ack = session.phase, session.transaction, session.unacked, session.late_ack
    first, provisional, is_calling = b"", b"", False
    if phase in ("incoming", "calling", "cancelling") and invite is not None:
        is_calling = invite.state == "calling"
        first = invite.last if is_calling else _needed(session, invite.request)
        provisional = invite.last if phase == "incoming" else b""
    return Kept(
        session.id,
        session.flow,
        phase,
        session.is_called,
        session.local_tag,
        wire(session.call_id),
        wire(session.user),
        session.is_sips,
        session.had_offer,
        session.dialog.dump() if session.dialog is not None else None,
        tuple([dialog.dump() for dialog in session.forks.values()]),
        wire(",".join(session.peer_allows)),
        first,
        not is_calling,
        provisional,
        (unacked[0], unacked[1], _needed(session, unacked[2])) if unacked is not None else None,
        session.owed,
        session.cancel_sent,
        _pairs(session.parting) if session.parting is not None else None,
        session.bye.last if session.bye is not None else b"",
        _dump_offers(session) if phase == "confirmed" else (),
        session.exchange.session_timer.dump(),
        (wire(ack[0]), ack[1], ack[2]) if ack is not None else None,
    )


def _dump_offers(session: Session) -> tuple[Any, ...]:
    offers, request = session.exchange, b""
    if offers.transaction is not None and offers.state == "offering":
        request = offers.transaction.last
    elif offers.transaction is not None and offers.state == "answer due":
        request = _needed(session, offers.transaction.request)
    return KeptOffers(
        offers.state, request, offers.owed, offers.body if offers.waiting else b"", _pairs(offers.headers), offers.tries, offers.waiting,
        offers.refreshing, offers.asked,
    )  # fmt: skip


class _Back:
    """Takes one session up again."""

    def __init__(self, agent: Agent, values: Sequence[Any], now: float) -> None:
        self.agent = agent
        self.kept = kept = _known(Kept, values)
        self.now = now
        self.session = session = Session(
            agent,
            kept.id,
            kept.flow,
            kept.phase,
            text(kept.call_id),
            text(kept.user),
            is_called=kept.is_called,
            is_sips=kept.is_sips,
        )
        session.local_tag = kept.local_tag
        session.had_offer = kept.had_offer
        session.dialog = Dialog.restore(kept.dialog) if kept.dialog is not None else None
        session.forks = {dialog.remote_tag: dialog for dialog in map(Dialog.restore, kept.forks)}
        session.peer_allows = [each for each in text(kept.peer_allows).split(",") if each]
        session.owed = kept.owed
        session.parting = _headers(kept.parting) if kept.parting is not None else None
        if kept.ack is not None:
            session.restore_ack((text(kept.ack[0]), kept.ack[1], kept.ack[2]), now)

    def adopt(self, kind: str, state: str, request: bytes, last: bytes = b"") -> Transaction:
        """With our last message: the request of ours, or the answer to theirs."""
        found = parse(request)
        assert isinstance(found, Request)
        flow = self.session.flow
        alive, reliable = self.agent.facts(flow) is not None, self.agent.is_reliable(flow)
        adopt = self.agent.layer.adopt
        return adopt(kind, state, found, flow, self.now, reliable=reliable, user=self.session, last=last, alive=alive)

    def first(self) -> None:
        """The INVITE that the session began with, whose answer is due."""
        session, kept = self.session, self.kept
        if kept.phase == "incoming":
            session.transaction = self.adopt(INVITE_SERVER, "proceeding", kept.invite, kept.provisional)
            if not kept.provisional.startswith(b"SIP/2.0 100 "):
                session.rings(self.now)
        else:
            state = "proceeding" if kept.proceeding else "calling"
            session.transaction = self.adopt(INVITE_CLIENT, state, kept.invite, kept.invite)
            session.sent = session.transaction.request
            if kept.cancel_sent:
                session.send_cancel(self.now)

    def unacked(self, number: int, answer: bytes, request: bytes) -> None:
        """Our 2xx that waits for its ACK."""
        session = self.session
        session.transaction = self.adopt(INVITE_SERVER, "accepted", request, answer)
        session.unacked = number, answer, session.transaction.request
        self.agent.send_once(session.flow, answer)
        session.await_ack(self.now)

    def offers(self, values: Sequence[Any]) -> None:
        offers, kept = self.session.exchange, _known(KeptOffers, values)
        offers.state, offers.owed, offers.body, offers.headers = (
            kept.state,
            kept.owed,
            kept.body,
            _headers(kept.headers),
        )
        offers.tries, offers.waiting, offers.refreshing, offers.asked = (
            kept.tries,
            kept.waiting,
            kept.refreshing,
            kept.asked,
        )
        is_invite = kept.request.startswith(b"INVITE ")
        if kept.state == "offering":
            offers.transaction = self.adopt(
                *((INVITE_CLIENT, "calling") if is_invite else (CLIENT, "trying")), kept.request, kept.request
            )
            offers.body = offers.transaction.request.body
        elif kept.state == "answer due":
            offers.transaction = self.adopt(
                *((INVITE_SERVER, "proceeding") if is_invite else (SERVER, "trying")), kept.request
            )
        if kept.waiting and kept.tries:
            offers.retry_later(self.now)


def restore(agent: Agent, values: Sequence[Any], now: float) -> Session:
    """The session of a dump, in the phase it was in."""
    back = _Back(agent, values, now)
    kept, session = back.kept, back.session
    if kept.phase in ("incoming", "calling", "cancelling"):
        back.first()
    if kept.phase in ("answered", "confirmed"):
        session.exchange.session_timer.restore(kept.timer, now)
        if kept.unacked is not None:
            back.unacked(*kept.unacked[:3])
    if kept.phase == "confirmed":
        back.offers(kept.offers)
    if kept.phase == "ending":
        session.bye = back.adopt(CLIENT, "trying", kept.bye, kept.bye)
    return session
