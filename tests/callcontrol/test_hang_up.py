"""A call that somebody ends from the admin page."""

from __future__ import annotations

import pytest

from appliance.calls.api import Cause
from appliance.words import english
from tests.box import Box, office
from tests.clock import run


@pytest.mark.parametrize("answered", [True, False])
def test_who_ends_a_call_from_the_page_stands_in_its_record(answered: bool) -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102", answer="auto" if answered else "ring")
            a.dial("102")
            await box.seconds(3)
            (live,) = box.exchange.calls.values()
            live.end("Anna Berger (admin page)", Cause.NORMAL)
            await box.seconds(1)
            (record,) = box.records
            assert record.hung_up_by == "Anna Berger (admin page)"
            assert "Anna Berger (admin page)" in english().say(record.said)
            there = await b.incoming.get()
            assert there.ended

    run(scene())
