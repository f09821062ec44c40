"""The image for arm64: built here, its root set up by the board's own programs, started in an emulator with that board's firmware.

Slow: everything is emulated. Skipped where this machine cannot run such programs or has no such emulator (docs/appliance.md, arm64).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from image.build import Image
from tests.image.boots.conftest import ROOT, facts_of
from tests.image.machine import BOARDS, FIRMWARE, Machine

pytestmark = [pytest.mark.timeout(7200), pytest.mark.slow]
NEEDED = {"aarch64-linux-gnu-objcopy": "binutils-aarch64-linux-gnu", "arch-test": "arch-test", BOARDS["arm64"][0][0]: "qemu-system-arm"}


@pytest.fixture(scope="module")
def arm64() -> Image:
    missing = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    if not (FIRMWARE / BOARDS["arm64"][1]).exists():
        missing.append("qemu-efi-aarch64")
    if missing:
        pytest.skip(f"without the packages {', '.join(missing)}")
    if subprocess.run(["arch-test", "arm64"], capture_output=True, check=False).returncode:
        pytest.skip("programs for arm64 cannot be run here: no qemu-user-static, or binfmt_misc has no qemu-aarch64")
    return Image("arm64", ROOT / "build/image")


def test_every_program_is_the_boards(arm64: Image) -> None:
    """Byte 18 of an ELF file is its machine: 0xb7."""
    files = (file for file in (arm64.tree / "root").rglob("*") if file.is_file() and not file.is_symlink())
    others = []
    for file in files:
        with file.open("rb") as content:
            start = content.read(20)
        if start[:4] == b"\x7fELF" and start[18:20] != b"\xb7\x00":
            others.append(file)
    assert others == []
    assert list((arm64.tree / "root/opt/switchroom").rglob("media_core/*-aarch64-linux-gnu.so"))


def test_it_starts_and_is_healthy(arm64: Image, tmp_path: Path) -> None:
    with Machine(tmp_path / "box", arm64.disk, size="8G", board="arm64") as box:
        box.wait("SWITCHROOM-INITRD slot a", 900)
        box.wait(r"Setup code +([A-Z0-9]{10})", 1800)
        box.wait(r"State +healthy", 1800)
        facts = facts_of(box)
    assert "health passed" in facts
    assert "failed-unit" not in facts
