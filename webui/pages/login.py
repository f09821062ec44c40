"""Log in and out. Guessing is slowed down (`throttle.py`), who knows the password is not; the answer never tells which of the two words was wrong."""

from __future__ import annotations

import logging
import math
from typing import cast

from flask import Blueprint, Response, current_app, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from appliance.words import Said
from webui import devices
from webui.desk import desk
from webui.login import unsent
from webui.login.guard import actor_here, home, route
from webui.login.sessions import ServerSideSessions, Session
from webui.login.throttle import counts
from webui.wording import t

pages = Blueprint("login", __name__)
log = logging.getLogger(__name__)


@route(pages, "/login", role="visitor")
def form() -> ResponseReturnValue:
    if g.person is not None:
        return redirect(home(), 303)
    return _draw("", "", request.args.get("to", ""))


def _draw(username: str, problem: str, to: str, status: int = 200, headers: dict[str, str] | None = None) -> ResponseReturnValue:
    return render_template("login.html", username=username, problem=problem, to=to, kept=unsent.KEY in session), status, headers or {}


@route(pages, "/login", role="visitor", methods=("POST",))
def submit() -> ResponseReturnValue:
    username = request.form.get("username", "").strip()[:200]
    password = request.form.get("password", "")[:1024]
    to = request.form.get("to", "")
    here, now = desk(), desk().elapsed()
    device = devices.user_of(here, request.cookies.get(devices.COOKIE, ""))
    owner = here.admin.snapshot.users.get(device.user) if device else None
    own = device and owner and owner.username.casefold() == username.casefold()
    names = counts(request.remote_addr, username, device.number if device and own else "")
    if wait := here.throttle.wait(now, *names):
        return _draw(username, _held_back(math.ceil(wait), username), to, 429, {"Retry-After": str(math.ceil(wait))})
    here.throttle.failed(now, *names)  # counted before the slow check, so that parallel guesses do not slip through
    user = here.admin.authenticate(username, password)
    if user is None:
        log.warning("login refused for %r from %s", username, request.remote_addr)
        return _draw(username, t("login.wrong"), to, 401)
    here.throttle.succeeded(*names)
    if not (actor := actor_here(user)).rights:
        return _draw(username, t("login.no-role"), to, 403)
    log.info("%s logged in from %s", user.username, request.remote_addr)
    unsent.carry(cast(ServerSideSessions, current_app.session_interface).begin, user.id)
    response = cast(Response, redirect(to if unsent.is_local(to) else home(actor), 303))
    if not own:
        devices.remember(here, response, user.id)
    return response


def _held_back(seconds: int, username: str) -> str:
    return t("login.held-back", user=username or Said("login.this-user"), seconds=seconds)


@route(pages, "/logout", role="visitor", methods=("POST",))
def leave() -> ResponseReturnValue:
    cast(Session, session).ended = True
    return redirect(url_for("login.form"), 303)
