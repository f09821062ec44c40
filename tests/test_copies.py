"""A newer version migrates, is left, and the older one goes on with its own tables; what was written in between is kept."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from sqlite_utils import Database

from appliance.storage import copies
from appliance.storage.copies import MOST, kept_aside
from appliance.storage.database import Migrations, StorageFailed, open_database
from tests.power_cut import states


def version(*names: str) -> Migrations:
    made = Migrations("test")
    for name in names:
        made(name=name)(lambda db, name=name: db[name].insert({"id": 1}))
    return made


def write(path: Path, migrations: Migrations, table: str, row: int) -> list[str]:
    database = Database(open_database(path, migrations))
    database[table].insert({"id": row})
    tables = [name for name in database.table_names() if not name.startswith("_")]
    database.close()
    return tables


def test_an_older_version_goes_on_with_the_copy(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    old, new = version("first"), version("first", "second")
    write(path, old, "first", 2)
    assert not (tmp_path / "before").exists()
    write(path, new, "first", 3)
    assert write(path, old, "first", 4) == ["first"]

    assert [row["id"] for row in Database(open_database(path, old))["first"].rows] == [1, 2, 4]
    (kept,) = kept_aside(tmp_path)
    assert [row["id"] for row in Database(kept)["first"].rows] == [1, 2, 3]


def test_forth_and_back_again_keeps_every_newer_file(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    old, new = version("first"), version("first", "second")
    for row in range(2, 8, 2):
        write(path, old, "first", row)
        write(path, new, "first", row + 1)
    write(path, old, "first", 99)
    assert [file.name for file in kept_aside(tmp_path)] == ["calls.db.1", "calls.db.2", "calls.db.3"]


def test_without_a_copy_it_says_so_and_touches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    write(path, version("first", "second"), "first", 2)
    before = path.read_bytes()
    with pytest.raises(StorageFailed, match="newer version"):
        open_database(path, version("first"))
    assert path.read_bytes() == before


# ---- power cuts ------------------------------------------------------------------------------------------------------

TRACED = frozenset({"copies.py", "database.py", "migrations.py", Path(__file__).name})
OFFICE = [(number,) for number in range(100, 160)]


def two_steps() -> Migrations:
    """A newer version: one change fills a column for every row, another makes a table."""
    made = version("first")

    @made()
    def second(db: Database) -> None:
        db.execute("pragma cache_size = 3")  # so that a part of it reaches the disk before the end
        db.execute("alter table first add column text")
        for (row,) in db.execute("select id from first").fetchall()[::20]:
            db.execute("update first set text = hex(zeroblob(4000)) || id where id = ?", [row])

    @made()
    def third(db: Database) -> None:
        db["third"].insert({"id": 1})

    return made


def rows_of(database: Database | sqlite3.Connection) -> set[int]:
    return {row for (row,) in database.execute("select id from first")}


def filled(folder: Path, migrations: Migrations, rows: list[tuple[int]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    database = open_database(folder / "calls.db", migrations)
    with database.atomic():
        database.executemany("insert into first (id) values (?)", rows)
    database.close()


def as_left(folder: Path) -> set[int]:
    """Every row an administrator can still get at: in use, or kept aside."""
    found: set[int] = set()
    for kept in kept_aside(folder):
        found |= rows_of(Database(kept))
    return found


def test_a_power_cut_at_every_line_of_snapshot_and_migration_loses_nothing(tmp_path: Path) -> None:
    """Whichever version starts next finds all rows, and its own tables."""
    filled(tmp_path / "data", version("first"), OFFICE)
    wanted = {1} | {row for (row,) in OFFICE}
    path = tmp_path / "data/calls.db"
    cuts = states(
        path.parent,
        lambda: open_database(path, two_steps()).close(),
        tmp_path / "cuts",
        files=TRACED,
        databases=frozenset({path.name}),
    )
    assert len(cuts) > 30
    for cut in cuts:
        again = tmp_path / "again"
        shutil.copytree(cut, again)
        newer = open_database(again / path.name, two_steps())
        assert rows_of(newer) == wanted, cut.name
        newer.close()
        for folder in (cut, again):  # the old version, before and after the new one has got through
            older = open_database(folder / path.name, version("first"))
            assert rows_of(older) == wanted, cut.name
            assert "third" not in Database(older).table_names()
            assert "text" not in Database(older)["first"].columns_dict
            older.close()
        shutil.rmtree(again)


def test_a_power_cut_at_every_line_of_the_return_loses_nothing(tmp_path: Path) -> None:
    filled(tmp_path / "data", version("first"), OFFICE[:30])
    filled(tmp_path / "data", two_steps(), OFFICE[30:])  # written in between
    path = tmp_path / "data/calls.db"
    cuts = states(
        path.parent,
        lambda: open_database(path, version("first")).close(),
        tmp_path / "cuts",
        files=TRACED,
        databases=frozenset({path.name}),
    )
    assert len(cuts) > 15
    everything, before = {1} | {row for (row,) in OFFICE}, {1} | {row for (row,) in OFFICE[:30]}
    for cut in cuts:
        older = open_database(cut / path.name, version("first"))
        assert rows_of(older) == before, cut.name
        older.close()
        assert as_left(cut) == everything, cut.name
        assert len(kept_aside(cut)) == 1, cut.name


def test_a_migration_cut_between_two_changes_leaves_the_copy_alone(tmp_path: Path) -> None:
    """The second start finds the database as it was, not half changed, so the copy it takes is one the old version can use."""
    filled(tmp_path, version("first"), OFFICE)
    broken = two_steps()

    @broken()
    def fourth(db: Database) -> None:
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            open_database(tmp_path / "calls.db", broken)
    assert write(tmp_path / "calls.db", version("first"), "first", 2) == ["first"]
    assert kept_aside(tmp_path) == []


# ---- what is kept is bounded -----------------------------------------------------------------------------------------


def test_only_so_many_are_kept_and_the_newest_stay(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    for row in range(2, 2 * MOST + 8, 2):
        write(path, version("first"), "first", row)
        write(path, version("first", "second"), "first", row + 1)
    write(path, version("first"), "first", 99)
    assert [file.name for file in kept_aside(tmp_path)] == [f"calls.db.{number}" for number in range(4, MOST + 4)]


def test_only_so_much_is_kept_but_never_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "MOST_BYTES", 1)
    path = tmp_path / "calls.db"
    for row in range(2, 8, 2):
        write(path, version("first"), "first", row)
        write(path, version("first", "second"), "first", row + 1)
    write(path, version("first"), "first", 99)
    assert [file.name for file in kept_aside(tmp_path)] == ["calls.db.3"]
