"""What the first-run wizard asked, and the few things that hold for the whole system; with the addresses it is reached at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from appliance.box import update_client
from appliance.config.countries import COUNTRIES, emergency_numbers, zones
from appliance.config.model import Problem, Refused, Service, Settings, services
from appliance.words import Said
from webui.desk import desk
from webui.forms import Field, Option, fields_of, problems_by_field, typed, values_of
from webui.login.guard import acting, route
from webui.wording import countries, say, t
from webui.work import live

pages = Blueprint("settings", __name__)
SETTINGS = "settings.settings."  # before the names of its fields, where they stand beside other records
# What an address of the running system is for.
ADDRESSES = {
    "admin": "This page",
    "portal": "Page for everybody",
    "sip": "Phones, SIP",
    "sips": "Phones, SIP over TLS",
    "rtp": "Sound (ports)",
}


@route(pages, "/settings", may="see settings")
def listing() -> ResponseReturnValue:
    snapshot = acting().snapshot
    return _page({f"{SETTINGS}{name}": value for name, value in values_of(snapshot.settings).items()})


@route(pages, "/settings", may="change settings", methods=("POST",))
def save() -> ResponseReturnValue:
    snapshot = acting().snapshot
    before = snapshot.settings
    wanted: dict[tuple[str, str], Mapping[str, str]] = {("settings", "settings"): typed(request.form, Settings)}
    for name, service in services(snapshot).items():
        number = request.form.get(f"service.{name}.number", "" if not service.on else service.number).strip()
        if number or service.on:  # one that is off has no number here, and gets one to be on
            wanted["service", name] = {"number": number, "on": "yes"}
    try:
        acting().update_all(wanted, mark=request.form.get("mark", ""))
    except Refused as refused:
        return _page(refused.values or {}, refused), 422
    realm = acting().snapshot.settings.realm
    flash(
        "Saved." if realm == before.realm else f"Saved. Phones log in again with the realm {realm}, most by themselves."
    )
    return redirect(url_for("settings.listing"), 303)


def _page(shown: Mapping[str, Any], refused: Refused | None = None) -> str:
    """`shown`: by KIND.ID.FIELD, as the use-case tells what it refuses."""
    values = {name.removeprefix(SETTINGS): value for name, value in shown.items()}
    problems = [Problem(each.field.removeprefix(SETTINGS), each.said) for each in refused.problems] if refused else []
    options = [
        *([] if values.get("country") else [Option("", "Choose …")]),
        *(Option(code, name) for code, name in countries()),
    ]
    status = live.system(desk())
    return render_template(
        "settings.html",
        fields=fields_of(Settings, values, problems, options={"country": options, "time_zone": _zones(values)}),
        numbers=_numbers(values, problems),
        wrong=problems_by_field(problems),
        emergency=emergency_numbers(str(values.get("country", ""))),
        addresses=[(ADDRESSES.get(name, name), address) for name, address in status.addresses.items()]
        if status
        else [],
        certificate=desk().certificate(),
        box=update_client.available(),
    )


def _zones(values: Mapping[str, Any]) -> list[Option]:
    """All there are; the first one is the country's."""
    named = str(values.get("country", "")) in COUNTRIES
    first = t("settings.zone-of-country") if named else t("settings.zone-of-machine")
    return [Option("", first), *(Option(name, name.replace("_", " ")) for name in zones())]


def _numbers(values: Mapping[str, Any], problems: Iterable[Problem]) -> list[Field]:
    """A field per service: its number, called as the service is."""
    found = []
    for name, service in services(acting().snapshot).items():
        at = f"service.{name}.number"
        (field,) = (
            each for each in fields_of(Service, {"number": values.get(at, service.number if service.on else "")}).values() if each.name == "number"
        )
        label, help = say(Said.of(f"{name}.title")), say(Said.of(f"{name}.help"))
        found.append(replace(field, name=at, label=label, help=help, problem=problems_by_field(problems).get(at, "")))
    return found
