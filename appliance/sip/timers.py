"""Named one-shot timers on given time. Setting one again moves it; one that is cleared holds nothing from that moment on, and dead
places in the heap are swept out when they are the greater part of it."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from dataclasses import dataclass

SWEEP = 64  # a heap smaller than this is not worth it


@dataclass(slots=True)
class _Entry:
    owner: Hashable
    name: str


class Timers:
    def __init__(self) -> None:
        self._heap: list[tuple[float, int, _Entry]] = []
        self._live: dict[tuple[Hashable, str], _Entry] = {}
        self._count = 0

    def set(self, owner: Hashable, name: str, when: float) -> None:
        self.clear(owner, name)
        entry = self._live[owner, name] = _Entry(owner, name)
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, entry))

    def clear(self, owner: Hashable, *names: str) -> None:
        for name in names:
            entry = self._live.pop((owner, name), None)
            if entry is not None:
                entry.owner = None
        if len(self._heap) > SWEEP and len(self._heap) > 2 * len(self._live):
            self._heap = [each for each in self._heap if each[2].owner is not None]
            heapq.heapify(self._heap)

    def deadline(self) -> float | None:
        while self._heap:
            when, _, entry = self._heap[0]
            if entry.owner is not None:
                return when
            heapq.heappop(self._heap)
        return None

    def due(self, now: float) -> tuple[Hashable, str] | None:
        """Take the next timer that has run out at `now`."""
        when = self.deadline()
        if when is None or when > now:
            return None
        entry = heapq.heappop(self._heap)[2]
        owner = entry.owner
        del self._live[owner, entry.name]
        return owner, entry.name

    def __len__(self) -> int:
        return len(self._live)
