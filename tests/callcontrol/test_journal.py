"""Call slots: what a killed process leaves is always the last complete state."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from appliance.callcontrol.journal import Journal

SLOTS, HALF = 4, 256


@pytest.fixture
def fd() -> Iterator[int]:
    found = os.memfd_create("journal")
    yield found
    os.close(found)


def open_journal(fd: int) -> Journal:
    return Journal(fd, slots=SLOTS, half_bytes=HALF)


def test_a_successor_finds_what_was_written_last(fd: int) -> None:
    journal = open_journal(fd)
    first, second = journal.claim(), journal.claim()
    assert first is not None
    assert second is not None
    for text in (b"one", b"two", b"three"):
        assert journal.write(first, text)
    journal.write(second, b"other")
    assert dict(open_journal(fd)) == {first: b"three", second: b"other"}
    journal.free(first)
    assert dict(open_journal(fd)) == {second: b"other"}


def test_all_slots_taken_and_too_large(fd: int) -> None:
    journal = open_journal(fd)
    slots = [journal.claim() for _ in range(SLOTS)]
    assert journal.claim() is None
    assert slots[0] is not None
    assert journal.write(slots[0], b"fits")
    assert not journal.write(slots[0], b"x" * (journal.capacity + 1))
    assert journal.write(slots[0], b"y" * journal.capacity)
    assert dict(open_journal(fd)) == {0: b"y" * journal.capacity}


def test_a_freed_slot_keeps_no_secret(fd: int) -> None:
    journal = open_journal(fd)
    slot = journal.claim()
    assert slot is not None
    for number in range(5):
        journal.write(slot, b"secret key %d" % number)
    journal.free(slot)
    assert b"secret" not in os.pread(fd, SLOTS * HALF * 2, 0).replace(b"\0", b"")


def test_a_kill_at_any_byte_of_a_write_leaves_the_state_before_or_after(fd: int) -> None:
    journal = open_journal(fd)
    slot = journal.claim()
    assert slot is not None
    journal.write(slot, b"before" * 10)
    old = os.pread(fd, SLOTS * HALF * 2, 0)
    journal.write(slot, b"after" * 20)
    new = os.pread(fd, SLOTS * HALF * 2, 0)
    changed = [at for at in range(len(old)) if old[at] != new[at]]
    rest = random.Random(1)
    for _ in range(200):  # any subset of the changed bytes has reached the memory
        torn = bytearray(old)
        for at in changed:
            if rest.random() < 0.5:
                torn[at] = new[at]
        os.pwrite(fd, bytes(torn), 0)
        assert dict(open_journal(fd)) in ({slot: b"before" * 10}, {slot: b"after" * 20})


def test_garbage_is_no_call(fd: int) -> None:
    os.ftruncate(fd, SLOTS * HALF * 2)
    os.pwrite(fd, random.Random(2).randbytes(SLOTS * HALF * 2), 0)
    journal = open_journal(fd)
    assert len(journal) == 0
    slot = journal.claim()
    assert slot is not None
    assert journal.write(slot, b"works")
