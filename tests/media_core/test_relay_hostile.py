"""Hostile media: injection, floods of noise, replays, a hammered neighbour. The call lives, everything is counted."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import pytest

from tests.media_core.bench import DATAPATHS, HOST, Bench, Phone, collect, fields, rtp_pair, running
from tests.media_core.test_relay_srtp import dial, hang_up

SUITE = "AES_CM_128_HMAC_SHA1_80"
NOISE = 100_000


@pytest.fixture(scope="module", params=DATAPATHS)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with running(datapath=request.param, legs=16) as bench:
        yield bench


def test_noise_and_replays_at_a_live_secure_port(bench: Bench) -> None:
    """From the right address even: nothing of it comes out, every packet is accounted for."""
    a, b = dial(bench, SUITE, SUITE)
    generator = random.Random(1)
    first = a.packet()
    a.rtp.sendto(first, (HOST, a.leg.port))
    assert len(b.receive(1)) == 1
    head = struct.pack("!BB", 0x80, 8)
    for number in range(NOISE):
        if number % 3 == 0:
            noise = first
        elif number % 3 == 1:
            noise = head + generator.randbytes(generator.randrange(0, 180))
        else:
            noise = first[:12] + generator.randbytes(len(first) - 12)
        a.rtp.sendto(noise, (HOST, a.leg.port))
        if number % 100 == 99:  # let the relay keep up: what is counted here is what it read
            a.send(1)
            assert len(b.receive(1)) == 1
    received = bench.engine.stats(a.leg.id).received
    assert received.packets == 1 + NOISE // 100
    assert received.dropped_auth + received.dropped_other == NOISE
    hang_up(bench, a, b)


def test_a_spray_over_all_ports_is_not_heard(bench: Bench) -> None:
    """RTPbleed: a stranger sends plausible RTP to every port; no call hears it, and nothing comes back to the stranger."""
    calls = [dial(bench, "", "") for _ in range(3)]
    for a, b in calls:
        a.send(2)
        b.send(2)
        assert len(a.receive(2)) == len(b.receive(2)) == 2
    stranger, other = rtp_pair()
    with stranger, other:
        for _ in range(20):
            for s in bench.sockets:
                for a, _ in calls:
                    stranger.sendto(a.packet(b"\xee" * 160), s.getsockname())
            for a, b in calls:  # who says nothing for half a second may have moved (test_latch.py)
                a.send(1)
                b.send(1)
        for a, b in calls:
            assert {fields(p)[4] for phone in (a, b) for p in phone.receive(20)} == {b"\xd5" * 160}
            a.sequence += 1
            a.send(1, b"\x11" * 160)
            heard = [fields(p)[4] for p in b.receive(1)]
            assert heard == [b"\x11" * 160]
            assert b.nothing(0.02)
            assert a.nothing(0.02)
        assert not collect(stranger, 1, 0.05)
        assert not collect(other, 1, 0.01)
    for pair in calls:
        hang_up(bench, *pair)


def test_a_spray_teaches_a_secure_call_nothing(bench: Bench) -> None:
    """Before the first genuine packet, from the host the call comes from: in sequence, plausible, and without the key."""
    calls = [dial(bench, SUITE, "AEAD_AES_128_GCM") for _ in range(3)]
    stranger, other = rtp_pair()
    with stranger, other:

        def spray(sequence: int) -> None:
            packet = struct.pack("!BBHII", 0x80, 8, sequence, 160 * sequence, 0xBAD) + b"\xee" * 170
            for s in bench.sockets:
                stranger.sendto(packet, s.getsockname())

        for sequence in range(20):
            spray(sequence)
        for a, b in calls:
            assert not bench.engine.stats(a.leg.id).locked
            assert a.nothing(0.02)
            assert b.nothing(0.02)
        for sequence in range(20, 60):
            spray(sequence)
            for a, b in calls:
                a.send(1, b"\x11" * 160)
                b.send(1, b"\x22" * 160)
        for a, b in calls:
            assert [fields(p)[4] for p in b.receive(40)] == [b"\x11" * 160] * 40
            assert [fields(p)[4] for p in a.receive(40)] == [b"\x22" * 160] * 40
            assert a.nothing(0.02)
            assert b.nothing(0.02)
            assert bench.engine.stats(a.leg.id).remote == (HOST, a.port)
        assert not collect(stranger, 1, 0.05)
        assert not collect(other, 1, 0.01)
    for pair in calls:
        hang_up(bench, *pair)


def test_forged_rtcp_is_not_forwarded(bench: Bench) -> None:
    a, b = dial(bench, SUITE, SUITE)
    a.send(2)
    b.receive(2)
    for forged in (struct.pack("!BBHI", 0x81, 203, 1, a.ssrc), struct.pack("!BBHI", 0x80, 201, 1, a.ssrc) + bytes(14)):
        a.rtcp.sendto(forged, (HOST, a.leg.port + 1))
    assert not Phone.receive(b, 1, 0.1, rtcp=True)
    a.send(2)
    assert len(b.receive(2)) == 2
    hang_up(bench, a, b)


def test_a_hammered_port_does_not_starve_the_others(bench: Bench) -> None:
    """More packets in one port's queue than there are buffers; another call's packets come out complete and in order."""
    a, b = dial(bench, "", "")
    victim = bench.engine.open()
    hammer, other = rtp_pair()
    with hammer, other:
        for _ in range(50):
            for _ in range(200):
                hammer.sendto(b"\x80" + bytes(171), (HOST, victim.port))
            a.send(1)
        assert [fields(p)[1] for p in b.receive(50)] == list(range(1000, 1050))
    bench.engine.close(victim.id)
    hang_up(bench, a, b)
