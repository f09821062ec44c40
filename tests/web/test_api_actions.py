"""What is no record, by the API: live calls, numbers, call records, licence, backups, versions, events."""

from __future__ import annotations

import csv
import io
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance import cti
from appliance.config.licensing import issue
from appliance.host import entitlement
from appliance.words import Said
from tests.web.made import Clock, FakeBox, Visitor, leg, phone
from tests.web.programs import Program, of_page, refused
from webui.desk import Desk


@pytest.fixture
def program(anna: Visitor) -> Program:
    return of_page(anna)


def test_live_calls_are_listed_and_ended(program: Program, box: FakeBox, desk: Desk) -> None:
    caller, callee = leg("120", "Anna", secure=True), leg("121", "Ben", secure=False)
    box.calls = [cti.CallView("c1", 1.0, 2.0, caller, [callee], "121")]
    (call,) = program.get("/live-calls")["items"]
    assert (call["id"], call["caller"]["number"], call["callees"][0]["media_secure"]) == ("c1", "120", False)
    program.post("/live-calls/c1/end", status=204)
    assert box.hung_up == [("c1", "anna")]
    refused(program.ask("POST", "/live-calls/none/end"), 404)


def test_phones_and_who_was_turned_away(program: Program, box: FakeBox) -> None:
    box.phones = [phone("120", "Anna", line="l1", secure=True, agent="Snom", since=5.0)]
    said = Said.of("refused.unknown"), Said.of("refused.unknown-repair")
    box.refused = [cti.RefusalView(1.0, "unknown", "192.0.2.9:5060", "", "x", *said, 3)]
    assert program.get("/registrations")["items"][0]["user_agent"] == "Snom"
    (found,) = program.get("/refusals")["items"]
    assert found["message"]["key"] == "refused.unknown"
    assert found["message"]["sentence"]
    box.away = True
    response = program.ask("GET", "/live-calls")
    assert refused(response, 503)["key"] == "api.away"
    assert response.headers["Retry-After"]


def test_a_number_says_where_it_leads(program: Program) -> None:
    program.post("/extensions", {"number": "120", "name": "Anna"}, 201)
    plan = program.get("/plan?number=*60&from=120")
    assert [one["key"] for one in plan["steps"]][:2] == ["plan.head", "plan.owner"]
    assert refused(program.ask("GET", "/plan?number=*60&from=999"), 422)["fields"][0]["field"] == "from"
    refused(program.ask("GET", "/plan?number=*60"), 400)
    numbers = program.get("/numbers")
    assert numbers["next_extension"] == "100"
    assert {"120", "*60", "112"} <= {one["number"] for one in numbers["items"]}


def record(number: int, **other: Any) -> dict[str, Any]:
    return {
        "id": f"call{number}", "started": 1_700_000_000.0 + 60 * number, "answered": None, "ended": 1_700_000_010.0 + 60 * number,
        "caller_number": "120", "caller_name": "=1+1", "dialled": "121", "callee_number": "121", "callee_name": "Ben",
        "outcome": "missed", "cause": 19, "hung_up_by": "caller", "said": Said.of("call.told", words="No answer."), "selftest": False,
        "legs": [], "people": [], "parts": [], **other,
    }  # fmt: skip


def test_call_records_are_found_turned_and_exported(program: Program, desk: Desk) -> None:
    desk.history.write(*[record(number) for number in range(7)])
    first = program.get("/call-records?limit=5")
    rest = program.get(f"/call-records?limit=5&cursor={first['next']}")
    assert [one["id"] for one in first["items"] + rest["items"]] == [f"call{number}" for number in reversed(range(7))]
    assert rest["next"] is None
    assert first["items"][0]["sentence"] == "No answer."
    assert program.get("/call-records/call3")["id"] == "call3"
    refused(program.ask("GET", "/call-records/none"), 404)
    assert program.get("/call-records?result=answered")["items"] == []
    refused(program.ask("GET", "/call-records?from=2026-13-01"), 422)
    response = program.ask("GET", "/call-records.csv?q=ben")
    rows = list(csv.DictReader(io.StringIO(response.get_data().decode("utf-8-sig"))))
    assert response.mimetype == "text/csv"
    assert len(rows) == 7
    assert rows[0]["from name"] == "'=1+1"
    assert [one["id"] for one in program.get("/call-records.json")][-1] == "call0"
    for _ in range(4):  # an export that has ended makes room for the next one
        assert program.ask("GET", "/call-records.json?q=nobody").get_json() == []


def test_a_licence_is_installed_and_told(program: Program, desk: Desk) -> None:
    facts = program.get("/licence")
    assert (facts["users"], facts["users_allowed"], facts["edition"]) == (3, 5, "free")
    data, private = Path(desk.boot.data), Ed25519PrivateKey.generate()
    wrong = refused(program.ask("POST", "/licence", {"file": "{}"}), 422)
    assert wrong["fields"][0]["field"] == "file"
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (data / entitlement.PUBLIC_HALF).write_bytes(pem)
    box, today = entitlement.box_id(data), datetime.now(UTC).date()
    file = issue(private, box=box, users=20, edition="office", issued=today, expires=None, maintenance_until=None)
    program.post("/licence", {"file": file})
    assert entitlement.licence_file(data).read_text() == file


def test_a_backup_is_made_fetched_and_restored(program: Program, box: FakeBox, clock: Clock) -> None:
    assert refused(program.ask("POST", "/backups", {"passphrase": "short"}), 422)["fields"][0]["field"] == "passphrase"
    refused(program.ask("GET", "/backups/file"), 404)
    clock.now = time.time()  # how old a file is, this machine's clock says
    program.post("/backups", {"passphrase": "two words in a row"}, 202)
    until = time.monotonic() + 30
    while not (state := program.get("/backups"))["work"]["finished"] and time.monotonic() < until:
        time.sleep(0.01)
    assert state["file"]["size"] > 0
    sealed = program.ask("GET", "/backups/file").get_data()
    refused(program.ask("POST", "/backups/restore", sealed, Content_Type="application/octet-stream"), 422)
    headers = {"Content-Type": "application/octet-stream", "Backup-Passphrase": "two words in a row"}
    done = program.ask("POST", "/backups/restore", sealed, **headers)
    assert done.status_code == 200, done.get_data()
    assert done.get_json()["administrators"] == ["anna"]
    assert box.started_again == 1


def test_versions_and_what_is_only_of_the_box(program: Program) -> None:
    assert program.get("/updates")["box"] is None
    refused(program.ask("POST", "/updates/restart", {"when": "now"}), 404)
    assert program.ask("POST", "/support").get_data()[:2] == b"\x1f\x8b"
    assert program.get("/encryption")["server_fingerprint"]
    assert b"BEGIN CERTIFICATE" in program.ask("GET", "/encryption/authority").get_data()
    assert program.get("/licences")["items"]


def test_the_configuration_goes_out_as_text_and_comes_back(program: Program, desk: Desk) -> None:
    made = program.post("/extensions", {"number": "120", "name": "Anna"}, 201)
    response = program.ask("GET", "/configuration")
    text = response.get_data(as_text=True)
    assert response.mimetype == "application/toml"
    assert desk.admin.snapshot.lines_of[made["id"]][0].sip_password not in text
    toml = {"Content-Type": "application/toml"}
    changed = text.replace('"Anna"', '"Reception"').encode()
    preview = program.ask("POST", "/configuration?preview=true", changed, **toml).get_json()
    assert [(one["kind"], one["action"]) for one in preview["items"]] == [("extension", "change")]
    assert desk.admin.snapshot.extensions[made["id"]].name == "Anna"
    assert program.ask("POST", "/configuration", changed, **toml).status_code == 200
    assert desk.admin.snapshot.extensions[made["id"]].name == "Reception"
    for nonsense in (b"\xff", b"extension = 3", b"[nothing.x]\n"):
        refused(program.ask("POST", "/configuration", nonsense, **toml), 422)


def test_who_looks_after_users_gives_passwords_and_ends_sessions(program: Program, desk: Desk, ben: Visitor) -> None:
    user = next(user for user in desk.admin.snapshot.users.values() if user.username == "ben")
    assert of_page(ben).get("/me")["name"] == "ben"
    assert program.get(f"/users/{user.id}/sessions")["items"][0]["portal"] is False
    assert program.ask("DELETE", f"/users/{user.id}/sessions").status_code == 204
    refused(of_page(ben).ask("GET", "/me"), 401)
    password = program.post(f"/users/{user.id}/password")["password"]
    assert desk.admin.authenticate("ben", password) is not None
    assert password not in program.ask("GET", "/changes").get_data(as_text=True)
    assert program.ask("DELETE", f"/users/{user.id}/second-factor").status_code == 204
    refused(program.ask("POST", "/users/none/password"), 404)


def test_records_go_out_as_a_table_and_come_in_again(program: Program, desk: Desk) -> None:
    program.post("/extensions", {"number": "120", "name": "Anna"}, 201)
    sheet = program.ask("GET", "/extensions.csv").get_data()
    assert b"120" in sheet
    kind = {"Content-Type": "text/csv"}
    sent = sheet.replace(b"Anna", b"Reception") + sheet.splitlines()[1].replace(b"120", b"121") + b"\r\n"
    preview = program.ask("POST", "/extensions/import?preview=true", sent, **kind).get_json()
    assert [one["action"] for one in preview["items"]] == ["change", "add"]
    assert set(desk.admin.snapshot.extension_by_number) == {"120"}
    assert program.ask("POST", "/extensions/import", sent, **kind).status_code == 200
    assert {one.name for one in desk.admin.snapshot.extensions.values()} == {"Reception", "Anna"}
    refused(program.ask("POST", "/extensions/import", b"\0\0", **kind), 422)


def test_a_second_line_comes_with_its_login(program: Program, desk: Desk) -> None:
    made = program.post("/extensions", {"number": "120"}, 201)
    login = program.post(f"/extensions/{made['id']}/lines", {"label": "mobile"}, 201)
    assert login["sip_username"] == "120-2"
    assert login["sip_password"] == desk.admin.snapshot.lines[login["line"]].sip_password
    revealed = program.post(f"/lines/{login['line']}/reveal/sip_password")
    assert revealed["value"] == login["sip_password"]
    refused(program.ask("POST", f"/lines/{login['line']}/reveal/label"), 404)


def test_the_log_and_what_this_day_has_brought(program: Program, desk: Desk) -> None:
    folder = Path(desk.boot.data) / "log"
    folder.mkdir()
    (folder / "switchroom.log").write_text("2027-01-15T08:00:00.123 calls      W appliance.calls: a phone said nothing\n")
    (line,) = program.get("/logs?level=warning")["items"]
    assert line["text"].endswith("a phone said nothing")
    assert program.get("/logs?level=error")["items"] == []
    assert b"a phone said nothing" in program.ask("GET", "/logs.txt").get_data()
    assert program.get("/today")["day"] == {"answered": 0, "missed": 0, "failed": 0}
    assert {one["state"] for one in program.get("/ready")["items"]} >= {"done", "open"}
