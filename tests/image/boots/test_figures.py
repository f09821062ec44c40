"""The figures of docs/appliance.md that only a started box can give. They are printed (`-s`): times are judged by who reads them, what
has to work under them is asked for.

The bare start is the same disk with our services masked through the machine's firmware tables (smbios(7) credentials of systemd), so
nothing of the image is another.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import secrets
import socket
import statistics
from pathlib import Path

import pytest

from appliance.softphone import Account, PhoneCall, Softphone
from tests.image.boots.conftest import Started, facts_of
from tests.image.browser import Browser
from tests.image.machine import Machine
from tests.image.phones import HIGH, LOW, account

OURS = ("switchroom.service", "switchroom-console.service", "switchroom-health.service", "switchroom-helper.socket")
MARKER = """[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo REACHED $(systemctl show --value -p ActiveEnterTimestampMonotonic multi-user.target) $(cat /proc/uptime) > /dev/ttyS0'
"""
PASSWORD = "correct horse battery"
TURNS = 3
LIMIT = 180.0  # seconds
CALLERS, TURNS_OF_EACH = 5, 2  # fifteen extensions are what a box without a licence has
SMALL = 512  # MiB

pytestmark = [pytest.mark.timeout(3600), pytest.mark.slow]


def credential(name: str, text: str) -> tuple[str, str]:
    coded = base64.b64encode(text.encode()).decode()
    return "-smbios", f"type=11,value=io.systemd.credential.binary:{name}={coded}"


def in_use(started: Started, folder: Path, numbers: list[str]) -> list[tuple[str, str, str]]:
    """The box of `started` is set up with these extensions, and loses its power; their numbers, SIP user names and passwords."""
    with Machine(folder, started.folder, like=started.folder, size="8G") as box:
        browser = Browser(box.forward("tcp", 4021), folder / "authority.pem")
        browser.set_up(started.setup_code, PASSWORD)
        return [(number, *browser.add_extension(number)) for number in numbers]


def bare(disk: Path) -> float:
    """Seconds from power-on to multi-user.target without anything of ours."""
    masked = " ".join(f"systemd.mask={unit}" for unit in OURS)
    extra = credential("systemd.extra-unit.reached.service", MARKER)
    with Machine(disk.parent, disk, extra=extra, kernel=f"{masked} systemd.wants=reached.service") as box:
        found = box.wait(r"REACHED (\d+) ([\d.]+)")
        return box.seconds() - (float(found[2]) - int(found[1]) / 1e6)


def register_once(port: int, number: str) -> bytes:
    """What a phone says first; always the same octets are a retransmission, which costs the box nothing."""
    me = f"<sip:{number}@127.0.0.1>"
    via = f"Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK{secrets.token_hex(8)};rport"
    lines = [
        f"REGISTER sip:127.0.0.1:{port} SIP/2.0", via, "Max-Forwards: 70", f"From: {me};tag={secrets.token_hex(6)}",
        f"To: {me}", f"Call-ID: {secrets.token_hex(8)}", "CSeq: 1 REGISTER", f"Contact: <sip:{number}@127.0.0.1:9>", "Content-Length: 0", "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode()


def registered(disk: Path, login: tuple[str, str, str]) -> float:
    """Seconds from power-on until a phone that tries all the time is registered over TLS."""
    number, name, password = login
    with Machine(disk.parent, disk) as box, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as knocking:
        there = ("127.0.0.1", box.forward("udp", 5060))
        asked, port = register_once(there[1], number), box.forward("tcp", 5061)
        knocking.settimeout(0.2)
        while box.seconds() < LIMIT:
            knocking.sendto(asked, there)
            with contextlib.suppress(TimeoutError, ConnectionError):
                if knocking.recv(4096).startswith(b"SIP/2.0 401"):
                    break
        authority = str(disk.parent / "authority.pem")
        phone = Softphone(
            Account("127.0.0.1", port, "TLS", number, name, password, authority, "required", "10.0.2.2", "127.0.0.1")
        )
        asyncio.run(_register(phone))
        seconds = box.seconds()
        box.wait(r"State +healthy")
        facts_of(box)  # starts whose health check did not pass are counted, and the fourth reads the whole slot
        return seconds


async def _register(phone: Softphone) -> None:
    await phone.connect(LIMIT)
    await phone.register(seconds=LIMIT)
    await phone.close()


def test_from_power_on_to_a_registered_phone_beside_the_bare_start(started: Started, tmp_path: Path) -> None:
    login, disk = in_use(started, tmp_path / "box", ["100"])[0], tmp_path / "box/disk.qcow2"
    pairs = [(bare(disk), registered(disk, login)) for _ in range(TURNS)]
    plain, whole = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(  # noqa: T201
        f"\nto multi-user without us {plain:.1f} s, to a registered phone {whole:.1f} s, added {whole / plain - 1:.0%}: {pairs}"
    )


def test_ten_calls_in_512_megabytes(started: Started, tmp_path: Path) -> None:
    """Ten encrypted calls at once, heard at both ends, in a machine of that size; nothing is killed and the box is healthy after it."""
    numbers = [str(200 + index) for index in range(CALLERS * (1 + TURNS_OF_EACH))]
    logins = in_use(started, tmp_path / "box", numbers)
    with Machine(tmp_path / "box", tmp_path / "box/disk.qcow2", memory=SMALL) as box:
        box.wait(r"State +healthy")
        idle = facts_of(box)
        browser = Browser(box.forward("tcp", 4021), tmp_path / "box/authority.pem")
        accounts = [account(box, browser, *login) for login in logins]
        busy = asyncio.run(_ten_calls(accounts, box))
        after = facts_of(box)
    for name, facts in (("idle", idle), ("ten calls", busy), ("after", after)):
        found = re.search(r"memory used (\d+) MiB of (\d+) MiB", facts)
        assert found
        print(f"\n{name}: {found[0]}; " + ", ".join(re.findall(r"process (\d+ MiB [^\n]+)", facts)[:8]))  # noqa: T201
        assert "health passed" in facts, facts
        assert re.findall(r"failed-unit (\S+)", facts) == []
    assert "died" not in box.text()
    assert "Out of memory" not in box.text()


async def _ten_calls(accounts: list[Account], box: Machine) -> str:
    async with contextlib.AsyncExitStack() as stack:
        phones = [Softphone(each, frequency=LOW if at < CALLERS else HIGH) for at, each in enumerate(accounts)]
        for phone in phones:
            await phone.connect(LIMIT)
            stack.push_async_callback(phone.close)
            await phone.register(seconds=LIMIT)
        calls: list[tuple[PhoneCall, PhoneCall]] = []
        for caller, called in zip(phones[:CALLERS] * TURNS_OF_EACH, phones[CALLERS:], strict=True):
            incoming = asyncio.create_task(called.incoming(LIMIT))
            made = await caller.call(called.account.number, LIMIT)
            taken = await incoming
            taken.answer()
            await made.wait(made.answered, LIMIT, "answered")
            calls.append((made, taken))
        facts = await asyncio.to_thread(facts_of, box)
        for made, taken in calls:  # all of them still stand, and are heard one after the other
            assert await taken.hears(LOW, LIMIT)
            assert await made.hears(HIGH, LIMIT)
            assert not made.ended.is_set()
            assert not taken.ended.is_set()
        return facts
