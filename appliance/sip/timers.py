"""Named one-shot timers on given time. Most are cleared long before they run out: setting and clearing one is all that costs. One that
is cleared, or set anew, holds nothing from that moment on; its place in the heap is swept out when such places are the greater part."""

from __future__ import annotations

import heapq
from collections.abc import Hashable

SWEEP = 64  # a heap smaller than this is not worth it

_Place = list[Hashable]  # owner and name; empty when it was cleared


class Timers:
    def __init__(self) -> None:
        self._heap: list[tuple[float, int, _Place]] = []
        self._of: dict[Hashable, dict[str, _Place]] = {}  # owner -> name -> its place
        self._count = 0
        self._dead = 0  # places of cleared ones

    def set(self, owner: Hashable, name: str, when: float) -> None:
        names = self._of.get(owner)
        if names is None:
            names = self._of[owner] = {}
        elif (old := names.get(name)) is not None:
            old.clear()
            self._dead += 1
        names[name] = place = [owner, name]
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, place))
        if self._dead > SWEEP and self._dead > len(self._heap) >> 1:
            self._sweep()

    def clear(self, owner: Hashable, *names: str) -> None:
        """These, or all of this owner."""
        mine = self._of.get(owner)
        if mine is None:
            return
        for name in names or tuple(mine):
            place = mine.pop(name, None)
            if place is not None:
                place.clear()
                self._dead += 1
        if not mine:
            del self._of[owner]
        if self._dead > SWEEP and self._dead > len(self._heap) >> 1:
            self._sweep()

    def _sweep(self) -> None:
        self._heap = [each for each in self._heap if each[2]]
        self._dead = 0
        heapq.heapify(self._heap)

    def deadline(self) -> float | None:
        heap = self._heap
        while heap:
            if heap[0][2]:
                return heap[0][0]
            heapq.heappop(heap)
            self._dead -= 1
        return None

    def due(self, now: float) -> tuple[Hashable, str] | None:
        """Take the next timer that has run out at `now`."""
        when = self.deadline()
        if when is None or when > now:
            return None
        owner, name = heapq.heappop(self._heap)[2]
        assert isinstance(name, str)
        mine = self._of[owner]
        del mine[name]
        if not mine:
            del self._of[owner]
        return owner, name

    def __len__(self) -> int:
        return len(self._heap) - self._dead
