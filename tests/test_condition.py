"""A configuration that is lost or damaged while it is in use: seen by a look from outside, by the next read and by the next save."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.config.admin import Admin
from appliance.config.store import Store
from appliance.storage import condition
from appliance.storage.database import StorageDamaged, StorageFailed, sentences


def database(folder: Path) -> Path:
    with contextlib.closing(Store(folder)) as store:
        Admin(store).create("extension", {"number": "100"}, "anna")
    return folder / "config.db"


def replace_by_another(path: Path) -> None:
    other = database(path.parent / "other")
    other.rename(path)


SEEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "whole": (lambda path: None, ""),
    "deleted": (lambda path: path.unlink(), "is missing"),
    "empty": (lambda path: os.truncate(path, 0), "is empty"),
    "a part of its head": (lambda path: os.truncate(path, 40), "overwritten"),
    "its end gone": (lambda path: os.truncate(path, 4096), "cut off"),
    "zeros": (lambda path: path.write_bytes(bytes(path.stat().st_size)), "overwritten"),
    "something else": (lambda path: path.write_bytes(b"\xa5" * 20_000), "overwritten"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
}


@pytest.mark.parametrize("name", SEEN)
def test_a_look_from_outside_names_what_can_be_seen(name: str, tmp_path: Path) -> None:
    path = database(tmp_path)
    damage, said = SEEN[name]
    damage(path)
    found = condition.damage(path)
    assert said in found
    assert bool(found) == bool(said)


def test_what_is_found_twice_is_told_once_and_so_is_its_end(tmp_path: Path) -> None:
    path = database(tmp_path)
    watch = condition.Watch(path)
    told = [watch.look(), watch.look()]
    path.rename(tmp_path / "away")
    told += [watch.look(), watch.look(), watch.look()]
    (tmp_path / "away").rename(path)
    told += [watch.look(), watch.look()]
    assert told == [None, None, None, "config.db is missing. Restore a backup.", None, "", None]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: os.truncate(path, 0), "empty"),
        (replace_by_another, "replaced"),
    ],
)
def test_who_has_it_open_reads_and_saves_nothing_any_more(damage: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    path = database(tmp_path)
    with contextlib.closing(Store(tmp_path)) as store:
        admin = Admin(store)
        damage(path)
        for attempt in (store.load, store.revision, lambda: admin.create("extension", {"number": "101"}, "anna")):
            with pytest.raises(StorageDamaged, match=said):
                attempt()


@pytest.mark.parametrize(
    ("code", "damaged"),
    [
        (sqlite3.SQLITE_CORRUPT, True),
        (sqlite3.SQLITE_NOTADB, True),
        (sqlite3.SQLITE_CANTOPEN, True),
        (sqlite3.SQLITE_IOERR_READ, True),
        (sqlite3.SQLITE_IOERR_SHORT_READ, True),
        (sqlite3.SQLITE_IOERR_WRITE, False),  # what is there can still be read
        (sqlite3.SQLITE_BUSY, False),
        (sqlite3.SQLITE_FULL, False),
    ],
)
def test_a_disk_that_gives_nothing_back_is_damage_and_a_busy_or_full_one_is_not(code: int, damaged: bool) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    with pytest.raises(StorageFailed) as raised, sentences():
        raise error
    assert isinstance(raised.value, StorageDamaged) == damaged


def test_what_the_log_still_has_comes_back_when_it_is_opened(tmp_path: Path) -> None:
    with contextlib.closing(Store(tmp_path)) as store:
        Admin(store).create("extension", {"number": "100"}, "anna")
        size = (tmp_path / "config.db").stat().st_size
        (tmp_path / "config.db").write_bytes(bytes(size))  # everything is in the log still
        with contextlib.closing(Store(tmp_path)) as again:
            assert [each.number for each in again.load().extensions.values()] == ["100"]
        assert condition.damage(tmp_path / "config.db") == ""
