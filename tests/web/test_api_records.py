"""Records by the API: what is made, changed and deleted there is what the pages show, and the same is refused with the same words."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.config.kinds import KINDS
from tests.web.made import Visitor
from tests.web.programs import Program, of_page, refused
from webui.api.records import _list_query
from webui.desk import Desk

RESERVED = {"q", "sort", "limit", "cursor", "revision", "id"}


@pytest.fixture
def program(anna: Visitor) -> Program:
    return of_page(anna)


def added(program: Program, number: str, **values: Any) -> dict[str, Any]:
    made: dict[str, Any] = program.post("/extensions", {"number": number, **values}, 201)
    return made


def test_an_extension_is_made_found_changed_and_deleted(program: Program, desk: Desk) -> None:
    made = added(program, "120", name="Reception")
    assert (made["number"], made["name"], made["ring_seconds"]) == ("120", "Reception", 60)
    assert desk.admin.snapshot.extensions[made["id"]].name == "Reception"
    assert program.get(f"/extensions/{made['id']}")["number"] == "120"
    changed = program.ask("PATCH", f"/extensions/{made['id']}", {"encrypt": "required", "ring_seconds": 30})
    assert changed.status_code == 200
    assert changed.get_json()["encrypt"] == "required"
    assert changed.headers["ETag"] == f'"{changed.get_json()["revision"]}"'
    preview = program.ask("DELETE", f"/extensions/{made['id']}?preview=true").get_json()
    assert preview["preview"]
    assert preview["consequences"]
    assert made["id"] in desk.admin.snapshot.extensions
    assert program.ask("DELETE", f"/extensions/{made['id']}").status_code == 200
    assert made["id"] not in desk.admin.snapshot.extensions
    refused(program.ask("GET", f"/extensions/{made['id']}"), 404)


def test_what_is_wrong_is_told_at_its_field_and_nothing_is_saved(program: Program, desk: Desk) -> None:
    added(program, "120")
    revision = desk.admin.snapshot.revision
    wrong = refused(program.ask("POST", "/extensions", {"number": "120", "ring_seconds": 1}), 422)
    assert {one["field"] for one in wrong["fields"]} == {"ring_seconds"}
    wrong = refused(program.ask("POST", "/extensions", {"number": "120"}), 422)
    assert [(one["field"], one["key"]) for one in wrong["fields"]] == [("number", "claims.in-use")]
    wrong = refused(program.ask("POST", "/extensions", {"number": 5, "nothing": 1, "ring_seconds": "60"}), 422)
    assert {one["field"] for one in wrong["fields"]} == {"number", "nothing", "ring_seconds"}
    assert desk.admin.snapshot.revision == revision


def test_two_who_change_the_same_are_told_both_sides(program: Program, desk: Desk) -> None:
    made = added(program, "120", name="Old")
    at, seen = f"/extensions/{made['id']}", made["revision"]
    assert program.ask("PATCH", at, {"name": "Theirs"}).status_code == 200
    # what only they have changed stays
    assert program.ask("PATCH", at, {"ring_seconds": 20, "revision": seen}).get_json()["name"] == "Theirs"
    conflict = refused(program.ask("PATCH", at, {"name": "Mine", "revision": seen}), 409)
    assert [(one["field"], one["now"], one["yours"]) for one in conflict["fields"]] == [("name", "Theirs", "Mine")]
    refused(program.ask("PATCH", at, {"name": "Mine"}, If_Match=f'"{seen}"'), 412)
    now = program.ask("GET", at).headers["ETag"]
    assert program.ask("PATCH", at, {"name": "Mine"}, If_Match=now).get_json()["name"] == "Mine"


def test_a_list_is_searched_sorted_filtered_and_turned(program: Program) -> None:
    for number, name, encrypt in (("120", "Éva", "off"), ("9", "Boris", "off"), ("121", "Anna", "required")):
        added(program, number, name=name, encrypt=encrypt)
    numbers = [one["number"] for one in program.get("/extensions?sort=number")["items"]]
    assert numbers == ["9", "120", "121"]
    assert [one["number"] for one in program.get("/extensions?sort=-name")["items"]] == ["120", "9", "121"]
    assert [one["number"] for one in program.get("/extensions?q=eva")["items"]] == ["120"]
    assert [one["number"] for one in program.get("/extensions?encrypt=required")["items"]] == ["121"]
    first = program.get("/extensions?sort=number&limit=2")
    assert first["total"] == 3
    assert [one["number"] for one in first["items"]] == ["9", "120"]
    last = program.get(f"/extensions?sort=number&limit=2&cursor={first['next']}")
    assert [one["number"] for one in last["items"]] == ["121"]
    assert last["next"] is None
    for query in ("limit=0", "limit=501", "limit=x", "sort=nothing", "nothing=1", "cursor=%C3%A9", "limit=1&limit=2"):
        refused(program.ask("GET", f"/extensions?{query}"), 400)


def test_several_are_changed_at_once_after_a_look(program: Program, desk: Desk) -> None:
    ids = [added(program, number)["id"] for number in ("120", "121")]
    wanted = {"ids": ids, "values": {"encrypt": "required"}, "preview": True}
    preview = program.post("/extensions/bulk", wanted)
    assert [one["what"] for one in preview["items"]] == ["changed", "changed"]
    assert preview["items"][0]["differences"][0]["field"] == "encrypt"
    assert {desk.admin.snapshot.extensions[key].encrypt for key in ids} == {"preferred"}
    program.post("/extensions/bulk", {**wanted, "preview": False})
    assert {desk.admin.snapshot.extensions[key].encrypt for key in ids} == {"required"}
    refused(program.ask("POST", "/extensions/bulk", {"ids": ids, "values": {"number": "130"}}), 422)
    revision = program.get("/changes")["items"][0]["revision"]
    undone = program.post(f"/changes/{revision}/undo")
    assert [one["what"] for one in undone["items"]] == ["changed", "changed"]
    assert not undone["kept"]
    assert {desk.admin.snapshot.extensions[key].encrypt for key in ids} == {"preferred"}


def test_a_batch_makes_a_user_with_an_extension(program: Program, desk: Desk) -> None:
    items = [
        {"kind": "user", "id": "u1", "new": True, "values": {"username": "dora", "full_name": "Dora"}},
        {"kind": "extension", "new": True, "values": {"number": "130", "user": "u1"}},
    ]
    program.post("/batch", {"items": items})
    assert desk.admin.snapshot.extension_by_number["130"].user == "u1"
    wrong = refused(program.ask("POST", "/batch", {"items": [items[1], {"kind": "none", "values": {}}]}), 422)
    assert wrong["fields"][0]["field"] == "1.kind"


def test_the_history_of_a_record_tells_differences_in_words(program: Program) -> None:
    made = added(program, "120", name="One")
    program.ask("PATCH", f"/extensions/{made['id']}", {"name": "Two"})
    items = program.get(f"/extensions/{made['id']}/history")["items"]
    assert [one["what"] for one in items] == ["changed", "added"]
    assert [(one["field"], one["new"]) for one in items[0]["differences"]] == [("name", "“Two”")]
    assert program.get("/search?q=two")["items"] == [{"kind": "extension", "id": made["id"], "name": "120"}]


def test_a_password_is_revealed_written_down_and_in_no_other_answer(program: Program, desk: Desk) -> None:
    made = added(program, "120")
    (line,) = program.get(f"/lines?extension={made['id']}")["items"]
    password = desk.admin.snapshot.lines[line["id"]].sip_password
    assert "sip_password" not in line
    assert program.post(f"/lines/{line['id']}/reveal")["sip_password"] == password
    assert program.get(f"/lines/{line['id']}/history")["items"][0]["what"] == "event"
    new = program.post(f"/lines/{line['id']}/renew")["sip_password"]
    assert new != password
    assert desk.admin.snapshot.lines[line["id"]].sip_password == new
    for path in (
        "/lines",
        f"/lines/{line['id']}",
        f"/lines/{line['id']}/history",
        "/changes",
        "/users",
        "/search?q=120",
    ):
        text = program.ask("GET", path).get_data(as_text=True)
        for secret in (new, password, "argon2"):
            assert secret not in text, path


def test_a_user_gets_a_password_that_is_never_told(program: Program, desk: Desk) -> None:
    wrong = refused(program.ask("POST", "/users", {"username": "dora", "role": "full"}), 422)
    assert wrong["fields"][0]["field"] == "password"
    sent = {"username": "dora", "role": "full", "password": "correct horse battery"}
    assert "correct horse" not in str(program.post("/users", sent, 201))
    assert desk.admin.authenticate("dora", "correct horse battery") is not None


def test_a_new_number_asks_what_becomes_of_sip_usernames(program: Program, desk: Desk) -> None:
    made = added(program, "120")
    at = f"/extensions/{made['id']}"
    assert refused(program.ask("PATCH", at, {"number": "125"}), 422)["fields"][0]["field"] == "usernames"
    assert program.ask("PATCH", at, {"number": "125", "usernames": "change"}).status_code == 200
    assert [line.sip_username for line in desk.admin.snapshot.lines_of[made["id"]]] == ["125"]


def test_no_kind_has_a_field_that_the_address_needs_for_something_else() -> None:
    for kind in KINDS.values():
        assert not RESERVED & set(kind.record.declared.fields), kind.name
        _list_query(kind)
