"""The backup page: made with progress, fetched, restored; before set-up with the setup code; refused with a sentence."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from appliance.box import update_client
from appliance.upkeep import backup
from appliance.words import Said
from tests.web.made import CODE, FakeBox, Visitor
from webui.app import create_app
from webui.desk import Desk
from webui.work import Busy, Desktop
from webui.work import backups as page

PASSPHRASE = "a walk along the river"


@pytest.fixture(autouse=True)
def no_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update_client, "SOCKET", tmp_path / "none.sock")
    monkeypatch.setattr(update_client, "FOUND_AT_START", tmp_path / "found")


def data_of(desk: Desk) -> Path:
    return Path(desk.boot.data)


def wait_for(desk: Desk) -> None:
    while (work := desk.desktop.work) is None or not work.finished:
        time.sleep(0.01)


def a_backup(desk: Desk, passphrase: str = PASSPHRASE) -> bytes:
    out = io.BytesIO()
    backup.make(data_of(desk), out, passphrase, desk.now())
    return out.getvalue()


def send(
    visitor: Visitor, address: str, sealed: bytes, passphrase: str = PASSPHRASE, token: str | None = None
) -> TestResponse:
    return visitor._client.post(
        address,
        data=json.dumps({"passphrase": passphrase}).encode() + b"\n" + sealed,
        base_url="https://localhost",
        content_type="application/octet-stream",
        headers={"Referer": "https://localhost/", "X-CSRFToken": visitor.token if token is None else token},
        buffered=True,
    )


def test_made_fetched_and_forgotten(anna: Visitor, desk: Desk, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.admin.create("extension", {"number": "100"}, "anna")
    anna.get("/backup")
    answer = anna.post("/backup", {"passphrase": PASSPHRASE, "again": PASSPHRASE})
    assert answer.status_code == 303
    wait_for(desk)
    clock.now = time.time()
    text = anna.get("/backup").get_data(as_text=True)
    assert "1 extension and 0 call records" in text
    assert 'data-fetch="/backup/file"' in text
    assert 'data-fetch="/backup/file"' not in anna.get("/backup").get_data(as_text=True)  # once
    fetched = anna.get("/backup/file")
    assert fetched.headers["Content-Disposition"].startswith("attachment; filename=switchroom-20")
    assert fetched.get_data().startswith(b"Switchroom backup 1\n")
    assert "made a backup with a passphrase" in anna.get("/changes").get_data(as_text=True)
    clock.now += page.KEPT_FOR + 1
    assert page_of(anna, desk, "/backup/file").status_code in (303, 404)
    assert not list((data_of(desk) / "backup").glob("*.backup"))


def page_of(anna: Visitor, desk: Desk, path: str) -> TestResponse:
    anna.log_in("anna")  # the session has ended meanwhile
    return anna.get(path)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"passphrase": "short", "again": "short"}, "At least 10 characters"),
        ({"passphrase": PASSPHRASE, "again": "other"}, "not the same"),
        ({}, "At least 10 characters"),
    ],
)
def test_a_weak_passphrase_is_refused(anna: Visitor, desk: Desk, form: dict[str, str], said: str) -> None:
    anna.get("/backup")
    answer = anna.post("/backup", form)
    assert answer.status_code == 422
    assert said in answer.get_data(as_text=True)
    assert desk.desktop.work is None


def test_without_a_passphrase_only_when_it_is_said(anna: Visitor, desk: Desk) -> None:
    anna.get("/backup")
    assert anna.post("/backup", {"unprotected": "yes"}).status_code == 303
    wait_for(desk)
    (file,) = (data_of(desk) / "backup").glob("*.backup")
    assert b'"protected":false' in file.read_bytes()[:400]
    assert file.stat().st_mode & 0o777 == 0o600
    assert "made a backup without a passphrase" in anna.get("/changes").get_data(as_text=True)


@pytest.mark.parametrize("path", ["/backup", "/backup/restore", "/backup/renew", "/backup/kept/before-restore.1/use"])
def test_who_may_only_look_changes_nothing(ben: Visitor, desk: Desk, box: FakeBox, path: str) -> None:
    assert "Make a backup" in ben.get("/backup").get_data(as_text=True)
    assert ben.get("/backup/file").status_code == 403
    assert ben.post(path, {"unprotected": "yes"}).status_code == 403
    assert send(ben, "/backup/restore", a_backup(desk)).status_code == 403
    assert not backup.waits(data_of(desk))
    assert box.started_again == 0


def test_restored_and_started_again(anna: Visitor, desk: Desk, box: FakeBox) -> None:
    sealed = a_backup(desk)
    desk.admin.create("extension", {"number": "100"}, "anna")
    answer = send(anna, "/backup/restore", sealed)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert backup.waits(data_of(desk))
    assert box.started_again == 1
    text = anna.get(answer.get_data(as_text=True)).get_data(as_text=True)
    assert "The backup is in place" in text
    assert "log in as anna" in text


@pytest.mark.parametrize(
    ("spoil", "passphrase", "said"),
    [
        (lambda sealed: sealed[:-50], PASSPHRASE, "damaged|passphrase"),
        (lambda sealed: sealed, "something else", "not the one"),
        (lambda sealed: sealed, "", "protected by a passphrase"),
        (lambda sealed: b"<html>", PASSPHRASE, "not a backup"),
    ],
)
def test_refused_with_a_sentence(
    anna: Visitor, desk: Desk, box: FakeBox, spoil: Callable[[bytes], bytes], passphrase: str, said: str
) -> None:
    import re

    answer = send(anna, "/backup/restore", spoil(a_backup(desk)), passphrase)
    assert answer.status_code == 422
    assert re.search(said, answer.get_data(as_text=True))
    assert "Nothing was changed" in answer.get_data(as_text=True) or passphrase == ""
    assert not backup.waits(data_of(desk))
    assert box.started_again == 0


def test_a_request_without_the_pages_token_is_refused(anna: Visitor, desk: Desk) -> None:
    assert send(anna, "/backup/restore", a_backup(desk), token="").status_code == 400
    assert not backup.waits(data_of(desk))


def test_a_version_on_trial_restores_nothing(anna: Visitor, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update_client, "available", lambda: True)
    monkeypatch.setattr(update_client, "ask", lambda do, **words: {"trial": True})
    answer = send(anna, "/backup/restore", a_backup(desk))
    assert (answer.status_code, "on trial" in answer.get_data(as_text=True)) == (422, True)


def test_a_damaged_partition_is_said_everywhere_and_made_anew_by_a_restore(
    anna: Visitor, desk: Desk, box: FakeBox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "found").mkdir()
    (tmp_path / "found/state").write_text("broken\n")
    asked: list[str] = []
    monkeypatch.setattr(update_client, "ask", lambda do, **words: asked.append(f"{do} {words}"))
    for path in ("/", "/extensions", "/backup"):
        assert "cannot be read" in anna.get(path).get_data(as_text=True)
    assert send(anna, "/backup/restore", a_backup(desk)).status_code == 200
    assert asked == ["renew-state {'sure': 'erase'}", "restart {'when': 'now'}"]
    assert box.started_again == 0
    asked.clear()
    anna.get("/backup")
    assert anna.post("/backup/renew").status_code == 303
    assert asked == ["renew-state {'sure': 'erase'}", "restart {'when': 'now'}"]


# ---- before there is an administrator --------------------------------------------------------------------------------


@pytest.fixture
def stranger(new_desk: Desk) -> Visitor:
    app: Flask = create_app(new_desk)
    return Visitor(app.test_client())


def test_a_new_box_takes_a_backup_with_the_setup_code(stranger: Visitor, new_desk: Desk, box: FakeBox) -> None:
    sealed = a_backup(new_desk)
    stranger.get("/setup")
    assert stranger.get("/setup/restore").status_code == 303
    assert send(stranger, "/setup/restore", sealed).status_code == 403
    assert not backup.waits(data_of(new_desk))
    stranger.get("/setup")
    stranger.post("/setup/code", {"code": CODE})
    assert "Restore from a backup instead" in stranger.get("/setup").get_data(as_text=True)
    assert "Its passphrase" in stranger.get("/setup/restore").get_data(as_text=True)
    assert send(stranger, "/setup/restore", sealed).status_code == 200
    assert box.started_again == 1


def test_a_box_that_is_set_up_takes_none_from_a_stranger(visitor: Visitor, desk: Desk) -> None:
    visitor.get("/login")
    assert send(visitor, "/setup/restore", a_backup(desk)).status_code == 303
    assert send(visitor, "/backup/restore", a_backup(desk)).status_code == 303
    assert not backup.waits(data_of(desk))


# ---- work that takes long --------------------------------------------------------------------------------------------


def test_one_thing_is_done_at_a_time_and_a_fault_ends_it() -> None:
    import threading

    go, desktop = threading.Event(), Desktop()

    def first(tell: Any) -> Said:
        tell("half", 1, 2)
        go.wait(10)
        raise ZeroDivisionError

    work = desktop.begin("one", first, (OSError,))
    with pytest.raises(Busy):
        desktop.begin("two", first, (OSError,))
    go.set()
    while not work.finished:
        time.sleep(0.01)
    assert (work.percent, work.problem) == (50, Said("work.fault"))
    assert desktop.of("two") is None
