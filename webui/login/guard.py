"""Who may open which page. Every route names the right that it needs; a route without one is answered 403 to everybody.

A right is "VERB KIND" (`appliance.config.rights`): "see extension", "do backup"; a name in braces is an argument of the view ("see {kind}"). Where
no right is asked for, a role says for whom it is: `anyone` (no login: style sheets, health) · `setup` (only before the first administrator
exists) · `visitor` (login form) · `person` (whoever has logged in at this port: the own password and sessions). Which records of a kind may be
seen or changed is said by the use-cases as this person may use them (`acting`); views use nothing else.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, cast

from flask import Blueprint, Flask, Response, abort, current_app, g, redirect, request, session, url_for
from flask.typing import ResponseReturnValue

from appliance.config.model import Record, Snapshot, User
from appliance.config.rights import Actor, Verb, given_by
from appliance.config.rights.acting import Acting
from webui.desk import desk
from webui.login import unsent
from webui.login.sessions import Session

log = logging.getLogger(__name__)
Role = Literal["anyone", "setup", "visitor", "person"]
PASSWORD = "password"  # in a session: `mark_of` its user
HOME_OF_PORTAL = "portal.first"
# What somebody may owe, by the endpoint of its page: what may be opened before it is done.
OWED_PAGES: Mapping[str, frozenset[str]] = {
    "account.form": frozenset({"account.form", "account.change"}),
    "second_factor.form": frozenset({"second_factor.form", "second_factor.begin"}),
}
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
    pages: Blueprint,
    rule: str,
    *,
    may: str = "",
    role: Role | None = None,
    methods: tuple[str, ...] = ("GET",),
    live: bool = False,
) -> Callable[[View], View]:
    """Register a view with the right it needs, or the role. live: the page fetches this by itself, so it does not keep a session awake."""
    assert bool(may) != bool(role), f"{rule}: either a right or a role"

    def register(view: View) -> View:
        attributes = cast(Any, view)
        attributes.may, attributes.role, attributes.live = may, role, live
        pages.add_url_rule(rule, view_func=view, methods=list(methods))
        return view

    return register


def person() -> User:
    """The user of this request; only in views that need a login."""
    return cast(User, g.person)


def acting() -> Acting:
    """The use-cases as the user of this request may use them; only in views that need a login."""
    return cast(Acting, g.acting)


def actor_here(user: User) -> Actor:
    """Who a user is at the port of this request."""
    return cast(Actor, current_app.extensions["switchroom-actor"](user, desk().admin.snapshot))


def may(verb: Verb, kind: str, record: Record | None = None) -> bool:
    """Whether the user of this request has a right to it, for what a page offers."""
    return getattr(g, "person", None) is not None and acting().actor.may(verb, kind, record)


def opens(endpoint: str, actor: Actor | None = None) -> bool:
    """Whether somebody (the user of this request) may open a page that takes no argument."""
    view = cast(Any, current_app.view_functions[endpoint])
    if actor is None:
        return view.role is not None or may(*_right(view.may, {}))
    return view.role is not None or actor.may(*_right(view.may, {}))


def _right(declared: str, arguments: Mapping[str, Any]) -> tuple[Verb, str]:
    verb, _, kind = declared.format(**arguments).partition(" ")
    return cast(Verb, verb), kind


def home(actor: Actor | None = None) -> str:
    """The address of the first page of the menu that somebody (the user of this request) may open."""
    entries = current_app.extensions["switchroom-homes"]
    return url_for(next((endpoint for endpoint in entries if opens(endpoint, actor)), "account.form"))


def enforce() -> ResponseReturnValue | None:
    """Before each request: is this page for this visitor?"""
    g.person = g.acting = None
    g.mark = ""
    if request.endpoint is None:
        return None  # no such page: 404
    view = current_app.view_functions[request.endpoint]
    role, needed = getattr(view, "role", None), getattr(view, "may", "")
    if role == "anyone":
        return None
    if not role and not needed:
        log.error("no right is declared for %s", request.endpoint)
        abort(403)
    here = cast(Session, session)
    here.live = bool(getattr(view, "live", False))
    snapshot = desk().admin.snapshot
    g.mark = snapshot.mark  # before the view looks: what it shows is as new as this, or newer
    if not snapshot.has_administrator:
        # the page for everybody has no wizard: its first page tells the way there
        return None if role == "setup" or request.endpoint == HOME_OF_PORTAL else _send_to(url_for(_beginning()))
    if role == "setup":
        return _send_to(url_for("login.form"))
    if here.user:
        user = snapshot.users.get(here.user)
        actor = actor_here(user) if user is not None else None
        if user is None or actor is None or not actor.rights or here.get(PASSWORD, mark_of(user)) != mark_of(user):
            here.ended = True
            return _send_to(url_for("login.form"))
        g.person, g.acting = user, Acting(desk().admin, actor)
    if role == "visitor":
        return None
    if g.person is None:
        return _send_to(url_for("login.form", to=_back(here) or None))
    if (owed := owes(person(), snapshot)) and request.endpoint not in OWED_PAGES[owed]:
        return _send_to(url_for(owed))
    unsent.forget_sent()
    if needed and not may(*_right(needed, request.view_args or {})):
        if request.path == "/" and request.method == "GET":
            return _send_to(home())
        abort(403)
    return None


def mark_of(user: User) -> str:
    """Of the password that somebody has logged in with: a session ends when there is another one, whoever has set it."""
    return hashlib.sha256(user.password_hash.encode()).hexdigest()[:16]


def owes(user: User, snapshot: Snapshot) -> str:
    """The endpoint of the page that has to be done before all others: a password of one's own, a second factor; "" for none."""
    if user.password_given:
        return "account.form"
    if snapshot.settings.second_factor and not user.totp_seed and given_by(user, snapshot):
        return "second_factor.form"
    return ""


def _beginning() -> str:
    """The endpoint of what is there before there is an administrator."""
    return "setup.begin" if "setup.begin" in current_app.view_functions else HOME_OF_PORTAL


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


def install(app: Flask, actor: Callable[[User, Snapshot], Actor], homes: tuple[str, ...]) -> None:
    """actor: who somebody is at this port. homes: endpoints of the pages that a login may lead to, the first one that the user may open."""
    app.extensions["switchroom-actor"], app.extensions["switchroom-homes"] = actor, homes
    app.before_request(enforce)
    app.after_request(add_headers)
