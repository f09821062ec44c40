"""calls.db: what has happened (call records) and who can be reached (registrations). Written by `calls`; the page reads, and adds records
that were kept aside, in short transactions.

A call record outlives the extensions it names, so it holds texts, not references. Legs, people and parts are lists of flat mappings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from appliance.calls.history.encryption import protection_of_call
from appliance.config.search import folded
from appliance.storage.database import Migrations, open_database, sentences
from appliance.words import Said
from appliance.words.said import pack, unpack

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables

MOST_CALLS = 200_000  # kept; then the oldest go
TRIM_EVERY = 500  # writes
NORMAL = 16  # normal clearing (Q.850)

calls_migrations = Migrations("switchroom-calls")


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
    def protection(self) -> tuple[bool, str]:
        """Is its lock closed, and what was encrypted, in words."""
        return protection_of_call(self.legs)

    @property
    def trouble(self) -> str:
        """What became of a call that was not talked and ended as people do, in a word or two; "" for one that was."""
        if self.answered is None:
            return self.outcome
        return "cut off" if self.hung_up_by == "system" and self.cause != NORMAL else ""


COLUMNS = tuple(CallRow.__dataclass_fields__)
FLAT = ("legs", "people", "parts")  # lists of flat mappings
NUMBERS = ("caller_number", "dialled", "callee_number")  # searched, with
NAMES = ("caller_name", "callee_name")


class CallRecords:
    def __init__(self, data: Path, most: int = MOST_CALLS) -> None:
        self._most, self._writes = most, 0
        self._db = open_database(data / "calls.db", calls_migrations)

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
        marks = ", ".join("?" * len(COLUMNS))
        bodies = [(body["line"], body["contact"], json.dumps(dict(body))) for body in saved]
        before = self._writes // TRIM_EVERY
        with sentences(), self._db.atomic():
            self._db.executemany("delete from registration where line = ? and contact = ?", removed)
            self._db.executemany("insert or replace into registration (line, contact, body) values (?, ?, ?)", bodies)
            self._db.executemany(f"insert or replace into call ({', '.join(COLUMNS)}) values ({marks})", rows)
            if rows and (self._writes + len(rows)) // TRIM_EVERY != before:
                self._db.execute(
                    "delete from call where id in (select id from call order by started desc limit -1 offset ?)",
                    [self._most],
                )
        self._writes += len(rows)

    def add(self, rows: Sequence[Sequence[Any]]) -> int:
        """Add stored rows of another calls.db, in the order of COLUMNS, those whose id is not here; returns how many."""
        marks = ", ".join("?" * len(COLUMNS))
        with sentences(), self._db.atomic():
            before = self._db.total_changes
            self._db.executemany(f"insert or ignore into call ({', '.join(COLUMNS)}) values ({marks})", rows)
            return int(self._db.total_changes - before)

    def search(self, text: str = "", *, limit: int = 50, offset: int = 0, selftest: bool = False) -> list[CallRow]:
        """Newest first; each word of text is looked for in numbers and names. The self-test's calls are left out unless asked for."""
        where, values = [], []
        if not selftest:
            where.append("selftest = 0")
        if text:
            for word in folded(text).split():
                pattern = "%" + word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
                numbers = [f"{name} like ? escape '\\'" for name in NUMBERS]
                where.append(f"({' or '.join(numbers + [f'{name} in (select value from json_each(?))' for name in NAMES])})")
                values += [pattern] * len(NUMBERS) + [json.dumps(self._names(word))] * len(NAMES)
        clause = f" where {' and '.join(where)}" if where else ""
        with sentences():
            rows = self._db.execute(
                f"select {', '.join(COLUMNS)} from call{clause} order by started desc, id limit ? offset ?",
                [*values, limit, offset],
            ).fetchall()
        return [_row(row) for row in rows]

    def _names(self, word: str) -> list[str]:
        """The names that a folded word is in. Only the different ones are looked at here, the calls are left to the database."""
        with sentences():
            rows = self._db.execute(" union ".join(f"select {name} from call" for name in NAMES)).fetchall()
        return [name for (name,) in rows if name and word in folded(name)]

    def find(self, call: str) -> CallRow | None:
        with sentences():
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


def _stored(record: Mapping[str, Any]) -> list[Any]:
    """In the order of COLUMNS."""
    row = {name: record[name] for name in COLUMNS} | {name: msgspec.json.encode(record[name]).decode() for name in FLAT}
    row |= {"selftest": int(record["selftest"]), "said": pack(record["said"]).decode()}
    return list(row.values())


def _row(row: Sequence[Any]) -> CallRow:
    values = dict(zip(COLUMNS, row, strict=True))
    values |= {name: json.loads(values[name]) for name in FLAT}
    return CallRow(**{**values, "said": said_of(values["said"]), "selftest": bool(values["selftest"])})


def said_of(stored: str | None) -> Said:
    """As it is stored; of what cannot be read, that."""
    try:
        return unpack(stored or "")
    except ValueError:
        return Said.of("stored.unreadable")
