"""Login, sessions and the throttle."""

from __future__ import annotations

import dataclasses

import pytest
from flask import Flask

from appliance.config.model import Extension
from tests.web.made import PASSWORD, Clock, Visitor
from webui import devices
from webui.app import create_app
from webui.desk import Desk
from webui.login.sessions import ABSOLUTE, IDLE
from webui.login.throttle import BOUND, FREE, Count, Throttle
from webui.login.unsent import is_local
from webui.serving.limits import source_name


def test_a_login_opens_the_page(visitor: Visitor) -> None:
    assert visitor.log_in("anna").location == "/"
    assert "Anna Berger" in visitor.get("/").get_data(as_text=True)


def test_a_wrong_password_and_an_unknown_name_are_answered_alike(visitor: Visitor) -> None:
    wrong, unknown = visitor.log_in("anna", "not it"), visitor.log_in("nobody", "not it")
    assert wrong.status_code == unknown.status_code == 401
    assert "User name or password is wrong." in wrong.get_data(as_text=True)
    assert visitor.get("/").status_code == 303


def test_sip_credentials_do_not_log_in(desk: Desk, visitor: Visitor) -> None:
    extension = desk.admin.create("extension", {"number": "100", "name": "Anna"}, "anna")
    line = desk.admin.snapshot.lines_of[extension.id][0]
    assert isinstance(extension, Extension)
    assert visitor.log_in(line.sip_username, line.sip_password).status_code == 401


def test_a_user_without_a_role_is_told_so(visitor: Visitor) -> None:
    response = visitor.log_in("carl")
    assert response.status_code == 403
    assert "may not open the admin page" in response.get_data(as_text=True)
    assert visitor.get("/").status_code == 303


def test_the_cookie_changes_at_login(app: Flask) -> None:
    client = app.test_client()
    visitor = Visitor(client)
    before = visitor.get("/login").headers["Set-Cookie"]
    after = visitor.post("/login", {"username": "anna", "password": PASSWORD}).headers["Set-Cookie"]
    assert before.split(";")[0] != after.split(";")[0]


def test_logout_ends_the_session_on_the_server(app: Flask, desk: Desk) -> None:
    client = app.test_client()
    visitor = Visitor(client)
    visitor.log_in("anna")
    cookie = client.get_cookie("__Host-switchroom", domain="localhost")
    assert cookie is not None
    visitor.post("/logout")
    assert desk.sessions.find(cookie.value, desk.now()) is None
    assert visitor.get("/").status_code == 303


def test_guesses_are_slowed_down_and_a_right_guess_among_them_has_to_wait_too(visitor: Visitor, clock: Clock) -> None:
    for _ in range(FREE["account"]):
        assert visitor.log_in("anna", "guess").status_code == 401
    refused = visitor.log_in("anna")
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert "Too many wrong passwords for anna have come from this address." in refused.get_data(as_text=True)
    clock.now += 3
    assert visitor.log_in("anna").status_code == 303


def test_nobody_is_locked_out_by_the_guesses_of_others(app: Flask, visitor: Visitor, anna: Visitor) -> None:
    """A stranger guesses all the time; the owner gets in from elsewhere, and from a browser that knows her even at the same address."""
    for _ in range(60):
        visitor.log_in("anna", "guess")
    assert visitor.log_in("anna").status_code == 429
    elsewhere = Visitor(app.test_client(), "198.51.100.7")
    assert elsewhere.log_in("anna").status_code == 303
    anna.post("/logout")
    assert anna.log_in("anna").status_code == 303
    assert visitor.log_in("ben").status_code == 303  # a neighbour behind the same address
    anna.post("/logout")
    assert anna.log_in("anna", "wrong").status_code == 401  # the word says what happened


def test_a_password_tried_on_everybody_is_slowed_too(visitor: Visitor) -> None:
    statuses = [visitor.log_in(f"user{number}", "guess").status_code for number in range(FREE["source"] + 1)]
    assert statuses == [401] * FREE["source"] + [429]


def test_a_browser_known_for_one_user_is_not_known_for_another(anna: Visitor) -> None:
    anna.post("/logout")
    assert [anna.log_in("ben", "guess").status_code for _ in range(FREE["account"] + 1)][-1] == 429
    assert anna.log_in("anna").status_code == 303


def test_a_forged_device_is_none(app: Flask, desk: Desk) -> None:
    client = app.test_client()
    client.set_cookie(devices.COOKIE, "eyJhIjoxfQ.x.y", domain="localhost", secure=True)
    visitor = Visitor(client)
    statuses = [visitor.log_in("anna", "guess").status_code for _ in range(FREE["account"] + 1)]
    assert statuses[-1] == 429
    assert devices.user_of(desk, "x" * 5000) is None


def test_the_wait_does_not_follow_the_clock(app: Flask, desk: Desk, clock: Clock) -> None:
    """A clock that is set ten years back while somebody has to wait."""
    steady = Clock()
    made = create_app(dataclasses.replace(desk, elapsed=steady))
    visitor = Visitor(made.test_client())
    for _ in range(FREE["account"]):
        visitor.log_in("anna", "guess")
    clock.now -= 10 * 365 * 86400
    refused = visitor.log_in("anna")
    assert int(refused.headers["Retry-After"]) <= 2
    steady.now += 2
    assert visitor.log_in("anna").status_code == 303


def test_a_session_ends_when_nobody_clicks(anna: Visitor, clock: Clock) -> None:
    clock.now += IDLE - 60
    assert anna.get("/").status_code == 200
    clock.now += IDLE - 60
    assert anna.get("/live/calls").status_code == 200  # the page by itself: not a click
    clock.now += 120
    assert anna.get("/").status_code == 303


def test_a_session_ends_after_its_longest_time(anna: Visitor, clock: Clock) -> None:
    for _ in range(int(ABSOLUTE // 1800)):
        clock.now += 1790
        assert anna.get("/").status_code == 200
    clock.now += 1790
    assert anna.get("/").status_code == 303


def test_a_session_ends_when_the_user_is_deleted_or_loses_the_role(desk: Desk, ben: Visitor) -> None:
    assert ben.get("/").status_code == 200
    user = next(user for user in desk.admin.snapshot.users.values() if user.username == "ben")
    desk.admin.update("user", user.id, {"role": "none"}, "anna")
    assert ben.get("/").status_code == 303


def test_a_new_password_ends_the_other_sessions(app: Flask, anna: Visitor) -> None:
    other = Visitor(app.test_client())
    other.log_in("anna")
    anna.get("/account")
    new = "another long password"
    assert anna.post("/account", {"current": PASSWORD, "password": new, "again": new}).status_code == 303
    assert anna.get("/").status_code == 200
    assert other.get("/").status_code == 303
    assert other.log_in("anna", new).status_code == 303


def test_the_old_password_is_asked_for(anna: Visitor) -> None:
    response = anna.post("/account", {"current": "wrong", "password": "x" * 12, "again": "x" * 12})
    assert response.status_code == 422
    assert "This is not your password." in response.get_data(as_text=True)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("/extensions?q=1", True),
        ("", False),
        ("//evil.example", False),
        ("/\\evil.example", False),
        ("https://evil.example", False),
        ("/a\nb", False),
    ],
)
def test_only_addresses_of_this_page_are_followed(address: str, local: bool) -> None:
    assert is_local(address) is local


def test_the_throttle_doubles_its_wait_up_to_the_longest() -> None:
    throttle, waits, one = Throttle(first=2.0, longest=10.0), [], Count("account", "one")
    for _ in range(FREE["account"] + 4):
        throttle.failed(0.0, one)
        waits.append(throttle.wait(0.0, one))
    assert waits == [0.0] * (FREE["account"] - 1) + [2.0, 4.0, 8.0, 10.0, 10.0]
    assert throttle.wait(0.0, Count("account", "other")) == 0.0
    throttle.succeeded(one)
    assert throttle.wait(0.0, one) == 0.0


def test_a_password_of_his_own_does_not_clear_a_source_that_guesses() -> None:
    throttle, source = Throttle(), Count("source", "one")
    for _ in range(FREE["source"] + 1):
        throttle.failed(0.0, source)
    throttle.succeeded(source)
    assert throttle.wait(0.0, source) > 0


def test_the_throttle_remembers_a_bounded_number_of_names() -> None:
    throttle = Throttle()
    for number in range(BOUND + 10):
        throttle.failed(0.0, Count("source", str(number)))
    assert len(throttle._failures) == BOUND


def test_an_ipv6_host_counts_as_its_network() -> None:
    assert source_name("2001:db8::1") == source_name("2001:db8::ffff:1")
    assert source_name("2001:db8:0:1::1") != source_name("2001:db8::1")
    assert source_name("::ffff:192.0.2.1") == source_name("192.0.2.1")
    assert source_name(None) == "source unknown"
