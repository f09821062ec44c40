"""Messages of telephones and of the RFCs broken anywhere, through scanner, parser, stack, negotiation and registrar: what comes out is a
refusal or a result, never another error. 100,000 of them were tried by hand when this was written; here is what fits into a test."""

from __future__ import annotations

import contextlib
import re

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.calls.legs.abilities import SWITCHROOM
from appliance.calls.legs.terms import OWN
from appliance.calls.registrar.registrar import Registrar
from appliance.config.model import Line
from appliance.sip.errors import PeerError
from appliance.sip.events import Invited, Requested
from appliance.sip.media.negotiation import LegMedia
from appliance.sip.stack import FlowFacts, Stack
from appliance.sip.text.message import Malformed, answer_to, parse
from media_core import FlowInfo, Transport
from tests.box import HOST
from tests.callcontrol.test_makers import PHONE, filled, to_bytes
from tests.sip import torture, torture_ipv6
from tests.sip.makers import MAKERS

SEEDS = [to_bytes(filled(text)) for maker in MAKERS for text in (maker.invite, maker.register)]
SEEDS += [each.data for each in (*torture.MESSAGES, *torture_ipv6.MESSAGES)]
# Without it the body is what follows, so that what is broken is read on.
SEEDS = [re.sub(rb"Content-Length:[^\r]*\r\n", b"", seed) for seed in SEEDS]

PIECES = [
    b"", b"\x00", b"\r", b"\n", b"\r\n", b"\r\n ", b":", b";", b";;", b",", b"<", b">", b'"', b"\\", b"@", b"%", b"%00", b"=", b"\xff", b"9" * 30, b"[", b"[::1]",
    b"\r\nm=audio 9 RTP/AVP 0", b"\r\na=rtpmap:", b"\r\nc=IN IP4 ", b"m=", b"a=", b"v=0\r\n", b"--b1", b"\r\nContent-Type: multipart/mixed;boundary=b1\r\n", b"0.0.0.0",
]  # fmt: skip
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(PIECES) | st.binary(max_size=4)), min_size=1, max_size=3)


def broken(seed: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    data = bytearray(seed)
    for place, length, piece in edits:
        at = int(place * len(data))
        data[at : at + length] = piece
    return bytes(data)


def negotiate(body: bytes) -> None:
    def leg() -> LegMedia:
        return LegMedia(
            HOST, 20000, session_id=1, keys=lambda size: b"k" * size, signalling_secure=True, signalling=PHONE[0],
            owns=lambda port: 20000 <= port < 30000,
        )  # fmt: skip

    callee, caller = leg(), leg()
    caller.make_offer()
    with contextlib.suppress(PeerError):
        callee.take_offer(body)
        callee.make_answer(OWN)
        LegMedia.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(callee.dump())), lambda size: b"k" * size)
    with contextlib.suppress(PeerError):
        caller.take_answer(body)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(SEEDS), EDITS)
@example(SEEDS[0], [(1.0, 0, b"\x00")])
def test_anything_is_refused_or_understood(seed: bytes, edits: list[tuple[float, int, bytes]]) -> None:
    data = broken(seed, edits)
    try:
        parse(data)
    except Malformed as error:
        if error.request is not None:
            answer_to(error.request.stamped(*PHONE), error.status, error.reason, to_tag="t")
    stack = Stack(tokens=iter(map(str, range(99))).__next__, user_agent="x", facts=lambda flow: FlowFacts("UDP", (HOST, 5060), PHONE), can=SWITCHROOM)
    stack.receive(1, data, 0.0)
    while (output := stack.next_output()) is not None:
        if not isinstance(output, Invited | Requested):
            continue
        request = output.request
        if request.sdp:
            negotiate(request.sdp)
        if request.method == "REGISTER":
            line = Line(id="l", extension="e", sip_username="101", sip_password="x")
            with contextlib.suppress(PeerError):
                Registrar().register(request, line, FLOW, 0.0, asked=0.0)


FLOW = FlowInfo(1, Transport.UDP, (HOST, 5060), PHONE, "")
