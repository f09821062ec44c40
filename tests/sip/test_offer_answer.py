"""Offer and answer of one leg: policies, keys, codecs, hold, m-lines, versions."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from appliance.sip import sdp
from appliance.sip.errors import PeerError, WrongState
from appliance.sip.offer_answer import EVENT, PREFERENCE, STANDARD, LegMedia, common, payload_map
from appliance.sip.sdp import Format

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
        ours.take_answer(plain.replace(b"a=sendrecv", b"a=crypto:9 AES_CM_128_HMAC_SHA1_80 inline:" + b"A" * 40))


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
    with pytest.raises(PeerError, match="another number"):
        ours.take_answer(leg("192.0.2.9").make_offer())
    ours.forget()
    with pytest.raises(PeerError, match="fewer"):
        ours.take_offer(leg("192.0.2.9").make_offer())


def test_version_rises_only_with_a_change() -> None:
    ours, phone = leg(), leg("192.0.2.9")
    first = ours.make_offer()
    phone.take_offer(first)
    ours.take_answer(phone.make_answer())
    assert ours.make_offer() == first
    ours.forget()
    held = ours.make_offer(direction="sendonly")
    assert [lines(body, "o=")[0].split()[2] for body in (first, held)] == ["1", "2"]


@pytest.mark.parametrize("address", ["239.1.2.3", "255.255.255.255", "ff02::1", "pbx.example.com"])
def test_media_goes_to_one_host(address: str) -> None:
    family = "IP6" if ":" in address else "IP4"
    with pytest.raises(PeerError, match="address"):
        leg().take_offer(
            leg("192.0.2.9").make_offer().replace(b"c=IN IP4 192.0.2.9", f"c=IN {family} {address}".encode())
        )


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
    again = LegMedia.restore(ours.dump(), keys())
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
    assert LegMedia.restore(waiting.dump(), keys()).take_answer(phone.make_answer()).port == 4000


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
