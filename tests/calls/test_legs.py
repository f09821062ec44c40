"""Legs and parties: every move of the table, the ways to a phone, whose account it is on, and what is played for a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliance.calls import api, fork
from appliance.calls.api import Cause, Destination, Files, NoState, Service
from appliance.calls.legs.leg import Leg
from appliance.calls.legs.standing import MOVES, Standing
from appliance.calls.plan.party import LINKS, AccountExceeded, Party
from appliance.calls.process import recorded
from appliance.services.scripts import SCRIPTS
from appliance.words import Said
from tests.box import Box, office
from tests.clock import run
from tests.written import as_written


@as_written("listens in the place of functions")
def test_every_move_of_a_leg_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: set[tuple[str, str]] = set()
    move = Standing._move

    def seen(leg: Standing, state: Any) -> None:
        made.add((leg.state, state))
        move(leg, state)

    monkeypatch.setattr(Standing, "_move", seen)

    async def scene() -> None:
        async with Box(office("101", "102", "103")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            await box.phone("103", answer=486)
            (await a.call("102")).hang_up()  # rings, answers, ends
            (await a.call("*60")).hang_up()  # answered without ringing
            b.answer = "ring"
            given_up = a.dial("102")
            await box.seconds(2)
            given_up.hang_up()
            await a.call("103")  # refused without ringing
            received = Leg.received
            monkeypatch.setattr(Leg, "received", lambda *_: 1 / 0)
            assert (await a.call("102")).final.result() == 500
            monkeypatch.setattr(Leg, "received", received)
            await box.seconds(1)
            box.exchange.faults._faults.clear()

    run(scene())
    assert made == {(before, after) for before, afters in MOVES.items() for after in afters}


@as_written("puts another class in the place of one")
def test_the_next_way_is_tried_when_the_first_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            silent = box.connect(await box.phone("102", register=False), "UDP")
            box.phones[silent.remote].on = False
            endpoint = fork.Endpoint

            def two_ways(line: str, encrypt: Any, ways: list[Any], *others: str) -> Any:
                return endpoint(line, encrypt, [silent, *ways], *others)

            monkeypatch.setattr(fork, "Endpoint", two_ways)
            call = a.dial("102")
            await box.seconds(20)
            assert b.incoming.empty()
            await box.seconds(20)
            assert call.final.result() == 200
            assert (await b.incoming.get()).ended is False
            call.hang_up()
            await box.seconds(1)
            (record,) = box.records
            assert record.outcome == "answered"

    run(scene())


def test_a_call_that_goes_in_a_circle_ends_with_a_reason() -> None:
    async def script(call: api.Call, state: NoState) -> None:
        await call.go(Destination("service", "echo"))

    async def scene() -> None:
        async with Box(office("101"), services={**SCRIPTS, "echo": Service("echo", script)}) as box:
            a = await box.phone("101")
            call = await a.call("*60")
            assert call.final.result() == 482
            await box.seconds(1)
            (record,) = box.records
            assert record.said == Said.of("call.in-a-circle", number=record.said.facts["number"])
            assert record.cause == Cause.OUT_OF_ORDER

    run(scene())


def test_an_account_has_no_number_twice_and_few_links() -> None:
    party = Party("100", "Anna")
    for number in range(LINKS):
        party = party.sent_on("forward", str(200 + number))
    assert [number for _, number in party.account] == [str(200 + number) for number in range(LINKS)]
    for number in ("200", "999"):
        with pytest.raises(AccountExceeded) as error:
            party.sent_on("transfer", number)
        assert error.value.number == number


def test_a_sentence_is_heard_as_it_was_recorded(tmp_path: Path) -> None:
    (tmp_path / "menu.choose.opus").write_bytes(b"")
    find = recorded(tmp_path)
    assert find(Said.of("menu.choose")) == Files((str(tmp_path / "menu.choose.opus"),))
    assert find(Said.of("menu.other")) == Files(())

    async def script(call: api.Call, state: NoState) -> None:
        await call.answered(call.caller)
        await call.play(call.caller, Said.of("menu.choose"))
        await call.play(call.caller, Said.of("menu.other"))

    async def scene() -> None:
        async with Box(office("101"), services={**SCRIPTS, "echo": Service("echo", script)}) as box:
            box.exchange.prompts = find
            a = await box.phone("101")
            call = await a.call("*60")
            await box.seconds(0.5)
            assert box.leg_of(a).played == [str(tmp_path / "menu.choose.opus")]
            await box.seconds(5)
            assert call.ended

    run(scene())
