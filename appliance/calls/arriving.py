"""The way in: every event of the stack and the media core comes here and goes to the leg it belongs to, or starts something.

Default deny. A request outside a call reaches the plan only as an INVITE of an authenticated line; REGISTER binds the line that has the
password and no other (`requests`); everything else the stack answers by the row of `abilities` without looking at whom it names, so that
answers tell nothing about which extensions exist.

An INVITE proves its line by digest, or by its TLS connection if the line has registered over it with digest: nobody else can write on that
connection. Overload: new calls of strangers are refused (503, Retry-After) before anything is allocated for them, requests in calls never.
"""

from __future__ import annotations

import logging

import media_core
from appliance.calls.api import Cause
from appliance.calls.call import Call
from appliance.calls.history.faults import of_stack
from appliance.calls.history.quality import warning
from appliance.calls.legs.endpoint import Endpoint
from appliance.calls.legs.leg import Leg
from appliance.calls.plan.party import Party
from appliance.calls.plan.plan import Action, Refuse, Ring, Serve, plan
from appliance.calls.requests import RETRY_AFTER, Requests
from appliance.calls.switchboard import Switchboard
from appliance.config.claims import EXTENSION, SERVICE, Destination
from appliance.config.model import Extension, Line
from appliance.flows.driver import Event
from appliance.sip import events
from appliance.sip.errors import PeerError
from appliance.sip.text.message import Request
from appliance.words import Person, Said, english, printable

log = logging.getLogger(__name__)

class Arriving:
    def __init__(self, board: Switchboard[Leg, Call], requests: Requests) -> None:
        self._board = board
        self._requests = requests
        board.turn.handle = self.handle
        board.turn.fault = self._fault_of
        board.turn.settle = board.settle

    def handle(self, event: Event) -> None:
        """One event, one boundary."""
        try:
            self._handle(event)
        except Exception as error:
            self._fault(event, error)

    def _handle(self, event: Event) -> None:
        board = self._board
        match event:
            case events.Invited():
                self._invited(event)
            case events.Requested():
                self._requests.requested(event)
            case events.Elsewhere():
                self._requests.elsewhere(event)
            case events.Answered(transaction=transaction, status=status):
                leg = board.probes.pop(transaction, None)
                if leg is not None:
                    leg.probed(status)
            case events.Fault(source=source, cause=cause, ours=ours):
                if board.faults.add(said := of_stack(cause, source, ours=ours), board.unix()):
                    log.warning("%s", english().say(said, escape=printable))
            case media_core.FlowClosed(flow=flow):
                self._requests.closed(flow)
            case media_core.CoreStarted(generation=generation):
                log.info("the media core is up (generation %d), %d calls go on", generation, len(board.calls))
            case media_core.HandshakeFailed(host, port, reason, detail):
                self._requests.refused(reason, (host, port), detail=detail)
            case media_core.FlowOpened() | media_core.FlowReceived() | media_core.FlowUnreachable():
                pass  # the driver's
            case (
                media_core.MediaStarted() | media_core.MediaSilent() | media_core.MediaQuality() | media_core.SsrcChanged()
                | media_core.AuthenticationFailed() | media_core.Digit() | media_core.DigitsSent() | media_core.PlayEnded()
                | media_core.RecordEnded()
            ):  # fmt: skip
                self._media(event)
            case _:
                self._in_session(event)

    def _in_session(self, event: events.Event) -> None:
        session = getattr(event, "session", "")
        leg = self._board.sessions.get(session)
        if leg is not None:
            leg.take(event)
        elif isinstance(event, events.Accepted):  # nobody waits for it
            self._board.quietly(lambda stack, now: stack.hang_up(session, now))
        elif isinstance(event, events.InDialog):
            transaction = event.transaction
            self._board.quietly(lambda stack, now: stack.respond(transaction, 481, now))

    def _media(self, event: media_core.Event) -> None:
        leg = self._board.ports.get(getattr(event, "leg", 0))
        if leg is None:
            return
        leg.media(event)
        if noticed := warning(event, Person(leg.party.name, leg.party.number), leg.stream.terms.secure, leg.media_host):
            self._requests.noticed(noticed[0], noticed[1], leg.party.number, noticed[2])

    # ---- faults of ours
    def _fault(self, event: Event, error: Exception) -> None:
        """A bug met while `event` was handled: it costs the call that it belongs to, or what it asked for gets 500."""
        session = getattr(event, "session", "")
        leg = self._board.sessions.get(session) or self._board.ports.get(getattr(event, "leg", 0))
        if leg is not None and leg.owner is not None:
            leg.owner.failed(error)
        else:
            self._board.fault(error, Said.of("fault.event", error=type(error).__name__, event=type(event).__name__))
        match event:
            case (
                events.Requested(transaction=transaction)
                | events.InDialog(transaction=transaction)
                | events.Elsewhere(transaction=transaction)
            ):
                self._board.quietly(lambda stack, now: stack.respond(transaction, 500, now))
            case events.Invited() | events.Offered():
                self._board.quietly(lambda stack, now: stack.reject(session, 500, now))
            case events.Accepted() if leg is None:
                self._board.quietly(lambda stack, now: stack.hang_up(session, now))

    def _fault_of(self, error: BaseException, whose: object, said: Said) -> None:
        """A bug met by a timer, a slot or a command to the media core."""
        owner = whose.owner if isinstance(whose, Leg) else whose
        if isinstance(owner, Call):
            owner.failed(error)
        else:
            self._board.fault(error, said)

    # ---- new calls
    def _invited(self, event: events.Invited) -> None:
        session, request, board = event.session, event.request, self._board
        flow = board.turn.driver.flow(event.flow)
        try:
            if flow is None:
                raise PeerError(503, "Service Unavailable")
            line = self._requests.line_of(request, flow, session)
            if line is not None:
                self._admit(session, request, flow, line)
        except PeerError as error:
            self._requests.reject(session, error.status, reason=error.reason, headers=list(error.headers))
        except media_core.OutOfService:
            self._requests.reject(session, 503, headers=[RETRY_AFTER])

    def _admit(self, session: str, request: Request, flow: media_core.FlowInfo, line: Line) -> None:
        board = self._board
        extension = board.snapshot.extensions[line.extension]
        stranger = not board.turn.driver.trusts(flow.id)
        if len(board.turn.slots.calls) >= board.most_calls or (board.turn.behind and stranger):
            raise PeerError(503, "Service Unavailable", (RETRY_AFTER,))
        self._requests.check_encryption(line, extension, flow)
        board.quietly(lambda stack, now: stack.ring(session, now, status=100))
        dialled = request.uri.dialled
        action = plan(dialled, extension, board.snapshot).action
        endpoint = Endpoint(line.id, extension.encrypt, [flow], user_agent=request.user_agent[:200])
        call = self._new_call(dialled[:64], action, extension)
        try:
            self._begin(call, session, request, endpoint, extension, action)
        except (PeerError, media_core.OutOfService):
            raise
        except Exception as error:
            call.failed(error)
            self._requests.reject(session, 500)

    def _begin(
        self, call: Call, session: str, request: Request, endpoint: Endpoint, extension: Extension, action: Action
    ) -> None:
        leg = call.open_leg(Party(extension.number, extension.name), endpoint, incoming=True, side="caller")
        unusable = None
        try:
            leg.received(session, request.sdp)
        except PeerError as error:
            if error.status != 488:
                leg.refuse(Cause.INCOMPATIBLE, status=error.status)
                raise
            unusable = error
        call.begin()
        if unusable is not None:
            call.end("system", Cause.INCOMPATIBLE, status=488, warning=unusable.reason)
        elif isinstance(action, Refuse):
            call.end("system", action.cause, status=action.status, warning=action.warning)

    def _new_call(self, dialled: str, action: Action, extension: Extension) -> Call:
        board = self._board
        argument, target = "", Destination("", "")
        if isinstance(action, Ring):
            target = Destination(EXTENSION, action.extension.id)
        elif isinstance(action, Serve):
            target, argument = Destination(SERVICE, action.service), action.argument
        call = Call(board, board.tokens()[:16], target, dialled=dialled, argument=argument)
        call.selftest = extension.id in board.selftest
        call.told(action.extension if isinstance(action, Ring) else None)
        return call
