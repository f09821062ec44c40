"""The logged-in person's own password."""

from __future__ import annotations

import math
from typing import cast

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from appliance.config.model import Problem, Refused
from appliance.words import Said
from webui.desk import desk
from webui.forms import problems_by_field
from webui.login.guard import acting, person, route
from webui.login.sessions import Session
from webui.login.throttle import counts
from webui.wording import t

pages = Blueprint("account", __name__)


@route(pages, "/account", role="person")
def form() -> ResponseReturnValue:
    return render_template("account.html", problems={})


@route(pages, "/account", role="person", methods=("POST",))
def change() -> ResponseReturnValue:
    here = desk()
    try:
        check_password(request.form.get("current", ""))
        if request.form.get("password", "") != request.form.get("again", ""):
            raise Refused(Problem("again", Said("account.not-same")))
        acting().set_password(person().id, request.form.get("password", ""))
    except Refused as refused:
        return render_template("account.html", problems=problems_by_field(refused.problems)), 422
    here.sessions.end_all_of(person().id, but=cast(Session, session).cookie)
    flash(t("account.changed"))
    return redirect(url_for("account.form"), 303)


def check_password(typed: str) -> None:
    """Whether this is really the person who has logged in: Refused (`current`) when it is not their password."""
    here, now = desk(), desk().elapsed()
    names = counts(request.remote_addr, person().username, cast(Session, session).cookie)
    if wait := here.throttle.wait(now, *names):
        raise Refused(Problem("current", Said.of("account.held-back", seconds=math.ceil(wait))))
    here.throttle.failed(now, *names)
    if here.admin.authenticate(person().username, typed) is None:
        raise Refused(Problem("current", Said("account.not-yours")))
    here.throttle.succeeded(*names)
