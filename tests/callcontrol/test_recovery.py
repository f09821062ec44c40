"""kill -9 of `calls` in the middle of calls: the engine, the journal and the registrations are all that is left."""

from __future__ import annotations

import pytest

from appliance.callcontrol import slot
from appliance.callcontrol.leg import PhoneLeg
from tests.box import Box, office
from tests.clock import run


async def restart(box: Box, down: float = 1.0) -> None:
    box.kill()
    await box.seconds(down)
    box.start()


@pytest.mark.parametrize("transport", ["UDP", "TLS"])
@pytest.mark.parametrize("who", ["caller", "callee"])
def test_a_call_goes_on_and_ends_properly(transport: str, who: str) -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a = await box.phone("101", transport=transport, srtp="offer" if transport == "TLS" else "off")
            b = await box.phone("102", transport=transport, srtp="offer" if transport == "TLS" else "off")
            call = await a.call("102")
            there = await b.incoming.get()
            await box.seconds(5)
            commands = len(box.engine.history)
            await restart(box)
            assert box.resumed == 1
            assert len(box.engine.history) == commands, "audio was not touched"
            (view,) = (each.view() for each in box.calls)
            assert view.caller.state == "talking"
            assert await (call if who == "caller" else there).offer("sendonly") == 200
            await box.seconds(2)
            assert (there if who == "caller" else call).direction == "sendonly"
            assert await (call if who == "caller" else there).offer("sendrecv") == 200
            await box.seconds(2)
            await restart(box)
            (there if who == "caller" else call).hang_up()
            await box.seconds(2)
            assert call.ended
            assert there.ended
            (record,) = box.records
            assert (record.outcome, record.cause) == ("answered", 16)
            assert record.seconds > 8
            assert record.caller_number == "101"
            assert record.callee_number == "102"

    run(scene())


def test_registrations_survive() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102", transport="TLS")
            await box.seconds(1)
            await restart(box)
            call = await a.call("102")
            assert call.final.result() == 200
            call.hang_up()
            await box.seconds(2)
            back = await b.call("101")
            assert back.final.result() == 200
            assert not any(getattr(event, "status", 0) == 407 for event in b.log), (
                "its TLS connection is still its proof"
            )
            back.hang_up()
            await box.seconds(700)
            assert len(box.exchange.registrar) == 0, "and they still expire"

    run(scene())


def test_a_connection_that_died_meanwhile_is_away() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102", transport="TLS")
            await box.seconds(1)
            box.kill()
            box.engine.open_flows.pop(b.flow.id)
            box.start()
            assert (await a.call("102")).final.result() == 480
            b.reconnect()
            assert await b.register() == 200
            call = await a.call("102")
            assert call.final.result() == 200
            call.hang_up()

    run(scene())


def test_a_ringing_call_is_cleared() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102", answer="ring")
            call = a.dial("102")
            there = await b.incoming.get()
            await box.seconds(2)
            await restart(box)
            assert box.resumed == 0
            await box.seconds(2)
            assert call.ended
            assert there.ended
            (record,) = box.records
            assert record.cause == 41
            assert record.outcome == "failed"

    run(scene())


def test_the_record_of_a_call_that_ended_just_before_is_not_lost() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            call = await a.call("102")
            await box.seconds(3)
            box._tasks[1].cancel()  # the archive hangs
            call.hang_up()
            await box.seconds(1)
            assert box.records == []
            assert (await b.incoming.get()).ended
            await restart(box)
            await box.seconds(1)
            (record,) = box.records
            assert record.outcome == "answered"

    run(scene())


def test_the_echo_service_goes_on() -> None:
    async def scene() -> None:
        async with Box(office("101")) as box:
            a = await box.phone("101")
            call = await a.call("*60")
            await box.seconds(5)
            await restart(box)
            assert box.resumed == 1
            assert box.leg_of(a).peer == box.leg_of(a).id
            call.hang_up()
            await box.seconds(1)
            assert box.records[0].outcome == "answered"

    run(scene())


def test_a_phone_that_comes_back_on_a_new_connection_keeps_its_call() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101", transport="TLS"), await box.phone("102", transport="TLS")
            call = await a.call("102")
            there = await b.incoming.get()
            await box.seconds(1)
            a.reconnect()  # the core was restarted: its connections are gone
            b.reconnect()
            await box.seconds(1)
            assert not call.ended
            assert await a.register() == 200
            assert await b.register() == 200
            await restart(box)
            assert await there.offer("sendonly") == 200
            await box.seconds(2)
            assert call.direction == "sendonly"
            call.hang_up()
            await box.seconds(1)
            assert there.ended

    run(scene())


def test_media_nobody_owns_is_closed() -> None:
    async def scene() -> None:
        async with Box(office("101")) as box:
            box.engine.open()
            await restart(box)
            assert box.engine.media == {}

    run(scene())


@pytest.mark.parametrize("transport", ["UDP", "TLS"])
@pytest.mark.parametrize("why", ["another version", "cannot be restored"])
def test_a_slot_of_another_version_ends_its_call_properly(
    transport: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101", transport=transport), await box.phone("102", transport=transport)
            call = await a.call("102")
            there = await b.incoming.get()
            await box.seconds(5)
            assert await call.offer("sendonly") == 200
            assert await call.offer("sendrecv") == 200
            await box.seconds(2)
            if why == "another version":
                monkeypatch.setattr(slot, "VERSION", 3)
            else:
                monkeypatch.setattr(PhoneLeg, "restored", lambda *_: 1 / 0)
            await restart(box)
            assert box.resumed == 0
            await box.seconds(2)
            assert call.ended
            assert there.ended
            (record,) = box.records
            assert (record.caller_number, record.dialled, record.callee_number) == ("101", "102", "102")
            assert (record.outcome, record.cause) == ("answered", 41)
            assert record.seconds > 6
            assert record.said.key == "call.another-version"
            assert len(box.exchange.journal) == 0
            assert box.engine.legs() == []
            if why == "another version":
                again = await a.call("102")
                assert again.final.result() == 200
                again.hang_up()
                await box.seconds(2)

    run(scene())


def test_a_head_keeps_its_places_for_ever() -> None:
    """As version 1 wrote it: whoever changes this cannot end the calls of the boxes in the field."""
    written = (
        b"switchroom call 1\n\x00\x8e\x9a\xa2c1\xcb@$\x00\x00\x00\x00\x00\x00\xcb@(\x00\x00\x00\x00\x00\x00\xa3100\xa4Anna\xa3101"
        b"\xa3101\xa4Bert\xc2\x91\x9a\x07\xa3UDP\xa9192.0.2.1\xcd\x13\xc4\xa1i\xb3<sip:100@pbx>;tag=a\xb3<sip:101@pbx>;tag=b"
        b"\xb1sip:101@192.0.2.1\x91\xae<sip:proxy;lr>\x05the rest"
    )
    ways = (slot.Way(7, "UDP", "192.0.2.1", 5060, "i", "<sip:100@pbx>;tag=a", "<sip:101@pbx>;tag=b", "sip:101@192.0.2.1", ("<sip:proxy;lr>",), 5),)
    head = slot.Head("c1", 10.0, 12.0, "100", "Anna", "101", "101", "Bert", False, ways)
    assert head.before(b"the rest") == written
    assert slot.Head.read(written) == head
    for rubbish in (b"", b"x", slot.HEAD, slot.HEAD + b"\xff\xff\x90", written[:60]):
        assert slot.Head.read(rubbish) is None


def test_a_successor_with_another_configuration_goes_on() -> None:
    """The extension that is called is gone from it: running calls stay, new ones go where it says."""

    async def scene() -> None:
        before = Box(office("101", "102"))
        before.start()
        a, b = await before.phone("101"), await before.phone("102")
        call = await a.call("102")
        there = await b.incoming.get()
        await before.seconds(1)
        before.kill()
        async with Box(office("101"), after=before) as box:
            assert box.resumed == 1
            assert (await a.call("102")).final.result() == 404
            there.hang_up()
            await box.seconds(2)
            assert call.ended
            assert sorted(record.outcome for record in box.records) == ["answered", "failed"]

    run(scene())
