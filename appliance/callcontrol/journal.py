"""Call slots in shared memory: what a new process needs to go on with the calls of a killed one.

The memory is a memfd of the supervisor, mapped by every `calls` process in turn, so it lives exactly as long as the product and
is never on a disk (slots hold SDES keys). A slot has two halves; a write goes to the older half and is complete when its
checksum is, so a kill at any instruction leaves the last complete state readable. Bytes only: `call.py` knows what they mean.

Half: generation u64, length u32, CRC-32 of generation, length and payload u32, payload. A length of 0 is a free slot.
"""

from __future__ import annotations

import heapq
import mmap
import os
import struct
import zlib
from collections.abc import Iterator

_HALF = struct.Struct("<QII")

SLOTS = 1024
HALF_BYTES = 16 * 1024
SIZE = SLOTS * HALF_BYTES * 2  # sparse: only the pages of slots in use take memory


class Journal:
    """Slots are claimed lowest first, so that few pages are ever touched."""

    def __init__(self, fd: int, *, slots: int = SLOTS, half_bytes: int = HALF_BYTES) -> None:
        self._half_bytes = half_bytes
        size = slots * half_bytes * 2
        if os.fstat(fd).st_size < size:
            os.ftruncate(fd, size)
        self._memory = mmap.mmap(fd, size)
        self._generation = [0] * slots
        self._payload: dict[int, bytes] = {}
        self._free: list[int] = []
        for slot in range(slots):
            generation, payload = self._newest(slot)
            self._generation[slot] = generation
            if payload:
                self._payload[slot] = payload
            else:
                self._free.append(slot)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Slots in use with what was written last."""
        return iter(sorted(self._payload.items()))

    def __len__(self) -> int:
        return len(self._payload)

    @property
    def capacity(self) -> int:
        """Bytes that fit into one slot."""
        return self._half_bytes - _HALF.size

    def claim(self) -> int | None:
        """A free slot, None when all are taken (the call then lives without)."""
        return heapq.heappop(self._free) if self._free else None

    def write(self, slot: int, payload: bytes) -> bool:
        """Replace the slot's state; False (and the old state kept) when it does not fit."""
        if not payload or len(payload) > self.capacity:
            return False
        if self._payload.get(slot) != payload:
            self._put(slot, payload)
            self._payload[slot] = payload
        return True

    def free(self, slot: int) -> None:
        if self._payload.pop(slot, b""):
            for _ in range(2):  # both halves held the call's keys
                self._put(slot, b"")
        heapq.heappush(self._free, slot)

    def close(self) -> None:
        """Unmap; the slots stay for the next process."""
        self._memory.close()

    def _put(self, slot: int, payload: bytes) -> None:
        generation = self._generation[slot] + 1
        start = self._start(slot, generation)
        check = zlib.crc32(payload, zlib.crc32(struct.pack("<QI", generation, len(payload))))
        self._memory[start + _HALF.size : start + _HALF.size + len(payload)] = payload
        self._memory[start : start + _HALF.size] = _HALF.pack(generation, len(payload), check)
        if not payload:
            self._memory[start + _HALF.size : start + self._half_bytes] = bytes(self.capacity)
        self._generation[slot] = generation

    def _start(self, slot: int, generation: int) -> int:
        return (slot * 2 + generation % 2) * self._half_bytes

    def _newest(self, slot: int) -> tuple[int, bytes]:
        newest = (0, b"")
        for half in (0, 1):
            start = (slot * 2 + half) * self._half_bytes
            generation, length, check = _HALF.unpack_from(self._memory, start)
            if generation == 0 or length > self.capacity or generation <= newest[0]:
                continue
            payload = self._memory[start + _HALF.size : start + _HALF.size + length]
            if zlib.crc32(payload, zlib.crc32(struct.pack("<QI", generation, length))) == check:
                newest = (generation, payload)
        return newest
