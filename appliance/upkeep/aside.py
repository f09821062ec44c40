"""What is kept aside after a return to an older version: what it holds, and what of it is not in use now.

The files are in `aside/` (copies.py) and are only read here, as they lie: nothing else writes them any more.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.calls.history.records import COLUMNS, FLAT, CallRecords, said_of
from appliance.config.store import JournalRow
from appliance.storage.copies import kept_aside
from appliance.words import Explained, Listed, Said, english

BATCH = 500  # call records taken over in one transaction: short enough that `calls` never waits
# database -> what counts in it, and when a row of it is not in use now
COUNTED = {
    "calls.db": ("call where selftest = 0", "and id not in (select id from now.call)"),
    "config.db": ("journal where 1", "and (revision, at) not in (select revision, at from now.journal)"),
}


class CannotTakeOver(Explained):
    """What had been taken over stays, and may be taken over again."""


@dataclass(frozen=True, slots=True)
class Kept:
    name: str  # of the file
    database: str  # calls.db, config.db
    size: int
    until: float  # unix time of the last write
    rows: int  # call records, or changes of the configuration; -1: cannot be read
    unused: int  # of these, the ones that are not in use now


def listing(data: Path) -> list[Kept]:
    """Newest first."""
    found = []
    for file in reversed(kept_aside(data)):
        database = file.name.rpartition(".")[0]
        facts = file.stat()
        rows, unused = _counts(file, data / database, database)
        found.append(Kept(file.name, database, facts.st_size, facts.st_mtime, rows, unused))
    return found


def find(data: Path, name: str) -> Path | None:
    """The file of that name, when it is one of those listed."""
    return next((file for file in kept_aside(data) if file.name == name), None)


def take_over(data: Path, name: str, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Add its call records to the history, those that are not there; returns how many. May be repeated."""
    file = find(data, name)
    if file is None or not name.startswith("calls.db."):
        raise CannotTakeOver(Said("keeping.no-records"))
    with contextlib.closing(CallRecords(data)) as records, _opened(file) as old:
        columns = {row[1] for row in old.execute("pragma table_info(call)")}
        if missing := sorted(set(COLUMNS) - columns):
            raise CannotTakeOver(Said.of("keeping.other-records", columns=Listed(tuple(missing))))
        total = int(old.execute("select count(*) from call where selftest = 0").fetchone()[0])
        rows = old.execute(f"select {', '.join(COLUMNS)} from call where selftest = 0 order by started")
        added = done = 0
        while batch := rows.fetchmany(BATCH):
            added += records.add(batch)
            done += len(batch)
            progress(done, total)
    return added


def table(file: Path) -> Iterator[Sequence[Any]]:
    """Its call records as rows of a table, the titles first; lists are left out, how a call went is put into words."""
    with _opened(file) as connection:
        columns = [row[1] for row in connection.execute("pragma table_info(call)") if row[1] not in FLAT]
        yield columns
        said = columns.index("said") if "said" in columns else -1
        for row in connection.execute(
            f"select {', '.join(map(_quoted, columns))} from call where selftest = 0 order by started"
        ):
            yield row if said < 0 else (*row[:said], english().say_any(said_of(row[said])), *row[said + 1 :])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def changes(data: Path, name: str, most: int = 100) -> list[JournalRow]:
    """The changes of a kept configuration that are not in use now, newest first."""
    file = find(data, name)
    if file is None or not name.startswith("config.db."):
        return []
    try:
        with _opened(file) as connection:
            connection.execute("attach ? as now", [f"file:{data / 'config.db'}?mode=ro"])
            rows = connection.execute(
                f"select id, revision, at, who, kind, key, before, after from {' '.join(COUNTED['config.db'])} order by id desc limit ?",
                [most],
            )
            return [JournalRow(*row[:6], *(json.loads(body) if body else None for body in row[6:])) for row in rows]
    except (sqlite3.Error, ValueError):
        return []


def _counts(file: Path, current: Path, database: str) -> tuple[int, int]:
    if database not in COUNTED:
        return -1, 0
    table, unused = COUNTED[database]
    try:
        with _opened(file) as connection:
            rows = int(connection.execute(f"select count(*) from {table}").fetchone()[0])
            connection.execute("attach ? as now", [f"file:{current}?mode=ro"])
            return rows, int(connection.execute(f"select count(*) from {table} {unused}").fetchone()[0])
    except sqlite3.Error:
        return -1, 0


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    """As it lies: no log is made beside it."""
    connection = sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)
    try:
        yield connection
    finally:
        connection.close()
