"""`systemctl restart switchroom`: the whole system ends and starts again with the descriptors systemd kept; an encrypted call goes on."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from pathlib import Path

import pytest

from appliance.softphone import Account, Softphone
from tests.e2e.running import ROOT, Credentials, System, wait_until
from tests.e2e.systemd import Systemd

LOW, HIGH = 697.0, 1209.0


@pytest.mark.timeout(120)
def test_a_call_survives_a_restart_of_the_service(tmp_path: Path) -> None:
    systemd, system = Systemd(), System(tmp_path / "var")
    command = system.command("run", *system.arguments)
    first = systemd.start(*command, cwd=ROOT)
    try:
        assert systemd.ready.wait(40)
        logins = [system.add_extension(encrypt="required") for _ in range(2)]
        ended = asyncio.run(_call(system, systemd, logins, first, command))
    finally:
        first.kill()
    assert ended.wait(10) == 0
    systemd.close()


async def _call(
    system: System, systemd: Systemd, logins: list[Credentials], first: subprocess.Popen[bytes], command: list[str]
) -> subprocess.Popen[bytes]:
    phones = [
        Softphone(
            Account(
                "127.0.0.1",
                system.sips_port,
                "TLS",
                login.number,
                login.username,
                login.password,
                str(system.authority),
                "required",
            ),
            frequency=frequency,
        )
        for login, frequency in zip(logins, (LOW, HIGH), strict=True)
    ]
    for phone in phones:
        await phone.connect()
        await phone.register()
    incoming = asyncio.create_task(phones[1].incoming())
    made = await phones[0].call(logins[1].number)
    taken = await incoming
    taken.answer()
    await made.wait(made.answered, 8, "answered")
    assert await taken.hears(LOW, 8)
    assert await made.hears(HIGH, 8)

    first.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(first.wait, 10) == 0
    second = systemd.start(*command, cwd=ROOT)
    try:
        assert await asyncio.to_thread(systemd.ready.wait, 40)
        assert await taken.hears(LOW, 8), "after the restart the called phone hears the caller"
        assert await made.hears(HIGH, 8), "after the restart the caller hears the called phone"
        await asyncio.to_thread(wait_until, lambda: system.counters().get("calls") == 1, "the call to be known again")
    finally:
        for phone in phones:
            await phone.close()
        second.send_signal(signal.SIGTERM)
    return second
