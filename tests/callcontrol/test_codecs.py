"""Which codecs two phones get: what both have if there is any, else each its own and the core transcodes."""

from __future__ import annotations

import pytest

from appliance.calls.legs.terms import widened
from appliance.sip import events
from appliance.sip.text.sdp import Format
from tests.box import Box, office
from tests.box_phone import EVENT, G722, OPUS, PCMA, PCMU
from tests.clock import run

SPEEX, ILBC = Format(120, "SPEEX", 8000), Format(121, "ILBC", 8000)


def test_no_codec_in_common() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a = await box.phone("101", codecs=(SPEEX, PCMA))
            await box.phone("102", codecs=(ILBC,))
            call = await a.call("102")
            assert call.final.result() == 488
            await box.seconds(1)
            assert box.records[0].said.key == "call.offer-refused"

    run(scene())


def test_what_the_core_cannot_decode_is_not_promised() -> None:
    """The called phone could do with one of ours, but nobody could understand the caller."""

    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101", codecs=(SPEEX,)), await box.phone("102", codecs=(PCMA,))
            call = await a.call("102")
            assert call.final.result() == 488
            assert len([event for event in b.log if isinstance(event, events.Invited)]) == 1

    run(scene())


@pytest.mark.parametrize(("ours", "theirs"), [(OPUS, PCMU), (PCMA, OPUS), (G722, PCMA), (OPUS, G722)])
@pytest.mark.parametrize("secure", [False, True])
def test_phones_without_a_common_codec_are_transcoded(ours: Format, theirs: Format, secure: bool) -> None:
    """The second offer has our own codecs beside the caller's, and is encrypted like the first; holding asks nobody for another codec."""

    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            how = {"transport": "TLS", "srtp": "offer"} if secure else {}
            a = await box.phone("101", codecs=(ours, EVENT), **how)
            b = await box.phone("102", codecs=(theirs, EVENT), **how)
            call = await a.call("102")
            assert call.final.result() == 200
            there = await b.incoming.get()
            there = b.incoming.get_nowait() if not b.incoming.empty() else there
            await box.seconds(1)
            one, other = box.leg_of(a), box.leg_of(b)
            assert one.peer == other.id
            assert [codec.name for codec in one.remote.codecs] == [ours.name]
            assert [codec.name for codec in other.remote.codecs] == [theirs.name]
            assert one.payload_map == {101: 101}
            assert (one.remote.crypto_in is not None) == secure == (other.remote.crypto_in is not None)
            invitations = len([event for event in b.log if isinstance(event, events.Invited | events.Offered)])
            assert invitations == 2
            assert await call.offer("sendonly") == 200
            await box.seconds(1)
            assert len([event for event in b.log if isinstance(event, events.Invited | events.Offered)]) == 2
            assert await call.offer("sendrecv") == 200
            await box.seconds(1)
            assert box.leg_of(b).remote.codecs[0].name == theirs.name
            call.hang_up()

    run(scene())


def test_what_both_phones_have_is_not_transcoded() -> None:
    """One offer, with what the caller has and nothing else: a phone may send whatever it was offered."""

    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a = await box.phone("101", codecs=(PCMA, EVENT))
            b = await box.phone("102", codecs=(OPUS, G722, PCMA, EVENT))
            call = await a.call("102")
            assert call.final.result() == 200
            assert [codec.name for codec in box.leg_of(b).remote.codecs] == ["PCMA"]
            assert len([event for event in b.log if isinstance(event, events.Invited)]) == 1
            call.hang_up()

    run(scene())


def test_payload_types_that_are_taken_are_not_given_twice() -> None:
    formats = (Format(111, "SPEEX", 16000), Format(96, "TELEPHONE-EVENT", 48000), PCMU)
    wide = widened(formats)
    assert wide[:3] == formats
    assert [(each.name, each.payload_type) for each in wide[3:]] == [("OPUS", 97), ("G722", 9), ("PCMA", 8)]
