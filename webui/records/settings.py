"""What the first-run wizard asked, and the few things that hold for the whole system; with the addresses it is reached at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from appliance.box import update_client
from appliance.config.countries import COUNTRIES, emergency_numbers
from appliance.config.model import Refused, Settings
from webui.desk import desk
from webui.forms import Option, fields_of, problems_by_field, typed, values_of
from webui.login.guard import person, route
from webui.pages.status import system

pages = Blueprint("settings", __name__)
# What an address of the running system is for.
ADDRESSES = {
    "admin": "This page",
    "portal": "Page for everybody",
    "sip": "Phones, SIP",
    "sips": "Phones, SIP over TLS",
    "rtp": "Sound (ports)",
}


@route(pages, "/settings", role="read-only")
def listing() -> ResponseReturnValue:
    return _page(values_of(desk().admin.snapshot.settings))


@route(pages, "/settings", role="full", methods=("POST",))
def save() -> ResponseReturnValue:
    values = typed(request.form, Settings)
    before = desk().admin.snapshot.settings
    try:
        desk().admin.update("settings", "settings", values, person().username, mark=request.form.get("mark", ""))
    except Refused as refused:
        return _page(refused.values or values, refused), 422
    realm = desk().admin.snapshot.settings.realm
    flash(
        "Saved." if realm == before.realm else f"Saved. Phones log in again with the realm {realm}, most by themselves."
    )
    return redirect(url_for("settings.listing"), 303)


def _page(values: Mapping[str, Any], refused: Refused | None = None) -> str:
    problems = refused.problems if refused else ()
    countries = sorted((country.name, code) for code, country in COUNTRIES.items())
    options = [
        *([] if values.get("country") else [Option("", "Choose …")]),
        *(Option(code, name) for name, code in countries),
    ]
    status = system()
    return render_template(
        "settings.html",
        fields=fields_of(Settings, values, problems, options={"country": options}),
        wrong=problems_by_field(problems),
        emergency=emergency_numbers(str(values.get("country", ""))),
        addresses=[(ADDRESSES.get(name, name), address) for name, address in status.addresses.items()]
        if status
        else [],
        certificate=desk().certificate(),
        box=update_client.available(),
    )
