"""What a client may take from the pages before it has shown who it is. Pure: times are arguments, seconds on a monotonic clock.

A `Source` is an address (IPv6: a /64). It has a purse of tokens for each kind of thing that costs us work, and so has each of its connections (`Visit`); a connection
pays from its own purse first, so that a new visitor gets his first page also while a neighbour behind the same address empties the shared one.
Who has logged in has *proved* himself: his connection has a larger purse and is never the one that makes room.

Nobody is turned away because others came first: a connection too many closes the oldest unproved one of its source, or of the source that has
the most; a request too many closes the connection that has the most of them open. Only what comes faster than the purse allows is refused.
"""

from __future__ import annotations

import ipaddress
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)
CONNECTIONS = 400  # in all
PER_SOURCE = 64
OPEN_REQUESTS = 256  # of strangers, in all: received or not, until they are answered
OPEN_PER_SOURCE = 48
FORGET = 120.0  # seconds until a source that takes nothing is forgotten
SOURCES = 10_000  # remembered; the one unused the longest goes first
OF_SOURCE = OF_PROVED = 10  # times the purse of a connection


@dataclass(frozen=True, slots=True)
class Allowance:
    """burst: tokens in a full purse. rate: tokens that come back in a second."""

    burst: float
    rate: float


# What a connection may do without anybody else's leave. A page is some 15 requests; browsers send a handful of the other frames for it.
KINDS: dict[str, Allowance] = {
    "connection": Allowance(10, 2),  # accepted and shaken hands with; the source's purse alone counts
    "request": Allowance(40, 4),  # HTTP/2: HEADERS frames
    "reset": Allowance(10, 1),  # HTTP/2: RST_STREAM (CVE-2023-44487)
    "continuation": Allowance(8, 1),  # HTTP/2: CONTINUATION (CVE-2024-27316)
    "control": Allowance(40, 4),  # HTTP/2: SETTINGS, PING, PRIORITY, PUSH_PROMISE, GOAWAY and what has no name
    "window": Allowance(400, 400),  # HTTP/2: WINDOW_UPDATE
    "crumb": Allowance(100, 20),  # HTTP/2: DATA frames of less than CRUMB octets
    "datagram": Allowance(400, 200),  # HTTP/3
}
CRUMB = 256

# RFC 9113 section 6
FRAMES = {0x1: "request", 0x3: "reset", 0x8: "window", 0x9: "continuation"}
DATA = 0x0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Purse:
    """Tokens of each kind that come back with time."""

    __slots__ = ("_left", "_scale")

    def __init__(self, scale: float = 1) -> None:
        self._scale = scale
        self._left: dict[str, tuple[float, float]] = {}  # kind -> tokens, when counted

    def take(self, kind: str, now: float) -> bool:
        allowed = KINDS[kind]
        burst = allowed.burst * self._scale
        left, counted = self._left.get(kind, (burst, now))
        left = min(burst, left + (now - counted) * allowed.rate * self._scale)
        enough = left >= 1.0
        self._left[kind] = (left - 1.0 if enough else left, now)
        return enough


class Visit:
    """One connection, or one request where connections are not seen (HTTP/3). `cut` closes it at once."""

    def __init__(self, source: Source, cut: Callable[[], None]) -> None:
        self.source, self.cut = source, cut
        self.proved = False
        self.requests = 0  # open ones, of a stranger
        self._purse = Purse()

    def take(self, kind: str, now: float) -> bool:
        return self._purse.take(kind, now) or (not self.proved and self.source.purse.take(kind, now))

    def prove(self) -> None:
        if not self.proved:
            self.proved = True
            self._purse = Purse(OF_PROVED)


class Source:
    """An address and what it has open."""

    def __init__(self) -> None:
        self.purse = Purse(OF_SOURCE)
        self.visits: dict[Visit, None] = {}  # the oldest first
        self.requests = 0  # of strangers
        self.used = 0.0
        self._reported = False

    def report(self, what: str) -> None:
        """Said once while the source is remembered: whoever floods must not flood the log."""
        if not self._reported:
            self._reported = True
            log.warning("closed a connection: %s", what)

    def spare(self, asking: Visit) -> bool:
        """Close the connection with the most open requests; False when that is the one that asks for another."""
        greedy = max(self.visits, key=lambda visit: visit.requests, default=asking)
        if greedy is asking or greedy.requests <= asking.requests:
            return False
        del self.visits[greedy]
        greedy.cut()
        return True

    def make_room(self) -> bool:
        """Close the oldest connection that is not proved; False when there is none."""
        oldest = next((visit for visit in self.visits if not visit.proved), None)
        if oldest is None:
            return False
        del self.visits[oldest]
        oldest.cut()
        return True


class Gate:
    """Who is here. One for all ports of the process; used from the event loop only."""

    def __init__(self) -> None:
        self._sources: OrderedDict[str, Source] = OrderedDict()
        self.connections = 0
        self.requests = 0  # of strangers

    def source(self, address: str | None, now: float) -> Source:
        name = source_name(address)
        found = self._sources.get(name)
        if found is None:
            self._forget(now)
            found = self._sources[name] = Source()
        self._sources.move_to_end(name)
        found.used = now
        return found

    def _forget(self, now: float) -> None:
        """Amortised: each new source looks at the two that were unused the longest."""
        for _ in range(2):
            name, oldest = next(iter(self._sources.items()), ("", None))
            if oldest is None:
                return
            idle = not oldest.visits and not oldest.requests
            if idle and (now - oldest.used > FORGET or len(self._sources) >= SOURCES):
                del self._sources[name]
            elif not idle:
                self._sources.move_to_end(name)

    def enter(self, address: str | None, now: float, cut: Callable[[], None]) -> Visit | None:
        """A new connection; None when its source opens them too fast, or all that are open have logged in. `leave` follows in any case."""
        source = self.source(address, now)
        if not source.purse.take("connection", now):
            return None
        if len(source.visits) >= PER_SOURCE and not source.make_room():
            return None
        if self.connections >= CONNECTIONS and not any(
            one.make_room() for one in sorted(self._sources.values(), key=lambda one: -len(one.visits))
        ):
            return None
        visit = Visit(source, cut)
        source.visits[visit] = None
        self.connections += 1
        return visit

    def leave(self, visit: Visit) -> None:
        visit.source.visits.pop(visit, None)
        self.connections -= 1

    def guest(self, address: str | None, now: float) -> Visit:
        """For a request whose connection is not counted."""
        return Visit(self.source(address, now), lambda: None)

    def begin(self, visit: Visit, now: float, counted: bool) -> bool:
        """A stranger's request has come; `end` follows when it was let in. counted: its frame has been paid for (`Frames`)."""
        source = visit.source
        if not counted and not visit.take("request", now):
            return False
        if source.requests >= OPEN_PER_SOURCE and not source.spare(visit):
            return False
        if self.requests >= OPEN_REQUESTS:
            busiest = max(self._sources.values(), key=lambda one: one.requests)
            if not busiest.spare(visit):
                return False
        visit.requests += 1
        source.requests += 1
        self.requests += 1
        return True

    def end(self, visit: Visit) -> None:
        visit.requests -= 1
        visit.source.requests -= 1
        self.requests -= 1


class Frames:
    """Counts the frames of one HTTP/2 connection before anything is spent on them: the library behind it spends up to a millisecond on
    each, and applications never see those that open no stream. Octets in, the kind of the first frame too many out."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._skip = len(PREFACE)  # octets until the next frame's header
        self._head = b""

    def excess(self, data: bytes, now: float) -> str:
        """ "" while nothing is too many."""
        place, end = 0, len(data)
        while place < end:
            if self._skip:
                step = min(self._skip, end - place)
                self._skip -= step
                place += step
                continue
            step = min(9 - len(self._head), end - place)
            self._head += data[place : place + step]
            place += step
            if len(self._head) < 9:
                break
            length, frame = int.from_bytes(self._head[:3]), self._head[3]
            self._head, self._skip = b"", length
            if frame == DATA and length >= CRUMB:
                continue
            kind = "crumb" if frame == DATA else FRAMES.get(frame, "control")
            if not self._visit.take(kind, now):
                return kind
        return ""


def source_name(address: str | None) -> str:
    """The name an address is counted under: IPv6 by its /64, because one host has as many of those addresses as it likes."""
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return "source unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return f"source {parsed.ipv4_mapped}"
        return f"source {ipaddress.ip_network((parsed, 64), strict=False)}"
    return f"source {parsed}"
