"""A version that cannot start: the box goes to the other one by itself, without anybody at the keyboard, and says so."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from image.build import Image
from tests.image.boots.conftest import Armed, facts_of
from tests.image.machine import Machine

pytestmark = [pytest.mark.timeout(1800)]
NEWER = "99.0"
LOADER_CAME_BACK = "Switchroom: the boot loader has come back"
NOTHING_STARTS = "No version of Switchroom on this box can be started"


@pytest.fixture
def cut(image: Image, tmp_path: Path) -> Path:
    """A kernel image that was whole once."""
    file = tmp_path / "cut.efi"
    file.write_bytes(image.uki.read_bytes()[: 6 << 20])
    return file


def left_behind(machine: Machine, image: Image, reason: str) -> None:
    """The first version starts and says why the newer one does not run."""
    machine.wait("SWITCHROOM-INITRD slot a", 900)
    machine.wait(f"Switchroom {image.version} +slot A")
    machine.reads(f"Version {NEWER} did not work and was left: {reason}")


def fallen_back(machine: Machine, image: Image, reason: str) -> None:
    """The loader comes back with the newer version, and the first stage finds the other."""
    machine.wait(rf"Error loading EFI binary .*switchroom_{NEWER}", 300)
    machine.wait(LOADER_CAME_BACK, 60)
    machine.wait(rf"Trying \\EFI\\Linux\\switchroom_{image.version}\.efi", 60)
    left_behind(machine, image, reason)


def started_again(machine: Machine) -> None:
    machine.send("5")
    machine.wait("Type yes and Enter")
    machine.send("yes")


def test_a_version_that_panics(image: Image, armed: Armed, panicking: Path, tmp_path: Path) -> None:
    with Machine(tmp_path / "box", armed({f"switchroom_{NEWER}+2.efi": panicking})) as machine:
        for _ in range(2):
            machine.wait("Kernel panic")
        left_behind(machine, image, "It was started 2 times and did not reach its health check")


def test_a_version_whose_kernel_image_is_cut(image: Image, armed: Armed, cut: Path, tmp_path: Path) -> None:
    """On trial, with a start left: it is not tried a second time."""
    with Machine(tmp_path / "box", armed({f"switchroom_{NEWER}+2.efi": cut})) as machine:
        fallen_back(machine, image, "It was started once and its kernel image could not be loaded")
        assert machine.text().count("SWITCHROOM-INITRD slot") == 1


def test_a_proved_version_whose_kernel_image_is_cut(image: Image, armed: Armed, cut: Path, tmp_path: Path) -> None:
    """It was damaged after it had worked. The older version runs, and the next start goes straight to it."""
    reason = "Its kernel image could not be loaded, though it has worked before"
    with Machine(tmp_path / "box", armed({f"switchroom_{NEWER}.efi": cut})) as machine:
        fallen_back(machine, image, reason)
        machine.shows(r"State +healthy")
        assert "health passed" in facts_of(machine)
        started_again(machine)
        left_behind(machine, image, reason)
        assert machine.text().count("SWITCHROOM-INITRD slot") == 2
        assert machine.text().count(LOADER_CAME_BACK) == 1


@pytest.mark.slow
def test_a_boot_loader_that_is_cut(image: Image, armed: Armed, tmp_path: Path) -> None:
    """The first stage starts the version, here one that is on trial, and it proves itself as if the loader had started it."""
    disk = armed({})
    loader, good = tmp_path / "loader.efi", f"::EFI/Linux/switchroom_{image.version}"
    loader.write_bytes(image.boot_loader.read_bytes()[:50000])
    subprocess.run(["mcopy", "-o", "-i", f"{disk}@@1M", loader, f"::{image.loader_file}"], check=True)
    subprocess.run(["mren", "-i", f"{disk}@@1M", f"{good}.efi", f"{good}+2.efi"], check=True)
    with Machine(tmp_path / "box", disk) as machine:
        machine.wait("Switchroom: the boot loader could not be loaded", 300)
        machine.wait(rf"Trying \S+switchroom_{image.version}\+2\.efi", 60)
        machine.wait("SWITCHROOM-INITRD slot a", 300)
        machine.reads(f"Version {image.version} is on trial until it has proved itself")
        machine.wait(r"State +healthy(?:(?!on trial)[\s\S])*Number and Enter")  # a screen that says nothing of a trial any more
        started_again(machine)
        machine.wait(rf"Trying \S+switchroom_{image.version}\.efi", 300)


@pytest.mark.slow
def test_a_version_without_starts_is_better_than_none(
    image: Image, armed: Armed, cut: Path, tmp_path: Path
) -> None:
    """The other one was left at the console, say, and works; it proves itself again."""
    disk = armed({f"switchroom_{NEWER}.efi": cut})
    good = f"::EFI/Linux/switchroom_{image.version}"
    subprocess.run(["mren", "-i", f"{disk}@@1M", f"{good}.efi", f"{good}+0.efi"], check=True)
    with Machine(tmp_path / "box", disk) as machine:
        machine.wait(LOADER_CAME_BACK, 300)
        machine.wait(rf"Trying \S+switchroom_{NEWER}\.efi", 60)
        machine.wait(rf"Trying \S+switchroom_{image.version}\+0\.efi", 60)
        left_behind(machine, image, "Its kernel image could not be loaded, though it has worked before")
        machine.shows(r"State +healthy")
        assert "health passed" in facts_of(machine)
        started_again(machine)
        machine.wait("SWITCHROOM-INITRD slot a", 900)
        assert machine.text().count(LOADER_CAME_BACK) == 1


@pytest.mark.slow
def test_nothing_can_be_loaded(image: Image, armed: Armed, cut: Path, tmp_path: Path) -> None:
    """It is said, and the box tries again by itself: no prompt, no menu of the firmware, and no keys that the loader would enrol for
    Secure Boot, the only thing that it could do."""
    words = "Switchroom: no kernel image is whole"
    with Machine(tmp_path / "box", armed({f"switchroom_{image.version}.efi": cut})) as machine:
        machine.wait(NOTHING_STARTS, 300)
        said = machine.seconds()
        machine.wait(words, 200)
        assert machine.seconds() - said > 60
        machine.wait(NOTHING_STARTS, 60)
        text = machine.text()
        assert words in text.split(NOTHING_STARTS, 1)[0]
        assert "SWITCHROOM-INITRD" not in text
        assert "Enrolling" not in text
