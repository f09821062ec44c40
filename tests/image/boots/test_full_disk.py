"""Partitions that are full: the box starts, calls go on and are recorded, page and console say what is wrong in a sentence, and an update that
finds no room is refused. The partitions are filled from outside, in the disk's file, between two starts.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from image import disk
from image.build import Image
from tests.image.boots.conftest import Started, facts_of, switch_off
from tests.image.browser import Browser
from tests.image.machine import Machine
from tests.image.phones import NUMBERS, account, talking
from tests.image.replay import places

pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow]
PASSWORD = "correct horse battery"
MIB = 1 << 20


KERNEL_KEEPS = (
    4096  # blocks that nobody may write, for what the kernel has promised already (ext4_calculate_resv_clusters)
)


def fill(raw: Path, partition: str, folder: Path, *, leave_reserved: bool) -> None:
    """Give all free blocks of an ext4 partition to one file; what an ordinary user may not write is left when asked."""
    place = f"{raw}?offset={places(raw)[partition][0]}"
    said = subprocess.run(["dumpe2fs", "-h", place], capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"^(Free blocks|Reserved block count):\s+(\d+)", said, re.MULTILINE))
    free, reserved = int(found["Free blocks"]), int(found["Reserved block count"])
    (folder / "empty").touch()
    for blocks in range(
        free - (reserved + KERNEL_KEEPS) * leave_reserved, 0, -16
    ):  # some go to the index of the file itself
        steps = f"write {folder / 'empty'} filler\nfallocate filler 0 {blocks - 1}\n"
        done = subprocess.run(
            ["debugfs", "-w", "-f", "-", place], input=steps, text=True, capture_output=True, check=True
        )
        if "Could not allocate" not in done.stderr:
            break
        subprocess.run(["debugfs", "-w", "-R", "rm filler", place], capture_output=True, check=True)
    clean = subprocess.run(["e2fsck", "-fn", place], capture_output=True, text=True, check=False)
    assert clean.returncode == 0, clean.stdout


def fill_esp(raw: Path, folder: Path) -> None:
    place = f"{raw}@@{places(raw)['esp'][0]}"
    said = subprocess.run(["mdir", "-i", place, "::"], capture_output=True, text=True, check=True).stdout
    free = int(re.sub(r"\D", "", re.search(r"([\d ]+) bytes free", said)[1]))  # type: ignore[index]
    with (folder / "filler").open("wb") as file:
        file.truncate(free - 4 * MIB)
    subprocess.run(["mcopy", "-i", place, folder / "filler", "::filler"], check=True)


def test_everything_is_full(image: Image, started: Started, tmp_path: Path) -> None:
    with Machine(tmp_path / "box", started.folder, like=started.folder, size="8G") as box:
        browser = Browser(box.forward("tcp", 4021), tmp_path / "authority.pem")
        browser.set_up(started.setup_code, PASSWORD)
        logins = [browser.add_extension(number) for number in NUMBERS]
        switch_off(box)
    raw = tmp_path / "full.img"
    subprocess.run(["qemu-img", "convert", "-O", "raw", tmp_path / "box/disk.qcow2", raw], check=True)
    fill(raw, "switchroom-state", tmp_path, leave_reserved=True)
    fill(raw, "switchroom-media", tmp_path, leave_reserved=False)
    fill_esp(raw, tmp_path)

    parts = {"root.img": image.slot / "root.img", "root.verity": image.slot / "root.verity", "uki.efi": image.uki}
    update = disk.bundle(
        tmp_path, version="99.0", floor="0.1.0", compatible=image.compatible, root_hash=image.root_hash, parts=parts, key=image.keys / "bundle.key"
    )  # fmt: skip
    with Machine(tmp_path / "full", raw) as box:
        box.reads("The disk is full: calls go on and are recorded into the last")
        box.reads("are free for recordings and prompts; calls go on")
        assert "health passed" in facts_of(box)
        browser = Browser(box.forward("tcp", 4021), tmp_path / "authority.pem")
        browser.log_in("anna", PASSWORD)
        assert "The disk is full: calls go on" in browser.open("/")
        accounts = [account(box, browser, number, *login) for number, login in zip(NUMBERS, logins, strict=True)]
        asyncio.run(call(accounts))
        assert ">101<" in browser.open("/calls?q=101")
        browser.open("/updates")
        with pytest.raises(AssertionError, match="The boot partition is full: the update needs"):
            browser.send("/updates/install", update)


async def call(accounts: list) -> None:  # type: ignore[type-arg]
    async with talking(accounts) as (made, _):
        made.hang_up()
        await asyncio.sleep(2)
