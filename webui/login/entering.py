"""Log in and out: the password, then a code where the user has a second factor. Guessing is slowed down (`throttle.py`), who knows is not; the
answer never tells which of user name and password was wrong.

Between the two steps the browser is still a stranger, with a note in the session (`HALF`) of whose password it has shown.
"""

from __future__ import annotations

import logging
import math
from typing import cast

from flask import Blueprint, Response, current_app, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from appliance.config.model import User
from appliance.config.rights import owner_actor
from appliance.config.rights.acting import Acting
from appliance.config.rights.second_factor import step_of
from appliance.words import Said
from webui import devices
from webui.desk import desk
from webui.login import unsent
from webui.login.guard import PASSWORD, actor_here, home, mark_of, route
from webui.login.sessions import ServerSideSessions, Session
from webui.login.throttle import Count, counts
from webui.wording import t

pages = Blueprint("login", __name__)
log = logging.getLogger(__name__)
HALF = "half"
HALF_SECONDS = 300.0  # until the password is asked for again


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
    names = _counts(username, "")
    if wait := here.throttle.wait(now, *names):
        return _draw(username, _held_back(math.ceil(wait), username), to, 429, {"Retry-After": str(math.ceil(wait))})
    here.throttle.failed(now, *names)  # counted before the slow check, so that parallel guesses do not slip through
    user = here.admin.authenticate(username, password)
    if user is None:
        log.warning("login refused for %r from %s", username, request.remote_addr)
        return _draw(username, t("login.wrong"), to, 401)
    here.throttle.succeeded(*names)
    if not actor_here(user).rights:
        return _draw(username, t("login.no-role"), to, 403)
    if user.totp_seed:
        session[HALF] = {"user": user.id, "password": mark_of(user), "until": here.now() + HALF_SECONDS, "to": to}
        return redirect(url_for("login.code_form"), 303)
    return _enter(user, to)


def _counts(username: str, what: str) -> tuple[Count, ...]:
    """What a guess counts as; from a browser that this user has logged in with before it counts there alone."""
    device = devices.user_of(desk(), request.cookies.get(devices.COOKIE, ""))
    owner = desk().admin.snapshot.users.get(device.user) if device else None
    own = device and owner and owner.username.casefold() == username.casefold()
    return counts(request.remote_addr, username + what, device.number + what if device and own else "")


def _held_back(seconds: int, username: str) -> str:
    return t("login.held-back", user=username or Said("login.this-user"), seconds=seconds)


def _enter(user: User, to: str) -> ResponseReturnValue:
    log.info("%s logged in from %s", user.username, request.remote_addr)
    known = devices.user_of(desk(), request.cookies.get(devices.COOKIE, ""))
    unsent.carry(cast(ServerSideSessions, current_app.session_interface).begin, user.id)
    session[PASSWORD] = mark_of(user)
    response = cast(Response, redirect(to if unsent.is_local(to) else home(actor_here(user)), 303))
    if known is None or known.user != user.id:
        devices.remember(desk(), response, user.id)
    return response


# ---- the second step -----------------------------------------------------------------------------------------------------


def _half() -> User | None:
    """Who has shown the right password in this browser, and has not changed it since."""
    noted = session.get(HALF) or {}
    user = desk().admin.snapshot.users.get(noted.get("user", "")) if noted.get("until", 0.0) > desk().now() else None
    return user if user is not None and user.totp_seed and mark_of(user) == noted["password"] else None


@route(pages, "/login/code", role="visitor")
def code_form() -> ResponseReturnValue:
    if g.person is not None or _half() is None:
        return redirect(url_for("login.form"), 303)
    return render_template("login_code.html", problem="")


@route(pages, "/login/code", role="visitor", methods=("POST",))
def submit_code() -> ResponseReturnValue:
    user = _half()
    if user is None:
        return redirect(url_for("login.form"), 303)
    here, now = desk(), desk().elapsed()
    names = _counts(user.username, " code")
    if wait := here.throttle.wait(now, *names):
        seconds = math.ceil(wait)
        problem = t("login.code-held-back", seconds=seconds)
        return render_template("login_code.html", problem=problem), 429, {"Retry-After": str(seconds)}
    here.throttle.failed(now, *names)
    if not _is_code(user, request.form.get("code", "")[:40]):
        log.warning("code refused for %r from %s", user.username, request.remote_addr)
        return render_template("login_code.html", problem=t("login.code-wrong")), 401
    here.throttle.succeeded(*names)
    return _enter(user, str((session.get(HALF) or {}).get("to", "")))


def _is_code(user: User, code: str) -> bool:
    """Of the app, and not used before; or one of the recovery codes, which is then gone."""
    if (step := step_of(user.totp_seed, code, desk().now())) is not None:
        return desk().sessions.use_step(user.id, step)
    return Acting(desk().admin, owner_actor(user, desk().admin.snapshot)).use_recovery_code(code)


@route(pages, "/logout", role="visitor", methods=("POST",))
def leave() -> ResponseReturnValue:
    cast(Session, session).ended = True
    return redirect(url_for("login.form"), 303)
