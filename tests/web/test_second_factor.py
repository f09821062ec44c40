"""A login by password and code, passwords that are given, and the sessions of a login: seen and ended."""

from __future__ import annotations

import re

import pyotp
import pytest
from flask import Flask

from appliance.config.model import User
from appliance.config.rights import second_factor
from appliance.words import Said
from tests.web.made import PASSWORD, START, Clock, Visitor
from webui.desk import Desk
from webui.login.agents import named
from webui.login.second_factor import qr_code
from webui.login.throttle import FREE
from webui.portal import create_portal

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def user(desk: Desk, name: str) -> User:
    return next(each for each in desk.admin.snapshot.users.values() if each.username == name)


def code_of(desk: Desk, name: str, clock: Clock) -> str:
    return pyotp.TOTP(user(desk, name).totp_seed).at(int(clock.now))


def switch_on(visitor: Visitor, clock: Clock) -> list[str]:
    """As a person does it; the recovery codes."""
    page = visitor.get("/account/code").get_data(as_text=True)
    seed = re.sub("<wbr>| ", "", re.search(r'<code id="seed">(.*?)</code>', page).group(1))  # type: ignore[union-attr]
    done = visitor.post("/account/code", {"code": pyotp.TOTP(seed).at(int(clock.now)), "current": PASSWORD})
    assert done.status_code == 200
    return re.search(r'id="recovery"[^>]*>(.*?)</pre>', done.get_data(as_text=True), re.S).group(1).split()  # type: ignore[union-attr]


@pytest.fixture
def codes(anna: Visitor, clock: Clock) -> list[str]:
    found = switch_on(anna, clock)
    clock.now += 60
    return found


def enter(visitor: Visitor, code: str) -> int:
    return visitor.post("/login/code", {"code": code}).status_code


def test_steps_of_time() -> None:
    """The values of RFC 6238 appendix B (SHA-1), in six digits."""
    seed = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    for now, code in ((59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")):
        assert second_factor.step_of(seed, code, now) == now // 30
        assert second_factor.step_of(seed, f"{code[:3]} {code[3:]}", now + 30) == now // 30
        assert second_factor.step_of(seed, code, now + 90) is None
    for none in ("", "28708", "abcdef", "२८७०८२", "2870821"):
        assert second_factor.step_of(seed, none, 59) is None


def test_recovery_codes_are_kept_as_hashes_and_used_once() -> None:
    codes = second_factor.new_recovery_codes()
    stored = second_factor.kept(codes)
    assert not any(code in stored for code in codes)
    rest = second_factor.without(stored, f" {codes[0].upper().replace('-', ' ')} ")
    assert rest is not None
    assert second_factor.without(rest, codes[0]) is None
    assert second_factor.without(rest, codes[1]) is not None
    assert second_factor.without("", "") is None


def test_the_picture_holds_the_seed() -> None:
    assert 'class="qr"' in qr_code("x")
    address = second_factor.address("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "anna", "Office Graz")
    assert address.startswith("otpauth://totp/Office%20Graz:anna?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")


def test_password_then_code(desk: Desk, codes: list[str], visitor: Visitor, clock: Clock) -> None:
    assert visitor.log_in("anna").location == "/login/code"
    assert visitor.get("/").location.startswith("/login")  # half a login is none
    visitor.get("/login/code")
    assert enter(visitor, "000000") == 401
    assert enter(visitor, code_of(desk, "anna", clock)) == 303
    assert visitor.get("/").status_code == 200


def test_a_code_is_taken_once(desk: Desk, codes: list[str], app: Flask, clock: Clock) -> None:
    code = code_of(desk, "anna", clock)
    answers = []
    for _ in range(2):
        visitor = Visitor(app.test_client())
        visitor.log_in("anna")
        visitor.get("/login/code")
        answers.append(enter(visitor, code))
    assert answers == [303, 401]
    clock.now -= 30  # nor one from before it
    assert enter(visitor, code_of(desk, "anna", clock)) == 401


def test_the_code_that_switched_it_on_is_used_up(desk: Desk, anna: Visitor, visitor: Visitor, clock: Clock) -> None:
    switch_on(anna, clock)
    visitor.log_in("anna")
    visitor.get("/login/code")
    assert enter(visitor, code_of(desk, "anna", clock)) == 401


def test_a_recovery_code_lets_in_once(codes: list[str], app: Flask) -> None:
    answers = []
    for code in (codes[0], codes[0], codes[1]):
        visitor = Visitor(app.test_client())
        visitor.log_in("anna")
        visitor.get("/login/code")
        answers.append(enter(visitor, code))
    assert answers == [303, 401, 303]


def test_guesses_at_the_code_are_slowed_down(codes: list[str], visitor: Visitor, desk: Desk, clock: Clock) -> None:
    visitor.log_in("anna")
    visitor.get("/login/code")
    assert [enter(visitor, f"{n:06}") for n in range(FREE["account"] + 1)] == [401] * FREE["account"] + [429]
    assert enter(visitor, code_of(desk, "anna", clock)) == 429  # a right guess among them has to wait too


def test_the_password_has_to_be_shown_again_after_a_while_or_when_it_has_changed(
    desk: Desk, codes: list[str], app: Flask, clock: Clock
) -> None:
    slow, late = Visitor(app.test_client()), Visitor(app.test_client())
    for each in (slow, late):
        each.log_in("anna")
        each.get("/login/code")
    desk.admin.set_password(user(desk, "anna").id, "another long password", "root")
    assert slow.post("/login/code", {"code": code_of(desk, "anna", clock)}).location == "/login"
    late.log_in("anna", "another long password")
    clock.now += 301
    assert late.post("/login/code", {"code": code_of(desk, "anna", clock)}).location == "/login"
    assert Visitor(app.test_client()).get("/login/code").location == "/login"


def test_a_wrong_code_switches_nothing_on(desk: Desk, anna: Visitor) -> None:
    anna.get("/account/code")
    assert anna.post("/account/code", {"code": "000000", "current": PASSWORD}).status_code == 422
    assert anna.post("/account/code", {"code": "000000", "current": "wrong"}).status_code == 422
    assert user(desk, "anna").totp_seed == ""


def test_switching_it_off_takes_the_password(desk: Desk, anna: Visitor, codes: list[str]) -> None:
    anna.get("/account/code")
    assert anna.post("/account/code/off", {"current": "wrong"}).status_code == 422
    assert user(desk, "anna").totp_seed
    assert anna.post("/account/code/off", {"current": PASSWORD}).status_code == 303
    assert (user(desk, "anna").totp_seed, user(desk, "anna").recovery_codes) == ("", "")


def test_new_recovery_codes_make_the_old_ones_useless(desk: Desk, anna: Visitor, codes: list[str]) -> None:
    anna.get("/account/code")
    page = anna.post("/account/code/recovery", {"current": PASSWORD}).get_data(as_text=True)
    assert codes[0] not in page
    assert second_factor.without(user(desk, "anna").recovery_codes, codes[0]) is None


def test_nothing_secret_is_in_pages_or_the_journal(desk: Desk, anna: Visitor, codes: list[str]) -> None:
    seed = user(desk, "anna").totp_seed
    for path in ("/account", "/account/code", f"/users/{user(desk, 'anna').id}", "/changes"):
        text = anna.get(path).get_data(as_text=True)
        assert seed not in text
        assert codes[0] not in text
    assert all(seed not in str(row) for row in desk.admin.journal())
    assert any(row.event == Said("journal.second-on") for row in desk.admin.journal())


def test_it_can_be_demanded_of_administrators(
    desk: Desk, app: Flask, anna: Visitor, ben: Visitor, clock: Clock
) -> None:
    desk.admin.create("user", {"username": "dora", "role": "own"}, "root", password=PASSWORD)
    desk.admin.update("settings", "settings", {"second_factor": "yes"}, "root")
    for visitor in (anna, ben):
        for path in ("/", "/extensions", "/users/add"):
            assert visitor.get(path).location == "/account/code", "nothing else until there is one"
        switch_on(visitor, clock)
        assert visitor.get("/").status_code == 200
    dora = Visitor(create_portal(desk).test_client())
    assert dora.log_in("dora").location == "/"
    assert dora.get("/").status_code == 200


def test_an_administrator_removes_it_for_who_has_lost_everything(
    desk: Desk, anna: Visitor, ben: Visitor, clock: Clock
) -> None:
    switch_on(ben, clock)
    key = user(desk, "ben").id
    assert "A login code is asked for." in anna.get(f"/users/{key}/login").get_data(as_text=True)
    assert anna.post(f"/users/{key}/login/code").status_code == 303
    assert user(desk, "ben").totp_seed == ""
    assert "removed the second factor of Ben Carter" in anna.get("/changes").get_data(as_text=True)


# ---- passwords that are given ----------------------------------------------------------------------------------------------


def test_a_given_password_is_shown_once_and_has_to_be_changed(
    desk: Desk, app: Flask, anna: Visitor, ben: Visitor
) -> None:
    key = user(desk, "ben").id
    anna.get(f"/users/{key}/login")
    page = anna.post(f"/users/{key}/login/password").get_data(as_text=True)
    password = re.search(r'<code id="given">(.*?)</code>', page).group(1)  # type: ignore[union-attr]
    assert password not in anna.get(f"/users/{key}/login").get_data(as_text=True)
    assert all(password not in str(row) for row in desk.admin.journal())
    assert ben.get("/").status_code == 303  # every session has ended
    assert ben.log_in("ben").status_code == 401
    assert ben.log_in("ben", password).status_code == 303
    for path in ("/", "/extensions", "/account/code"):
        assert ben.get(path).location == "/account"
    assert "given to you" in ben.get("/account").get_data(as_text=True)
    new = "a password of my own"
    assert ben.post("/account", {"password": new, "again": new}).location == "/"
    assert ben.get("/").status_code == 200
    assert (
        ben.post("/account", {"password": PASSWORD, "again": PASSWORD}).status_code == 422
    )  # now the old one is asked for
    assert Visitor(app.test_client()).log_in("ben", password).status_code == 401


# ---- sessions --------------------------------------------------------------------------------------------------------------


def test_sessions_are_listed_and_ended_by_their_user(desk: Desk, app: Flask, anna: Visitor) -> None:
    other = Visitor(app.test_client(), "198.51.100.7")
    other.get("/login")
    other.post("/login", {"username": "anna", "password": PASSWORD}, **{"User-Agent": FIREFOX})
    page = anna.get("/account").get_data(as_text=True)
    assert "Firefox, Linux" in page
    assert "198.51.100.7" in page
    (key,) = re.findall(r"/account/sessions/([0-9a-f]{64})/end", page)
    assert anna.post(f"/account/sessions/{key}/end").status_code == 303
    assert other.get("/").status_code == 303
    assert anna.get("/").status_code == 200


def test_nobody_ends_the_session_of_somebody_else(desk: Desk, anna: Visitor, ben: Visitor) -> None:
    (one,) = desk.sessions.of(user(desk, "anna").id, START)
    ben.post(f"/account/sessions/{one.key}/end")
    assert anna.get("/").status_code == 200
    assert ben.post(f"/users/{user(desk, 'anna').id}/login/end").status_code == 403


def test_an_administrator_ends_the_sessions_of_a_user(desk: Desk, anna: Visitor, ben: Visitor) -> None:
    key = user(desk, "ben").id
    anna.get(f"/users/{key}/login")
    assert anna.post(f"/users/{key}/login/end").status_code == 303
    assert ben.get("/").status_code == 303
    assert anna.get("/").status_code == 200


def test_a_password_that_is_changed_anywhere_ends_the_sessions(desk: Desk, anna: Visitor) -> None:
    desk.admin.set_password(user(desk, "anna").id, "another long password", "the command line")
    assert anna.get("/").status_code == 303


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (FIREFOX, "Firefox, Linux"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile/15E148 Safari/604.1", "Safari, iPhone"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36 Edg/126.0", "Edge, Windows"),
        ("Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36", "Chrome, Android"),
        ("curl/8.5.0", ""),
    ],
)  # fmt: skip
def test_a_browser_is_called_as_its_owner_calls_it(agent: str, name: str) -> None:
    assert named(agent) == name
