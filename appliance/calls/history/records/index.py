"""found.db: what calls are found by, in the order of time (query.py says how a call's text is made).

It is derived from calls.db and holds nothing else, so it is in no backup, is migrated by being made anew, and needs no patience at a start:
`step` enters what it lacks, a few hundred calls at a time, while everything runs. It is attached to the connection of calls.db as `found`;
a power cut may lose its last transactions (synchronous=normal), and an older version may have written calls without it. So it knows the rows
of `call` that it covers, by rowid, without a gap: those above and those below are still to come. The newest row must be the one it knew:
otherwise calls.db is another one (restored, begun anew) and the index begins anew.

Only who writes calls.db writes here, after it has the lock of calls.db: all writers take both in this order.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from appliance.calls.history.records.query import Sought, folded_call, result_of
from appliance.storage.database import is_damage

SHAPE = 1  # of the tables and of the text; another one is made anew
AT_ONCE = 200  # calls of a step: some 10 ms
EXTRAS = ("", "-wal", "-shm")  # of its name
LATEST = 2**62  # later than every moment
TABLES = """
create table found.entry (moment integer primary key, call text not null unique, result text not null, folded text not null);
create virtual table found.texts using fts5(folded, content='entry', content_rowid='moment', tokenize='trigram case_sensitive 1');
create table found.covered (low integer not null, high integer not null, id text not null);
"""
Read = Callable[..., list[tuple[int, Mapping[str, Any]]]]  # clause, values -> (rowid, record) of `call`

log = logging.getLogger("store")


class CallIndex:
    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db, self._path = db, path
        self._known = False  # that it fits calls.db
        self._attach()

    # ---- the file --------------------------------------------------------------------------------------------------
    def _attach(self) -> None:
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self.anew(error)

    def _open(self) -> None:
        self._path.touch(mode=0o600)
        self._db.execute("attach ? as found", [str(self._path)])
        self._db.execute("pragma found.journal_mode=wal")
        self._db.execute("pragma found.synchronous=normal")
        if self._shape() != SHAPE:
            self._db.execute("begin immediate")
            if self._shape() != SHAPE:  # nobody else has made it meanwhile
                self._make()
            self._db.execute("commit")
        self._file = self._which()

    def _shape(self) -> int:
        return int(self._db.execute("pragma found.user_version").fetchone()[0])

    def _make(self) -> None:
        """In a transaction: empty tables."""
        for name in ("texts", "entry", "covered"):
            self._db.execute(f"drop table if exists found.{name}")
        for line in TABLES.strip().splitlines():
            self._db.execute(line)
        self._db.execute(f"pragma found.user_version = {SHAPE}")

    def _which(self) -> int:
        with contextlib.suppress(OSError):
            return os.stat(self._path).st_ino
        return 0

    def follow(self) -> None:
        """Another process may have made it anew. Not in a transaction."""
        if self._which() != self._file:
            self._db.execute("detach found")
            self._attach()

    def anew(self, why: sqlite3.Error) -> None:
        """It is damaged: another file takes its place. Not in a transaction."""
        log.warning("what calls are found by is made anew: %s", why)
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("detach found")
        for extra in EXTRAS:
            self._path.with_name(self._path.name + extra).unlink(missing_ok=True)
        self._open()

    # ---- written, in a transaction -------------------------------------------------------------------------------------
    def top(self) -> int:
        """The newest row of `call` that belongs here; 0: there is none."""
        row = self._db.execute("select rowid from call where selftest = 0 order by rowid desc limit 1").fetchone()
        return row[0] if row else 0

    def enter(self, records: Sequence[Mapping[str, Any]], before: int) -> None:
        """Calls that have just been inserted; `before` was the newest row then. A record that is written again takes the place of the old one."""
        _, high = self._covered(before)
        self._put(records)
        if high == before and (top := self.top()) > high:
            self._cover(high=top)

    def step(self, read: Read) -> bool:
        """Enter a few that are not here; whether there may be more."""
        low, high = self._covered(self.top())
        rows = read("where rowid > ? order by rowid limit ?", high, AT_ONCE)
        if rows:
            self._put([record for _, record in rows])
            last = max((number for number, record in rows if not record["selftest"]), default=0)
            if last:
                self._cover(high=last)
            return last > 0
        rows = read("where rowid < ? order by rowid desc limit ?", low, AT_ONCE) if low else []
        self._put([record for _, record in rows])
        if low:
            self._cover(low=rows[-1][0] if rows else 0)
        return bool(rows)

    def remove(self, calls: Sequence[str]) -> None:
        for call in calls:
            row = self._db.execute("select moment, folded from found.entry where call = ?", [call]).fetchone()
            if row is not None:  # what is told to the index must be what it was told first
                self._db.execute("insert into found.texts (texts, rowid, folded) values ('delete', ?, ?)", row)
                self._db.execute("delete from found.entry where moment = ?", row[:1])

    def _put(self, records: Sequence[Mapping[str, Any]]) -> None:
        for record in records:
            if record["selftest"]:
                continue
            self.remove([record["id"]])
            moment = max(1, int(record["started"] * 1e6))
            while self._db.execute("select 1 from found.entry where moment = ?", [moment]).fetchone():
                moment += 1
            result = result_of(record["outcome"], record["cause"], record["hung_up_by"])
            text = folded_call(record)
            self._db.execute("insert into found.entry values (?, ?, ?, ?)", [moment, record["id"], result, text])
            self._db.execute("insert into found.texts (rowid, folded) values (?, ?)", [moment, text])

    def _covered(self, top: int) -> tuple[int, int]:
        """The lowest row that is covered, 0 when none is below, and the highest. Begins anew what does not fit, once in a process."""
        row = self._db.execute("select low, high, id from found.covered").fetchone()
        if row is not None and not self._known and not self._fits(row[1], row[2]):
            log.warning("call records are others than those that could be found: the index is made anew")
            self._make()
            row = None
        self._known = True
        if row is None:
            self._db.execute("insert into found.covered values (?, ?, '')", [top + 1 if top else 0, top])
            self._cover(high=top)
            return (top + 1 if top else 0), top
        return row[0], row[1]

    def _fits(self, high: int, id: str) -> bool:
        row = self._db.execute("select id from call where rowid = ?", [high]).fetchone()
        return (row[0] if row else "") == id if high else True

    def _cover(self, **rows: int) -> None:
        if "high" in rows:
            self._db.execute(
                "update found.covered set high = ?1, id = coalesce((select id from call where rowid = ?1), '')", [rows["high"]]
            )
        else:
            self._db.execute("update found.covered set low = ?", [rows["low"]])

    # ---- read --------------------------------------------------------------------------------------------------------
    def moments(self, sought: Sought, *, after: int = 0, before: int = 0, up: bool = False, count: int) -> list[int]:
        """Of the calls that are sought, in the order of time, after and before these moments (0: no bound); up: the oldest first."""
        least = max(after + 1, int(sought.since * 1e6))
        most = min(before or LATEST, LATEST if sought.until == float("inf") else int(sought.until * 1e6))
        return [row[0] for row in self._db.execute(*statement(sought.expression, least, most, up, count))]

    def results(self, since: float, until: float, seconds: int) -> dict[tuple[int, str], int]:
        first, last = int(since * 1e6), int(until * 1e6)
        rows = self._db.execute(
            "select (moment - ?1) / ?2, result, count(*) from found.entry where moment >= ?1 and moment < ?3 group by 1, 2",
            [first, seconds * 1_000_000, last],
        )
        return {(part, result): count for part, result, count in rows}

    def moment_of(self, call: str) -> int:
        """0: it is not here."""
        row = self._db.execute("select moment from found.entry where call = ?", [call]).fetchone()
        return row[0] if row else 0

    def lacking(self) -> int:
        """Roughly, and quickly: rows below the lowest and above the highest that are covered."""
        row = self._db.execute("select low, high from found.covered").fetchone()
        low, high = row or (self.top() + 1, self.top())
        first = self._db.execute("select min(rowid) from call").fetchone()[0] or low
        return max(0, low - first if low else 0) + max(0, self.top() - high)


def statement(expression: str, least: int, before: int, up: bool, count: int) -> tuple[str, list[Any]]:
    """Moments of calls in the order of time: of the index when an expression is looked for, else of the table."""
    table, moment = ("texts where texts match ? and", "rowid") if expression else ("entry where", "moment")
    values = [*([expression] if expression else []), least, before, count]
    return f"select {moment} from found.{table} {moment} >= ? and {moment} < ? order by {moment} {'asc' if up else 'desc'} limit ?", values
