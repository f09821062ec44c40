"""What lets an older version go on after a newer one has changed a database's tables and was then left.

Before the first migration of a version a database is copied whole to `before/`. When a version finds migrations it does not know, it puts
its copy back and keeps the newer file in `aside/`: nothing that was written in between is lost, and `kept_aside` lists it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

TABLE = "_sqlite_migrations"


def applied(connection: sqlite3.Connection) -> set[str]:
    """Names of the migrations a database has been through."""
    if connection.execute("select 1 from sqlite_schema where name = ?", [TABLE]).fetchone() is None:
        return set()
    return {name for (name,) in connection.execute(f"select name from {TABLE}")}


def take(connection: sqlite3.Connection, path: Path, known: Iterable[str]) -> None:
    """Copy the database when migrations of this version are still to come; a new, empty one is not worth it."""
    done = applied(connection)
    if not done or not set(known) - done:
        return
    folder = path.parent / "before"
    folder.mkdir(mode=0o700, exist_ok=True)
    temporary = folder / f"{path.name}.tmp"
    temporary.unlink(missing_ok=True)
    connection.execute("vacuum into ?", [str(temporary)])
    _settle(temporary, folder / path.name)


def go_back(path: Path, known: Iterable[str]) -> Path | None:
    """When the database is newer than this version: put the copy in its place; returns where the newer one is kept. FileNotFoundError
    when there is no copy: then this version cannot run on these data."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    connection = sqlite3.connect(path)
    try:
        if not applied(connection) - set(known):
            return None
        connection.execute("pragma wal_checkpoint(truncate)")
    except sqlite3.DatabaseError:
        return None  # damaged: who opens it next says so
    finally:
        connection.close()
    copy = path.parent / "before" / path.name
    if not copy.exists():
        raise FileNotFoundError(f"{path.name} was written by a newer version, and there is no copy from before.")
    aside = path.parent / "aside"
    aside.mkdir(mode=0o700, exist_ok=True)
    number = 1 + max((int(file.name.rpartition(".")[2]) for file in aside.glob(f"{path.name}.*")), default=0)
    kept = aside / f"{path.name}.{number}"
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(copy.read_bytes())
    temporary.chmod(0o600)
    os.link(path, kept)  # the newer one has two names for a moment, never none
    for extra in ("-wal", "-shm"):
        path.with_name(path.name + extra).unlink(missing_ok=True)
    _settle(temporary, path)
    return kept


def kept_aside(data: Path) -> list[Path]:
    """Newer databases that were left, oldest first."""
    return sorted((data / "aside").glob("*.db.*"), key=lambda file: int(file.name.rpartition(".")[2]))


def _settle(temporary: Path, final: Path) -> None:
    """Under its final name, and on the disk, in this order of safety."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.rename(final)
    folder = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)
