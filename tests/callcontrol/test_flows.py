"""Whose flows strangers cannot push out: a registered phone's and one in a call; and handshakes that fail, told to who can mend them."""

from __future__ import annotations

import pytest

import media_core
from appliance.words import english
from tests.box import Box, office
from tests.clock import run


def test_a_flow_is_kept_while_it_is_registered_or_in_a_call() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            guest, phone = await box.phone("101", transport="TCP", register=False), await box.phone("102")
            assert box.engine.kept == {phone.flow.id}
            call = await guest.call("102")
            assert box.engine.kept == {guest.flow.id, phone.flow.id}
            there = await phone.incoming.get()
            assert await phone.register(expires=0) == 200
            assert box.engine.kept == {guest.flow.id, phone.flow.id}, "it is in a call"
            assert await guest.register() == 200
            call.hang_up()
            await box.seconds(1)
            assert there.ended
            assert box.engine.kept == {guest.flow.id}, "it is registered"
            assert await guest.register(expires=0) == 200
            assert box.engine.kept == set()

    run(scene())


def test_a_call_that_moves_to_another_flow_leaves_the_old_one_to_others() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            caller, phone = await box.phone("101"), await box.phone("102", transport="TLS")
            call = await caller.call("102")
            old = phone.flow.id
            phone.reconnect(close=False)
            assert await phone.register() == 200
            assert box.engine.kept - {old} == {caller.flow.id, phone.flow.id}
            call.hang_up()
            await box.seconds(1)

    run(scene())


@pytest.mark.parametrize("outcome", ["refused", "given up", "no answer"])
def test_nothing_is_kept_of_a_call_that_came_to_nothing(outcome: str) -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            guest = await box.phone("101", transport="TCP", register=False)
            await box.phone("102", answer=486 if outcome == "refused" else "ring")
            call = guest.dial("102")
            await box.seconds(2)
            if outcome == "given up":
                call.hang_up()
            await box.seconds(80)
            assert guest.flow.id not in box.engine.kept
            assert call.ended

    run(scene())


def test_a_handshake_that_failed_stands_on_the_line_that_was_registered_from_there() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            phone = await box.phone("101")
            host = phone.flow.remote[0]
            box.engine.tell(media_core.HandshakeFailed(host, 40001, "no common cipher", "no shared cipher"))
            box.engine.tell(media_core.HandshakeFailed("203.0.113.9", 40002, "old version", "TLS 1.1"))
            await box.seconds(1)
            refusal = box.controller.refusals.last_of("l101")
            assert refusal is not None
            assert (refusal.kind, refusal.address) == ("no common cipher", (host, 40001))
            stranger = next(one for one in box.controller.refusals.last() if not one.line)
            assert english().say(stranger.message) == "The phone offers TLS 1.1 at most, which is no longer safe."

    run(scene())
