"""SQLite files: opened, checked, brought up to date, and what they report in words. Tables are made and changed through sqlite-utils.

Knows no table: who has one brings its `Migrations`. Time is no argument here, for nothing depends on it.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from appliance.storage import copies
from appliance.storage.migration import Progress
from appliance.words import Explained, Said

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables

    Migration = Callable[[Tables], Any]

log = logging.getLogger("store")


class StorageFailed(Explained):
    """The disk or the database does not do its work."""


class StorageDamaged(StorageFailed):
    """What was stored is damaged or lost; only a backup brings it back."""


@contextmanager
def sentences() -> Iterator[None]:
    """Turns what the database reports into a StorageFailed that an administrator understands."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "full" in text:
            raise StorageFailed(Said("storage.full")) from error
        if "readonly" in text or "read-only" in text:
            raise StorageFailed(Said("storage.read-only")) from error
        if "locked" in text:
            raise StorageFailed(Said("storage.busy")) from error
        if is_damage(error):
            raise StorageDamaged(Said.of("storage.damaged", error=text)) from error
        raise StorageFailed(Said.of("storage.reports", error=text)) from error


# What a disk answers that does not give back what was written; a full one is something else.
_UNREADABLE = (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_FSTAT, sqlite3.SQLITE_IOERR_CORRUPTFS)


def is_damage(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)
    damaged = code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
    system = isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EIO, errno.EISDIR, errno.EUCLEAN)
    return damaged or code in _UNREADABLE or system


@contextmanager
def alone(folder: Path, name: str = "") -> Iterator[None]:
    """One process at a time makes keys in a folder, or opens the database `name` there: all of them do at the same moment of a start.
    Who opens another database need not wait until a large one has been brought up to date."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = (
            os.open(folder / f".{name}.lock", os.O_RDWR | os.O_CREAT, 0o600) if name else os.open(folder, os.O_RDONLY)
        )
    except OSError as error:
        raise StorageFailed(Said.of("storage.directory", folder=str(folder), error=str(error.strerror))) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class Database(sqlite3.Connection):
    """A statement is a transaction of its own, unless it stands in `atomic`."""

    @contextmanager
    def atomic(self, kind: Literal["deferred", "immediate"] = "deferred") -> Iterator[None]:
        """One transaction: all of it or nothing. immediate: nobody else writes while it is looked what to write."""
        self.execute(f"begin {kind}")
        try:
            yield
            self.execute("commit")
        except BaseException:
            if self.in_transaction:  # some errors have ended it already
                self.execute("rollback")
            raise


class Migrations:
    """The changes that made a database's tables what they are, oldest first. Applied by sqlite-utils, which is loaded only when there is
    something to apply: that would be a fifth of the time in which `calls` starts."""

    def __init__(self, name: str, checked: Sequence[str] = ()) -> None:
        """`checked`: tables that are checked when the file is opened; none: all of it. What grows with the years is not: that would be
        seconds of each start (5 s at a million call records), and what is damaged there is seen by who reads it."""
        self._name, self.checked = name, tuple(checked)
        self._steps: dict[str, Migration] = {}

    def __call__(self, name: str = "") -> Callable[[Migration], Migration]:
        """Decorator: the function, under its own name or this one, is the newest change."""

        def add(step: Migration) -> Migration:
            if (called := name or step.__name__) in self._steps:
                raise ValueError(f"There are two changes {called}.")
            self._steps[called] = step
            return step

        return add

    @property
    def names(self) -> list[str]:
        return list(self._steps)

    def pending(self, connection: sqlite3.Connection) -> list[str]:
        """Those the database has not been through."""
        done = copies.applied(connection)
        return [name for name in self._steps if name not in done]

    def apply(self, connection: sqlite3.Connection, told: Callable[[int, int], None]) -> None:
        """All changes that are still to come in one transaction: a cut leaves the tables of the old version or of the new one, nothing
        between, so that the copy from before always fits. `told` hears which of how many begins."""
        coming = self.pending(connection)
        if not coming:
            return
        import sqlite_utils

        changes = sqlite_utils.Migrations(self._name)
        for name, step in self._steps.items():
            changes(name=name)(step)
        # Without plug-ins: nobody installs any, and looking for them reads the facts of every distribution.
        tables = sqlite_utils.Database(connection, execute_plugins=False)
        with tables.atomic():
            for number, following in enumerate([*coming[1:], None], 1):
                told(number, len(coming))
                changes.apply(tables, stop_before=following)


def _is_whole(connection: sqlite3.Connection, tables: Sequence[str]) -> bool:
    """The tables that are there, or all of it."""
    there = {name for (name,) in connection.execute("select name from sqlite_schema where type = 'table'")}
    checks = [f"pragma quick_check('{name}')" for name in tables if name in there] if tables else ["pragma quick_check(1)"]
    return all(connection.execute(check).fetchone()[0] == "ok" for check in checks)


def open_database(path: Path, migrations: Migrations) -> Database:
    """Open (or make, readable by its owner only), check and migrate a database file."""
    with alone(path.parent, path.name):
        return _open_database(path, migrations)


def _open_database(path: Path, migrations: Migrations) -> Database:
    known = migrations.names
    try:
        if (kept := copies.go_back(path, known)) is not None:
            log.warning(
                "%s was written by a newer version; the copy from before is used, the newer one is %s", path.name, kept
            )
        path.touch(mode=0o600)
        connection = sqlite3.connect(
            path, timeout=5.0, check_same_thread=False, isolation_level=None, factory=Database
        )
    except (OSError, sqlite3.Error) as error:
        if is_damage(error):
            raise StorageDamaged(Said.of("storage.unreadable", file=path.name, error=str(error))) from error
        raise StorageFailed(Said.of("storage.not-opened", file=path.name, error=str(error))) from error
    try:
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=full")
        connection.execute("pragma foreign_keys=on")
        connection.execute("pragma wal_checkpoint(passive)")  # what the file has lost may stand in its log still; waits for nobody
        progress = Progress(path)
        with progress.watch(connection):
            if not _is_whole(connection, migrations.checked):
                raise StorageDamaged(Said.of("storage.file-damaged", file=path.name))
            copies.take(connection, path, known, progress)
            migrations.apply(connection, lambda step, steps: progress.now("changing", step=step, steps=steps))
    except sqlite3.DatabaseError as error:
        connection.close()
        if is_damage(error):
            raise StorageDamaged(Said.of("storage.file-damaged-error", file=path.name, error=str(error))) from error
        raise StorageFailed(Said.of("storage.not-opened-now", file=path.name, error=str(error))) from error
    except BaseException:  # a fault of a migration too: the file must not stay locked
        connection.close()
        raise
    return connection
