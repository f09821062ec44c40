"""The language of a page: a person's own, else the office's, else the browser's; and what the wizard makes of it."""

from __future__ import annotations

import pytest

from tests.web.made import CODE, PASSWORD, Visitor
from webui.app import create_app
from webui.desk import Desk


def spoken(visitor: Visitor, path: str, browser: str = "") -> str:
    page = visitor.get(path, **{"Accept-Language": browser}).get_data(as_text=True)
    return page.partition('<html lang="')[2][:2]


@pytest.mark.parametrize(("browser", "language"), [("de-AT,en;q=0.5", "de"), ("cs", "cs"), ("fr", "en"), ("", "en")])
def test_before_the_login_the_browser_chooses(desk: Desk, browser: str, language: str) -> None:
    assert spoken(Visitor(create_app(desk).test_client()), "/login", browser) == language


def test_the_offices_comes_before_the_browsers_and_a_persons_own_before_both(desk: Desk, anna: Visitor) -> None:
    assert spoken(anna, "/calls", "de") == "de"
    desk.admin.update("settings", "settings", {"language": "cs"}, "anna")
    assert spoken(anna, "/calls", "de") == "cs"
    (user,) = (user for user in desk.admin.snapshot.users.values() if user.username == "anna")
    desk.admin.update("user", user.id, {"language": "en"}, "anna")
    assert spoken(anna, "/calls", "de") == "en"


def test_the_wizard_asks_for_the_offices(new_desk: Desk) -> None:
    visitor = Visitor(create_app(new_desk).test_client())
    assert spoken(visitor, "/setup", "de") == "de"
    visitor.post("/setup/code", {"code": CODE})
    visitor.get("/setup")
    visitor.post("/setup/administrator", {"full_name": "Anna", "username": "anna", "password": PASSWORD, "again": PASSWORD})
    visitor.get("/setup")
    answer = visitor.post("/setup/numbering", {"country": "CZ", "first_extension": "100", "language": "cs"})
    assert answer.status_code == 303
    assert new_desk.admin.snapshot.settings.language == "cs"
    assert spoken(visitor, "/welcome", "de") == "cs"
