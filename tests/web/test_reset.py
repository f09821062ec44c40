"""The factory reset on the page: asked for with the password, on the appliance only; its answer lets the browser forget the old box."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.box import update_client
from appliance.box.update_client import HelperFailed
from tests.web.made import PASSWORD, Visitor
from webui.login.throttle import FREE

WORDS = "The box starts as new"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the box's helper was asked."""
    rows: list[dict[str, Any]] = []
    monkeypatch.setattr(update_client, "available", lambda: True)
    monkeypatch.setattr(update_client, "ask", lambda do, **words: rows.append({"do": do, **words}))
    return rows


def test_on_a_computer_of_ones_own_there_is_none(anna: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update_client, "available", lambda: False)
    assert anna.get("/reset").status_code == 404
    assert "Factory reset" not in anna.get("/backup").get_data(as_text=True)


def test_without_the_password_nothing_happens(anna: Visitor, asked: list[dict[str, Any]]) -> None:
    assert "/reset" in anna.get("/backup").get_data(as_text=True)
    assert "Erase everything" in anna.get("/reset").get_data(as_text=True)
    for typed in ("", "wrong", PASSWORD + " "):
        answer = anna.post("/reset", {"keep_network": "yes", "current": typed})
        assert answer.status_code == 422
        assert "This is not your password." in answer.get_data(as_text=True)
    for _ in range(FREE["device"]):  # a session counts as the browser it is in
        last = anna.post("/reset", {"current": "wrong"})
    assert "Too many wrong passwords." in last.get_data(as_text=True)
    assert asked == []


@pytest.mark.parametrize("keep", [True, False])
def test_with_it_the_box_is_asked(anna: Visitor, asked: list[dict[str, Any]], keep: bool) -> None:
    anna.get("/reset")
    answer = anna.post("/reset", {"current": PASSWORD, **({"keep_network": "yes"} if keep else {"erase_media": "yes"})})
    assert answer.status_code == 200
    text = answer.get_data(as_text=True)
    assert WORDS in text
    assert ("this address" in text) is keep
    assert answer.headers["Strict-Transport-Security"] == "max-age=0"
    assert asked == [{"do": "factory-reset", "sure": "factory reset", "keep_network": keep, "erase_media": not keep}]


def test_what_the_box_refuses_is_shown(
    anna: Visitor, asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(do: str, **words: Any) -> None:
        raise HelperFailed("An update is being installed; reset afterwards.")

    monkeypatch.setattr(update_client, "ask", refuse)
    anna.get("/reset")
    answer = anna.post("/reset", {"current": PASSWORD})
    assert answer.status_code == 409
    assert "An update is being installed" in answer.get_data(as_text=True)
