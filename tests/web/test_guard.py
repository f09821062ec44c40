"""Who may open what: every route names its role, and the answer to everybody else is no."""

from __future__ import annotations

import pytest
from flask import Blueprint, Flask
from werkzeug.routing import Rule

from appliance.config.kinds import KINDS
from appliance.config.kinds.people import AREAS
from appliance.config.rights import VERBS
from tests.web.made import CODE, Visitor
from webui.app import create_app
from webui.desk import Desk
from webui.login.guard import CONTENT_SECURITY_POLICY
from webui.login.sessions import COOKIE

PUBLIC = {"static", "health.check", "encryption.authority", "backup.restored"}


def test_every_route_names_its_right(app: Flask) -> None:
    views = {rule.endpoint: app.view_functions[rule.endpoint] for rule in app.url_map.iter_rules()}
    for endpoint, view in views.items():
        verb, _, kind = getattr(view, "may", "").partition(" ")
        assert getattr(view, "role", None) or (verb in VERBS and (kind in AREAS or kind in KINDS)), endpoint
    roles = {endpoint: getattr(view, "role", None) for endpoint, view in views.items()}
    assert {endpoint for endpoint, role in roles.items() if role == "anyone"} == PUBLIC
    assert {endpoint for endpoint, role in roles.items() if role == "setup"} == {
        "setup.begin", "setup.enter_code", "setup.name_administrator", "setup.complete",
        "setup.choose_backup", "setup.take_backup",
    }  # fmt: skip


def changes(app: Flask, rule: Rule) -> bool:
    """Whether it needs a right that is more than to look."""
    needed = getattr(app.view_functions[rule.endpoint], "may", "")
    return bool(needed) and not needed.startswith("see ")


def test_every_change_needs_more_than_to_look(app: Flask) -> None:
    for rule in app.url_map.iter_rules():
        if "POST" in (rule.methods or ()):
            role = app.view_functions[rule.endpoint].role  # type: ignore[attr-defined]
            own = role in ("setup", "visitor", "person") or rule.endpoint.endswith(".choose_columns")  # kept with the visitor's session
            assert changes(app, rule) or own, rule


def address(rule: object) -> str:
    return str(rule).replace("<path:filename>", "x").replace("<key>", "x").replace("<call>", "x").replace("<int:revision>", "1").replace("<field>", "x").replace("<kind>", "extension")


def test_a_stranger_is_sent_to_the_login_everywhere(app: Flask, visitor: Visitor) -> None:
    tried = 0
    visitor.get("/login")
    for rule in app.url_map.iter_rules():
        if app.view_functions[rule.endpoint].role in ("anyone", "visitor"):  # type: ignore[attr-defined]
            continue
        for method in {"GET", "POST"} & (rule.methods or set()):
            response = visitor.get(address(rule)) if method == "GET" else visitor.post(address(rule))
            assert response.status_code == 303, rule
            assert response.location.startswith("/login"), rule
            tried += 1
    assert tried > 25


def test_read_only_changes_nothing(app: Flask, ben: Visitor) -> None:
    for rule in app.url_map.iter_rules():
        if changes(app, rule):
            for method in {"GET", "POST"} & (rule.methods or set()):
                response = ben.get(address(rule)) if method == "GET" else ben.post(address(rule))
                assert response.status_code == 403, rule


def test_a_route_without_a_role_is_closed(desk: Desk) -> None:
    app = create_app(desk)
    forgotten = Blueprint("forgotten", __name__)
    forgotten.add_url_rule("/forgotten", view_func=lambda: "open")
    app.register_blueprint(forgotten)
    anna = Visitor(app.test_client())
    anna.log_in("anna")
    assert anna.get("/forgotten").status_code == 403


def test_before_setup_everything_leads_to_the_wizard(new_desk: Desk) -> None:
    visitor = Visitor(create_app(new_desk).test_client())
    for path in ("/", "/login", "/extensions", "/users/add"):
        assert visitor.get(path).location == "/setup"
    assert visitor.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/login", "/healthz", "/nothing", "/static/app.css", "/extensions", "/encryption/authority.crt"]
)
def test_security_headers_are_on_every_answer(anna: Visitor, path: str) -> None:
    headers = anna.get(path).headers
    assert headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "max-age" in headers["Strict-Transport-Security"]
    if not path.startswith("/static"):
        assert headers["Cache-Control"] == "no-store"


def test_pages_hold_no_inline_script_or_style(anna: Visitor) -> None:
    for path in (
        "/",
        "/extensions",
        "/extensions/add",
        "/users",
        "/licence",
        "/changes",
        "/dial-plan",
        "/encryption",
        "/calls",
        "/account",
        "/welcome",
    ):
        text = anna.get(path).get_data(as_text=True)
        assert " style=" not in text
        assert "<style" not in text
        assert " onclick=" not in text
        assert "<script>" not in text
        assert "hx-on" not in text


def test_a_post_without_its_token_is_refused(desk: Desk, anna: Visitor) -> None:
    anna.token = "wrong"
    assert anna.post("/extensions/add", {"number": "150"}).status_code == 400
    assert not desk.admin.snapshot.extensions


def test_a_post_from_another_site_is_refused(desk: Desk, anna: Visitor) -> None:
    assert anna.post("/extensions/add", {"number": "150"}, Referer="https://elsewhere.example/").status_code == 400
    assert not desk.admin.snapshot.extensions


def test_the_cookie_is_bound_to_this_host(visitor: Visitor) -> None:
    cookie = visitor.get("/login").headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert COOKIE.startswith("__Host-")
    for part in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert part in cookie
    assert "Domain" not in cookie


def test_a_part_of_a_page_sends_the_whole_page_to_the_login(visitor: Visitor) -> None:
    response = visitor.get("/live/calls", **{"HX-Request": "true"})
    assert response.status_code == 204
    assert response.headers["HX-Redirect"] == "/login"


def test_the_setup_code_is_not_in_any_page(new_desk: Desk) -> None:
    assert CODE not in Visitor(create_app(new_desk).test_client()).get("/setup").get_data(as_text=True)
