"""Named one-shot timers on given time. Setting one again moves it; a stale heap entry is skipped when it comes up."""

from __future__ import annotations

import heapq
from collections.abc import Hashable


class Timers:
    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Hashable, str]] = []
        self._live: dict[tuple[Hashable, str], int] = {}
        self._count = 0

    def set(self, owner: Hashable, name: str, when: float) -> None:
        self._count += 1
        self._live[owner, name] = self._count
        heapq.heappush(self._heap, (when, self._count, owner, name))

    def clear(self, owner: Hashable, *names: str) -> None:
        for name in names:
            self._live.pop((owner, name), None)

    def deadline(self) -> float | None:
        while self._heap:
            when, count, owner, name = self._heap[0]
            if self._live.get((owner, name)) == count:
                return when
            heapq.heappop(self._heap)
        return None

    def due(self, now: float) -> tuple[Hashable, str] | None:
        """Take the next timer that has run out at `now`."""
        when = self.deadline()
        if when is None or when > now:
            return None
        _, _, owner, name = heapq.heappop(self._heap)
        del self._live[owner, name]
        return owner, name

    def __len__(self) -> int:
        return len(self._live)
