"""The first-run wizard."""

from __future__ import annotations

import pytest

from tests.web.made import CODE, PASSWORD, Clock, Visitor
from webui.app import create_app
from webui.desk import Desk
from webui.throttle import FREE

ADMINISTRATOR = {"full_name": "Anna Berger", "username": "anna", "password": PASSWORD, "again": PASSWORD}


@pytest.fixture
def first(new_desk: Desk) -> Visitor:
    made = Visitor(create_app(new_desk).test_client())
    made.get("/setup")
    return made


def test_the_whole_way(new_desk: Desk, first: Visitor) -> None:
    assert first.post("/setup/code", {"code": CODE.lower().replace("-", " ")}).location == "/setup"
    assert "The first administrator" in first.get("/setup").get_data(as_text=True)
    assert first.post("/setup/administrator", ADMINISTRATOR).location == "/setup"
    assert "Country and numbers" in first.get("/setup").get_data(as_text=True)
    done = first.post("/setup/numbering", {"country": "DE", "first_extension": "10"})
    assert done.location == "/welcome"
    settings = new_desk.admin.snapshot.settings
    assert (settings.completed, settings.country, settings.first_extension) == (True, "DE", "10")
    assert not new_desk.setup_code_file.exists()
    assert not new_desk.pending_setups
    assert "Ready, Anna" in first.get("/welcome").get_data(as_text=True)
    assert first.get("/setup").location == "/login"
    assert 'value="10"' in first.get("/extensions/add").get_data(as_text=True)


def test_a_wrong_code_is_refused_and_slowed_down(new_desk: Desk, first: Visitor, clock: Clock) -> None:
    for _ in range(FREE):
        assert first.post("/setup/code", {"code": "AAAA"}).status_code == 422
    assert first.post("/setup/code", {"code": CODE}).status_code == 429
    clock.now += 3
    assert first.post("/setup/code", {"code": CODE}).status_code == 303


@pytest.mark.parametrize("step", ["administrator", "numbering"])
def test_no_step_works_without_the_code(new_desk: Desk, first: Visitor, step: str) -> None:
    first.post(f"/setup/{step}", {**ADMINISTRATOR, "country": "DE", "first_extension": "100"})
    assert not new_desk.admin.snapshot.settings.completed
    assert not new_desk.pending_setups
    assert "Setup code" in first.get("/setup").get_data(as_text=True)


def test_no_code_file_means_no_way_in(new_desk: Desk, first: Visitor) -> None:
    new_desk.setup_code_file.unlink()
    assert first.post("/setup/code", {"code": ""}).status_code == 422


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("username", "a b", "letters, digits, dot, dash and underscore"),
        ("full_name", "", "Enter your name"),
        ("password", "short", "At least 10 characters"),
        ("again", "different", "not the same"),
    ],
)
def test_a_problem_is_shown_and_nothing_typed_is_lost(first: Visitor, field: str, value: str, words: str) -> None:
    first.post("/setup/code", {"code": CODE})
    first.get("/setup")
    response = first.post("/setup/administrator", {**ADMINISTRATOR, field: value})
    text = response.get_data(as_text=True)
    assert response.status_code == 422
    assert words in text
    if field != "full_name":
        assert 'value="Anna Berger"' in text
    assert PASSWORD not in text


def test_country_and_numbers_are_chosen_from_the_lists(new_desk: Desk, first: Visitor) -> None:
    first.post("/setup/code", {"code": CODE})
    first.get("/setup")
    first.post("/setup/administrator", ADMINISTRATOR)
    response = first.post("/setup/numbering", {"country": "XX", "first_extension": "7"})
    assert response.status_code == 422
    assert not new_desk.admin.snapshot.settings.completed


def test_the_password_is_forgotten_when_the_wizard_is_left(new_desk: Desk, first: Visitor, clock: Clock) -> None:
    first.post("/setup/code", {"code": CODE})
    first.get("/setup")
    first.post("/setup/administrator", ADMINISTRATOR)
    clock.now += 1801
    first.post("/setup/numbering", {"country": "DE", "first_extension": "100"})
    assert not new_desk.admin.snapshot.settings.completed


def test_an_administrator_made_on_the_command_line_ends_the_wizard_too(new_desk: Desk, first: Visitor) -> None:
    new_desk.admin.create("user", {"username": "root", "role": "full"}, "command line", password=PASSWORD)
    assert first.get("/setup").location == "/login"
    assert first.log_in("root").location == "/"


def test_a_finished_box_has_no_wizard(desk: Desk, visitor: Visitor) -> None:
    visitor.get("/login")
    assert visitor.post("/setup/code", {"code": CODE}).location == "/login"
