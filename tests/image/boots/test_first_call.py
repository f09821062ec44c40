"""A flashed box, from power-on to a call: the first boot on a larger disk, the wizard with the code from the console, two extensions, two
phones over TLS and SRTP, sound both ways, and the call going on while the whole telephone system restarts."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from appliance.softphone import Account
from tests.image.boots.conftest import Started
from tests.image.browser import Browser
from tests.image.machine import Machine
from tests.image.phones import HIGH, LOW, phones_of, talking

# Everything a box may listen on: protocol, port, and who.
LISTED = {
    ("tcp", 4021), ("udp", 4021),  # admin page, HTTP/3
    ("tcp", 443), ("udp", 443),  # page for everybody, HTTP/3
    ("tcp", 5060), ("udp", 5060), ("tcp", 5061),  # SIP
    ("udp", 5353),  # mDNS
    ("udp", 68), ("udp", 546),  # DHCP client
    ("tcp", 53), ("udp", 53),  # the box's own name service, on loopback only
}  # fmt: skip
RTP = range(16384, 32768)

pytestmark = [pytest.mark.timeout(1200)]


@pytest.fixture
def facts(started: Started) -> str:
    return started.facts


def test_it_starts_from_the_first_slot(started: Started) -> None:
    assert re.findall(r"SWITCHROOM-INITRD slot (\w)", started.said) == ["a"]


def test_it_says_that_it_is_healthy(facts: str) -> None:
    assert "health passed" in facts


def test_no_unit_has_failed(facts: str) -> None:
    assert re.findall(r"failed-unit (\S+)", facts) == []


def test_the_root_is_read_only(facts: str) -> None:
    assert re.search(r"mount / squashfs ro\b", facts), facts


def test_nothing_listens_that_is_not_listed(facts: str) -> None:
    found = {(protocol, int(port)) for protocol, port in re.findall(r"listens (tcp|udp) (\d+)", facts)}
    assert {("tcp", 443), ("tcp", 4021), ("tcp", 5060), ("tcp", 5061), ("udp", 5060)} <= found
    assert {row for row in found - LISTED if not (row[0] == "udp" and row[1] in RTP)} == set()


def test_the_media_partition_has_grown(facts: str) -> None:
    found = re.search(r"size /media (\d+)", facts)
    assert found
    assert int(found[1]) > 1200 << 20


def test_it_leaves_memory_to_the_calls(facts: str) -> None:
    found = re.search(r"memory used (\d+) MiB of (\d+) MiB", facts)
    assert found
    assert int(found[1]) <= 350, facts


def test_no_process_had_to_be_started_twice(started: Started) -> None:
    assert re.findall(r"^(?:death|last-words|kernel) .*", started.facts, re.MULTILINE) == []
    assert "died" not in started.said, started.facts


def test_a_call_goes_on_over_a_restart(box: Machine, started: Started, tmp_path: Path) -> None:
    browser = Browser(box.forward("tcp", 4021), tmp_path / "authority.pem")
    browser.set_up(started.setup_code, "correct horse battery")
    asyncio.run(_call(box, phones_of(browser, box)))


async def _call(box: Machine, accounts: list[Account]) -> None:
    async with talking(accounts) as (made, taken):
        box.send("4")
        await asyncio.to_thread(box.wait, "calls went on")
        assert await taken.hears(LOW, 120), "after the restart the called phone hears the caller"
        assert await made.hears(HIGH, 120), "after the restart the caller hears the called phone"
