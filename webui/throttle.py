"""Slows down guessing. Pure: time is an argument.

Each name (an address, an account, the setup code) may fail `FREE` times; every further failure doubles the wait, up to `longest`.
Success forgets the name, silence of `FORGET` seconds does too. At most `BOUND` names are remembered; the oldest goes first, so that an
attacker with many addresses cannot fill the memory. The answer never tells which name was the one that failed too often.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

FREE = 5
FORGET = 3600.0
BOUND = 10_000


@dataclass(slots=True)
class _Failures:
    count: int
    last: float


class Throttle:
    """Failures by name. Used from several threads."""

    def __init__(self, *, first: float = 2.0, longest: float = 300.0) -> None:
        self._first, self._longest = first, longest
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._lock = Lock()

    def wait(self, now: float, *names: str) -> float:
        """Seconds until the next attempt is looked at; 0.0 means now."""
        with self._lock:
            return max((self._wait(now, name) for name in names), default=0.0)

    def _wait(self, now: float, name: str) -> float:
        known = self._failures.get(name)
        if known is None or known.count < FREE or now - known.last > FORGET:
            return 0.0
        pause = min(self._first * 2.0 ** min(known.count - FREE, 20), self._longest)
        return max(0.0, known.last + pause - now)

    def failed(self, now: float, *names: str) -> None:
        with self._lock:
            for name in names:
                known = self._failures.pop(name, None)
                count = known.count if known and now - known.last <= FORGET else 0
                self._failures[name] = _Failures(count + 1, now)
            while len(self._failures) > BOUND:
                self._failures.popitem(last=False)

    def succeeded(self, *names: str) -> None:
        with self._lock:
            for name in names:
                self._failures.pop(name, None)


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
