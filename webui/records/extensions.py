"""Extensions: list, add, edit (General, Lines, Advanced in one form), delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from appliance.config.admin import Usernames, renamed
from appliance.config.model import Extension, Refused, Snapshot
from appliance.config.search import folded
from appliance.config.search import found as found_in
from appliance.cti import RegistrationView
from webui.desk import desk
from webui.forms import Field, Option, fields_of, problems_by_field, typed, values_of
from webui.login.guard import acting, route
from webui.pages.changes import gone
from webui.records.lines import goes_off, lines_part, phones_part
from webui.wording import say
from webui.work import live

pages = Blueprint("extensions", __name__)
TABS = {"number": "general", "usernames": "general", "name": "general", "user": "general", "ring_seconds": "advanced", "encrypt": "advanced"}


@route(pages, "/extensions", may="see extension")
def listing() -> ResponseReturnValue:
    text = request.args.get("q", "").strip()
    snapshot = acting().snapshot
    found = [one for one in snapshot.extensions.values() if _fits(text, one, snapshot)]
    found.sort(key=lambda one: (len(one.number), one.number))
    part = request.headers.get("HX-Target") == "extensions"
    return render_template(
        "extensions/list.html" if part else "extensions.html",
        extensions=found,
        phones=_phones(),
        snapshot=snapshot,
        text=text,
    )


def _fits(text: str, extension: Extension, snapshot: Snapshot) -> bool:
    owner = snapshot.users.get(extension.user)
    return found_in(text, extension.number, extension.name, *((owner.full_name, owner.username) if owner else ()))


def _phones() -> Mapping[str, list[RegistrationView]] | None:
    """Registered phones by number; None when nobody can tell."""
    answer = live.registrations(desk())
    if answer is None:
        return None
    phones: dict[str, list[RegistrationView]] = {}
    for one in answer.registrations:
        phones.setdefault(one.number, []).append(one)
    return phones


@route(pages, "/extensions/add", may="add extension")
def add() -> ResponseReturnValue:
    owner = acting().snapshot.users.get(request.args.get("user", ""))
    try:
        number = acting().suggest_number()
    except Refused:
        number = ""
    return _add_form({"number": number, "user": owner.id if owner else "", "name": owner.full_name if owner else ""})


@route(pages, "/extensions/add", may="add extension", methods=("POST",))
def create() -> ResponseReturnValue:
    values = typed(request.form, Extension)
    try:
        extension = acting().create("extension", values)
    except Refused as refused:
        return _add_form(values, refused), 422
    flash(f"Extension {values.get('number')} is added. Enter its line in a phone to use it.")
    return redirect(url_for("extensions.edit", key=extension.id, tab="lines"), 303)


@route(pages, "/extensions/<key>", may="see extension")
def edit(key: str) -> ResponseReturnValue:
    extension = _extension(key)
    return _edit_form(extension, values_of(extension), tab=request.args.get("tab", "general"))


@route(pages, "/extensions/<key>", may="change extension", methods=("POST",))
def save(key: str) -> ResponseReturnValue:
    extension, values = _extension(key), typed(request.form, Extension)
    tab, choice = request.form.get("tab", "general"), request.form.get("usernames", "")
    usernames: Usernames = choice if choice in ("keep", "change") else ""  # type: ignore[assignment]
    try:
        acting().update(
            "extension", key, values, mark=request.form.get("mark", ""), usernames=usernames
        )
    except Refused as refused:
        tab = next((TABS[problem.field] for problem in refused.problems if problem.field in TABS), tab)
        return _edit_form(extension, refused.values or values, refused, tab=tab, usernames=usernames), 422
    flash("Saved. Calls in progress keep what they started with.")
    return redirect(url_for("extensions.edit", key=key, tab=tab), 303)


@route(pages, "/extensions/<key>/delete", may="delete extension")
def ask_delete(key: str) -> ResponseReturnValue:
    return _confirm(_extension(key))


@route(pages, "/extensions/<key>/delete", may="delete extension", methods=("POST",))
def delete(key: str) -> ResponseReturnValue:
    extension = _extension(key)
    try:
        acting().delete("extension", key)
    except Refused as refused:
        return _confirm(extension, " ".join(say(problem.said) for problem in refused.problems)), 422
    flash(f"Extension {extension.number} is deleted.")
    return redirect(url_for("extensions.listing"), 303)


def _confirm(extension: Extension, problem: str = "") -> str:
    return render_template(
        "delete.html",
        what="extension",
        name=f"{extension.number} {extension.name}".strip(),
        consequences=acting().consequences("extension", extension.id),
        problem=problem,
        back=url_for("extensions.edit", key=extension.id),
        section="extensions",
    )


def _extension(key: str) -> Extension:
    return acting().snapshot.extensions.get(key) or gone("extension", key)


def _owners() -> tuple[Option, ...]:
    users = sorted(acting().snapshot.users.values(), key=lambda user: folded(user.full_name or user.username))
    return (
        Option("", "Nobody"),
        *(Option(user.id, f"{user.full_name or user.username} ({user.username})") for user in users),
    )


def _add_form(values: Mapping[str, Any], refused: Refused | None = None) -> str:
    problems = refused.problems if refused else ()
    fields = fields_of(Extension, values, problems, options={"user": _owners()})
    return render_template("extensions/add.html", fields=fields, wrong=problems_by_field(problems))


def _renumbering(extension: Extension, values: Mapping[str, Any], problem: str, chosen: str) -> Field | None:
    """The question what becomes of the SIP usernames, where they are made of a number that changes."""
    number, snapshot = str(values.get("number", "")), acting().snapshot
    new = renamed(snapshot, extension.id, number) if number and extension.id in snapshot.extensions else []
    if not new or not (problem or chosen):  # first the number itself has to be one
        return None
    old = [snapshot.lines[line.id] for line in new]
    was = ", ".join(line.sip_username for line in old)
    options = (
        Option("keep", f"Keep {was}", "Every phone stays registered; only the number that others dial changes."),
        Option("change", "Change it to the new number", goes_off(old)),
    )
    label = "SIP username" if len(new) == 1 else "SIP usernames"
    return Field("usernames", label, value=chosen, kind="choice", options=options, problem=problem)


def _edit_form(
    extension: Extension,
    values: Mapping[str, Any],
    refused: Refused | None = None,
    *,
    tab: str,
    usernames: Usernames = "",
) -> str:
    problems = refused.problems if refused else ()
    wrong = problems_by_field(problems)
    return render_template(
        "extensions/edit.html",
        extension=extension,
        renumbering=_renumbering(extension, values, wrong.get("usernames", ""), usernames),
        fields=fields_of(Extension, values, problems, options={"user": _owners()}),
        wrong=wrong,
        tab=tab if tab in ("general", "lines", "advanced") else "general",
        lines_html=lines_part(extension),
        phones_html=phones_part(extension),
        owner=acting().snapshot.users.get(extension.user),
    )
