"""The SIP stack: bytes and time in, bytes and events out. Pure: no clock, no socket, no randomness.

Law: one input (receive, closed, wake or a command), then drain next_output() until None, then read deadline(), then the next
input. `now` is seconds of a monotonic clock; `tokens` gives unguessable strings for branches, tags and Call-IDs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from appliance.sip.events import FlowId, Output, SessionId, TransactionId

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class FlowFacts:
    """What the stack must know of a flow: for Via, Contact, received/rport, and whether to retransmit."""

    transport: str  # UDP, TCP, TLS
    local: tuple[str, int]
    remote: tuple[str, int]


class Stack:
    def __init__(
        self, *, tokens: Callable[[], str], user_agent: str, facts: Callable[[FlowId], FlowFacts | None]
    ) -> None: ...

    # inputs
    def receive(self, flow: FlowId, data: bytes, now: float) -> None: ...
    def closed(self, flow: FlowId, now: float) -> None: ...
    def wake(self, now: float) -> None: ...

    # outputs
    def next_output(self) -> Output | None: ...
    def deadline(self) -> float | None: ...

    # answers to requests outside INVITE usages, and InDialog
    def respond(
        self,
        transaction: TransactionId,
        status: int,
        now: float,
        *,
        reason: str = "",
        headers: Headers = (),
        body: bytes = b"",
        content_type: str = "",
    ) -> None: ...
    # a non-INVITE request of ours (OPTIONS, NOTIFY, MESSAGE, …); in a dialog when session is given
    def request(
        self,
        method: str,
        now: float,
        *,
        flow: FlowId | None = None,
        target: str = "",
        from_: str = "",
        to: str = "",
        session: SessionId | None = None,
        headers: Headers = (),
        body: bytes = b"",
        content_type: str = "",
    ) -> TransactionId: ...

    # INVITE usage, we call
    def invite(
        self, flow: FlowId, target: str, now: float, *, from_: str, to: str, offer: bytes, headers: Headers = ()
    ) -> SessionId: ...
    def acknowledge(self, session: SessionId, answer: bytes, now: float) -> None: ...
    # INVITE usage, we are called; accept and reject answer Invited and Offered alike
    def ring(
        self,
        session: SessionId,
        now: float,
        *,
        status: int = 180,
        reason: str = "",
        headers: Headers = (),
        body: bytes = b"",
    ) -> None: ...
    def accept(self, session: SessionId, body: bytes, now: float, *, headers: Headers = ()) -> None: ...
    def reject(
        self, session: SessionId, status: int, now: float, *, reason: str = "", headers: Headers = ()
    ) -> None: ...
    # both
    def offer(self, session: SessionId, body: bytes, now: float, *, headers: Headers = ()) -> None: ...  # re-INVITE
    def hang_up(
        self, session: SessionId, now: float, *, headers: Headers = ()
    ) -> None: ...  # BYE, CANCEL or 487/603: what fits the state; idempotent
    def rebind(self, session: SessionId, flow: FlowId, now: float) -> None: ...  # the phone came back on a new flow
    # survival
    def dump(self, session: SessionId) -> bytes: ...  # a few hundred bytes, confirmed and early dialogs
    def restore(self, data: bytes, now: float) -> SessionId: ...
    def counters(self) -> dict[str, int]: ...  # dialogs, transactions, sessions
