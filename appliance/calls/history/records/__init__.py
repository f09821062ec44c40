"""calls.db: what has happened (call records) and who can be reached (registrations). Written by `calls`; the page reads, and adds records
that were kept aside, in short transactions. What calls are found by is an index beside it (index.py, query.py).

A call record outlives the extensions it names, so it holds texts, not references. Legs, people and parts are lists of flat mappings.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from appliance.calls.history.encryption import protection_of_call
from appliance.calls.history.records.index import CallIndex
from appliance.calls.history.records.query import Result, Sought, result_of
from appliance.storage.database import Migrations, StorageDamaged, StorageFailed, is_damage, open_database, sentences
from appliance.words import Said
from appliance.words.said import pack, unpack

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables

MOST_CALLS = 1_000_000  # kept; then the oldest go
LARGEST_SHARE = 0.25  # of the disk that the records may fill; then the oldest go
TRIM_EVERY = 500  # writes
CHUNK = 500  # rows that an export holds at a time
EVERYTHING = Sought()
T = TypeVar("T")

calls_migrations = Migrations("switchroom-calls", checked=("registration",))


@calls_migrations()
def first_tables(db: Tables) -> None:
    db["call"].create(  # type: ignore[union-attr]
        {
            "id": str, "started": float, "answered": float, "ended": float, "caller_number": str, "caller_name": str, "dialled": str, "callee_number": str,
            "callee_name": str, "outcome": str, "cause": int, "hung_up_by": str, "sentence": str, "selftest": int, "legs": str,
        }, pk="id", not_null={"started", "ended", "legs"}, defaults={"selftest": 0},
    )  # fmt: skip
    db["call"].create_index(["started"])  # type: ignore[union-attr]
    db["registration"].create({"line": str, "contact": str, "body": str}, pk=("line", "contact"), not_null={"body"})  # type: ignore[union-attr]


@calls_migrations()
def said_people_and_parts(db: Tables) -> None:
    """How a call went was an English sentence; now it is a sentence's key and facts. The old ones are told as they are."""
    db.execute("alter table call rename column sentence to said")
    db.execute(
        "update call set said = json_object('type', 'said', 'key', 'call.told', 'facts', json_object('words', coalesce(said, '')))"
    )
    for column in ("people", "parts"):
        db.execute(f"alter table call add column {column} text not null default '[]'")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRow:
    """A finished call. Times are unix seconds; answered is None for a call nobody took."""

    id: str
    started: float
    answered: float | None
    ended: float
    caller_number: str
    caller_name: str
    dialled: str
    callee_number: str
    callee_name: str
    outcome: str
    cause: int  # Q.850
    hung_up_by: str  # caller, callee, system, or who ended it from the admin page
    said: Said
    selftest: bool
    legs: list[dict[str, Any]]
    people: list[dict[str, Any]]  # number, name, fate
    parts: list[dict[str, Any]]  # who, kind, seconds

    @property
    def seconds(self) -> float:
        """Talking time."""
        return max(0.0, self.ended - self.answered) if self.answered is not None else 0.0

    @property
    def protection(self) -> tuple[bool, Said]:
        """Is its lock closed, and what was encrypted."""
        return protection_of_call(self.legs)

    @property
    def result(self) -> Result:
        return result_of(self.outcome, self.cause, self.hung_up_by)

    @property
    def trouble(self) -> str:
        """What became of a call that was not talked and ended as people do, in a word or two; "" for one that was."""
        if self.answered is None:
            return self.outcome
        return "cut off" if self.result == "failed" else ""


class CallPage(NamedTuple):
    """Newest first. A cursor is the moment of a call; 0: there are no more that way."""

    rows: list[CallRow]
    newer: int = 0  # what to look after
    older: int = 0  # what to look before


COLUMNS = tuple(CallRow.__dataclass_fields__)
FLAT = ("legs", "people", "parts")  # lists of flat mappings

class CallRecords:
    def __init__(self, data: Path, most: int = MOST_CALLS) -> None:
        self._most, self._writes = most, 0
        self._data = data
        self._open()
        disk = os.statvfs(data)
        self._largest = int(disk.f_blocks * disk.f_frsize * LARGEST_SHARE)

    def _open(self) -> None:
        self._db = open_database(self._data / "calls.db", calls_migrations)
        with sentences():
            self._index = CallIndex(self._db, self._data / "found.db")
        self._file = self._which()

    def _which(self) -> int:
        with contextlib.suppress(OSError):
            return (self._data / "calls.db").stat().st_ino
        return 0

    def close(self) -> None:
        self._db.close()

    def write(self, *records: Mapping[str, Any]) -> None:
        """Write or replace the records of calls; keys are CallRow's fields. On disk when this returns."""
        self.keep(records)

    def keep(
        self,
        records: Sequence[Mapping[str, Any]] = (),
        saved: Sequence[Mapping[str, Any]] = (),
        removed: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Records of calls, registrations (a body with line and contact) and what was registered, in one transaction: on disk when this returns."""
        rows = [_stored(record) for record in records]
        bodies = [(body["line"], body["contact"], json.dumps(dict(body))) for body in saved]
        before = self._writes // TRIM_EVERY

        def write() -> None:
            self._db.executemany("delete from registration where line = ? and contact = ?", removed)
            self._db.executemany("insert or replace into registration (line, contact, body) values (?, ?, ?)", bodies)
            if rows:
                self._insert(rows, records)
            if rows and (self._writes + len(rows)) // TRIM_EVERY != before:
                self._trim()

        self._change(write)
        self._writes += len(rows)

    def add(self, rows: Sequence[Sequence[Any]]) -> int:
        """Add stored rows of another calls.db, in the order of COLUMNS, those whose id is not here; returns how many."""
        there = "select id from call where id in (select value from json_each(?))"

        def write() -> int:
            known = {id for (id,) in self._db.execute(there, [json.dumps([row[0] for row in rows])])}
            new = [row for row in rows if row[0] not in known]
            self._insert(new, [_named(row) for row in new])
            return len(new)

        return self._change(write)

    def _change(self, work: Callable[[], T]) -> T:
        """In one transaction. A damaged index is none of the records' business: it is made anew."""
        with _of_records(), sentences():
            self._index.follow()
            try:
                with self._db.atomic("immediate"):
                    return work()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self._index.anew(error)
                with self._db.atomic("immediate"):
                    return work()

    def _look(self, work: Callable[[], T]) -> T:
        """The same for who only looks: then there is little to be found at first."""
        if self._which() not in (0, self._file):  # it was damaged, and has begun anew
            self._open()
        with _of_records(), sentences():
            self._index.follow()
            try:
                return work()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self._index.anew(error)
                return work()

    def _insert(self, rows: Sequence[Sequence[Any]], records: Sequence[Mapping[str, Any]]) -> None:
        """In a transaction: the same calls as they are stored and as they are."""
        top = self._index.top()
        marks = ", ".join("?" * len(COLUMNS))
        self._db.executemany(f"insert or replace into call ({', '.join(COLUMNS)}) values ({marks})", rows)
        self._index.enter(records, top)

    def _trim(self) -> None:
        """In a transaction: the oldest calls go."""
        surplus = self._db.execute("select count(*) from call").fetchone()[0] - self._most
        surplus = max(surplus, 2 * TRIM_EVERY if self._size() > self._largest else 0)
        if surplus > 0:
            old = [id for (id,) in self._db.execute("select id from call order by started limit ?", [surplus])]
            self._index.remove(old)
            self._db.executemany("delete from call where id = ?", [(id,) for id in old])

    def _size(self) -> int:
        """Octets in use; what was removed is room for new ones."""
        pages, free, size = (
            self._db.execute(f"pragma main.{name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    # ---- the index, brought up to date by `calls` -----------------------------------------------------------------------
    def index_more(self) -> bool:
        """A small step: calls that the index lacks are entered, the newest first. Whether there may be more."""

        def read(clause: str, *values: int) -> list[tuple[int, Mapping[str, Any]]]:
            rows = self._db.execute(f"select rowid, {', '.join(COLUMNS)} from call {clause}", values)
            return [(row[0], _named(row[1:])) for row in rows]

        return self._change(lambda: self._index.step(read))

    def not_indexed(self) -> int:
        """How many calls cannot be found yet."""
        return self._look(self._index.lacking)

    # ---- looked at ------------------------------------------------------------------------------------------------
    def page(self, sought: Sought = EVERYTHING, *, before: int = 0, after: int = 0, count: int = 50) -> CallPage:
        """The newest calls that are sought, or the next ones before or after a cursor. after=1: the oldest ones."""

        def look() -> CallPage:
            moments = self._index.moments(sought, after=after, before=before, up=bool(after), count=count + 1)
            more, moments = len(moments) > count, moments[:count]
            if not moments:
                return CallPage([])
            if after:
                moments.reverse()
            newer = more if after else bool(before)
            older = after > 1 if after else more
            return CallPage(self._calls(moments), moments[0] if newer else 0, moments[-1] if older else 0)

        return self._look(look)

    def each(self, sought: Sought = EVERYTHING) -> Iterator[CallRow]:
        """All that are sought, newest first, read a few hundred at a time: a call that ends meanwhile is not among them."""
        cursor = 0
        while True:
            moments, rows = self._look(partial(self._chunk, sought, cursor))
            if not moments:
                return
            cursor = moments[-1]
            yield from rows

    def among(self, calls: Collection[str], sought: Sought = EVERYTHING) -> list[CallRow]:
        """Those of these calls (ids) that are sought, newest first."""

        def look() -> list[CallRow]:
            there = [moment for call in calls if (moment := self._index.moment_of(call))]
            fitting = [moment for moment in there if self._index.moments(sought, after=moment - 1, before=moment + 1, count=1)]
            return self._calls(sorted(fitting, reverse=True))

        return self._look(look)

    def _chunk(self, sought: Sought, cursor: int) -> tuple[list[int], list[CallRow]]:
        moments = self._index.moments(sought, before=cursor, count=CHUNK)
        return moments, self._calls(moments)

    def results(self, since: float, until: float, seconds: int) -> dict[tuple[int, str], int]:
        """How many calls had which result, by the number of the part of so many seconds, from `since` on, in which they began."""
        return self._look(lambda: self._index.results(since, until, seconds))

    def _calls(self, moments: Sequence[int]) -> list[CallRow]:
        """In the order of the moments. Of a call that is gone there is none."""
        rows = self._db.execute(
            f"select {', '.join(f'c.{name}' for name in COLUMNS)} from json_each(?) j "
            "join found.entry e on e.moment = j.value join call c on c.id = e.call order by j.key",
            [json.dumps(moments)],
        ).fetchall()
        return [_row(row) for row in rows]

    def newest_selftest(self) -> CallRow | None:
        """Among the last few calls."""
        with sentences():
            row = self._db.execute(
                f"select * from (select {', '.join(COLUMNS)} from call order by started desc limit 50) where selftest = 1 limit 1"
            ).fetchone()
        return _row(row) if row else None

    def find(self, call: str) -> CallRow | None:
        with _of_records(), sentences():
            row = self._db.execute(f"select {', '.join(COLUMNS)} from call where id = ?", [call]).fetchone()
        return _row(row) if row else None

    def remove_selftest(self) -> int:
        """Remove the self-test's records; how many there were."""
        with sentences(), self._db.atomic():
            return int(self._db.execute("delete from call where selftest = 1").rowcount)

    # ---- registrations: one JSON body per (line, contact) --------------------------------------------------------
    def registrations(self) -> list[dict[str, Any]]:
        """The stored bodies."""
        with sentences():
            return [
                json.loads(body)
                for (body,) in self._db.execute("select body from registration order by rowid").fetchall()
            ]


class RecordsDamaged(StorageFailed):
    """The call records are, while they are in use: no other part of the box is concerned."""


@contextlib.contextmanager
def _of_records() -> Iterator[None]:
    try:
        yield
    except StorageDamaged as error:
        raise RecordsDamaged(error.said) from error


def _stored(record: Mapping[str, Any]) -> list[Any]:
    """In the order of COLUMNS."""
    row = {name: record[name] for name in COLUMNS} | {name: msgspec.json.encode(record[name]).decode() for name in FLAT}
    row |= {"selftest": int(record["selftest"]), "said": pack(record["said"]).decode()}
    return list(row.values())


def _named(row: Sequence[Any]) -> dict[str, Any]:
    """A stored row, with its lists as lists."""
    values = dict(zip(COLUMNS, row, strict=True))
    return values | {name: json.loads(values[name]) for name in FLAT}


def _row(row: Sequence[Any]) -> CallRow:
    values = _named(row)
    return CallRow(**{**values, "said": said_of(values["said"]), "selftest": bool(values["selftest"])})


def said_of(stored: str | None) -> Said:
    """As it is stored; of what cannot be read, that."""
    try:
        return unpack(stored or "")
    except ValueError:
        return Said.of("stored.unreadable")
