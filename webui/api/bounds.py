"""How fast one may ask: a purse of requests for each key, and one for each address. Pure: seconds on a monotonic clock are an argument."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import NamedTuple


class Allowance(NamedTuple):
    burst: float  # requests in a full purse
    rate: float  # that come back in a second


PER_KEY = Allowance(120, 20)
PER_ADDRESS = Allowance(360, 60)  # several programs of one machine, or several machines behind one address
UNPROVED = Allowance(20, 0.5)  # requests of an address whose key is none
REMEMBERED = 10_000  # purses; the one unused the longest goes first


class Purses:
    """Used from several threads."""

    def __init__(self, allowance: Allowance, remembered: int = REMEMBERED) -> None:
        self._allowance, self._remembered = allowance, remembered
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name -> requests left, when counted
        self._lock = Lock()

    def take(self, name: str, now: float) -> float:
        """Take one request; 0.0, or the seconds until there is one, when nothing is taken."""
        burst, rate = self._allowance
        with self._lock:
            left, counted = self._left.pop(name, (burst, now))
            left = min(burst, left + max(0.0, now - counted) * rate)
            wait = 0.0 if left >= 1.0 else (1.0 - left) / rate
            self._left[name] = (left if wait else left - 1.0, now)
            while len(self._left) > self._remembered:
                self._left.popitem(last=False)
        return wait
