"""Offer and answer of one leg: policies, keys, codecs, hold, m-lines, versions."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec
import pytest

from appliance.sip.errors import PeerError, UnusableAddress, WrongState
from appliance.sip.media.negotiation import EVENT, STANDARD, LegMedia, common, payload_map
from appliance.sip.media.sdes import PREFERENCE
from appliance.sip.text import sdp
from appliance.sip.text.sdp import Format

PCMA, PCMU, G722 = Format(8, "PCMA", 8000), Format(0, "PCMU", 8000), Format(9, "G722", 8000)


def keys() -> Callable[[int], bytes]:
    numbers = count(1)
    return lambda size: bytes([next(numbers)]) * size


def leg(address: str = "192.0.2.1", **options: Any) -> LegMedia:
    options.setdefault("keys", keys())
    return LegMedia(address, 4000, session_id=1, **options)


def secure(encrypt: str = "preferred", **options: Any) -> LegMedia:
    return leg(encrypt=encrypt, signalling_secure=True, **options)


def lines(body: bytes, start: str) -> list[str]:
    return [line for line in body.decode().split("\r\n") if line.startswith(start)]


# ---- policy: (what we are) x (what they offer) -> secure, plain or refused
OFFERS = {
    "plain": lambda: leg("192.0.2.9", encrypt="off"),
    "optional": lambda: secure("preferred", address="192.0.2.9", profile="RTP/AVP"),
    "compulsory": lambda: secure("required", address="192.0.2.9"),
}


@pytest.mark.parametrize(
    ("encrypt", "tls", "offered", "outcome"),
    [
        ("required", True, "plain", "requires encryption and the phone offered none"),
        ("required", True, "optional", "secure"),
        ("required", True, "compulsory", "secure"),
        ("required", False, "plain", "not connected over TLS"),
        ("required", False, "optional", "not connected over TLS"),
        ("required", False, "compulsory", "not connected over TLS"),
        ("preferred", True, "plain", "plain"),
        ("preferred", True, "optional", "secure"),
        ("preferred", True, "compulsory", "secure"),
        ("preferred", False, "plain", "plain"),
        ("preferred", False, "optional", "plain"),
        ("preferred", False, "compulsory", "not connected over TLS"),
        ("off", True, "plain", "plain"),
        ("off", True, "optional", "plain"),
        ("off", True, "compulsory", "switched off"),
        ("off", False, "plain", "plain"),
        ("off", False, "optional", "plain"),
        ("off", False, "compulsory", "switched off"),
    ],
)
def test_policy_on_offers(encrypt: Any, tls: bool, offered: str, outcome: str) -> None:
    phone = OFFERS[offered]()
    ours = leg(encrypt=encrypt, signalling_secure=tls)
    offer = phone.make_offer()
    if outcome not in ("secure", "plain"):
        with pytest.raises(PeerError, match=outcome) as caught:
            ours.take_offer(offer)
        assert caught.value.status == 488
        assert ours.agreed is None
        return
    ours.take_offer(offer)
    answer = ours.make_answer()
    assert ours.agreed is not None
    assert ours.agreed.secure == (outcome == "secure")
    assert bool(lines(answer, "a=crypto")) == (outcome == "secure")
    assert lines(answer, "m=")[0].split()[2] == lines(offer, "m=")[0].split()[2]
    theirs = phone.take_answer(answer)
    assert theirs.secure == (outcome == "secure")
    assert (theirs.crypto_in, theirs.crypto_out) == (ours.agreed.crypto_out, ours.agreed.crypto_in)


@pytest.mark.parametrize(
    ("encrypt", "tls", "protocol"),
    [
        ("required", True, "RTP/SAVP"), ("preferred", True, "RTP/SAVP"), ("off", True, "RTP/AVP"),
        ("preferred", False, "RTP/AVP"), ("off", False, "RTP/AVP"),
    ],
)  # fmt: skip
def test_policy_on_our_offers(encrypt: Any, tls: bool, protocol: str) -> None:
    body = leg(encrypt=encrypt, signalling_secure=tls).make_offer()
    assert lines(body, "m=")[0].split()[2] == protocol
    assert [line.split()[1] for line in lines(body, "a=crypto")] == (list(PREFERENCE) if protocol == "RTP/SAVP" else [])


def test_required_without_tls_offers_nothing() -> None:
    with pytest.raises(PeerError, match="TLS"):
        leg(encrypt="required").make_offer()


@pytest.mark.parametrize("suite", PREFERENCE)
def test_each_suite(suite: str) -> None:
    phone = secure("required", address="192.0.2.9")
    offer = b"\r\n".join(
        line for line in phone.make_offer().split(b"\r\n") if b"a=crypto" not in line or suite.encode() in line
    )
    ours = secure("required")
    ours.take_offer(offer)
    phone.take_answer(ours.make_answer())
    assert phone.agreed is not None
    assert phone.agreed.crypto_in is not None
    assert phone.agreed.crypto_in.suite == suite


def test_answer_without_the_key_is_refused() -> None:
    ours = secure("preferred")
    ours.make_offer()
    phone = leg("192.0.2.9", encrypt="off")
    plain = phone.make_offer()
    with pytest.raises(PeerError, match="without an encryption key"):
        ours.take_answer(plain)
    with pytest.raises(PeerError, match="not offered"):
        ours.take_answer(plain.replace(b"a=sendrecv", b"a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:" + b"A" * 60 + b"AA"))


def test_of_two_lines_the_secure_one_is_taken() -> None:
    """Phones with optional SRTP that offer RTP/AVP first and RTP/SAVP second, or the other way."""
    plain = lines(leg(encrypt="off").make_offer(), "")
    crypto = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40
    head, audio = plain[:5], ["m=audio {} RTP/{} 8", "a=sendrecv"]
    for order in ((0, 1), (1, 0)):
        sections = [[audio[0].format(5000, "AVP"), audio[1]], [audio[0].format(6000, "SAVP"), audio[1], crypto]]
        offer = "\r\n".join([*head, *sections[order[0]], *sections[order[1]], ""]).encode()
        ours = secure("preferred")
        ours.take_offer(offer)
        answer = ours.make_answer([PCMA])
        assert ours.agreed is not None
        assert (ours.agreed.port, ours.agreed.secure) == (6000, True)
        ports = [line.split()[1] for line in lines(answer, "m=")]
        assert ports == (["0", "4000"] if order == (0, 1) else ["4000", "0"])


# ---- codecs
def test_common_codecs_in_the_order_of_the_offer() -> None:
    phone, ours = leg("192.0.2.9"), leg()
    ours.take_offer(phone.make_offer([PCMU, Format(96, "OPUS", 48000, 2), PCMA, Format(100, "TELEPHONE-EVENT", 8000)]))
    answer = ours.make_answer([PCMA, PCMU, EVENT])
    assert lines(answer, "m=") == ["m=audio 4000 RTP/AVP 0 8 100"]
    agreed = phone.take_answer(answer)
    assert [each.name for each in agreed.send] == ["PCMU", "PCMA", "TELEPHONE-EVENT"]
    assert agreed.telephone_event == 100
    assert agreed.codec == PCMU
    assert common(phone.offered_formats, [PCMA]) == (PCMA,)


def test_no_common_codec() -> None:
    phone, ours = leg("192.0.2.9"), leg()
    ours.take_offer(phone.make_offer([Format(96, "OPUS", 48000, 2), EVENT]))
    with pytest.raises(PeerError, match="No codec in common"):
        ours.make_answer([PCMA, EVENT])


def test_payload_types_are_mapped() -> None:
    """One leg has telephone-event under 101, the other under 96; the far end of one answers under its own number."""
    a, b, phone_a, phone_b = leg(), leg(), leg("192.0.2.8"), leg("192.0.2.9")
    a.take_offer(phone_a.make_offer([PCMA, Format(96, "TELEPHONE-EVENT", 8000)]))
    phone_a.take_answer(a.make_answer([PCMA, EVENT]))
    phone_b.take_offer(b.make_offer([PCMA, EVENT]))
    answer = phone_b.make_answer().replace(b" 101", b" 110").replace(b":101 ", b":110 ")
    b.take_answer(answer)
    assert a.agreed is not None
    assert b.agreed is not None
    assert payload_map(a.agreed, b.agreed) == {8: 8, 96: 110}
    assert payload_map(b.agreed, a.agreed) == {8: 8, 101: 96}


def test_static_payload_types_need_no_rtpmap() -> None:
    ours = leg()
    ours.take_offer(
        b"v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0 8 18 111\r\n"
    )
    assert [each.name for each in ours.offered_formats] == ["PCMU", "PCMA", "G729"]


# ---- hold
@pytest.mark.parametrize(
    ("asked", "answered", "may_send", "may_receive"),
    [
        ("sendrecv", "sendrecv", True, True), ("sendonly", "recvonly", False, True), ("recvonly", "sendonly", True, False),
        ("inactive", "inactive", False, False),
    ],
)  # fmt: skip
def test_directions(asked: str, answered: str, may_send: bool, may_receive: bool) -> None:
    phone, ours = leg("192.0.2.9"), leg()
    ours.take_offer(phone.make_offer(direction=asked))
    answer = ours.make_answer()
    assert lines(answer, f"a={answered}")
    assert ours.agreed is not None
    assert (ours.agreed.may_send, ours.agreed.may_receive) == (may_send, may_receive)
    assert ours.remote_direction == asked
    theirs = phone.take_answer(answer)
    assert (theirs.may_send, theirs.may_receive) == (may_receive, may_send)


def test_hold_by_address() -> None:
    phone, ours = leg("192.0.2.9"), leg()
    ours.take_offer(phone.make_offer().replace(b"c=IN IP4 192.0.2.9", b"c=IN IP4 0.0.0.0"))
    assert ours.remote_direction == "sendonly"
    assert lines(ours.make_answer(), "a=recvonly")
    assert ours.agreed is not None
    assert not ours.agreed.may_send


# ---- m-lines, versions, states
def test_other_lines_are_declined_and_kept() -> None:
    offer = leg("192.0.2.9").make_offer().decode()
    offer = (
        offer.replace("m=audio", "m=video 7000 RTP/AVP 34\r\na=rtpmap:34 H263/90000\r\nm=audio", 1)
        + "m=image 7002 udptl t38\r\n"
    )
    ours = leg()
    ours.take_offer(offer.encode())
    assert [line.split()[:2] for line in lines(ours.make_answer(), "m=")] == [
        ["m=video", "0"],
        ["m=audio", "4000"],
        ["m=image", "0"],
    ]
    again = ours.make_offer()
    assert [line.split()[:2] for line in lines(again, "m=")] == [
        ["m=video", "0"],
        ["m=audio", "4000"],
        ["m=image", "0"],
    ]
    assert lines(again, "m=")[2] == "m=image 0 udptl t38"
    with pytest.raises(PeerError, match="no line for the offered audio"):
        ours.take_answer(leg("192.0.2.9").make_offer())
    ours.forget()
    ours.take_offer(leg("192.0.2.9").make_offer())  # a phone that has forgotten what was declined can be understood
    assert [line.split()[:2] for line in lines(ours.make_answer(), "m=")] == [["m=audio", "4000"]]


def test_an_answer_with_more_lines_than_were_offered_is_taken() -> None:
    ours, phone = leg(), leg("192.0.2.9")
    phone.take_offer(ours.make_offer())
    assert ours.take_answer(phone.make_answer() + b"m=video 0 RTP/AVP 34\r\n").port == 4000


HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"
GOOD = "m=audio 6000 RTP/AVP 8\r\n"
KEY = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40 + "\r\n"


@pytest.mark.parametrize(
    "other",
    [
        "m=audio 5000 RTP/AVP 96\r\na=rtpmap:96 X-UNKNOWN/8000\r\n", "m=audio 5000 RTP/AVP 96\r\n", "m=audio 5000 RTP/AVP 101\r\na=rtpmap:101 telephone-event/8000\r\n",
        "m=audio 0 RTP/AVP 8\r\n", "m=audio 5000 UDP/TLS/RTP/SAVPF 8\r\n", "m=audio 5000 RTP/SAVP 8\r\n" + KEY, "m=audio 5000 RTP/AVP 8\r\nc=IN IP4 240.0.0.1\r\n",
        "m=audio 5000 RTP/AVP 8\r\nc=IN\r\n", "m=audio x\r\n", "m=video 5000 RTP/AVP 34\r\n",
    ],
)  # fmt: skip
def test_the_line_that_can_be_served_is_taken_and_the_other_declined(other: str) -> None:
    """RFC 3264 §6: the answer has the offer's lines in the offer's order."""
    for order, ports in (((other, GOOD), ["0", "4000"]), ((GOOD, other), ["4000", "0"])):
        ours = leg()
        ours.take_offer((HEAD + "".join(order)).encode())
        assert any(each.name == "PCMA" for each in ours.offered_formats), "what another leg is offered"
        answer = ours.make_answer([PCMA])
        assert [line.split()[1] for line in lines(answer, "m=")] == ports
        assert ours.agreed is not None
        assert (ours.agreed.port, ours.agreed.codec) == (6000, PCMA)
        assert ours.make_answer([PCMA]) == answer


def test_two_lines_are_offered_to_others_as_one() -> None:
    second = "m=audio 6000 RTP/AVP 96 8\r\na=rtpmap:96 opus/48000/2\r\n"
    ours = leg()
    ours.take_offer((HEAD + "m=audio 5000 RTP/AVP 96 8\r\na=rtpmap:96 X-UNKNOWN/8000\r\n" + second).encode())
    assert [(each.payload_type, each.name) for each in ours.offered_formats] == [(96, "X-UNKNOWN"), (8, "PCMA"), (97, "OPUS")]
    ours.make_answer([Format(111, "OPUS", 48000, 2)])
    assert ours.agreed is not None
    assert [(each.payload_type, each.name) for each in ours.agreed.send] == [(96, "OPUS")]


# ---- key lines
def test_tags_in_the_answer_may_be_renumbered() -> None:
    for suite in PREFERENCE:
        ours, phone = secure(), secure(address="192.0.2.9")
        offer = b"\r\n".join(line for line in ours.make_offer().split(b"\r\n") if b"a=crypto" not in line or suite.encode() in line)
        phone.take_offer(offer)
        answer = re.sub(rb"a=crypto:\d+", b"a=crypto:7", phone.make_answer())
        assert ours.take_answer(answer).secure
        assert phone.agreed is not None
        assert ours.agreed is not None
        assert (ours.agreed.crypto_in, ours.agreed.crypto_out) != (None, None)
        assert ours.agreed.crypto_out is not None
        assert phone.agreed.crypto_in is not None
        assert ours.agreed.crypto_out.key == phone.agreed.crypto_in.key


def test_what_is_in_use_is_offered_first() -> None:
    ours, phone = secure(), secure(address="192.0.2.9")
    phone.suites = ("AES_CM_128_HMAC_SHA1_80",)
    ours.take_offer(phone.make_offer())
    ours.make_answer()
    assert [line.split()[1] for line in lines(ours.make_offer(), "a=crypto")] == [
        "AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM", "AEAD_AES_256_GCM", "AES_CM_128_HMAC_SHA1_32",
    ]  # fmt: skip


@pytest.mark.parametrize("suite", ["AES_256_CM_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_32"])
def test_what_we_do_not_offer_is_taken_from_who_has_nothing_else(suite: str) -> None:
    line = f"a=crypto:1 {suite} inline:" + "A" * 60 + "AA\r\n"
    for others, chosen in (("", suite), (KEY.replace(":1 ", ":2 "), "AES_CM_128_HMAC_SHA1_80")):
        ours = secure("required")
        ours.take_offer((HEAD + "m=audio 6000 RTP/SAVP 8\r\n" + line + others).encode())
        ours.make_answer()
        assert ours.agreed is not None
        assert ours.agreed.crypto_in is not None
        assert ours.agreed.crypto_in.suite == chosen


def test_version_rises_only_with_a_change() -> None:
    ours, phone = leg(), leg("192.0.2.9")
    first = ours.make_offer()
    phone.take_offer(first)
    ours.take_answer(phone.make_answer())
    assert ours.make_offer() == first
    ours.forget()
    held = ours.make_offer(direction="sendonly")
    assert [lines(body, "o=")[0].split()[2] for body in (first, held)] == ["1", "2"]


@pytest.mark.parametrize(
    ("address", "port", "signalling", "words"),
    [
        ("192.0.2.9", 4000, "192.0.2.9", ""), ("10.0.0.1", 4000, "192.0.2.9", ""), ("192.0.2.1", 9999, "192.0.2.1", ""),
        ("::ffff:192.0.2.9", 4000, "192.0.2.9", ""),
        ("127.0.0.1", 9999, "127.0.0.1", ""), ("127.9.9.9", 9999, "127.0.0.1", ""), ("::ffff:127.0.0.1", 9999, "127.0.0.1", ""),
        ("127.0.0.1", 9999, "192.0.2.9", "only for a phone on this machine"), ("127.0.0.1", 9999, "", "only for"),
        ("::1", 9999, "192.0.2.9", "only for"), ("::ffff:127.0.0.1", 9999, "192.0.2.9", "only for"),
        ("0.1.2.3", 9999, "192.0.2.9", "no host's"), ("240.1.2.3", 9999, "192.0.2.9", "no host's"),
        ("255.255.255.255", 9999, "192.0.2.9", "no host's"), ("::ffff:240.1.2.3", 9999, "192.0.2.9", "no host's"),
        ("224.0.0.1", 9999, "192.0.2.9", "a group's"), ("239.1.2.3", 9999, "192.0.2.9", "a group's"), ("ff02::1", 9999, "192.0.2.9", "a group's"),
        ("192.0.2.1", 4000, "192.0.2.9", "this system's own"), ("127.0.0.1", 4000, "127.0.0.1", "this system's own"),
        ("2001:db8::1", 9999, "192.0.2.9", "reaches no IPv6"), ("pbx.example.com", 9999, "192.0.2.9", "no IP address"), ("1.2.3", 9999, "192.0.2.9", "no IP address"),
    ],
)  # fmt: skip
def test_media_goes_to_one_host_that_is_not_us(address: str, port: int, signalling: str, words: str) -> None:
    """Offer and answer alike; the rtcp attribute names a port of the same host."""
    family = "IP6" if ":" in address else "IP4"
    text = f"v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\nm=audio {{}} RTP/AVP 8\r\n"
    for body in (text.format(port), text.format(9999) + f"a=rtcp:{port}\r\n"):
        callee = leg(signalling=signalling, owns=lambda number: number in (4000, 4001))
        caller = leg(signalling=signalling, owns=lambda number: number in (4000, 4001))
        caller.make_offer()
        if not words:
            callee.take_offer(body.encode())
            callee.make_answer()
            assert callee.agreed is not None
            assert callee.agreed.address == caller.take_answer(body.encode()).address == address.removeprefix("::ffff:")
            continue
        for read in (callee.take_offer, caller.take_answer):
            with pytest.raises(UnusableAddress, match=words) as caught:
                read(body.encode())
            assert caught.value.status == 488
        assert (callee.agreed, caller.agreed) == (None, None)


@pytest.mark.parametrize("protocol", ["UDP/TLS/RTP/SAVPF", "udptl", "TCP/MSRP"])
def test_other_transports(protocol: str) -> None:
    with pytest.raises(PeerError) as caught:
        leg().take_offer(leg("192.0.2.9").make_offer().replace(b"RTP/AVP", protocol.encode()))
    assert caught.value.status == 488


def test_states() -> None:
    ours, phone = leg(), leg("192.0.2.9")
    with pytest.raises(WrongState):
        ours.take_answer(phone.make_offer())
    with pytest.raises(WrongState):
        ours.make_answer()
    phone.forget()
    ours.take_offer(phone.make_offer())
    with pytest.raises(WrongState):
        ours.make_offer()
    early = ours.make_answer()
    assert ours.make_answer() == early  # 183 and 200 carry the same
    phone.take_answer(early)
    before = ours.agreed
    ours.make_offer([PCMU])
    with pytest.raises(WrongState):
        ours.take_offer(early)
    ours.forget()
    ours.take_offer(leg("192.0.2.77").make_offer())
    assert ours.state == "received"
    ours.forget()
    assert (ours.agreed, ours.state) == (before, "stable")


def test_early_answer_of_one_phone_then_the_final_one_of_another() -> None:
    ours = leg()
    offer = ours.make_offer()
    for port in (5000, 6000):
        phone = LegMedia("192.0.2.9", port, session_id=2, keys=keys())
        phone.take_offer(offer)
        assert ours.take_answer(phone.make_answer()).port == port


def test_key_stays_over_offers_and_changes_with_the_device() -> None:
    phone, ours = secure("required", address="192.0.2.9"), secure("required")
    ours.take_offer(phone.make_offer())
    phone.take_answer(ours.make_answer())
    assert ours.agreed is not None
    first = ours.agreed.crypto_out
    ours.take_offer(phone.make_offer(direction="sendonly"))
    ours.make_answer()
    assert ours.agreed.crypto_out == first
    other = secure("required", address="192.0.2.10", keys=lambda size: b"z" * size)
    ours.take_offer(other.make_offer())
    ours.make_answer()
    assert ours.agreed.crypto_out != first


def test_restored() -> None:
    phone, ours = secure("required", address="192.0.2.9"), secure("required")
    ours.take_offer(phone.make_offer() + b"m=video 7000 RTP/AVP 34\r\n")
    ours.make_answer()
    again = LegMedia.restore(packed(ours), keys())
    assert again.agreed == ours.agreed
    one, two = (each.make_offer(ours.offered_formats) for each in (again, ours))
    chosen = "a=crypto:1 "  # keys nobody uses yet may differ
    assert [line for line in lines(one, "") if not line.startswith("a=crypto") or line.startswith(chosen)] == [
        line for line in lines(two, "") if not line.startswith("a=crypto") or line.startswith(chosen)
    ]
    waiting = leg()
    offer = waiting.make_offer()
    phone = leg("192.0.2.9")
    phone.take_offer(offer)
    assert LegMedia.restore(packed(waiting), keys()).take_answer(phone.make_answer()).port == 4000
    asked = leg("192.0.2.11")
    asked.take_offer(offer)
    again = LegMedia.restore(packed(asked), keys())
    assert (again.state, again.make_answer()) == ("received", asked.make_answer())


def packed(leg: LegMedia) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(leg.dump()))


@pytest.mark.parametrize("state", ["stable", "offered", "received"])
def test_restored_as_it_was(state: str) -> None:
    """Unpacked or packed, with the values of a version that knew fewer, or more, it goes on where it was."""
    phone, ours = secure("required", address="192.0.2.9"), secure("required")
    ours.take_offer(phone.make_offer() + b"m=video 7000 RTP/AVP 34\r\n")
    ours.make_answer()
    if state == "offered":
        ours.make_offer(STANDARD[:2])
    if state == "received":
        ours.take_offer(phone.make_offer(STANDARD[1:]))
    for values in (ours.dump(), packed(ours), [*packed(ours), "new"]):
        again = LegMedia.restore(values, keys())
        assert again.dump() == ours.dump()
        again.forget()
        before = LegMedia.restore(values, keys())
        before.forget()
        assert again.dump() == before.dump()
    assert LegMedia.restore(packed(ours)[:16], keys()).agreed == ours.agreed
    assert b"key" not in repr(ours.dump()).encode()


def test_damaged_offers() -> None:
    """Whatever comes, the outcome is an agreement or a PeerError, and the state stays usable."""
    rng = random.Random(3264)
    good = secure("preferred", address="192.0.2.9").make_offer(STANDARD)
    for _ in range(3000):
        body = bytearray(good)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(body))
            body[at : at + rng.randint(0, 4)] = rng.choice(
                [b"", b" ", b"0", b"9", b"\r\n", b"a=inactive\r\n", b"\xff", b":"]
            )
        ours = secure("preferred")
        try:
            ours.take_offer(bytes(body))
            sdp.parse(ours.make_answer())
        except PeerError:
            ours.forget()
        ours.make_offer()
