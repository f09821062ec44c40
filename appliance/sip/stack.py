"""The SIP stack: bytes and time in, bytes and events out. Pure: no clock, no socket, no randomness.

Law: one input (receive, closed, wake or a command), then drain next_output() until None, then read deadline(), then the
next input. `now` is seconds of a monotonic clock; `tokens` gives unguessable strings (RFC 3261 tokens of at least 64 bits)
for branches, tags and Call-IDs.

This file joins the parts: it takes messages apart (message), gives them to the transactions, finds the session of
what comes up and lets it act (usage/…), answers OPTIONS, and refuses what fits nowhere: malformed 400, what is not in the
row of `abilities` 405, 415, 420 or 489, no such dialog 481, Max-Forwards spent 483. A command for a session or transaction that is
over raises WrongState; hang_up never does. Bounds: 10,000 transactions, 4,000 sessions, then 503;
MAX_REFUSED more that have refused and wait for the ACK, of which the oldest makes room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from appliance.sip import survival
from appliance.sip.abilities import PHONE, Abilities
from appliance.sip.agent import Agent, FlowFacts
from appliance.sip.boundary import Boundary
from appliance.sip.dialog import Dialog, merge, with_tag
from appliance.sip.errors import PeerError, WrongState
from appliance.sip.events import Answered, Elsewhere, FlowId, Output, Requested, SessionId, TransactionId
from appliance.sip.symmetric import answer_port
from appliance.sip.text.body import SDP_TYPE
from appliance.sip.text.message import Malformed, Request, Response, parse
from appliance.sip.transaction import LIMIT, LINGERING, Report, Transaction
from appliance.sip.usage.invite import Invite
from appliance.sip.usage.refresh import check_timer

__all__ = ["FlowFacts", "Headers", "Stack"]

Headers = Iterable[tuple[str, str]]

MAX_SESSIONS = 4000
MAX_REFUSED = 64  # the refusals of the others are repeated all the same, only not by another process
_ONLY_INSIDE = frozenset({"BYE", "UPDATE", "INFO", "PRACK", "NOTIFY"})


class Stack:
    def __init__(
        self,
        *,
        tokens: Callable[[], str],
        user_agent: str,
        facts: Callable[[FlowId], FlowFacts | None],
        beside: Callable[[FlowId, int], FlowId] = lambda flow, port: flow,
        can: Abilities = PHONE,
        max_transactions: int = LIMIT,
        max_lingering: int = LINGERING,
        max_sessions: int = MAX_SESSIONS,
    ) -> None:
        self._agent = Agent(tokens, user_agent, facts, can, max_transactions, max_lingering)
        self._layer = self._agent.layer
        self._max_sessions = max_sessions
        self._beside = beside  # the UDP flow to another port of the same host
        self._sessions: dict[SessionId, Invite] = {}
        self._dialogs: dict[tuple[str, str], Invite] = {}  # (Call-ID, our tag)
        self._refused: dict[SessionId, None] = {}  # those that wait for the ACK of a refusal, oldest first
        self._boundary = Boundary(self._agent)
        self._malformed = 0
        self._stray = 0

    # ---- inputs
    def receive(self, flow: FlowId, data: bytes, now: float) -> None:
        """One whole message as it came. Never raises."""
        self._boundary.begin(flow)
        try:
            self._receive(flow, data, now)
        except Exception as error:
            self._boundary.fault(error, now)
        self._settle(now)

    def _receive(self, flow: FlowId, data: bytes, now: float) -> None:
        facts = self._agent.facts(flow)
        if facts is None:
            return
        try:
            message = parse(data)
        except Malformed as error:
            self._malformed += 1
            if error.request is not None:
                flow = self._answered_over(flow, error.request, facts)
                self._agent.refuse(flow, error.request.stamped(*facts.remote), error.status, error.reason)
            return
        if isinstance(message, Response):
            if message.is_single_hop:  # more: it is not for us (RFC 3261 §8.1.3.3)
                self._layer.receive_response(flow, message, now)
        else:
            reliable = facts.transport != "UDP"
            flow = self._answered_over(flow, message, facts)
            self._layer.receive_request(flow, message.stamped(*facts.remote), now, reliable=reliable)

    def _answered_over(self, flow: FlowId, request: Request, facts: FlowFacts) -> FlowId:
        """The flow a request counts as having come by. A phone without rport that sends from another port than it listens on has
        everything there: its answers, its registration and so the calls to it, its dialogs."""
        if facts.transport != "UDP":
            return flow
        port = answer_port(request, facts.remote)
        return flow if port == facts.remote[1] else self._beside(flow, port)

    def closed(self, flow: FlowId, now: float) -> None:
        """The flow is gone: its transactions fail, its dialogs wait for rebind. Never raises."""
        self._lose(self._layer.on(flow), now)

    def unreachable(self, flow: FlowId, now: float) -> None:
        """Nobody listens there, as ICMP says of a UDP flow: what has had no answer yet fails as by a transport error (RFC 3261 §17.1.4).
        The flow stays; a phone that has answered may be there still. Never raises."""
        waiting = (each for each in self._layer.on(flow) if not each.is_server)
        self._lose([each for each in waiting if each.state in ("calling", "trying")], now)

    def _lose(self, transactions: list[Transaction], now: float) -> None:
        for transaction in transactions:
            self._boundary.begin(transaction.flow, transaction=transaction)
            try:
                self._layer.closed(transaction, now)
            except Exception as error:
                self._boundary.fault(error, now)
        self._settle(now)

    def wake(self, now: float) -> None:
        """The deadline has come. Never raises."""
        while (due := self._agent.timers.due(now)) is not None:
            owner, name = due
            self._boundary.begin()
            try:
                if isinstance(owner, Transaction):
                    self._boundary.begin(owner.flow, transaction=owner)
                    self._layer.timer(owner, name, now)
                elif owner is self._layer:
                    self._layer.sweep(now)
                elif isinstance(owner, Invite):
                    self._boundary.begin(owner.session.flow)
                    self._touch(owner).timer(name, now)
            except Exception as error:
                self._boundary.fault(error, now)
        self._settle(now)

    def failed(self, error: Exception, now: float) -> None:
        """A command has raised what it should not: clear up behind it."""
        self._boundary.fault(error, now)
        self._settle(now)

    # ---- outputs
    def next_output(self) -> Output | None:
        return self._agent.output.popleft() if self._agent.output else None

    def deadline(self) -> float | None:
        return self._agent.timers.deadline()

    # ---- outside INVITE usages, and answers to InDialog
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
    ) -> None:
        found = self._layer.by_id.get(transaction)
        self._boundary.begin(transaction=found)
        if found is None or not found.is_server or found.is_over:
            raise WrongState("no such request waits for an answer")
        if body:
            headers = merge([("Content-Type", content_type or SDP_TYPE)], headers)
        self._agent.respond(found, status, now, reason=reason, headers=headers, body=body)
        self._settle(now)

    def admit(self, transaction: TransactionId, now: float) -> None:
        """What came from elsewhere is the far end's: it is worked on like any other request of the dialog."""
        found = self._layer.by_id.get(transaction)
        self._boundary.begin(transaction=found)
        if found is None or not found.is_server or found.is_over:
            raise WrongState("no such request waits for an answer")
        request = found.request
        try:
            self._touch(self._within(request)).requested(found.flow, request, found, now)
        except PeerError as error:
            self._agent.respond(found, error.status, now, reason=error.reason, headers=error.headers)
        self._settle(now)

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
    ) -> TransactionId:
        """A non-INVITE request: in the dialog of `session`, else to `target` over `flow`."""
        self._boundary.begin(flow)
        defaults = [("User-Agent", self._agent.user_agent)]
        if body:
            defaults.append(("Content-Type", content_type or SDP_TYPE))
        if session is not None:
            owner = self._session(session).session
            if owner.dialog is None or owner.phase not in ("confirmed", "answered"):
                raise WrongState("the call is not set up")
            flow = owner.flow
            request = owner.dialog.request(method, self._agent.via(flow), merge(defaults, headers), body)
        else:
            if flow is None or not target or not from_:
                raise WrongState("a request needs a flow, a target and a From")
            fields = [("Via", self._agent.via(flow)), ("Max-Forwards", "70"), ("From", with_tag(from_, self._tag()))]
            fields += [("To", to or f"<{target}>"), ("Call-ID", self._tag()), ("CSeq", f"1 {method}"), *defaults]
            request = Request(method, target, merge(fields, headers), body)
        transaction = self._agent.send(request, flow, now, "request")
        self._settle(now)
        return transaction.id

    # ---- INVITE usage
    def invite(
        self, flow: FlowId, target: str, now: float, *, from_: str, to: str, offer: bytes, headers: Headers = ()
    ) -> SessionId:
        """Call `target`; an empty offer asks the far end for one (late offer)."""
        self._boundary.begin(flow)
        usage = Invite.calling(self._agent, flow, target, now, from_, to, offer, headers)
        self._add(usage)
        self._settle(now)
        return usage.id

    def acknowledge(self, session: SessionId, answer: bytes, now: float) -> None:
        """The ACK with our answer to the offer in their 2xx."""
        self._session(session).acknowledge(answer, now)
        self._settle(now)

    def ring(
        self,
        session: SessionId,
        now: float,
        *,
        status: int = 180,
        reason: str = "",
        headers: Headers = (),
        body: bytes = b"",
    ) -> None:
        self._session(session).early.ring(status, now, reason, headers, body)
        self._settle(now)

    def accept(self, session: SessionId, body: bytes, now: float, *, headers: Headers = ()) -> None:
        self._session(session).accept(body, now, headers)
        self._settle(now)

    def reject(self, session: SessionId, status: int, now: float, *, reason: str = "", headers: Headers = ()) -> None:
        self._session(session).reject(status, now, reason, headers)
        self._settle(now)

    def offer(self, session: SessionId, body: bytes, now: float, *, headers: Headers = ()) -> None:
        """re-INVITE, before the answer UPDATE; OfferAnswered follows. An empty body asks the far end for the offer (then acknowledge)."""
        self._session(session).offers.offer(body, now, headers)
        self._settle(now)

    def hang_up(self, session: SessionId, now: float, *, headers: Headers = ()) -> None:
        """BYE, CANCEL or 603, what fits; of a session that is over, nothing."""
        found = self._sessions.get(session)
        if found is not None:
            self._boundary.begin(found.session.flow)
            self._touch(found).ending.hang_up(now, headers)
            self._settle(now)

    def rebind(self, session: SessionId, flow: FlowId, now: float) -> None:
        """The phone has come back on a new flow."""
        self._session(session).session.flow = flow
        self._settle(now)

    # ---- survival
    def farewell(self, flow: FlowId, dialog: Dialog, now: float) -> None:
        """BYE in a dialog that is no session of ours; whatever is answered."""
        self._boundary.begin(flow)
        headers = [("Reason", 'Q.850;cause=41;text="Temporary failure"'), ("User-Agent", self._agent.user_agent)]
        self._agent.send(dialog.request("BYE", self._agent.via(flow), headers), flow, now, None)
        self._settle(now)

    def alive(self, session: SessionId) -> bool:
        """Whether something is still to be said or heard in it."""
        return session in self._sessions

    @property
    def touched(self) -> set[SessionId]:
        """Sessions that live and whose dump may have changed; who has taken the dumps clears it."""
        return self._agent.touched

    def dump(self, session: SessionId) -> tuple[Any, ...]:
        """The session in plain values (numbers, strings, bytes, None, tuples of these); WrongState when it is over."""
        return survival.dump(self._found(session))

    def restore(self, values: Sequence[Any], now: float) -> SessionId:
        """Take up a dumped session after a restart, as it was; its message that has no answer yet is sent once more. `values` are
        of our own dump, perhaps of another version: anything else is a bug."""
        usage = survival.restore(self._agent, values, now)
        self._add(usage)
        self._settle(now)
        return usage.id

    def counters(self) -> dict[str, int]:
        sessions = [each.session for each in self._sessions.values()]
        dialogs = sum(len(each.forks) + (each.dialog is not None) for each in sessions)
        return {
            "sessions": len(self._sessions),
            "dialogs": dialogs,
            "transactions": len(self._layer),
            "timers": len(self._agent.timers),
            "malformed": self._malformed,
            "stray": self._stray,
        }

    # ---- joining
    def _tag(self) -> str:
        return self._agent.tokens()

    def _found(self, id: SessionId) -> Invite:
        found = self._sessions.get(id)
        if found is None:
            raise WrongState("the session is over")
        return found

    def _session(self, id: SessionId) -> Invite:
        """To be worked on."""
        found = self._found(id)
        self._boundary.begin(found.session.flow)
        return self._touch(found)

    def _within(self, request: Request) -> Invite:
        """Whose dialog it is in, by both tags."""
        usage = self._boundary.usage = self._dialogs.get((request.call_id, request.to_tag))
        if usage is None or usage.session.dialog_with(request.from_tag) is None:
            raise PeerError(481, "Call/Transaction Does Not Exist")
        return usage

    def _touch(self, usage: Invite) -> Invite:
        """From here on it is this session that is worked on."""
        self._boundary.usage = usage
        if usage.id in self._sessions:
            self.touched.add(usage.id)
        return usage

    def _add(self, usage: Invite) -> None:
        self._sessions[usage.id] = usage
        self._dialogs[usage.session.key] = usage
        self.touched.add(usage.id)

    def _settle(self, now: float) -> None:
        """Work off what the transactions have found out, then forget the sessions that are over."""
        self._work_off(now)
        self._layer.settle()
        if self._layer.reports:  # of refusals that had to make room
            self._work_off(now)
        if self._agent.refused:
            self._bound_refused()
        for id in self._agent.over:
            usage = self._sessions.pop(id, None)
            if usage is not None:
                del self._dialogs[usage.session.key]
                self.touched.discard(id)
            self._refused.pop(id, None)
        self._agent.over.clear()

    def _bound_refused(self) -> None:
        self._refused.update(dict.fromkeys(id for id in self._agent.refused if id in self._sessions))
        self._agent.refused.clear()
        while len(self._refused) > MAX_REFUSED:
            oldest = next(iter(self._refused))
            del self._refused[oldest]
            self._sessions[oldest].ending.acked()

    def _work_off(self, now: float) -> None:
        while self._layer.reports:
            report = self._layer.reports.popleft()
            self._boundary.begin(report.flow, transaction=report.transaction)
            try:
                self._dispatch(report, now)
            except Exception as error:
                self._boundary.fault(error, now)

    def _dispatch(self, report: Report, now: float) -> None:
        transaction, message = report.transaction, report.message
        if isinstance(message, Response):
            self._response(transaction, message, now)
            return
        if message is None:
            assert transaction is not None
            if report.kind == "acked":
                self._acked(transaction)
            else:
                self._nothing(transaction, 408 if report.kind == "timeout" else 503, now)
            return
        if report.kind == "ack":
            usage = self._boundary.usage = self._dialogs.get((message.call_id, message.to_tag))
            # an ACK cannot be challenged (RFC 3261 section 22.1): from elsewhere it only ends our repetition, its SDP is not taken
            if usage is None or usage.session.dialog_with(message.from_tag) is None:
                return
            if not message.body or self._agent.same_peer(usage.session.flow, report.flow):
                self._touch(usage).acked(message, now)
            return
        if report.kind == "full":
            self._agent.refuse(report.flow, message, 503, headers=(("Retry-After", "10"),))
            return
        assert transaction is not None
        try:
            if report.kind == "merged":
                raise PeerError(482, "Loop Detected")
            if report.kind == "cancel":
                self._cancel(report.flow, message, transaction, now)
            else:
                self._request(report.flow, message, transaction, now)
        except PeerError as error:
            self._agent.respond(transaction, error.status, now, reason=error.reason, headers=error.headers)
            if self._boundary.usage is not None:
                self._boundary.usage.offers.refused(transaction)

    def _request(self, flow: FlowId, request: Request, transaction: Transaction, now: float) -> None:
        can = self._agent.can
        if request.to_tag and request.method != "REGISTER":
            usage = self._within(request)
            if self._agent.is_weaker(flow, usage.session.flow):
                raise PeerError(481, "Call/Transaction Does Not Exist")
            can.check_method(request)
            can.check_extensions(request)
            can.check_body(request)
            if self._agent.same_peer(usage.session.flow, flow):
                self._touch(usage).requested(flow, request, transaction, now)
            else:
                self._agent.emit(Elsewhere(usage.id, transaction.id, flow, request))
            return
        can.check_method(request)
        if request.method in _ONLY_INSIDE:
            raise PeerError(481, "Call/Transaction Does Not Exist")
        if request.method == "INVITE":
            self._invited(flow, request, transaction, now)
            return
        can.check_extensions(request)
        if request.method == "OPTIONS":
            self._agent.respond(transaction, 200, now, headers=can.all)
        else:
            self._agent.emit(Requested(transaction.id, flow, request))

    def _invited(self, flow: FlowId, request: Request, transaction: Transaction, now: float) -> None:
        can = self._agent.can
        if (replaced := request.replaces) is not None:
            call_id, ours, theirs = replaced
            known = self._dialogs.get((call_id, ours))
            if known is None or known.session.dialog_with(theirs) is None:  # RFC 3891 §3
                raise PeerError(481, "Call/Transaction Does Not Exist")
        can.check_extensions(request)
        if request.max_forwards == 0:
            raise PeerError(483, "Too Many Hops")
        can.check_body(request)
        check_timer(request)
        if len(self._sessions) - len(self._refused) >= self._max_sessions:
            raise PeerError(503, "Service Unavailable", (("Retry-After", "10"),))
        usage = self._boundary.usage = Invite.called(self._agent, flow, request, transaction, now)
        self._add(usage)

    def _cancel(self, flow: FlowId, request: Request, transaction: Transaction, now: float) -> None:
        invite = self._layer.invite_of(request)
        if invite is None or not self._agent.same_peer(invite.flow, flow):
            raise PeerError(481, "Call/Transaction Does Not Exist")
        usage = invite.user if isinstance(invite.user, Invite) else None
        self._agent.respond(transaction, 200, now, to_tag=usage.session.local_tag if usage else "")
        if usage is not None and invite is usage.session.transaction:
            self._touch(usage).ending.cancelled(now, request.get("Reason") or "")

    def _response(self, transaction: Transaction | None, response: Response, now: float) -> None:
        if transaction is None:
            self._stray += 1
            usage = self._boundary.usage = self._dialogs.get((response.call_id, response.from_tag))
            if usage is not None and response.cseq[1] == "INVITE" and 200 <= response.status < 300:
                self._touch(usage).acks.late_2xx(response)
        elif isinstance(transaction.user, Invite):
            self._touch(transaction.user).responded(transaction, response, now)
        elif transaction.user == "request" and response.status >= 200:
            self._agent.emit(Answered(transaction.id, response.status, response))

    def _acked(self, transaction: Transaction) -> None:
        """A refusal is."""
        usage, transaction.user = transaction.user, None
        if not isinstance(usage, Invite):
            return
        if transaction is usage.session.transaction:
            self._touch(usage).ending.acked()
        else:
            self._touch(usage).offers.acknowledged(transaction)

    def _nothing(self, transaction: Transaction, status: int, now: float) -> None:
        if isinstance(transaction.user, Invite):
            self._touch(transaction.user).failed(transaction, status, now)
        elif transaction.user == "request":
            self._agent.emit(Answered(transaction.id, status, None))
