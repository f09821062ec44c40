"""The memory of the turn: what is committed counts as a whole, what is not does not, whenever the process is killed."""

from __future__ import annotations

import os
import random
import signal
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from media_core import Area, Slots, SlotsMissing, create_slots

CALLS = 40
LEGS = 100


@pytest.fixture
def fd() -> Iterator[int]:
    made = create_slots(CALLS)
    yield made
    os.close(made)


def whole(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def claim(area: Area) -> int:
    slot = area.claim()
    assert slot is not None
    return slot


def test_a_new_memory_is_empty_and_takes_no_room(fd: int) -> None:
    slots = Slots(fd)
    assert (slots.turn, slots.positions, slots.unsent) == (0, (), [])
    assert len(slots.legs) == len(slots.calls) == 0
    assert list(slots.legs) == list(slots.calls) == []
    assert slots.legs.capacity >= 4096
    assert slots.calls.capacity >= 250 * 64 + 2048
    assert os.fstat(fd).st_blocks * 512 <= 16 * 4096  # pages of slots that nobody wrote are not there


@pytest.mark.parametrize(("calls", "legs"), [(1, 64), (25, 64), (26, 65), (40, 100), (1000, 2500)])
def test_sizes_follow_from_the_number_of_calls(calls: int, legs: int) -> None:
    fd = create_slots(calls)
    slots = Slots(fd)
    assert (slots.calls.slots, slots.legs.slots) == (calls, legs)
    assert [slots.calls.claim() for _ in range(calls + 1)] == [*range(calls), None]
    assert [slots.legs.claim() for _ in range(legs + 1)] == [*range(legs), None]
    last_call, last_leg = b"c" * slots.calls.capacity, b"l" * slots.legs.capacity
    assert slots.calls.write(calls - 1, last_call)
    assert slots.legs.write(legs - 1, last_leg)
    slots.commit((), [])
    slots.close()
    again = Slots(fd)
    assert list(again.calls) == [(calls - 1, last_call)]
    assert list(again.legs) == [(legs - 1, last_leg)]
    os.close(fd)


@pytest.mark.parametrize("calls", [0, 32769])
def test_a_number_of_calls_out_of_bounds(calls: int) -> None:
    with pytest.raises(ValueError, match="1 to 32768"):
        create_slots(calls)


def test_what_is_committed_is_found_by_the_next(fd: int) -> None:
    slots = Slots(fd)
    leg, call = claim(slots.legs), claim(slots.calls)
    for turn, text in enumerate((b"one", b"two, and longer", b"three"), 1):
        assert slots.legs.write(leg, text)
        assert slots.calls.write(call, text * 2)
        slots.commit((turn, 2**64 - 1), [])
        assert slots.turn == turn
        later = Slots(fd)
        assert list(later.legs) == [(leg, text)]
        assert list(later.calls) == [(call, text * 2)]
        assert (later.turn, later.positions) == (turn, (turn, 2**64 - 1))


def test_what_is_not_committed_does_not_count(fd: int) -> None:
    slots = Slots(fd)
    kept, freed = claim(slots.legs), claim(slots.legs)
    slots.legs.write(kept, b"kept")
    slots.legs.write(freed, b"not freed yet")
    slots.commit((7,), [(1, b"told")])
    slots.legs.write(kept, b"changed, with a key that nobody may know")
    slots.legs.free(freed)
    new = claim(slots.calls)
    slots.calls.write(new, b"a call with a key that nobody may know")
    assert list(slots.legs) == [(kept, b"changed, with a key that nobody may know")]
    assert list(slots.calls) == [(new, b"a call with a key that nobody may know")]
    assert (len(slots.legs), len(slots.calls)) == (1, 1)
    later = Slots(fd)
    assert list(later.legs) == [(kept, b"kept"), (freed, b"not freed yet")]
    assert list(later.calls) == []
    assert (later.turn, later.positions, later.unsent) == (1, (7,), [(1, b"told")])
    assert later.calls.claim() == new
    assert b"nobody may know" not in whole(fd)


def test_writing_twice_in_a_turn_replaces(fd: int) -> None:
    slots = Slots(fd)
    slot = claim(slots.legs)
    slots.legs.write(slot, b"zero")
    slots.commit((), [])
    slots.legs.write(slot, b"first and longer")
    slots.legs.write(slot, b"second")
    assert list(slots.legs) == [(slot, b"second")]
    assert list(Slots(fd).legs) == [(slot, b"zero")]  # which clears what was not committed
    slots = Slots(fd)
    slots.legs.write(slot, b"first and longer")
    slots.legs.write(slot, b"zero")
    slots.commit((), [])
    assert list(Slots(fd).legs) == [(slot, b"zero")]


def test_the_same_again_writes_nothing(fd: int) -> None:
    slots = Slots(fd)
    slot = claim(slots.legs)
    slots.legs.write(slot, b"as it was")
    slots.commit((), [])
    before = whole(fd)
    assert slots.legs.write(slot, b"as it was")
    assert whole(fd) == before


def test_what_does_not_fit_leaves_what_was(fd: int) -> None:
    slots = Slots(fd)
    slot = claim(slots.legs)
    assert slots.legs.write(slot, b"fits")
    assert not slots.legs.write(slot, b"x" * (slots.legs.capacity + 1))
    assert not slots.legs.write(slot, b"")
    slots.commit((), [])
    assert list(Slots(fd).legs) == [(slot, b"fits")]


def test_only_a_claimed_slot_is_written_or_freed(fd: int) -> None:
    slots = Slots(fd)
    slot = claim(slots.legs)
    slots.legs.free(slot)
    for number in (slot, 1, LEGS):
        with pytest.raises(ValueError, match="not claimed"):
            slots.legs.write(number, b"x")
        with pytest.raises(ValueError, match="not claimed"):
            slots.legs.free(number)


def test_a_freed_slot_is_free_after_the_commit_and_keeps_nothing(fd: int) -> None:
    slots = Slots(fd)
    slot, unwritten = claim(slots.legs), claim(slots.legs)
    for number in range(5):
        slots.legs.write(slot, b"secret key %d" % number * (9 - number))
        slots.commit((), [])
    slots.legs.free(slot)
    slots.legs.free(unwritten)
    assert slots.legs.claim() == 2  # until the turn counts the slot belongs to what was committed
    assert b"secret" in whole(fd)
    slots.commit((), [])
    assert b"secret" not in whole(fd)
    assert [slots.legs.claim() for _ in range(3)] == [slot, unwritten, 3]
    assert len(Slots(fd).legs) == 0


def test_a_slot_claimed_and_freed_within_a_turn_keeps_nothing(fd: int) -> None:
    slots = Slots(fd)
    slot = claim(slots.calls)
    slots.calls.write(slot, b"secret")
    slots.calls.free(slot)
    slots.commit((), [])
    assert b"secret" not in whole(fd)
    assert Slots(fd).calls.claim() == slot


def test_a_process_that_dies_between_commit_and_wiping_leaves_that_to_the_next(fd: int) -> None:
    slots = Slots(fd)
    slot = claim(slots.legs)
    slots.legs.write(slot, b"secret")
    slots.commit((), [])
    slots.legs.free(slot)
    before = whole(fd)
    slots.commit((), [])
    counter = next(at for at in range(0, 4096, 8) if before[at : at + 8] != whole(fd)[at : at + 8])
    os.pwrite(fd, before, 0)
    os.pwrite(fd, struct.pack("=Q", 2), counter)  # the store that makes the turn count, and nothing behind it
    assert b"secret" in whole(fd)
    later = Slots(fd)
    assert (later.turn, list(later.legs), later.legs.claim()) == (2, [], slot)
    assert b"secret" not in whole(fd)


def test_messages_are_unsent_until_they_have_left(fd: int) -> None:
    slots = Slots(fd)
    messages = [(2**63 + 1, b"INVITE"), (5, b""), (6, b"x" * 65535)]
    slots.commit((1,), messages)
    assert slots.unsent == Slots(fd).unsent == messages
    slots.commit((2,), [(7, b"BYE")])
    assert Slots(fd).unsent == [(7, b"BYE")]
    slots.left()
    assert slots.unsent == Slots(fd).unsent == []
    slots.commit((3,), [(8, b"ACK")])
    slots.commit((4,), [])  # the turn of an event to which nothing is said
    assert Slots(fd).unsent == []
    assert Slots(fd).positions == (4,)


def test_a_turn_that_failed_is_known_to_the_next_process_until_another_counts(fd: int) -> None:
    slots = Slots(fd)
    assert slots.failure == 0
    for alone, said in ((False, 1), (True, 2)):
        slots.fail(alone)
        assert slots.failure == Slots(fd).failure == said
    slots.commit((2,), [])
    assert slots.failure == Slots(fd).failure == 0


def test_the_outbox_is_bounded(fd: int) -> None:
    slots = Slots(fd)
    many = [(number, bytes([number % 256]) * 60_000) for number in range(40)]
    slots.commit((), many)
    found = Slots(fd).unsent
    assert found == many[: len(found)]
    assert len(found) == 17  # of 60,016 octets each in 1 MiB


def test_positions_are_bounded_and_a_commit_that_fails_does_not_count(fd: int) -> None:
    slots = Slots(fd)
    slots.commit(range(62), [(1, b"one")])
    for positions, messages in ((range(63), []), ([-1], []), ([5], [(1, "text")]), ([5], [(-1, b"x")])):
        with pytest.raises((ValueError, OverflowError, TypeError)):
            slots.commit(positions, messages)  # type: ignore[arg-type]
        assert (slots.turn, slots.positions, slots.unsent) == (1, tuple(range(62)), [(1, b"one")])
        assert Slots(fd).positions == tuple(range(62))
    slots.commit([9], [(2, b"two")])
    assert (slots.turn, slots.positions, slots.unsent) == (2, (9,), [(2, b"two")])


def test_memory_that_holds_no_slots() -> None:
    fd = os.memfd_create("other")
    with pytest.raises(SlotsMissing):
        Slots(fd)
    half = struct.Struct(
        "<QII"
    )  # what stood there before: generation, length, CRC-32 and payload, 1024 slots of two halves of 16 KiB
    os.ftruncate(fd, 1024 * 2 * 16384)
    os.pwrite(fd, half.pack(2, 5, 0x12345678) + b"state", 0)
    os.pwrite(fd, half.pack(1, 5, 0x12345678) + b"older", 16384)
    with pytest.raises(SlotsMissing):
        Slots(fd)
    Slots.make(fd, CALLS)
    assert list(Slots(fd).legs) == []
    assert b"state" not in whole(fd)
    os.ftruncate(fd, os.fstat(fd).st_size - 4096)
    with pytest.raises(SlotsMissing):
        Slots(fd)
    os.pwrite(fd, random.Random(1).randbytes(8192), 0)
    with pytest.raises(SlotsMissing):
        Slots(fd)
    os.close(fd)


def test_made_anew_with_other_sizes(fd: int) -> None:
    slots = Slots(fd)
    slots.legs.write(claim(slots.legs), b"secret")
    slots.commit((1,), [(1, b"m")])
    slots.close()
    Slots.make(fd, 2 * CALLS)
    later = Slots(fd)
    assert (later.turn, later.positions, later.unsent, list(later.legs)) == (0, (), [], [])
    assert [later.calls.claim() for _ in range(2 * CALLS + 1)][-1] is None
    assert b"secret" not in whole(fd)


def enlarged(fd: int) -> Slots:
    """Slots of their own sizes in this memory, and larger ones beside them that hold something else."""
    Slots.make(fd, 3, leg_bytes=4096, call_bytes=8192)
    small = Slots(fd)
    for area, most in ((small.legs, 4096), (small.calls, 8192)):
        assert area.capacity == most
        assert area.write(claim(area), b"secret" * (most // 6))
    small.commit((1,), [(1, b"m")])
    assert not small.suffice(3)
    large = Slots.beside(fd, 2, small)
    assert (large.calls.slots, large.legs.slots) == (3, 64)
    assert large.suffice(3)
    assert not large.suffice(4)
    assert large.legs.write(claim(large.legs), b"l" * large.legs.capacity)
    large.commit((2,), [(2, b"n")])
    assert dict(Slots(fd).legs) == dict(small.legs), "they do not count yet"
    return large


def test_slots_beside_others_count_with_one_store(fd: int) -> None:
    large = enlarged(fd)
    before = whole(fd)
    assert before.count(b"secret") > 1000
    large.take_place()
    after = whole(fd)
    assert [at for at in range(0, 4096, 8) if before[at : at + 8] != after[at : at + 8]] == [104], (
        "the word `moved` alone"
    )
    assert b"secret" not in after
    assert os.fstat(fd).st_blocks * 512 <= 16 * 4096, "nor does it take room"
    there = struct.unpack_from("=Q", after, 104)[0]
    os.pwrite(fd, before[4096:there], 4096)  # a process that died before it was gone
    assert b"secret" in whole(fd)
    later = Slots(fd)
    assert b"secret" not in whole(fd)
    assert (later.turn, later.positions, later.unsent) == (1, (2,), [(2, b"n")])
    assert list(later.legs) == [(0, b"l" * later.legs.capacity)]
    larger = Slots.beside(fd, 5, later)
    larger.take_place()
    larger.take_place()
    assert (len(Slots(fd).legs), Slots(fd).calls.slots) == (0, 5)
    assert b"llll" not in whole(fd)


@pytest.mark.parametrize("layout", ["none of ours", "another number"])
def test_slots_beside_something_else_count_when_the_foot_says_so(fd: int, layout: str) -> None:
    """What is there is not touched before that: a process that dies leaves it to the next."""
    Slots.make(fd, 3)
    if layout == "none of ours":
        os.pwrite(fd, random.Random(5).randbytes(os.fstat(fd).st_size), 0)
    else:
        os.pwrite(fd, struct.pack("=I", 99), 8)
    there = whole(fd)
    slots = Slots.beside(fd, 3)
    assert slots.calls.write(claim(slots.calls), b"a call")
    slots.commit((1,), [])
    with pytest.raises(SlotsMissing):
        Slots(fd)
    assert whole(fd)[: len(there)] == there
    slots.take_place()
    after = whole(fd)
    assert list(Slots(fd).calls) == [(0, b"a call")]
    for killed in (
        there[:4096],
        bytes(4096),
        bytes(8) + after[8:4096],
    ):  # at every step of the way from the foot to the first page
        os.pwrite(fd, killed, 0)
        assert list(Slots(fd).calls) == [(0, b"a call")]
        assert whole(fd)[:4096] == after[:4096]
    os.pwrite(fd, bytes(4096), len(after) - 4096)
    assert list(Slots(fd).calls) == [(0, b"a call")], "the first page is enough"


@pytest.mark.parametrize(
    ("at", "value"), [(24, 0), (24, 2**40), (32, 4095), (32, 2**40), (56, 0), (64, 2**21), (104, 12), (104, 2**50)]
)
def test_sizes_that_do_not_add_up_are_no_slots(fd: int, at: int, value: int) -> None:
    os.pwrite(fd, struct.pack("=Q", value), at)
    with pytest.raises(SlotsMissing):
        Slots(fd)


def test_closed_slots_say_so(fd: int) -> None:
    slots = Slots(fd)
    slot = claim(slots.legs)
    slots.close()
    slots.close()
    for use in (
        lambda: slots.turn,
        lambda: slots.legs.write(slot, b"x"),
        lambda: list(slots.legs),
        lambda: slots.commit((), []),
    ):
        with pytest.raises(ValueError, match="closed"):
            use()


# ---- kills -------------------------------------------------------------------------------------------------------------------


@dataclass
class Model:
    """What stands after so many turns; what a turn does is the chance of this seed and of its number. Done to real slots as well."""

    seed: int
    turn: int = 0
    legs: dict[int, bytes] = field(default_factory=dict)
    calls: dict[int, bytes] = field(default_factory=dict)
    positions: tuple[int, ...] = ()
    messages: list[tuple[int, bytes]] = field(default_factory=list)

    def step(self, on: Slots | None = None) -> None:
        chance = random.Random(self.seed << 32 | self.turn)
        for held, area in ((self.legs, on and on.legs), (self.calls, on and on.calls)):
            free = [slot for slot in range(20) if slot not in held]
            for _ in range(chance.randrange(5)):
                what = chance.choice(("claim", "write", "write", "free")) if held else "claim"
                slot = free.pop(0) if what == "claim" else chance.choice(sorted(held))
                if area is not None and what == "claim":
                    assert area.claim() == slot
                if what == "free":
                    del held[slot]
                    if area is not None:
                        area.free(slot)
                    continue
                held[slot] = b"%d %d" % (self.turn, slot) + chance.randbytes(chance.choice((0, 30, 700, 5000)))
                if area is not None:
                    assert area.write(slot, held[slot])
            while len(held) > 10:
                slot, _ = held.popitem()
                if area is not None:
                    area.free(slot)
        self.positions = tuple(chance.randrange(2**64) for _ in range(3))
        self.messages = [
            (chance.randrange(2**64), chance.randbytes(chance.randrange(900))) for _ in range(chance.randrange(4))
        ]
        if on:
            on.commit(self.positions, self.messages)
        self.turn += 1

    def holds(self, slots: Slots) -> None:
        assert (slots.turn, slots.positions) == (self.turn, self.positions)
        assert dict(slots.legs) == self.legs
        assert dict(slots.calls) == self.calls
        assert slots.unsent in ([], self.messages)


def test_the_model_and_the_slots_agree_turn_by_turn(fd: int) -> None:
    model = Model(1)
    slots = Slots(fd)
    for turn in range(200):
        model.step(slots)
        model.holds(slots)
        if turn % 3 == 0:
            slots.left()
        if turn % 10 == 0:
            slots.close()
            slots = Slots(fd)


def test_killed_at_random_moments_while_it_commits(fd: int) -> None:
    """A real process that takes turn after turn is killed; the next one finds exactly what stood after the last turn that counts."""
    chance = random.Random(3)
    model, reached = Model(2), []
    for _ in range(60):
        ready, go = os.pipe()
        child = os.fork()
        if child == 0:
            slots = Slots(fd)
            successor = Model(2, model.turn, dict(model.legs), dict(model.calls))
            os.write(go, b"!")
            while True:
                successor.step(slots)
                if successor.turn % 2:
                    slots.left()
        os.read(ready, 1)
        os.close(ready)
        os.close(go)
        end = time.perf_counter() + chance.random() * 0.004
        while time.perf_counter() < end:
            pass
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        slots = Slots(fd)
        while model.turn < slots.turn:
            model.step()
        if slots.turn:
            model.holds(slots)
        reached.append(slots.turn)
        slots.close()
    assert len(set(reached)) > 20  # kills that fell into many different turns


def test_any_part_of_a_turn_has_reached_the_memory(fd: int) -> None:
    """Stricter than a kill: any of the words that a turn changes have their new value when the process dies, in no order."""
    chance = random.Random(4)
    slots = Slots(fd)
    numbers = [claim(slots.legs) for _ in range(3)]
    for turn in range(4):  # both halves of all have been in use
        for slot in numbers:
            slots.legs.write(slot, b"%d %d" % (turn, slot) * 40)
        slots.commit((turn,), [(turn, b"before")])
    before, expected = whole(fd), dict(slots.legs)
    for slot in numbers[:2]:
        slots.legs.write(slot, chance.randbytes(90))
    slots.calls.write(claim(slots.calls), chance.randbytes(500))
    slots.commit((99,), [(99, b"after that")])
    slots.close()
    done = whole(fd)
    words = [at for at in range(0, len(before), 8) if before[at : at + 8] != done[at : at + 8]]
    assert (before[words[0]], done[words[0]]) == (4, 5)  # the counter is the first of them
    for _ in range(100):
        torn = bytearray(before)
        for at in words[1:]:
            if chance.random() < 0.5:
                torn[at : at + 8] = done[at : at + 8]
        os.pwrite(fd, torn, 0)
        slots = Slots(fd)
        assert (slots.turn, slots.positions, slots.unsent) == (4, (3,), [(3, b"before")])
        assert (dict(slots.legs), list(slots.calls)) == (expected, [])
        slots.close()
