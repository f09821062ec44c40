"""A form that is sent when its session is gone: what was typed comes back after the login, and nothing of it is saved."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from tests.web.chromium import needs_chromium, shoot
from tests.web.made import PASSWORD, Clock, FakeBox, Visitor
from tests.web.served import Served
from tests.web.test_browser import a_status, log_in, set_up
from webui import devices
from webui.desk import Desk
from webui.login import unsent
from webui.login.sessions import COOKIE, IDLE

TEMPLATES = Path(unsent.__file__).parents[1] / "templates"
FORM = {"username": "zoe", "full_name": "Zoë Ödegård", "role": "full", "password": "a very secret password"}


def sent_too_late(anna: Visitor, clock: Clock, page: str = "/users/add") -> str:
    """The address anna is sent to when her session has ended meanwhile."""
    anna.get(page)
    clock.now += IDLE + 1
    answer = anna.post(page, FORM, Referer=f"https://localhost{page}")
    assert answer.status_code == 303
    return str(answer.location)


def test_what_was_typed_comes_back_after_the_login_and_is_not_saved(anna: Visitor, clock: Clock, desk: Desk) -> None:
    login = sent_too_late(anna, clock)
    assert login == "/login?to=/users/add"
    assert "What you typed is kept" in anna.get(login).get_data(as_text=True)
    answer = anna.post("/login", {"username": "anna", "password": PASSWORD, "to": "/users/add"})
    assert answer.location == "/users/add"
    page = anna.get("/users/add").get_data(as_text=True)
    assert "nothing of it was saved" in page
    assert "Zoë Ödegård" in page
    assert "a very secret password" not in page
    assert not [user for user in desk.admin.snapshot.users.values() if user.username == "zoe"]
    assert "Zoë" not in anna.get("/users").get_data(as_text=True)  # only on its own page
    assert anna.post("/users/add", FORM).status_code == 303
    assert "nothing of it was saved" not in anna.get("/users/add").get_data(as_text=True)


def test_another_user_does_not_see_it(anna: Visitor, clock: Clock, desk: Desk) -> None:
    sent_too_late(anna, clock)
    ben = next(user for user in desk.admin.snapshot.users.values() if user.username == "ben")
    desk.admin.update("user", ben.id, {"role": "full"}, "anna")
    anna.get("/login")
    anna.post("/login", {"username": "ben", "password": PASSWORD, "to": "/users/add"})
    assert "Zoë" not in anna.get("/users/add").get_data(as_text=True)


@pytest.mark.parametrize("stranger", ["no device", "forged device", "other site", "too much"])
def test_strangers_keep_nothing_here(app: Flask, anna: Visitor, clock: Clock, desk: Desk, stranger: str) -> None:
    client = app.test_client()
    if stranger == "forged device":
        client.set_cookie(devices.COOKIE, "WyJhIiwiYiJd.x.y", domain="localhost", secure=True)
    visitor = anna if stranger in ("other site", "too much") else Visitor(client)
    visitor.get("/login")
    clock.now += IDLE + 1
    form = {**FORM, "full_name": "x" * (unsent.LARGEST if stranger == "too much" else 1)}
    came = "https://evil.example/users/add" if stranger == "other site" else "https://localhost/users/add"
    assert visitor.post("/users/add", form, Referer=came).status_code == 303
    stored = desk.sessions._db.execute("SELECT contents FROM session").fetchall()
    assert not [row for row in stored if unsent.KEY in row[0]]


def test_it_is_forgotten_after_a_while(anna: Visitor, clock: Clock) -> None:
    sent_too_late(anna, clock)
    anna.get("/login")
    anna.post("/login", {"username": "anna", "password": PASSWORD, "to": "/users/add"})
    clock.now += unsent.LASTS + 1
    assert "Zoë" not in anna.get("/users/add").get_data(as_text=True)


def test_no_secret_has_a_name_that_is_kept() -> None:
    """Every password input of every template."""
    names = set()
    for file in TEMPLATES.rglob("*.html"):
        text = file.read_text()
        names |= set(re.findall(r'm\.password\("([\w-]+)"', text))
        names |= set(re.findall(r'name="([\w-]+)"[^>]*type="password"', text))
    assert len(names) >= 5
    assert [name for name in names if not unsent.SECRET.search(name)] == []


@pytest.fixture
def box() -> FakeBox:
    return FakeBox(status=a_status())


@pytest.fixture
def made(made: Desk) -> Desk:
    set_up(made)
    return made


@needs_chromium
@pytest.mark.timeout(120)
def test_the_form_is_as_it_was(page: Page, site: Served, made: Desk) -> None:
    log_in(page, site)
    extension = next(one for one in made.admin.snapshot.extensions.values() if one.number == "102")
    page.goto(f"{site.address}/extensions/{extension.id}")
    page.get_by_role("textbox", name="Name", exact=True).fill("Front desk")
    page.get_by_role("tab", name="Advanced").click()
    page.get_by_text("anything else is refused").click()
    for cookie in page.context.cookies():
        if cookie.get("name") == COOKIE:
            made.sessions.end(str(cookie.get("value")))
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("What you typed is kept")).to_be_visible()
    shoot(page, "unsent-login")
    page.get_by_label("User name").fill("anna")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("nothing of it was saved")).to_be_visible()
    page.get_by_role("tab", name="General").click()
    expect(page.get_by_role("textbox", name="Name", exact=True)).to_have_value("Front desk")
    shoot(page, "unsent-form")
    assert made.admin.snapshot.extensions[extension.id].name == "Reception"
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    saved = made.admin.snapshot.extensions[extension.id]
    assert (saved.name, saved.encrypt) == ("Front desk", "required")
