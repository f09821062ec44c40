"""Call records that a newer version wrote before it was left: counted, and added to the history."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from sqlite_utils import Database

from appliance.calls.history.records import CallRecords, calls_migrations
from appliance.storage.database import Migrations, open_database
from appliance.upkeep import aside
from appliance.upkeep.aside import CannotTakeOver
from appliance.words import Said
from appliance.words.said import pack
from tests.test_backup import CALL


def newer(change: str) -> Migrations:
    made = Migrations("switchroom-calls")
    for name, step in calls_migrations._steps.items():
        made(name)(step)
    made("from the future")(lambda db: db.execute(change))
    return made


def in_between(data: Path, change: str = "alter table call add column mood text") -> None:
    """An old record, then two of a newer version that is left."""
    with contextlib.closing(CallRecords(data)) as records:
        records.write({**CALL, "id": "before"})
    open_database(data / "calls.db", newer(change)).close()
    database = Database(data / "calls.db")
    for name, selftest in (("between 1", 0), ("between 2", 0), ("test call", 1)):
        said = pack(Said("call.system")).decode()
        row = {**CALL, "id": name, "legs": "[]", "people": "[]", "parts": "[]", "said": said, "selftest": selftest}
        database["call"].insert({column: row.get(column) for column in database["call"].columns_dict})
    database.close()
    with contextlib.closing(CallRecords(data)) as records:
        records.write({**CALL, "id": "after"})


def test_they_are_counted_and_added_once(tmp_path: Path) -> None:
    in_between(tmp_path)
    (kept,) = aside.listing(tmp_path)
    assert (kept.name, kept.rows, kept.unused) == ("calls.db.1", 3, 2)
    told: list[tuple[int, int]] = []
    assert aside.take_over(tmp_path, kept.name, lambda *row: told.append(row)) == 2
    assert told == [(3, 3)]
    with contextlib.closing(CallRecords(tmp_path)) as records:
        assert sorted(row.id for row in records.page().rows) == ["after", "before", "between 1", "between 2"]
    assert aside.listing(tmp_path)[0].unused == 0
    assert aside.take_over(tmp_path, kept.name) == 0
    assert sorted(path.name for path in (tmp_path / "aside").iterdir()) == ["calls.db.1"]
    titles, *rows = aside.table(tmp_path / "aside/calls.db.1")
    assert not {"legs", "people", "parts"} & set(titles)
    assert {row[list(titles).index("said")] for row in rows} == {"the system"}


def test_records_of_another_shape_are_kept_but_not_added(tmp_path: Path) -> None:
    in_between(tmp_path, "alter table call rename column said to words")
    with pytest.raises(CannotTakeOver, match="said"):
        aside.take_over(tmp_path, "calls.db.1")
    assert aside.listing(tmp_path)[0].rows == 3


def test_a_file_that_cannot_be_read_is_listed_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "aside").mkdir()
    (tmp_path / "aside/calls.db.1").write_bytes(b"rubbish")
    Database(tmp_path / "calls.db").close()
    (kept,) = aside.listing(tmp_path)
    assert kept.rows == -1


@pytest.mark.parametrize("name", ["calls.db.7", "../config.db", "config.db.1", ""])
def test_only_what_is_listed_can_be_named(tmp_path: Path, name: str) -> None:
    in_between(tmp_path)
    with pytest.raises(CannotTakeOver):
        aside.take_over(tmp_path, name)
