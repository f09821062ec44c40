"""A process is killed with -9 during an encrypted call: the sound goes on, and hold and hang-up work afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from appliance.softphone import Account, Softphone
from tests.e2e.baresip import Phone
from tests.e2e.running import Credentials, System
from tests.e2e.test_calls import HIGH, LOW, establish, expect_nothing_left, hold_and_resume

Extensions = Callable[..., Credentials]
Phones = Callable[..., Phone]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("process", "transport"), [("web", "tls"), ("calls", "udp"), ("calls", "tcp"), ("calls", "tls"), ("core", "udp")]
)
def test_call_survives_the_death_of_a_process(
    system: System, extension: Extensions, phone: Phones, process: str, transport: str
) -> None:
    encryption = "srtp-mand" if transport == "tls" else ""
    caller = phone(extension(), transport=transport, encryption=encryption, tone=LOW)
    called = phone(extension(), transport=transport, encryption=encryption, tone=HIGH)
    establish(caller, called)
    called.expect_tone(LOW)
    caller.expect_tone(HIGH)

    restarts = system.view(process)["restarts"]
    system.kill(process)
    assert system.view(process)["restarts"] == restarts + 1
    called.expect_tone(LOW)
    caller.expect_tone(HIGH)
    assert system.counters()["calls"] == 1

    hold_and_resume(caller, called)
    caller.hang_up()
    called.wait_for("CALL_CLOSED")
    expect_nothing_left(system)


@pytest.mark.timeout(120)
def test_a_call_survives_a_core_that_stands_still(system: System, extension: Extensions, phone: Phones) -> None:
    """The core is stopped as a whole: the supervisor misses its beat, kills it, and the spare carries the call on."""
    caller = phone(extension(), transport="udp", tone=LOW)
    called = phone(extension(), transport="udp", tone=HIGH)
    establish(caller, called)
    called.expect_tone(LOW)
    caller.expect_tone(HIGH)

    restarts = system.view("core")["restarts"]
    system.hang("core")
    assert system.view("core")["restarts"] == restarts + 1
    assert any("process core stood still once" in alarm["message"] for alarm in system.status()["alarms"])
    called.expect_tone(LOW)
    caller.expect_tone(HIGH)
    assert system.counters()["calls"] == 1
    caller.hang_up()
    called.wait_for("CALL_CLOSED")
    expect_nothing_left(system)


async def come_back(phone: Softphone) -> None:
    """What a telephone does that finds its connection gone."""
    while phone.connected:
        await asyncio.sleep(0.02)
    await phone.connect()
    await phone.register()


@pytest.mark.timeout(60)
async def test_tls_phones_come_back_to_their_call(system: System, extension: Extensions) -> None:
    """The core's death ends every TLS connection. The sound goes on under the same keys; when the phones have registered again,
    hold, resume and hang-up work on the new connections."""

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
        await asyncio.to_thread(system.kill, "core")
        assert await call.hears(HIGH, 5)
        assert await incoming.hears(LOW, 5)
        await asyncio.gather(come_back(a), come_back(b))
        counters = system.counters()
        assert (counters["registrations"], counters["calls"]) == (2, 1)
        await call.hold()
        assert await incoming.hears_nothing(0.4, 5)
        await call.resume()
        assert await call.hears(HIGH, 5)
        assert await incoming.hears(LOW, 5)
        incoming.hang_up()
        await call.wait(call.ended, 5, "the hang-up")
    expect_nothing_left(system)
