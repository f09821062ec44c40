"""Events are read without moving the read index, and dropped when what they led to is safe: a process killed between any two steps leaves
to the next one exactly the events that no committed turn has taken."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import struct
from collections.abc import Iterator

import pytest

from media_core import FlowReceived, Layout, MediaEngine, MediaSilent, Slots, create_memory, create_slots
from media_core.shared.ring import RingView

FULL, WAKE = -1, 1
RING = 192 + (1 << 18)  # of a worker's events
WORKERS = 2
MEDIA_SILENT, FLOW_RECEIVED = 3, 2


class Box:
    """The memory with a producer of our own in place of the core; every event has a number."""

    def __init__(self) -> None:
        self.memory = create_memory(Layout(legs=4, flows=64, workers=WORKERS))
        self.wakes = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
        self.slots = create_slots(4)
        mapped = mmap.mmap(self.memory, 0)
        view = memoryview(mapped)
        _, _, events, _, flow_events = struct.unpack_from(
            "=5Q", mapped, 32
        )  # abi.pxd: Header.counters and what follows
        self.rings = [RingView(view[events + number * RING :]) for number in range(WORKERS + 1)]
        self.rings.append(RingView(view[flow_events:]))
        self.made: list[list[int]] = [[] for _ in self.rings]

    def produce(self, ring: int, number: int, length: int = 0) -> bool:
        if ring <= WORKERS:
            result = self.rings[ring].push(MEDIA_SILENT, ring, struct.pack("=II", number, 0))
        else:
            result = self.rings[ring].push(FLOW_RECEIVED, ring, struct.pack("=I", number) + bytes(length))
        if result == FULL:
            return False
        if result == WAKE:
            os.eventfd_write(self.wakes[1], 1)
        self.made[ring].append(number)
        return True

    def attach(self) -> MediaEngine:
        return MediaEngine(self.memory, *self.wakes)

    def silent(self) -> bool:
        """Nobody has signalled."""
        try:
            os.eventfd_read(self.wakes[1])
        except BlockingIOError:
            return True
        os.eventfd_write(self.wakes[1], 1)
        return False

    def close(self) -> None:
        for fd in (self.memory, *self.wakes, self.slots):
            os.close(fd)


@pytest.fixture
def box() -> Iterator[Box]:
    made = Box()
    yield made
    made.close()


def numbers(engine: MediaEngine, limit: int = 256) -> list[tuple[int, int]]:
    """(ring, number) of the events of one poll."""
    found = []
    for event in engine.poll(limit):
        if isinstance(event, MediaSilent):
            found.append((event.leg, event.seconds))
        else:
            assert isinstance(event, FlowReceived)
            found.append((event.flow, struct.unpack_from("=I", event.data)[0]))
    return found


def test_what_was_not_consumed_is_read_again_by_the_next(box: Box) -> None:
    engine = box.attach()
    for ring in range(4):
        box.produce(ring, ring * 10)
    assert numbers(engine, 2) == [(0, 0), (1, 10)]
    assert numbers(engine) == [(2, 20), (3, 30)]  # a further poll goes on behind
    assert numbers(engine) == []
    assert numbers(box.attach()) == [(0, 0), (1, 10), (2, 20), (3, 30)]
    engine.consumed()
    assert numbers(box.attach()) == []


def test_a_successor_begins_where_the_committed_turn_had_read(box: Box) -> None:
    engine = box.attach()
    for number in range(3):
        box.produce(0, number)
    assert numbers(engine, 2) == [(0, 0), (0, 1)]
    positions = engine.positions()
    assert numbers(engine) == [(0, 2)]
    later = box.attach()
    later.resume(positions)
    assert numbers(later) == [(0, 2)]
    later.consumed()
    again = box.attach()
    again.resume(positions)  # they are behind what was consumed since
    assert numbers(again) == []
    again.resume(())
    assert numbers(again) == []


def test_positions_of_another_memory_mean_nothing(box: Box) -> None:
    engine = box.attach()
    for number in range(3):
        box.produce(1, number)
    numbers(engine)
    other = Box()
    successor = other.attach()
    for number in range(3):
        other.produce(1, number)
    successor.resume(engine.positions())
    assert numbers(successor) == [(1, 0), (1, 1), (1, 2)]
    other.close()


def test_who_sleeps_after_consumed_is_woken(box: Box) -> None:
    engine = box.attach()
    box.produce(0, 1)
    numbers(engine)
    assert box.silent()
    box.produce(0, 2)  # the ring was not empty: the producer need not signal
    assert box.silent()
    engine.consumed()
    assert not box.silent()
    assert numbers(engine) == [(0, 2)]
    engine.consumed()
    assert box.silent()
    box.produce(0, 3)
    assert not box.silent()


@pytest.mark.parametrize("seed", range(8))
def test_exactly_once_whenever_the_process_is_killed(box: Box, seed: int) -> None:
    """Turns as `calls` takes them: poll, commit with the positions, consume, sleep only when nothing has signalled; killed between any two
    of these steps, with events coming in at all of them. What the committed turns have taken is all that was made, once, in order."""
    chance = random.Random(seed)
    taken: list[list[int]] = [[] for _ in box.rings]  # by turns that count
    counter = 0

    def come() -> None:
        nonlocal counter
        for _ in range(chance.choice((0, 0, 1, 3, 40))):
            if box.produce(chance.randrange(4), counter, chance.choice((0, 400, 9000))):
                counter += 1

    slept = 0
    for _ in range(60):
        engine, slots = box.attach(), Slots(box.slots)
        engine.resume(slots.positions)
        while True:  # one life
            read: list[tuple[int, int]] = []
            come()
            if chance.random() < 0.05:
                break
            for _ in range(chance.randrange(1, 4)):
                read += numbers(engine, chance.choice((1, 5, 256)))
                come()
            if chance.random() < 0.05:
                break
            slots.commit(engine.positions(), [])
            for ring, number in read:
                taken[ring].append(number)
            come()
            if chance.random() < 0.05:
                break
            engine.consumed()
            if chance.random() < 0.05:
                break
            if box.silent():  # now it would sleep: then nothing must lie there
                slept += 1
                assert numbers(engine) == []
    engine = box.attach()
    engine.resume(Slots(box.slots).positions)
    while read := numbers(engine):
        for ring, number in read:
            taken[ring].append(number)
        engine.consumed()
    assert taken == box.made
    assert counter > 2000
    assert slept > 10
    assert all(ring.corrupt == 0 for ring in box.rings)


def test_a_full_ring_has_room_only_when_it_is_consumed(box: Box) -> None:
    engine = box.attach()
    made = 0
    while box.produce(3, made, 60_000):
        made += 1
    assert len(numbers(engine)) == made
    assert not box.produce(3, made, 60_000)
    engine.consumed()
    assert box.produce(3, made, 60_000)
    with contextlib.suppress(BlockingIOError):
        os.eventfd_read(box.wakes[0])
