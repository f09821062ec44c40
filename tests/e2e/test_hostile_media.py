"""Packets that are not genuine, at the media port of a call of the running system: nobody hears them, and the system says so by itself."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Callable

import pytest

from appliance.softphone import Account, Softphone
from tests.e2e.running import Credentials, System
from tests.e2e.test_calls import HIGH, LOW, expect_nothing_left

Extensions = Callable[..., Credentials]


@pytest.mark.timeout(90)
async def test_forged_packets_become_an_alarm_with_their_source(system: System, extension: Extensions) -> None:
    """From the phone's own address, as somebody would who forges it."""

    def account(who: Credentials) -> Account:
        return Account(
            "127.0.0.1",
            system.sips_port,
            "TLS",
            who.number,
            who.username,
            who.password,
            str(system.authority),
            "required",
        )

    async with (
        Softphone(account(extension()), frequency=LOW) as a,
        Softphone(account(extension()), frequency=HIGH) as b,
    ):
        outgoing = asyncio.ensure_future(a.call(b.account.number))
        incoming = await b.incoming()
        incoming.answer()
        call = await outgoing
        assert await call.hears(HIGH, 5)
        forger, at = call.audio._transport, call.audio.target
        assert forger is not None

        def said() -> list[str]:
            alarms = system.status()["alarms"]
            return [alarm["message"] for alarm in alarms if alarm["id"].startswith("hostile-media")]

        for _ in range(40):
            for number in range(25):
                forger.sendto(struct.pack(">BBHII", 0x80, 8, number, 160 * number, 1) + os.urandom(170), at)
            if found := await asyncio.to_thread(said):
                break
            await asyncio.sleep(0.5)
        assert f"Packets from 127.0.0.1 to the call of {a.account.number}" in found[0]
        assert "fail authentication" in found[0]
        assert await incoming.hears(LOW, 5)
        call.hang_up()
        await incoming.wait(incoming.ended, 5, "the hang-up")
    expect_nothing_left(system)
