"""What lets an older version go on after a newer one has changed a database's tables and was then left.

Before the first migration of a version a database is copied whole to `before/`. When a version finds migrations it does not know, it puts
the copy back and keeps the newer file in `aside/`: nothing that was written in between is lost. Each step is on the disk before the next
begins, and each may be repeated, so a power cut at any moment leaves either database whole and the way on open:

 take:     copy under a temporary name → fsync → rename → fsync of the folder → only then does the migration begin
 go back:  write-ahead log into the file → second name in `aside/` → fsync of that folder → the copy takes the first name

A database that is damaged and may begin anew (call records: the telephone does not wait for them) is kept aside in the same way.
What is kept aside is bounded: `MOST` files of a database, `MOST_BYTES` in all, the oldest go first.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from appliance.storage.migration import Progress
from appliance.storage.on_disk import make_folder, sync

TABLE = "_sqlite_migrations"
MOST = 5
MOST_BYTES = 1 << 30

log = logging.getLogger("store")


def applied(connection: sqlite3.Connection) -> set[str]:
    """Names of the migrations a database has been through."""
    if connection.execute("select 1 from sqlite_schema where name = ?", [TABLE]).fetchone() is None:
        return set()
    return {name for (name,) in connection.execute(f"select name from {TABLE}")}


def take(connection: sqlite3.Connection, path: Path, known: Iterable[str], progress: Progress) -> None:
    """Copy the database when migrations of this version are still to come; a new, empty one is not worth it."""
    done = applied(connection)
    if not done or not set(known) - done:
        return
    folder = path.parent / "before"
    make_folder(folder)
    temporary = folder / f"{path.name}.tmp"
    temporary.unlink(missing_ok=True)
    pages, size = (int(connection.execute(f"pragma {name}").fetchone()[0]) for name in ("page_count", "page_size"))
    progress.now("copying", copy=temporary, total=pages * size)
    connection.execute("vacuum into ?", [str(temporary)])
    temporary.chmod(0o600)
    sync(temporary)
    temporary.rename(folder / path.name)
    sync(folder)


def go_back(path: Path, known: Iterable[str]) -> Path | None:
    """When the database is newer than this version: put the copy in its place; returns where the newer one is kept. FileNotFoundError
    when there is no copy: then this version cannot run on these data."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    connection = sqlite3.connect(path)
    try:
        if not applied(connection) - set(known):
            return None
        copy = path.parent / "before" / path.name
        if not copy.exists():
            raise FileNotFoundError(f"{path.name} was written by a newer version, and there is no copy from before.")
        busy, *_ = connection.execute("pragma wal_checkpoint(truncate)").fetchone()
        if busy:
            raise sqlite3.OperationalError("another process still has it open")
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        return None  # damaged: who opens it next says so
    finally:
        connection.close()
    make_folder(path.parent / "aside")
    kept = _keep(path, path.parent / "aside")
    for extra in ("-wal", "-shm"):
        path.with_name(path.name + extra).unlink(missing_ok=True)
    copy.rename(path)
    sync(path.parent)
    sync(copy.parent)
    _trim(path.parent, path.name)
    return kept


def set_aside(path: Path) -> Path:
    """A damaged database that may begin anew leaves its place, with its log; returns where it is kept. Nobody has it open."""
    make_folder(path.parent / "aside")
    kept = _keep(path, path.parent / "aside")
    with contextlib.suppress(FileNotFoundError):
        path.with_name(path.name + "-wal").rename(kept.with_name(kept.name + "-wal"))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    sync(kept.parent)
    path.unlink()
    sync(path.parent)
    _trim(path.parent, path.name)
    return kept


def kept_aside(data: Path, name: str = "*.db") -> list[Path]:
    """Newer databases that were left, oldest first."""
    found = (file for file in (data / "aside").glob(f"{name}.*") if file.name.rpartition(".")[2].isdigit())
    return sorted(found, key=lambda file: (file.stat().st_mtime, int(file.name.rpartition(".")[2])))


def _keep(path: Path, aside: Path) -> Path:
    """A second name for the newer one, on the disk when this returns: it has two for a moment, never none."""
    mine = kept_aside(aside.parent, path.name)
    kept = next((file for file in mine if file.samefile(path)), None)  # a cut came between this and what follows
    if kept is None:
        kept = aside / f"{path.name}.{1 + max((int(file.name.rpartition('.')[2]) for file in mine), default=0)}"
        os.link(path, kept)
    sync(aside)
    return kept


def _trim(data: Path, name: str) -> None:
    """The oldest go when there are too many; the one that was just left stays."""
    unwanted = kept_aside(data, name)[:-MOST]
    rest = [file for file in kept_aside(data) if file not in unwanted]
    while len(rest) > 1 and sum(file.stat().st_size for file in rest) > MOST_BYTES:
        unwanted.append(rest.pop(0))
    for file in unwanted:
        log.warning("%s is removed: too much is kept aside", file)
        file.unlink()
        file.with_name(file.name + "-wal").unlink(missing_ok=True)
