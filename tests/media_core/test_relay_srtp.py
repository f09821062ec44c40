"""Encrypted legs against pylibsrtp: every mix, authentication before learning, re-keying, kill -9 in the middle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from pylibsrtp import Policy, Session

from media_core import CoreStarted, Crypto, Remote
from tests.media_core.bench import HOST, WAYS, Bench, Phone, fields, report, running, settle, way

SUITES = {
    "AES_CM_128_HMAC_SHA1_80": (16, 14, Policy.SRTP_PROFILE_AES128_CM_SHA1_80),
    "AES_CM_128_HMAC_SHA1_32": (16, 14, Policy.SRTP_PROFILE_AES128_CM_SHA1_32),
    "AEAD_AES_128_GCM": (16, 12, Policy.SRTP_PROFILE_AEAD_AES_128_GCM),
    "AEAD_AES_256_GCM": (32, 12, Policy.SRTP_PROFILE_AEAD_AES_256_GCM),
}


def key(suite: str) -> Crypto:
    key_length, salt_length, _ = SUITES[suite]
    return Crypto(suite, os.urandom(key_length), os.urandom(salt_length))


def session(crypto: Crypto, inbound: bool) -> Session:
    direction = Policy.SSRC_ANY_INBOUND if inbound else Policy.SSRC_ANY_OUTBOUND
    return Session(Policy(crypto.key + crypto.salt, direction, srtp_profile=SUITES[crypto.suite][2]))


class SecurePhone(Phone):
    """A phone with SRTP by libsrtp; suite "" is a plain one."""

    def __init__(self, leg: Any, ssrc: int, suite: str, mki: bytes = b"") -> None:
        super().__init__(leg, ssrc)
        self.suite = suite
        self.mki = mki  # in every packet it sends
        if suite:
            self.rekey()

    def rekey(self) -> None:
        self.out, self.back = replace(key(self.suite), mki_length=len(self.mki)), key(self.suite)
        self.protect, self.unprotect = session(self.out, False), session(self.back, True)

    def remote(self, **changes: Any) -> Remote:
        crypto = {"crypto_in": self.out, "crypto_out": self.back} if self.suite else {}
        return super().remote(**{**crypto, **changes})

    def packet(self, payload: bytes = b"\xd5" * 160, **options: Any) -> bytes:
        packet = super().packet(payload, **options)
        return self.marked(self.protect.protect(packet), len(packet)) if self.suite else packet

    def marked(self, sealed: bytes, end: int) -> bytes:
        """With the MKI: before the tag at `end` (RFC 3711 figures 1 and 2), of an AEAD behind everything (RFC 7714 figures 1 and 2)."""
        at = len(sealed) if "GCM" in self.suite else end
        return sealed[:at] + self.mki + sealed[at:]

    def receive(self, count: int, seconds: float = 10.0, *, rtcp: bool = False) -> list[bytes]:
        packets = super().receive(count, seconds, rtcp=rtcp)
        if not self.suite:
            return packets
        return [bytes((self.unprotect.unprotect_rtcp if rtcp else self.unprotect.unprotect)(p)) for p in packets]

    def report_packet(self, about: int, lost: int) -> bytes:
        """A report about the stream `about`, as it goes over the wire."""
        packet = report(self.ssrc, 777, about, 1003, lost=lost)
        return self.marked(self.protect.protect_rtcp(packet), len(packet) + 4) if self.suite else packet

    def report(self, about: int, lost: int) -> None:
        self.rtcp.sendto(self.report_packet(about, lost), (HOST, self.leg.port + 1))


def dial(bench: Bench, first: str, second: str, mki: bytes = b"") -> tuple[SecurePhone, SecurePhone]:
    a = bench.engine.open()
    b = bench.second(a)
    phones = SecurePhone(a, 0xA0A0A0A0, first, mki), SecurePhone(b, 0xB0B0B0B0, second)
    for phone in phones:
        bench.engine.describe(phone.leg.id, phone.remote())
    bench.engine.connect(a.id, b.id)
    settle()
    return phones


def hang_up(bench: Bench, *phones: Phone) -> None:
    for phone in phones:
        bench.engine.close(phone.leg.id)
        phone.close()


@pytest.fixture(scope="module", params=WAYS, ids=way)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    datapath, apart = request.param
    with running(datapath=datapath, apart=apart, legs=16) as bench:
        yield bench


@pytest.mark.parametrize("second", ["", *SUITES])
@pytest.mark.parametrize("first", SUITES)
def test_every_mix(bench: Bench, first: str, second: str) -> None:
    a, b = dial(bench, first, second)
    a.send(40, b"\x11" * 160)
    b.send(40, b"\x22" * 160)
    at_b, at_a = [fields(p) for p in b.receive(40)], [fields(p) for p in a.receive(40)]
    assert [f[1] for f in at_b] == [f[1] for f in at_a] == list(range(1000, 1040))
    assert {f[4] for f in at_b} == {b"\x11" * 160}
    assert {f[4] for f in at_a} == {b"\x22" * 160}
    a.report(at_a[0][3], lost=3)
    b.report(at_b[0][3], lost=4)
    assert b.receive(1, rtcp=True)[0] == report(at_b[0][3], 777, b.ssrc, 1003, lost=3)
    assert a.receive(1, rtcp=True)[0] == report(at_a[0][3], 777, a.ssrc, 1003, lost=4)
    assert bench.engine.stats(a.leg.id).secure
    assert bench.engine.stats(b.leg.id).secure == bool(second)
    hang_up(bench, a, b)


@pytest.mark.parametrize("mki", [b"\x01", bytes(3) + b"\x01", bytes(128)], ids=len)
@pytest.mark.parametrize("suite", SUITES)
def test_packets_that_name_their_key(bench: Bench, suite: str, mki: bytes) -> None:
    """`a=crypto:1 … inline:KEY|2^31|1:1`: each packet carries an MKI; it is read over, both ways are heard."""
    a, b = dial(bench, suite, "", mki)
    a.send(20, b"\x11" * 160)
    b.send(20, b"\x22" * 160)
    assert {fields(p)[4] for p in b.receive(20)} == {b"\x11" * 160}
    at_a = [fields(p) for p in a.receive(20)]
    assert {f[4] for f in at_a} == {b"\x22" * 160}
    a.report(at_a[0][3], lost=3)
    assert len(b.receive(1, rtcp=True)) == 1
    received = bench.engine.stats(a.leg.id).received
    assert (received.packets, received.rtcp_packets, received.dropped_auth) == (20, 1, 0)
    hang_up(bench, a, b)


def test_forged_and_replayed_packets_go_nowhere(bench: Bench) -> None:
    a, b = dial(bench, "AES_CM_128_HMAC_SHA1_80", "")
    packets = [a.packet() for _ in range(5)]
    for packet in packets:
        a.rtp.sendto(packet, (HOST, a.leg.port))
        a.rtp.sendto(packet, (HOST, a.leg.port))
        a.rtp.sendto(packet[:-1] + bytes([packet[-1] ^ 1]), (HOST, a.leg.port))
        a.rtp.sendto(packet[:20], (HOST, a.leg.port))
    assert len(b.receive(5)) == 5
    assert b.nothing()
    received = bench.engine.stats(a.leg.id).received
    assert (received.packets, received.dropped_auth + received.dropped_other) == (5, 15)
    hang_up(bench, a, b)


def test_only_authenticated_packets_teach(bench: Bench) -> None:
    a, b = dial(bench, "AES_CM_128_HMAC_SHA1_80", "")
    bench.engine.describe(a.leg.id, a.remote(address="192.0.2.7", port=4000))
    settle()
    b_plain = Phone(a.leg, 0xDEAD)
    b_plain.send(20)
    assert b.nothing()
    assert not bench.engine.stats(a.leg.id).locked
    a.send(8)
    assert len(b.receive(5)) == 5
    assert bench.engine.stats(a.leg.id).remote == (HOST, a.port)
    b_plain.close()
    hang_up(bench, a, b)


def test_same_key_goes_on_another_key_begins_anew(bench: Bench) -> None:
    a, b = dial(bench, "AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80")
    a.sequence = 65530
    a.send(10)
    assert len(b.receive(10)) == 10
    for phone in (a, b):
        bench.engine.describe(phone.leg.id, phone.remote(send=True))
    settle()
    a.send(10)  # behind the wrap: a fresh context would not know the rollover counter
    assert len(b.receive(10)) == 10
    b.rekey()
    bench.engine.describe(b.leg.id, b.remote())
    settle()
    a.send(10)
    b.send(10)
    assert len(b.receive(10)) == 10
    assert len(a.receive(10)) == 10
    hang_up(bench, a, b)


@pytest.mark.parametrize(
    ("crypto", "message"),
    [
        (Crypto("AES_CM_128_HMAC_SHA1_99", b"k" * 16, b"s" * 14), "no SRTP suite"),
        (Crypto("AES_CM_128_HMAC_SHA1_80", b"k" * 15, b"s" * 14), "a key of 16"),
        (Crypto("AES_CM_128_HMAC_SHA1_80", b"k" * 16, b"s" * 14, 129), "up to 128"),
    ],
)
def test_an_unusable_key_is_refused(bench: Bench, crypto: Crypto, message: str) -> None:
    leg = bench.engine.open()
    with pytest.raises(ValueError, match=message):
        bench.engine.describe(leg.id, Remote(HOST, 4000, signalling=HOST, crypto_in=crypto))
    bench.engine.close(leg.id)


@pytest.mark.parametrize(("datapath", "apart"), WAYS)
@pytest.mark.parametrize("suite", ["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM"])
def test_kill_9_in_the_middle(suite: str, datapath: str, apart: bool) -> None:
    """Another core goes on: same keys, rollover counter right just behind a wrap, no index twice."""
    with running(legs=4, datapath=datapath, apart=apart) as bench:
        a, b = dial(bench, suite, suite)
        a.sequence = 65436
        raw: list[bytes] = []
        seen: list[int] = []

        def carry(count: int) -> None:
            a.send(count)
            packets = Phone.receive(b, count)
            raw.extend(packets)
            seen.extend(fields(bytes(b.unprotect.unprotect(p)))[1] for p in packets)

        carry(90)
        for _ in range(3):
            bench.kill()
            bench.start()
            carry(30)
        assert seen == [n & 0xFFFF for n in range(65436, 65436 + 180)]
        assert len({(p[2:4], p[12:]) for p in raw}) == 180
        stats = bench.engine.stats(a.leg.id)
        assert (stats.received.packets, stats.received.lost, stats.secure) == (180, 0, True)
        assert bench.engine.counters()["generation"] == 4
        assert not [e for e in bench.events if isinstance(e, CoreStarted)]
        hang_up(bench, a, b)


def test_what_was_asked_while_the_core_was_away_is_done(bench: Bench) -> None:
    with running(legs=4, apart=bench.apart) as own:
        own.kill()
        a = own.engine.open()
        b = own.second(a)
        phones = [SecurePhone(a, 1, "AEAD_AES_256_GCM"), SecurePhone(b, 2, "")]
        for phone in phones:
            own.engine.describe(phone.leg.id, phone.remote())
        own.engine.connect(a.id, b.id)
        own.start()
        phones[0].send(5)
        assert len(phones[1].receive(5)) == 5
        hang_up(own, *phones)


def test_what_was_encrypted_is_counted(bench: Bench) -> None:
    """Not what was agreed: a leg may begin plain and be keyed later, or be agreed on and never carry a packet."""
    a, b = dial(bench, "AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM")

    def counted(phone: Phone) -> tuple[int, int, int, int]:
        stats = bench.engine.stats(phone.leg.id)
        return stats.received.packets, stats.received.secured, stats.sent.packets, stats.sent.secured

    assert counted(a) == (0, 0, 0, 0)
    a.send(5)
    assert len(b.receive(5)) == 5
    assert (counted(a), counted(b)) == ((5, 5, 0, 0), (0, 0, 5, 5))
    a.suite = ""
    bench.engine.describe(a.leg.id, a.remote())
    settle()
    a.send(3)
    assert len(b.receive(3)) == 3
    assert (counted(a), counted(b)) == ((8, 5, 0, 0), (0, 0, 8, 8))
    a.suite = "AES_CM_128_HMAC_SHA1_80"
    a.rekey()
    bench.engine.describe(a.leg.id, a.remote())
    settle()
    a.send(4)
    b.send(2)
    assert (len(b.receive(4)), len(a.receive(2))) == (4, 2)
    assert counted(a) == (12, 9, 2, 2)
    settle()
    final = bench.engine.close(a.leg.id)
    assert (final.received.secured, final.sent.secured) == (9, 2)
    settle()
    assert bench.engine.stats(a.leg.id).received.secured == 9, "also after its keys are gone"
    hang_up(bench, b)
    a.close()
