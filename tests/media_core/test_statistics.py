"""What is counted of a leg's streams, and what is told of them: bursts of losses, jitter in the codec's clock, the far end's reports,
changes of the stream, packets that fail authentication, poor quality. And that nobody can make it tell more than it should."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Iterator
from typing import TypeVar

import pytest

from media_core import AuthenticationFailed, Codec, Digit, Direction, MediaQuality, SsrcChanged
from tests.media_core.bench import HOST, PATIENCE, Bench, Phone, report, running, settle
from tests.media_core.test_relay_srtp import dial, hang_up

E = TypeVar("E")
SUITE = "AES_CM_128_HMAC_SHA1_80"
GMIN = 16  # RFC 3611 §4.7.2
FORGED = 100_000


@pytest.fixture(scope="module", params=[False, True], ids=["beside", "apart"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with running(legs=16, apart=request.param) as bench:
        yield bench


@pytest.fixture
def call(bench: Bench) -> Iterator[tuple[Phone, Phone]]:
    a = bench.engine.open()
    b = bench.second(a)
    phones = Phone(a, 0xA0A0A0A0), Phone(b, 0xB0B0B0B0)
    for phone in phones:
        bench.engine.describe(phone.leg.id, phone.remote(telephone_event=101))
    bench.engine.connect(a.id, b.id)
    settle()
    yield phones
    hang_up(bench, *phones)
    bench.poll()
    bench.events.clear()


def received(bench: Bench, phone: Phone, packets: int) -> Direction:
    """The leg's counters once so many packets are in them."""
    end = time.monotonic() + PATIENCE
    while (stats := bench.engine.stats(phone.leg.id).received).packets < packets:
        assert time.monotonic() < end, stats
        settle(0.01)
    return stats


def send_but(phone: Phone, count: int, lost: set[int]) -> None:
    """So many packets, without those on the way that get lost."""
    for number in range(count):
        packet = phone.packet()
        if number not in lost:
            phone.rtp.sendto(packet, (HOST, phone.leg.port))
            if number % 50 == 49:
                settle(0.001)


def bursts_of(lost: set[int]) -> list[tuple[int, int]]:
    """(lost, length) of each burst, by the words of RFC 3611 §4.7.2."""
    runs: list[list[int]] = []
    for number in sorted(lost):
        if runs and number - runs[-1][-1] - 1 < GMIN:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [(len(run), run[-1] - run[0] + 1) for run in runs if len(run) > 1]


@pytest.mark.parametrize("seed", range(6))
def test_bursts_of_losses(bench: Bench, call: tuple[Phone, Phone], seed: int) -> None:
    """A Gilbert-Elliott channel, over a wrap of the sequence numbers."""
    generator, count, bad = random.Random(seed), 1000, False
    lost = set()
    for number in range(1, count - 1):
        bad = generator.random() < (0.7 if bad else 0.02)
        if generator.random() < (0.6 if bad else 0.004):
            lost.add(number)
    a, _ = call
    a.sequence = 65000
    send_but(a, count, lost)
    stats = received(bench, a, count - len(lost))
    bursts = bursts_of(lost)
    assert len(bursts) > 2
    assert stats.lost == len(lost)
    assert stats.bursts == len(bursts)
    assert (stats.burst_lost, stats.burst_packets) == (sum(n for n, _ in bursts), sum(length for _, length in bursts))
    assert stats.burst_longest == max(length for _, length in bursts)


def test_what_is_only_late_is_no_burst(bench: Bench, call: tuple[Phone, Phone]) -> None:
    a, _ = call
    packets = [a.packet() for _ in range(100)]
    for at in range(10, 90, 3):
        packets[at], packets[at + 1] = packets[at + 1], packets[at]
    packets[40:44] = reversed(packets[40:44])
    for packet in packets:
        a.rtp.sendto(packet, (HOST, a.leg.port))
    stats = received(bench, a, 100)
    assert stats.reordered > 20
    assert (stats.lost, stats.bursts, stats.burst_lost) == (0, 0, 0)


def test_jitter_is_in_the_clock_of_the_packets(bench: Bench, call: tuple[Phone, Phone]) -> None:
    """20 ms of sound in each packet, all sent at once: every arrival is 20 ms early. The phone changes from one codec to the other."""
    a, _ = call
    codecs = (Codec("opus", 111), Codec("PCMA", 8))
    bench.engine.describe(a.leg.id, a.remote(codecs=codecs))
    settle()
    for turn, (payload_type, step) in enumerate([(111, 960), (8, 160), (111, 960)]):
        for _ in range(200):
            a.timestamp += step - 160  # packet() adds 160
            a.send(payload_type=payload_type)
        assert 12 < received(bench, a, 200 * (turn + 1)).jitter_ms < 100


def sender_report(ssrc: int, ntp: int) -> bytes:
    return struct.pack("!BBHIQIII", 0x80, 200, 6, ssrc, ntp, 777, 10, 1720)


def receiver_report(ssrc: int, about: int, fraction: int, lost: int, last_sr: int, delay: int) -> bytes:
    head = struct.pack("!BBHII", 0x81, 201, 7, ssrc, about)
    return head + struct.pack("!IIIII", fraction << 24 | lost & 0xFFFFFF, 1003, 80, last_sr, delay)


def test_what_the_far_end_reports(bench: Bench, call: tuple[Phone, Phone]) -> None:
    a, b = call
    a.send(4)
    b.send(4)
    ours_at_b = struct.unpack("!I", b.receive(4)[0][8:12])[0]
    assert len(a.receive(4)) == 4
    assert bench.engine.stats(b.leg.id).reported is None
    a.rtcp.sendto(sender_report(a.ssrc, 0x1111222233334444), (HOST, a.leg.port + 1))
    assert len(b.receive(1, rtcp=True)) == 1
    b.rtcp.sendto(receiver_report(b.ssrc, ours_at_b, 64, 7, 0x22223333, 0), (HOST, b.leg.port + 1))
    assert len(a.receive(1, rtcp=True)) == 1
    told = bench.engine.stats(b.leg.id).reported
    assert told is not None
    assert (told.lost, told.fraction_lost, told.jitter_ms) == (7, 0.25, 10.0)
    assert 0 < told.round_trip_ms < 1000 * PATIENCE
    assert 0 <= told.age_ms < 1000 * PATIENCE
    b.rtcp.sendto(receiver_report(b.ssrc, ours_at_b, 0, -3, 0x22223333, 99 << 16), (HOST, b.leg.port + 1))  # duplicates; a lie
    assert len(a.receive(1, rtcp=True)) == 1
    told = bench.engine.stats(b.leg.id).reported
    assert told is not None
    assert (told.lost, told.fraction_lost, told.round_trip_ms) == (0, 0.0, 0.0)


def told(bench: Bench, kind: type[E]) -> list[E]:
    bench.poll()
    return [event for event in bench.events if isinstance(event, kind)]


def test_a_stream_that_changes_all_the_time_is_told_once_a_second(bench: Bench, call: tuple[Phone, Phone]) -> None:
    a, _ = call
    began = time.monotonic()
    for number in range(5000):
        a.ssrc = 0xA0A0A0A0 + number % 2
        a.send(1)
        if number % 50 == 49:
            settle(0.001)
    changes = received(bench, a, 1).ssrc_changes
    while sum(event.changes for event in told(bench, SsrcChanged)) < bench.engine.stats(a.leg.id).received.ssrc_changes:
        assert time.monotonic() < began + PATIENCE
        settle(0.05)
    events = told(bench, SsrcChanged)
    assert changes > 1000
    assert {event.leg for event in events} == {a.leg.id}
    assert len(events) <= 2 + time.monotonic() - began


def test_a_hundred_thousand_forged_packets_are_few_events(bench: Bench) -> None:
    a, b = dial(bench, SUITE, SUITE)
    a.send(1)
    assert len(b.receive(1)) == 1
    generator, began = random.Random(2), time.monotonic()
    head = a.packet()[:12]
    before = bench.engine.counters()["events_lost"]
    a.rtp.sendto(head + generator.randbytes(170), (HOST, a.leg.port))
    first = bench.wait(AuthenticationFailed)
    assert (first.leg, first.packets, first.total, first.source) == (a.leg.id, 1, 1, (HOST, a.port))
    for number in range(FORGED):
        a.rtp.sendto(head + generator.randbytes(170), (HOST, a.leg.port))
        if number % 100 == 99:  # let the relay keep up
            a.send(1)
            assert len(b.receive(1)) == 1
    assert received(bench, a, 1).dropped_auth == FORGED + 1
    events = told(bench, AuthenticationFailed)
    assert len(events) <= 1 + (time.monotonic() - began) / 10
    assert bench.engine.counters()["events_lost"] == before
    hang_up(bench, a, b)
    bench.events.clear()


def test_a_storm_of_keys_is_a_few_keys(bench: Bench, call: tuple[Phone, Phone]) -> None:
    a, b = call
    began = time.monotonic()
    for number in range(5000):
        a.timestamp = 160 * number
        a.send(payload=struct.pack("!BBH", number % 10, 0x8A, 800), payload_type=101)
        if number % 50 == 49:
            settle(0.001)
    received(bench, a, 4000)  # some may find the socket's buffer full
    b.receive(5000, 0.1)
    assert 16 <= len(told(bench, Digit)) <= 17 + 20 * (time.monotonic() - began)


def test_quality_and_forgery_are_told_at_intervals(bench: Bench) -> None:
    """A connection that loses one packet in ten, and somebody who sends what does not fit the key; replays are no forgery."""
    a, b = dial(bench, SUITE, SUITE)
    a.send(1)
    forged = a.packet()[:12] + bytes(170)
    replayed = a.packet()
    poor: list[MediaQuality] = []
    failures: list[AuthenticationFailed] = []
    sent, began = 0, time.monotonic()
    while not (poor and len(failures) > 1):
        assert time.monotonic() < began + 3 * PATIENCE
        for _ in range(9):
            a.send(1)
        a.packet()  # lost
        for packet in (forged, replayed):
            a.rtp.sendto(packet, (HOST, a.leg.port))
        sent += 1
        settle(0.1)
        poor = told(bench, MediaQuality)
        failures = told(bench, AuthenticationFailed)
    assert failures[0].packets == 1
    assert sum(event.packets for event in failures) == failures[-1].total <= sent
    assert poor[0].leg == a.leg.id
    assert poor[0].poor
    assert 0.05 < poor[0].lost < 0.15
    hang_up(bench, a, b)
    bench.events.clear()


def test_a_report_of_the_relay_stays_as_it_was(bench: Bench, call: tuple[Phone, Phone]) -> None:
    """Loss and jitter reported by the far end stand in the sent direction, too."""
    a, b = call
    a.send(4)
    b.send(4)
    ours_at_a = struct.unpack("!I", a.receive(4)[0][8:12])[0]
    a.rtcp.sendto(report(a.ssrc, 777, ours_at_a, 1003, lost=7), (HOST, a.leg.port + 1))
    assert len(b.receive(1, rtcp=True)) == 1
    sent = bench.engine.stats(a.leg.id).sent
    assert (sent.lost, sent.jitter_ms) == (7, 10.0)
