"""The functions that run for every message, under pytest-benchmark: `make bench`, or python -m pytest benchmarks --benchmark-enable.

In the ordinary test run each is called once and its result checked; nothing is timed there.
"""

from __future__ import annotations

import os
from types import MappingProxyType

from pytest_benchmark.fixture import BenchmarkFixture

from appliance.callcontrol.plan import Ring, plan
from appliance.model import Extension, Line, Snapshot
from appliance.sip import digest, message, sdp
from media_core import Slots, create_slots, sip_scan

BODY = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\nm=audio 40000 RTP/SAVP 9 8 0 101\r\n"
    b"a=rtpmap:9 G722/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
    b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\na=sendrecv\r\n"
)
INVITE = (
    b"INVITE sip:101@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.7:5061;branch=z9hG4bK74bf9;rport\r\nMax-Forwards: 70\r\n"
    b'From: "Anna" <sip:100@192.0.2.1>;tag=9fxced76sl\r\nTo: <sip:101@192.0.2.1>\r\nCall-ID: 3848276298220188511@192.0.2.7\r\nCSeq: 1 INVITE\r\n'
    b"Contact: <sip:100@192.0.2.7:5061;transport=tls>\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE\r\nSupported: replaces, timer, outbound\r\n"
    b'Authorization: Digest username="100", realm="switchroom", nonce="QLLWyKi9lwKQfNS5qFzN89JxxUyrL8JI", uri="sip:101@192.0.2.1", '
    b'response="7418d0a08445cd2f6263331e21cce3dd", cnonce="ad6252f21e9f16e5", qop=auth, nc=00000001, algorithm=MD5\r\n'
    b"User-Agent: Phone/1.0\r\nContent-Type: application/sdp\r\nContent-Length: "
    + str(len(BODY)).encode()
    + b"\r\n\r\n"
    + BODY
)
ROUNDS = {"rounds": 20, "iterations": 200, "warmup_rounds": 1}


def test_scan_an_invite(benchmark: BenchmarkFixture) -> None:
    scan = benchmark.pedantic(sip_scan.scan, (INVITE,), **ROUNDS)  # type: ignore[no-untyped-call]
    assert scan.start_line()[0] == "INVITE"


def test_read_the_headers_a_call_needs(benchmark: BenchmarkFixture) -> None:
    def read() -> tuple[str, str, int, str]:
        request = message.parse(INVITE)
        assert isinstance(request, message.Request)
        return request.uri.user, request.from_.uri.user, request.cseq[0], request.via.branch

    assert benchmark.pedantic(read, **ROUNDS) == ("101", "100", 1, "z9hG4bK74bf9")  # type: ignore[no-untyped-call]


def test_read_an_offer(benchmark: BenchmarkFixture) -> None:
    session = benchmark.pedantic(sdp.parse, (BODY,), **ROUNDS)  # type: ignore[no-untyped-call]
    assert session.media[0].port == 40000


def test_check_a_digest(benchmark: BenchmarkFixture) -> None:
    def check() -> bool:
        credentials = digest.Credentials.parse(message.parse(INVITE).get("Authorization") or "")
        assert credentials is not None
        return digest.verify(credentials, "INVITE", "password")

    assert benchmark.pedantic(check, **ROUNDS) is False  # type: ignore[no-untyped-call]


def test_plan_a_number_among_a_thousand(benchmark: BenchmarkFixture) -> None:
    extensions = {str(number): Extension(id=str(number), number=str(number)) for number in range(1000, 2000)}
    lines = {key: Line(id=key, extension=key, sip_username=key, sip_password="x" * 12) for key in extensions}
    snapshot = Snapshot(1, MappingProxyType({"extension": extensions, "line": lines}))
    step = benchmark.pedantic(plan, ("1999", extensions["1000"], snapshot), **ROUNDS)  # type: ignore[no-untyped-call]
    assert isinstance(step.action, Ring)


def test_a_turn_into_the_slots(benchmark: BenchmarkFixture) -> None:
    """One leg has changed, one message waits to be sent: written, committed, and told that it has left."""
    fd = create_slots(100)
    slots = Slots(fd)
    slot = slots.legs.claim()
    assert slot is not None
    states = [b"%d" % number + bytes(1500) for number in range(2)]

    def turn() -> int:
        states.reverse()
        slots.legs.write(slot, states[0])
        slots.commit((1, 2, 3), [(7, INVITE)])
        slots.left()
        return slots.turn

    assert benchmark.pedantic(turn, **ROUNDS) > 0  # type: ignore[no-untyped-call]
    os.close(fd)
