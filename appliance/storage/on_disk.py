"""Files that are on the disk when a function returns, and are whole whenever the power goes, on ext4 as on FAT."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def sync(path: Path) -> None:
    """A file's contents, or a folder's names, are on the disk when this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def rename(old: Path, new: Path) -> None:
    """A file whose contents are on the disk gets another name in its folder. On FAT that is safe only with the file synced again under it."""
    if old != new:
        old.rename(new)
    sync(new)
    sync(new.parent)


def make_folder(path: Path) -> None:
    """For its owner only, with those above it; their names are on the disk."""
    if not path.exists():
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        sync(path.parent)


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """The file holds `content`, or what it held before. One writer at a time; what a cut leaves beside it goes at the next write."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    _fill(temporary, content, mode)
    rename(temporary, path)


def make(path: Path, content: bytes) -> None:
    """The file is there and whole: with `content`, or with what another process gave it at the same time. For its owner only."""
    make_folder(path.parent)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        _fill(temporary, content, 0o600)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def _fill(path: Path, content: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)  # whatever the umask is
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
