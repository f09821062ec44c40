"""Phones that answer what no call can be made of, and phones that are gone: each costs one call, is known at once and said by name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from appliance.softphone import Account, PhoneError, Softphone
from tests.e2e.running import Credentials, System
from tests.e2e.test_calls import expect_nothing_left

Extensions = Callable[..., Credentials]


def account(system: System, who: Credentials) -> Account:
    return Account("127.0.0.1", system.sip_port, "UDP", who.number, who.username, who.password)


@pytest.mark.timeout(90)
async def test_an_answer_no_dialog_can_be_made_of_is_an_alarm(system: System, extension: Extensions) -> None:
    async with Softphone(account(system, extension())) as a, Softphone(account(system, extension())) as b:
        write = b._write
        b._write = lambda data: write(data.replace(b"SIP/2.0 180 Ringing\r\n", b"SIP/2.0 180 Ringing\r\nRecord-Route: <sip:a;lr\r\n"))
        ringing = asyncio.ensure_future(b.incoming())
        with pytest.raises(PhoneError):
            async with asyncio.timeout(5):
                await a.call(b.account.number)
        await ringing
        for _ in range(40):
            found = [alarm["message"] for alarm in (await asyncio.to_thread(system.status))["alarms"] if alarm["id"].startswith("fault")]
            if found:
                break
            await asyncio.sleep(0.5)
        assert "The phone at 127.0.0.1 answered with a message that cannot be used" in found[0]
        assert system.counters()["faults"] == 1
        b._write = write
        answering = asyncio.ensure_future(b.incoming())
        calling = asyncio.ensure_future(a.call(b.account.number))
        (await answering).answer()
        (await calling).hang_up()
    expect_nothing_left(system)


@pytest.mark.timeout(90)
async def test_a_phone_that_is_gone_is_known_at_once(system: System, extension: Extensions) -> None:
    """Its socket is closed, the kernel says so by ICMP: the caller heard nothing for 32 s."""
    async with Softphone(account(system, extension())) as a:
        b = Softphone(account(system, extension()))
        await b.__aenter__()
        b._close()
        begun = time.monotonic()
        with pytest.raises(PhoneError):
            async with asyncio.timeout(20):
                await a.call(b.account.number)
        assert time.monotonic() - begun < 10
    expect_nothing_left(system)
