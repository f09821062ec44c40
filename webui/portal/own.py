"""What somebody has: extensions with their lines and phones, own settings. Everything goes by the rights of who owns it."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, Response, abort, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from appliance.config.model import Extension, Line, Problem, Refused, User, service_number
from appliance.words import Said
from webui.desk import desk
from webui.forms import Field, Option, fields_of, problems_by_field, values_of
from webui.login.guard import acting, person, route
from webui.login.second_factor import qr_code
from webui.wording import say, t
from webui.work import live, phone_apps

pages = Blueprint("portal", __name__)


def name_of_this_box() -> str:
    """As the visitor has reached it, if its certificate knows that name: a made-up one leads nowhere."""
    certificate = desk().certificate()
    asked = urlsplit(f"//{request.host}").hostname or ""
    return asked if certificate and asked in certificate.names else desk().boot.host


def _admin_address() -> str:
    server = name_of_this_box()
    return f"https://{f'[{server}]' if ':' in server else server}:{desk().boot.admin_port}/"


@route(pages, "/", role="visitor")
def first() -> ResponseReturnValue:
    if g.person is not None:
        return _home()
    snapshot = desk().admin.snapshot
    return render_template(
        "portal/open.html",
        admin=_admin_address(),
        is_set_up=snapshot.has_administrator,
        server=name_of_this_box(),
        boot=desk().boot,
        certificate=desk().certificate(),
        echo=service_number(snapshot, "echo"),
    )


# ---- extensions and lines ------------------------------------------------------------------------------------------------


def _home(problems: dict[str, str] | None = None, *, revealed: str = "", password: str = "") -> str:
    """problems: by line. revealed: the line whose password is shown."""
    snapshot, registered = acting().snapshot, live.registrations(desk())
    extensions = sorted(snapshot.extensions.values(), key=lambda one: (len(one.number), one.number))
    return render_template(
        "portal/phones.html",
        extensions=[(one, snapshot.lines_of[one.id]) for one in extensions],
        phones=registered.registrations if registered else None,
        refused={one.line: one for one in live.refusals(desk()) if one.line},
        problems=problems or {},
        revealed=revealed,
        password=password,
        server=name_of_this_box(),
        boot=desk().boot,
        certificate=desk().certificate(),
        echo=service_number(desk().admin.snapshot, "echo"),
    )


def _line(key: str) -> tuple[Line, Extension]:
    snapshot = acting().snapshot
    line = snapshot.lines.get(key)
    extension = snapshot.extensions.get(line.extension) if line else None
    if line is None or extension is None:
        abort(404)
    return line, extension


@route(pages, "/lines/<key>", may="change line", methods=("POST",))
def save_line(key: str) -> ResponseReturnValue:
    _line(key)
    try:
        acting().update("line", key, {"label": request.form.get("label", "").strip()}, mark=request.form.get("mark", ""))
    except Refused as refused:
        return _home({key: " ".join(problems_by_field(refused.problems).values())}), 422
    flash(t("portal.saved"))
    return redirect(url_for("portal.first"), 303)


@route(pages, "/lines/<key>/reveal", may="reveal line", methods=("POST",))
def reveal(key: str) -> ResponseReturnValue:
    _line(key)
    return _home(revealed=key, password=acting().reveal_sip_password(key))


@route(pages, "/lines/<key>/app", may="reveal line", methods=("POST",))
def phone_app(key: str) -> ResponseReturnValue:
    """A QR code by which a phone app fetches what it has to know, the password too: so it is written down as shown."""
    line, extension = _line(key)
    acting().reveal_sip_password(key)
    token = desk().handed.hand_out(key, desk().now())
    address = url_for("portal.phone_settings", token=token, _external=True, _scheme="https")
    return render_template(
        "portal/app.html", line=line, extension=extension, picture=qr_code(address), minutes=int(phone_apps.SECONDS // 60)
    )


@route(pages, "/phone/<token>", role="anyone")
def phone_settings(token: str) -> ResponseReturnValue:
    """For the phone app, which has no login: whoever knows the address has seen the QR code."""
    snapshot = desk().admin.snapshot
    line = snapshot.lines.get(desk().handed.take(token, desk().now()))
    if line is None or (extension := snapshot.extensions.get(line.extension)) is None:
        abort(404)
    settings = phone_apps.linphone(line, extension, snapshot.settings.realm, name_of_this_box(), desk().boot.sip_port, desk().boot.sips_port)
    return Response(settings, mimetype="application/xml")


# ---- settings --------------------------------------------------------------------------------------------------------------


def _fields(problems: tuple[Problem, ...] = ()) -> list[Field]:
    """What is marked as personal of the own record."""
    declared = User.declared.fields
    language = [Option(value, say(Said.of(f"language.{value or 'office'}"))) for value in declared["language"].values]  # type: ignore[attr-defined]
    fields = fields_of(User, values_of(person()), problems, options={"language": language})
    return [field for name, field in fields.items() if declared[name].personal]


@route(pages, "/settings", may="see user")
def settings() -> ResponseReturnValue:
    return render_template("portal/settings.html", fields=_fields(), wrong={})


@route(pages, "/settings", may="change user", methods=("POST",))
def save_settings() -> ResponseReturnValue:
    values = {field.name: request.form[field.name] for field in _fields() if field.name in request.form}
    try:
        acting().update("user", person().id, values, mark=request.form.get("mark", ""))
    except Refused as refused:
        return render_template("portal/settings.html", fields=_fields(refused.problems), wrong=problems_by_field(refused.problems)), 422
    g.person = desk().admin.snapshot.users[person().id]  # the next sentence is in the new language
    flash(t("portal.saved"))
    return redirect(url_for("portal.settings"), 303)
