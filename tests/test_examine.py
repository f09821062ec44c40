"""What the disk tells about a version that was left: plain files in the places of slot and boot partition."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from appliance.box import examine, system, update


@pytest.fixture
def updated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A box whose slot B holds version 1.1 as it was installed, and which went back to 1.0."""
    monkeypatch.setattr(system, "STATE", tmp_path / "state")
    monkeypatch.setattr(system, "TRIAL_FILE", tmp_path / "state/system/trial.json")
    monkeypatch.setattr(examine, "STARTS_FILE", tmp_path / "state/system/starts")
    monkeypatch.setattr(examine, "LEAST_URGENT", 0)
    monkeypatch.setattr(system, "ESP", tmp_path / "esp")
    monkeypatch.setattr(system, "BY_LABEL", tmp_path)
    monkeypatch.setattr(system, "slot", lambda: "a")
    folder = tmp_path / "esp/EFI/Linux"
    folder.mkdir(parents=True)
    (tmp_path / "state/system").mkdir(parents=True)
    examine.STARTS_FILE.write_text("3")
    (folder / "switchroom_1.0.efi").touch()
    files = {
        "root.img": tmp_path / "switchroom-root-b",
        "root.verity": tmp_path / "switchroom-verity-b",
        "uki.efi": folder / "switchroom_1.1+0-3.efi",
    }
    parts = []
    for name, file in files.items():
        content = os.urandom((2 << 20) + 100)
        file.write_bytes(content + (bytes(4096) if name != "uki.efi" else b""))  # a partition is larger than what it holds
        blocks = [hashlib.sha256(content[at : at + update.BLOCK]).hexdigest() for at in range(0, len(content), update.BLOCK)]
        parts.append(update.Part(name, len(content), blocks))
    examine.remember(update.Manifest("box", "1.1", "1.0", "", parts))
    return tmp_path


def look(folder: Path, monkeypatch: pytest.MonkeyPatch) -> system.Trial | None:
    """A passed health check of version 1.0, and what page and console say after it."""
    linux = folder / "esp/EFI/Linux"
    found, left = system.kernels, system.last_trial
    with monkeypatch.context() as patched:
        patched.setattr(system, "kernels", lambda *where: found(linux, "1.0"))
        patched.setattr(system, "last_trial", lambda: left(linux, "1.0"))
        examine.passed(lambda words: None)
    return left(linux, "1.0")


def flip(file: Path, offset: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(offset)
        octet = opened.read(1)[0]
        opened.seek(offset)
        opened.write(bytes([octet ^ 4]))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("switchroom-root-b", "Its system in slot B is damaged"),
        ("switchroom-verity-b", "Its system in slot B is damaged"),
        ("esp/EFI/Linux/switchroom_1.1+0-3.efi", "Its kernel image on the boot partition is damaged"),
    ],
)
def test_a_damaged_disk_is_found_to_be_the_reason(
    updated: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    flip(updated / name, 2 << 20)
    trial = look(updated, monkeypatch)
    assert trial is not None
    assert trial.reason.startswith(words)
    assert not examine.STARTS_FILE.exists()


def test_a_kernel_image_that_is_cut_is_found_to_be_the_reason(updated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.truncate(updated / "esp/EFI/Linux/switchroom_1.1+0-3.efi", 1 << 20)
    trial = look(updated, monkeypatch)
    assert trial is not None
    assert trial.reason.startswith("Its kernel image on the boot partition is damaged")


def test_a_whole_disk_is_said_to_be_no_reason_and_read_once(updated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = look(updated, monkeypatch)
    assert first is not None
    assert first.reason.startswith("It was started 3 times and did not reach its health check")
    assert first.reason.endswith("What lies on the disk is whole.")
    flip(updated / "switchroom-root-b", 5)
    assert look(updated, monkeypatch) == first


def test_what_a_version_said_itself_stays_unless_the_disk_is_damaged(
    updated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = system.Trial("1.1", "Not running: web.", 1.0)
    system.write_trial(said)
    trial = look(updated, monkeypatch)
    assert trial is not None
    assert (trial.reason, trial.examined) == ("Not running: web.", True)
    system.write_trial(said)
    flip(updated / "switchroom-root-b", 5)
    trial = look(updated, monkeypatch)
    assert trial is not None
    assert trial.reason.startswith("Its system in slot B is damaged")


@pytest.mark.parametrize("whole", [True, False])
def test_without_a_description_the_root_hash_tells(
    updated: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """After a factory reset, say. The hash tree is checked on the box itself; here only what is made of its answer."""

    def run(*command: str, seconds: float) -> str:
        assert command[:2] == ("veritysetup", "verify")
        assert command[-1] == 32 * "0f"
        if not whole:
            raise system.CannotDo("Verification failed")
        return ""

    (updated / "state/system/installed-b.json").unlink()
    kernel = updated / "esp/EFI/Linux/switchroom_1.1+0-3.efi"
    kernel.write_bytes(b"MZ..switchroom.roothash=" + 32 * b"0f" + b" quiet\0")
    monkeypatch.setattr(system, "run", run)
    trial = look(updated, monkeypatch)
    assert trial is not None
    assert trial.reason.endswith("its kernel stopped or could not be loaded.") == whole
    assert trial.reason.startswith("Its system in slot B is damaged") != whole
    assert trial.examined != whole
