"""The first-run wizard."""

from __future__ import annotations

import pytest

from appliance.config.model import User
from appliance.config.store import Change
from tests.web.made import CODE, PASSWORD, Clock, Visitor
from webui.app import create_app
from webui.desk import Desk
from webui.login.throttle import FREE

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
    for _ in range(FREE["account"]):
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
        ("password", "short", "at least 10 characters"),
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


WHAT_IS_THERE = {
    "nothing": lambda desk: None,
    "a user of the command line": lambda desk: desk.admin.create("user", {"username": "root"}, "root"),
    "the same user": lambda desk: desk.admin.create("user", {"username": "berta"}, "root"),
    "extensions, one with an emergency number of the country": lambda desk: [
        desk.admin.create("extension", {"number": number}, "root") for number in ("110", "100")
    ],
    "a full licence": lambda desk: [
        desk.admin.create("extension", {"number": str(number)}, "root") for number in range(200, 215)
    ],
    "the settings of a box that has lost its users": lambda desk: desk.admin.complete_setup(
        username="gone", full_name="Gone", password=PASSWORD, first_extension="200", country="DE"
    ),
    "an administrator without a password": lambda desk: desk.admin._store.save(
        [Change("user", "x", User(id="x", username="lost", role="full"))], "root", 1.0, desk.admin.snapshot.revision
    ),
}


@pytest.mark.parametrize("there", WHAT_IS_THERE)
@pytest.mark.parametrize("name", ["anna", "jürgen", "王小明", "o.brien"])
def test_the_first_administrator_can_always_be_made(new_desk: Desk, there: str, name: str) -> None:
    WHAT_IS_THERE[there](new_desk)
    if "lost its users" in there:
        (gone,) = new_desk.admin.snapshot.users
        new_desk.admin._store.save([Change("user", gone, None)], "restore", 2.0, new_desk.admin.snapshot.revision)
        new_desk.setup_code_file.unlink()  # used up by the administrator who is gone
    first = Visitor(create_app(new_desk).test_client())
    assert first.get("/").location == "/setup"
    first.get("/setup")
    first.post("/setup/code", {"code": new_desk.setup_code_file.read_text()})
    first.get("/setup")
    form = {**ADMINISTRATOR, "full_name": f"{name.title()} Berger", "username": name}
    assert first.post("/setup/administrator", form).location == "/setup"
    assert first.post("/setup/numbering", {"country": "DE", "first_extension": "100"}).location == "/welcome"
    assert first.get("/welcome").status_code == 200
    assert first.get("/setup").location == "/login"
    assert Visitor(create_app(new_desk).test_client()).log_in(name.upper()).location == "/"


def test_the_wizard_broken_off_at_any_step_begins_again(new_desk: Desk) -> None:
    """Its browser is closed, the pages are restarted: another browser goes through with the same code."""
    steps = (
        ("/setup/code", {"code": CODE}),
        ("/setup/administrator", ADMINISTRATOR),
        ("/setup/numbering", {"country": "DE", "first_extension": "100"}),
    )
    for broken_off in range(3):
        visitor = Visitor(create_app(new_desk).test_client())
        visitor.get("/setup")
        for path, form in steps[:broken_off]:
            visitor.post(path, form)
            visitor.get("/setup")
        new_desk.pending_setups.clear()  # as after a restart of the pages
        assert visitor.get("/setup").status_code == 200
    other = Visitor(create_app(new_desk).test_client())
    other.get("/setup")
    for path, form in steps:
        assert other.post(path, form).status_code == 303
        other.get("/setup")
    assert new_desk.admin.snapshot.has_administrator


def test_an_administrator_without_a_full_name_is_welcome(new_desk: Desk) -> None:
    new_desk.admin.create("user", {"username": "root", "role": "full"}, "command line", password=PASSWORD)
    visitor = Visitor(create_app(new_desk).test_client())
    visitor.log_in("root")
    assert '<h1 class="page-title">Ready</h1>' in visitor.get("/welcome").get_data(as_text=True)
