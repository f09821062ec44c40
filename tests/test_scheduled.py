"""Backups by themselves: when they are due, what is kept, what is told when it fails, and the trial."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

import pytest

from appliance.config.admin import Admin
from appliance.config.kinds.backups import BackupPlan
from appliance.config.model import Refused
from appliance.config.store import Store
from appliance.upkeep import backup, scheduled
from appliance.upkeep.scheduled import Run, State, due, places, read
from tests.test_backup import office

WORD = "four words in a row"
BERLIN = ZoneInfo("Europe/Berlin")


def at(*moment: int, zone: Any = BERLIN) -> float:
    return datetime(*moment, tzinfo=zone).timestamp()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now", "began", "expected"),
    [
        (at(2026, 11, 27, 1, 59), at(2026, 11, 26, 2, 0), False),
        (at(2026, 11, 27, 2, 0), at(2026, 11, 26, 2, 0), True),
        (at(2026, 11, 27, 9, 0), at(2026, 11, 26, 2, 0), True),  # it was off at night
        (at(2026, 11, 27, 9, 0), at(2026, 11, 27, 2, 0), False),
        (at(2026, 11, 27, 9, 0), 0.0, True),
        (at(2026, 3, 29, 3, 5), at(2026, 3, 28, 2, 30), True),  # this night has no 2:30
        (at(2026, 10, 25, 2, 40, zone=BERLIN), at(2026, 10, 25, 2, 31), False),  # that one has two
        (at(2026, 11, 27, 9, 0), at(2027, 1, 1, 2, 0), False),  # the clock was ahead when it began: not again today …
        (at(2026, 11, 28, 2, 31), at(2026, 11, 28, 2, 30), False),
    ],
)
def test_a_backup_is_due_once_a_day(now: float, began: float, expected: bool) -> None:
    plan = BackupPlan(at="02:30" if datetime.fromtimestamp(now, BERLIN).month in (3, 10) or now > at(2026, 11, 28) else "02:00", folder="/x")
    assert due(plan, BERLIN, now, State(began=began, ended=began + 1)) is expected


def test_none_is_due_without_a_time_or_while_one_is_made() -> None:
    now = at(2026, 11, 27, 9, 0)
    assert not due(BackupPlan(), UTC, now, State())
    running = State(began=now - 90000, ended=0.0, told=now - 5)
    assert not due(BackupPlan(at="02:00"), UTC, now, running)
    assert due(BackupPlan(at="02:00"), UTC, now + 3600, running)  # it was killed: nothing has been told for too long


def planned(data: Path, folder: Path, **changes: Any) -> None:
    office(data, "100", "101", calls=3)
    admin = Admin(Store(data))
    admin.update("settings", "settings", {"name": "Head Office"}, "anna")
    admin.update("backup-plan", "backup-plan", {"at": "02:00", "folder": str(folder), "passphrase": WORD, "keep": 2, **changes}, "anna")
    admin._store.close()


class Clock:
    def __init__(self) -> None:
        self.now = at(2026, 11, 27, 2, 0)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "stick").mkdir()
    planned(tmp_path / "data", tmp_path / "stick")
    return tmp_path / "data"


def test_it_is_made_tried_and_the_oldest_of_its_own_go(data: Path, tmp_path: Path) -> None:
    stick, clock = tmp_path / "stick", Clock()
    for foreign in ("notes.txt", "head-office-2020-01-01-0000.backup.old", "other-2020-01-01-0000.backup"):
        (stick / foreign).write_text("mine")
    (stick / ".head-office-2026-11-01-0200.backup.part").write_text("cut off")
    for _ in range(4):
        state = Run(data, clock)()
        assert state.failed is None
        clock.now += 86400
    made = sorted(file.name for file in stick.iterdir() if file.name.startswith("head-office-20") and file.suffix == ".backup")
    names = [backup.file_name(clock.now - days * 86400, "Head Office") for days in (2, 1)]
    assert made == names
    assert {"notes.txt", "head-office-2020-01-01-0000.backup.old", "other-2020-01-01-0000.backup"} <= {file.name for file in stick.iterdir()}
    assert not list(stick.glob(".*"))
    assert (state.file, state.size) == (str(stick / names[-1]), (stick / names[-1]).stat().st_size)
    assert state.trial is not None
    assert (state.trial.failed, state.trial.extensions, state.trial.calls) == (None, 2, 3)
    assert state.fresh(clock.now)
    assert read(data) == state
    assert not (data / scheduled.TRIAL).exists()
    assert not backup.waits(data)
    with (stick / names[-1]).open("rb") as sealed:  # and it is one that a restore takes
        assert backup.stage(tmp_path, sealed, WORD, "anna", clock.now).contents.extensions == 2


def test_how_far_it_is_is_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[State] = []
    monkeypatch.setattr(scheduled, "write", lambda folder, state: told.append(state))
    Run(data, Clock())()
    assert told[0].what == "beginning"
    assert {"writing", "checking"} <= {state.what for state in told}  # as far as there is anything to be done
    assert all(state.running(state.told) for state in told[:-1])
    assert not told[-1].running(told[-1].told)


def test_a_damaged_file_is_told_by_the_trial(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = backup.make

    def damaging(folder: Path, out: IO[bytes], *rest: Any) -> Any:
        contents = real(folder, out, *rest)
        out.seek(out.tell() // 2)
        out.write(b"\xff" * 64)
        return contents

    monkeypatch.setattr(backup, "make", damaging)
    state = Run(data, Clock())()
    assert state.failed is None
    assert state.trial is not None
    assert state.trial.failed is not None


@pytest.mark.parametrize(
    ("error", "key"),
    [(errno.ENOSPC, "full"), (errno.EDQUOT, "full"), (errno.EACCES, "not-writable"), (errno.EROFS, "not-writable"), (errno.ESTALE, "no-folder"), (errno.EIO, "failed")],
)  # fmt: skip
def test_what_the_folder_answers_is_said_in_words(data: Path, tmp_path: Path, error: int, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Run(data, Clock())()

    def failing(*_: Any) -> Any:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(backup, "_write", failing)
    state = Run(data, Clock())()
    assert state.failed is not None
    assert state.failed.key == f"scheduled.{key}"
    assert (state.file, state.trial) == (before.file, before.trial)  # the last good one stays the last
    assert not list((tmp_path / "stick").glob(".*"))


def test_a_folder_that_is_not_there_or_on_the_own_disk_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "stick").rename(tmp_path / "pulled out")
    state = Run(data, Clock())()
    assert state.failed is not None
    assert state.failed.key == "scheduled.no-folder"
    (data / "inside").mkdir()
    found = scheduled.why_not(data / "inside", data)
    assert found is not None
    assert found.key == "scheduled.own-folder"
    assert scheduled.why_not(tmp_path, data) is None
    assert not (tmp_path / ".switchroom-probe").exists()


def test_a_plan_needs_a_folder_and_a_passphrase(tmp_path: Path) -> None:
    admin = Admin(Store(tmp_path))
    with pytest.raises(Refused) as refused:
        admin.update("backup-plan", "backup-plan", {"at": "2:00", "passphrase": "short"}, "anna")
    assert {problem.field for problem in refused.value.problems} == {"folder", "passphrase"}
    admin.update("backup-plan", "backup-plan", {"at": "", "folder": ""}, "anna")
    admin._store.close()


def test_shares_and_sticks_are_found_among_what_is_mounted() -> None:
    mounts = """/dev/sda5 / ext4 rw,relatime 0 0
/dev/sda6 /state ext4 rw 0 0
proc /proc proc rw 0 0
tmpfs /run tmpfs rw 0 0
/dev/sdb1 /media/my\\040stick vfat rw,nosuid 0 0
/dev/sdc1 /mnt/locked ext4 ro 0 0
/dev/sda1 /boot/efi vfat rw 0 0
nas:/volume /mnt/nas nfs4 rw 0 0
//server/share /mnt/win cifs rw 0 0
overlay /var/lib/docker/overlay2/x overlay rw 0 0
/dev/sdd1 /run/media/anna/KEY exfat rw 0 0
broken"""
    assert places(mounts, Path("/state/switchroom")) == ["/media/my stick", "/mnt/nas", "/mnt/win", "/run/media/anna/KEY"]


def test_a_time_of_the_plan_is_one_of_the_offices_clock() -> None:
    tokyo, now = ZoneInfo("Asia/Tokyo"), at(2026, 11, 27, 2, 30, zone=ZoneInfo("Asia/Tokyo"))
    began = (datetime.fromtimestamp(now, tokyo) - timedelta(hours=3)).timestamp()
    assert due(BackupPlan(at="02:00"), tokyo, now, State(began=began, ended=began))
    assert not due(BackupPlan(at="03:00"), tokyo, now, State(began=began, ended=began))
