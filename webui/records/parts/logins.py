"""How somebody else logs in, for who looks after the users: a password for the next login, the second factor, and where they are logged in."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from appliance.config.model import User
from webui.desk import desk
from webui.login.account import sessions_of
from webui.login.guard import acting, route
from webui.pages.changes import gone
from webui.wording import t

pages = Blueprint("logins", __name__)


def _page(user: User, password: str = "") -> str:
    # the second factor is nothing that the records show, but whether there is one
    kept = desk().admin.snapshot.users[user.id]
    return render_template(
        "logins.html", user=user, password=password, waits=kept.password_given, code=bool(kept.totp_seed), sessions=sessions_of(user.id)
    )


def _user(key: str) -> User:
    return acting().snapshot.users.get(key) or gone("user", key)


@route(pages, "/users/<key>/login", may="change user")
def listing(key: str) -> ResponseReturnValue:
    return _page(_user(key))


@route(pages, "/users/<key>/login/password", may="change user", methods=("POST",))
def give_password(key: str) -> ResponseReturnValue:
    """Shown once, and in no address."""
    user, password = _user(key), acting().give_password(key)
    desk().sessions.end_all_of(key)
    return _page(user, password)


@route(pages, "/users/<key>/login/code", may="change user", methods=("POST",))
def remove_code(key: str) -> ResponseReturnValue:
    _user(key)
    acting().remove_second_factor(key)
    flash(t("logins.code-removed"))
    return redirect(url_for("logins.listing", key=key), 303)


@route(pages, "/users/<key>/login/end", may="change user", methods=("POST",))
def end_sessions(key: str) -> ResponseReturnValue:
    _user(key)
    acting().demand_login_of(key)
    desk().sessions.end_all_of(key)
    flash(t("logins.ended"))
    return redirect(url_for("logins.listing", key=key), 303)
