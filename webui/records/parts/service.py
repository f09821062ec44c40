"""The PBX services: one page with all of them, each with its switch, its number and what else its row has; saved together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from appliance.config.admin import Wanted
from appliance.config.model import KINDS, Problem, Refused, services
from appliance.words import Said
from webui.forms import Field, fields_of, problems_by_field, typed, values_of
from webui.login.guard import acting, route
from webui.records import edit, history
from webui.records.parts import NO_PART
from webui.wording import say

ROW = KINDS["service"]
pages = Blueprint(ROW.path, __name__)
edit.register(pages, ROW, NO_PART)
history.register(pages, ROW)


@route(pages, f"/{ROW.path}", may="see service")
def listing() -> ResponseReturnValue:
    return _page({})


@route(pages, f"/{ROW.path}", may="change service", methods=("POST",))
def save_all() -> ResponseReturnValue:
    wanted, names = [], list(services(acting().snapshot))
    for name in names:
        sent = {field: request.form[f"{name}.{field}"] for field in ROW.record.declared.fields if f"{name}.{field}" in request.form}
        wanted.append(Wanted("service", name, typed(sent, ROW.record), mark=request.form.get("mark", "")))
    try:
        acting().save_all(wanted)
    except Refused as refused:
        typed_values = {(names[place], field): value for (place, field), value in _by_place(refused.values or {}).items()}
        problems = [(names[place], Problem(field, said)) for (place, field), said in _by_place({p.field: p.said for p in refused.problems}).items()]
        return _page(typed_values, problems), 422
    flash(say(Said("records.saved")))
    return redirect(url_for("services.listing"), 303)


def _by_place(told: Mapping[str, Any]) -> dict[tuple[int, str], Any]:
    """What a batch tells as PLACE.FIELD."""
    found = {}
    for name, value in told.items():
        place, _, field = name.partition(".")
        found[int(place), field] = value
    return found


def _page(shown: Mapping[tuple[str, str], Any], problems: list[tuple[str, Problem]] | None = None) -> str:
    drawn: list[tuple[str, str, str, dict[str, Field]]] = []
    snapshot = acting().snapshot
    for name, service in services(snapshot).items():
        values = {field: shown.get((name, field), value) for field, value in values_of(service).items()}
        own = [problem for at, problem in problems or () if at == name]
        fields = fields_of(ROW.record, values, own, snapshot=snapshot)
        named = {key: replace(field, name=f"{name}.{key}") for key, field in fields.items()}
        whole = problems_by_field(own).get("", "")
        drawn.append((name, whole, say(Said(f"{name}.help")), named))
    return render_template("service/list.html", row=ROW, services=[(say(Said(f"{name}.title")), name, *rest) for name, *rest in drawn])
