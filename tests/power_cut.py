"""A power cut at every line: what lies on the disk at each step of a piece of work, as a killed process and as a careless disk leave it.

`states` runs the work and copies its folder before every line of the traced modules, twice. "killed": everything that was written is
there (kill -9). "lost": of names and files that Python code made, only what was synced is there; a database's own writes are left to
SQLite, which syncs them itself. A copy is a folder that the next start finds.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

LOGS = ("-wal", "-shm", "-journal")


class Disk:
    """What of a folder is certain to survive: names as of the last sync of their folder, contents as of the last sync of the file.
    Folders and files are known by their inodes, for they are renamed; the shadow's links keep those from being used again."""

    def __init__(self, folder: Path, shadow: Path) -> None:
        self._folder, self._shadow = folder, shadow
        self._names: dict[int, dict[str, int]] = {}  # folder -> name -> file or folder
        self._contents: dict[int, Path] = {}
        self.syncs = 0
        shadow.mkdir()
        for each in [folder, *folder.rglob("*")]:
            self.synced(each)

    def synced(self, path: Path) -> None:
        self.syncs += 1
        inode = path.stat().st_ino
        if path.is_dir():
            self._names[inode] = {entry.name: entry.stat().st_ino for entry in path.iterdir()}
            for entry in filter(Path.is_file, path.iterdir()):
                keep = self._shadow / str(entry.stat().st_ino)
                if not keep.exists():
                    os.link(entry, keep)
        else:
            copy = self._shadow / f"{inode}.contents"
            shutil.copy2(path, copy)
            self._contents[inode] = copy

    def survivors(self, target: Path, databases: frozenset[str]) -> None:
        """Write what a careless disk would have."""
        self._folder_survives(self._folder.stat().st_ino, target, databases, {})

    def _folder_survives(self, folder: int, place: Path, databases: frozenset[str], made: dict[int, Path]) -> None:
        place.mkdir()
        for name, inode in self._names.get(folder, {}).items():
            kept = self._shadow / str(inode)
            if not kept.exists():
                self._folder_survives(inode, place / name, frozenset(), made)
                continue
            own = name in databases  # SQLite has synced it
            _lay(kept if own else self._contents.get(inode), inode, place / name, made)
            here = self._folder / name
            if own and here.exists() and here.stat().st_ino == inode:
                for log in LOGS:
                    if (beside := self._folder / (name + log)).exists():
                        shutil.copy2(beside, place / (name + log))


def _lay(source: Path | None, inode: int, target: Path, made: dict[int, Path]) -> None:
    """One file of a copied folder; what was one file with two names stays one."""
    if inode in made:
        os.link(made[inode], target)
    elif source is None:
        target.touch()
    else:
        shutil.copy2(source, target)
    made.setdefault(inode, target)


def as_killed(folder: Path, target: Path) -> None:
    made: dict[int, Path] = {}
    target.mkdir()
    for path in sorted(folder.rglob("*")):
        place = target / path.relative_to(folder)
        if path.is_dir():
            place.mkdir()
        elif path.is_file():
            _lay(path, path.stat().st_ino, place, made)


def looks(folder: Path) -> list[tuple[object, ...]]:
    """The same as long as nothing has changed on the disk."""
    found = ((path, path.stat()) for path in sorted(folder.rglob("*")))
    return [(path, facts.st_ino, facts.st_size, facts.st_mtime_ns) for path, facts in found]


@contextmanager
def synced_by(disk: Disk) -> Iterator[None]:
    """Every os.fsync of the block is known to the disk."""
    real = os.fsync

    def fsync(handle: int) -> None:
        real(handle)
        disk.synced(Path(os.readlink(f"/proc/self/fd/{handle}")))

    os.fsync = fsync  # type: ignore[assignment]
    try:
        yield
    finally:
        os.fsync = real


def states(
    folder: Path, work: Callable[[], Any], scratch: Path, *, files: frozenset[str], databases: frozenset[str]
) -> list[Path]:
    """Run `work` on `folder`; the folders as cuts leave them. files: names of the source files traced."""
    scratch.mkdir()
    disk, found = Disk(folder, scratch / "shadow"), []
    seen: list[object] = []

    def cut() -> None:
        if (now := [looks(folder), disk.syncs]) == seen:
            return
        seen[:] = now
        number = len(found)
        killed, lost = scratch / f"{number}-killed", scratch / f"{number}-lost"
        as_killed(folder, killed)
        disk.survivors(lost, databases)
        found.extend((killed, lost))

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if os.path.basename(frame.f_code.co_filename) not in files:
            return None
        if event == "line":
            cut()
        return trace

    with synced_by(disk):
        sys.settrace(trace)
        try:
            work()
        finally:
            sys.settrace(None)
    cut()
    return found
