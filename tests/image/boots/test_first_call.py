"""A flashed box, from power-on to a call: the first boot on a larger disk, the wizard with the code from the console, two extensions, two
phones over TLS and SRTP, sound both ways, and the call going on while the whole telephone system restarts."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.softphone import Account, Softphone
from image.build import Image
from tests.image.browser import Browser
from tests.image.machine import Machine

LOW, HIGH = 697.0, 1209.0
# Everything a box may listen on: protocol, port, and who.
LISTED = {
    ("tcp", 4021), ("udp", 4021),  # admin page, HTTP/3
    ("tcp", 5060), ("udp", 5060), ("tcp", 5061),  # SIP
    ("udp", 5353),  # mDNS
    ("udp", 68), ("udp", 546),  # DHCP client
    ("tcp", 53), ("udp", 53),  # the box's own name service, on loopback only
}  # fmt: skip
RTP = range(16384, 32768)

pytestmark = [pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def box(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("box"), image.disk, size="8G") as machine:
        yield machine


@pytest.fixture(scope="module")
def setup_code(box: Machine) -> str:
    box.wait("SWITCHROOM-INITRD slot a")
    code = box.wait(r"Setup code +([A-Z0-9]{10})")[1]
    box.wait(r"State +healthy")
    return str(code)


@pytest.fixture(scope="module")
def facts(box: Machine, setup_code: str) -> str:
    """What the console's menu tells about the box, once the health check is over."""
    while True:
        box.send("10")
        box.wait("Facts about this box\n", 60)
        start = len(box.text())
        box.wait("end of facts", 120)
        text = box.text()[start - 100 :]
        box.send("")
        if "health still running" not in text:
            return text
        time.sleep(5)


def test_it_says_that_it_is_healthy(facts: str) -> None:
    assert "health passed" in facts


def test_no_unit_has_failed(facts: str) -> None:
    assert re.findall(r"failed-unit (\S+)", facts) == []


def test_the_root_is_read_only(facts: str) -> None:
    assert re.search(r"mount / squashfs ro\b", facts), facts


def test_nothing_listens_that_is_not_listed(facts: str) -> None:
    found = {(protocol, int(port)) for protocol, port in re.findall(r"listens (tcp|udp) (\d+)", facts)}
    assert {("tcp", 4021), ("tcp", 5061), ("udp", 5060)} <= found
    assert {row for row in found - LISTED if not (row[0] == "udp" and row[1] in RTP)} == set()


def test_the_media_partition_has_grown(facts: str) -> None:
    found = re.search(r"size /media (\d+)", facts)
    assert found
    assert int(found[1]) > 1200 << 20


def test_a_call_goes_on_over_a_restart(box: Machine, setup_code: str, tmp_path: Path) -> None:
    browser = Browser(box.forward("tcp", 4021), tmp_path / "authority.pem")
    browser.set_up(setup_code, "correct horse battery")
    logins = [browser.add_extension(number) for number in ("100", "101")]
    port = box.forward("tcp", 5061)

    def through(address: tuple[str, int]) -> tuple[str, int]:
        return "127.0.0.1", box.forward("udp", address[1])

    accounts = [
        Account(
            "127.0.0.1",
            port,
            "TLS",
            number,
            name,
            password,
            str(browser.authority),
            "required",
            "10.0.2.2",
            "127.0.0.1",
            through,
        )
        for number, (name, password) in zip(("100", "101"), logins, strict=True)
    ]
    asyncio.run(_call(box, accounts))


async def _call(box: Machine, accounts: list[Account]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        phones = [
            Softphone(account, frequency=frequency) for account, frequency in zip(accounts, (LOW, HIGH), strict=True)
        ]
        for phone in phones:
            await phone.connect(60)
            await phone.register(seconds=60)
            stack.push_async_callback(phone.close)
        incoming = asyncio.create_task(phones[1].incoming(60))
        made = await phones[0].call("101")
        taken = await incoming
        taken.answer()
        await made.wait(made.answered, 60, "answered")
        assert await taken.hears(LOW, 60), "the called phone hears the caller"
        assert await made.hears(HIGH, 60), "the caller hears the called phone"

        box.send("4")
        await asyncio.to_thread(box.wait, "calls went on", 120)
        assert await taken.hears(LOW, 60), "after the restart the called phone hears the caller"
        assert await made.hears(HIGH, 60), "after the restart the caller hears the called phone"
