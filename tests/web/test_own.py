"""The page for everybody with a login: what somebody has, and nothing of anybody else."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from flask import Flask

from appliance import cti
from appliance.config.model import Line, User
from appliance.config.rights import OWN
from appliance.words import Said
from tests.web.made import PASSWORD, START, Clock, FakeBox, Visitor, phone
from webui.app import create_app
from webui.desk import Desk
from webui.login.sessions import COOKIE, PORTAL_COOKIE
from webui.portal import create_portal
from webui.work.phone_apps import BOUND, FETCHES, NAMESPACE, SECONDS, Handed


def user(desk: Desk, name: str) -> User:
    return next(each for each in desk.admin.snapshot.users.values() if each.username == name)


def line(desk: Desk, number: str) -> Line:
    return desk.admin.snapshot.lines_of[desk.admin.snapshot.extension_by_number[number].id][0]


def call(id: str, caller: str, dialled: str) -> dict[str, object]:
    """A record of a call that nobody took."""
    return {
        "id": id, "started": START - 60, "answered": None, "ended": START - 50, "caller_number": caller, "caller_name": "", "dialled": dialled,
        "callee_number": "", "callee_name": "", "outcome": "no answer", "cause": 16, "hung_up_by": "caller",
        "said": Said.of("call.told", words="Nobody answered."), "selftest": False, "legs": [], "people": [], "parts": [],
    }  # fmt: skip


@pytest.fixture
def portal(desk: Desk) -> Flask:
    """Dora (own) has 210 and 211, Anna (full) has 220, nobody has 230."""
    desk.admin.create("user", {"username": "dora", "full_name": "Dora Eck", "role": "own"}, "root", password=PASSWORD)
    for number, name in (("210", "dora"), ("211", "dora"), ("220", "anna"), ("230", "")):
        owner = user(desk, name).id if name else ""
        desk.admin.create("extension", {"number": number, "name": f"Phone {number}", "user": owner}, "root")
    return create_portal(desk)


def logged_in(portal: Flask, name: str) -> Visitor:
    visitor = Visitor(portal.test_client())
    assert visitor.log_in(name).location == "/"
    return visitor


@pytest.fixture
def dora(portal: Flask) -> Visitor:
    return logged_in(portal, "dora")


def test_own_extensions_with_phones_and_refusals(desk: Desk, dora: Visitor, box: FakeBox, clock: Clock) -> None:
    box.phones = [phone("210", "Dora", line=line(desk, "210").id, secure=True, agent="Desk Phone 5", since=clock.now)]
    refused = Said.of("refused.wrong-password", doing="register", account="211"), Said("refused.wrong-password-repair")
    box.refused = [
        cti.RefusalView(clock.now, "wrong-password", "192.0.2.9:5060", line(desk, "211").id, "211", *refused, 1)
    ]
    text = dora.get("/").get_data(as_text=True)
    assert ">210<" in text
    assert ">211<" in text
    assert "Desk Phone 5" in text
    assert "192.0.2.9" in text
    for foreign in ("220", "230", "Anna"):
        assert foreign not in text
    assert line(desk, "210").sip_password not in text


def test_who_has_no_extension_is_told_what_to_do(portal: Flask, desk: Desk) -> None:
    desk.admin.create("user", {"username": "emil", "role": "own"}, "root", password=PASSWORD)
    assert "No extension belongs to you yet." in logged_in(portal, "emil").get("/").get_data(as_text=True)


def test_the_key_icon_shows_the_password_and_is_written_down(desk: Desk, dora: Visitor) -> None:
    mine = line(desk, "210")
    dora.get("/")
    assert mine.sip_password in dora.post(f"/lines/{mine.id}/reveal").get_data(as_text=True)
    row = desk.admin.journal()[0]
    assert (row.who, row.kind, row.key) == ("dora", "line", mine.id)


def test_the_label_of_a_line(desk: Desk, dora: Visitor) -> None:
    mine = line(desk, "210")
    dora.get("/")
    assert dora.post(f"/lines/{mine.id}", {"label": "Desk", "sip_username": "999"}).status_code == 303
    assert (line(desk, "210").label, line(desk, "210").sip_username) == ("Desk", "210")
    assert dora.post(f"/lines/{mine.id}", {"label": "x" * 41}).status_code == 422


def test_own_settings_in_the_own_language(desk: Desk, dora: Visitor) -> None:
    dora.get("/settings")
    assert dora.post("/settings", {"language": "de", "role": "full", "username": "boss"}).status_code == 303
    dora_now = user(desk, "dora")
    assert (dora_now.language, dora_now.role) == ("de", "own")
    assert "Meine Telefone" in dora.get("/").get_data(as_text=True)


def test_own_password(desk: Desk, portal: Flask, dora: Visitor) -> None:
    new = "a password of my own"
    dora.get("/account")
    assert dora.post("/account", {"current": PASSWORD, "password": new, "again": new}).status_code == 303
    assert desk.admin.authenticate("dora", new) is not None


@pytest.mark.parametrize("name", ["dora", "anna", "ben"])
def test_what_belongs_to_others_is_not_there(desk: Desk, portal: Flask, name: str) -> None:
    """Whatever the role: on this page nobody has more than their own."""
    visitor, before = logged_in(portal, name), desk.admin.snapshot.revision
    visitor.get("/")
    for number in {"210", "220", "230"} - {"210" if name == "dora" else "220" if name == "anna" else ""}:
        theirs = line(desk, number)
        for path in (f"/lines/{theirs.id}", f"/lines/{theirs.id}/reveal", f"/lines/{theirs.id}/app"):
            assert visitor.post(path, {"label": "x"}).status_code == 404, path
        assert line(desk, number).label == ""
    assert desk.admin.snapshot.revision == before, "nothing is changed, nor shown"


def test_own_calls_alone(desk: Desk, dora: Visitor) -> None:
    desk.history.write(call("mine", "210", "500"), call("theirs", "220", "230"))
    while desk.history.index_more():
        pass
    text = dora.get("/calls").get_data(as_text=True)
    assert "/calls/mine" in text
    assert "theirs" not in text
    assert dora.get("/calls/mine").status_code == 200
    assert dora.get("/calls/theirs").status_code == 404
    for file in ("/calls.csv", "/calls.json"):
        assert "220" not in dora.get(file).get_data(as_text=True)


# ---- who gets in where -----------------------------------------------------------------------------------------------------


def test_who_only_has_own_things_gets_in_here_and_not_on_the_admin_page(portal: Flask, desk: Desk) -> None:
    admin = Visitor(create_app(desk).test_client())
    answer = admin.log_in("dora")
    assert answer.status_code == 403
    assert "may not open the admin page" in answer.get_data(as_text=True)
    nobody = Visitor(portal.test_client())
    assert nobody.log_in("carl").status_code == 403


def test_a_login_here_opens_nothing_on_the_admin_page_whatever_its_name(portal: Flask, desk: Desk) -> None:
    """Browsers send cookies to every port: an administrator logs in here, and the session is tried there under both names."""
    client = portal.test_client()
    Visitor(client).log_in("anna")
    cookie = client.get_cookie(PORTAL_COOKIE, domain="localhost")
    assert cookie is not None
    app = create_app(desk)
    for name in (PORTAL_COOKIE, COOKIE):
        other = app.test_client()
        other.set_cookie(name, cookie.value, domain="localhost", secure=True)
        assert Visitor(other).get("/").status_code == 303
        assert Visitor(other).get("/extensions").location.startswith("/login")
    cut = app.test_client()
    cut.set_cookie(COOKIE, cookie.value.partition(".")[2], domain="localhost", secure=True)
    assert Visitor(cut).get("/").status_code == 303


def test_a_login_on_the_admin_page_opens_nothing_here(portal: Flask, desk: Desk) -> None:
    client = create_app(desk).test_client()
    Visitor(client).log_in("anna")
    cookie = client.get_cookie(COOKIE, domain="localhost")
    assert cookie is not None
    for name in (PORTAL_COOKIE, COOKIE):
        other = portal.test_client()
        other.set_cookie(name, cookie.value, domain="localhost", secure=True)
        assert Visitor(other).get("/settings").status_code == 303


def test_every_page_here_needs_a_right_to_what_is_ones_own(portal: Flask) -> None:
    for rule in portal.url_map.iter_rules():
        view = portal.view_functions[rule.endpoint]
        verb, _, kind = getattr(view, "may", "").partition(" ")
        if verb:
            assert any((right.verb, right.kind, right.rows) == (verb, kind, "own") for right in OWN), rule
        else:
            assert view.role in ("anyone", "visitor", "person"), rule  # type: ignore[attr-defined]


def test_without_a_login_everything_leads_there(portal: Flask) -> None:
    stranger = Visitor(portal.test_client())
    for path in ("/calls", "/settings", "/account", "/account/code", "/calls.csv"):
        assert stranger.get(path).location.startswith("/login"), path


# ---- phone apps ------------------------------------------------------------------------------------------------------------


def settings_of(answer: bytes) -> dict[str, str]:
    return {entry.attrib["name"]: entry.text or "" for entry in ET.fromstring(answer).iter(f"{{{NAMESPACE}}}entry")}


def handed(desk: Desk) -> str:
    return next(iter(desk.handed._lines))


def test_a_phone_app_fetches_its_account_for_a_while(desk: Desk, portal: Flask, dora: Visitor, clock: Clock) -> None:
    mine = line(desk, "210")
    dora.get("/")
    page = dora.post(f"/lines/{mine.id}/app").get_data(as_text=True)
    assert 'class="qr"' in page
    assert mine.sip_password not in page
    assert desk.admin.journal()[0].who == "dora"
    app = Visitor(portal.test_client())
    answer = app.get(f"/phone/{handed(desk)}")
    assert answer.mimetype == "application/xml"
    settings = settings_of(answer.get_data())
    assert settings["reg_identity"] == '"Phone 210" <sip:210@localhost>'
    assert settings["reg_proxy"] == f"<sip:localhost:{desk.boot.sips_port};transport=tls>"
    assert (settings["username"], settings["passwd"], settings["media_encryption"]) == (
        "210",
        mine.sip_password,
        "srtp",
    )
    token = handed(desk)
    clock.now += SECONDS
    assert app.get(f"/phone/{token}").status_code == 404
    assert app.get("/phone/guessed").status_code == 404


def test_where_nothing_is_encrypted_the_app_is_told_so(desk: Desk, portal: Flask, dora: Visitor) -> None:
    desk.admin.update("extension", desk.admin.snapshot.extension_by_number["210"].id, {"encrypt": "off"}, "root")
    dora.get("/")
    dora.post(f"/lines/{line(desk, '210').id}/app")
    settings = settings_of(Visitor(portal.test_client()).get(f"/phone/{handed(desk)}").get_data())
    assert settings["reg_proxy"] == f"<sip:localhost:{desk.boot.sip_port};transport=udp>"
    assert settings["media_encryption"] == "none"


def test_addresses_for_apps_are_few_and_do_not_last() -> None:
    made = Handed()
    first = made.hand_out("one", 0.0)
    assert [made.take(first, 1.0) for _ in range(FETCHES + 1)] == ["one"] * FETCHES + [""]
    tokens = [made.hand_out(str(n), 0.0) for n in range(BOUND + 1)]
    assert made.take(tokens[0], 1.0) == ""
    assert made.take(tokens[1], 1.0) == "1"
    assert re.fullmatch(r"[\w-]{32}", tokens[2])
