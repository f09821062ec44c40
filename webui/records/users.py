"""People: who may log in here, and whose extensions are whose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from appliance.config.model import Problem, Record, Refused, User
from appliance.config.search import folded
from appliance.config.search import found as found_in
from webui.desk import desk
from webui.forms import fields_of, problems_by_field, typed, values_of
from webui.login.guard import acting, person, route
from webui.login.sessions import Session
from webui.pages.changes import gone

pages = Blueprint("users", __name__)


@route(pages, "/users", may="see user")
def listing() -> ResponseReturnValue:
    text = request.args.get("q", "").strip()
    snapshot = acting().snapshot
    extensions: dict[str, list[Any]] = {}
    for extension in sorted(snapshot.extensions.values(), key=lambda one: (len(one.number), one.number)):
        extensions.setdefault(extension.user, []).append(extension)
    found = [user for user in snapshot.users.values() if found_in(text, user.username, user.full_name)]
    found.sort(key=lambda user: folded(user.full_name or user.username))
    part = request.headers.get("HX-Target") == "users"
    return render_template("users/list.html" if part else "users.html", users=found, extensions=extensions, text=text)


@route(pages, "/users/add", may="add user")
def add() -> ResponseReturnValue:
    return _form(None, {})


@route(pages, "/users/add", may="add user", methods=("POST",))
def create() -> ResponseReturnValue:
    values = typed(request.form, User)
    password = request.form.get("password", "")
    try:
        user = acting().create("user", values, password=password)
    except Refused as refused:
        return _form(None, values, refused), 422
    flash(f"{values.get('full_name') or values.get('username')} is added.")
    return redirect(url_for("users.edit", key=user.id), 303)


@route(pages, "/users/<key>", may="see user")
def edit(key: str) -> ResponseReturnValue:
    user = _user(key)
    return _form(user, values_of(user))


@route(pages, "/users/<key>", may="change user", methods=("POST",))
def save(key: str) -> ResponseReturnValue:
    user, values, password = _user(key), typed(request.form, User), request.form.get("password", "")
    mark = request.form.get("mark", "")
    try:
        saved = acting().update("user", key, values, mark=mark, password=password)
    except Refused as refused:
        return _form(user, refused.values or values, refused), 422
    if password or (isinstance(saved, User) and saved.role != user.role):
        desk().sessions.end_all_of(key, but=cast(Session, session).cookie)
    flash("Saved.")
    return redirect(url_for("users.edit", key=key), 303)


@route(pages, "/users/<key>/delete", may="delete user")
def ask_delete(key: str) -> ResponseReturnValue:
    user = _user(key)
    return _confirm(user)


@route(pages, "/users/<key>/delete", may="delete user", methods=("POST",))
def delete(key: str) -> ResponseReturnValue:
    user = _user(key)
    try:
        if key == person().id:
            raise Refused(Problem("", "You are logged in as this user. Log in as another administrator to delete it."))
        acting().delete("user", key)
    except Refused as refused:
        return _confirm(user, problems_by_field(refused.problems)), 422
    desk().sessions.end_all_of(key)
    flash(f"{user.full_name or user.username} is deleted.")
    return redirect(url_for("users.listing"), 303)


def _confirm(user: User, problems: dict[str, str] | None = None) -> str:
    name = user.full_name or user.username
    return render_template(
        "delete.html",
        what="user",
        name=name,
        consequences=acting().consequences("user", user.id),
        problem=" ".join((problems or {}).values()),
        back=url_for("users.edit", key=user.id),
        section="users",
    )


def _user(key: str) -> User:
    return acting().snapshot.users.get(key) or gone("user", key)


def _form(user: Record | None, values: Mapping[str, Any], refused: Refused | None = None) -> str:
    problems = refused.problems if refused else ()
    owned = [one for one in acting().snapshot.extensions.values() if user and one.user == user.id]
    return render_template(
        "user.html",
        user=user,
        fields=fields_of(User, values, problems),
        wrong=problems_by_field(problems),
        extensions=sorted(owned, key=lambda one: (len(one.number), one.number)),
    )
