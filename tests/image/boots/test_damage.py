"""A disk that does not give back what was written to it: the box runs its other version, and page and console say what is damaged.

A new version is left by the boot loader, which counts its starts; one that has proved itself is left by the initrd, at once when its
root cannot be opened, at the fourth start when it is damaged where only a later part of the start reads.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from image.build import Image
from image.disk import MIB, PARTITIONS
from tests.image.boots.conftest import NEWER, Armed, Running, switch_off
from tests.image.machine import Machine

pytestmark = [pytest.mark.timeout(3600), pytest.mark.slow]
LONG = 900.0  # seconds
DAMAGED = "Its system in slot B is damaged: the disk does not give back what was written there"


def offset(label: str) -> int:
    """Where a partition begins on the disk, in bytes."""
    names = [name for name, _ in PARTITIONS]
    return MIB + sum(size for _, size in PARTITIONS[: names.index(label)]) * MIB


def both_proved(image: Image, good: Image, disk: Path) -> None:
    """Write the later version into slot B of a disk whose boot partition has both."""
    for name, label in (("root.img", "switchroom-root-b"), ("root.verity", "switchroom-verity-b")):
        with (good.slot / name).open("rb") as source, disk.open("r+b") as target:
            target.seek(offset(label))
            while block := source.read(MIB):
                target.write(block)


def overwrite(disk: Path, first: int, count: int = 4096) -> None:
    with disk.open("r+b") as file:
        file.seek(first)
        file.write(b"\x5a" * count)


def back_on_the_first(machine: Machine, image: Image) -> None:
    machine.wait("failed: slot b is damaged", LONG)
    machine.wait("SWITCHROOM-INITRD slot a", LONG)
    machine.wait(f"Switchroom {image.version} +slot A")
    machine.wait(r"State +healthy")
    machine.reads(f"Version {NEWER} did not work and was left: {DAMAGED}", LONG)


@pytest.mark.parametrize("label", ["switchroom-root-b", "switchroom-verity-b"])
def test_a_proved_version_that_cannot_be_opened(
    image: Image, good: Image, armed: Armed, tmp_path: Path, label: str
) -> None:
    disk = armed({f"switchroom_{NEWER}.efi": good.uki})
    both_proved(image, good, disk)
    overwrite(disk, offset(label))  # the superblock of the one and of the other
    with Machine(tmp_path / "box", disk) as machine:
        if label == "switchroom-root-b":
            back_on_the_first(machine, image)
            assert re.findall(r"INITRD slot (\w)", machine.text()) == ["b", "a"]
        else:  # nothing tells any more that this slot is the one
            machine.wait("failed: no slot holds this system", LONG)
            machine.wait("SWITCHROOM-INITRD slot a", LONG)
            machine.wait(r"State +healthy")


def test_a_proved_version_that_is_damaged_where_it_is_read_late(
    image: Image, good: Image, armed: Armed, tmp_path: Path
) -> None:
    disk = armed({f"switchroom_{NEWER}.efi": good.uki})
    both_proved(image, good, disk)
    size = (good.slot / "root.img").stat().st_size
    for place in range(size // 10, size * 8 // 10, MIB // 8):  # its files; the tables at both ends stay
        overwrite(disk, offset("switchroom-root-b") + place // 4096 * 4096)
    with Machine(tmp_path / "box", disk) as machine:
        for _ in range(3):
            machine.wait("INITRD root ready", LONG)
        machine.wait("INITRD reading slot b", LONG)
        back_on_the_first(machine, image)


def test_an_update_whose_slot_is_damaged_before_it_starts(image: Image, running: Running, good: Image) -> None:
    machine, browser = running.machine, running.log_in()
    browser.open("/updates")
    assert browser.send("/updates/install", good.bundle) == NEWER
    switch_off(machine)
    place = offset("switchroom-root-b") + (good.slot / "root.img").stat().st_size // 2
    words = [f"write -P 0x5a {offset('switchroom-root-b')} 4096", f"write -P 0x5a {place} 4096"]
    for command in words:
        subprocess.run(["qemu-io", "-c", command, machine.disk], check=True, stdout=subprocess.DEVNULL)
    with Machine(machine.folder, machine.disk) as box:
        for _ in range(3):
            box.wait("INITRD failed: slot b is damaged", LONG)
        box.wait("SWITCHROOM-INITRD slot a", LONG)
        box.wait(f"Switchroom {image.version} +slot A")
        box.reads(f"Version {NEWER} did not work and was left: {DAMAGED}", LONG)
        running.machine, running.port = box, box.forward("tcp", 4021)
        said = running.updates()
    assert f"Version {NEWER} did not work and the box went back. {DAMAGED} and may be failing." in said
    assert f"{NEWER} did not work, not started again" in said
