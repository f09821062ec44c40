"""Calls between simulated phones through the whole of call control, in virtual time."""

from __future__ import annotations

from tests.box import Box, office
from tests.clock import run


def test_two_phones_talk_and_the_caller_hangs_up() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            call = await a.call("102")
            assert call.final.result() == 200
            await box.seconds(5)
            assert box.leg_of(a).peer == box.leg_of(b).id
            there = await b.incoming.get()
            assert there.request is not None
            assert there.request.from_.uri.user == "101"
            assert there.request.from_.display == "Phone 101"
            call.hang_up()
            await box.seconds(1)
            assert there.ended
            (record,) = box.records
            assert (record.outcome, record.hung_up_by, record.cause) == ("answered", "caller", 16)
            assert record.caller_number == "101"
            assert record.callee_number == "102"
            assert "101" in record.sentence

    run(scene())
