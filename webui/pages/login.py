"""Log in and out. Guesses are slowed down by source and by account; the answer never tells which of the two words was wrong."""

from __future__ import annotations

import logging
import math
from typing import cast

from flask import Blueprint, current_app, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from webui.desk import desk
from webui.guard import route
from webui.sessions import ServerSideSessions, Session
from webui.throttle import source_name

pages = Blueprint("login", __name__)
log = logging.getLogger(__name__)


@route(pages, "/login", role="visitor")
def form() -> ResponseReturnValue:
    if cast(Session, session).user:
        return redirect(url_for("status.listing"), 303)
    return render_template("login.html", username="", problem="", to=request.args.get("to", ""))


@route(pages, "/login", role="visitor", methods=("POST",))
def submit() -> ResponseReturnValue:
    username = request.form.get("username", "").strip()[:200]
    password = request.form.get("password", "")[:1024]
    to = request.form.get("to", "")
    here, now = desk(), desk().now()
    names = source_name(request.remote_addr), f"account {username.casefold()}"
    if wait := here.throttle.wait(now, *names):
        seconds = math.ceil(wait)
        problem = f"Too many attempts. Try again in {seconds} second{'s' if seconds > 1 else ''}."
        return (
            render_template("login.html", username=username, problem=problem, to=to),
            429,
            {"Retry-After": str(seconds)},
        )
    here.throttle.failed(now, *names)  # counted before the slow check, so that parallel guesses do not slip through
    user = here.admin.authenticate(username, password)
    if user is None:
        log.warning("login refused for %r from %s", username, request.remote_addr)
        return render_template("login.html", username=username, problem="User name or password is wrong.", to=to), 401
    here.throttle.succeeded(*names)
    if user.role == "none":
        problem = "This user may not open the admin page. An administrator can change that under Users."
        return render_template("login.html", username=username, problem=problem, to=to), 403
    log.info("%s logged in from %s", user.username, request.remote_addr)
    cast(ServerSideSessions, current_app.session_interface).begin(cast(Session, session), user.id)
    return redirect(to if is_local(to) else url_for("status.listing"), 303)


@route(pages, "/logout", role="visitor", methods=("POST",))
def leave() -> ResponseReturnValue:
    cast(Session, session).ended = True
    return redirect(url_for("login.form"), 303)


def is_local(address: str) -> bool:
    """Is it a path on this page, and nothing a browser could read as another host?"""
    return (
        address.startswith("/")
        and not address.startswith(("//", "/\\"))
        and all(letter.isprintable() for letter in address)
    )
