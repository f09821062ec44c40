"""Facts: bounded each and together, kept over a restart and by other versions, of two threads made one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.calls.history import summary
from appliance.calls.history.facts import Kind
from appliance.calls.history.story import LONGEST, MOST, Story

TIMES = st.floats(1.7e9, 1.8e9)
VALUES = st.one_of(st.text(max_size=100), st.integers(0, 2**40), st.floats(0, 1e6), st.booleans())
FACTS = st.tuples(TIMES, st.integers(1, 60), st.integers(0, 9), st.lists(VALUES, max_size=4))


def told(*facts: tuple[float, int, int, list[Any]]) -> Story:
    story = Story("t")
    for time, kind, who, values in facts:
        story.add(time, kind, who, *values)
    return story


@given(st.lists(FACTS, max_size=40))
def test_what_is_packed_comes_back_and_each_fact_is_bounded(facts: list[tuple[float, int, int, list[Any]]]) -> None:
    story = told(*facts)
    again = Story.unpack(story.pack())
    assert (again.id, again.facts, again.left_out, again.last) == (story.id, story.facts, story.left_out, story.last)
    assert again.pack() == story.pack()
    assert all(len(packed) <= LONGEST for packed in story._packed)
    again.add(1.8e9, Kind.RANG, 3)
    story.add(1.8e9, Kind.RANG, 3)
    assert again.pack() == story.pack()


@pytest.mark.parametrize("name", ["", "Bob", "x" * 80, "Ж" * 80, "漢" * 80, "a" * 17 + "ß" * 30])
def test_a_name_as_long_as_one_may_be_is_whole_again(name: str) -> None:
    story = told((1.7e9, Kind.BEGAN, 0, ["102", "extension", False]), (1.7e9, Kind.LEG, 1, ["callee", "102", name]))
    (_, leg) = Story.unpack(story.pack())
    assert leg.values == ("callee", "102", name)


def test_a_text_that_never_ends_is_cut_and_one_that_is_not_the_last_value_too() -> None:
    (step,) = told((1.7e9, Kind.STEP, 0, ["x" * 5000]))
    assert 200 < len(step.values[0]) <= LONGEST * 6
    (leg,) = told((1.7e9, Kind.LEG, 1, ["callee", "9" * 500, "Bob"]))
    assert leg.values[0] == "callee"
    assert 30 < len(leg.values[1]) < LONGEST
    assert leg.values[2] == "Bob"


def test_an_address_of_full_length_is_whole() -> None:
    address = "[2001:0db8:85a3:08d3:1319:8a2e:0370:7348]:65535"
    (_, flow) = told((1.7e9, Kind.LEG, 1, ["caller", "1", ""]), (1.7e9 + 1e6, Kind.FLOW, 1, [address, "TLS", True]))
    assert flow.values == (address, "TLS", True)


def test_the_middle_is_counted_who_was_there_and_how_it_ended_stays() -> None:
    story = Story("t")
    story.add(1.7e9, Kind.BEGAN, 0, "102", "extension", False)
    for leg, side in ((1, "caller"), (2, "callee")):
        story.add(1.7e9, Kind.LEG, leg, side, f"10{leg}", "N" * 80)
    for leg in (1, 2):
        story.add(1.7e9 + 1, Kind.ANSWERED, leg)
    for second in range(1000):
        story.add(1.7e9 + 2 + second, Kind.HELD if second % 2 else Kind.RESUMED, 1, "them")
    story.add(1.7e9 + 5000, Kind.LEG, 3, "callee", "103", "")
    for leg in (1, 2, 3):
        story.add(1.7e9 + 6000, Kind.ENDED, leg, "peer", 16)
    story.add(1.7e9 + 6000, Kind.OVER, 0, 16, "caller")
    assert len(story.facts) == MOST
    assert story.left_out == 1012 - MOST  # two of them the second halves of names
    assert len(story.pack()) < 17_000
    record = summary.record(story)
    assert [(leg.number, leg.name, leg.ended - leg.began) for leg in record.legs] == [
        ("101", "N" * 80, 6000.0),
        ("102", "N" * 80, 6000.0),
        ("103", "", 1000.0),
    ]


def test_a_thread_of_more_legs_than_facts_is_bounded_too_and_no_number_is_given_twice() -> None:
    story = Story("t")
    for leg in range(1, 1001):
        assert story.leg() == leg
        story.add(1.7e9 + leg, Kind.LEG, leg, "callee", str(leg), "L" * 70)
    again = Story.unpack(story.pack())
    assert len(again.facts) <= MOST
    assert again.leg() == 1001
    assert again.facts[0].kind == Kind.LEG
    numbers = [fact.values[1] for fact in again]
    assert numbers[0] == "1"
    assert numbers[-1] == "1000"
    assert all(fact.values[2] == "L" * 70 for fact in again)


def test_facts_of_a_newer_version_are_kept_and_say_nothing() -> None:
    rows = [
        [0, 1, 0, ["102", "extension", False, "newer"]],
        [5, 77, 1, ["?"], "newer"],
        [9, 2, 1, ["caller", "101", "Ann"]],
    ]
    packed = msgspec.msgpack.encode(["t", 1.7e9, 0, 1, rows, "newer"])
    story = Story.unpack(packed)
    assert [fact.kind for fact in Story.unpack(story.pack())] == [1, 77, 2]
    assert summary.record(story).caller_name == "Ann"


def test_facts_of_an_older_version_have_fewer_values() -> None:
    rows = [[0, 1, 0], *([9, int(kind), 1 if kind != Kind.OVER else 0] for kind in Kind if kind != Kind.BEGAN)]
    with pytest.raises(ValueError, match="no story"):
        Story.unpack(msgspec.msgpack.encode(["t", 1.7e9, 0, 1, rows]))
    story = Story.unpack(msgspec.msgpack.encode(["t", 1.7e9, 0, 1, [[*row, []] for row in rows]]))
    record = summary.record(story)
    assert (record.dialled, record.caller_number, record.outcome) == ("", "", "answered")


@pytest.mark.parametrize(
    "rows",
    [[["x", 1, 0, []]], [[0, "x", 0, []]], [[0, 1, -1, []]], [[0, 1, 0, 3]], [[]], [3], 3, [[10**400, 1, 0, []]]],
)
def test_what_is_no_story_is_refused(rows: Any) -> None:
    for data in (
        b"",
        b"\xc1",
        b"\x80",
        msgspec.msgpack.encode(["t", 1.7e9, 0, 1, rows] if rows != [[10**400, 1, 0, []]] else ["t"]),
    ):
        with pytest.raises(ValueError, match="no story"):
            Story.unpack(data)


def test_numbers_that_are_too_long_are_a_bug() -> None:
    with pytest.raises(ValueError, match="too long"):
        Story("t").add(1.7e9, Kind.COUNTED, 1, *[2.0**60] * 8)


@given(st.lists(FACTS, max_size=200), st.lists(FACTS, max_size=200))
def test_two_threads_become_one(
    one: list[tuple[float, int, int, list[Any]]], other: list[tuple[float, int, int, list[Any]]]
) -> None:
    a, b = (told(*sorted(facts, key=lambda fact: fact[0])) for facts in (one, other))
    merged = Story.merged(a, b)
    assert merged.last == a.last + b.last
    assert len(merged.facts) + merged.left_out >= min(MOST, len(a.facts) + len(b.facts))
    assert Story.unpack(merged.pack()).facts == merged.facts
    if len(a.facts) + len(b.facts) <= MOST:
        whos = [fact.who for fact in a] + [fact.who + a.last if fact.who else 0 for fact in b]
        assert sorted(fact.who for fact in merged) == sorted(whos)
        assert [fact.time for fact in merged] == sorted(fact.time for fact in merged)


def test_a_merged_thread_knows_who_heard_whom_and_keeps_names_whole() -> None:
    a = told((1.7e9, Kind.LEG, 1, ["caller", "101", "A" * 80]), (1.7e9 + 5, Kind.BRIDGED, 1, [0]))
    b = told(
        (1.7e9, Kind.LEG, 1, ["caller", "102", "B" * 80]),
        (1.7e9, Kind.LEG, 2, ["callee", "103", "C" * 80]),
        (1.7e9 + 1, Kind.BRIDGED, 2, [1]),
    )
    assert [(fact.kind, fact.who, fact.values[-1]) for fact in Story.merged(a, b)] == [
        (Kind.LEG, 1, "A" * 80),
        (Kind.LEG, 2, "B" * 80),
        (Kind.LEG, 3, "C" * 80),
        (Kind.BRIDGED, 3, 2),
        (Kind.BRIDGED, 1, 0),
    ]
