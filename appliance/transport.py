"""The driver between the flows of the media core, the clock of the event loop and the pure SIP stack.

It keeps the stack's law: one input, drain all output, set the timer, next input. Bytes go out at once; what the stack tells
(and what the core tells of media and flows) waits in one queue for call control, which takes it in its own task. Nothing here
knows a call.

Bounds: at most TURN messages are taken from the core per turn of the loop; when WAITING events lie unconsumed the core is not
polled until they are taken (its ring then fills and it drops datagrams, which SIP repeats; connections are not read). What a host that
is not registered may ask is bounded before it is parsed (`admission.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeVar

import media_core
from appliance.flows.admission import TICK, Admission
from appliance.sip import events
from appliance.sip.abilities import PHONE, Abilities
from appliance.sip.errors import PeerError, WrongState
from appliance.sip.stack import FlowFacts, Stack

log = logging.getLogger(__name__)

TURN = 128
WAITING = 2000
UNSENT = 4096  # messages kept while the command ring is full
RETRY = 0.005
ANSWERING = 64  # flows to phones that want their answers at another port and have not registered yet

T = TypeVar("T")
Event = events.Event | media_core.Event


class Flows(Protocol):
    """What of `media_core.MediaEngine` the driver needs."""

    def fileno(self) -> int: ...
    def poll(self, limit: int = 256) -> list[media_core.Event]: ...
    def consumed(self) -> None: ...
    def send(self, flow: int, data: bytes) -> None: ...
    def shut(self, flow: int) -> None: ...
    def dial(self, transport: media_core.Transport, host: str, port: int, *, server_name: str = "") -> int: ...
    def keep(self, flow: int, kept: bool = True) -> None: ...
    def flow(self, flow: int) -> media_core.FlowInfo: ...
    def flows(self) -> list[media_core.FlowInfo]: ...


def token() -> str:
    """112 unguessable bits as an RFC 3261 token."""
    return secrets.token_hex(14)


class Transport:
    def __init__(
        self, engine: Flows, *, user_agent: str, tokens: Callable[[], str] = token, can: Abilities = PHONE
    ) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._flows: dict[int, media_core.FlowInfo] = {flow.id: flow for flow in engine.flows()}
        self._udp = {
            flow.remote: flow.id for flow in self._flows.values() if flow.transport == media_core.Transport.UDP
        }
        self._answering: dict[int, None] = {}  # flows dialled to answer a phone, oldest first
        self.stack = Stack(tokens=tokens, user_agent=user_agent, facts=self._facts, beside=self._beside, can=can)
        self._events: deque[Event] = deque()
        self._unsent: deque[events.Send] = deque()
        self._arrived = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._resend: asyncio.TimerHandle | None = None
        self._reading = False
        self._trusted: set[int] = set()
        self._sessions: dict[int, set[str]] = {}  # flow -> those on it
        self._flow_of: dict[str, int] = {}  # the same the other way round
        self._admission = Admission()
        self._later: asyncio.TimerHandle | None = None
        self._unsendable = 0
        self._read()

    # ---- what call control uses
    def run(self, command: Callable[[Stack, float], T]) -> T:
        """Give the stack one command: `run(lambda stack, now: stack.hang_up(session, now))`."""
        now = self._loop.time()
        try:
            return command(self.stack, now)
        except (WrongState, PeerError):
            raise
        except Exception as error:
            self.stack.failed(error, now)
            raise
        finally:
            self._drain()

    async def next(self) -> Event:
        """The next thing that happened, oldest first."""
        while not self._events:
            self._arrived.clear()
            await self._arrived.wait()
        event = self._events.popleft()
        if not self._reading and len(self._events) < WAITING // 2:
            self._read()
        return event

    @property
    def waiting(self) -> int:
        """Events not taken yet: how far call control is behind."""
        return len(self._events)

    @property
    def dropped(self) -> int:
        """Messages of hosts that were too fast, and those that could not be sent."""
        return self._admission.dropped + self._unsendable

    def flow(self, flow: int) -> media_core.FlowInfo | None:
        return self._flows.get(flow)

    def trust(self, flow: int, trusted: bool) -> None:
        """A registered phone's flow has no message rate limit and is not given up for a stranger's."""
        if trusted:
            self._trusted.add(flow)
        else:
            self._trusted.discard(flow)
        if flow not in self._sessions:
            self._keep_flow(flow, trusted)

    def occupy(self, flow: int, session: str) -> None:
        """A session is on this flow now: it is not given up for a stranger's either, registered or not."""
        self.vacate(session)
        self._flow_of[session] = flow
        sessions = self._sessions.setdefault(flow, set())
        if not sessions and flow not in self._trusted:
            self._keep_flow(flow, True)
        sessions.add(session)

    def vacate(self, session: str) -> None:
        """The session is over, or goes to another flow."""
        flow = self._flow_of.pop(session, None)
        if flow is None:
            return
        self._sessions[flow].discard(session)
        if not self._sessions[flow]:
            del self._sessions[flow]
            if flow not in self._trusted:
                self._keep_flow(flow, False)

    def _keep_flow(self, flow: int, kept: bool) -> None:
        with contextlib.suppress(
            media_core.StaleHandle, media_core.OutOfService
        ):  # closed already, or no room to say it: the next REGISTER says it again
            self._engine.keep(flow, kept)

    def dial_udp(self, host: str, port: int) -> media_core.FlowInfo:
        """A flow to a UDP address, which may be one that is there already. OutOfService when there is no room."""
        info = self._engine.flow(self._engine.dial(media_core.Transport.UDP, host, port))
        if not info.local[
            0
        ]:  # the core has not opened it yet; what is sent at once names the address other phones reach us at
            udp = (flow.local for flow in self._flows.values() if flow.transport == media_core.Transport.UDP)
            info = replace(info, local=next((each for each in udp if (":" in each[0]) == (":" in host)), info.local))
        self._opened(info)
        return info

    def _opened(self, info: media_core.FlowInfo) -> None:
        self._flows[info.id] = info
        if info.transport == media_core.Transport.UDP:
            self._udp[info.remote] = info.id

    def _forget(self, flow: int) -> bool:
        """False when it was forgotten before."""
        info = self._flows.pop(flow, None)
        self._answering.pop(flow, None)
        if info is not None and self._udp.get(info.remote) == flow:
            del self._udp[info.remote]
        return info is not None

    def _beside(self, flow: int, port: int) -> int:
        """The UDP flow to another port of the same host. Strangers can have ANSWERING such flows and no more."""
        remote = self._flows[flow].remote[0], port
        found = self._udp.get(remote)
        if found is None:
            try:
                found = self.dial_udp(*remote).id
            except media_core.OutOfService:
                return flow
            self._answering[found] = None
            idle = [each for each in self._answering if each not in self._trusted and each not in self._sessions]
            for each in idle[:-ANSWERING]:
                del self._answering[each]
                self.shut(each)
        return found

    def shut(self, flow: int) -> None:
        with contextlib.suppress(media_core.StaleHandle):
            self._engine.shut(flow)

    def close(self) -> None:
        """Stop reading and the timers. Flows and media stay as they are."""
        if self._reading:
            self._loop.remove_reader(self._engine.fileno())
            self._reading = False
        for handle in (self._timer, self._resend, self._later):
            if handle is not None:
                handle.cancel()
        self._timer = self._resend = self._later = None

    # ---- from the core
    def _read(self) -> None:
        self._loop.add_reader(self._engine.fileno(), self._readable)
        self._reading = True

    def _readable(self) -> None:
        try:
            for event in self._engine.poll(TURN):
                try:
                    self._take(event)
                except Exception as error:
                    self._fault(error, f"lost one {type(event).__name__}")
            self._engine.consumed()
        except Exception as error:
            self._fault(error, "held up what comes from the media core")
        self._drain()
        if len(self._events) >= WAITING and self._reading:
            self._loop.remove_reader(self._engine.fileno())
            self._reading = False

    def _take(self, event: media_core.Event) -> None:
        match event:
            case media_core.FlowReceived(flow, data):
                if self._admit(flow, data):
                    self.stack.receive(flow, data, self._loop.time())
                    self._drain()
            case media_core.FlowOpened(info):
                self._opened(info)
            case media_core.FlowClosed(flow):
                try:
                    self.stack.closed(flow, self._loop.time())
                    self._drain()
                finally:
                    self._tell(event)
                    self._forget(flow)
                    self._trusted.discard(flow)
            case media_core.FlowUnreachable(flow):
                self.stack.unreachable(flow, self._loop.time())
                self._drain()
            case _:
                self._tell(event)

    def _fault(self, error: Exception, what: str) -> None:
        """A bug of ours: whoever counts them hears of it, and the rest of the batch is read."""
        log.error("the driver %s", what, exc_info=error)
        self._tell(events.Fault("", "", f"{type(error).__name__}: {what}", ours=True))

    def _admit(self, flow: int, data: bytes) -> bool:
        """Whether this message goes to the stack at once; it may come again from `_late`."""
        if flow in self._trusted and not self._admission.waits(flow):
            return True
        info = self._flows.get(flow)
        if info is None:
            return False
        repeated = info.transport == media_core.Transport.UDP
        verdict = self._admission.ask(info.remote[0], flow, data, self._loop.time(), repeated=repeated)
        if verdict == "later" and self._later is None:
            self._later = self._loop.call_later(TICK, self._late)
        return verdict == "now"

    def _late(self) -> None:
        """Messages that had to wait have their turn."""
        self._later = None
        for flow, data in self._admission.due(self._loop.time()):
            try:
                self.stack.receive(flow, data, self._loop.time())
            except Exception as error:
                self._fault(error, "lost one message that had waited")
            self._drain()
        if self._admission.waiting:
            self._later = self._loop.call_later(TICK, self._late)

    # ---- to and from the stack
    def _facts(self, flow: int) -> FlowFacts | None:
        info = self._flows.get(flow)
        if info is None:
            return None
        proven = flow in self._trusted or info.transport != media_core.Transport.UDP
        return FlowFacts(info.transport.name, info.local, info.remote, proven)

    def _drain(self) -> None:
        while (output := self.stack.next_output()) is not None:
            try:
                if isinstance(output, events.Send):
                    self._send(output)
                else:
                    self._tell(output)
            except Exception as error:
                self._fault(error, "lost one message or event")
        self._set_timer(self.stack.deadline())

    def _tell(self, event: Event) -> None:
        self._events.append(event)
        self._arrived.set()

    def _send(self, output: events.Send) -> None:
        if self._unsent:  # keep the order
            self._keep(output)
            return
        try:
            self._engine.send(output.flow, output.data)
        except media_core.StaleHandle:
            self._stale(output.flow)
        except media_core.OutOfService:
            self._keep(output)

    def _keep(self, output: events.Send) -> None:
        if len(self._unsent) >= UNSENT:
            self._unsendable += 1
            return
        self._unsent.append(output)
        if self._resend is None or self._resend.when() < self._loop.time():
            self._resend = self._loop.call_later(RETRY, self._send_again)

    def _send_again(self) -> None:
        self._resend = None
        waiting, self._unsent = self._unsent, deque()
        for output in waiting:
            try:
                self._send(output)
            except Exception as error:
                self._fault(error, "lost one message that waited")

    def _stale(self, flow: int) -> None:
        """The core has closed it; its FlowClosed is on the way. The stack must not wait for an answer on it."""
        if self._forget(flow):
            self._loop.call_soon(self._lost, flow)

    def _lost(self, flow: int) -> None:
        self.stack.closed(flow, self._loop.time())
        self._drain()

    def _set_timer(self, deadline: float | None) -> None:
        if self._timer is not None:
            if self._timer.when() == deadline and deadline > self._loop.time():
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._wake)

    def _wake(self) -> None:
        self._timer = None
        try:
            self.stack.wake(self._loop.time())
        except Exception as error:
            self._fault(error, "held up the timers")
        self._drain()
