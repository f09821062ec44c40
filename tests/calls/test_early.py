"""Early media whose answer is acknowledged (RFC 3262), and offers by UPDATE before the call is answered (RFC 3311), phone to phone."""

from __future__ import annotations

import pytest

from tests.box import Box, office
from tests.clock import run


@pytest.mark.parametrize("transport", ["UDP", "TLS"])
def test_both_phones_offer_before_the_answer(transport: str) -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101", transport=transport), await box.phone("102", transport=transport)
            b.answer, b.early = "ring", True
            call = a.dial("102")
            there = await b.incoming.get()
            await box.seconds(1)
            assert [response.status for response in call.progress if response.require == ["100rel"]] == [183]
            assert await call.offer("sendonly") == 200
            assert await there.offer("sendonly") == 200
            await box.seconds(1)
            there.accept()
            await box.seconds(1)
            assert call.final.result() == 200
            call.hang_up()
            await box.seconds(1)
            assert there.ended

    run(scene())
