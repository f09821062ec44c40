"""Slows down guessing, and nothing else. Pure: time is an argument, seconds on a monotonic clock.

What is counted is who guesses what: failures of one account from one source, and, with a longer patience, of a source whatever the account, so
that one that tries a password on everybody is slowed too. Never an account by itself: a stranger's wrong passwords would lock its owner out. Each
count may fail as often as `FREE` says; every further failure doubles the wait, up to `longest`. Silence of `FORGET` seconds forgets. At most `BOUND` are remembered; the oldest goes first, so that an attacker with many addresses cannot fill the memory.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

from webui.serving.limits import source_name

FREE = {
    "account": 5,  # one account or the setup code, from one source
    "source": 50,  # any account, from one source
    "device": 20,  # its own user, from a browser that has logged in before
}
FORGET = 3600.0
BOUND = 10_000


class Count(NamedTuple):
    kind: str  # in FREE
    name: str


def counts(address: str | None, account: str, device: str = "") -> tuple[Count, ...]:
    """What a guess at an account counts as. device: number of a browser that has logged in as this account before; it stands for itself."""
    source = source_name(address)
    if device:
        return (Count("device", device),)
    return Count("source", source), Count("account", f"{account.casefold()} from {source}")


@dataclass(slots=True)
class _Failures:
    count: int
    last: float


class Throttle:
    """Failures by count. Used from several threads."""

    def __init__(self, *, first: float = 2.0, longest: float = 300.0) -> None:
        self._first, self._longest = first, longest
        self._failures: OrderedDict[Count, _Failures] = OrderedDict()
        self._lock = Lock()

    def wait(self, now: float, *names: Count) -> float:
        """Seconds until the next attempt is looked at; 0.0 means now."""
        with self._lock:
            return max((self._wait(now, name) for name in names), default=0.0)

    def _wait(self, now: float, name: Count) -> float:
        known, free = self._failures.get(name), FREE[name.kind]
        if known is None or known.count < free or now - known.last > FORGET:
            return 0.0
        pause = min(self._first * 2.0 ** min(known.count - free, 20), self._longest)
        return max(0.0, known.last + pause - now)

    def failed(self, now: float, *names: Count) -> None:
        with self._lock:
            for name in names:
                known = self._failures.pop(name, None)
                count = known.count if known and now - known.last <= FORGET else 0
                self._failures[name] = _Failures(count + 1, now)
            while len(self._failures) > BOUND:
                self._failures.popitem(last=False)

    def succeeded(self, *names: Count) -> None:
        """What was counted as a failure before it was looked at was none. A source stays what it was: it may be guessing at somebody else."""
        with self._lock:
            for name in names:
                known = self._failures.pop(name, None)
                if known and name.kind == "source" and known.count > 1:
                    self._failures[name] = _Failures(known.count - 1, known.last)
