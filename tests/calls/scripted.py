"""A box whose *60 is a script of the test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from appliance.calls import api
from appliance.calls.api import Destination, NoState, Service
from appliance.services.scripts import SCRIPTS
from media_core import Digit
from tests.box import Box, office
from tests.box_phone import Phone, PhoneCall
from tests.clock import run

TONES = ((440.0, 0.0, 1000),)
BERT = Destination("extension", "e102")
State = type[msgspec.Struct]


class Kept(msgspec.Struct, array_like=True):
    step: int = 0


def box(script: api.Script, state: State = NoState, **office_: Any) -> Box:
    """*60 is this script."""
    services = {**SCRIPTS, "echo": Service("echo", script, state)}
    return Box(office("101", "102", "103", **office_), services=services)


async def restart(box: Box, down: float = 0.3) -> None:
    box.kill()
    await box.seconds(down)
    box.start()


def press(box: Box, phone: Phone, digits: str) -> None:
    for digit in digits:
        box.engine.tell(Digit(box.leg_of(phone).id, digit, 100))


Scene = Callable[[Box, Phone, PhoneCall], Awaitable[None]]


def scene(script: api.Script, then: Scene, *, state: State = NoState, ends: bool = True, **how: Any) -> list[Any]:
    """101 dials the script; the records afterwards."""

    async def played() -> list[Any]:
        async with box(script, state, **how) as made:
            a = await made.phone("101")
            call = a.dial("*60")
            await made.seconds(0.5)
            await then(made, a, call)
            if not call.ended:
                call.hang_up()
            await made.seconds(2)
        return made.records

    return run(played())
