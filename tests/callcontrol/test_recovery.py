"""kill -9 of `calls` in the middle of calls: the engine, the journal and the registrations are all that is left."""

from __future__ import annotations

import msgspec
import pytest

from appliance.calls.legs.sound import HOLD_TONE
from appliance.calls.survival.takeover import open_slots
from tests.box import CALLS, Box, office
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
            (view,) = (each for each in box.views)
            assert view.caller.state == "talking"
            assert await (call if who == "caller" else there).offer("sendonly") == 200
            await box.seconds(2)
            assert box.leg_of(b if who == "caller" else a).played, "the other one hears that it is held"
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


def test_a_ringing_call_goes_on() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102", answer="ring")
            call = a.dial("102")
            there = await b.incoming.get()
            await box.seconds(2)
            await restart(box)
            assert box.resumed == 1
            await box.seconds(2)
            there.accept()
            await box.seconds(2)
            assert await call.final == 200
            call.hang_up()
            await box.seconds(2)
            assert there.ended
            assert [record.outcome for record in box.records] == ["answered"]

    run(scene())


@pytest.mark.parametrize("transport", ["UDP", "TLS"])
@pytest.mark.parametrize("acknowledges", [True, False])
def test_a_refusal_is_kept_until_its_ack(transport: str, acknowledges: bool) -> None:
    """A 404 whose packet was lost together with the process was nobody's any more."""

    async def scene() -> None:
        async with Box(office("101")) as box:
            a = await box.phone("101", transport=transport, srtp="offer" if transport == "TLS" else "off")
            receive = a.receive
            lost: list[bytes] = []

            def deaf(flow: int, data: bytes) -> None:
                if data.startswith(b"SIP/2.0 404"):
                    lost.append(data)
                else:
                    receive(flow, data)

            a.receive = deaf  # type: ignore[method-assign]
            call = a.dial("199")
            await box.seconds(0.3)
            assert (len(lost), len(box.slots.legs), len(box.slots.calls)) == (1, 1, 0)
            await restart(box)
            await box.seconds(0.3)
            assert lost[1] == lost[0], "it is repeated as it was"
            assert box.exchange.leaving
            if acknowledges:
                a.receive = receive  # type: ignore[method-assign]
                await restart(box)
                await box.seconds(0.5)
                assert call.final.result() == 404
            else:
                await box.seconds(33)
            assert (len(box.slots.legs), len(box.exchange.leaving), len(box.exchange.sessions)) == (0, 0, 0)
            assert [record.dialled for record in box.records] == ["199"]
            call.hang_up()

    run(scene())


def test_the_record_of_a_call_that_ended_just_before_is_not_lost() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            call = await a.call("102")
            await box.seconds(3)
            box._tasks[0].cancel()  # the archive hangs
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
            assert there.direction == "recvonly"
            call.hang_up()
            await box.seconds(1)
            assert there.ended

    run(scene())


def test_what_the_dead_could_not_say_to_the_media_core_is_said() -> None:
    """It died between the commit and the command that parts two legs; and who is on hold goes on hearing so."""

    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            echo, call = await a.call("*60"), await b.call("*60")
            await box.seconds(5)
            one, other = box.leg_of(a), box.leg_of(b)
            box.kill()
            one.peer = other.peer = None
            box.start()
            await box.seconds(1)
            assert (one.peer, other.peer) == (one.id, other.id)
            for each in (echo, call):
                each.hang_up()
            await box.seconds(2)
            call = await a.call("102")
            await box.seconds(1)
            assert await call.offer("sendonly") == 200
            await box.seconds(1)
            await restart(box)
            played = len(box.leg_of(b).played)
            await box.seconds(21)
            assert len(box.leg_of(b).played) >= played + 2 * len(HOLD_TONE)
            call.hang_up()

    run(scene())


def test_media_nobody_owns_is_closed() -> None:
    async def scene() -> None:
        async with Box(office("101")) as box:
            box.engine.open()
            await restart(box)
            assert box.engine.media == {}

    run(scene())


@pytest.mark.parametrize("transport", ["UDP", "TLS"])
@pytest.mark.parametrize("what", ["legs", "calls"])
def test_slots_that_cannot_be_read_end_their_call_properly(transport: str, what: str) -> None:
    """One field of another kind: what is left of it says whom to tell and what to write down."""

    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101", transport=transport), await box.phone("102", transport=transport)
            call = await a.call("102")
            there = await b.incoming.get()
            await box.seconds(7)
            box.kill()
            slots, _ = open_slots(box._fd, CALLS)
            for number, payload in getattr(slots, what):
                values = msgspec.msgpack.decode(payload)
                values[5 if what == "legs" else 6] = {"of": "another version"}
                assert getattr(slots, what).write(number, msgspec.msgpack.encode(values))
            slots.commit(slots.positions, [])
            slots.close()
            box.start()
            await box.seconds(2)
            assert (call.ended, there.ended) == (True, True)
            (record,) = box.records
            assert (record.caller_number, record.dialled, record.callee_number) == ("101", "102", "102")
            assert (record.outcome, record.cause) == ("answered", 41)
            assert record.seconds > 6
            assert record.said.key == "call.another-version"
            again = await a.call("102")
            assert again.final.result() == 200
            again.hang_up()
            await box.seconds(2)

    run(scene())


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
