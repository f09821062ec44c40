"""Who guesses at passwords, and a short memory of packets that are not genuine. Pure: time is an argument.

Guessing is slowed, nobody is locked out. Wrong answers count for source host and account together, and only those to a nonce that
was given to that source, so that nobody can guess in another's name. After FREE of them each port of the host that guesses is held
for this account: nothing is looked at for some seconds, and then only the answer to a question asked after that. A port that has
given no wrong answer is never held, whatever its neighbours do: behind one address there may be a whole office. SIP passwords are
made by us and too long to be guessed at any rate; what is held off here is the load and the noise of trying.

All tables are bounded; the oldest entry goes first, and what is forgotten is forgiven: a flood can free a guesser, never hold an owner.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from appliance.words import Said

FREE = 8  # wrong answers before the first delay: a phone with a mistyped password tries a few times
DELAY_FIRST = 2.0
DELAY_MAX = 60.0
FORGET = 900.0
ENTRIES = 10_000
EVENTS = 500
COALESCE = 300.0  # seconds in which the same event of the same source is one entry with a count

Address = tuple[str, int]  # host and port


class Throttle:
    def __init__(self) -> None:
        self._wrong: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()  # host, account -> count, last
        self._held: OrderedDict[tuple[Address, str], float] = OrderedDict()  # -> when it is looked at again

    def held_until(self, address: Address, account: str) -> float:
        """Questions asked before this moment are not for this account any more. It may be long past; 0.0: never held."""
        return self._held.get((address, account), 0.0)

    def wrong(self, addresses: set[Address], account: str, now: float) -> float:
        """A wrong answer, from one address (or asked for at another one of the same host): seconds they are held now."""
        (host,) = {host for host, _ in addresses}
        count, last = self._wrong.pop((host, account), (0, now))
        count = count + 1 if now - last <= FORGET else 1
        self._wrong[host, account] = (count, now)
        self._bound(self._wrong)
        if count <= FREE:
            return 0.0
        delay = min(DELAY_MAX, DELAY_FIRST * 2.0 ** min(10, count - FREE - 1))
        for address in addresses:
            self._held.pop((address, account), None)
            self._held[address, account] = now + delay
        self._bound(self._held)
        return delay

    def right(self, address: Address, account: str) -> None:
        self._held.pop((address, account), None)

    @staticmethod
    def _bound(table: OrderedDict[Any, Any]) -> None:
        while len(table) > ENTRIES:
            table.popitem(last=False)


@dataclass(frozen=True, slots=True)
class SecurityEvent:
    time: float  # unix, of the last occurrence
    kind: str  # forged media, mixed media
    source: str  # host
    account: str
    message: Said
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
