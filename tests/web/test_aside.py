"""The updates page after a return to an older version: what was kept is listed, added, fetched, deleted; and the support bundle."""

from __future__ import annotations

import io
import re
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from appliance.box import update_client
from appliance.upkeep.aside import listing
from tests.test_aside import in_between
from tests.web.made import Visitor
from webui.desk import Desk


@pytest.fixture(autouse=True)
def no_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update_client, "SOCKET", tmp_path / "none.sock")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Before the desk opens it."""
    in_between(tmp_path)
    return tmp_path


@pytest.fixture
def kept(data: Path, desk: Desk) -> Desk:
    return desk


def wait_for(desk: Desk) -> None:
    while (work := desk.desktop.work) is None or not work.finished:
        time.sleep(0.01)


def test_listed_and_added(kept: Desk, anna: Visitor) -> None:
    text = anna.get("/updates").get_data(as_text=True)
    assert "Kept from a newer version" in text
    assert "3 call records, 2 of them are not in the history" in " ".join(text.split())
    assert anna.post("/updates/kept/calls.db.1/add").status_code == 303
    wait_for(kept)
    text = " ".join(anna.get("/updates").get_data(as_text=True).split())
    assert "2 call records were added to the history." in text
    assert "3 call records, all of them in the history" in text
    assert {row.id for row in kept.history.page().rows} == {"before", "between 1", "between 2", "after"}
    assert "added the call records of calls.db.1" in anna.get("/changes").get_data(as_text=True)


def test_fetched_as_a_table_that_no_spreadsheet_runs(kept: Desk, anna: Visitor, data: Path) -> None:
    from sqlite_utils import Database

    database = Database(data / "aside/calls.db.1")
    database.execute("update call set caller_name = '=cmd()' where id = 'between 1'")
    database.conn.commit()
    database.execute("pragma wal_checkpoint(truncate)")
    database.close()
    answer = anna.get("/updates/kept/calls.db.1?as=table")
    text = answer.get_data(as_text=True)
    assert answer.headers["Content-Disposition"] == "attachment; filename=calls-db-1.csv"
    assert text.splitlines()[0].startswith("id,started,answered")
    assert ",'=cmd()," in text
    assert len(text.splitlines()) == 4
    assert anna.get("/updates/kept/calls.db.1").get_data().startswith(b"SQLite format 3")


def test_deleted(kept: Desk, anna: Visitor, data: Path) -> None:
    anna.get("/updates")
    assert anna.post("/updates/kept/calls.db.1/delete").status_code == 303
    assert listing(data) == []
    assert "Kept from a newer version" not in anna.get("/updates").get_data(as_text=True)


def test_who_may_only_look(kept: Desk, ben: Visitor, data: Path) -> None:
    assert "3 call records" in ben.get("/updates").get_data(as_text=True)
    assert ben.get("/updates/kept/calls.db.1").status_code == 403
    for verb in ("add", "delete"):
        assert ben.post(f"/updates/kept/calls.db.1/{verb}").status_code == 403
    assert ben.post("/updates/support").status_code == 403
    assert len(listing(data)) == 1


@pytest.mark.parametrize("name", ["config.db", "calls.db.2", "..%2Fconfig.db"])
def test_nothing_else_is_fetched(kept: Desk, anna: Visitor, name: str) -> None:
    assert anna.get(f"/updates/kept/{name}").status_code == 404


def test_changes_of_a_configuration_that_was_left_are_told(desk: Desk, anna: Visitor, data: Path) -> None:
    import shutil

    desk.admin.create("extension", {"number": "100", "name": "Front desk"}, "anna")
    desk.admin._store._db.execute("pragma wal_checkpoint(truncate)")
    shutil.copy(data / "config.db", data / "aside/config.db.1")
    desk.admin._store._db.execute("delete from journal where kind in ('extension', 'line')")
    desk.admin._store._db.commit()
    text = " ".join(re.sub(r"</?span[^>]*>", "", anna.get("/updates").get_data(as_text=True)).split())
    assert "2 changes are not in use now" in text
    assert "anna added extension 100 Front desk" in text


def test_the_support_bundle_comes_from_the_page(desk: Desk, anna: Visitor) -> None:
    folder = Path(desk.boot.data) / "log"
    folder.mkdir()
    desk.admin.create("extension", {"number": "100"}, "anna")
    (line,) = desk.admin.snapshot.lines.values()
    (folder / "switchroom.log").write_text(f"a line with {line.sip_password} in it")
    anna.get("/updates")
    answer = anna.post("/updates/support")
    with tarfile.open(fileobj=io.BytesIO(answer.get_data())) as tar:
        found: Any = tar.extractfile("switchroom-support/log/switchroom.log.txt")
        assert found.read() == b"a line with (left out) in it"
    assert "downloaded the support bundle" in anna.get("/changes").get_data(as_text=True)
