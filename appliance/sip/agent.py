"""What every part of the stack works with: flows, tokens, timers, the transaction layer, the way out."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from appliance.sip.dialog import merge
from appliance.sip.events import Event, FlowId, Output, Send, SessionId
from appliance.sip.message import COOKIE, Headers, Request, response_to
from appliance.sip.timers import Timers
from appliance.sip.transaction import Transaction, Transactions
from appliance.sip.uri import Uri, join_host

METHODS = (
    "INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER", "SUBSCRIBE", "NOTIFY", "REFER", "INFO", "MESSAGE",
    "UPDATE", "PUBLISH",
)  # fmt: skip
ALLOW = ("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY, REFER, INFO, MESSAGE, UPDATE")
EXTENSIONS = ("timer", "replaces")  # option tags we can be required to understand; what they need is the user's work
SUPPORTED = ("Supported", ", ".join(EXTENSIONS))
SDP_TYPE = "application/sdp"


@dataclass(frozen=True, slots=True)
class FlowFacts:
    """What the stack must know of a flow: for Via, Contact, received/rport, and whether to retransmit."""

    transport: str  # UDP, TCP, TLS
    local: tuple[str, int]
    remote: tuple[str, int]


class Agent:
    def __init__(
        self, tokens: Callable[[], str], user_agent: str, facts: Callable[[FlowId], FlowFacts | None], limit: int
    ) -> None:
        self.output: deque[Output] = deque()
        self.timers = Timers()
        self.layer = Transactions(self.output, self.timers, limit)
        self.tokens = tokens
        self.user_agent = user_agent
        self.facts = facts
        self.over: list[SessionId] = []  # sessions that ended during this input

    def emit(self, event: Event) -> None:
        self.output.append(event)

    def fraction(self) -> float:
        """A number in [0, 1) made of a token."""
        digest = hashlib.sha256(self.tokens().encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48

    # ---- flows
    def is_reliable(self, flow: FlowId) -> bool:
        facts = self.facts(flow)
        return facts is None or facts.transport != "UDP"

    def same_peer(self, one: FlowId, other: FlowId) -> bool:
        """The same flow, or another one from the same host that is no less secure."""
        if one == other:
            return True
        a, b = self.facts(one), self.facts(other)
        return a is not None and b is not None and a.remote[0] == b.remote[0] and not self.is_weaker(other, one)

    def is_weaker(self, flow: FlowId, than: FlowId) -> bool:
        """A request of a dialog that began on TLS may not come in clear."""
        old, new = self.facts(than), self.facts(flow)
        return old is not None and old.transport == "TLS" and (new is None or new.transport != "TLS")

    def via(self, flow: FlowId) -> str:
        facts = self.facts(flow)
        if facts is None:
            return f"SIP/2.0/TCP invalid.invalid;branch={COOKIE}{self.tokens()}"  # never sent: the flow is gone
        return f"SIP/2.0/{facts.transport} {join_host(*facts.local)};branch={COOKIE}{self.tokens()};rport"

    def contact(self, flow: FlowId, user: str, *, sips: bool = False) -> tuple[str, str]:
        facts = self.facts(flow)
        host, port = facts.local if facts else ("invalid.invalid", 0)
        params = {} if sips else {"transport": facts.transport.lower() if facts else "tcp"}
        return "Contact", f"<{Uri('sips' if sips else 'sip', user, host, port, params)}>"

    # ---- sending
    def send(self, request: Request, flow: FlowId, now: float, user: Hashable) -> Transaction:
        return self.layer.send_request(
            request, flow, now, reliable=self.is_reliable(flow), user=user, alive=self.facts(flow) is not None
        )

    def send_once(self, flow: FlowId, data: bytes) -> None:
        """Without a transaction: ACK, repeated 2xx."""
        if self.facts(flow) is not None:
            self.output.append(Send(flow, data))

    def respond(
        self, transaction: Transaction, status: int, now: float, *, reason: str = "", to_tag: str = "", headers: Headers = (),
        body: bytes = b"",
    ) -> None:  # fmt: skip
        defaults = [("Server", self.user_agent)] if status > 100 else []
        if status == 405:
            defaults.append(ALLOW)
        tag = to_tag or (self.tokens() if status > 100 else "")
        response = response_to(
            transaction.request, status, reason, to_tag=tag, headers=merge(defaults, headers), body=body
        )
        self.layer.respond(transaction, response, now)
