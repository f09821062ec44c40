"""A backup at a time of the day, into a folder that somebody has chosen: a mounted share, a stick. The newest is restored on trial at once.

`run` is a process of its own behind everything else (`python -m appliance.upkeep.scheduled DATA`), so calls never wait for it. It makes the
backup under another name and renames it when it is on the disk; removes the oldest of this system's own, so that as many stay as the plan
says; and reads the newest back as a restore would, into a scratch folder where nothing uses it. What came of it stands in `backup-state.json`
beside the databases, how far it is too. A time that was missed because the box was off is made up for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import msgspec

from appliance.config.kinds.backups import BackupPlan
from appliance.config.model import Snapshot
from appliance.config.store import Store
from appliance.storage.database import StorageFailed
from appliance.storage.on_disk import sync
from appliance.upkeep import backup
from appliance.upkeep.backup import BadBackup
from appliance.words import Said

STATE = "backup-state.json"
TRIAL = "trial"  # the scratch folder of a restore on trial
EVERY = 1.0  # seconds between two reports of how far it is
SILENT = 600.0  # seconds without a report after which it is no longer being made
FRESH = 50 * 3600.0  # seconds in which a daily backup is one of today or yesterday
AUTHOR = "trial"


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What reading a backup back has shown."""

    at: float  # unix
    failed: Said | None = None  # None: it can be restored
    extensions: int = 0
    calls: int = 0


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Of the scheduled backups, as of the last run."""

    began: float = 0.0  # unix; 0.0: there was none yet
    ended: float = 0.0  # 0.0: it goes on
    told: float = 0.0  # when it said how far it is
    what: str = ""  # copying, writing, reading, checking
    percent: int = 0
    failed: Said | None = None
    made: float = 0.0  # unix, of the last one that is there
    file: str = ""
    size: int = 0
    trial: Trial | None = None  # of that file

    def running(self, now: float) -> bool:
        return self.began > self.ended and 0 <= now - self.told < SILENT

    def fresh(self, now: float) -> bool:
        """Whether there is a backup that is not old."""
        return self.made > 0 and now - self.made < FRESH


def read(data: Path) -> State:
    with contextlib.suppress(OSError, msgspec.DecodeError, msgspec.ValidationError):
        return msgspec.json.decode((data / STATE).read_bytes(), type=State)
    return State()


def write(data: Path, state: State) -> None:
    temporary = data / f"{STATE}.tmp"
    temporary.write_bytes(msgspec.json.encode(state))
    temporary.rename(data / STATE)


def plan_of(snapshot: Snapshot) -> BackupPlan:
    found = snapshot.of("backup-plan").get("backup-plan")
    return found if isinstance(found, BackupPlan) else BackupPlan(id="backup-plan")


def due(plan: BackupPlan, zone: tzinfo, now: float, state: State) -> bool:
    """Whether it is time: the last moment of the day that the plan names has passed since the last run began. Pure."""
    if not plan.at or state.running(now):
        return False
    hour, minute = map(int, plan.at.split(":"))
    local = datetime.fromtimestamp(now, zone)
    moment = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if moment > local:
        moment -= timedelta(days=1)
    return min(state.began, now) < moment.timestamp()  # a clock that was ahead once must not end it for ever


# ---- folders ----------------------------------------------------------------------------------------------------------

KINDS = frozenset({"vfat", "exfat", "ntfs", "ntfs3", "fuseblk", "nfs", "nfs4", "cifs", "smb3", "ext4", "ext3", "xfs", "btrfs", "fuse.sshfs"})
OWN = re.compile(r"/(?:boot|efi|proc|sys|dev|run/(?!media/)|etc|usr|var/lib/(?!switchroom/)|tmp)(?:/|$)")


def places(mounts: str, data: Path) -> list[str]:
    """Folders that are mounted from elsewhere, of the text of /proc/self/mounts. Not those of the system itself. Pure."""
    found = []
    for line in mounts.splitlines():
        device, folder, kind, options, *_ = [*line.split(" "), "", "", "", ""]
        folder = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), folder)
        remote = kind in ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs")
        if kind not in KINDS or folder == "/" or OWN.match(folder) or "ro" in options.split(","):
            continue
        if (remote or device.startswith("/dev/")) and not data.is_relative_to(folder):
            found.append(folder)
    return sorted(set(found))


def why_not(folder: Path, data: Path) -> Said | None:
    """Why backups cannot be kept there, tried by writing a file; None: they can."""
    if not folder.is_dir():
        return Said.of("scheduled.no-folder", folder=str(folder))
    if folder.resolve().is_relative_to(data.resolve()):
        return Said.of("scheduled.own-folder")
    probe = folder / ".switchroom-probe"
    try:
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink()
        return _why(error, folder)
    return None


def _why(error: OSError, folder: Path) -> Said:
    keys = {errno.ENOSPC: "full", errno.EDQUOT: "full", errno.EACCES: "not-writable", errno.EPERM: "not-writable", errno.EROFS: "not-writable"}
    gone = {errno.ENOENT: "no-folder", errno.ENOTDIR: "no-folder", errno.ESTALE: "no-folder", errno.EHOSTDOWN: "no-folder", errno.ENODEV: "no-folder"}
    match (keys | gone).get(error.errno or 0):
        case "full":
            return Said.of("scheduled.full", folder=str(folder))
        case "not-writable":
            return Said.of("scheduled.not-writable", folder=str(folder))
        case "no-folder":
            return Said.of("scheduled.no-folder", folder=str(folder))
    return Said.of("scheduled.failed", folder=str(folder), error=error.strerror or type(error).__name__)


# ---- the run ----------------------------------------------------------------------------------------------------------


class Run:
    """One backup with its trial, and what is told of it."""

    def __init__(self, data: Path, now: Callable[[], float] = time.time) -> None:
        self._data, self._now = data, now
        self._last = 0.0
        self.state = read(data)

    def _tell(self, **changes: object) -> None:
        self.state = msgspec.structs.replace(self.state, told=self._now(), **changes)
        self._last = self._now()
        write(self._data, self.state)

    def _progress(self, what: str, done: int, total: int) -> None:
        if what != self.state.what or self._now() - self._last >= EVERY:
            self._tell(what=what, percent=min(100, 100 * done // total) if total else 0)

    def __call__(self) -> State:
        self._tell(began=self._now(), ended=0.0, what="beginning", percent=0, failed=None)
        failed: Said | None = None
        try:
            with contextlib.closing(Store(self._data)) as store:
                snapshot = store.load()
            failed = self._make(snapshot)
        except StorageFailed as error:
            failed = error.said
        self._tell(ended=self._now(), what="", failed=failed)
        return self.state

    def _make(self, snapshot: Snapshot) -> Said | None:
        plan, began = plan_of(snapshot), self._now()
        folder = Path(plan.folder)
        if wrong := why_not(folder, self._data):
            return wrong
        name = backup.file_name(began, snapshot.settings.name)
        stem = name.rsplit("-", 4)[0]
        for left in folder.glob(f".{stem}-*.part"):
            left.unlink(missing_ok=True)
        part = folder / f".{name}.part"
        try:
            with part.open("xb") as out:
                with contextlib.suppress(OSError):  # a stick knows no owners
                    os.fchmod(out.fileno(), 0o600)
                backup.make(self._data, out, plan.passphrase, began, self._progress)
                out.flush()
                os.fsync(out.fileno())
            part.rename(folder / name)
            with contextlib.suppress(OSError):  # a share may know no folders to be written to the disk
                sync(folder)
        except BadBackup as error:
            return _cause(error, folder)
        except OSError as error:
            return _why(error, folder)
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        self._tell(made=began, file=str(folder / name), size=(folder / name).stat().st_size, trial=None)
        self._tell(trial=self._try(folder / name, plan.passphrase))
        for old in kept(folder, stem)[: -plan.keep]:
            old.unlink(missing_ok=True)
        return None

    def _try(self, file: Path, passphrase: str) -> Trial:
        """Restore it where nothing uses it."""
        scratch = self._data / TRIAL
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            scratch.mkdir(mode=0o700)
            with file.open("rb") as sealed:
                restored = backup.stage(scratch, sealed, passphrase, AUTHOR, self._now(), self._progress)
            if not restored.administrators:
                return Trial(at=self._now(), failed=Said.of("scheduled.nobody"))
            contents = restored.contents
            return Trial(at=self._now(), extensions=contents.extensions, calls=contents.calls)
        except BadBackup as error:
            return Trial(at=self._now(), failed=error.said)
        except OSError as error:
            return Trial(at=self._now(), failed=_why(error, file.parent))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def kept(folder: Path, stem: str) -> list[Path]:
    """The backups of one system there, the oldest first; nothing else is ever removed."""
    named = re.compile(re.escape(stem) + r"-\d{4}-\d\d-\d\d-\d{4}\.backup")
    return sorted(file for file in folder.iterdir() if named.fullmatch(file.name))


def _cause(error: BadBackup, folder: Path) -> Said:
    """What a backup could not be written for is told of the folder where it is about that."""
    cause = error.__context__
    return _why(cause, folder) if isinstance(cause, OSError) else error.said


class Maker:
    """Runs the process, one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def begin(self, data: Path) -> bool:
        """False while one is being made."""
        with self._lock:
            if self._child is not None and self._child.poll() is None:
                return False
            command = [sys.executable, "-P", "-m", "appliance.upkeep.scheduled", str(data)]
            environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
            self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment)
            return True


def main() -> None:
    os.nice(19)
    Run(Path(sys.argv[1]))()


if __name__ == "__main__":
    main()
