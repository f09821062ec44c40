"""Whose packets a leg takes and where its own go: from the first packet to a telephone that moves, for who sits beside it, too."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from media_core import MediaStarted
from tests.media_core.bench import DATAPATHS, HOST, PATIENCE, Bench, Phone, collect, fields, running, settle
from tests.media_core.test_relay_srtp import SecurePhone, dial, hang_up

OTHER_HOST = "127.0.0.2"
SUITES = ("", "AES_CM_128_HMAC_SHA1_80")
INTERVAL = 0.02  # seconds between packets
VOICE, FOREIGN = b"\x11" * 160, b"\xee" * 160


@pytest.fixture(scope="module", params=DATAPATHS)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with running(datapath=request.param, legs=16) as bench:
        yield bench


@pytest.fixture(params=SUITES, ids=lambda suite: suite or "plain")
def call(bench: Bench, request: pytest.FixtureRequest) -> Iterator[tuple[SecurePhone, SecurePhone]]:
    phones = dial(bench, request.param, "")
    yield phones
    hang_up(bench, *phones)


@contextlib.contextmanager
def neighbour(of: Phone, host: str = HOST) -> Iterator[Phone]:
    """Somebody else who sends to the leg of this phone, without its key."""
    with contextlib.closing(Phone(of.leg, 0xBAD0BAD0)) as made:
        made.sequence = random.randrange(20000, 30000)
        if host != HOST:
            for half in (made.rtp, made.rtcp):
                half.close()
            made.rtp, made.rtcp = at(host), at(host)
        yield made


def at(host: str, port: int = 0) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    made.bind((host, port))
    return made


def heard(phone: Phone, seconds: float = 0.1) -> set[bytes]:
    """Payloads of what has come."""
    return {fields(packet)[4] for packet in phone.receive(1000, seconds)}


def until(done: Callable[[], object], step: Callable[[], None]) -> None:
    """`step` as often as a telephone sends, until it is done."""
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end
        step()
        time.sleep(INTERVAL)


def moved(phone: SecurePhone, rtp: socket.socket, rtcp: socket.socket) -> None:
    for half in (phone.rtp, phone.rtcp):
        half.close()
    phone.rtp, phone.rtcp = rtp, rtcp


def talk(bench: Bench, a: SecurePhone, b: SecurePhone) -> None:
    a.send(3, VOICE)
    assert heard(b) == {VOICE}
    b.send(1)
    assert len(a.receive(1)) == 1


# ---- before the first packet, and who was first by mistake -----------------------------------------------------------------


@pytest.mark.parametrize("host", [HOST, OTHER_HOST])
def test_the_announced_address_is_heard_whoever_began_before(
    bench: Bench, call: tuple[SecurePhone, SecurePhone], host: str
) -> None:
    """A neighbour behind the same address sends first, in sequence, and goes on: not one packet of the telephone is lost to him."""
    a, b = call
    with neighbour(a, host) as other:
        other.send(10, FOREIGN)
        heard(b)  # nothing can be said of what came before the telephone spoke
        for _ in range(60):
            a.send(1, VOICE)
            assert [fields(p)[4] for p in b.receive(1)] == [VOICE]
            other.send(1, FOREIGN)
            b.send(1)
            assert len(a.receive(1)) == 1
        assert heard(b) == set()
        assert not collect(other.rtp, 1, 0.05)
    assert bench.engine.stats(a.leg.id).remote == (HOST, a.port)


@pytest.mark.parametrize("announced", [HOST, OTHER_HOST])
def test_who_was_believed_in_its_place_gives_way(bench: Bench, announced: str) -> None:
    """Another port of the announced host, or the host of the signalling in the place of a telephone that has its media elsewhere."""
    a, b = dial(bench, "", "")
    moved(a, at(announced), at(announced))
    bench.engine.describe(a.leg.id, a.remote(address=announced))
    settle()
    with neighbour(a) as other:
        until(lambda: bench.engine.stats(a.leg.id).locked, lambda: other.send(1, FOREIGN))
        assert bench.engine.stats(a.leg.id).remote == (HOST, other.port)
        heard(b)
        a.send(1, VOICE)
        assert [fields(p)[4] for p in b.receive(1)] == [VOICE], "its very first packet"
        other.send(20, FOREIGN)
        b.send(1)
        assert len(a.receive(1)) == 1
        assert not heard(b)
        collect(other.rtp, 1000, 0.05)
        b.send(1)
        assert not collect(other.rtp, 1, 0.05)
    hang_up(bench, a, b)


def test_a_telephone_behind_nat_is_learned_at_once(bench: Bench) -> None:
    """It announced an address that nobody reaches: the fourth packet from the host of its signalling is heard."""
    a, b = dial(bench, "", "")
    bench.engine.describe(a.leg.id, a.remote(address="192.0.2.7", port=4000, rtcp_port=4001))
    settle()
    a.send(4, VOICE)
    assert len(b.receive(1)) == 1
    b.send(1)
    assert len(a.receive(1)) == 1
    hang_up(bench, a, b)


def test_a_telephone_behind_nat_is_settled_in_the_end() -> None:
    """For five seconds the address that it announced may still speak up; then its socket is connected, and who comes from there later is
    a stranger."""
    with running(datapath="auto", legs=4) as bench:
        a, b = dial(bench, "", "")
        bench.engine.describe(a.leg.id, a.remote(address=OTHER_HOST, port=4000, rtcp_port=4001))
        settle()
        end = time.monotonic() + 7
        until(lambda: time.monotonic() > end, lambda: a.send(1, VOICE))
        with at(OTHER_HOST, 4000) as late:
            for _ in range(10):
                late.sendto(Phone.packet(a, FOREIGN), (HOST, a.leg.port))
                a.send(1, VOICE)
        assert heard(b) == {VOICE}
        assert bench.engine.stats(a.leg.id).remote == (HOST, a.port)
        hang_up(bench, a, b)


# ---- in the middle ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [HOST, OTHER_HOST])
def test_nobody_else_is_heard_while_the_source_speaks(
    bench: Bench, call: tuple[SecurePhone, SecurePhone], host: str
) -> None:
    a, b = call
    talk(bench, a, b)
    with neighbour(a, host) as other:
        for _ in range(60):
            other.send(1, FOREIGN)
            a.send(1, VOICE)
            time.sleep(INTERVAL)
        assert heard(b) == {VOICE}
        b.send(1)
        assert len(a.receive(1)) == 1
        assert not collect(other.rtp, 1, 0.05)
    stats = bench.engine.stats(a.leg.id)
    assert (stats.remote, stats.received.source_changes) == ((HOST, a.port), 0)
    if bench.datapath == "raw":  # elsewhere the kernel drops them: the socket is connected
        assert stats.received.dropped_source == 60


@pytest.mark.parametrize("muxed", [False, True])
@pytest.mark.parametrize("host", [HOST, OTHER_HOST])
def test_a_telephone_that_moves(bench: Bench, call: tuple[SecurePhone, SecurePhone], host: str, muxed: bool) -> None:
    """Its NAT gives it another port, or (SRTP only) it is in another network: heard again, both ways, RTCP too; without a re-INVITE."""
    a, b = call
    if muxed:
        bench.engine.describe(a.leg.id, a.remote(rtcp_port=a.port))
        settle()
    talk(bench, a, b)
    moved(a, at(host), at(host))
    if host != HOST and not a.suite:
        for _ in range(100):  # for two seconds
            a.send(1, VOICE)
            time.sleep(INTERVAL)
        assert not heard(b)
        assert bench.engine.stats(a.leg.id).received.source_changes == 0
        return
    bench.events.clear()
    until(lambda: heard(b, 0.0), lambda: a.send(1, VOICE))
    b.send(1)
    assert len(a.receive(1)) == 1
    about = bench.engine.stats(a.leg.id)
    assert (about.remote, about.received.source_changes) == ((host, a.port), 1)
    reporter, port = (a.rtp, a.leg.port) if muxed else (a.rtcp, a.leg.port + 1)
    reporter.sendto(a.report_packet(0, lost=0), (HOST, port))
    assert b.receive(1, rtcp=True)
    b.report(0, lost=0)
    assert collect(reporter, 1)
    a.send(20, VOICE)
    assert len(b.receive(20)) == 20


def test_who_was_followed_in_silence_gives_way(bench: Bench) -> None:
    """A neighbour speaks into a pause: at its next packet the telephone is the source again."""
    a, b = dial(bench, "", "")
    talk(bench, a, b)
    with neighbour(a) as other:
        until(lambda: FOREIGN in heard(b, 0.0), lambda: other.send(1, FOREIGN))
        a.send(1, VOICE)
        assert VOICE in heard(b)
        other.send(20, FOREIGN)
        a.send(5, VOICE)
        assert heard(b) == {VOICE}
        b.send(1)
        assert len(a.receive(1)) == 1
    hang_up(bench, a, b)


@pytest.mark.parametrize("suite", ["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM"])
def test_what_was_heard_once_moves_nothing(bench: Bench, suite: str) -> None:
    """Somebody who has listened plays a secure telephone's packets back from elsewhere, in its silence."""
    a, b = dial(bench, suite, "")
    packets = [a.packet(VOICE) for _ in range(10)]
    for packet in packets:
        a.rtp.sendto(packet, (HOST, a.leg.port))
    assert len(b.receive(10)) == 10
    with at(OTHER_HOST) as thief:
        for _ in range(10):
            for packet in packets:
                thief.sendto(packet, (HOST, a.leg.port))
                time.sleep(INTERVAL)
        assert b.nothing()
        b.send(1)
        assert len(a.receive(1)) == 1
    stats = bench.engine.stats(a.leg.id)
    assert (stats.remote, stats.received.packets) == ((HOST, a.port), 10)
    assert 0 < stats.received.dropped_source <= 100, "not the telephone's key: the address"
    assert stats.received.dropped_auth == 0
    hang_up(bench, a, b)


def test_a_pause_ends_as_it_began(bench: Bench, call: tuple[SecurePhone, SecurePhone]) -> None:
    """Silence disconnects the socket; the telephone that speaks again, from where it was, is heard from its first packet on."""
    a, b = call
    talk(bench, a, b)
    for _ in range(80):  # longer than half a second, and until the next look at the leg
        b.send(1)
        time.sleep(INTERVAL)
    assert len(a.receive(80)) == 80, "and loses nothing of what it hears meanwhile"
    assert bench.engine.stats(a.leg.id).received.source_changes == 0
    a.send(5, VOICE)
    assert len(b.receive(5)) == 5
    bench.wait(MediaStarted, leg=a.leg.id)
