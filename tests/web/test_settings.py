"""The settings after the wizard, and a licence file from the page."""

from __future__ import annotations

import io
from datetime import date
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from werkzeug.test import TestResponse

from appliance import cti
from appliance.config import licensing
from appliance.config.model import service_number
from appliance.host import entitlement
from tests.web.made import FakeBox, Visitor
from webui.desk import Desk


def test_what_the_wizard_set_is_changed(anna: Visitor, desk: Desk) -> None:
    text = anna.get("/settings").get_data(as_text=True)
    assert '<option value="DE" selected>' in text
    assert "Kept for emergency calls there: 112, 110" in text
    form = {
        "name": "Office Graz",
        "country": "AT",
        "first_extension": "200",
        "realm": "graz.example",
    }
    assert anna.post("/settings", form).status_code == 303
    assert anna.post("/services", {"echo.number": "*61", "echo.on": "yes"}).status_code == 303
    assert service_number(desk.admin.snapshot, "echo") == "*61"
    settings = desk.admin.snapshot.settings
    assert {name: getattr(settings, name) for name in form} == form
    assert settings.completed
    text = anna.get("/settings").get_data(as_text=True)
    assert "Phones log in again with the realm graz.example" in text
    assert "Office Graz</span>" in text
    assert "Number: “*60” → “*61”" in anna.get("/changes").get_data(as_text=True)
    assert "service Echo test" in anna.get("/changes").get_data(as_text=True)
    assert "Country: “DE” → “AT”" in anna.get("/changes").get_data(as_text=True)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"country": "XX"}, "Choose a country from the list"),
        ({"first_extension": "1"}, "2 to 6 digits"),
        ({"realm": "a b"}, "letters, digits, dots and dashes"),
        ({"name": "x" * 41}, "at most 40"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_field(anna: Visitor, desk: Desk, form: dict[str, str], said: str) -> None:
    before = desk.admin.snapshot.settings
    anna.get("/settings")
    answer = anna.post("/settings", form)
    assert answer.status_code == 422
    assert said in answer.get_data(as_text=True)
    assert desk.admin.snapshot.settings == before


def test_a_service_is_switched_off_and_on_again_and_keeps_its_number(anna: Visitor, desk: Desk) -> None:
    assert 'name="echo.on" type="checkbox" value="yes" checked' in anna.get("/services").get_data(as_text=True)
    assert anna.post("/services", {"echo.number": "*60", "echo.on": "no"}).status_code == 303
    assert service_number(desk.admin.snapshot, "echo") == ""
    assert "is an echo" not in anna.get("/welcome").get_data(as_text=True)
    assert 'value="*60"' in anna.get("/services").get_data(as_text=True)
    assert anna.post("/services", {"echo.number": "*61", "echo.on": "yes"}).status_code == 303
    assert service_number(desk.admin.snapshot, "echo") == "*61"
    assert "*61 is an echo" in anna.get("/welcome").get_data(as_text=True)
    assert "Number: “*60” → “*61”" in anna.get("/services/echo/history").get_data(as_text=True)


@pytest.mark.parametrize(("number", "said"), [("110", "kept for emergency calls"), ("sixty", "A service number has digits, * and #.")])
def test_a_number_that_no_service_can_have_is_refused_at_its_field(anna: Visitor, desk: Desk, number: str, said: str) -> None:
    anna.get("/services")
    answer = anna.post("/services", {"echo.number": number, "echo.on": "yes"})
    assert answer.status_code == 422
    assert said in answer.get_data(as_text=True)
    assert f'value="{number}"' in answer.get_data(as_text=True)
    assert service_number(desk.admin.snapshot, "echo") == "*60"


def test_what_was_typed_stays_where_it_is_refused(anna: Visitor, desk: Desk) -> None:
    anna.get("/settings")
    answer = anna.post("/settings", {"name": "Graz Office", "realm": "a b"}).get_data(as_text=True)
    assert 'value="Graz Office"' in answer
    assert 'value="a b"' in answer
    assert desk.admin.snapshot.settings.name == ""


def test_completed_is_not_a_field(anna: Visitor, desk: Desk) -> None:
    anna.get("/settings")
    anna.post("/settings", {"completed": ""})
    assert desk.admin.snapshot.settings.completed


def test_who_may_only_look_sees_and_changes_nothing(ben: Visitor, desk: Desk, box: FakeBox) -> None:
    box.status = cti.Status("1", 0.0, True, [], {}, [], "epoll", {"admin": "https://192.0.2.1:4021/"})
    assert "https://192.0.2.1:4021/" in ben.get("/settings").get_data(as_text=True)
    assert ben.post("/settings", {"realm": "mine"}).status_code == 403
    assert ben.post("/licence").status_code == 403
    assert desk.admin.snapshot.settings.realm == "switchroom"


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    monkeypatch.setattr(entitlement, "maker_key", lambda data: key.public_key())
    return key


def send(anna: Visitor, text: str) -> TestResponse:
    anna.get("/licence")
    form = {"csrf_token": anna.token, "file": (io.BytesIO(text.encode()), "office.json")}
    return anna._client.post(
        "/licence", data=form, base_url="https://localhost", headers={"Referer": "https://localhost/"}, buffered=True
    )


def issued(maker: Ed25519PrivateKey, box: str, users: int) -> str:
    days = {"issued": date(2026, 1, 1), "expires": None, "maintenance_until": None}
    return licensing.issue(maker, box=box, users=users, edition="standard", **days)


def test_a_licence_file_is_installed(anna: Visitor, desk: Desk, maker: Ed25519PrivateKey) -> None:
    data = Path(desk.boot.data)
    assert send(anna, issued(maker, entitlement.box_id(data), 20)).status_code == 303
    assert "Standard licence for 20 users" in anna.get("/licence").get_data(as_text=True)
    assert entitlement.read_limits(data).users == 20
    assert entitlement.licence_file(data).stat().st_mode & 0o777 == 0o600
    assert "installed a licence file" in anna.get("/changes").get_data(as_text=True)


def test_a_system_without_its_makers_key_asks_for_no_licence_file(
    anna: Visitor, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entitlement, "MAKER_KEY", Path(desk.boot.data) / "none.pem")
    page = anna.get("/licence").get_data(as_text=True)
    assert "built without its maker’s key" in page
    assert 'type="file"' not in page
    assert send(anna, "{}").status_code == 422


def test_one_that_does_not_fit_changes_nothing(anna: Visitor, desk: Desk, maker: Ed25519PrivateKey) -> None:
    data = Path(desk.boot.data)
    good = issued(maker, entitlement.box_id(data), 20)
    send(anna, good)
    other = issued(maker, "AAAA", 99)
    for wrong, said in (
        (other, "belongs to the box AAAA"),
        (good.replace("20", "99"), "changed after it was signed"),
        ("x", "not a licence"),
        ("", "not a licence"),
        ("x" * 50_000, "too large"),
    ):
        answer = send(anna, wrong)
        assert answer.status_code == 422
        assert said in answer.get_data(as_text=True)
    assert entitlement.licence_file(data).read_text() == good
