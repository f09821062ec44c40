"""Two SIP stacks joined by a simulated network in virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import replace
from itertools import count

from appliance.sip.abilities import Abilities
from appliance.sip.events import Event, Output, Send
from appliance.sip.stack import FlowFacts, Stack

SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
DELAY = 0.01
METHODS = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER", "INFO", "UPDATE", "PRACK", "REFER", "MESSAGE")
ABLE = Abilities(methods=METHODS, extensions=("timer",), registration=("outbound",), bodies=("application/sdp",))

RELIABLE = replace(ABLE, extensions=("timer", "100rel"))


class Net:
    """Flow 1 of `a` is flow 1 of `b`, and what both can is `can`. `lose(number, data)` decides which message on the wire is lost."""

    can = ABLE

    def __init__(self, transport: str = "UDP", lose: Callable[[int, bytes], bool] = lambda number, data: False) -> None:
        self.now = 100.0
        self.transport = transport
        self.lose = lose
        self.wire: list[tuple[float, int, str, int, bytes]] = []
        self.sent: list[tuple[str, bytes]] = []
        self.order = count()
        self.dead: set[int] = set()
        self.stacks: dict[str, Stack] = {}
        self.events: dict[str, list[Event]] = {"a": [], "b": []}
        for name in "ab":
            self.stacks[name] = self.stack(name, 0)

    @property
    def a(self) -> Stack:
        return self.stacks["a"]

    @property
    def b(self) -> Stack:
        return self.stacks["b"]

    def stack(self, name: str, first: int) -> Stack:
        tokens = count(first)
        return Stack(
            tokens=lambda: f"{name}{next(tokens):06d}",
            user_agent=f"test {name}",
            facts=lambda flow: self.facts(name, flow),
            can=self.can,
        )

    def facts(self, name: str, flow: int) -> FlowFacts | None:
        if flow in self.dead:
            return None
        ends = {"a": ("192.0.2.1", 5060), "b": ("192.0.2.2", 5060)}
        return FlowFacts(self.transport, ends[name], ends["b" if name == "a" else "a"])

    def do(self, name: str, command: Callable[[Stack, float], object]) -> object:
        """One input of this side, worked off."""
        result = command(self.stacks[name], self.now)
        self.drain(name)
        return result

    def drain(self, name: str) -> None:
        while (output := self.stacks[name].next_output()) is not None:
            self.out(name, output)

    def out(self, name: str, output: Output) -> None:
        if not isinstance(output, Send):
            self.events[name].append(output)
            return
        number = len(self.sent)
        self.sent.append((name, output.data))
        if not self.lose(number, output.data):
            other = "b" if name == "a" else "a"
            heapq.heappush(self.wire, (self.now + DELAY, next(self.order), other, output.flow, output.data))

    def step(self, until: float) -> bool:
        """The next thing that happens up to `until`; False when there is none."""
        times = [(stack.deadline(), name) for name, stack in self.stacks.items()]
        due = min(((when, name) for when, name in times if when is not None), default=None)
        if self.wire and (due is None or self.wire[0][0] <= due[0]):
            when, _, name, flow, data = self.wire[0]
            if when > until:
                return False
            heapq.heappop(self.wire)
            self.now = max(self.now, when)
            self.do(name, lambda stack, now: stack.receive(flow, data, now))
            return True
        if due is None or due[0] > until:
            return False
        self.now = max(self.now, due[0])
        self.do(due[1], lambda stack, now: stack.wake(now))
        return True

    def run(self, seconds: float = 1.0) -> None:
        until = self.now + seconds
        while self.step(until):
            pass
        self.now = until

    def take(self, name: str) -> list[Event]:
        found, self.events[name] = self.events[name], []
        return found

    def assert_empty(self) -> None:
        """No transaction, dialog, session or timer is left."""
        for stack in self.stacks.values():
            counters = stack.counters()
            assert {name: counters[name] for name in ("sessions", "dialogs", "transactions", "timers")} == {
                "sessions": 0,
                "dialogs": 0,
                "transactions": 0,
                "timers": 0,
            }
            assert stack.next_output() is None
