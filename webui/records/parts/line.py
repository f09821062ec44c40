"""The Lines tab of an extension: each line's login for a phone. Parts of a page: what is typed on other tabs stays.

A SIP password is in no page until its key icon is clicked; that is a POST, and a row in the journal.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import Blueprint, Response, abort, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from appliance.config.model import Extension, Line, Problem, Refused
from appliance.cti import RegistrationView
from appliance.words import Listed, Said
from webui.desk import desk
from webui.forms import fields_of, problems_by_field, typed, values_of
from webui.login.guard import acting, route
from webui.pages.changes import deletion
from webui.wording import plain_time, t
from webui.work import live

pages = Blueprint("lines", __name__)


def lines_part(
    extension: Extension,
    *,
    said: str = "",
    problems: Iterable[Problem] = (),
    at: str = "",
    values: dict[str, Any] | None = None,
) -> Markup:
    """The tab's contents. problems and typed values belong to line `at` ("" is the whole tab)."""
    lines = acting().snapshot.lines_of.get(extension.id, ())
    phones = _phones_on(lines)
    refused = {one.line: one for one in live.refusals(desk()) if one.line}
    wrong = list(problems)
    drawn = [
        (
            line,
            fields_of(Line, values if at == line.id and values else values_of(line), wrong if at == line.id else ()),
            refused.get(line.id),
        )
        for line in lines
    ]
    problem = " ".join(problems_by_field(wrong).values()) if not at else problems_by_field(wrong).get("", "")
    part = Markup(
        render_template(
            "extension/lines.html",
            extension=extension,
            lines=drawn,
            phones=phones,
            said=said,
            problem=problem,
            boot=desk().boot,
        )
    )
    # the header of the page that it is put into, when it is not drawn with that page, tells of the phones too
    return part + phones_part(extension, (), swap=True) if request.blueprint == "lines" else part


def _phones_on(lines: Iterable[Line]) -> list[RegistrationView] | None:
    """The phones registered on these lines; None when nobody can tell."""
    answer, keys = live.registrations(desk()), {line.id for line in lines}
    return [one for one in answer.registrations if one.line in keys] if answer else None


def phones_part(extension: Extension, lines: Iterable[Line] = (), *, swap: bool = False) -> Markup:
    """How many phones are registered on the extension, and which on these lines. swap: each is put where the page shows it."""
    phones = _phones_on(acting().snapshot.lines_of.get(extension.id, ()))
    return Markup(render_template("extension/phones.html", lines=lines, phones=phones, swap=swap))


@route(pages, "/extensions/<key>/phones", may="see line", live=True)
def phones(key: str) -> ResponseReturnValue:
    return phones_part(_extension(key), acting().snapshot.lines_of.get(key, ()), swap=True)


def goes_off(lines: Iterable[Line]) -> str:
    """Which phones a new SIP username of these lines puts out of service, in a sentence."""
    found = _phones_on(lines)
    if found is None:
        return t("lines.goes-off-unknown")
    if not found:
        return t("lines.goes-off-none")
    phones = [Said.of("lines.phone-at", phone=one.user_agent or Said("lines.phone"), address=one.address) for one in found]
    return t("lines.goes-off", phones=Listed(tuple(phones)), count=len(phones))


def _extension(key: str) -> Extension:
    """When it has been deleted meanwhile, the whole page says so, not the part."""
    if (found := acting().snapshot.extensions.get(key)) is None:
        abort(Response(status=204, headers={"HX-Redirect": url_for("extensions.edit", key=key)}))
    return found


def _line(key: str) -> tuple[Line, Extension]:
    """When the line has been removed meanwhile, the tab is drawn as it is now and says so."""
    line = acting().snapshot.lines.get(key)
    if line is not None:
        return line, _extension(line.extension)
    row = deletion("line", key)
    if row is None:
        abort(404)
    extension = _extension(str((row.before or {}).get("extension", "")))
    name = (row.before or {}).get("sip_username", "")
    said = t("lines.removed-by", name=name, who=row.who, when=plain_time(row.at))
    whole = {"HX-Retarget": "#lines", "HX-Reswap": "outerHTML"}  # whatever place was to be filled
    return abort(Response(lines_part(extension, problems=[Problem("", said)]), headers=whole))


@route(pages, "/extensions/<key>/lines", may="see line", live=True)
def part(key: str) -> ResponseReturnValue:
    return lines_part(_extension(key))


@route(pages, "/extensions/<key>/lines", may="add line", methods=("POST",))
def add(key: str) -> ResponseReturnValue:
    extension = _extension(key)
    try:
        acting().add_line(key, {"label": request.form.get("label", "").strip()})
    except Refused as refused:
        return lines_part(extension, problems=refused.problems)
    return lines_part(extension, said=t("lines.added"))


@route(pages, "/lines/<key>", may="change line", methods=("POST",))
def save(key: str) -> ResponseReturnValue:
    line, extension = _line(key)
    values = typed(request.form, Line, "sip_username", "label")
    try:
        acting().update("line", key, values, mark=request.form.get("mark", ""))
    except Refused as refused:
        shown = {**values_of(line), **(refused.values or values)}
        return lines_part(extension, problems=refused.problems, at=key, values=shown)
    said = t("lines.saved")
    if values.get("sip_username", line.sip_username) != line.sip_username:
        said += f" {goes_off([line])}"
    return lines_part(extension, said=said)


@route(pages, "/lines/<key>/reveal", may="reveal line", methods=("POST",))
def reveal(key: str) -> ResponseReturnValue:
    line, _ = _line(key)
    return render_template(
        "extension/password.html", line=line, password=acting().reveal_sip_password(key)
    )


@route(pages, "/lines/<key>/renew", may="change line", methods=("POST",))
def renew(key: str) -> ResponseReturnValue:
    _, extension = _line(key)
    try:
        acting().renew_sip_password(key)
    except Refused as refused:
        return lines_part(extension, problems=refused.problems)
    return lines_part(extension, said=t("lines.renewed"))


@route(pages, "/lines/<key>/remove", may="delete line", methods=("POST",))
def remove(key: str) -> ResponseReturnValue:
    _, extension = _line(key)
    try:
        acting().delete("line", key)
    except Refused as refused:
        return lines_part(extension, problems=refused.problems)
    return lines_part(extension, said=t("lines.removed"))
