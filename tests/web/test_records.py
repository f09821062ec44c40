"""Pages that come from the rows of the kinds: lists, several at once, history, undo, tables, search. Without a browser."""

from __future__ import annotations

import io
import re
from urllib.parse import quote

import pytest
from flask import Flask

from appliance.config import licensing
from appliance.config.admin import Wanted
from appliance.config.model import KINDS, Extension
from tests.web.made import PASSWORD, Visitor
from webui.desk import Desk
from webui.records.list import PAGE


def text_of(response: object) -> str:
    return response.get_data(as_text=True)  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def office(desk: Desk) -> Desk:
    """120 extensions from 200 on, every third must be encrypted, every second is Ben's."""
    desk.admin._limits = lambda: licensing.Limits(users=100)
    ben = next(user.id for user in desk.admin.snapshot.users.values() if user.username == "ben")
    encrypt = ("required", "preferred", "off")
    made = [
        Wanted("extension", f"x{n}", {"number": str(200 + n), "name": f"Place {n:03}", "encrypt": encrypt[n % 3], "user": ben if n % 2 else ""}, new=True)
        for n in range(120)
    ]
    desk.admin.save_all(made, "anna")
    return desk


def numbers(page: str) -> list[str]:
    return re.findall(r'<a class="fw-semibold stretched" href="/extensions/\w+">(\d+)</a>', page)


def test_a_list_is_turned_sorted_filtered_and_searched(anna: Visitor, office: Desk) -> None:
    first, last = numbers(text_of(anna.get("/extensions"))), numbers(text_of(anna.get("/extensions?page=3")))
    assert (len(first), first[0], last) == (PAGE, "200", [str(300 + n) for n in range(20)])
    assert numbers(text_of(anna.get("/extensions?page=999"))) == last, "behind the last page is the last one"
    assert numbers(text_of(anna.get("/extensions?sort=-number")))[0] == "319"
    assert numbers(text_of(anna.get("/extensions?is.encrypt=off&is.user=-")))[:2] == ["202", "208"]
    assert numbers(text_of(anna.get("/extensions?q=place 077"))) == ["277"]
    assert "1 to 50 of 120" in text_of(anna.get("/extensions"))


def test_a_list_says_what_nobody_may_ask_of_it(anna: Visitor, office: Desk) -> None:
    for query in ("sort=nothing", "sort=-id", "is.nothing=x", "page=-3", "page=x", "page=99999999999", "q=%00", f"q={'x' * 3000}"):
        assert anna.get(f"/extensions?{query}").status_code == 200, query


def test_columns_are_chosen_and_remembered(anna: Visitor, office: Desk) -> None:
    assert 'aria-sort="ascending"' in text_of(anna.get("/extensions"))
    head = re.search(r"<thead>.*?</thead>", text_of(anna.get("/extensions")), re.DOTALL)
    assert head is not None
    assert "Ring for" not in head[0]
    assert anna.post("/extensions/columns", {"column": "ring_seconds"}).status_code == 303
    head = re.search(r"<thead>.*?</thead>", text_of(anna.get("/extensions")), re.DOTALL)
    assert head is not None
    assert "Ring for" in head[0]
    assert "Encryption" not in head[0]


def test_several_are_changed_together_after_a_preview_and_taken_back(anna: Visitor, office: Desk) -> None:
    page = text_of(anna.post("/extensions/bulk?is.encrypt=off", {"all": "yes", "do": "edit"}))
    assert "Change 40 together" in page
    keys = re.search(r'name="keys" value="([^"]+)"', page)
    assert keys is not None
    form = {"keys": keys[1], "set": "encrypt", "encrypt": "required"}
    revision = office.admin.snapshot.revision
    preview = text_of(anna.post("/extensions/bulk/preview", form))
    assert preview.count("Off → Required") == 40
    assert "Change all 40" in preview
    assert office.admin.snapshot.revision == revision
    assert anna.post("/extensions/bulk/save", form).status_code == 303
    assert office.admin.snapshot.revision == revision + 1
    assert not any(one.encrypt == "off" for one in office.admin.snapshot.extensions.values())
    office.admin.update("extension", "x2", {"encrypt": "preferred"}, "carl")
    asked = text_of(anna.get(f"/changes/{revision + 1}/undo"))
    assert asked.count("Required → Off") == 39
    assert "carl has changed it since, so it stays as it is" in asked
    assert anna.post(f"/changes/{revision + 1}/undo").status_code == 303
    after = office.admin.snapshot.extensions
    assert after["x5"].encrypt == "off"
    assert after["x2"].encrypt == "preferred"


def test_what_cannot_be_saved_is_told_before_and_left_out(anna: Visitor, office: Desk) -> None:
    keys = ",".join(["x1", "x2"])
    assert "Tick what is to be changed." in text_of(anna.post("/extensions/bulk/preview", {"keys": keys}))
    wrong = text_of(anna.post("/extensions/bulk/preview", {"keys": keys, "set": "ring_seconds", "ring_seconds": "1 s"}))
    assert "2 cannot be saved like this" in wrong
    assert "Change all" not in wrong
    users = {user.username: user.id for user in office.admin.snapshot.users.values()}
    form = {"keys": f"{users['anna']},{users['carl']}", "do": "delete"}
    page = text_of(anna.post("/users/bulk", form))
    assert "You are logged in as this user." in page
    assert "Delete only the other one" in page
    assert anna.post("/users/bulk/save", form).status_code == 422
    assert set(office.admin.snapshot.users) == set(users.values())


def test_deleting_says_what_goes_along_and_can_be_undone_with_its_secrets(anna: Visitor, office: Desk) -> None:
    line = office.admin.snapshot.lines_of["x7"][0]
    page = text_of(anna.get("/extensions/x7/delete"))
    assert "Nobody can dial 207 any more." in page
    assert "Line 207 goes with it." in page
    assert anna.post("/extensions/x7/delete").status_code == 303
    revision = office.admin.snapshot.revision
    assert f'href="/changes/{revision}/undo"' in text_of(anna.get("/extensions"))
    assert "comes back" in text_of(anna.get(f"/changes/{revision}/undo"))
    assert anna.post(f"/changes/{revision}/undo").status_code == 303
    assert office.admin.snapshot.lines[line.id].sip_password == line.sip_password
    history = text_of(anna.get("/extensions/x7/history"))
    assert history.count("/undo") == 4, "made, deleted, made again, and the line above that says so"


def test_a_user_keeps_no_extension_behind_silently(anna: Visitor, office: Desk) -> None:
    ben = next(user.id for user in office.admin.snapshot.users.values() if user.username == "ben")
    page = text_of(anna.get(f"/users/{ben}/delete"))
    assert "Ben Carter can no longer log in." in page
    assert "and 48 more stay; “User” becomes empty there." in page


def test_a_conflict_is_shown_side_by_side_and_chosen_field_by_field(anna: Visitor, office: Desk) -> None:
    page = text_of(anna.get("/extensions/x1"))
    mark = re.search(r'name="mark" value="([^"]+)"', page)
    assert mark is not None
    office.admin.update("extension", "x1", {"name": "Theirs", "ring_seconds": "90"}, "carl")
    form = {"name": "Mine", "ring_seconds": "45 s", "mark": mark[1]}
    refused = text_of(anna.post("/extensions/x1", form))
    for words in ("Yours:", "carl has saved:", "Before:", ">Theirs<", ">Place 001<", ">Mine<"):
        assert words in refused
    mark = re.search(r'name="mark" value="([^"]+)"', refused)
    assert mark is not None
    chosen = {"name.take": "theirs", "ring_seconds.take": "before", "ring_seconds.before": "60 s"}
    assert anna.post("/extensions/x1", {**form, "mark": mark[1], **chosen}).status_code == 303
    saved = office.admin.snapshot.extensions["x1"]
    assert (saved.name, saved.ring_seconds) == ("Theirs", 60)


@pytest.mark.parametrize(
    ("typed", "found"),
    [("Person 7 (p7)", "u7"), ("p7", "u7"), ("u7", "u7"), ("Person 77", "u77"), ("Person 1", ""), ("nobody", ""), ("", "none")],
)
def test_a_reference_among_many_is_typed_by_its_name(anna: Visitor, office: Desk, typed: str, found: str) -> None:
    office.admin.save_all([Wanted("user", f"u{n}", {"username": f"p{n}", "full_name": f"Person {n}"}, new=True) for n in range(90)], "anna")
    page = text_of(anna.get("/extensions/x1"))
    assert 'role="combobox"' in page
    assert 'data-pick="/pick/user"' in page
    answer = anna.post("/extensions/x0", {"user": typed})
    if found:
        assert answer.status_code == 303
        assert office.admin.snapshot.extensions["x0"].user == ("" if found == "none" else found)
    else:
        assert answer.status_code == 422
        assert f'value="{typed}"' in text_of(answer)
    assert text_of(anna.get("/pick/user?text=p7)")).count("data-key") == 1


def test_thirty_people_with_their_extensions_are_one_import(anna: Visitor, office: Desk) -> None:
    rows = "".join(f"p{n};Pérson {n};p{n}@example.com;{500 + n}\n" for n in range(30))
    data = f"User name;Full name;E-mail;Number\n{rows}".encode()

    def send(**form: str) -> str:
        fields = {"csrf_token": anna.token, **form}
        if not form:
            fields["file"] = (io.BytesIO(data), "people.csv")  # type: ignore[assignment]
        answer = anna._client.post("/users/import", data=fields, base_url="https://localhost", headers={"Referer": "https://localhost/"})
        return text_of(anna._remember(answer))

    anna.get("/users/import")
    columns = re.findall(r'<option value="([^"]*)" selected>', page := send())
    assert columns[:2] == ["username", "full_name"]
    kept = re.search(r'name="text" value="([^"]+)"', page)
    assert kept is not None
    chosen = ["username", "full_name", "email", "extension.number"]
    fields = {"csrf_token": anna.token, "text": kept[1], "column": chosen}
    answer = anna._client.post("/users/import", data=fields, base_url="https://localhost", headers={"Referer": "https://localhost/"})
    assert "60 are added" in text_of(answer)
    revision = office.admin.snapshot.revision
    fields["do"] = "save"
    answer = anna._client.post("/users/import", data=fields, base_url="https://localhost", headers={"Referer": "https://localhost/"})
    assert answer.status_code == 303
    assert office.admin.snapshot.revision == revision + 1
    made = office.admin.snapshot.extension_by_number["529"]
    assert office.admin.snapshot.users[made.user].email == "p29@example.com"
    assert "30 Pérson" not in send()
    again = re.findall(r'<option value="([^"]*)" selected>', send())
    assert again == chosen, "what the columns of such a file mean is remembered"
    out = text_of(anna.get("/users.csv"))
    assert "p29,Pérson 29,p29@example.com" in out
    assert "argon2" not in out


def test_a_file_that_is_no_table_says_so(anna: Visitor, office: Desk) -> None:
    anna.get("/users/import")
    assert "This is no table" in text_of(anna.post("/users/import", {"text": ""}))


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("call hist", ["Call history"]),
        ("add ext", ["Add extension"]),
        ("carter", ["Ben Carter (ben)"]),
        ("place 041", ["241 Place 041"]),
        ("*60", ["*60"]),
        ("realm", ["SIP realm"]),
        ("echo", ["Echo test"]),
        ("ring for", ["Ring for"]),
    ],
)
def test_search_finds_pages_actions_people_numbers_and_settings(anna: Visitor, office: Desk, query: str, titles: list[str]) -> None:
    page = text_of(anna.get(f"/search?q={query}"))
    found = re.findall(r'<a class="hit" href="([^"]+)">.*?<span class="hit-title">([^<]+)', page)
    assert titles == [title for _, title in found if title in titles]
    for address, title in found[:8]:
        assert anna.get(address.partition("#")[0]).status_code == 200, title


def test_a_login_of_a_phone_is_found_on_the_tab_of_its_extension(anna: Visitor, office: Desk) -> None:
    line = office.admin.snapshot.lines_of["x9"][0]
    office.admin.update("line", line.id, {"sip_username": "workbench"}, "anna")
    assert 'href="/extensions/x9?tab=lines"' in text_of(anna.get("/search?q=workbench"))
    assert "workbench" in text_of(anna.get("/extensions/x9?tab=lines"))


def test_search_takes_whatever_is_typed(anna: Visitor, office: Desk) -> None:
    for query in ("", "a", "an", "plan", "backup", "e", "%", "*", "“", "x" * 300, "0", "100", "\x00", "number"):
        assert anna.get(f"/search?q={quote(query)}").status_code == 200, query


def test_search_offers_nothing_that_may_not_be_done(ben: Visitor, anna: Visitor, office: Desk) -> None:
    assert "Add extension" in text_of(anna.get("/search?q=add"))
    assert "Add extension" not in text_of(ben.get("/search?q=add"))


def test_only_the_cells_that_are_different_come_back(anna: Visitor, office: Desk) -> None:
    page = text_of(anna.get("/extensions?q=place 00"))
    shown = re.findall(r'data-cell="(\w+)" data-state="(\w+)"', page)
    assert len(shown) == 11
    asked = ",".join(f"{key}:{state}" for key, state in shown)
    assert "<td" not in text_of(anna.get(f"/extensions/cells?shown={asked}"))
    other = ",".join(f"{key}:{state if key != 'x3' else 'another'}" for key, state in shown)
    changed = text_of(anna.get(f"/extensions/cells?shown={other}"))
    assert re.findall(r'data-cell="(\w+)"', changed) == ["x3"]


def test_every_kind_with_a_place_in_the_menu_has_its_pages(app: Flask, anna: Visitor, office: Desk) -> None:
    menu = text_of(anna.get("/"))
    for row in KINDS.values():
        if row.group:
            assert f'href="/{row.path}"' in menu, row.name
            assert anna.get(f"/{row.path}").status_code == 200
            if not row.always:
                assert anna.get(f"/{row.path}/add").status_code == 200
                assert anna.get(f"/{row.path}.csv").mimetype == "text/csv"


def test_a_key_is_needed_to_see_a_secret_and_leaves_a_row(anna: Visitor, ben: Visitor, office: Desk) -> None:
    line = office.admin.snapshot.lines_of["x1"][0]
    assert line.sip_password not in text_of(anna.get("/extensions/x1?tab=lines"))
    assert line.sip_password in text_of(anna.post(f"/lines/{line.id}/reveal"))
    assert office.admin.journal(limit=1)[0].who == "anna"
    assert ben.post(f"/lines/{line.id}/reveal").status_code == 403


def test_a_password_is_not_asked_for_again(anna: Visitor, office: Desk) -> None:
    carl = next(user for user in office.admin.snapshot.users.values() if user.username == "carl")
    assert anna.post(f"/users/{carl.id}", {"username": "carl", "full_name": "Carla", "role": "none", "password": ""}).status_code == 303
    assert office.admin.authenticate("carl", PASSWORD) is not None
    assert isinstance(office.admin.snapshot.extensions["x1"], Extension)
