"""The echo test, called by simulated phones."""

from __future__ import annotations

import pytest

from appliance.config.model import Service
from appliance.services.echo import script as echo
from appliance.sip.text.sdp import Format
from tests.box import Box, office
from tests.box_phone import G722, OPUS
from tests.clock import run


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_prompt_and_echo(encrypted: bool, late: bool) -> None:
    async def scene() -> None:
        async with Box(office("101")) as box:
            phone = await box.phone(
                "101", transport="TLS" if encrypted else "UDP", srtp="offer" if encrypted else "off"
            )
            call = await phone.call("*60", late=late)
            assert call.final.result() == 200
            await box.seconds(3)
            leg = box.leg_of(phone)
            assert leg.played == list(echo.PROMPT)
            assert leg.peer == leg.id
            assert (leg.remote.crypto_in is not None) == encrypted
            assert await call.offer("sendonly") == 200
            assert not box.leg_of(phone).remote.send
            call.hang_up()
            await box.seconds(1)
            (record,) = box.records
            assert (record.outcome, record.callee_name) == ("answered", "Echo test")

    run(scene())


@pytest.mark.parametrize("codec", [G722, OPUS])
def test_a_phone_without_g711_hears_itself_in_its_own_codec(codec: Format) -> None:
    async def scene() -> None:
        async with Box(office("101")) as box:
            phone = await box.phone("101", codecs=(codec,))
            call = await phone.call("*60")
            assert call.final.result() == 200
            await box.seconds(3)
            leg = box.leg_of(phone)
            assert leg.played
            assert leg.peer == leg.id
            call.hang_up()

    run(scene())


def test_a_phone_with_no_codec_of_ours_is_told_so() -> None:
    async def scene() -> None:
        async with Box(office("101")) as box:
            phone = await box.phone("101", codecs=(Format(120, "SPEEX", 8000),))
            assert (await phone.call("*60")).final.result() == 488

    run(scene())


def test_its_number_changes_while_everything_runs() -> None:
    async def scene() -> None:
        async with Box(office("101")) as box:
            phone = await box.phone("101")
            box.apply(box.snapshot.with_record("service", Service(id="echo", number="*61")))
            assert (await phone.call("*60")).final.result() == 404
            call = await phone.call("*61")
            assert call.final.result() == 200
            box.apply(box.snapshot.with_record("service", Service(id="echo", number="*61", on=False)))
            assert (await phone.call("*61")).final.result() == 404
            await box.seconds(3)
            assert box.leg_of(phone).peer == box.leg_of(phone).id, "the call that is there goes on"
            call.hang_up()

    run(scene())
