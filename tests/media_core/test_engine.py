"""MediaEngine: what it refuses, what a new process finds, and the player heard at the far end."""

from __future__ import annotations

import json
import math
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest

from media_core import (
    CoreStarted,
    FlowOpened,
    FlowReceived,
    Layout,
    MediaEngine,
    MediaSilent,
    MediaStarted,
    OutOfService,
    PlayEnded,
    Remote,
    StaleHandle,
    Transport,
    create_memory,
)
from media_core.sound.codec import g711
from tests.media_core.bench import HOST, Bench, Phone, fields, rtp_pair, running, settle


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with running(legs=8) as bench:
        yield bench


def test_sizes_out_of_bounds_are_refused() -> None:
    for layout in (Layout(legs=0), Layout(legs=40000), Layout(workers=17), Layout(flows=0)):
        with pytest.raises(ValueError, match=r"legs 1\.\."):
            create_memory(layout)


def test_a_foreign_memory_is_refused() -> None:
    fd = os.memfd_create("other")
    wake = os.eventfd(0)
    os.ftruncate(fd, 1 << 16)
    with pytest.raises(ValueError, match="not a media memory"):
        MediaEngine(fd, wake, wake)
    os.close(fd)
    os.close(wake)


@pytest.mark.parametrize("corked", [False, True])
def test_what_is_commanded_together_wakes_the_core_once(corked: bool) -> None:
    fd, wake = create_memory(Layout(legs=4, flows=16)), os.eventfd(0, os.EFD_NONBLOCK)
    engine = MediaEngine(fd, wake, os.eventfd(0, os.EFD_NONBLOCK))
    os.eventfd_read(wake)  # it has come
    if corked:
        engine.cork()
    engine.dial(Transport.UDP, "127.0.0.1", 5060)
    if corked:
        with pytest.raises(BlockingIOError):
            os.eventfd_read(wake)
        engine.dial(Transport.UDP, "127.0.0.1", 5061)
        engine.uncork()
    assert os.eventfd_read(wake) == 1
    engine.cork()
    engine.uncork()
    with pytest.raises(BlockingIOError):
        os.eventfd_read(wake)


def test_no_leg_before_the_core_has_started() -> None:
    fd, wake = create_memory(Layout(legs=4, flows=16)), os.eventfd(0, os.EFD_NONBLOCK)
    with pytest.raises(OutOfService, match="has not started"):
        MediaEngine(fd, wake, wake).open()
    os.close(fd)
    os.close(wake)


def test_legs_run_out_and_come_back(bench: Bench) -> None:
    legs = [bench.engine.open() for _ in range(8)]
    assert len({leg.port for leg in legs}) == 8
    with pytest.raises(OutOfService, match="no free leg"):
        bench.engine.open()
    assert sorted(bench.engine.legs()) == sorted(leg.id for leg in legs)
    assert bench.engine.counters()["legs_free"] == 0
    for leg in legs:
        bench.engine.close(leg.id)
    again = [bench.engine.open() for _ in range(8)]
    assert [leg.port for leg in again] == [leg.port for leg in legs]  # the longest rested first
    assert not {leg.id for leg in again} & {leg.id for leg in legs}
    for leg in again:
        bench.engine.close(leg.id)
    assert bench.engine.counters()["legs"] == 0


def test_a_stale_leg_is_refused(bench: Bench) -> None:
    leg = bench.engine.open()
    first = bench.engine.close(leg.id)
    assert bench.engine.close(leg.id).received == first.received
    for use in (
        lambda: bench.engine.describe(leg.id, Remote(HOST, 4000, signalling=HOST)),
        lambda: bench.engine.connect(leg.id, leg.id),
        lambda: bench.engine.disconnect(leg.id),
        lambda: bench.engine.play(leg.id, [(440, 0, 100)], 8),
        lambda: bench.engine.open(beside=leg.id),
        lambda: bench.engine.stats(12345 << 32 | 1),
    ):
        with pytest.raises(StaleHandle):
            use()


@pytest.mark.parametrize(
    ("address", "signalling"),
    [
        ("224.0.0.1", HOST),
        ("255.255.255.255", HOST),
        ("127.0.0.1", "192.0.2.1"),
        ("127.0.0.1", ""),
        ("ff02::1", HOST),
        ("phone", HOST),
        ("0.1.2.3", HOST),
    ],
)
def test_media_is_not_sent_just_anywhere(bench: Bench, address: str, signalling: str) -> None:
    leg = bench.engine.open()
    with pytest.raises(ValueError, match=r"media|appear"):
        bench.engine.describe(leg.id, Remote(address, 4000, signalling=signalling))
    bench.engine.close(leg.id)


def test_a_far_end_at_our_own_port_is_refused(bench: Bench) -> None:
    leg, other = bench.engine.open(), bench.engine.open()
    with pytest.raises(ValueError, match="our own ports"):
        bench.engine.describe(leg.id, Remote(HOST, other.port, signalling=HOST))
    for each in (leg, other):
        bench.engine.close(each.id)


def test_stale_packets_are_not_for_the_next_call(bench: Bench) -> None:
    leg = bench.engine.open()
    phone = Phone(leg, 5)
    bench.engine.close(leg.id)
    settle()
    phone.send(20)
    settle()
    before = bench.engine.counters()["stray"]
    assert before >= 20
    phone.close()


ATTACH = """
import json, sys
from media_core import MediaEngine
engine = MediaEngine(*map(int, sys.argv[1:4]))
for leg in engine.legs():
    engine.connect(leg, leg)
print(json.dumps({"legs": engine.legs(), "counters": engine.counters(), "datapath": engine.datapath()}))
"""


def test_another_process_takes_the_engine_over(bench: Bench) -> None:
    leg = bench.engine.open()
    phone = Phone(leg, 7)
    bench.engine.describe(leg.id, phone.remote())
    fds = bench.memory, bench.core_wake, bench.calls_wake
    out = subprocess.run([sys.executable, "-c", ATTACH, *map(str, fds)], pass_fds=fds, check=True, capture_output=True)
    found = json.loads(out.stdout)
    assert found["legs"] == [leg.id]
    assert found["datapath"] == bench.engine.datapath() != ""
    settle()
    phone.send(3)
    assert len(phone.receive(3)) == 3
    phone.close()
    bench.engine.close(leg.id)


def energy(samples: list[float], frequency: float) -> float:
    """Goertzel: share of the power that is at this frequency."""
    re = sum(s * math.cos(2 * math.pi * frequency * n / 8000) for n, s in enumerate(samples))
    im = sum(s * math.sin(2 * math.pi * frequency * n / 8000) for n, s in enumerate(samples))
    return 2 * (re * re + im * im) / (len(samples) * sum(s * s for s in samples))


@pytest.mark.parametrize("payload_type", [0, 8])
def test_g711_by_its_definition(payload_type: int) -> None:
    """Decoding by the formulas of G.711 gives back each sample within half a step of its segment."""
    samples = list(range(-32768, 32768, 37))
    for sample, octet in zip(samples, g711(samples, payload_type), strict=True):
        assert abs(decode(octet, payload_type) - sample) <= max(16, abs(sample) / 16 if abs(sample) < 32000 else 2000)
    assert g711([0], payload_type) == (b"\xd5" if payload_type == 8 else b"\xff")


def decode(octet: int, payload_type: int) -> int:
    if payload_type == 8:
        octet ^= 0x55
        exponent, mantissa = octet >> 4 & 7, octet & 15
        value = (mantissa * 16 + 8) if exponent == 0 else (mantissa * 16 + 264) << (exponent - 1)
        return value if octet & 0x80 else -value
    octet = ~octet & 0xFF
    value = ((octet & 15) * 8 + 132) << (octet >> 4 & 7)
    return -(value - 132) if octet & 0x80 else value - 132


@pytest.mark.parametrize("payload_type", [0, 8])
def test_a_tone_is_heard(bench: Bench, payload_type: int) -> None:
    leg = bench.engine.open()
    phone = Phone(leg, 9)
    bench.engine.describe(leg.id, phone.remote())
    bench.engine.play(leg.id, [(440, 0, 200), (0, 0, 100), (350, 440, 200)], payload_type)
    frames = [fields(p) for p in phone.receive(25)]
    bench.wait(PlayEnded, leg=leg.id)
    assert phone.nothing()
    assert {f[0] for f in frames} == {payload_type}
    assert [f[1] - frames[0][1] & 0xFFFF for f in frames] == list(range(25))
    assert [f[2] - frames[0][2] & 0xFFFFFFFF for f in frames] == list(range(0, 25 * 160, 160))
    samples = [float(decode(octet, payload_type)) for f in frames for octet in f[4]]
    assert energy(samples[:1600], 440) > 0.9
    assert max(map(abs, samples[1600:2400])) < 20
    assert energy(samples[2400:], 350) > 0.4
    assert energy(samples[2400:], 440) > 0.4
    phone.close()
    bench.engine.close(leg.id)


def test_relayed_media_follows_a_tone_without_a_break(bench: Bench) -> None:
    leg = bench.engine.open()
    phone = Phone(leg, 11)
    bench.engine.describe(leg.id, phone.remote())
    bench.engine.play(leg.id, [(440, 0, 100)], 8)
    tone = [fields(p) for p in phone.receive(5)]
    bench.wait(PlayEnded, leg=leg.id)
    bench.engine.connect(leg.id, leg.id)
    settle()
    phone.send(5)
    echo = [fields(p) for p in phone.receive(5)]
    assert [f[1] - tone[0][1] & 0xFFFF for f in tone + echo] == list(range(10))
    assert len({f[3] for f in tone + echo}) == 1
    assert echo[0][2] - tone[-1][2] & 0xFFFFFFFF < 80000
    phone.close()
    bench.engine.close(leg.id)


def test_digits_as_events(bench: Bench) -> None:
    leg = bench.engine.open()
    phone = Phone(leg, 13)
    bench.engine.describe(leg.id, phone.remote(telephone_event=101))
    bench.engine.send_digits(leg.id, "5#")
    frames = [fields(p) for p in phone.receive(14)]
    assert phone.nothing()
    assert {f[0] for f in frames} == {101}
    assert [f[1] - frames[0][1] & 0xFFFF for f in frames] == list(range(14))
    assert [f[4] for f in frames[:7]] == [
        struct.pack("!BBH", 5, 10 | end << 7, 160 * n) for n, end in [(1, 0), (2, 0), (3, 0), (4, 0), *[(5, 1)] * 3]
    ]
    assert {f[4][0] for f in frames[7:]} == {11}
    assert len({f[2] for f in frames[:7]}) == len({f[2] for f in frames[7:]}) == 1
    assert frames[7][2] - frames[0][2] & 0xFFFFFFFF == 1280
    phone.close()
    bench.engine.close(leg.id)


def test_digits_as_tones_for_a_far_end_without_events(bench: Bench) -> None:
    leg = bench.engine.open()
    phone = Phone(leg, 13)
    bench.engine.describe(leg.id, phone.remote())
    with pytest.raises(ValueError, match="digits are"):
        bench.engine.send_digits(leg.id, "x")
    bench.engine.connect(leg.id, leg.id)
    settle()
    phone.send(2)
    phone.receive(2)
    bench.engine.send_digits(leg.id, "5")
    frames = [fields(p) for p in phone.receive(5)]
    samples = [float(decode(octet, 8)) for f in frames for octet in f[4]]
    assert {f[0] for f in frames} == {8}
    assert energy(samples, 770) > 0.4
    assert energy(samples, 1336) > 0.4
    phone.close()
    bench.engine.close(leg.id)


def test_a_tone_goes_on_in_another_core() -> None:
    with running(legs=2) as bench:
        leg = bench.engine.open()
        phone = Phone(leg, 15)
        bench.engine.describe(leg.id, phone.remote())
        bench.engine.play(leg.id, [(440, 0, 600)], 8)
        first = phone.receive(5)
        bench.kill()
        bench.start()
        frames = [fields(p) for p in [*first, *phone.receive(25)]]
        bench.wait(PlayEnded, leg=leg.id)
        offsets = [f[1] - frames[0][1] & 0xFFFF for f in frames]
        assert offsets == sorted(set(offsets))
        phone.close()


def test_the_core_says_which_datapath_it_is() -> None:
    with running(legs=2, datapath="epoll") as bench:
        assert bench.engine.datapath() == "epoll"
        bench.kill()
        bench.start()
        assert not [e for e in bench.events if isinstance(e, CoreStarted)]
        assert bench.engine.counters()["generation"] == 2


def test_sip_flows_live_beside_the_media() -> None:
    """A datagram in, one out, and a new core takes the socket over."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sip:
        sip.bind((HOST, 0))
        with running(legs=2, sip=[{"fd": sip.fileno(), "transport": "udp"}]) as bench:
            assert [flow.transport for flow in bench.engine.listeners()] == [Transport.UDP]
            for _ in range(2):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
                    phone.bind((HOST, 0))
                    message = b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 0\r\n\r\n"
                    phone.sendto(message, sip.getsockname())
                    assert bench.wait(FlowOpened).flow.remote == phone.getsockname()
                    received = bench.wait(FlowReceived)
                    assert received.data == message
                    bench.engine.send(received.flow, b"SIP/2.0 200 OK\r\n\r\n")
                    phone.settimeout(5)
                    assert phone.recv(100) == b"SIP/2.0 200 OK\r\n\r\n"
                bench.kill()
                bench.start()


def test_a_spare_core_takes_over() -> None:
    """It touches nothing before it is told to, and ends when it is never needed."""
    with running(legs=2) as bench:
        go = os.eventfd(0, os.EFD_NONBLOCK)
        leg = bench.engine.open()
        phone = Phone(leg, 17)
        bench.engine.describe(leg.id, phone.remote())
        bench.engine.connect(leg.id, leg.id)
        spare, spare_end = bench.spawn(go)
        idle, idle_end = bench.spawn(go)
        settle(0.5)
        assert bench.engine.counters()["generation"] == 1
        bench.kill()
        os.close(idle_end)
        assert idle.wait(10) == 0
        bench.core, bench.stop_end = spare, spare_end
        os.eventfd_write(go, 1)
        bench.wait_started()
        assert bench.engine.counters()["generation"] == 2
        phone.send(3)
        assert len(phone.receive(3)) == 3
        phone.close()
        os.close(go)


def test_silence_is_told() -> None:
    with running(legs=2) as bench:
        leg = bench.engine.open()
        phone = Phone(leg, 19)
        bench.engine.describe(leg.id, phone.remote())
        settle()
        phone.send(1)
        bench.wait(MediaStarted, leg=leg.id)
        phone.send(1)
        assert bench.wait(MediaSilent, leg=leg.id).seconds in (10, 11)
        stranger, other = rtp_pair()
        with stranger, other:  # its router may have given the phone another address: for a diagnosis that is counted
            stranger.sendto(phone.packet(), (HOST, leg.port))
            settle()
        assert bench.engine.stats(leg.id).received.dropped_source == 1
        phone.send(1)
        bench.wait(MediaStarted, leg=leg.id)
        phone.close()
