"""Phones that do anything at any time, over a bad network, with `calls` killed in between: whatever happens, nothing may be left."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.box import Box, office
from tests.box_phone import Phone, PhoneCall
from tests.clock import run

NUMBERS = ("101", "102", "103", "104")


async def live(phone: Phone, chance: random.Random) -> None:
    """One person with one phone."""
    for _ in range(6):
        await asyncio.sleep(chance.uniform(0, 20))
        phone.answer = chance.choice(["auto", "auto", "auto", "ring", 486, 603])
        call = phone.dial(chance.choice([*NUMBERS, "*60", "999"]), late=chance.random() < 0.2)
        await asyncio.sleep(chance.uniform(0, 12))
        await fiddle(call, chance)
        for other in list(phone.calls.values()):
            if not other.ended and chance.random() < 0.5:
                other.hang_up()
        if not call.ended:
            call.hang_up()


async def fiddle(call: PhoneCall, chance: random.Random) -> None:
    for _ in range(chance.randrange(3)):
        if call.ended or not call.final.done():
            return
        task = asyncio.ensure_future(call.offer(chance.choice(["sendonly", "sendrecv", "inactive"])))
        await asyncio.wait([task], timeout=chance.uniform(0.1, 40))
        task.cancel()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kills", [False, True])
def test_nothing_is_left(seed: int, kills: bool) -> None:
    async def scene() -> None:
        chance = random.Random(seed)
        async with Box(office(*NUMBERS, ring_seconds=10, lines=2), loss=0.1 if seed % 2 else 0.0, seed=seed) as box:
            phones = []
            for number in NUMBERS:
                transport = chance.choice(["UDP", "TCP", "TLS"])
                srtp = chance.choice(["off", "offer", "optional"]) if transport == "TLS" else "off"
                early = chance.random() < 0.3
                users = (number, f"{number}-2")
                phones += [await box.phone(user, transport=transport, srtp=srtp, early=early) for user in users]
            people = [asyncio.ensure_future(live(phone, chance)) for phone in phones]
            while not all(person.done() for person in people):
                await asyncio.sleep(chance.uniform(1, 15))
                if kills:
                    box.kill()
                    await asyncio.sleep(chance.uniform(0, 2))
                    box.start()
            for person in people:
                person.result()
            for phone in phones:
                for call in phone.calls.values():
                    if not call.ended:
                        call.hang_up()
            await box.seconds(100)
            assert len({record.id for record in box.records}) == len(box.records), "one record per call"
            assert len(box.records) >= 10

    run(scene())
