"""What the pages of extensions have by hand: registered phones, the Lines tab, the question what becomes of SIP usernames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask import render_template
from markupsafe import Markup

from appliance.config.admin import renamed
from appliance.config.model import Extension, Record, Snapshot
from appliance.cti import RegistrationView
from appliance.words import Said
from webui.desk import desk
from webui.forms import Field, Option
from webui.login.guard import acting
from webui.records.parts import Part, Values
from webui.records.parts.line import goes_off, lines_part, phones_part
from webui.wording import say, t
from webui.work import live


def _phones() -> Mapping[str, list[RegistrationView]] | None:
    """Registered phones by number; None when nobody can tell."""
    answer = live.registrations(desk())
    if answer is None:
        return None
    phones: dict[str, list[RegistrationView]] = {}
    for one in answer.registrations:
        phones.setdefault(one.number, []).append(one)
    return phones


def _cells(rows: Sequence[Record], snapshot: Snapshot) -> Mapping[tuple[str, str], Markup]:
    phones = _phones()
    return {
        (extension.id, "phones"): Markup(
            render_template("extension/cell.html", phones=None if phones is None else phones.get(extension.number, []), extension=extension)
        )
        for extension in rows
        if isinstance(extension, Extension)
    }


def _given(record: Record | None, values: Values, wrong: Mapping[str, str], sent: Mapping[str, str]) -> Mapping[str, Any]:
    if not isinstance(record, Extension):
        return {}
    return {
        "renumbering": _renumbering(record, values, wrong.get("usernames", ""), sent.get("usernames", "")),
        "lines_html": lines_part(record),
        "phones_html": phones_part(record),
    }


def _renumbering(extension: Extension, values: Values, problem: str, chosen: str) -> Field | None:
    """The question what becomes of the SIP usernames, where they are made of a number that changes."""
    number, snapshot = str(values.get("number", "")), acting().snapshot
    new = renamed(snapshot, extension.id, number) if number and extension.id in snapshot.extensions else []
    if not new or not (problem or chosen):  # first the number itself has to be one
        return None
    old = [snapshot.lines[line.id] for line in new]
    was = ", ".join(line.sip_username for line in old)
    options = (
        Option("keep", t("extensions.keep-usernames", names=was), t("extensions.keep-usernames-help")),
        Option("change", t("extensions.change-usernames"), goes_off(old)),
    )
    label = t("extensions.usernames", count=len(new))
    return Field("usernames", label, value=chosen, kind="choice", options=options, problem=problem)


def _arguments(form: Mapping[str, str]) -> Mapping[str, Any]:
    chosen = form.get("usernames", "")
    return {"usernames": chosen} if chosen in ("keep", "change") else {}


def _saved(before: Record | None, after: Record, form: Mapping[str, str]) -> str:
    if before is None and isinstance(after, Extension):
        return say(Said.of("extensions.added", number=after.number))
    return say(Said("extensions.saved"))


PART = Part(
    columns=(("phones", "extensions.phones"),),
    cells=_cells,
    follows="registrations",
    given=_given,
    tabs=(("lines", "kind.line-many"),),
    arguments=_arguments,
    saved=_saved,
    added_tab="lines",
)
