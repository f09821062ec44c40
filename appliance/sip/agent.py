"""What every part of the stack works with: flows, tokens, timers, the transaction layer, the way out."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Hashable

from appliance.sip.abilities import Abilities
from appliance.sip.dialog import merge
from appliance.sip.events import Event, FlowId, Output, Send, SessionId
from appliance.sip.text.message import COOKIE, Headers, Request, answer_to
from appliance.sip.text.uri import Uri, join_host
from appliance.sip.timers import Timers
from appliance.sip.transaction import Transaction, Transactions


class FlowFacts:
    """What the stack must know of a flow: for Via, Contact, received/rport, and whether to retransmit."""

    __slots__ = ("local", "proven", "remote", "transport")

    def __init__(self, transport: str, local: tuple[str, int], remote: tuple[str, int], proven: bool = True) -> None:
        self.transport = transport  # UDP, TCP, TLS
        self.local = local
        self.remote = remote
        self.proven = proven  # whether its far end has shown that it is one of ours; until then a UDP source may be forged


class Agent:
    def __init__(
        self,
        tokens: Callable[[], str],
        user_agent: str,
        facts: Callable[[FlowId], FlowFacts | None],
        can: Abilities,
        limit: int,
        lingering: int,
    ) -> None:
        self.output: deque[Output] = deque()
        self.timers = Timers()
        self.layer = Transactions(self.output, self.timers, limit, lingering)
        self.tokens = tokens
        self.user_agent = user_agent
        self.facts = facts
        self.can = can
        self._tag_key = hashlib.sha256(tokens().encode()).digest()
        self.touched: set[SessionId] = set()  # sessions that may have changed
        self.over: list[SessionId] = []  # sessions that ended during this input
        self.refused: list[SessionId] = []  # those that did so by a refusal, which waits for its ACK

    def emit(self, event: Event) -> None:
        self.output.append(event)

    def tag_for(self, request: Request) -> str:
        """The To tag of an answer without a dialog: the same when the request comes again (RFC 3261 §8.2.7)."""
        parts = [
            request.get(name) or "" for name in ("Via", "From", "Call-ID", "CSeq")
        ]  # as they came: it may be malformed
        text = "\n".join(parts).encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, key=self._tag_key, digest_size=12).hexdigest()

    def fraction(self) -> float:
        """A number in [0, 1) made of a token."""
        digest = hashlib.sha256(self.tokens().encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48

    # ---- flows
    def is_reliable(self, flow: FlowId) -> bool:
        facts = self.facts(flow)
        return facts is None or facts.transport != "UDP"

    def is_proven(self, flow: FlowId) -> bool:
        facts = self.facts(flow)
        return facts is not None and facts.proven

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
        transport = "" if sips else f";transport={facts.transport.lower() if facts else 'tcp'}"
        return "Contact", f"<{Uri('sips' if sips else 'sip', user, host, port)}{transport}>"

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
    ) -> bytes:  # fmt: skip
        """Returns what was sent."""
        defaults = [("Server", self.user_agent)] if status > 100 else []
        if status == 405:
            defaults.append(self.can.allow)
        once = status >= 200 and self._is_answered_once(transaction, status)
        tag = "" if status <= 100 or transaction.request.to_tag else to_tag if to_tag and not once else self.tag_for(transaction.request)
        data = answer_to(transaction.request, status, reason, to_tag=tag, headers=merge(defaults, headers), body=body)
        if once:
            self.layer.respond_once(transaction, data)
        else:
            self.layer.respond(transaction, status, data, now)
        return data

    def refuse(self, flow: FlowId, request: Request, status: int, reason: str = "", headers: Headers = ()) -> None:
        """An answer to what has no transaction."""
        self.send_once(flow, answer_to(request, status, reason, to_tag=self.tag_for(request), headers=headers))

    def _is_answered_once(self, transaction: Transaction, status: int) -> bool:
        """Whether the answer needs no state, because the same request again gets the same answer: challenges, and what changes nothing.
        Who sends an INVITE from an address that may not be his own, and has been told nothing yet, gets one refusal, not eleven."""
        if status in (401, 407):
            return True
        if transaction.cseq[1] != "INVITE":
            return transaction.user is None and (status >= 300 or transaction.cseq[1] == "OPTIONS")
        if status < 300 or transaction.last or transaction.request.to_tag:
            return False
        return not self.is_proven(transaction.flow)
