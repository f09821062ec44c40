"""The logged-in person's own password and sessions, on both ports."""

from __future__ import annotations

import math
from typing import cast

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from appliance.config.model import Problem, Refused
from appliance.words import Said
from webui.desk import desk
from webui.forms import problems_by_field
from webui.login.agents import named
from webui.login.guard import PASSWORD, acting, home, mark_of, owes, person, route
from webui.login.sessions import Listed, Session, key_of
from webui.login.throttle import counts
from webui.wording import t

pages = Blueprint("account", __name__)


@route(pages, "/account", role="person")
def form() -> ResponseReturnValue:
    return _page({})


def _page(problems: dict[str, str]) -> str:
    return render_template(
        "account.html",
        problems=problems,
        sessions=sessions_of(person().id),
        mine=key_of(cast(Session, session).cookie),
        first=owes(person(), desk().admin.snapshot) == "account.form",
    )


def sessions_of(user: str) -> list[tuple[Listed, str]]:
    """Each with the name of its browser."""
    return [(one, named(one.agent) or t("account.some-browser")) for one in desk().sessions.of(user, desk().now())]


@route(pages, "/account", role="person", methods=("POST",))
def change() -> ResponseReturnValue:
    here, given = desk(), person().password_given
    try:
        if not given:  # one that was given has just been typed at the login
            check_password(request.form.get("current", ""))
        if request.form.get("password", "") != request.form.get("again", ""):
            raise Refused(Problem("again", Said("account.not-same")))
        acting().set_password(person().id, request.form.get("password", ""))
    except Refused as refused:
        return _page(problems_by_field(refused.problems)), 422
    session[PASSWORD] = mark_of(here.admin.snapshot.users[person().id])
    here.sessions.end_all_of(person().id, but=cast(Session, session).cookie)
    flash(t("account.changed"))
    return redirect(home() if given else url_for("account.form"), 303)


@route(pages, "/account/sessions/<key>/end", role="person", methods=("POST",))
def end_session(key: str) -> ResponseReturnValue:
    if desk().sessions.end_one_of(person().id, key):
        flash(t("account.session-ended"))
    return redirect(url_for("account.form"), 303)


@route(pages, "/account/sessions/end", role="person", methods=("POST",))
def end_others() -> ResponseReturnValue:
    desk().sessions.end_all_of(person().id, but=cast(Session, session).cookie)
    flash(t("account.sessions-ended"))
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
