"""How much a host that has not registered may ask: a token bucket per host, and a place to wait for what nobody repeats. Pure.

Over UDP what comes too fast is dropped, for SIP repeats it. On a connection nobody repeats anything: a phone whose message was dropped
would wait half a minute for an answer. So such a message waits for its token, in the order in which it came; a whole site behind one
address thus gets in one after the other. `now` is seconds of a monotonic clock.

Bounds: SOURCES hosts remembered, LATER messages of a host that wait, ALL_LATER of all together.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from typing import Literal

RATE = 200.0  # messages a second of one unregistered host; a whole office behind one NAT registers with less
BURST = 1000.0
SOURCES = 4096
LATER = 2048
ALL_LATER = 8192
TICK = 0.05  # seconds between two looks at those that wait

Verdict = Literal["now", "later", "dropped"]


class Admission:
    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # host -> level, since
        self._later: dict[str, deque[tuple[int, bytes]]] = {}
        self._flows: Counter[int] = Counter()  # messages of a flow that wait
        self.dropped = 0

    def ask(self, host: str, flow: int, data: bytes, now: float, *, repeated: bool) -> Verdict:
        """Whether this message is looked at now; `repeated`: its sender repeats it (UDP). What is taken later comes from `due`."""
        if host not in self._later and self._token(host, now):
            return "now"
        queue = self._later.get(host)
        if repeated or (queue is not None and len(queue) >= LATER) or self._flows.total() >= ALL_LATER:
            self.dropped += 1
            return "dropped"
        self._later.setdefault(host, deque()).append((flow, data))
        self._flows[flow] += 1
        return "later"

    def waits(self, flow: int) -> bool:
        """Whether something of this flow waits: what comes after it must not go before it."""
        return flow in self._flows

    @property
    def waiting(self) -> bool:
        return bool(self._later)

    def due(self, now: float) -> Iterator[tuple[int, bytes]]:
        """What has its token now."""
        for host in list(self._later):
            queue = self._later[host]
            while queue and self._token(host, now):
                flow, data = queue.popleft()
                self._flows[flow] -= 1
                if not self._flows[flow]:
                    del self._flows[flow]
                yield flow, data
            if not queue:
                del self._later[host]

    def _token(self, host: str, now: float) -> bool:
        level, since = self._buckets.pop(host, (BURST, now))
        level = min(BURST, level + (now - since) * RATE)
        if len(self._buckets) >= SOURCES:
            self._buckets.popitem(last=False)
        granted = level >= 1
        self._buckets[host] = (level - granted, now)
        return granted
