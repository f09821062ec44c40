"""Faults that have cost something: counted, the last ones kept. Pure: time is an argument.

A fault of ours is a bug; a fault of a phone is an answer that no call can be made of. Neither costs more than the call it belongs to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from appliance.words import Said

KEPT = 100
COALESCE = 600.0  # seconds in which the same sentence is one entry with a count


@dataclass(frozen=True, slots=True)
class Fault:
    time: float  # unix, of the last one
    message: Said
    count: int = 1


class Faults:
    """The last ones, newest last; `total` is all there ever were."""

    def __init__(self) -> None:
        self._faults: deque[Fault] = deque(maxlen=KEPT)
        self.total = 0

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._faults)

    def __len__(self) -> int:
        return len(self._faults)

    def add(self, message: Said, now: float) -> bool:
        """True when it is a new one and worth a line in the log."""
        self.total += 1
        for old in reversed(self._faults):
            if old.message == message and now - old.time <= COALESCE:
                self._faults.remove(old)
                self._faults.append(replace(old, time=now, count=old.count + 1))
                return False
        self._faults.append(Fault(now, message))
        return True


def of_stack(cause: str, source: str, *, ours: bool) -> Said:
    """What the SIP stack could not work on."""
    if ours:
        error = cause.partition(":")[0]
        return Said.of("fault.stack", error=error, source=source or Said.of("fault.a-phone"))
    return Said.of("fault.phone", cause=cause, source=source or Said.of("fault.unknown-address"))
