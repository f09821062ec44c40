"""The way in: every event of the stack and the media core comes here and goes to the call it belongs to, or starts something.

Default deny. A request outside a call reaches the plan only as an INVITE of an authenticated line; REGISTER binds the line that
has the password and no other; everything else the stack answers by the row of `abilities` without looking at whom it names, so that
answers tell nothing about which extensions exist.

An INVITE proves its line by digest, or by its TLS connection if the line has registered over it with digest: nobody else can
write on that connection.

Overload: new calls are refused (503, Retry-After) before anything is allocated for them, requests in calls never.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

import media_core
from appliance import cti
from appliance.callcontrol.api import Cause, Clear, Party, Script, Service
from appliance.callcontrol.authentication import Authenticated, Authenticator, Denied
from appliance.callcontrol.call import Call
from appliance.callcontrol.exchange import Exchange
from appliance.callcontrol.faults import of_stack
from appliance.callcontrol.leg import PhoneLeg
from appliance.callcontrol.plan import Action, Refuse, Ring, Serve, plan
from appliance.callcontrol.refusals import Refusals
from appliance.callcontrol.registrar import Binding, TooMany, may_register
from appliance.callcontrol.security import SecurityEvent, SecurityLog
from appliance.calls.history.quality import warning
from appliance.config.model import Extension, Line, Snapshot
from appliance.sip import events
from appliance.sip.errors import PeerError, WrongState
from appliance.sip.text.message import Request
from appliance.sip.text.uri import join_host
from appliance.words import Fact, Person, Said, english, printable

log = logging.getLogger(__name__)

CALLS = 900  # of 1,024 slots
BEHIND = 500  # events waiting: new calls are refused
RETRY_AFTER = ("Retry-After", "10")


class Controller:
    def __init__(
        self,
        exchange: Exchange,
        authenticator: Authenticator,
        services: Mapping[str, Service],
        snapshot: Snapshot,
    ) -> None:
        self._exchange = exchange
        self._authenticator = authenticator
        self._services = services
        self.snapshot = snapshot
        self.security = SecurityLog()
        self.refusals = Refusals()
        self.stored: list[Binding] = []  # changes of the registrar that wait to be kept
        self.removed: list[Binding] = []
        self.selftest: set[str] = set()  # extension ids whose calls are the self-test's
        self._proved: dict[int, set[str]] = {}  # TLS flow -> line ids that have registered over it
        self._expiry: asyncio.TimerHandle | None = None
        for binding in exchange.registrar:
            self.refusals.registered(binding.line, binding.host, exchange.unix())
            if not binding.away:
                self._trust(binding)
        self._set_expiry()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                event = await self._exchange.transport.next()
            except Exception as error:  # whatever it is, it must not become a loop without a pause
                self._exchange.fault(error, Said.of("fault.network", error=type(error).__name__))
                await asyncio.sleep(0.1)
                continue
            try:
                self.handle(event)
            except Exception as error:
                self._fault(event, error)

    def _fault(self, event: events.Event | media_core.Event, error: Exception) -> None:
        """A bug met while `event` was handled: it costs the call that it belongs to, or what it asked for gets 500."""
        session, leg = getattr(event, "session", ""), getattr(event, "leg", None)
        call = self._exchange.sessions[session][0] if session in self._exchange.sessions else self._call_of(leg)
        if call is not None:
            call.fault(error)
        else:
            self._exchange.fault(error, Said.of("fault.event", error=type(error).__name__, event=type(event).__name__))
        match event:
            case (
                events.Requested(transaction=transaction)
                | events.InDialog(transaction=transaction)
                | events.Elsewhere(transaction=transaction)
            ):
                self._respond(transaction, 500, [])
            case events.Invited() | events.Offered():
                self._reject(session, 500)
            case events.Accepted() if call is None:
                self._quietly(lambda stack, now: stack.hang_up(session, now))

    def _call_of(self, leg_id: int | None) -> Call | None:
        """Whose media leg this is."""
        found = self._leg_of(leg_id)
        return found[0] if found is not None else None

    def _leg_of(self, leg_id: int | None) -> tuple[Call, PhoneLeg] | None:
        for call in self._exchange.calls.values():
            branches = call.fork.branches if call.fork is not None else []
            for leg in (*call.legs, *branches):
                if leg.port.id == leg_id:
                    return call, leg
        return None

    def handle(self, event: events.Event | media_core.Event) -> None:
        match event:
            case events.Requested():
                self._requested(event)
            case events.Invited():
                self._invited(event)
            case events.Elsewhere():
                self._elsewhere(event)
            case events.Answered(transaction=transaction, status=status):
                self._for_each_call(lambda call: call.probed(transaction, status))
            case events.Fault(source=source, cause=cause, ours=ours):
                if self._exchange.faults.add(said := of_stack(cause, source, ours=ours), self._exchange.unix()):
                    log.warning("%s", english().say(said, escape=printable))
            case media_core.FlowClosed(flow=flow):
                self._closed(flow)
            case (
                media_core.PlayEnded()
                | media_core.RecordEnded()
                | media_core.DigitsSent()
                | media_core.MediaStarted()
                | media_core.MediaSilent()
                | media_core.MediaQuality()
                | media_core.SsrcChanged()
                | media_core.AuthenticationFailed()
                | media_core.Digit()
            ):
                self._media(event)
            case media_core.CoreStarted(generation=generation):
                log.info("the media core is up (generation %d), %d calls go on", generation, len(self._exchange.calls))
            case media_core.HandshakeFailed(host, port, reason, detail):
                self._refused(reason, (host, port), detail=detail)
            case media_core.FlowOpened() | media_core.FlowReceived() | media_core.FlowUnreachable():
                pass  # the driver's
            case _:
                self._in_session(event)

    # ---- calls
    def _in_session(self, event: events.Event) -> None:
        session = getattr(event, "session", "")
        found = self._exchange.sessions.get(session)
        if found is None:
            if isinstance(event, events.Accepted):  # 200 crossed our CANCEL (RFC 3261 §9.1): nobody waits for it
                self._quietly(lambda stack, now: stack.hang_up(session, now))
            elif isinstance(event, events.InDialog):
                transaction = event.transaction
                self._quietly(lambda stack, now: stack.respond(transaction, 481, now))
            return
        call, leg = found
        call.handle(leg, event)
        call.save()

    def _media(self, event: media_core.Event) -> None:
        found = self._leg_of(getattr(event, "leg", None))
        if found is None:
            return
        call, leg = found
        call.media(leg, event)
        if noticed := warning(event, Person(leg.party.name, leg.party.number), leg.terms.secure, leg.media_host(self._exchange.media)):
            self._security(noticed[0], noticed[1], leg.party.number, noticed[2])

    def _for_each_call(self, work: Callable[[Call], None]) -> None:
        """What concerns one of them, nobody knows which: a fault of one is not the others'."""
        for call in list(self._exchange.calls.values()):
            try:
                work(call)
            except Exception as error:
                call.fault(error)

    def _invited(self, event: events.Invited) -> None:
        session, request = event.session, event.request
        flow = self._exchange.transport.flow(event.flow)
        if flow is None:
            self._reject(session, 503)
            return
        try:
            line = self._line_of(request, flow, session)
            if line is None:
                return
            self._admit(session, request, flow, line)
        except PeerError as error:
            self._reject(session, error.status, reason=error.reason, headers=list(error.headers))
        except media_core.OutOfService:
            self._reject(session, 503, headers=[RETRY_AFTER])

    def _line_of(self, request: Request, flow: media_core.FlowInfo, session: str) -> Line | None:
        """The authenticated line of an INVITE; None when it has been answered with a challenge."""
        for line_id in self._proved.get(flow.id, ()):
            line = self.snapshot.lines.get(line_id)
            if line is not None and request.from_.uri.user == line.sip_username:
                return line
        verdict = self._verify(request, flow)
        if isinstance(verdict, Authenticated):
            return verdict.line
        self._reject(session, verdict.status, headers=list(verdict.headers))
        return None

    def _verify(self, request: Request, flow: media_core.FlowInfo) -> Authenticated | Denied:
        """Who sends it, by digest; what is wrong is noted."""
        registrar, lines = self._exchange.registrar, self.snapshot.line_by_sip_username

        def known(account: str) -> bool:
            line = lines.get(account)
            return line is not None and registrar.knows(line.id, request, flow)

        verdict = self._authenticator.verify(request, flow.remote, self.snapshot, self._exchange.now(), known)
        if isinstance(verdict, Denied) and verdict.why:
            line = lines.get(verdict.account)
            why = "unknown user" if line is None and verdict.why == "wrong password" else verdict.why
            doing = Said.of("refused.to-register") if request.method == "REGISTER" else Said.of("refused.to-call")
            found = line.id if line is not None else ""
            self._refused(why, flow.remote, line=found, account=verdict.account, doing=doing, seconds=verdict.seconds)
        return verdict

    def _admit(self, session: str, request: Request, flow: media_core.FlowInfo, line: Line) -> None:
        exchange, snapshot = self._exchange, self.snapshot
        extension = snapshot.extensions[line.extension]
        if len(self._exchange.calls) >= CALLS or exchange.transport.waiting > BEHIND:
            raise PeerError(503, "Service Unavailable", (RETRY_AFTER,))
        if extension.encrypt == "required" and flow.transport != media_core.Transport.TLS:
            self._not_encrypted(line, extension, flow)
            raise PeerError(403, "Encryption Required", tuple(self._encryption_headers(extension)))
        self._quietly(lambda stack, now: stack.ring(session, now, status=100))
        port = exchange.media.open()
        try:
            party = Party(extension.number, extension.name)
            leg = PhoneLeg(
                exchange, side="caller", party=party, line=line.id, encrypt=extension.encrypt, flow=flow, port=port
            )
            leg.session = session
            leg.user_agent = request.user_agent[:200]
            dialled = request.uri.dialled
            target = plan(dialled, extension, snapshot).action
            refusal = None
            try:
                if request.sdp:
                    leg.terms.take_offer(request.sdp)
            except PeerError as error:
                if error.status != 488:
                    raise
                refusal = Refuse(Cause.INCOMPATIBLE, 488, error.reason)
            call = self._new_call(leg, dialled, target, extension)
            call.start(self._script(refusal or target))
        except BaseException:
            exchange.media.close(port.id)
            raise
        exchange.news.put_nowait(cti.CallsChanged())

    def _new_call(self, leg: PhoneLeg, dialled: str, target: Action, extension: Extension) -> Call:
        exchange = self._exchange
        name = target.service if isinstance(target, Serve) else "extension"
        call = Call(exchange, exchange.tokens()[:16], leg, dialled[:64], name, self.snapshot, started=exchange.unix())
        call.selftest = extension.id in self.selftest
        if isinstance(target, Ring):
            call.callee = Party(target.extension.number, target.extension.name)
        elif isinstance(target, Serve):
            call.callee = Party(dialled, self._services[target.service].title)
        return call

    def _script(self, target: Action) -> Script:
        match target:
            case Ring(extension=extension):
                return extension_script(extension)
            case Serve(service=service):
                return self._services[service].script
        return refusal_script(target)

    # ---- registrations and the other requests
    def _requested(self, event: events.Requested) -> None:
        flow = self._exchange.transport.flow(event.flow)
        if flow is None:
            return
        request, transaction = event.request, event.transaction
        try:
            self._register(transaction, request, flow)
        except PeerError as error:
            self._respond(transaction, error.status, list(error.headers), error.reason)

    def _register(self, transaction: str, request: Request, flow: media_core.FlowInfo) -> None:
        now = self._exchange.now()
        verdict = self._verify(request, flow)
        if not isinstance(verdict, Authenticated):
            self._respond(transaction, verdict.status, list(verdict.headers))
            return
        line = verdict.line
        extension = self.snapshot.extensions[line.extension]
        if not may_register(request, line, extension.number):
            self._refused(
                "another line", flow.remote, line=line.id, account=line.sip_username, wanted=request.to.uri.user
            )
            raise PeerError(403, "Forbidden")
        if extension.encrypt == "required" and flow.transport != media_core.Transport.TLS:
            self._not_encrypted(line, extension, flow)
            self._respond(transaction, 403, self._encryption_headers(extension), "Encryption Required")
            return
        try:
            result = self._exchange.registrar.register(
                request, line, flow, now, asked=verdict.asked, busy=self._in_call
            )
        except TooMany:
            self._refused("too many phones", flow.remote, line=line.id, account=line.sip_username)
            raise
        self._respond(transaction, 200, result.headers)
        for binding in result.stored:
            self._trust(binding)
            self.refusals.registered(line.id, binding.host, self._exchange.unix())
        for old, _ in result.moved:
            self._for_each_call(lambda call, old=old: call.moved(line.id, old, flow))  # type: ignore[misc]
        self._distrust(result.removed)
        if result.stored or result.removed:
            self._keep(result.stored, result.removed)

    def _elsewhere(self, event: events.Elsewhere) -> None:
        """The tags alone end no call: who comes from another host has registered there for this line, or has its password."""
        found, flow = self._exchange.sessions.get(event.session), self._exchange.transport.flow(event.flow)
        transaction = event.transaction
        if found is None or flow is None:
            self._respond(transaction, 481, [])
            return
        call, leg = found
        if leg.signalling_secure and flow.transport != media_core.Transport.TLS:
            self._respond(transaction, 481, [])
            return
        registered = {binding.host for binding in self._exchange.registrar.bindings(leg.line)}
        if flow.remote[0] != leg.flow.remote[0] and flow.remote[0] not in registered:
            verdict = self._verify(event.request, flow)
            if isinstance(verdict, Denied):
                self._respond(transaction, verdict.status, list(verdict.headers))
                return
            if verdict.line.id != leg.line:
                self._respond(transaction, 403, [])
                return
        call.moved(leg.line, leg.flow.id, flow)
        self._quietly(lambda stack, now: stack.admit(transaction, now))

    def _in_call(self, binding: Binding) -> bool:
        legs = (leg for call in self._exchange.calls.values() for leg in call.legs)
        return any((leg.line, leg.flow.id) == (binding.line, binding.flow) for leg in legs)

    def _trust(self, binding: Binding) -> None:
        self._exchange.transport.trust(binding.flow, True)
        if binding.secure:
            self._proved.setdefault(binding.flow, set()).add(binding.line)

    def _keep(self, stored: list[Binding], removed: list[Binding]) -> None:
        self.removed += removed
        self.stored += stored
        self._exchange.changed.set()
        self._set_expiry()
        self._exchange.news.put_nowait(cti.RegistrationsChanged())

    def _set_expiry(self) -> None:
        deadline = self._exchange.registrar.deadline()
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = None
        if deadline is not None:
            self._expiry = asyncio.get_running_loop().call_at(deadline + 0.1, self._expire)

    def _expire(self) -> None:
        gone: list[Binding] = []
        try:
            gone = self._exchange.registrar.expire(self._exchange.now())
            self._distrust(gone)
        except Exception as error:
            self._exchange.fault(error, Said.of("fault.expiry", error=type(error).__name__))
        finally:
            self._keep([], gone)  # sets the next expiry

    def _distrust(self, gone: list[Binding]) -> None:
        for binding in gone:
            left = {other.line for other in self._exchange.registrar.on_flow(binding.flow)}
            if not left:
                self._exchange.transport.trust(binding.flow, False)
            if binding.line not in left:
                self._proved.get(binding.flow, set()).discard(binding.line)

    def _closed(self, flow: int) -> None:
        self._proved.pop(flow, None)
        away = self._exchange.registrar.closed(flow)
        if away:
            self._keep(
                [b for line in {each.line for each in away} for b in self._exchange.registrar.bindings(line)], []
            )

    def apply(self, snapshot: Snapshot) -> None:
        """A new configuration. Calls in progress keep the one they began with."""
        gone = self._exchange.registrar.reconcile(self.snapshot, snapshot)
        self.snapshot = snapshot
        self.refusals.keep(snapshot.lines)
        for lines in self._proved.values():
            lines -= {binding.line for binding in gone}
        if gone:
            self._keep([], gone)

    # ---- what is noticed
    def _security(self, kind: str, source: str, account: str, message: Said) -> None:
        if self.security.add(SecurityEvent(self._exchange.unix(), kind, source, account[:64], message)):
            log.warning("security: %s (%s from %s)", english().say(message, escape=printable), kind, source)

    def _refused(
        self, kind: str, address: tuple[str, int], *, line: str = "", account: str = "", **facts: Fact
    ) -> None:
        if self.refusals.add(kind, address, self._exchange.unix(), line=line, account=account, **facts):
            log.warning("refused: %s (%s from %s)", kind, account or "no name", join_host(*address))

    def _not_encrypted(self, line: Line, extension: Extension, flow: media_core.FlowInfo) -> None:
        transport = media_core.Transport(flow.transport).name
        self._refused(
            "must use TLS",
            flow.remote,
            line=line.id,
            account=line.sip_username,
            number=extension.number,
            transport=transport,
        )

    def _encryption_headers(self, extension: Extension) -> list[tuple[str, str]]:
        text = f"Extension {extension.number} requires encryption: use TLS"
        return [("Warning", f'399 {self._exchange.host} "{text}"'), ("Reason", f'SIP;cause=403;text="{text}"')]

    # ---- answers
    def _respond(self, transaction: str, status: int, headers: list[tuple[str, str]], reason: str = "") -> None:
        self._quietly(lambda stack, now: stack.respond(transaction, status, now, reason=reason, headers=headers))

    def _reject(
        self, session: str, status: int, *, reason: str = "", headers: list[tuple[str, str]] | None = None
    ) -> None:
        self._quietly(lambda stack, now: stack.reject(session, status, now, reason=reason, headers=headers or []))

    def _quietly(self, command) -> None:  # type: ignore[no-untyped-def]
        """The other side may have given up in the meantime."""
        try:
            self._exchange.sip(command)
        except WrongState:
            log.debug("an answer came too late")


def extension_script(extension: Extension) -> Script:
    async def script(call) -> None:  # type: ignore[no-untyped-def]
        if call.step != "talking":
            leg = await call.ring(extension)
            await call.answer_with(leg)
        await call.talk()

    return script


def refusal_script(target: Refuse) -> Script:
    async def script(call) -> None:  # type: ignore[no-untyped-def]
        raise Clear(target.cause, status=target.status, warning=target.warning)

    return script
