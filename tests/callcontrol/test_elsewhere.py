"""Requests inside a dialog from another host than the dialog's: the tags alone end no call, and a phone that has moved loses none."""

from __future__ import annotations

import asyncio

import pytest

from tests.box import Box, office
from tests.box_phone import Phone, PhoneCall
from tests.clock import run

ELSEWHERE = "203.0.113.9"


def move(box: Box, phone: Phone, call: PhoneCall, *, host: str = ELSEWHERE, transport: str = "") -> None:
    """The phone's next requests come from there."""
    phone.host, phone.transport = host, transport or phone.transport
    phone.flow = box.connect(phone, phone.transport)
    phone.stack.rebind(call.session, phone.flow.id, phone.now)


async def in_dialog(phone: Phone, call: PhoneCall, method: str, *headers: tuple[str, str]) -> int:
    response = await phone.request(method, "", session=call.session, headers=headers)
    if response.status == 407 and not headers:
        call.rejection = response
    return response.status


@pytest.mark.parametrize("method", ["INFO", "OPTIONS", "UPDATE", "REFER"])
@pytest.mark.parametrize("caller_moves", [True, False])
def test_the_tags_alone_are_no_proof(method: str, caller_moves: bool) -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            call = await a.call("102")
            other = await b.incoming.get()
            thief, theirs = (a, call) if caller_moves else (b, other)
            host = thief.host
            move(box, thief, theirs)
            status = await in_dialog(thief, theirs, method)
            assert status == (405 if method == "REFER" else 407)
            thief.password = "unknown"
            thief.stack.hang_up(theirs.session, thief.now)
            thief.drain()
            await box.seconds(5)
            assert len(box.calls) == 1, "a BYE from a stranger ends nothing"
            assert not (other if caller_moves else call).ended
            assert all(leg.endpoint.flow.remote[0] != ELSEWHERE for leg in box.calls[0].legs), "and moves nothing"
            thief.host = host
            (call if not caller_moves else other).hang_up()

    run(scene())


def test_who_has_the_password_of_the_line_may_come_from_anywhere() -> None:
    async def scene() -> None:
        async with Box(office("101", "102", "103")) as box:
            a, b, c = await box.phone("101"), await box.phone("102"), await box.phone("103")
            call = await a.call("102")
            move(box, a, call)
            uri = a.stack._sessions[call.session].session.dialog.target  # type: ignore[union-attr]
            assert await in_dialog(a, call, "OPTIONS") == 407
            assert call.rejection is not None
            assert await in_dialog(a, call, "OPTIONS", a.credentials(call.rejection, "OPTIONS", uri)) == 200
            assert box.calls[0].caller.endpoint.flow.remote == a.flow.remote, "the call goes on there"
            move(box, a, call, host="203.0.113.77")
            assert await in_dialog(a, call, "OPTIONS") == 407
            password = a.password
            a.user, a.password = c.user, c.password
            assert await in_dialog(a, call, "OPTIONS", a.credentials(call.rejection, "OPTIONS", uri)) in (403, 407)
            a.user, a.password = "101", password
            call.hang_up()
            (await b.incoming.get()).hang_up()

    run(scene())


@pytest.mark.parametrize("transport", ["UDP", "TLS"])
def test_another_port_of_the_same_host_gets_through_at_once(transport: str) -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101", transport=transport), await box.phone("102")
            call = await a.call("102")
            box.engine.close_flow(a.flow.id)
            await box.seconds(1)
            move(box, a, call, host=a.host)
            call.hang_up()
            await box.seconds(1)
            assert box.calls == []
            assert (await b.incoming.get()).ended

    run(scene())


def test_another_host_where_the_line_is_registered_gets_through_at_once() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a = await box.phone("101")
            await box.phone("101", host=ELSEWHERE)
            await box.phone("102")
            call = await a.call("102")
            move(box, a, call)
            call.hang_up()
            await box.seconds(1)
            assert box.calls == []

    run(scene())


def test_a_dialog_that_began_on_tls_takes_nothing_in_clear_from_anywhere() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101", transport="TLS"), await box.phone("102")
            call = await a.call("102")
            box.engine.close_flow(a.flow.id)
            await box.seconds(1)
            move(box, a, call, transport="UDP")
            assert await in_dialog(a, call, "OPTIONS") == 481
            call.hang_up()
            await box.seconds(1)
            assert len(box.calls) == 1
            (await b.incoming.get()).hang_up()

    run(scene())


def test_a_cancel_counts_only_from_the_host_of_its_invite() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102", answer="ring")
            call = a.dial("102")
            await box.seconds(2)
            ringing = await b.incoming.get()
            move(box, a, call)
            call.hang_up()
            await box.seconds(2)
            assert not ringing.ended
            assert len(box.calls) == 1
            ringing.refuse(486)

    run(scene())


def test_the_refusal_of_a_stranger_is_nobodys_business_but_the_strangers() -> None:
    """In clear, with the tags of a call over TLS: it is refused there, and no successor says so to the phone that is in the call."""

    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = [await box.phone(number, transport="TLS", srtp="offer") for number in ("101", "102")]
            call = await a.call("102")
            other = await b.incoming.get()
            move(box, a, call, transport="UDP")
            heard: list[bytes] = []
            receive = a.receive
            a.receive = lambda flow, data: heard.append(data)  # type: ignore[method-assign]
            offered = asyncio.ensure_future(call.offer("sendonly"))
            await box.seconds(2)
            assert heard[0].startswith(b"SIP/2.0 481 "), "and nobody acknowledges it"
            sessions = box.exchange.turn.driver.stack._sessions.values()
            assert [usage.offers.refusal for usage in sessions] == [None, None]
            a.receive = receive  # type: ignore[method-assign]
            await box.seconds(2)
            offered.cancel()
            other.hang_up()

    run(scene())
