"""A session: what the parts of one INVITE usage share, from the INVITE to the end of its dialog (RFC 3261 §13-15), either side.

Phases, the only ones there are, and what moves between them (MOVES):

    called:  incoming --accept--> answered --ACK--> confirmed
             incoming --reject, CANCEL--> refused --ACK, timer H, no flow--> over; at once where the answer needs no state
    calling: calling --2xx--> owing --ACK--> confirmed, at once unless the 2xx carries the offer
             calling --hang_up--> cancelling --final--> over
    both:    confirmed --hang_up--> ending --answer to BYE--> over;  anything --BYE, timeout, refusal--> over

Nobody is told anything of a session after its last event (Rejected, Cancelled, Ended), nor after our own reject. One that has refused is
no dialog any more; it is there only so that the refusal reaches the caller, whoever has to repeat it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable, Mapping

from appliance.sip.agent import Agent
from appliance.sip.dialog import Dialog, merge
from appliance.sip.events import Cancelled, Ended, FlowId, Rejected, SessionId
from appliance.sip.text.body import SDP_TYPE
from appliance.sip.text.message import Headers, Message, Request
from appliance.sip.transaction import Transaction

MAX_FORKS = 16

# phase -> phases that may follow
MOVES: Mapping[str, frozenset[str]] = {
    "incoming": frozenset({"answered", "refused", "over"}),
    "answered": frozenset({"confirmed", "ending", "refused", "over"}),
    "calling": frozenset({"owing", "cancelling", "over"}),
    "cancelling": frozenset({"ending", "over"}),
    "owing": frozenset({"confirmed", "ending", "over"}),
    "confirmed": frozenset({"ending", "over"}),
    "ending": frozenset({"over"}),
    "refused": frozenset({"over"}),
    "over": frozenset(),
}
TIMERS = ("2xx", "no ack", "ack", "1xx", "reliable", "no prack", "cancel", "retry", "refresh", "expire")


def described(sdp: bytes) -> int:
    """A session description as a number, to see whether another one says the same; 0: there is none."""
    return zlib.crc32(sdp) if sdp else 0


def takes_update(message: Message) -> bool:
    return any("UPDATE" in value for value in message.get_all("Allow"))


class Session:
    __slots__ = (
        "agent",
        "before_end",
        "call_id",
        "dialog",
        "essences",
        "flow",
        "forks",
        "had_offer",
        "id",
        "is_called",
        "is_sips",
        "local_sdp",
        "local_tag",
        "mark",
        "parting",
        "peer_updates",
        "phase",
        "remote_sdp",
        "sent",
        "transaction",
        "user",
    )

    def __init__(
        self,
        agent: Agent,
        id: SessionId,
        flow: FlowId,
        phase: str,
        call_id: str,
        user: str,
        *,
        is_called: bool,
        is_sips: bool,
    ) -> None:
        self.agent = agent
        self.id = id
        self.flow = flow
        self.phase = phase
        self.call_id = call_id
        self.user = user  # of our Contact
        self.is_called = is_called
        self.is_sips = is_sips
        self.mark: Hashable = self  # whom its transactions and timers name
        self.local_tag = ""
        self.dialog: Dialog | None = None
        self.forks: dict[str, Dialog] = {}  # To tag -> early dialog of our INVITE
        self.transaction: Transaction | None = None  # of the first INVITE
        self.sent: Request | None = None  # our INVITE, as long as answers to it may come
        self.had_offer = False  # the INVITE, whosever it is
        self.peer_updates = False  # it takes UPDATE (RFC 3311)
        self.local_sdp = b""
        self.remote_sdp = 0  # theirs that holds, as `described` has it
        self.parting: tuple[tuple[str, str], ...] | None = None  # headers of the BYE that has to wait, or of the CANCEL
        self.before_end: list[Callable[[float], None]] = []  # what its parts clear up before a BYE
        self.essences: dict[Request, bytes] = {}  # of theirs that wait: see survival

    def move(self, phase: str) -> None:
        assert phase in MOVES[self.phase], f"{self.phase} -> {phase}"
        self.phase = phase
        if self.is_over:
            self.clear(*TIMERS)
            (self.agent.refused if phase == "refused" else self.agent.over).append(self.id)

    @property
    def is_over(self) -> bool:
        """For who uses it."""
        return self.phase in ("refused", "over")

    def refuse(self, status: int, now: float, reason: str = "", headers: Headers = ()) -> None:
        """Our final refusal of the first INVITE; where it has state it waits for the ACK (RFC 3261 §17.2.1)."""
        self.respond(self.invite, status, now, reason, headers)
        self.dialog = None
        self.essences.clear()
        self.move("refused" if self.invite.state == "completed" else "over")

    def over(self, event: Cancelled | Rejected | Ended) -> None:
        self.move("over")
        self.agent.emit(event)

    def clear_up(self, now: float) -> None:
        for each in self.before_end:
            each(now)

    # ---- who and where
    @property
    def key(self) -> tuple[str, str]:
        return self.call_id, self.local_tag

    @property
    def own_contact(self) -> tuple[str, str]:
        return self.agent.contact(self.flow, self.user, sips=self.is_sips)

    @property
    def invite(self) -> Transaction:
        assert self.transaction is not None
        return self.transaction

    def dialog_with(self, remote_tag: str) -> Dialog | None:
        if self.dialog is not None:
            return self.dialog if self.dialog.remote_tag == remote_tag else None
        return self.forks.get(remote_tag)

    # ---- what it sends
    def send(self, request: Request, now: float) -> Transaction:
        return self.agent.send(request, self.flow, now, self.mark)

    def via(self) -> str:
        return self.agent.via(self.flow)

    def respond(
        self,
        transaction: Transaction,
        status: int,
        now: float,
        reason: str = "",
        headers: Headers = (),
        body: bytes = b"",
    ) -> bytes:
        defaults: list[tuple[str, str]] = []
        if 101 <= status <= 299:
            defaults += [self.own_contact, self.agent.can.allow]
        if 200 <= status <= 299:
            defaults.append(self.agent.can.supported)
        if body:
            defaults.append(("Content-Type", SDP_TYPE))
        headers = merge(defaults, headers)
        return self.agent.respond(
            transaction, status, now, reason=reason, to_tag=self.local_tag, headers=headers, body=body
        )

    # ---- time
    def set(self, name: str, when: float) -> None:
        self.agent.timers.set(self.mark, name, when)

    def clear(self, *names: str) -> None:
        self.agent.timers.clear(self.mark, *names)
