"""A backup comes back over the page: on a healthy box, on one whose state partition is wrecked, and on one whose configuration is damaged. Each
time what is wrong is said on console and page, the administrator of the backup logs in afterwards, and its phones talk.

Partitions and files are wrecked from outside, in the disk's file, between two starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.softphone import Account
from image.build import Image
from tests.image.boots.conftest import Started, facts_of, switch_off
from tests.image.browser import Browser
from tests.image.machine import PATIENCE, Machine
from tests.image.phones import NUMBERS, account, talking
from tests.image.replay import places

pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow]
PASSWORD, PASSPHRASE = "correct horse battery", "a walk along the river"
LATER = "102"  # an extension that is not in the backup
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Office:
    """A box that has been set up, saved as it was then; and what a page sends to restore the backup that was made before the last extension."""

    folder: Path
    port: int  # of 127.0.0.1, forwarded to its admin page
    logins: list[tuple[str, str]]
    sent: Path

    def accounts(self, browser: Browser, box: Machine) -> list[Account]:
        rows = zip(NUMBERS, self.logins, strict=True)
        return [account(box, browser, number, *login) for number, login in rows]


@pytest.fixture(scope="module")
def office(started: Started, tmp_path_factory: pytest.TempPathFactory) -> Office:
    folder = tmp_path_factory.mktemp("office")
    with Machine(folder, started.folder, like=started.folder, size="8G") as box:
        port = box.forward("tcp", 4021)
        browser = Browser(port, folder / "authority.pem")
        browser.set_up(started.setup_code, PASSWORD)
        logins = [browser.add_extension(number) for number in NUMBERS]
        sent = folder / "sent"
        sent.write_bytes(json.dumps({"passphrase": PASSPHRASE}).encode() + b"\n" + backup_of(browser))
        browser.add_extension(LATER)
        box.save()
    return Office(folder, port, logins, sent)


@pytest.fixture
def disk_of_office(office: Office, tmp_path: Path) -> Path:
    """Its disk, switched off."""
    with Machine(tmp_path / "last", office.folder, like=office.folder, size="8G") as box:
        switch_off(box)
    raw = tmp_path / "office.img"
    subprocess.run(["qemu-img", "convert", "-O", "raw", tmp_path / "last/disk.qcow2", raw], check=True)
    return raw


def backup_of(browser: Browser) -> bytes:
    browser.open("/backup")
    browser.submit("/backup", passphrase=PASSPHRASE, again=PASSPHRASE)
    while not json.loads(browser.open("/backup/progress"))["finished"]:
        time.sleep(1)
    return browser.fetch("/backup/file")


def state_of(raw: Path) -> str:
    """As the tools of ext4 want it."""
    return f"{raw}?offset={places(raw)['switchroom-state'][0]}"


def wreck(raw: Path, partition: str, ranges: list[tuple[int, int]]) -> None:
    start, _ = places(raw)[partition]
    with raw.open("r+b") as file:
        for first, length in ranges:
            file.seek(start + first)
            file.write(b"\xa5" * length)


def blocks_of(raw: Path, file: str) -> Iterator[int]:
    said = subprocess.run(
        ["debugfs", "-R", f"blocks {file}", state_of(raw)], capture_output=True, text=True, check=True
    )
    yield from map(int, said.stdout.split())


def start_of(browser: Browser) -> str:
    return str(json.loads(browser.open("/healthz"))["start"])


def started_again(browser: Browser, before: str) -> None:
    """Returns when the page is that of another start."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(OSError, http.client.HTTPException):  # on its way down, or not up yet
            if start_of(browser) != before:
                return
        time.sleep(1)
    raise AssertionError("the box has not started again")


def it_is_the_office_of_the_backup(office: Office, browser: Browser, box: Machine) -> None:
    browser.log_in("anna", PASSWORD)
    page = browser.open("/extensions")
    assert [number for number in (*NUMBERS, LATER) if f">{number}<" in page] == list(NUMBERS)
    asyncio.run(call(office.accounts(browser, box)))
    assert f">{NUMBERS[1]}<" in browser.open(f"/calls?q={NUMBERS[1]}")


async def call(accounts: list[Account]) -> None:
    async with talking(accounts) as (made, _):
        made.hang_up()
        await asyncio.sleep(2)


def test_a_healthy_box(office: Office, tmp_path: Path) -> None:
    with Machine(tmp_path / "box", office.folder, like=office.folder, size="8G") as box:
        browser = Browser(box.forward("tcp", 4021, office.port), tmp_path / "authority.pem")
        browser.log_in("anna", PASSWORD)
        assert f">{LATER}<" in browser.open("/extensions")
        before = start_of(browser)
        browser.open("/backup")
        browser.send("/backup/restore", office.sent)
        started_again(browser, before)
        it_is_the_office_of_the_backup(office, browser, box)
        assert "/backup/kept/before-restore.1/use" in browser.open("/backup")  # what was there can be put back


def test_wrecked_data_partitions(image: Image, office: Office, tmp_path: Path) -> None:
    """State beyond repair, media without its first superblock: the one is left out until a backup comes, the other is repaired."""
    raw = tmp_path / "wrecked.img"
    subprocess.run(["cp", "--sparse=always", image.disk, raw], check=True)
    group = 128 * MIB  # ext4 keeps copies of its superblock in groups 0, 1 and powers of 3, 5, 7
    wreck(raw, "switchroom-state", [(number * group, MIB) for number in range(32)])
    wreck(raw, "switchroom-media", [(0, 4096)])
    with Machine(tmp_path / "box", raw) as box:
        box.wait("SWITCHROOM-INITRD the state partition cannot be mounted")
        box.reads("The media partition was damaged and has been repaired at this start")
        box.reads("The state partition cannot be read; the box runs without it")
        assert "health passed" in facts_of(box)
        code = re.findall(r"Setup code +([A-Z0-9]{10})", box.text())[-1]
        port = box.forward("tcp", 4021, office.port)
        browser = Browser(port, tmp_path / "authority.pem")
        assert "The disk partition with this box's data cannot be read." in browser.open("/setup")
        browser.submit("/setup/code", code=code)
        assert "made anew" in browser.open("/setup/restore")
        browser.send("/setup/restore", office.sent)
        box.wait("SWITCHROOM-INITRD slot")
        anew = len(box.text())
        box.wait("State +healthy")
        facts = facts_of(box)
        assert "health passed" in facts
        assert re.search(r"mount /state ext4 rw", facts)
        assert "cannot be" not in box.text()[anew:]
        browser = Browser(port, tmp_path / "restored.pem")
        it_is_the_office_of_the_backup(office, browser, box)
        assert "login:" not in box.text()


def test_a_damaged_configuration(office: Office, disk_of_office: Path, tmp_path: Path) -> None:
    """The partition is whole, the database is not: nobody is served on an empty one, and the code of the console restores a backup."""
    subprocess.run(["e2fsck", "-n", state_of(disk_of_office)], capture_output=True, check=True)
    damaged = [
        block for file in ("config.db", "config.db-wal") for block in blocks_of(disk_of_office, f"switchroom/{file}")
    ]
    wreck(disk_of_office, "switchroom-state", [(block * 4096, 4096) for block in damaged])
    with Machine(tmp_path / "box", disk_of_office) as box:
        box.reads("The configuration cannot be read, so no telephone works: config.db is damaged")
        code = re.findall(r"Setup code +([A-Z0-9]{10})", box.text())[-1]  # the same screen, above
        browser = Browser(box.forward("tcp", 4021, office.port), tmp_path / "authority.pem")
        assert "configuration cannot be read." in browser.open("/")
        browser.submit("/setup/code", code=code)
        assert browser.place.endswith("/setup/restore")
        before = start_of(browser)
        browser.open("/setup/restore")
        browser.send("/setup/restore", office.sent)
        started_again(browser, before)
        box.wait("State +healthy")
        it_is_the_office_of_the_backup(office, browser, box)
