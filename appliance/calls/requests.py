"""Requests outside calls, and who may send what: REGISTER, authentication, requests that come from elsewhere, and what is noticed of all that."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import media_core
from appliance import cti
from appliance.calls.call import Call
from appliance.calls.legs.leg import Leg
from appliance.calls.registrar.authentication import Authenticated, Authenticator, Denied
from appliance.calls.registrar.drops import Drops
from appliance.calls.registrar.refusals import Refusals
from appliance.calls.registrar.registrar import Binding, TooMany, may_register
from appliance.calls.registrar.security import SecurityEvent, SecurityLog
from appliance.calls.switchboard import Switchboard
from appliance.config.model import Extension, Line, Snapshot
from appliance.sip import events
from appliance.sip.errors import PeerError
from appliance.sip.text.message import Request
from appliance.sip.text.uri import join_host
from appliance.words import Fact, Said, english, printable

log = logging.getLogger(__name__)

RETRY_AFTER = ("Retry-After", "10")
Headers = Sequence[tuple[str, str]]


class Requests:
    def __init__(self, board: Switchboard[Leg, Call], authenticator: Authenticator) -> None:
        self._board = board
        self._authenticator = authenticator
        self.security = SecurityLog()
        self.refusals = Refusals()
        self.drops = Drops()
        self.stored: list[Binding] = []  # changes of the registrar that wait to be kept
        self.removed: list[Binding] = []
        self._proved: dict[int, set[str]] = {}  # TLS flow -> line ids that have registered over it
        for binding in board.registrar:
            self.refusals.registered(binding.line, binding.host, board.unix())
            if not binding.reachable:
                self.drops.add(binding, "closed", board.unix())
            if not binding.away:
                self._trust(binding)
        self._set_expiry()

    # ---- who it is
    def line_of(self, request: Request, flow: media_core.FlowInfo, session: str) -> Line | None:
        """The authenticated line of an INVITE; None when it has been answered with a challenge."""
        for line_id in self._proved.get(flow.id, ()):
            line = self._board.snapshot.lines.get(line_id)
            if line is not None and request.from_.uri.user == line.sip_username:
                return line
        verdict = self.verify(request, flow)
        if isinstance(verdict, Authenticated):
            return verdict.line
        self.reject(session, verdict.status, headers=list(verdict.headers))
        return None

    def verify(self, request: Request, flow: media_core.FlowInfo) -> Authenticated | Denied:
        """Who sends it, by digest; what is wrong is noted."""
        board, registrar = self._board, self._board.registrar
        lines = board.snapshot.line_by_sip_username

        def known(account: str) -> bool:
            line = lines.get(account)
            return line is not None and registrar.knows(line.id, request, flow)

        verdict = self._authenticator.verify(request, flow.remote, board.snapshot, board.turn.now, known)
        if isinstance(verdict, Denied) and verdict.why:
            line = lines.get(verdict.account)
            why = "unknown user" if line is None and verdict.why == "wrong password" else verdict.why
            doing = Said.of("refused.to-register") if request.method == "REGISTER" else Said.of("refused.to-call")
            found = line.id if line is not None else ""
            self.refused(why, flow.remote, line=found, account=verdict.account, doing=doing, seconds=verdict.seconds)
        return verdict

    def check_encryption(self, line: Line, extension: Extension, flow: media_core.FlowInfo) -> None:
        """PeerError 403 for a phone of an extension that requires encryption, and does not come over TLS."""
        if extension.encrypt != "required" or flow.transport == media_core.Transport.TLS:
            return
        transport = media_core.Transport(flow.transport).name
        account, number = line.sip_username, extension.number
        self.refused(
            "must use TLS", flow.remote, line=line.id, account=account, number=number, transport=transport
        )  # fmt: skip
        text = f"Extension {number} requires encryption: use TLS"
        warning = ("Warning", f'399 {self._board.host} "{text}"')
        raise PeerError(403, "Encryption Required", (warning, ("Reason", f'SIP;cause=403;text="{text}"')))

    # ---- REGISTER
    def requested(self, event: events.Requested) -> None:
        flow = self._board.turn.driver.flow(event.flow)
        if flow is None:
            return
        try:
            self._register(event.transaction, event.request, flow)
        except PeerError as error:
            self.respond(event.transaction, error.status, error.headers, error.reason)

    def _register(self, transaction: str, request: Request, flow: media_core.FlowInfo) -> None:
        board = self._board
        verdict = self.verify(request, flow)
        if not isinstance(verdict, Authenticated):
            self.respond(transaction, verdict.status, verdict.headers)
            return
        line = verdict.line
        extension = board.snapshot.extensions[line.extension]
        if not may_register(request, line, extension.number):
            wanted = request.to.uri.user
            self.refused("another line", flow.remote, line=line.id, account=line.sip_username, wanted=wanted)
            raise PeerError(403, "Forbidden")
        self.check_encryption(line, extension, flow)
        try:
            result = board.registrar.register(
                request, line, flow, board.turn.now, asked=verdict.asked, busy=self._in_call
            )
        except TooMany:
            self.refused("too many phones", flow.remote, line=line.id, account=line.sip_username)
            raise
        self.respond(transaction, 200, result.headers)
        for binding in result.stored:
            self._trust(binding)
            self.refusals.registered(line.id, binding.host, board.unix())
            self.drops.back(binding)
        for old, _ in result.moved:
            self._moved(line.id, old, flow)
        self._distrust(result.removed)
        if result.stored or result.removed:
            self._keep(result.stored, result.removed)

    def _moved(self, line: str, old: int, flow: media_core.FlowInfo) -> None:
        """A phone of this line has come back on another flow: so have its calls."""
        for leg in list(self._board.ports.values()):
            if leg.endpoint.line == line and leg.endpoint.flow.id == old:
                leg.moved(flow)

    def elsewhere(self, event: events.Elsewhere) -> None:
        """The tags alone end no call: who comes from another host has registered there for this line, or has its password."""
        board, transaction = self._board, event.transaction
        leg, flow = board.sessions.get(event.session), board.turn.driver.flow(event.flow)
        if leg is None or flow is None or (leg.endpoint.secure and flow.transport != media_core.Transport.TLS):
            self.respond(transaction, 481)
            return
        line = leg.endpoint.line
        registered = {binding.host for binding in board.registrar.bindings(line)}
        if flow.remote[0] != leg.endpoint.flow.remote[0] and flow.remote[0] not in registered:
            verdict = self.verify(event.request, flow)
            if isinstance(verdict, Denied):
                self.respond(transaction, verdict.status, verdict.headers)
                return
            if verdict.line.id != line:
                self.respond(transaction, 403)
                return
        self._moved(line, leg.endpoint.flow.id, flow)
        board.quietly(lambda stack, now: stack.admit(transaction, now))

    def _in_call(self, binding: Binding) -> bool:
        return any(
            (leg.endpoint.line, leg.endpoint.flow.id) == (binding.line, binding.flow)
            for leg in self._board.ports.values()
        )

    # ---- bindings
    def _trust(self, binding: Binding) -> None:
        self._board.turn.driver.trust(binding.flow, True)
        if binding.secure:
            self._proved.setdefault(binding.flow, set()).add(binding.line)

    def _distrust(self, gone: list[Binding]) -> None:
        board = self._board
        for binding in gone:
            left = {other.line for other in board.registrar.on_flow(binding.flow)}
            if not left:
                board.turn.driver.trust(binding.flow, False)
            if binding.line not in left:
                self._proved.get(binding.flow, set()).discard(binding.line)

    def _keep(self, stored: list[Binding], removed: list[Binding]) -> None:
        self.removed += removed
        self.stored += stored
        self._board.changed.set()
        self._set_expiry()
        lines = sorted({binding.line for binding in (*stored, *removed)})
        self._board.news.put_nowait(cti.RegistrationsChanged(lines))

    def _set_expiry(self) -> None:
        turn, deadline = self._board.turn, self._board.registrar.deadline()
        turn.timers.clear(self, "expiry")
        if deadline is not None:
            turn.alarm(self, "expiry", deadline + 0.1)

    def timer(self, name: str, now: float) -> None:
        """Registrations that have expired."""
        gone: list[Binding] = []
        try:
            gone = self._board.registrar.expire(now)
            for binding in gone:
                self.drops.add(binding, "expired", self._board.unix())
            self._distrust(gone)
        except Exception as error:
            self._board.fault(error, Said.of("fault.expiry", error=type(error).__name__))
        finally:
            self._keep([], gone)  # sets the next expiry

    def closed(self, flow: int) -> None:
        self._proved.pop(flow, None)
        registrar = self._board.registrar
        away = registrar.closed(flow)
        for binding in away:
            if binding.transport != "UDP":  # which is dialled again
                self.drops.add(binding, "closed", self._board.unix())
        if away:
            self._keep([b for line in {each.line for each in away} for b in registrar.bindings(line)], [])

    def apply(self, snapshot: Snapshot) -> None:
        """A new configuration. Calls in progress keep the one they began with."""
        board = self._board
        gone = board.registrar.reconcile(board.snapshot, snapshot)
        board.snapshot = snapshot
        for lines in self._proved.values():
            lines -= {binding.line for binding in gone}
        if gone:
            self._keep([], gone)
        self.refusals.keep(snapshot.lines)
        self.drops.keep(snapshot.lines)

    # ---- what is noticed
    def noticed(self, kind: str, source: str, account: str, message: Said) -> None:
        if self.security.add(SecurityEvent(self._board.unix(), kind, source, account[:64], message)):
            log.warning("security: %s (%s from %s)", english().say(message, escape=printable), kind, source)

    def refused(
        self, kind: str, address: tuple[str, int], *, line: str = "", account: str = "", **facts: Fact
    ) -> None:
        if self.refusals.add(kind, address, self._board.unix(), line=line, account=account, **facts):
            log.warning("refused: %s (%s from %s)", kind, account or "no name", join_host(*address))

    # ---- answers
    def respond(self, transaction: str, status: int, headers: Headers = (), reason: str = "") -> None:
        self._board.quietly(lambda stack, now: stack.respond(transaction, status, now, reason=reason, headers=headers))

    def reject(self, session: str, status: int, *, reason: str = "", headers: Headers = ()) -> None:
        self._board.quietly(lambda stack, now: stack.reject(session, status, now, reason=reason, headers=headers))
