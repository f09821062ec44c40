"""A second version that cannot start: the box goes back to the first by itself, without anybody at the keyboard, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from image.build import Image
from tests.image.boots.conftest import Armed
from tests.image.machine import Machine

pytestmark = [pytest.mark.timeout(1800)]
NEWER = "99.0"


def back_on_the_first(machine: Machine, image: Image) -> None:
    machine.wait("SWITCHROOM-INITRD slot a", 900)
    machine.wait(f"Switchroom {image.version} +slot A")
    machine.reads(
        f"Version {NEWER} did not work and was left: It was started 2 times and did not reach its health check"
    )


def test_a_version_that_panics(image: Image, armed: Armed, panicking: Path, tmp_path: Path) -> None:
    with Machine(tmp_path / "box", armed({f"switchroom_{NEWER}+2.efi": panicking})) as machine:
        for _ in range(2):
            machine.wait("Kernel panic")
        back_on_the_first(machine, image)


def test_a_version_whose_kernel_image_is_cut(image: Image, armed: Armed, tmp_path: Path) -> None:
    cut = tmp_path / "cut.efi"
    cut.write_bytes(image.uki.read_bytes()[: 6 << 20])
    with Machine(tmp_path / "box", armed({f"switchroom_{NEWER}+2.efi": cut})) as machine:
        back_on_the_first(machine, image)
        assert machine.text().count("SWITCHROOM-INITRD slot") == 1
