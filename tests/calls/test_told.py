"""What phones do becomes facts, and these the call record and the live view: driven through the whole of call control, over a kill as well."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable

import pytest

from appliance.calls.history.record import CallRecord
from appliance.words import english
from media_core import MediaQuality
from tests.box import Box, office
from tests.clock import run


def parts(record: CallRecord) -> dict[tuple[int, str], float]:
    return {(part.who, part.kind): round(part.seconds) for part in record.parts}


def adds_up(record: CallRecord) -> None:
    sums: dict[int, float] = defaultdict(float)
    for part in record.parts:
        sums[part.who] += part.seconds
    for leg in record.legs:
        assert sums[leg.who] == pytest.approx(leg.ended - leg.began, abs=1e-3)


async def two_phones(box: Box, kill: Callable[[], Awaitable[None]]) -> None:
    a, desk, mobile = (
        await box.phone("101"),
        await box.phone("102", answer="ring"),
        await box.phone("102-2", answer="ring"),
    )
    call = a.dial("102")
    at_desk, at_mobile = await desk.incoming.get(), await mobile.incoming.get()
    await box.seconds(4)
    await kill()
    (view,) = box.views
    assert (view.caller.state, [leg.state for leg in view.callees]) == ("ringing", ["ringing", "ringing"])
    at_mobile.accept()
    await box.seconds(10)
    assert at_desk.ended
    await kill()
    assert await at_mobile.offer("sendonly") == 200
    await box.seconds(5)
    (view,) = box.views
    assert (view.caller.state, [leg.state for leg in view.callees]) == ("on-hold", ["held"])
    await kill()
    assert await at_mobile.offer("sendrecv") == 200
    for each in box.engine.media.values():
        each.packets = 2000
    await box.seconds(5)
    call.hang_up()
    await box.seconds(2)
    (record,) = box.records
    assert [(person.number, person.fate) for person in record.people] == [("102", "answered")]
    assert sorted(leg.fate for leg in record.legs) == ["", "answered", "answered elsewhere"]
    caller, answered = record.legs[0].who, next(leg.who for leg in record.legs if leg.fate == "answered")
    told = parts(record)
    assert (told[caller, "calling"], told[answered, "ringing"]) == (4, 4)
    assert (told[caller, "on hold"], told[answered, "holding"]) == (5, 5)
    assert (told[caller, "talking"], told[answered, "talking"]) == (15, 15)
    assert (record.outcome, record.hung_up_by, record.said.key) == ("answered", "caller", "call.connected")
    adds_up(record)


async def nobody_answers(box: Box, kill: Callable[[], Awaitable[None]]) -> None:
    a, b = await box.phone("101"), await box.phone("102", answer="ring")
    call = a.dial("102")
    await b.incoming.get()
    await box.seconds(5)
    await kill()
    call.hang_up()
    await box.seconds(2)
    (record,) = box.records
    assert [(person.number, person.fate) for person in record.people] == [("102", "missed")]
    assert (record.outcome, record.said.key) == ("cancelled", "call.given-up")
    adds_up(record)


async def busy(box: Box, kill: Callable[[], Awaitable[None]]) -> None:
    a, b = await box.phone("101"), await box.phone("102", answer="ring")
    call = a.dial("102")
    there = await b.incoming.get()
    await box.seconds(2)
    await kill()
    there.refuse(486)
    assert await call.final == 486
    await box.seconds(1)
    (record,) = box.records
    assert [(person.number, person.fate) for person in record.people] == [("102", "busy")]
    assert (record.outcome, record.said.key) == ("busy", "call.busy")
    adds_up(record)


async def no_phone(box: Box, kill: Callable[[], Awaitable[None]]) -> None:
    a = await box.phone("101")
    call = await a.call("102")
    assert call.final.result() == 480
    await box.seconds(1)
    (record,) = box.records
    assert [(person.number, person.fate) for person in record.people] == [("102", "failed")]
    assert english().say(record.said).startswith("No phone of Phone 102 (102) is registered")


async def a_service(box: Box, kill: Callable[[], Awaitable[None]]) -> None:
    a = await box.phone("101")
    call = await a.call("*60")
    await box.seconds(10)
    await kill()
    (view,) = box.views
    assert (view.caller.state, view.callees, view.dialled) == ("talking", [], "*60")
    call.hang_up()
    await box.seconds(2)
    (record,) = box.records
    assert (record.callee_number, record.people) == ("*60", ())
    adds_up(record)


async def a_bad_spell(box: Box, kill: Callable[[], Awaitable[None]]) -> None:
    a, _ = await box.phone("101"), await box.phone("102")
    call = await a.call("102")
    await box.seconds(5)
    box.engine.tell(MediaQuality(box.leg_of(a).id, 0.25, 12.0, True))
    await box.seconds(10)
    await kill()
    call.hang_up()
    await box.seconds(2)
    (record,) = box.records
    assert [(leg.poor_seconds, leg.worst_lost) for leg in record.legs] == [(10.0, 0.25), (0.0, 0.0)]
    adds_up(record)


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("scene", [two_phones, nobody_answers, busy, no_phone, a_service, a_bad_spell])
def test_what_was_told(scene: Callable[[Box, Callable[[], Awaitable[None]]], Awaitable[None]], killed: bool) -> None:
    async def played() -> None:
        async with Box(office("101", "102", lines=2)) as box:

            async def kill() -> None:
                if killed:
                    box.kill()
                    box.start()
                    await box.seconds(0.1)

            await scene(box, kill)

    run(played())
