"""Encryption per extension: required, preferred, off; SDES only under TLS."""

from __future__ import annotations

import base64

import pytest

from appliance.calls.legs.terms import OWN, Terms
from appliance.config.model import Encrypt
from appliance.sip import events
from appliance.sip.errors import PeerError
from appliance.sip.media.negotiation import LegMedia
from appliance.sip.media.sdes import ALONE
from appliance.sip.text import sdp
from appliance.words import Said, english
from tests.box import Box, office
from tests.box_phone import Phone
from tests.clock import run


@pytest.mark.parametrize("encrypt", ["required", "preferred"])
def test_srtp_on_both_legs(encrypt: Encrypt) -> None:
    async def scene() -> None:
        async with Box(office("101", "102", encrypt=encrypt)) as box:
            a = await box.phone("101", transport="TLS", srtp="offer")
            b = await box.phone("102", transport="TLS", srtp="optional")
            call = await a.call("102")
            assert call.final.result() == 200
            await box.seconds(2)
            one, other = box.leg_of(a).remote, box.leg_of(b).remote
            keys = {key.key for remote in (one, other) for key in (remote.crypto_in, remote.crypto_out)}
            assert len(keys) == 4, "each leg and direction has its own key"
            (view,) = (each for each in box.views)
            assert view.caller.media_secure
            assert view.callees[0].media_secure
            call.hang_up()
            await box.seconds(1)
            assert all(leg.media_secure and leg.signalling_secure for leg in box.records[0].legs)

    run(scene())


@pytest.mark.parametrize(
    ("parameters", "octets"), [("", 0), ("|2^31", 0), ("|2^31|1:1", 1), ("|1:4", 4), ("|1:129", None)]
)
def test_the_core_is_told_the_mki_of_the_agreed_key(parameters: str, octets: int | None) -> None:
    """What cannot be read over (more than 128 octets) is refused: never an accepted call in silence."""
    media = LegMedia("192.0.2.1", 20000, session_id=1, keys=bytes, encrypt="required", signalling_secure=True)
    terms = Terms(media)
    key = base64.b64encode(bytes(30)).decode()
    offer = (
        "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 8\r\n"
        f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}{parameters}\r\n"
    ).encode()
    if octets is None:
        with pytest.raises(PeerError, match="488"):
            terms.take_offer(offer)
        return
    terms.take_offer(offer)
    terms.answer(OWN, "sendrecv")
    into, out = terms.remote("192.0.2.9").crypto_in, terms.remote("192.0.2.9").crypto_out
    assert into is not None
    assert out is not None
    assert (into.mki_length, out.mki_length) == (octets, 0)


def test_required_refuses_a_registration_without_tls_and_says_so() -> None:
    async def scene() -> None:
        async with Box(office("101", encrypt="required")) as box:
            phone = await box.phone("101", transport="UDP", register=False)
            response = await phone.registered()
            assert response.status == 403
            assert "requires encryption" in (response.get("Warning") or "")
            assert "requires encryption" in (response.get("Reason") or "")
            refusal = box.controller.refusals.last_of("l101")
            assert refusal is not None
            assert refusal.kind == "must use TLS"
            assert refusal.message == Said.of("refused.must-use-tls", account="101", number="101", transport="UDP")
            phone.password = "wrong"
            assert await phone.register() == 401, "the policy is told only to who has the password"

    run(scene())


def test_required_refuses_plain_rtp_under_tls() -> None:
    async def scene() -> None:
        async with Box(office("101", "102", encrypt="required")) as box:
            a = await box.phone("101", transport="TLS", srtp="off")
            await box.phone("102", transport="TLS", srtp="offer")
            call = await a.call("102")
            assert call.final.result() == 488
            assert call.rejection is not None
            assert "requires encryption" in (call.rejection.get("Warning") or "")
            assert box.records[0].said.key == "call.offer-useless"

    run(scene())


def test_required_callee_without_srtp_is_not_called_in_clear() -> None:
    async def scene() -> None:
        async with Box(office("101", "102", encrypt="required")) as box:
            a = await box.phone("101", transport="TLS", srtp="offer")
            b = await box.phone("102", transport="TLS", srtp="off")
            call = await a.call("102")
            assert call.final.result() == 488
            offers = [event.request.body for event in b.log if isinstance(event, events.Invited)]
            assert len(offers) == 3, "with the caller's codecs, then with ours as well, then with one suite alone"
            assert all(b" RTP/SAVP " in offer for offer in offers)

    run(scene())


@pytest.mark.parametrize("transport", ["UDP", "TCP", "TLS"])
def test_preferred_falls_back(transport: str) -> None:
    """SRTP caller, plain callee: each leg by itself."""

    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a = await box.phone("101", transport="TLS", srtp="offer")
            b = await box.phone("102", transport=transport, srtp="off")
            call = await a.call("102")
            assert call.final.result() == 200
            await box.seconds(2)
            assert box.leg_of(a).remote.crypto_in is not None
            assert box.leg_of(b).remote.crypto_in is None
            call.hang_up()

    run(scene())


def suites_offered(phone: Phone) -> list[list[str]]:
    """Of each INVITE that the phone got."""
    bodies = [event.request.sdp for event in phone.log if isinstance(event, events.Invited)]
    return [[line.suite for line in sdp.parse(body).media[0].crypto] for body in bodies]


@pytest.mark.parametrize("encrypt", ["required", "preferred"])
def test_a_phone_that_dislikes_the_first_suite_is_offered_one_alone(encrypt: Encrypt) -> None:
    async def scene() -> None:
        async with Box(office("101", "102", encrypt=encrypt)) as box:
            a = await box.phone("101", transport="TLS", srtp="offer")
            b = await box.phone("102", transport="TLS", srtp="offer", suites=["AES_CM_128_HMAC_SHA1_80"])
            call = await a.call("102")
            assert call.final.result() == 200
            await box.seconds(2)
            assert suites_offered(b)[-1] == ["AES_CM_128_HMAC_SHA1_80"]
            assert all(len(offered) > 1 for offered in suites_offered(b)[:-1])
            assert box.leg_of(b).remote.crypto_in.suite == "AES_CM_128_HMAC_SHA1_80"
            # held and taken back: the phone is not asked again for what it has refused
            (there,) = [each for each in b.calls.values() if not each.ended]
            box.exchange.turn.run(lambda: box.calls[0].legs[1].hold(True))
            await box.seconds(1)
            assert [[line.suite for line in offer.media[0].crypto] for offer in there.offers] == [["AES_CM_128_HMAC_SHA1_80"]]
            assert there.direction == "sendonly"
            call.hang_up()
            await box.seconds(1)
            assert [leg.not_encrypted for leg in box.records[0].legs] == ["", ""]

    run(scene())


def test_a_call_that_is_not_encrypted_says_why() -> None:
    """One phone for each reason: (policy, transport, SRTP of the phone, key of the sentence)."""
    reasons = (
        ("off", "TLS", "offer", "switched-off"),
        ("preferred", "UDP", "off", "no-tls"),
        ("preferred", "TLS", "off", "offers-refused"),
    )

    async def scene(policy: Encrypt, transport: str, srtp: str, key: str) -> None:
        async with Box(office("101", "102", encrypt=policy)) as box:
            a = await box.phone("101", transport="TLS", srtp="off")
            b = await box.phone("102", transport=transport, srtp=srtp)
            call = await a.call("102")
            assert call.final.result() == 200
            assert box.leg_of(b).remote.crypto_in is None
            call.hang_up()
            await box.seconds(1)
            caller, callee = box.records[0].legs
            assert callee.not_encrypted == f"encryption.{key}"
            assert caller.not_encrypted == ("encryption.switched-off" if policy == "off" else "encryption.no-key")
            assert (callee.media_secure, caller.media_secure) == (False, False)

    assert ALONE[0] in english().patterns["encryption.offers-refused"]
    for reason in reasons:
        run(scene(*reason))


def test_keys_in_clear_signalling_are_refused() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a = await box.phone("101", transport="TCP", srtp="offer")
            b = await box.phone("102", transport="UDP", srtp="optional")
            assert (await a.call("102")).final.result() == 488
            call = await b.call("101")  # keys on RTP/AVP: answered without
            assert call.final.result() == 200
            await box.seconds(1)
            assert all(leg.remote is not None and leg.remote.crypto_in is None for leg in box.engine.media.values())
            call.hang_up()

    run(scene())


def test_off_never_encrypts() -> None:
    async def scene() -> None:
        async with Box(office("101", "102", encrypt="off")) as box:
            a = await box.phone("101", transport="TLS", srtp="optional")
            b = await box.phone("102", transport="TLS", srtp="optional")
            call = await a.call("102")
            assert call.final.result() == 200
            await box.seconds(2)
            assert box.leg_of(a).remote.crypto_in is None
            assert box.leg_of(b).remote.crypto_in is None
            call.hang_up()

    run(scene())


def test_re_keying_touches_one_leg_only() -> None:
    async def scene() -> None:
        async with Box(office("101", "102", encrypt="required")) as box:
            a = await box.phone("101", transport="TLS", srtp="offer")
            b = await box.phone("102", transport="TLS", srtp="offer")
            call = await a.call("102")
            there = await b.incoming.get()
            await box.seconds(1)
            before, other = box.leg_of(a).remote, box.leg_of(b).remote
            assert await call.offer("sendrecv", crypto=(call.key("AES_CM_128_HMAC_SHA1_80", seed=99),)) == 200
            await box.seconds(3)
            assert box.leg_of(a).remote.crypto_in != before.crypto_in
            assert box.leg_of(b).remote == other
            assert there.offers == []
            call.hang_up()

    run(scene())


def test_hold_keeps_the_keys() -> None:
    async def scene() -> None:
        async with Box(office("101", "102", encrypt="required")) as box:
            a = await box.phone("101", transport="TLS", srtp="offer")
            b = await box.phone("102", transport="TLS", srtp="offer")
            call = await a.call("102")
            await box.seconds(1)
            ours = [box.leg_of(phone).remote.crypto_out for phone in (a, b)]
            same = tuple(call.remote.media[0].crypto) if call.remote else ()
            assert same
            key = call.key("AES_CM_128_HMAC_SHA1_80", seed=1)
            for direction in ("sendonly", "sendrecv"):
                assert await call.offer(direction, crypto=(key,)) == 200
                await box.seconds(3)
            assert box.leg_of(b).remote.crypto_out == ours[1]
            call.hang_up()

    run(scene())
