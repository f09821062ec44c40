"""A session in a few plain values, so that a call outlives the process that drives it.

What is kept is what the far end would miss: the dialogs, the phase, and of what is under way the last message that has no answer yet. Ours
(INVITE, re-INVITE, UPDATE, PRACK, BYE, a 2xx or a refusal without its ACK, a reliable response without its PRACK) is kept as it was sent and sent
once more under the same branch and CSeq, which the far end takes as a repetition; a CANCEL is made again from its INVITE. Of theirs (INVITE, re-INVITE, UPDATE) what an answer needs.

Values are only appended, with a default: those of a version that knew fewer are taken over, and so are those of one that knew more.
What came off the wire is bytes, for it need not be UTF-8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from appliance.sip.agent import Agent
from appliance.sip.dialog import Dialog, text, wire
from appliance.sip.text.message import Request, parse
from appliance.sip.transaction import CLIENT, INVITE_CLIENT, INVITE_SERVER, SERVER, Transaction
from appliance.sip.usage.early import Early, Provisional
from appliance.sip.usage.invite import Invite
from appliance.sip.usage.offers import Offers
from appliance.sip.usage.session import Session

Pairs = Sequence[Sequence[bytes]]  # of names and values: tuples, and lists when msgspec has unpacked them
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
    peer_updates: bool = False
    invite: bytes = b""
    proceeding: bool = False  # our INVITE has had a 1xx
    provisional: bytes = b""  # our last one; in phase "refused" the final one
    unacked: Sequence[Any] | None = None  # CSeq, 2xx, the INVITE that it answers
    owed: int = 0  # CSeq of the 2xx that waits for our acknowledge
    cancel_sent: bool = False
    parting: Pairs | None = None  # headers of the BYE that waits for the ACK, or of the CANCEL
    bye: bytes = b""
    offers: Sequence[Any] = ()
    timer: Sequence[Any] = ()
    ack: Sequence[Any] | None = None  # To tag, CSeq and the ACK: our last one with an answer in it
    early: Sequence[Any] = ()
    local_sdp: bytes = b""  # before the answer
    remote_sdp: int = 0


class KeptOffers(NamedTuple):
    """Of offers after the first one; none at all when nothing is under way."""

    state: str = "idle"
    request: bytes = b""  # ours that is out, or theirs that waits for our answer
    body: bytes = b""  # of ours that waits
    headers: Pairs = ()
    tries: int = 0
    waiting: bool = False
    refreshing: bool = False
    asked: bool = False
    tag: bytes = b""
    refusal: bytes = b""  # of a re-INVITE, without its ACK


class KeptEarly(NamedTuple):
    """Of provisional responses; none at all without a reliable one."""

    rseq: int = 0
    unacked: bytes = b""
    answers: bool = False
    queue: Sequence[Sequence[Any]] = ()  # status, reason, headers, body
    put_off: Sequence[Any] | None = None  # body, headers
    heard: Sequence[Sequence[Any]] = ()  # tag, number
    pracks: Sequence[Sequence[Any]] = ()  # tag, request
    agreed: Sequence[bytes] = ()
    deaf: bool = False


def _known(kind: type[T], values: Sequence[Any]) -> T:
    return kind(*values[: len(kind._fields)])  # type: ignore[attr-defined]


def _pairs(headers: Sequence[tuple[str, str]]) -> Pairs:
    return tuple((wire(name), wire(value)) for name, value in headers)


def _headers(pairs: Sequence[Sequence[bytes]]) -> tuple[tuple[str, str], ...]:
    return tuple((text(name), text(value)) for name, value in pairs)


def _needed(session: Session, request: Request) -> bytes:
    """The request with the fields that are needed, made once: the two at most that wait at the same time are remembered."""
    known = session.essences.get(request)
    if known is None:
        vias = [("Via", via) for via in request.vias]
        fields = [(name, value) for name in _NEEDED for value in request.get_all(name)]
        known = Request(request.method, request.uri_text, (*vias, *fields)).to_bytes()
        if len(session.essences) > 1:
            del session.essences[next(iter(session.essences))]
        session.essences[request] = known
    return known


def dump(usage: Invite) -> tuple[Any, ...]:
    session, ending, unacked, ack = usage.session, usage.ending, usage.acks.unacked, usage.acks.late
    phase, invite = session.phase, session.transaction
    if phase == "refused":
        return _refusal(session)
    first, provisional, local_sdp, is_calling = b"", b"", b"", False
    if phase in ("incoming", "calling", "cancelling") and invite is not None:
        is_calling = invite.state == "calling"
        first = invite.last if is_calling else _needed(session, invite.request)
        provisional = invite.last if phase == "incoming" else b""
        local_sdp = b"" if is_calling else session.local_sdp
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
        session.peer_updates,
        first,
        not is_calling,
        provisional,
        (unacked[0], unacked[1], _needed(session, unacked[2])) if unacked is not None else None,
        usage.acks.owed,
        ending.cancel_sent,
        _pairs(session.parting) if session.parting is not None else None,
        ending.bye.last if ending.bye is not None else b"",
        _offers(session, usage.offers),
        usage.refresh.dump(),
        (wire(ack[0]), ack[1], ack[2]) if ack is not None else None,
        _early(usage.early),
        local_sdp,
        session.remote_sdp,
    )


def _refusal(session: Session) -> Kept:
    """Of one that waits for the ACK: its final answer, which echoes what the INVITE is known by."""
    return Kept(
        session.id, session.flow, session.phase, session.is_called, session.local_tag, wire(session.call_id), b"", session.is_sips,
        provisional=session.invite.last,
    )  # fmt: skip


def _offers(session: Session, offers: Offers) -> tuple[Any, ...]:
    request = b""
    if offers.state == "idle" and not offers.waiting and offers.refusal is None:
        return ()
    if offers.transaction is not None and offers.state == "offering":
        request = offers.transaction.last
    elif offers.transaction is not None and offers.state == "answer due":
        request = _needed(session, offers.transaction.request)
    return KeptOffers(
        offers.state, request, offers.body if offers.waiting else b"", _pairs(offers.headers), offers.tries, offers.waiting,
        offers.refreshing, offers.asked, wire(offers.tag), offers.refusal.last if offers.refusal is not None else b"",
    )  # fmt: skip


def _early(early: Early) -> tuple[Any, ...]:
    if not early.rseq and not early.heard:
        return ()
    put_off = (early.put_off[0], _pairs(early.put_off[1])) if early.put_off is not None else None
    return KeptEarly(
        early.rseq,
        early.unacked,
        early.answers,
        tuple([(each.status, wire(each.reason), _pairs(each.headers), each.body) for each in early.queue]),
        put_off,
        tuple([(wire(tag), number) for tag, number in early.heard.items()]),
        tuple([(wire(tag), each.last) for tag, each in early.pracks.items()]),
        tuple([wire(tag) for tag in early.agreed]),
        early.deaf,
    )


class _Back:
    """Takes one session up again."""

    def __init__(self, agent: Agent, values: Sequence[Any], now: float) -> None:
        self.agent = agent
        self.kept = kept = _known(Kept, values)
        self.now = now
        self.session = session = Session(
            agent, kept.id, kept.flow, kept.phase, text(kept.call_id), text(kept.user), is_called=kept.is_called, is_sips=kept.is_sips
        )
        self.usage = usage = Invite(session)
        session.local_tag, session.local_sdp, session.remote_sdp = kept.local_tag, kept.local_sdp, kept.remote_sdp
        session.had_offer, session.peer_updates = kept.had_offer, kept.peer_updates
        session.dialog = Dialog.restore(kept.dialog) if kept.dialog is not None else None
        session.forks = {dialog.remote_tag: dialog for dialog in map(Dialog.restore, kept.forks)}
        session.parting = _headers(kept.parting) if kept.parting is not None else None
        usage.acks.owed = kept.owed
        if kept.ack is not None:
            usage.acks.keep((text(kept.ack[0]), kept.ack[1], kept.ack[2]), now)

    def adopt(self, kind: str, state: str, request: bytes, last: bytes = b"") -> Transaction:
        """With our last message: the request of ours, or the answer to theirs."""
        found = parse(request)
        assert isinstance(found, Request)
        return self._adopt(kind, state, found, last)

    def _adopt(self, kind: str, state: str, found: Request, last: bytes) -> Transaction:
        flow = self.session.flow
        alive, reliable = self.agent.facts(flow) is not None, self.agent.is_reliable(flow)
        adopt = self.agent.layer.adopt
        return adopt(kind, state, found, flow, self.now, reliable=reliable, user=self.usage, last=last, alive=alive)

    def first(self) -> None:
        """The INVITE that the session began with, whose answer is due."""
        session, kept = self.session, self.kept
        if kept.phase == "incoming":
            session.transaction = self.adopt(INVITE_SERVER, "proceeding", kept.invite, kept.provisional)
            if not kept.provisional.startswith(b"SIP/2.0 100 "):
                self.usage.early.repeats(self.now)
            return
        state = "proceeding" if kept.proceeding else "calling"
        session.transaction = self.adopt(INVITE_CLIENT, state, kept.invite, kept.invite)
        session.sent = session.transaction.request
        session.local_sdp = session.local_sdp or session.sent.body
        if kept.cancel_sent:
            self.usage.ending.cancel(self.now)

    def early(self, values: Sequence[Any]) -> None:
        early, kept = self.usage.early, _known(KeptEarly, values)
        early.rseq, early.unacked, early.answers, early.deaf = kept.rseq, kept.unacked, kept.answers, kept.deaf
        early.queue = [Provisional(each[0], text(each[1]), _headers(each[2]), each[3]) for each in kept.queue]
        early.put_off = (kept.put_off[0], _headers(kept.put_off[1])) if kept.put_off is not None else None
        early.heard = {text(tag): number for tag, number in kept.heard}
        early.agreed = {text(tag) for tag in kept.agreed}
        early.pracks = {text(tag): self.adopt(CLIENT, "trying", prack, prack) for tag, prack in kept.pracks}
        if early.unacked:
            self.agent.send_once(self.session.flow, early.unacked)
            early.wait(self.now)

    def unacked(self, number: int, answer: bytes, request: bytes) -> None:
        """Our 2xx that waits for its ACK."""
        session = self.session
        session.transaction = self.adopt(INVITE_SERVER, "accepted", request, answer)
        self.usage.acks.unacked = number, answer, session.transaction.request
        self.agent.send_once(session.flow, answer)
        self.usage.acks.wait(self.now)

    def refused(self, final: bytes, to_tag: str = "") -> Transaction:
        """Our refusal of the INVITE, or of a later one, which had our tag, waits for its ACK."""
        answer = parse(final)
        fields = [(name, value) for name in ("Via", "From", "Call-ID", "CSeq") for value in answer.get_all(name)]
        invite = Request("INVITE", "", fields)
        invite.known(invite.call_id, invite.cseq, to_tag=to_tag)
        transaction = self._adopt(INVITE_SERVER, "completed", invite, final)
        self.agent.send_once(self.session.flow, final)
        return transaction

    def offers(self, values: Sequence[Any]) -> None:
        offers, kept = self.usage.offers, _known(KeptOffers, values)
        offers.state, offers.body, offers.headers, offers.tag = kept.state, kept.body, _headers(kept.headers), text(kept.tag)
        offers.tries, offers.waiting, offers.refreshing, offers.asked = kept.tries, kept.waiting, kept.refreshing, kept.asked
        is_invite = kept.request.startswith(b"INVITE ")
        if kept.state == "offering":
            kind = (INVITE_CLIENT, "calling") if is_invite else (CLIENT, "trying")
            offers.transaction = self.adopt(*kind, kept.request, kept.request)
            offers.body = offers.transaction.request.body
        elif kept.state == "answer due":
            offers.transaction = self.adopt(*((INVITE_SERVER, "proceeding") if is_invite else (SERVER, "trying")), kept.request)
        if kept.waiting and kept.tries:
            offers.retry_later(self.now)
        if kept.refusal:
            offers.refusal = self.refused(kept.refusal, self.session.local_tag)


def restore(agent: Agent, values: Sequence[Any], now: float) -> Invite:
    """The session of a dump, in the phase it was in."""
    back = _Back(agent, values, now)
    kept, usage = back.kept, back.usage
    if kept.phase in ("incoming", "calling", "cancelling"):
        back.first()
        back.early(kept.early)
    if kept.phase in ("answered", "confirmed"):
        usage.refresh.restore(kept.timer, now)
        if kept.unacked is not None:
            back.unacked(*kept.unacked[:3])
    if kept.phase == "refused":
        back.session.transaction = back.refused(kept.provisional)
    back.offers(kept.offers)
    if kept.phase == "ending":
        usage.ending.bye = back.adopt(CLIENT, "trying", kept.bye, kept.bye)
    return usage
