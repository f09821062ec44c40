"""Secure Boot with keys of one's own: enrolled from the boot loader's menu into a firmware in set-up mode, then only what was signed with
them starts. A kernel image without signature and one signed by somebody else are refused, one chosen by the boot loader and one by the
first stage, and the box starts its own.

The firmware is the build of OVMF that keeps its keys in system management mode. Slow: the emulator runs that mode as well.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from image import boot
from image.build import Image
from tests.image.boots.conftest import Armed, facts_of
from tests.image.machine import Machine

pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow]
DOWN = "\x1b[B"  # a key
ACCESS_DENIED, SECURITY_VIOLATION = 15, 26  # of the UEFI specification, appendix D


def test_only_what_the_owner_has_signed_starts(image: Image, armed: Armed, tmp_path: Path) -> None:
    unsigned = image.uki.parent / "uki.unsigned.efi"
    (tmp_path / "stranger").mkdir()
    boot.signing_keys(tmp_path / "stranger")
    foreign = boot.sign(unsigned, tmp_path / "foreign.efi", tmp_path / "stranger")
    kernels = {"switchroom_99.0+1.efi": unsigned, "switchroom_98.0.efi": foreign}
    disk = armed(kernels, "timeout 10\n")
    with Machine(tmp_path / "box", disk, secure=True) as box:
        box.wait("Enroll Secure Boot keys: switchroom", 300)
        box.send(len([*kernels, image.uki]) * DOWN)
        box.wait("Custom Secure Boot keys successfully enrolled", 300)
        box.wait(r"Error loading EFI binary .*switchroom_99\.0\S*: (Access denied|Security violation)", 300)
        box.wait(r"Trying \S+switchroom_98\.0\.efi", 60)
        box.wait(f"It could not be started: error ({ACCESS_DENIED}|{SECURITY_VIOLATION})$", 60)
        box.wait("SWITCHROOM-INITRD slot a", 300)
        box.wait(r"State +healthy", 900)
        facts = facts_of(box)
        text = box.text()
    assert "secure-boot on" in facts
    assert "health passed" in facts
    assert "failed-unit" not in facts
    assert text.count("SWITCHROOM-INITRD slot") == 1, "a kernel image that is not the owner's was started"
