"""The relay against phones on loopback: both ways, statistics, latch, hold, mapping, RTCP, digits, echo."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from media_core import Digit, MediaStarted
from tests.media_core.bench import HOST, WAYS, Bench, Phone, collect, fields, report, rtp_pair, running, settle, way


@pytest.fixture(scope="module", params=WAYS, ids=way)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    datapath, apart = request.param
    with running(datapath=datapath, apart=apart, legs=24) as bench:
        yield bench


@pytest.fixture
def call(bench: Bench) -> Iterator[tuple[Phone, Phone]]:
    """Two phones, described and connected."""
    a = bench.engine.open()
    b = bench.second(a)
    phones = Phone(a, 0xA0A0A0A0), Phone(b, 0xB0B0B0B0)
    for phone in phones:
        bench.engine.describe(phone.leg.id, phone.remote(telephone_event=101))
    bench.engine.connect(a.id, b.id)
    settle()
    yield phones
    for phone in phones:
        bench.engine.close(phone.leg.id)
        phone.close()


def test_both_ways_in_order(bench: Bench, call: tuple[Phone, Phone]) -> None:
    a, b = call
    a.send(50, b"\x11" * 160)
    b.send(30, b"\x22" * 160)
    at_b, at_a = [fields(p) for p in b.receive(50)], [fields(p) for p in a.receive(30)]
    assert [f[1] for f in at_b] == list(range(1000, 1050))
    assert {f[4] for f in at_b} == {b"\x11" * 160}
    assert {f[4] for f in at_a} == {b"\x22" * 160}
    assert len({f[3] for f in at_a + at_b}) == 2
    stats = bench.engine.stats(a.leg.id)
    assert (stats.received.packets, stats.sent.packets, stats.received.bytes) == (50, 30, 50 * 172)
    assert stats.locked
    assert stats.remote == (HOST, a.port)
    assert 0 <= stats.received.last_seen_ms < 5000
    bench.wait(MediaStarted, leg=a.leg.id)


def test_loss_reordering_and_duplicates_are_counted(bench: Bench, call: tuple[Phone, Phone]) -> None:
    a, b = call
    packets = [a.packet() for _ in range(10)]
    for at in (0, 1, 3, 2, 3, 6, 7, 8, 9):  # 2 late, 3 twice, 4 and 5 lost
        a.rtp.sendto(packets[at], (HOST, a.leg.port))
    assert [fields(p)[1] - 1000 for p in b.receive(8)] == [0, 1, 3, 2, 6, 7, 8, 9]
    assert b.nothing()
    received = bench.engine.stats(a.leg.id).received
    assert (received.packets, received.lost, received.reordered, received.duplicates) == (8, 2, 1, 1)


def test_sequence_numbers_wrap(bench: Bench, call: tuple[Phone, Phone]) -> None:
    a, b = call
    a.sequence = 65530
    a.send(12)
    assert [fields(p)[1] for p in b.receive(12)] == [*range(65530, 65536), *range(6)]
    assert bench.engine.stats(a.leg.id).received.lost == 0


def test_payload_types_are_mapped(bench: Bench, call: tuple[Phone, Phone]) -> None:
    a, b = call
    bench.engine.connect(a.leg.id, b.leg.id, {96: 111}, {111: 96})
    settle()
    a.send(payload_type=96, marker=True)
    assert b.receive(1)[0][1] == 0x80 | 111
    b.send(payload_type=111)
    assert fields(a.receive(1)[0])[0] == 96


def test_every_length_arrives_whole(bench: Bench, call: tuple[Phone, Phone]) -> None:
    """Where the relay writes the UDP header itself, a wrong checksum would be dropped by the far end's kernel."""
    a, b = call
    for length in (0, 1, 2, 3, 4, 5, 37, 160, 161, 1000, 1453, 1460):
        payload = bytes((length * 7 + at * at) & 0xFF for at in range(length))
        a.send(1, payload)
        assert [fields(p)[4] for p in b.receive(1)] == [payload]
        b.send(1, payload)
        assert [fields(p)[4] for p in a.receive(1)] == [payload]


def test_another_source_is_dropped(bench: Bench, call: tuple[Phone, Phone]) -> None:
    a, b = call
    a.send(3)
    assert len(b.receive(3)) == 3
    thief, other = rtp_pair()
    with thief, other:
        for _ in range(20):
            thief.sendto(a.packet(b"\xee" * 160), (HOST, a.leg.port))
            a.send(1)  # who says nothing for half a second may have moved (test_latch.py)
        b.send(1)
        assert len(a.receive(1)) == 1
        assert not collect(thief, 1, 0.1)
    assert {fields(p)[4] for p in b.receive(20)} == {b"\xd5" * 160}
    assert b.nothing()
    received = bench.engine.stats(a.leg.id).received
    told = 20 if bench.datapath == "raw" else 0  # the port is connected to its phone: elsewhere the kernel drops them
    assert (received.packets, received.dropped_source) == (23, told)


def test_a_phone_described_elsewhere_is_heard_there(bench: Bench, call: tuple[Phone, Phone]) -> None:
    a, b = call
    for _ in range(3):
        a.send(3)
        assert len(b.receive(3)) == 3
        b.send(3)
        assert len(a.receive(3)) == 3
        a.close()
        a.rtp, a.rtcp = rtp_pair()
        bench.engine.describe(a.leg.id, a.remote())
        settle()
        b.send(2)
        assert len(a.receive(2)) == 2, "before it has sent anything itself"


def test_a_phone_that_is_away_for_a_moment(bench: Bench, call: tuple[Phone, Phone]) -> None:
    """Its port is closed: the kernel tells us of each packet that nobody is there (ICMP), and that must end nothing."""
    a, b = call
    a.send(3)
    b.send(3)
    assert (len(b.receive(3)), len(a.receive(3))) == (3, 3)
    port = b.port
    b.close()
    for _ in range(20):
        a.send(1)
        time.sleep(0.002)
    b.rtp, b.rtcp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) for _ in range(2))
    b.rtp.bind((HOST, port))
    b.rtcp.bind((HOST, port + 1))
    a.send(5)
    assert len(b.receive(4)) == 4, "the first may still be answered with the old error"
    b.send(5)
    assert len(a.receive(5)) == 5


def test_source_is_learned_only_when_consistent(bench: Bench, call: tuple[Phone, Phone]) -> None:
    """Behind NAT: the signalled address is wrong, media comes from the host of the signalling."""
    a, b = call
    bench.engine.describe(a.leg.id, a.remote(address="192.0.2.7", port=4000))
    settle()
    stray, other = rtp_pair()
    with stray, other:
        for _ in range(30):  # alternating sources and jumping sequences are nobody
            stray.sendto(a.packet(), (HOST, a.leg.port))
            a.sequence += 50
            a.send(1)
        assert b.nothing()
        assert not bench.engine.stats(a.leg.id).locked
        a.sequence += 50
        a.send(8)
        assert len(b.receive(5, 2)) == 5
        stats = bench.engine.stats(a.leg.id)
        assert stats.locked
        assert stats.remote == (HOST, a.port)
        for _ in range(10):
            stray.sendto(a.packet(), (HOST, a.leg.port))
        assert b.nothing()


def test_nothing_is_learned_without_a_signalling_host(bench: Bench, call: tuple[Phone, Phone]) -> None:
    a, b = call
    bench.engine.describe(a.leg.id, a.remote(address="192.0.2.7", port=4000, signalling="192.0.2.7"))
    settle()
    a.send(20)
    assert b.nothing()
    assert bench.engine.stats(a.leg.id).received.dropped_source == 20


def test_hold_stops_each_direction(bench: Bench, call: tuple[Phone, Phone]) -> None:
    a, b = call
    bench.engine.describe(a.leg.id, a.remote(receive=False))
    settle()
    a.send(5)
    b.send(5)
    assert len(a.receive(5)) == 5
    assert b.nothing()
    bench.engine.describe(a.leg.id, a.remote(send=False))
    settle()
    a.send(5)
    b.send(5)
    assert len(b.receive(5)) == 5
    assert a.nothing()


def test_a_key_press_is_one_event(bench: Bench, call: tuple[Phone, Phone]) -> None:
    a, b = call
    for digit, start in ((5, 8000), (11, 16000)):
        for step in (1, 2, 3, 4, 5, 5, 5):
            a.timestamp = start
            end = 0x80 if step == 5 else 0
            a.send(payload=struct.pack("!BBH", digit, end | 10, 160 * step), payload_type=101, marker=step == 1)
    assert len(b.receive(14)) == 14
    assert bench.wait(Digit, leg=a.leg.id) == Digit(a.leg.id, "5", 100)
    assert bench.wait(Digit, leg=a.leg.id) == Digit(a.leg.id, "#", 100)


def test_echo_comes_back_under_our_ssrc(bench: Bench, call: tuple[Phone, Phone]) -> None:
    a, b = call
    bench.engine.connect(a.leg.id, a.leg.id)
    settle()
    a.send(5, b"\x33" * 160)
    back = [fields(p) for p in a.receive(5)]
    assert [f[1] for f in back] == list(range(1000, 1005))
    assert {f[4] for f in back} == {b"\x33" * 160}
    assert back[0][3] != a.ssrc
    assert b.nothing()


def test_the_stream_continues_over_a_transfer(bench: Bench, call: tuple[Phone, Phone]) -> None:
    a, b = call
    a.send(5)
    first = [fields(p) for p in b.receive(5)]
    c = Phone(bench.second(a.leg), 0xC0C0C0C0)
    try:
        bench.engine.describe(c.leg.id, c.remote())
        bench.engine.connect(c.leg.id, b.leg.id)
        settle()
        a.send(3)
        c.sequence = 30000
        c.send(5)
        second = [fields(p) for p in b.receive(5)]
        assert b.nothing()
        assert [f[1] for f in first + second] == list(range(1000, 1010))
        assert len({f[3] for f in first + second}) == 1
        assert second[0][2] > first[-1][2]
    finally:
        bench.engine.close(c.leg.id)
        c.close()


def test_rtcp_is_translated_and_counted(bench: Bench, call: tuple[Phone, Phone]) -> None:
    a, b = call
    a.send(4)
    b.send(4)
    ours_at_b, ours_at_a = fields(b.receive(4)[0])[3], fields(a.receive(4)[0])[3]
    a.rtcp.sendto(report(a.ssrc, 777, ours_at_a, 1003, lost=7), (HOST, a.leg.port + 1))
    (got,) = b.receive(1, rtcp=True)
    assert got == report(ours_at_b, 777, b.ssrc, 1003, lost=7)
    stats = bench.engine.stats(a.leg.id)
    assert (stats.received.rtcp_packets, bench.engine.stats(b.leg.id).sent.rtcp_packets) == (1, 1)
    assert (stats.sent.lost, stats.sent.jitter_ms) == (7, 10.0)


def test_a_forged_bye_ends_nothing(bench: Bench, call: tuple[Phone, Phone]) -> None:
    a, b = call
    a.send(2)
    b.receive(2)
    a.rtcp.sendto(struct.pack("!BBHI", 0x81, 203, 1, a.ssrc), (HOST, a.leg.port + 1))
    b.receive(1, rtcp=True)
    a.send(5)
    assert len(b.receive(5)) == 5


@pytest.mark.parametrize(
    "junk", [b"", b"\0" * 20, b"\x80", b"\x80\x08" + b"\0" * 9, bytes(range(256)) * 7, b"\x80\xc8\xff\xff" + b"\0" * 24]
)
def test_junk_goes_nowhere(bench: Bench, call: tuple[Phone, Phone], junk: bytes) -> None:
    a, b = call
    a.rtp.sendto(junk, (HOST, a.leg.port))
    a.rtcp.sendto(junk, (HOST, a.leg.port + 1))
    a.send(1)
    assert len(b.receive(1)) == 1
    assert b.nothing(0.05)
    assert not b.receive(1, 0.05, rtcp=True)
