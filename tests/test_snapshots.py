"""A newer version migrates, is left, and the older one goes on with its own tables; what was written in between is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlite_utils import Database, Migrations

from appliance.snapshots import kept_aside
from appliance.store import StorageFailed, open_database


def version(*names: str) -> Migrations:
    made = Migrations("test")
    for name in names:
        made(name=name)(lambda db, name=name: db[name].insert({"id": 1}))
    return made


def write(path: Path, migrations: Migrations, table: str, row: int) -> list[str]:
    database = open_database(path, migrations)
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

    assert [row["id"] for row in open_database(path, old)["first"].rows] == [1, 2, 4]
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
