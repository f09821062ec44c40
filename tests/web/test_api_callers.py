"""Who may use the API, and how fast."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from appliance.config.model import Change
from appliance.config.rights import ROOT
from appliance.config.rights.acting import Acting
from tests.web.made import Clock, Visitor
from tests.web.programs import BASE, Program, of_page, refused
from webui.api.bounds import PER_KEY, Allowance, Purses
from webui.desk import Desk


def test_a_stranger_gets_nothing(app: Flask) -> None:
    stranger = Program(app.test_client())
    for method, path in (("GET", "/extensions"), ("POST", "/extensions"), ("GET", "/openapi.json"), ("GET", "/me")):
        response = stranger.ask(method, path, {} if method == "POST" else None)
        assert refused(response, 401)["key"] == "api.unknown"
        assert response.headers["WWW-Authenticate"] == "Bearer"
    for header in ("Bearer", "Bearer x", f"Bearer {'x' * 5000}", "Basic YTpi", "bearer \xff"):
        refused(stranger.ask("GET", "/me", Authorization=header), 401)


def test_a_cookie_alone_changes_nothing(anna: Visitor) -> None:
    page = of_page(anna)
    page.token = ""
    assert page.get("/me")["name"] == "anna"
    assert refused(page.ask("POST", "/extensions", {"number": "120"}), 403)["key"] == "api.no-token"
    page.token = "x" * 40
    refused(page.ask("POST", "/extensions", {"number": "120"}), 403)


def test_who_asks_too_fast_waits(anna: Visitor, clock: Clock) -> None:
    page = of_page(anna)
    for _ in range(int(PER_KEY.burst)):
        assert page.ask("GET", "/me").status_code == 200
    response = page.ask("GET", "/me")
    assert refused(response, 429)["key"] == "api.too-fast"
    assert int(response.headers["Retry-After"]) >= 1
    clock.now += 1
    assert page.ask("GET", "/me").status_code == 200


def test_purses_come_back_with_time_and_forget_the_oldest() -> None:
    purses = Purses(Allowance(2, 0.5), remembered=2)
    assert [purses.take("a", 0.0) for _ in range(3)] == [0.0, 0.0, 2.0]
    assert purses.take("a", 1.0) == 1.0
    assert purses.take("a", 2.0) == 0.0
    assert purses.take("b", 2.0) == purses.take("c", 2.0) == 0.0  # a is forgotten
    assert purses.take("a", 2.0) == 0.0
    assert purses.take("c", 1.0) == 0.0  # a clock that went back gives nothing


@pytest.mark.parametrize(
    ("language", "word"), [("de", "Das gibt es nicht"), ("cs;q=0.9, fr", "To neexistuje"), ("en", "This does not")]
)
def test_refusals_speak_the_language_of_the_request(anna: Visitor, language: str, word: str) -> None:
    error = refused(of_page(anna).ask("GET", "/users/none", Accept_Language=language), 404)
    assert error["sentence"].startswith(word)
    assert error["key"] == "api.nothing-here"


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"number": "\xff"}', "application/json", 400),
        (b'{"number": "\\ud800"}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"{}", "text/plain", 415),
        (b" " * (2 << 20), "application/json", 413),
        (b'{"number": "120\\u0000"}', "application/json", 422),
    ],
)
def test_what_is_no_record_is_refused(anna: Visitor, body: bytes, kind: str, status: int) -> None:
    refused(of_page(anna).ask("POST", "/extensions", body, Content_Type=kind), status)


def test_addresses_that_are_none(anna: Visitor) -> None:
    page = of_page(anna)
    refused(page.ask("GET", "/nothing"), 404)
    refused(page.ask("GET", f"/extensions/{'x' * 300}"), 404)
    response = page.ask("DELETE", "/extensions")
    refused(response, 405)
    assert "GET" in response.headers["Allow"]


def test_the_page_leads_to_the_document(anna: Visitor) -> None:
    text = anna.get("/api").get_data(as_text=True)
    assert f"{BASE}/openapi.json" in text
    assert "/extensions/{id}" in text
    assert anna.get(f"{BASE}/openapi.json").get_json()["openapi"] == "3.1.0"


def test_a_page_that_owes_a_password_of_its_own_gets_nothing(anna: Visitor, desk: Desk) -> None:
    page = of_page(anna)
    user = next(user for user in desk.admin.snapshot.users.values() if user.username == "anna")
    desk.admin._save(lambda _: (user, [Change("user", user.id, user.model_copy(update={"password_given": True}))]), "anna")
    refused(page.ask("GET", "/me"), 401)


def keyed(app: Flask, desk: Desk, **values: str) -> tuple[Program, str]:
    """A program with a key, and the id of its record."""
    acting = Acting(desk.admin, ROOT)
    record = acting.create("api-key", {"name": "Door", **values})
    return Program(app.test_client(), key=acting.issue_key(record.id)), record.id


def test_a_key_opens_what_its_role_says_until_its_last_day(app: Flask, desk: Desk, clock: Clock) -> None:
    until = datetime.fromtimestamp(clock.now, UTC).date() + timedelta(days=2)
    program, key = keyed(app, desk, role="read-only", expires=until.isoformat())
    assert program.get("/me")["name"] == "Door (API)"
    assert program.get("/extensions")["total"] == 0
    refused(program.ask("POST", "/extensions", {"number": "120"}), 403)
    assert desk.sessions.key_used(key) == clock.now
    clock.now += 4 * 86400
    refused(program.ask("GET", "/me"), 401)


def test_a_key_needs_no_token_of_a_page_and_another_one_ends_it(app: Flask, desk: Desk) -> None:
    program, key = keyed(app, desk, role="full")
    made = program.post("/extensions", {"number": "120"}, 201)
    assert program.get(f"/extensions/{made['id']}/history")["items"][0]["who"] == "Door (API)"
    new = program.post(f"/api-keys/{key}/key")["key"]
    refused(program.ask("GET", "/me"), 401)
    assert Program(app.test_client(), key=new).get("/me")["rights"]
    assert "key_hash" not in Program(app.test_client(), key=new).get(f"/api-keys/{key}")


def test_a_key_is_judged_alone_whatever_cookie_comes_with_it(anna: Visitor) -> None:
    refused(of_page(anna).ask("GET", "/me", Authorization="Bearer x.y"), 401)
