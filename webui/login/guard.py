"""Who may open which page. Every route names its role; a route without one is answered 403 to everybody.

Roles: `anyone` (no login: style sheets, health) · `setup` (only before the first administrator exists) · `visitor` (login form) ·
`read-only` and `full` (the administration role of the user, full includes read-only).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

from flask import Blueprint, Flask, Response, abort, current_app, g, redirect, request, session, url_for
from flask.typing import ResponseReturnValue

from appliance.config.model import User
from webui.desk import desk
from webui.login import unsent
from webui.login.sessions import Session

log = logging.getLogger(__name__)
PageRole = Literal["anyone", "setup", "visitor", "read-only", "full"]
View = TypeVar("View", bound=Callable[..., ResponseReturnValue])

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # the CSRF check compares the referrer with the host
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def route(
    pages: Blueprint, rule: str, *, role: PageRole, methods: tuple[str, ...] = ("GET",), live: bool = False
) -> Callable[[View], View]:
    """Register a view with its role. live: the page fetches this by itself, so it does not keep a session awake."""

    def register(view: View) -> View:
        attributes = cast(Any, view)
        attributes.role, attributes.live = role, live
        pages.add_url_rule(rule, view_func=view, methods=list(methods))
        return view

    return register


def person() -> User:
    """The user of this request; only in views with a role that needs one."""
    return cast(User, g.person)


def may_change() -> bool:
    return getattr(g, "person", None) is not None and person().role == "full"


def enforce() -> ResponseReturnValue | None:
    """Before each request: is this page for this visitor?"""
    g.person = None
    g.mark = ""
    if request.endpoint is None:
        return None  # no such page: 404
    view = current_app.view_functions[request.endpoint]
    role = getattr(view, "role", None)
    if role == "anyone":
        return None
    if role is None:
        log.error("no role is declared for %s", request.endpoint)
        abort(403)
    here = cast(Session, session)
    here.live = bool(getattr(view, "live", False))
    snapshot = desk().admin.snapshot
    g.mark = snapshot.mark  # before the view looks: what it shows is as new as this, or newer
    if not snapshot.has_administrator:
        return None if role == "setup" else _send_to(url_for("setup.begin"))
    if role == "setup":
        return _send_to(url_for("login.form"))
    if here.user:
        user = snapshot.users.get(here.user)
        if user is None or user.role == "none":
            here.ended = True
            return _send_to(url_for("login.form"))
        g.person = user
    if role == "visitor":
        return None
    if g.person is None:
        return _send_to(url_for("login.form", to=_back(here) or None))
    unsent.forget_sent()
    if role == "full" and not may_change():
        abort(403)
    return None


def _back(here: Session) -> str:
    """Where to go after the login: the page asked for, or the one whose form was sent without a session, with what was typed."""
    if request.method == "POST":
        return unsent.keep()
    return "" if here.live else request.full_path.rstrip("?")


def _send_to(address: str) -> Response:
    """A redirect; for a part of a page, of the whole page."""
    if request.headers.get("HX-Request"):
        return Response(status=204, headers={"HX-Redirect": address})
    return cast(Response, redirect(address, 303))


def add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def install(app: Flask) -> None:
    app.before_request(enforce)
    app.after_request(add_headers)
