"""The shared-memory ring: order, bounds, padding, and what a killed producer or consumer leaves behind."""

import mmap
import os
import random
import select
import signal

import pytest

from media_core.shared.ring import RingView

OK, WAKE, FULL, LONG = 0, 1, -1, -2


def ring(capacity: int = 4096) -> tuple[mmap.mmap, RingView]:
    memory = mmap.mmap(-1, capacity + 4096)
    return memory, RingView(memory, capacity)


def test_first_in_first_out() -> None:
    _, r = ring()
    assert r.pop() is None
    assert r.push(1, 2**63 + 5, b"one") == WAKE
    assert r.push(2, 7, b"") == OK
    assert r.front() == (1, 2**63 + 5, b"one")
    assert r.pop() == (1, 2**63 + 5, b"one")
    assert r.pop() == (2, 7, b"")
    assert r.pop() is None
    assert r.push(3, 0, b"again") == WAKE


def test_model_with_random_sizes() -> None:
    chance = random.Random(5)
    _, r = ring(8192)
    model: list[tuple[int, int, bytes]] = []
    refused = 0
    for n in range(20_000):
        if chance.random() < 0.52:
            record = (n & 0xFFFF, n, chance.randbytes(chance.choice((0, 1, 15, 16, 17, 300, 900, 3000))))
            result = r.push(*record)
            if result == FULL:
                refused += 1
                assert sum((16 + len(m[2]) + 15) & ~15 for m in model) + 2 * 3100 > 8192
            else:
                assert result == (OK if model else WAKE)
                model.append(record)
        else:
            assert r.pop() == (model.pop(0) if model else None)
    assert refused == r.dropped > 0
    assert r.corrupt == 0


def test_bounds() -> None:
    _, r = ring(1 << 18)
    assert r.push(1, 1, bytes(68 * 1024)) == WAKE
    assert r.push(1, 1, bytes(68 * 1024 + 1)) == LONG
    assert r.dropped == 0
    for capacity in (0x1001, 2048, 1 << 31):
        with pytest.raises(ValueError, match=r"capacity|buffer"):
            RingView(mmap.mmap(-1, 65536), capacity)
    with pytest.raises(ValueError, match="no ring"):
        RingView(mmap.mmap(-1, 65536))
    with pytest.raises(ValueError, match="too small"):
        RingView(mmap.mmap(-1, 4096), 4096)


def test_full_ring_counts_and_recovers() -> None:
    _, r = ring(4096)
    stored = 0
    while r.push(1, stored, bytes(100)) >= 0:
        stored += 1
    assert stored == 4096 // 128
    assert r.push(1, 0, b"") == FULL
    assert r.dropped == 2
    assert r.pop() == (1, 0, bytes(100))
    assert r.push(1, stored, bytes(100)) == OK
    assert [r.pop()[1] for _ in range(stored)] == list(range(1, stored + 1))  # type: ignore[index]


def test_nonsense_in_memory_empties_the_ring() -> None:
    memory, r = ring(4096)
    r.push(1, 1, b"x")
    memory[192:196] = b"\xff\xff\xff\x7f"  # the record's length
    assert r.pop() is None
    assert r.corrupt == 1
    assert r.push(2, 2, b"y") == WAKE
    assert r.pop() == (2, 2, b"y")


def test_second_view_goes_on() -> None:
    memory, r = ring(4096)
    r.push(1, 1, b"a")
    r.push(1, 2, b"b")
    r.pop()
    later = RingView(memory)
    assert later.push(1, 3, b"c") == OK
    assert later.pop() == (1, 2, b"b")
    assert later.pop() == (1, 3, b"c")


def test_killed_producer_leaves_whole_records_only() -> None:
    memory, r = ring(1 << 16)
    child = os.fork()
    if child == 0:
        producer = RingView(memory)
        for n in range(10):
            producer.push(1, n, bytes([n]) * 500)
        producer.begin(b"\xee" * 500)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    successor = RingView(memory)
    successor.push(1, 10, b"successor")
    got = []
    while record := r.pop():
        got.append(record)
    assert got == [(1, n, bytes([n]) * 500) for n in range(10)] + [(1, 10, b"successor")]


def test_two_processes_lose_neither_records_nor_wakeups() -> None:
    """The consumer sleeps on the eventfd whenever it has found the ring empty; a lost wake-up would hang here."""
    memory, r = ring(4096)
    wake = os.eventfd(0)
    total = 30_000
    child = os.fork()
    if child == 0:
        producer = RingView(memory)
        for n in range(total):
            while (result := producer.push(1, n, b"z" * (n % 200))) == FULL:
                os.sched_yield()
            if result == WAKE:
                os.eventfd_write(wake, 1)
        os._exit(0)
    try:
        expected = 0
        while expected < total:
            assert select.select([wake], [], [], 20)[0], f"slept through record {expected}"
            os.eventfd_read(wake)
            while record := r.pop():
                assert record == (1, expected, b"z" * (expected % 200))
                expected += 1
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(wake)
    assert r.corrupt == 0
