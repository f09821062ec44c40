"""What strangers may take: tokens, frames, connections. Virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.strangers import CONTINUATION, HEADERS, PING, PREFACE, RESET, SETTINGS, frame
from webui.serving.limits import (
    CONNECTIONS,
    CRUMB,
    DATA,
    KINDS,
    OF_PROVED,
    OF_SOURCE,
    OPEN_PER_SOURCE,
    OPEN_REQUESTS,
    PER_SOURCE,
    SOURCES,
    Frames,
    Gate,
    Visit,
)  # fmt: skip

SOURCE = "192.0.2.1"


def visit(gate: Gate, address: str = SOURCE, now: float = 0.0) -> Visit:
    made = gate.enter(address, now, lambda: None)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("kind", "one"),
    [
        ("request", frame(HEADERS, 5, 1, b"\x82")),
        ("reset", frame(RESET, 0, 1, bytes(4))),
        ("continuation", frame(CONTINUATION, 0, 1)),
        ("continuation", frame(CONTINUATION, 0, 1, bytes(16384))),
        ("control", frame(SETTINGS, 0, 0)),
        ("control", frame(PING, 0, 0, bytes(8))),
        ("control", frame(0xFA, 0, 0)),
        ("window", frame(0x8, 0, 0, bytes(4))),
        ("crumb", frame(DATA, 0, 1)),
        ("crumb", frame(DATA, 0, 1, b"x")),
    ],
)
@pytest.mark.parametrize("proved", [False, True])
def test_each_frame_has_its_bound(kind: str, one: bytes, proved: bool) -> None:
    who = visit(Gate())
    if proved:
        who.prove()
    frames, sent = Frames(who), 0
    assert frames.excess(PREFACE, 0.0) == ""
    while frames.excess(one, 0.0) == "":
        sent += 1
    assert sent == KINDS[kind].burst * (OF_PROVED if proved else 1 + OF_SOURCE)
    assert frames.excess(one, 1.0) == ""  # they come back with time


def test_a_large_upload_is_no_crumb() -> None:
    frames = Frames(visit(Gate()))
    assert frames.excess(PREFACE + frame(DATA, 0, 1, bytes(CRUMB)) * 5000, 0.0) == ""


@given(st.lists(st.integers(1, 40), max_size=40), st.lists(st.sampled_from([HEADERS, RESET, PING, DATA]), max_size=60))
def test_frames_are_counted_alike_however_they_are_cut(cuts: list[int], kinds: list[int]) -> None:
    octets = PREFACE + b"".join(frame(kind, 0, 1, bytes(7 * kind)) for kind in kinds)
    whole, pieces = Frames(visit(Gate())), Frames(visit(Gate()))
    expected, found, place = whole.excess(octets, 0.0), "", 0
    for cut in [*cuts, len(octets)]:
        found = found or pieces.excess(octets[place : place + cut], 0.0)
        place += cut
    assert found == expected


def test_the_oldest_that_has_not_logged_in_makes_room() -> None:
    gate, cut = Gate(), []
    here = []
    for number in range(PER_SOURCE):
        made = gate.enter(SOURCE, 0.0, lambda number=number: cut.append(number))  # type: ignore[misc]
        assert made is not None
        here.append(made)
    here[0].prove()
    visit(gate)
    assert cut == [1]


def test_a_crowd_from_one_address_gives_its_places_to_another() -> None:
    gate, cut = Gate(), []
    for at in range(CONNECTIONS):
        where = at % (CONNECTIONS // PER_SOURCE + 1)
        gate.enter(f"192.0.2.{where}", at / 10.0, lambda where=where: cut.append(where))  # type: ignore[misc]
    crowd = gate.connections
    while gate.connections < CONNECTIONS:
        gate.enter("198.51.100.1", 50.0, lambda: cut.append(-1))
    visit(gate, "203.0.113.1", 60.0)
    assert len(cut) == 1
    assert crowd <= CONNECTIONS


def test_requests_that_stay_open_give_their_places_to_the_next() -> None:
    """Eight slow POSTs, 90 open requests: whoever comes next is served, from the same address too."""
    gate, cut = Gate(), []
    slow = gate.enter(SOURCE, 0.0, lambda: cut.append("slow"))
    assert slow is not None
    for _ in range(OPEN_PER_SOURCE):
        assert gate.begin(slow, 0.0, counted=True)
    visit(gate)  # one that is in its handshake
    assert not gate.begin(slow, 0.0, counted=True)  # it is the one that has too many
    assert cut == []
    assert gate.begin(visit(gate), 0.0, counted=True)
    assert cut == ["slow"]


def test_the_crowd_of_all_addresses_gives_its_places_too() -> None:
    gate, cut = Gate(), []
    for number in range(OPEN_REQUESTS // OPEN_PER_SOURCE + 1):
        slow = gate.enter(f"192.0.2.{number}", 0.0, lambda number=number: cut.append(number))  # type: ignore[misc]
        assert slow is not None
        for _ in range(min(OPEN_PER_SOURCE, OPEN_REQUESTS - gate.requests)):
            assert gate.begin(slow, 0.0, counted=True)
    assert gate.begin(visit(gate, "203.0.113.1"), 0.0, counted=True)
    assert len(cut) == 1


def test_when_all_have_logged_in_nobody_is_thrown_out() -> None:
    gate = Gate()
    for at in range(PER_SOURCE):
        visit(gate, SOURCE, float(at)).prove()
    assert gate.enter(SOURCE, 100.0, lambda: None) is None
    assert gate.enter("192.0.2.2", 100.0, lambda: None) is not None


def test_one_who_opens_connections_too_fast_waits_and_his_neighbour_does_not() -> None:
    gate = Gate()
    opened = 0
    while gate.enter(SOURCE, 0.0, lambda: None):
        opened += 1
    assert opened == KINDS["connection"].burst * OF_SOURCE
    assert gate.enter("192.0.2.2", 0.0, lambda: None)
    assert gate.enter(SOURCE, 1.0, lambda: None)


def test_a_new_visitor_gets_his_page_while_his_neighbour_empties_the_shared_purse() -> None:
    gate = Gate()
    greedy, modest = visit(gate), visit(gate)
    while greedy.take("request", 0.0):
        pass
    assert all(modest.take("request", 0.0) for _ in range(int(KINDS["request"].burst)))


def test_the_sources_remembered_are_bounded_and_those_in_use_are_kept() -> None:
    gate = Gate()
    kept = visit(gate, "198.51.100.1")
    for number in range(SOURCES + 100):
        gate.source(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1.0)
    assert len(gate._sources) <= SOURCES + 1
    assert gate.source("198.51.100.1", 2.0) is kept.source
