"""The verbs of a call script (calls/api.py) about legs and other calls, used by a script in the box; each also when the process is killed in the
middle of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from appliance.calls import api
from appliance.calls.api import Cause, Clear, Destination, Left, NoState, Service, Unanswered
from appliance.services.scripts import SCRIPTS
from tests.box import Box
from tests.box_phone import Phone, PhoneCall
from tests.calls.scripted import BERT, TONES, Kept, box, press, restart, scene
from tests.clock import run


@pytest.mark.parametrize("kills", [False, True])
def test_ringing_says_what_came_of_it_and_goes_on_to_the_next(kills: bool) -> None:
    outcomes: list[str] = []

    async def script(call: api.Call, state: NoState) -> None:
        try:
            await call.ringing(BERT, seconds=5)
        except Unanswered as failed:
            outcomes.append(failed.outcome)
        leg = await call.ringing(Destination("extension", "e103"))
        await call.bridged(call.caller, leg)

    async def played() -> None:
        async with box(script) as made:
            a, b, c = [
                await made.phone(number, answer=how)
                for number, how in (("101", "auto"), ("102", "ring"), ("103", "auto"))
            ]
            call = a.dial("*60")
            await made.seconds(2)
            if kills:
                await restart(made)
            first = await b.incoming.get()
            await made.seconds(7)
            assert first.ended
            if kills:
                await restart(made)
            there = await c.incoming.get()
            assert c.incoming.empty()
            assert not there.ended
            assert call.final.result() == 200
            one, other = made.leg_of(a), made.leg_of(c)
            assert (one.peer, other.peer) == (other.id, one.id)
            there.hang_up()
            await made.seconds(2)
            (record,) = made.records
            assert record.outcome == "answered"
            assert {(person.number, person.fate) for person in record.people} == {
                ("102", "missed"),
                ("103", "answered"),
            }

    run(played())
    assert set(outcomes) == {"no-answer"}


def test_what_nobody_can_be_reached_for() -> None:
    outcomes: list[str] = []

    async def script(call: api.Call, state: NoState) -> None:
        for who in (BERT, Destination("extension", "nobody")):
            try:
                await call.ringing(who)
            except Unanswered as failed:
                outcomes.append(failed.outcome)
        raise Clear(Cause.BUSY)

    async def then(box: Box, a: Phone, call: PhoneCall) -> None:
        await box.seconds(1)
        assert call.final.result() == 486

    scene(script, then)
    assert outcomes == ["unreachable", "failed"]


@pytest.mark.parametrize("kills", [False, True])
def test_hold_and_retrieve(kills: bool) -> None:
    async def script(call: api.Call, state: Kept) -> None:
        await call.answered(call.caller)
        while state.step < 3:
            await (call.hold if state.step == 0 else call.retrieve)(call.caller)
            await call.collect(call.caller, most=1, seconds=4)
            state.step += 1
            call.keep(state)

    async def then(box: Box, a: Phone, call: PhoneCall) -> None:
        await box.seconds(2)
        assert call.direction == "sendonly", "our side sends, the phone is not heard"
        if kills:
            await restart(box)
        await box.seconds(5)
        assert call.direction == "sendrecv"
        await box.seconds(10)
        assert call.ended
        assert len(call.offers) == 2

    scene(script, then, state=Kept)


def test_who_leaves_is_told_to_the_verb_that_waits() -> None:
    left: list[tuple[str, str]] = []

    async def script(call: api.Call, state: NoState) -> None:
        leg = await call.ringing(BERT)
        try:
            await call.bridged(call.caller, leg)
        except Left as gone:
            left.append((gone.leg.party.number, gone.to))
        await call.play(call.caller, TONES)

    async def played() -> None:
        async with box(script) as made:
            a, b = await made.phone("101"), await made.phone("102")
            call = await a.call("*60")
            there = await b.incoming.get()
            await made.seconds(2)
            there.hang_up()
            await made.seconds(0.5)
            assert not call.ended, "the caller hears that the other one has gone"
            assert made.leg_of(a).peer is None
            await made.seconds(3)
            assert call.ended

    run(played())
    assert left == [("102", "")]


@pytest.mark.parametrize("kills", [False, True])
def test_a_transfer_moves_the_leg_and_is_one_history_entry(kills: bool) -> None:
    async def script(call: api.Call, state: NoState) -> None:
        leg = await call.ringing(BERT)
        try:
            await call.bridged(call.caller, leg)
        except Left:
            call.transfer(call.caller, Destination("extension", "e103"))
            await call.play(leg, TONES)

    async def played() -> None:
        async with box(script) as made:
            a, b, c = [await made.phone(number) for number in ("101", "102", "103")]
            call = await a.call("*60")
            there = await b.incoming.get()
            await made.seconds(2)
            there.hang_up()
            await made.seconds(0.5)
            if kills:
                await restart(made)
            await made.seconds(4)
            third = await c.incoming.get()
            assert not call.ended
            assert not third.ended
            one, other = made.leg_of(a), made.leg_of(c)
            assert (one.peer, other.peer) == (other.id, one.id)
            assert len(made.calls) == 1
            if kills:
                await restart(made)
            call.hang_up()
            await made.seconds(2)
            assert third.ended
            (record,) = made.records
            assert record.outcome == "answered"
            assert {person.number for person in record.people} == {"102", "103"}
            assert len(record.legs) == 3

    run(played())


def test_a_leg_is_adopted_with_what_it_was_told() -> None:
    """The old script hears Left with the name of the other call; keys pressed before go along."""
    told: list[Any] = []
    calls: list[api.Call] = []

    async def script(call: api.Call, state: NoState) -> None:
        await call.answered(call.caller)
        calls.append(call)
        if len(calls) == 1:
            try:
                await call.looped(call.caller)
            except Left as gone:
                told.append(gone.to)
                raise
        first = calls[0].caller
        press_before = first.digits
        call.adopt(first)
        told.append((press_before, await call.collect(first, most=2, seconds=1)))
        await call.bridged(call.caller, first)

    async def played() -> None:
        async with box(script) as made:
            a, b = await made.phone("101"), await made.phone("102")
            one = await a.call("*60")
            await made.seconds(1)
            press(made, a, "42")
            await made.seconds(1)
            two = await b.call("*60")
            await made.seconds(2)
            assert not one.ended
            assert not two.ended
            left, right = made.leg_of(a), made.leg_of(b)
            assert (left.peer, right.peer) == (right.id, left.id)
            assert told == [("42", "42"), calls[1].id] or told == [calls[1].id, ("42", "42")]
            await restart(made)
            one.hang_up()
            await made.seconds(2)
            assert two.ended
            assert len(made.records) == 1, "they have stood together"

    run(played())


@pytest.mark.parametrize("kills", [False, True])
def test_go(kills: bool) -> None:
    async def script(call: api.Call, state: NoState) -> None:
        await call.answered(call.caller)
        await call.play(call.caller, TONES)
        await call.go(BERT)

    async def played() -> None:
        async with box(script) as made:
            a, b = await made.phone("101"), await made.phone("102")
            call = await a.call("*60")
            if kills:
                await restart(made)
            await made.seconds(4)
            there = await b.incoming.get()
            if kills:
                await restart(made)
            one, other = made.leg_of(a), made.leg_of(b)
            assert (one.peer, other.peer) == (other.id, one.id)
            there.hang_up()
            await made.seconds(1)
            assert call.ended

    run(played())


@pytest.mark.parametrize("kills", [False, True])
def test_mixed(kills: bool) -> None:
    async def script(call: api.Call, state: NoState) -> None:
        await call.answered(call.caller)
        await call.mixed(call.caller, 7, muted=call.caller.party.number == "103")

    async def played() -> None:
        async with box(script) as made:
            phones = [await made.phone(number) for number in ("101", "102", "103")]
            calls = [await phone.call("*60") for phone in phones]
            await made.seconds(1)
            if kills:
                await restart(made)
            legs = [made.leg_of(phone) for phone in phones]
            assert [(leg.room, leg.muted) for leg in legs] == [(7, False), (7, False), (7, True)]
            assert await calls[0].offer("sendonly") == 200
            await made.seconds(1)
            calls[1].hang_up()
            await made.seconds(1)
            assert [call.ended for call in calls] == [False, True, False]
            assert made.leg_of(phones[0]).room == 7
            for one in (calls[0], calls[2]):
                one.hang_up()

    run(played())


def test_a_script_that_another_version_does_not_have_ends_its_call_politely() -> None:
    async def script(call: api.Call, state: NoState) -> None:
        await call.answered(call.caller)
        await call.looped(call.caller)

    async def played() -> None:
        async with box(script) as made:
            a = await made.phone("101")
            call = await a.call("*60")
            await made.seconds(1)
            made.kill()
            made._services = {name: service for name, service in SCRIPTS.items() if name != "echo"}
            made.start()
            await made.seconds(2)
            assert call.ended
            (record,) = made.records
            assert record.outcome == "answered"

    run(played())


def test_a_state_is_kept_and_grows() -> None:
    """What an older version has kept is read by a newer one that knows a field more."""

    class More(msgspec.Struct, array_like=True):
        step: int = 0
        more: str = "new"

    seen: list[Any] = []

    async def old(call: api.Call, state: Kept) -> None:
        await call.answered(call.caller)
        state.step = 4
        call.keep(state)
        await call.looped(call.caller)

    async def new(call: api.Call, state: More) -> None:
        seen.append((state.step, state.more))
        await call.looped(call.caller)

    async def played() -> None:
        async with box(old, Kept) as made:
            a = await made.phone("101")
            call = await a.call("*60")
            await made.seconds(1)
            made.kill()
            made._services = {**SCRIPTS, "echo": Service("echo", new, More)}
            made.start()
            await made.seconds(1)
            assert not call.ended
            call.hang_up()

    run(played())
    assert seen == [(4, "new")]
