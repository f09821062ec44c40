"""Phones that are gone, and callers who give up: known at once, and nothing stays behind."""

from __future__ import annotations

import asyncio

import pytest

import media_core
from appliance.calls.api import Cause
from appliance.sip.text.message import Request, parse
from appliance.sip.transaction import cancel_for
from tests.box import Box, office
from tests.clock import run


def test_a_caller_who_gives_up_in_the_same_moment() -> None:
    """INVITE and CANCEL in one batch: the call's task was cancelled before its first step, and the call stayed for ever."""

    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101", transport="TLS"), await box.phone("102")
            a.rewrite = lambda data: _with_cancel(box, a.flow.id, data)
            call = a.dial("102")
            assert await call.final == 487
            await box.seconds(1)
            assert [record.outcome for record in box.records] == ["cancelled"]
            assert b.incoming.empty()

    run(scene())


def _with_cancel(box: Box, flow: int, data: bytes) -> bytes:
    if data.startswith(b"INVITE"):
        invite = parse(data)
        assert isinstance(invite, Request)
        for each in (data, cancel_for(invite).to_bytes()):
            box.engine.tell(media_core.FlowReceived(flow, each))
    return data


@pytest.mark.parametrize("others", [0, 1])
def test_a_phone_that_is_unplugged_is_known_at_once(others: int) -> None:
    """ICMP says that nobody listens on its port: the caller heard nothing for 32 s."""

    async def scene() -> None:
        async with Box(office("101", "102", lines=2)) as box:
            a, b = await box.phone("101"), await box.phone("102")
            other = [await box.phone("102-2") for _ in range(others)]
            b.on = False
            call = a.dial("102")
            await box.seconds(0.1)
            begun = asyncio.get_running_loop().time()
            box.engine.tell(media_core.FlowUnreachable(b.flow.id))
            assert await call.final == (200 if others else 480)
            assert asyncio.get_running_loop().time() - begun < 1.1
            assert [phone.incoming.qsize() for phone in other] == [1] * others
            if others:
                call.hang_up()
            else:
                await box.seconds(1)
                assert box.records[0].cause == Cause.NO_RESPONSE
            b.on = True
            assert (await a.call("102")).final.result() == 200  # it is plugged in again, on the same flow
            for each in a.calls.values():
                each.hang_up()

    run(scene())
