"""The driver between the flows of the media core and the pure SIP stack. No clock and no loop: whoever turns it says what time it is.

It keeps the stack's law: one input, drain all output, next input. What the stack wants sent waits in `outbox` until the turn has been
committed (calls/turn.py) and leaves then; what the stack tells, and what the core tells of media and flows, waits in `events` for call
control, oldest first.

Bounds: what a host that is not registered may ask is bounded before it is parsed (`admission.py`); while the core takes no messages at most
UNSENT of them are kept.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol, TypeVar

import media_core
from appliance.flows.admission import TICK, Admission
from appliance.sip import events
from appliance.sip.abilities import PHONE, Abilities
from appliance.sip.errors import PeerError, WrongState
from appliance.sip.stack import FlowFacts, Stack

log = logging.getLogger(__name__)

UNSENT = 4096  # messages kept while the core takes none
ANSWERING = 64  # flows to phones that want their answers at another port and have not registered yet

T = TypeVar("T")
Event = events.Event | media_core.Event


class Flows(Protocol):
    """What of `media_core.MediaEngine` the driver needs."""

    def send(self, flow: int, data: bytes) -> None: ...
    def shut(self, flow: int) -> None: ...
    def dial(self, transport: media_core.Transport, host: str, port: int, *, server_name: str = "") -> int: ...
    def keep(self, flow: int, kept: bool = True) -> None: ...
    def flow(self, flow: int) -> media_core.FlowInfo: ...
    def flows(self) -> list[media_core.FlowInfo]: ...


_drawn: Iterator[str] = iter(())  # tokens that have been drawn and not given out


def token() -> str:
    """112 unguessable bits as an RFC 3261 token. They are drawn from the system a few hundred at a time: a call takes a dozen."""
    global _drawn
    found = next(_drawn, None)
    if found is None:
        drawn = secrets.token_bytes(14 * 256).hex()
        _drawn = iter([drawn[at : at + 28] for at in range(0, len(drawn), 28)])
        found = next(_drawn)
    return found


class Driver:
    def __init__(
        self, engine: Flows, *, user_agent: str, tokens: Callable[[], str] = token, can: Abilities = PHONE
    ) -> None:
        self._engine = engine
        self._flows: dict[int, media_core.FlowInfo] = {flow.id: flow for flow in engine.flows()}
        self._udp = {
            flow.remote: flow.id for flow in self._flows.values() if flow.transport == media_core.Transport.UDP
        }
        self._answering: dict[int, None] = {}  # flows dialled to answer a phone, oldest first
        self.stack = Stack(tokens=tokens, user_agent=user_agent, facts=self._facts, beside=self._beside, can=can)
        self.events: deque[Event] = deque()
        self.outbox: deque[tuple[int, bytes]] = deque()
        self._shut: list[int] = []  # flows to be closed when the outbox has left
        self._stale: list[int] = []  # flows that the core has closed: their FlowClosed is on the way
        self._trusted: set[int] = set()
        self._sessions: dict[int, set[str]] = {}  # flow -> those on it
        self._flow_of: dict[str, int] = {}  # the same the other way round
        self._admission = Admission()
        self._unsendable = 0
        self._later = 0.0  # when messages that had to wait have their turn; 0.0: none wait

    # ---- commands
    def run(self, command: Callable[[Stack, float], T], now: float) -> T:
        """Give the stack one command: `run(lambda stack, now: stack.hang_up(session, now), now)`."""
        try:
            return command(self.stack, now)
        except (WrongState, PeerError):
            raise
        except Exception as error:
            self.stack.failed(error, now)
            raise
        finally:
            self._drain()

    @property
    def dropped(self) -> int:
        """Messages of hosts that were too fast, and those that could not be sent."""
        return self._admission.dropped + self._unsendable

    def flow(self, flow: int) -> media_core.FlowInfo | None:
        return self._flows.get(flow)

    def trusts(self, flow: int) -> bool:
        return flow in self._trusted

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
                self._shut.append(each)
        return found

    # ---- inputs
    def take(self, event: media_core.Event, now: float) -> None:
        """One event of the core: the stack's, or call control's. A fault of ours costs this event and is told."""
        try:
            self._take(event, now)
        except Exception as error:
            self._fault(error, f"lost one {type(event).__name__}")

    def _take(self, event: media_core.Event, now: float) -> None:
        match event:
            case media_core.FlowReceived(flow, data):
                if self._admit(flow, data, now):
                    self.stack.receive(flow, data, now)
                    self._drain()
            case media_core.FlowOpened(info):
                self._opened(info)
            case media_core.FlowClosed(flow):
                try:
                    self.stack.closed(flow, now)
                    self._drain()
                finally:
                    self.events.append(event)
                    self._forget(flow)
                    self._trusted.discard(flow)
            case media_core.FlowUnreachable(flow):
                self.stack.unreachable(flow, now)
                self._drain()
            case _:
                self.events.append(event)

    def _admit(self, flow: int, data: bytes, now: float) -> bool:
        """Whether this message goes to the stack at once; it may come again from `wake`."""
        if flow in self._trusted and not self._admission.waits(flow):
            return True
        info = self._flows.get(flow)
        if info is None:
            return False
        repeated = info.transport == media_core.Transport.UDP
        verdict = self._admission.ask(info.remote[0], flow, data, now, repeated=repeated)
        if verdict == "later" and not self._later:
            self._later = now + TICK
        return verdict == "now"

    def deadline(self) -> float | None:
        """When `wake` has something to do."""
        stack = self.stack.deadline()
        if self._stale:
            return 0.0
        if not self._later:
            return stack
        return self._later if stack is None else min(stack, self._later)

    def wake(self, now: float) -> None:
        """Timers of the stack, flows found closed, and messages that had to wait."""
        stale, self._stale = self._stale, []
        for flow in stale:
            self.stack.closed(flow, now)
            self._drain()
        if self._later and self._later <= now:
            self._late(now)
        try:
            self.stack.wake(now)
        except Exception as error:
            self._fault(error, "held up the timers")
        self._drain()

    def _late(self, now: float) -> None:
        for flow, data in self._admission.due(now):
            try:
                self.stack.receive(flow, data, now)
            except Exception as error:
                self._fault(error, "lost one message that had waited")
            self._drain()
        self._later = now + TICK if self._admission.waiting else 0.0

    # ---- outputs
    def _facts(self, flow: int) -> FlowFacts | None:
        info = self._flows.get(flow)
        if info is None:
            return None
        proven = flow in self._trusted or info.transport != media_core.Transport.UDP
        return FlowFacts(info.transport.name, info.local, info.remote, proven)

    def _drain(self) -> None:
        while (output := self.stack.next_output()) is not None:
            if not isinstance(output, events.Send):
                self.events.append(output)
            elif len(self.outbox) < UNSENT:
                self.outbox.append((output.flow, output.data))
            else:
                self._unsendable += 1

    def leave(self) -> bool:
        """Send what waits. False: the core takes no more now; what is left waits."""
        while self.outbox:
            flow, data = self.outbox[0]
            try:
                self._engine.send(flow, data)
            except media_core.StaleHandle:  # the stack must not wait for an answer on it
                if self._forget(flow):
                    self._stale.append(flow)
            except media_core.OutOfService:
                return False
            except Exception as error:
                self._fault(error, "lost one message")
            self.outbox.popleft()
        for flow in self._shut:
            with contextlib.suppress(media_core.StaleHandle, media_core.OutOfService):
                self._engine.shut(flow)
        self._shut.clear()
        return True

    def _fault(self, error: Exception, what: str) -> None:
        """A bug of ours: whoever counts them hears of it, and the rest of the batch is read."""
        log.error("the driver %s", what, exc_info=error)
        self.events.append(events.Fault("", "", f"{type(error).__name__}: {what}", ours=True))
