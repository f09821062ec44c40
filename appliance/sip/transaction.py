"""The four transaction machines (RFC 3261 §17 as corrected by RFC 6026) as one table, and the layer that owns them.

A transaction belongs to one flow: responses go back over the flow of the request, retransmissions over the flow they
were first sent on. What the layer finds out is left in `reports` for its user; it calls nobody.

Matching: branch, sent-by and method (§17.2.3), and the Call-ID, because two phones behind two routers do invent the
same branch under the same private address; ACK and CANCEL find the INVITE. To a branch without the cookie (RFC 2543)
we add From tag and CSeq number. A client transaction is found by its branch, which we made, and method (§17.1.3).

A transaction that has its final answer lingers: a key, a deadline and the bytes to repeat. Its last timer runs in one of two rings,
in which what came later is due later, so that it costs an entry at one end and is met at the other. It counts against nothing that a new
request needs: when more than LINGERING do so, the oldest is forgotten. What is answered without state (RFC 3261 §8.2.7) does not even linger.

Bounds: `limit` transactions without a final answer; a request beyond it is reported as "full".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping

from appliance.sip.events import FlowId, Output, Send
from appliance.sip.text.message import COOKIE, Request, Response
from appliance.sip.timers import Timers

T1, T2, T4 = 0.5, 4.0, 5.0  # RFC 3261 §17, table 4
LIMIT = 10_000
LINGERING = 20_000  # at some 1 kB each
SWEEP = 0.25  # seconds: what lingers is met this often at most

INVITE_SERVER, SERVER, INVITE_CLIENT, CLIENT = "invite server", "server", "invite client", "client"

# timer -> (seconds, seconds on a reliable transport; None: not started there)
_TIMERS: Mapping[str, tuple[float, float | None]] = {
    "A": (T1, None), "B": (64 * T1, 64 * T1), "D": (32.0, 0.0), "E": (T1, None), "F": (64 * T1, 64 * T1),
    "G": (T1, None), "H": (64 * T1, 64 * T1), "I": (T4, 0.0), "J": (64 * T1, 0.0), "K": (T4, 0.0),
    "L": (64 * T1, 64 * T1),
    "M": (64 * T1, 64 * T1), "N": (80 * T1, 80 * T1),  # N is ours: nobody has answered a non-INVITE request
    "O": (64 * T1, 64 * T1),  # ours: an INVITE whose answer nobody waits for
}  # fmt: skip
_LONG, _SHORT = "DHJLM", "IK"  # those of what has its final answer, all of 64 T1 and all of T4: each kind in its ring
_REPEATING: Mapping[str, float] = {"A": float("inf"), "E": T2, "G": T2}  # doubled each time up to this

# (kind, state, what happens) -> (what to do, next state). Actions: "send" the message given and keep it, "send again"
# the kept one, "ack" a final response and keep that, "up" tell the user, "timeout"/"error" tell it there will be nothing, "acked" that its refusal is, a letter
# starts a timer, "-" and letters stop them. What is not in the table is ignored.
TABLE: Mapping[tuple[str, str, str], tuple[tuple[str, ...], str]] = {
    (INVITE_SERVER, "proceeding", "request"): (("send again",), "proceeding"),
    (INVITE_SERVER, "proceeding", "1xx"): (("send",), "proceeding"),
    (INVITE_SERVER, "proceeding", "2xx"): (("send", "L"), "accepted"),
    (INVITE_SERVER, "proceeding", "3xx"): (("send", "G", "H"), "completed"),
    (INVITE_SERVER, "proceeding", "closed"): (("error",), "terminated"),
    (INVITE_SERVER, "completed", "request"): (("send again",), "completed"),
    (INVITE_SERVER, "completed", "G"): (("send again", "G"), "completed"),
    (INVITE_SERVER, "completed", "ack"): (("-GH", "I", "acked"), "confirmed"),
    (INVITE_SERVER, "completed", "H"): (("timeout",), "terminated"),
    (INVITE_SERVER, "completed", "closed"): (("error",), "terminated"),
    (INVITE_SERVER, "confirmed", "I"): ((), "terminated"),
    (INVITE_SERVER, "accepted", "L"): ((), "terminated"),
    (SERVER, "trying", "1xx"): (("send",), "proceeding"),
    (SERVER, "trying", "2xx"): (("send", "-N", "J"), "completed"),
    (SERVER, "trying", "3xx"): (("send", "-N", "J"), "completed"),
    (SERVER, "trying", "N"): ((), "terminated"),
    (SERVER, "trying", "closed"): (("error",), "terminated"),
    (SERVER, "proceeding", "request"): (("send again",), "proceeding"),
    (SERVER, "proceeding", "1xx"): (("send",), "proceeding"),
    (SERVER, "proceeding", "2xx"): (("send", "-N", "J"), "completed"),
    (SERVER, "proceeding", "3xx"): (("send", "-N", "J"), "completed"),
    (SERVER, "proceeding", "N"): ((), "terminated"),
    (SERVER, "proceeding", "closed"): (("error",), "terminated"),
    (SERVER, "completed", "request"): (("send again",), "completed"),
    (SERVER, "completed", "J"): ((), "terminated"),
    (INVITE_CLIENT, "calling", "A"): (("send again", "A"), "calling"),
    (INVITE_CLIENT, "calling", "B"): (("timeout",), "terminated"),
    (INVITE_CLIENT, "calling", "1xx"): (("-AB", "up"), "proceeding"),
    (INVITE_CLIENT, "calling", "2xx"): (("-AB", "M", "up"), "accepted"),
    (INVITE_CLIENT, "calling", "3xx"): (("-AB", "ack", "D", "up"), "completed"),
    (INVITE_CLIENT, "calling", "closed"): (("error",), "terminated"),
    (INVITE_CLIENT, "proceeding", "1xx"): (("up",), "proceeding"),
    (INVITE_CLIENT, "proceeding", "2xx"): (("M", "up"), "accepted"),
    (INVITE_CLIENT, "proceeding", "3xx"): (("ack", "D", "up"), "completed"),
    (INVITE_CLIENT, "proceeding", "closed"): (("error",), "terminated"),
    (INVITE_CLIENT, "calling", "abandon"): (("-B", "O"), "calling"),
    (INVITE_CLIENT, "calling", "O"): ((), "terminated"),
    (INVITE_CLIENT, "proceeding", "abandon"): (("O",), "proceeding"),
    (INVITE_CLIENT, "proceeding", "O"): ((), "terminated"),
    (INVITE_CLIENT, "completed", "3xx"): (("send again",), "completed"),
    (INVITE_CLIENT, "completed", "D"): ((), "terminated"),
    (INVITE_CLIENT, "accepted", "2xx"): (("up",), "accepted"),
    (INVITE_CLIENT, "accepted", "M"): ((), "terminated"),
    (CLIENT, "trying", "E"): (("send again", "E"), "trying"),
    (CLIENT, "trying", "F"): (("timeout",), "terminated"),
    (CLIENT, "trying", "1xx"): (("up",), "proceeding"),
    (CLIENT, "trying", "2xx"): (("-EF", "K", "up"), "completed"),
    (CLIENT, "trying", "3xx"): (("-EF", "K", "up"), "completed"),
    (CLIENT, "trying", "closed"): (("error",), "terminated"),
    (CLIENT, "proceeding", "E"): (("send again", "E"), "proceeding"),
    (CLIENT, "proceeding", "F"): (("timeout",), "terminated"),
    (CLIENT, "proceeding", "1xx"): (("up",), "proceeding"),
    (CLIENT, "proceeding", "2xx"): (("-EF", "K", "up"), "completed"),
    (CLIENT, "proceeding", "3xx"): (("-EF", "K", "up"), "completed"),
    (CLIENT, "proceeding", "closed"): (("error",), "terminated"),
    (CLIENT, "completed", "K"): ((), "terminated"),
}  # fmt: skip

# the timers that run in a state in which a transaction is taken up after a restart
_ADOPTED: Mapping[tuple[str, str], str] = {
    (INVITE_CLIENT, "calling"): "AB", (CLIENT, "trying"): "EF", (SERVER, "trying"): "N", (INVITE_SERVER, "accepted"): "L",
    (INVITE_SERVER, "completed"): "GH",
}  # fmt: skip

_FIRST_STATE = {INVITE_SERVER: "proceeding", SERVER: "trying", INVITE_CLIENT: "calling", CLIENT: "trying"}


class Transaction:
    """One of the four. `user` is the layer's user's own mark; `id` names it upward."""

    __slots__ = (
        "_request",
        "cseq",
        "flow",
        "id",
        "interval",
        "key",
        "kind",
        "last",
        "merge",
        "reliable",
        "state",
        "until",
        "user",
    )

    def __init__(self, id: str, kind: str, key: Hashable, flow: FlowId, request: Request, *, reliable: bool) -> None:
        self.id = id
        self.kind = kind
        self.state = _FIRST_STATE[kind]
        self.key = key
        self.flow = flow
        self.cseq = request.cseq  # number and method
        self.reliable = reliable
        self.last = b""  # what a retransmission repeats
        self.interval = T1
        self.user: Hashable = None
        self.merge: Hashable = None
        self.until = 0.0  # when its timer in a ring runs out
        self._request: Request | None = request

    @property
    def request(self) -> Request:
        """Until it lingers."""
        assert self._request is not None, "the request is needed until there is a final answer"
        return self._request

    @property
    def lingers(self) -> bool:
        return self._request is None

    @property
    def is_server(self) -> bool:
        return self.kind in (INVITE_SERVER, SERVER)

    @property
    def is_over(self) -> bool:
        """A final response was sent or received, or nothing will come."""
        return self.state not in ("calling", "trying", "proceeding")

    def release(self) -> None:
        """Only what a repetition needs is kept; a 2xx to an INVITE may come again from another branch of a fork, and is its user's, as is
        the ACK of a refusal."""
        self._request = None
        if (self.kind, self.state) not in ((INVITE_CLIENT, "accepted"), (INVITE_SERVER, "completed")):
            self.user = None


class Report:
    """kind: request, cancel, ack (of a 2xx, or a stray one), merged (the same request by another path, RFC 3261 §8.2.2.2), full (no
    room for it), response, acked (a refusal), timeout, error."""

    __slots__ = ("flow", "kind", "message", "transaction")

    def __init__(self, kind: str, transaction: Transaction | None, message: Request | Response | None, flow: FlowId) -> None:
        self.kind = kind
        self.transaction = transaction
        self.message = message
        self.flow = flow


def _class_of(status: int) -> str:
    return "1xx" if status < 200 else "2xx" if status < 300 else "3xx"


def _server_key(request: Request, method: str) -> Hashable:
    branch, sent_by = request.branch, request.via.sent_by
    if branch.startswith(COOKIE) and len(branch) > len(COOKIE):
        return branch.lower(), sent_by, method, request.call_id
    return branch, sent_by, method, request.call_id, request.from_tag, request.cseq[0]


def ack_for(invite: Request, response: Response) -> Request:
    """The hop-by-hop ACK of a non-2xx (RFC 3261 §17.1.1.3)."""
    return _companion(invite, "ACK", response.get("To") or "")


def cancel_for(invite: Request, headers: tuple[tuple[str, str], ...] = ()) -> Request:
    """RFC 3261 §9.1."""
    return _companion(invite, "CANCEL", invite.get("To") or "", headers)


def _companion(invite: Request, method: str, to: str, extra: tuple[tuple[str, str], ...] = ()) -> Request:
    headers = [
        ("Via", invite.get_all("Via")[0]),
        ("Max-Forwards", "70"),
        ("From", invite.get("From") or ""),
        ("To", to),
    ]
    headers += [("Call-ID", invite.call_id), ("CSeq", f"{invite.cseq[0]} {method}")]
    headers += [("Route", value) for value in invite.get_all("Route")]
    return Request(method, invite.uri_text, (*headers, *extra))


class Transactions:
    """The layer. Bytes to send go to `output`, findings to `reports`; the user empties both after each input, then calls `settle`."""

    def __init__(self, output: deque[Output], timers: Timers, limit: int = LIMIT, lingering: int = LINGERING) -> None:
        self.reports: deque[Report] = deque()
        self.by_id: dict[str, Transaction] = {}  # those without a final answer, and those that had it during this input
        self._output = output
        self._timers = timers
        self._limit = limit
        self._most_lingering = lingering
        self._keys: dict[Hashable, Transaction] = {}
        self._merged: dict[Hashable, Transaction] = {}  # (Call-ID, From tag, CSeq) of server requests without To tag
        self._on_flow: dict[FlowId, set[Transaction]] = {}
        self._answered: list[Transaction] = []  # during this input
        self._lingering = 0
        self._long: deque[tuple[float, str, Transaction]] = deque()  # when which timer of which one runs out
        self._short: deque[tuple[float, str, Transaction]] = deque()
        self._sweeps_at = float("inf")
        self._count = 0
        self.touched: Transaction | None = (
            None  # the last one that was opened or moved, for who has to clear up behind a fault
        )

    def __len__(self) -> int:
        return len(self.by_id) + self._lingering

    # ---- server side
    def receive_request(self, flow: FlowId, request: Request, now: float, *, reliable: bool) -> None:
        method = request.method
        key = _server_key(request, "INVITE" if method == "ACK" else method)
        known = self._keys.get(key)
        if method == "ACK":
            if known is not None and known.state in ("completed", "confirmed"):
                self._step(known, "ack", now)
            else:
                self.reports.append(Report("ack", None, request, flow))
            return
        if known is not None:
            self._step(known, "request", now)
            return
        if len(self.by_id) >= self._limit:
            self.reports.append(Report("full", None, request, flow))
            return
        transaction = self._open(INVITE_SERVER if method == "INVITE" else SERVER, key, flow, request, reliable)
        if method != "INVITE":
            self._start(transaction, "N", now)
        kind = "cancel" if method == "CANCEL" else "request"
        if not request.to_tag and method != "CANCEL" and not self._mark(transaction, request):
            kind = "merged"
        self.reports.append(Report(kind, transaction, request, flow))

    def invite_of(self, cancel: Request) -> Transaction | None:
        """The INVITE a CANCEL is for."""
        return self._keys.get(_server_key(cancel, "INVITE"))

    def respond(self, transaction: Transaction, status: int, data: bytes, now: float) -> None:
        """`data` is the whole response with this status."""
        self._step(transaction, _class_of(status), now, data)

    def respond_once(self, transaction: Transaction, data: bytes) -> None:
        """A final answer that is not repeated; a request that comes again is a new one."""
        self._send(transaction.flow, data)
        self._forget(transaction)

    # ---- client side
    def send_request(
        self, request: Request, flow: FlowId, now: float, *, reliable: bool, user: Hashable, alive: bool = True
    ) -> Transaction:
        """`alive` is False when the flow is known to be gone: the error is reported at once."""
        key = (request.branch, request.method)
        invite = request.method == "INVITE"
        transaction = self._open(INVITE_CLIENT if invite else CLIENT, key, flow, request, reliable)
        transaction.user = user
        if not alive:
            self._step(transaction, "closed", now)
            return transaction
        transaction.last = request.to_bytes()
        self._send(flow, transaction.last)
        for timer in ("A", "B") if invite else ("E", "F"):
            self._start(transaction, timer, now)
        return transaction

    def receive_response(self, flow: FlowId, response: Response, now: float) -> None:
        transaction = self._keys.get((response.branch, response.cseq[1]))
        if transaction is None or transaction.is_server:
            self.reports.append(Report("response", None, response, flow))
            return
        self._step(transaction, _class_of(response.status), now, response=response)

    # ---- both
    def adopt(
        self,
        kind: str,
        state: str,
        request: Request,
        flow: FlowId,
        now: float,
        *,
        reliable: bool,
        user: Hashable,
        last: bytes = b"",
        alive: bool = True,
    ) -> Transaction:
        """One from before a restart, in any state in which somebody waits for something. Of ours that has had no answer `last` is sent once
        more; of theirs `request` need not be more than its answers echo, and `last` is what a repetition gets."""
        key = (
            (request.branch, request.method)
            if kind in (INVITE_CLIENT, CLIENT)
            else _server_key(request, request.method)
        )
        transaction = self._open(kind, key, flow, request, reliable)
        transaction.user, transaction.state, transaction.last = user, state, last
        if not transaction.is_server and not alive:
            self._step(transaction, "closed", now)
            return transaction
        if not transaction.is_server and state != "proceeding":
            self._send(flow, last)
        for timer in _ADOPTED.get((kind, state), ()):
            self._start(transaction, timer, now)
        if transaction.is_server and not request.to_tag:
            self._mark(transaction, request)
        if transaction.is_over:
            self._answered.append(transaction)
        return transaction

    def _mark(self, transaction: Transaction, request: Request) -> bool:
        """Whether it is the first with these (RFC 3261 §8.2.2.2)."""
        merge = request.call_id, request.from_tag, request.cseq
        if merge in self._merged:
            return False
        transaction.merge = merge
        self._merged[merge] = transaction
        return True

    def abandon(self, transaction: Transaction, now: float) -> None:
        """Nobody waits for the answer any more: acknowledge one that comes, but do not wait for ever."""
        self._step(transaction, "abandon", now)

    def drop(self, transaction: Transaction) -> None:
        """Forget it without a word."""
        self._forget(transaction)

    def timer(self, transaction: Transaction, name: str, now: float) -> None:
        self._step(transaction, name, now)

    def closed(self, transaction: Transaction, now: float) -> None:
        """Its flow is gone."""
        self._step(transaction, "closed", now)

    def of(self, user: Hashable) -> list[Transaction]:
        lingering = (each for ring in (self._long, self._short) for _, _, each in ring if each.lingers)
        return [each for each in [*self.by_id.values(), *lingering] if each.user is user]

    def on(self, flow: FlowId) -> list[Transaction]:
        """In the order they were opened."""
        return sorted(self._on_flow.get(flow, ()), key=lambda each: int(each.id[1:]))

    def settle(self) -> None:
        """The reports of this input have been read: what has its final answer now only lingers. Who waits for the ACK of one that has to be
        forgotten finds a new report."""
        for transaction in self._answered:
            if self.by_id.pop(transaction.id, None) is not None:
                transaction.release()
                self._lingering += 1
                if transaction.state != "completed" or transaction.kind != INVITE_SERVER:  # that one is still repeated
                    self._leave_flow(transaction)
        self._answered.clear()
        while self._lingering > self._most_lingering:
            until, _, transaction = (self._long or self._short).popleft()
            if transaction.until == until:
                self._forget(transaction)
                if transaction.is_server and transaction.user is not None:
                    self.reports.append(Report("error", transaction, None, transaction.flow))

    def sweep(self, now: float) -> None:
        """The time of what lingers is over. Its owner is this layer."""
        self._sweeps_at = float("inf")
        for ring in (self._long, self._short):
            while ring and ring[0][0] <= now:
                until, timer, transaction = ring.popleft()
                if transaction.until == until:
                    self._step(transaction, timer, now)
        heads = [ring[0][0] for ring in (self._long, self._short) if ring]
        if heads:
            self._sweep_at(max(min(heads), now + SWEEP))

    def _sweep_at(self, when: float) -> None:
        self._sweeps_at = when
        self._timers.set(self, "sweep", when)

    def _open(self, kind: str, key: Hashable, flow: FlowId, request: Request, reliable: bool) -> Transaction:
        self._count += 1
        transaction = Transaction(f"t{self._count}", kind, key, flow, request, reliable=reliable)
        self.touched = self.by_id[transaction.id] = self._keys[key] = transaction
        self._on_flow.setdefault(flow, set()).add(transaction)
        return transaction

    def _step(
        self, transaction: Transaction, event: str, now: float, data: bytes = b"", response: Response | None = None
    ) -> None:
        row = TABLE.get((transaction.kind, transaction.state, event))
        if row is None:
            return
        self.touched, was_over = transaction, transaction.is_over
        actions, transaction.state = row
        for action in actions:
            if action == "send":
                transaction.last = data
                self._send(transaction.flow, data)
            elif action == "send again":
                if transaction.last:
                    self._send(transaction.flow, transaction.last)
            elif action == "ack":
                assert response is not None
                transaction.last = ack_for(transaction.request, response).to_bytes()
                self._send(transaction.flow, transaction.last)
            elif action == "up":
                self.reports.append(Report("response", transaction, response, transaction.flow))
            elif action in ("timeout", "error", "acked"):
                self.reports.append(Report(action, transaction, None, transaction.flow))
            elif action[0] == "-":
                self._timers.clear(transaction, *action[1:])
            else:
                self._start(transaction, action, now)
        if transaction.state == "terminated":
            self._forget(transaction)
        elif transaction.is_over and not was_over:
            self._answered.append(transaction)

    def _start(self, transaction: Transaction, name: str, now: float) -> None:
        seconds, on_reliable = _TIMERS[name]
        wait = on_reliable if transaction.reliable else seconds
        if wait is None:
            return
        if name in _REPEATING:
            wait = T2 if transaction.state == "proceeding" else transaction.interval
            transaction.interval = min(transaction.interval * 2, _REPEATING[name])
        if wait == 0:  # D, I, J, K on a reliable transport: nothing more can come
            transaction.state = "terminated"
        elif name in _LONG or name in _SHORT:
            transaction.until = now + wait
            (self._long if name in _LONG else self._short).append((transaction.until, name, transaction))
            if not now <= self._sweeps_at <= transaction.until:  # in the past: a fault has lost that sweep
                self._sweep_at(transaction.until)
        else:
            self._timers.set(transaction, name, now + wait)

    def _send(self, flow: FlowId, data: bytes) -> None:
        self._output.append(Send(flow, data))

    def _forget(self, transaction: Transaction) -> None:
        self._timers.clear(transaction)
        if transaction.lingers and transaction.until:
            self._lingering -= 1
        transaction.until = 0.0
        self.by_id.pop(transaction.id, None)
        if self._keys.get(transaction.key) is transaction:
            del self._keys[transaction.key]
        if transaction.merge is not None and self._merged.get(transaction.merge) is transaction:
            del self._merged[transaction.merge]
        self._leave_flow(transaction)

    def _leave_flow(self, transaction: Transaction) -> None:
        on_flow = self._on_flow.get(transaction.flow)
        if on_flow is not None:
            on_flow.discard(transaction)
            if not on_flow:
                del self._on_flow[transaction.flow]
