"""The card of scheduled backups: what is planned, what came of it, and who may change it."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.upkeep import scheduled
from appliance.upkeep.scheduled import State, Trial
from appliance.words import Said
from tests.web.made import Clock, Visitor
from tests.web.test_calls import text_of
from webui.desk import Desk
from webui.work import nightly

WORD = "four words in a row"


@pytest.fixture
def stick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not on the box's own disk."""
    return tmp_path_factory.mktemp("stick")


def plan(desk: Desk) -> tuple[str, str, int, str]:
    found = scheduled.plan_of(desk.admin.snapshot)
    return found.at, found.folder, found.keep, found.passphrase


def test_a_plan_is_saved_and_its_passphrase_is_never_shown(anna: Visitor, ben: Visitor, desk: Desk, stick: Path) -> None:
    folder = stick
    anna.get("/backup")
    form = {"at": "2:30", "folder": str(folder), "keep": "7", "plan-passphrase": WORD}
    assert anna.post("/backup/plan", form).status_code == 303
    assert plan(desk) == ("02:30", str(folder), 7, WORD)
    page = text_of(anna.get("/backup"))
    assert WORD not in page
    assert 'value="02:30"' in page
    anna.post("/backup/plan", {**form, "keep": "8", "plan-passphrase": ""})  # typed nothing: it stays
    assert plan(desk) == ("02:30", str(folder), 8, WORD)
    ben.get("/backup")
    assert ben.post("/backup/plan", form).status_code == 403
    assert ben.post("/backup/now").status_code == 403
    assert WORD not in str(desk.admin.journal(limit=10))


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"at": "02:00", "folder": "/no/such/stick", "plan-passphrase": WORD}, "does not exist now"),
        ({"at": "02:00", "folder": "", "plan-passphrase": WORD}, "Choose the folder"),
        ({"at": "26:00", "folder": "/tmp", "plan-passphrase": WORD}, "26:00"),
        ({"at": "02:00", "folder": "/tmp", "plan-passphrase": "short"}, "at least 10"),
        ({"at": "", "folder": "", "keep": "0"}, "at least 1"),
    ],
)
def test_what_is_wrong_is_said_and_what_was_typed_stays(anna: Visitor, desk: Desk, form: dict[str, str], told: str) -> None:
    anna.get("/backup")
    response = anna.post("/backup/plan", {"keep": "14", **form})
    page = text_of(response)
    assert (response.status_code, told in page, form["folder"] in page) == (422, True, True)
    assert plan(desk)[0] == ""


def test_what_came_of_it_stands_on_the_page(anna: Visitor, desk: Desk, clock: Clock) -> None:
    data = Path(desk.boot.data)
    assert "none yet" in text_of(anna.get("/backup"))
    trial = Trial(at=clock.now, extensions=2, calls=1)
    scheduled.write(data, State(began=1.0, ended=2.0, made=clock.now - 60, file="/media/stick/head-office.backup", size=123_456, trial=trial))
    page = text_of(anna.get("/backup"))
    assert "/media/stick/head-office.backup" in page
    assert "2 extensions, 1 call record." in page
    scheduled.write(data, State(began=1.0, ended=2.0, failed=Said.of("scheduled.full", folder="/media/<b>"), trial=Trial(at=1.0, failed=Said("scheduled.nobody"))))
    page = text_of(anna.get("/backup"))
    assert "There is no room left in /media/&lt;b&gt;" in page
    assert "It cannot be restored: nobody could log in" in page
    scheduled.write(data, State(began=clock.now, told=clock.now, what="writing", percent=40))
    assert 'value="40"' in text_of(anna.get("/backup"))
    assert anna.get("/backup/nightly").get_json() == {"finished": False, "said": "Writing the file …", "percent": 40}
    clock.now += 700
    assert "was interrupted" in text_of(anna.get("/backup"))
    assert anna.get("/backup/nightly").get_json()["finished"]


def test_it_is_begun_when_it_is_due_and_by_hand(anna: Visitor, desk: Desk, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Path] = []
    monkeypatch.setattr(desk.maker, "begin", lambda data: begun.append(data) or len(begun) < 3)
    anna.get("/backup")
    assert anna.post("/backup/now").status_code == 422
    assert not nightly.look(desk)
    desk.admin.update("backup-plan", "backup-plan", {"at": "02:00", "folder": str(tmp_path), "passphrase": WORD}, "anna")
    assert nightly.look(desk)
    assert anna.post("/backup/now").status_code == 303
    response = anna.post("/backup/now")
    assert (response.status_code, "being made already" in text_of(response)) == (409, True)
    assert begun == [Path(desk.boot.data)] * 3


def test_the_process_makes_one(desk: Desk, clock: Clock, stick: Path) -> None:
    folder = stick
    desk.admin.update("backup-plan", "backup-plan", {"at": "02:00", "folder": str(folder), "passphrase": WORD}, "anna")
    assert desk.maker.begin(Path(desk.boot.data))
    assert not desk.maker.begin(Path(desk.boot.data))
    assert desk.maker._child is not None
    assert desk.maker._child.wait(60) == 0
    state = nightly.state(desk)
    assert (state.failed, state.trial and state.trial.failed, [file.suffix for file in folder.iterdir()]) == (None, None, [".backup"])
