"""Forms lose nothing: of two tabs the second is told, a refused one changes nothing, renumbering asks what becomes of the SIP username."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Annotated

import pytest
from flask import Flask, render_template_string
from werkzeug.datastructures import MultiDict

from appliance.config.declare import Duration, Kind, Record, TickBox
from appliance.config.model import Extension, Line
from appliance.words import english
from tests.web.made import PASSWORD, FakeBox, Visitor, phone
from webui.desk import Desk
from webui.forms import fields_of, values_of
from webui.forms import typed as typed_into

# kind -> the field that one tab changes, the one that the other changes, and a value for each
TWO_TABS = {
    "extension": (("name", "Reception"), ("ring_seconds", "90")),
    "user": (("full_name", "Benedict"), ("username", "benedict")),
    "line": (("label", "desk"), ("sip_username", "desk-1")),
    "settings": (("name", "Office"), ("realm", "office.example")),
}


@pytest.fixture
def records(desk: Desk) -> dict[str, str]:
    """Kind to the key of one of that kind."""
    extension = desk.admin.create("extension", {"number": "100", "name": "Desk"}, "anna")
    ben = next(user for user in desk.admin.snapshot.users.values() if user.username == "ben")
    line = desk.admin.snapshot.lines_of[extension.id][0]
    return {"extension": extension.id, "user": ben.id, "line": line.id, "settings": "settings"}


class Tab:
    """A form in a browser tab: what it showed, and what is typed over it."""

    def __init__(self, visitor: Visitor, desk: Desk, kind: str, key: str) -> None:
        self._visitor = visitor
        record = desk.admin.snapshot.of(kind)[key]
        self.path = {"settings": "/settings"}.get(kind, f"/{kind}s/{key}")
        drawn = self.path if kind != "line" else f"/extensions/{record.model_dump()['extension']}?tab=lines"
        mark = re.search(r'name="mark" value="([^"]+)"', visitor.get(drawn).get_data(as_text=True))
        assert mark
        hidden = ("id", "password_hash", "sip_password", "extension", "completed")
        shown = {name: record.declared.fields[name].text(getattr(record, name)) for name in record.declared.fields if name not in hidden}
        self.form = {**shown, "mark": mark[1]}

    def send(self, **typed: str) -> tuple[int, str]:
        answer = self._visitor.post(self.path, {**self.form, **typed})
        text = answer.get_data(as_text=True)
        if again := re.search(r'name="mark" value="([^"]+)"', text):
            self.form["mark"] = again[1]
        return answer.status_code, text


@pytest.mark.parametrize("kind", TWO_TABS)
def test_two_tabs_that_change_different_fields_both_count(
    anna: Visitor, desk: Desk, records: dict[str, str], kind: str
) -> None:
    (one, mine), (other, theirs) = TWO_TABS[kind]
    first, second = (Tab(anna, desk, kind, records[kind]) for _ in range(2))
    assert first.send(**{one: mine})[0] in (200, 303)
    assert second.send(**{other: theirs})[0] in (200, 303)
    saved = desk.admin.snapshot.of(kind)[records[kind]].model_dump()
    assert (saved[one], str(saved[other])) == (mine, theirs)


@pytest.mark.parametrize("kind", TWO_TABS)
def test_two_tabs_that_change_the_same_field_conflict_visibly(
    anna: Visitor, desk: Desk, records: dict[str, str], kind: str
) -> None:
    (one, first_value), (other, second_value) = TWO_TABS[kind]
    tab = Tab(anna, desk, kind, records[kind])
    desk.admin.update(kind, records[kind], {one: first_value}, "carl")
    revision = desk.admin.snapshot.revision
    status, text = tab.send(**{one: "mine", other: second_value})
    assert status in (200, 422)
    assert f"Meanwhile carl has made this “{first_value}”. Save again to put yours in its place." in text
    assert 'value="mine"' in text
    assert desk.admin.snapshot.revision == revision, "a form that conflicts changes nothing at all"
    assert tab.send(**{one: "mine", other: second_value})[0] in (200, 303)
    assert desk.admin.snapshot.of(kind)[records[kind]].model_dump()[one] == "mine"


def test_a_refused_form_shows_what_somebody_else_has_saved(anna: Visitor, desk: Desk, records: dict[str, str]) -> None:
    tab = Tab(anna, desk, "extension", records["extension"])
    desk.admin.update("extension", records["extension"], {"name": "Lab"}, "carl")
    status, text = tab.send(ring_seconds="1")
    assert status == 422
    assert 'value="Lab"' in text
    assert "Meanwhile" not in text
    assert tab.send(ring_seconds="20", name="Lab")[0] == 303
    assert desk.admin.snapshot.extensions[records["extension"]].name == "Lab"


def test_a_form_of_before_a_restore_puts_nothing_back(anna: Visitor, desk: Desk, records: dict[str, str]) -> None:
    """The same number of a revision, but another past."""
    tab = Tab(anna, desk, "extension", records["extension"])
    number = tab.form["mark"].split()[0]
    for mark in (f"{number} 12.5", "999999 1.0", "nonsense", f"{'9' * 40} -1.0"):
        tab.form["mark"] = mark
        status, text = tab.send(name="Of another past")
        assert status == 422
        assert "Meanwhile a restored backup has made this “Desk”." in text
        assert desk.admin.snapshot.extensions[records["extension"]].name == "Desk"


def test_a_refused_form_changes_nothing(anna: Visitor, desk: Desk, records: dict[str, str]) -> None:
    """The password of a user is saved with the rest of the form, or not at all."""
    before = desk.admin.snapshot
    tab = Tab(anna, desk, "user", records["user"])
    for typed, said in (
        ({"username": "anna"}, "is taken"),
        ({"full_name": "x" * 81}, "at most 80"),
        ({"password": "sunshine2024"}, "tried first"),
        ({"role": "emperor"}, "must be one of"),
    ):
        status, text = tab.send(**{"password": "a brand new pass", "full_name": "Benedict", **typed})
        assert status == 422
        assert said in text
        assert desk.admin.snapshot.revision == before.revision
    assert desk.admin.authenticate("ben", PASSWORD) is not None
    assert tab.send(password="a brand new pass", full_name="Benedict")[0] == 303
    assert desk.admin.snapshot.revision == before.revision + 1, "one save, one transaction"
    assert desk.admin.authenticate("ben", "a brand new pass") is not None


def test_a_new_number_asks_about_the_sip_username_and_names_the_phone(
    anna: Visitor, desk: Desk, box: FakeBox, records: dict[str, str]
) -> None:
    key = records["extension"]
    box.phones = [phone("100", "Desk", line=records["line"], secure=True, agent="Yealink SIP-T54W", since=desk.now())]
    tab = Tab(anna, desk, "extension", key)
    status, text = tab.send(number="120", name="Front desk", tab="advanced")
    assert status == 422
    assert text.count("Choose what becomes of the SIP username.") == 1
    assert "Keep 100" in text
    assert "Change it to the new number" in text
    assert "Yealink SIP-T54W at 192.0.2.100:50612 goes off until it has the new one." in text
    assert 'id="pane-general" role="tabpanel"' in text
    assert 'class="tab-pane active show" id="pane-general"' in text
    assert desk.admin.snapshot.extensions[key].number == "100"
    desk.admin.create("extension", {"number": "130"}, "anna")
    text = tab.send(number="130")[1]
    assert "130 is in use by extension 130." in text
    assert "Choose what becomes" not in text, "first the number has to be one"
    assert tab.send(number="120", name="Front desk", usernames="keep")[0] == 303
    names = [line.sip_username for line in desk.admin.snapshot.lines_of[key]]
    assert (desk.admin.snapshot.extensions[key].number, names) == ("120", ["100"])


@pytest.mark.parametrize("away", [True, False])
def test_what_is_not_known_of_the_phones_is_not_claimed(
    anna: Visitor, desk: Desk, box: FakeBox, records: dict[str, str], away: bool
) -> None:
    tab = Tab(anna, desk, "extension", records["extension"])
    box.away = away
    text = tab.send(number="120")[1]
    assert ("cannot be told just now" in text) == away
    assert ("No phone is registered with it now" in text) != away
    assert tab.send(number="120", usernames="change")[0] == 303
    assert desk.admin.snapshot.lines[records["line"]].sip_username == "120"


def test_a_new_sip_username_names_the_phone_too(
    anna: Visitor, desk: Desk, box: FakeBox, records: dict[str, str]
) -> None:
    box.phones = [phone("100", "Desk", line=records["line"], secure=False, agent="snomD785", since=desk.now())]
    text = Tab(anna, desk, "line", records["line"]).send(sip_username="desk-1")[1]
    assert "snomD785 at 192.0.2.100:50612 goes off until it has the new one." in text


def test_every_form_of_a_record_carries_its_mark(anna: Visitor, desk: Desk, records: dict[str, str]) -> None:
    line, extension = desk.admin.snapshot.lines[records["line"]], desk.admin.snapshot.extensions[records["extension"]]
    assert isinstance(line, Line)
    assert isinstance(extension, Extension)
    for path in (
        "/settings",
        f"/users/{records['user']}",
        f"/extensions/{extension.id}",
        f"/extensions/{extension.id}/lines",
    ):
        assert f'name="mark" value="{desk.admin.snapshot.mark}"' in anna.get(path).get_data(as_text=True), path


class Door(Record):
    """A kind that only this file has, with a tick box and a length of time."""

    open: Annotated[bool, TickBox()] = True
    patience: Annotated[int, Duration(5, 600)] = 90


class Sent(HTMLParser):
    """What a browser sends of a form: boxes without a tick send nothing."""

    def __init__(self, html: str, untick: str = "") -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._untick = untick
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name = given.get("name") or ""
        if tag == "input" and (given.get("type") != "checkbox" or ("checked" in given and name != self._untick)):
            self.found.append((name, given.get("value") or ""))


@pytest.mark.parametrize(("ticked", "untick", "saved"), [(True, "", True), (True, "open", False), (False, "", False)])
def test_a_tick_box_is_saved_from_a_form(
    app: Flask, monkeypatch: pytest.MonkeyPatch, ticked: bool, untick: str, saved: bool
) -> None:
    for key in ("open", "open-help", "patience", "patience-help"):
        monkeypatch.setitem(english().patterns, f"door.{key}", key)  # type: ignore[arg-type]
    with app.test_request_context("/"):
        fields = fields_of(Door, values_of(Door(open=ticked)))
        drawn = render_template_string(
            "{% import 'macros.html' as m with context %}{% for f in fields %}{{ m.field(f) }}{% endfor %}",
            fields=fields.values(),
        )
    assert 'value="90 s"' in drawn
    values = typed_into(MultiDict(Sent(drawn, untick).found), Door)
    assert Kind(Door).make(values) == Door(open=saved)
