"""Who tries what: back-off for wrong passwords and a short memory of security events. Pure: time is an argument.

Back-off counts per source host and per account. It delays, it never locks: at most DELAY_MAX seconds, and a source that has given
this account's right password lately is held back neither by strangers guessing at the account (a lock by account alone would let
anybody silence a phone) nor by another phone behind the same address that has a wrong one. It loses that by guessing itself. Unknown accounts are counted like known ones, so the answers do not tell which exist. All tables are
bounded; the oldest entry goes first.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

FREE = 8  # wrong passwords before the first delay: a phone with a mistyped password tries a few times
DELAY_FIRST = 2.0
DELAY_MAX = 60.0
FORGET = 900.0
ENTRIES = 10_000
EVENTS = 500
COALESCE = 300.0  # seconds in which the same event of the same source is one entry with a count


@dataclass(slots=True)
class _Failures:
    count: int = 0
    until: float = 0.0
    last: float = 0.0


class Throttle:
    def __init__(self) -> None:
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()
        self._good: OrderedDict[tuple[str, str], float] = OrderedDict()

    def delay(self, source: str, account: str, now: float) -> float:
        """Seconds until credentials of this account from this source are looked at again; 0.0: now."""
        if now - self._good.get((source, account), -FORGET) < FORGET:
            return 0.0
        return max(self._wait(("source", source), now), self._wait(("account", account), now))

    def failed(self, source: str, account: str, now: float) -> None:
        for key in (("source", source), ("account", account)):
            failures = self._failures.pop(key, None) or _Failures()
            if now - failures.last > FORGET:
                failures.count = 0
            failures.count += 1
            failures.last = now
            if failures.count > FREE:
                self._good.pop((source, account), None)
                failures.until = now + min(DELAY_MAX, DELAY_FIRST * 2.0 ** min(10, failures.count - FREE - 1))
            self._failures[key] = failures
            if len(self._failures) > ENTRIES:
                self._failures.popitem(last=False)

    def succeeded(self, source: str, account: str, now: float) -> None:
        self._good.pop((source, account), None)
        self._good[(source, account)] = now
        if len(self._good) > ENTRIES:
            self._good.popitem(last=False)

    def _wait(self, key: tuple[str, str], now: float) -> float:
        failures = self._failures.get(key)
        return max(0.0, failures.until - now) if failures is not None else 0.0


@dataclass(frozen=True, slots=True)
class SecurityEvent:
    time: float  # unix, of the last occurrence
    kind: str  # forged media, mixed media
    source: str  # host
    account: str
    message: str  # one sentence
    count: int = 1


class SecurityLog:
    """The last events, newest last; repetitions are counted, not repeated."""

    def __init__(self) -> None:
        self._events: deque[SecurityEvent] = deque(maxlen=EVENTS)

    def __iter__(self) -> Iterator[SecurityEvent]:
        return iter(self._events)

    def add(self, event: SecurityEvent) -> bool:
        """True when it is a new one and worth a line in the log."""
        for old in reversed(self._events):
            if event.time - old.time > COALESCE:
                break
            if (old.kind, old.source, old.account) == (event.kind, event.source, event.account):
                self._events.remove(old)
                self._events.append(replace(event, count=old.count + 1))
                return False
        self._events.append(event)
        return True
