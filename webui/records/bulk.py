"""Several records at once: which fields, a preview of what changes in each and what is wrong with it, and one revision for all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue

from appliance.config.admin import Result, Wanted
from appliance.config.declare import Kind, NumberPattern, Secret
from appliance.config.model import Problem, Refused, find
from appliance.config.reading.consequences import consequences
from appliance.config.reading.differences import differences
from appliance.words import Said
from webui.forms import fields_of, problems_by_field, typed
from webui.login.guard import acting, route
from webui.records.list import rows_of, view_of
from webui.records.named import label_of
from webui.records.parts import Part
from webui.wording import say, t

SHOWN = 200  # records of a preview


@dataclass(frozen=True)
class Previewed:
    """What happens to one record, in words."""

    name: str
    lines: tuple[str, ...]
    problems: tuple[str, ...]


def changeable(row: Kind[Any]) -> list[str]:
    """The fields that several records can have the same of: no numbers, no names that tell them apart, no secrets."""
    fields = row.record.declared.fields
    return [
        name
        for name, field in fields.items()
        if not field.hidden and name != row.named_by and not isinstance(field, Secret | NumberPattern) and not getattr(field, "unique", False)
    ]


def register(pages: Blueprint, row: Kind[Any], part: Part) -> None:
    if row.always:
        return

    @route(pages, f"/{row.path}/bulk", may=f"change {row.name}", methods=("POST",))
    def bulk() -> ResponseReturnValue:
        keys = _keys(row)
        if not keys:
            flash(say(Said("records.none-selected")))
            return redirect(f"/{row.path}?{view_of(row, request.args).query()}", 303)
        if request.form.get("do") == "delete":
            return _preview(row, part, keys, ())
        return _choose(row, keys)

    @route(pages, f"/{row.path}/bulk/preview", may=f"change {row.name}", methods=("POST",))
    def bulk_preview() -> ResponseReturnValue:
        keys, names = _keys(row), _names(row)
        if not names:
            return _choose(row, keys, (Problem("", Said("records.no-field-chosen")),)), 422
        return _preview(row, part, keys, names)

    @route(pages, f"/{row.path}/bulk/save", may=f"change {row.name}", methods=("POST",))
    def bulk_save() -> ResponseReturnValue:
        keys, names = _keys(row), _names(row)
        try:
            wanted = _wanted(row, keys, names)
            if request.form.get("skip"):
                results = acting().save_all(wanted, dry=True)
                wanted = [one for one, result in zip(wanted, results, strict=True) if not result.problems]
            _refuse_own(row, part, [one.key for one in wanted] if not names else [])
            results = acting().save_all(wanted)
        except Refused:
            return _preview(row, part, keys, names), 422
        for result in results:
            if not names and part.deleted and result.before is not None:
                part.deleted(result.before)
        count = sum(result.changes for result in results)
        said = t("records.many-saved", count=count) if names else t("records.many-deleted", count=count)
        flash(said, f"undo {acting().snapshot.revision}")
        return redirect(f"/{row.path}?{view_of(row, request.args).query()}", 303)


def _keys(row: Kind[Any]) -> list[str]:
    """The records that were selected: on this page, on others (`keys`), or all that the list's view finds."""
    snapshot = acting().snapshot
    if request.form.get("all"):
        rows, _, _ = rows_of(row, view_of(row, request.args), snapshot, count=1_000_000)
        return [record.id for record in rows]
    asked = [*request.form.getlist("key"), *filter(None, request.form.get("keys", "").split(","))]
    return [key for key in dict.fromkeys(asked) if find(snapshot, row.name, key) is not None]


def _names(row: Kind[Any]) -> tuple[str, ...]:
    asked = set(request.form.getlist("set"))
    return tuple(name for name in changeable(row) if name in asked)


def _wanted(row: Kind[Any], keys: list[str], names: tuple[str, ...]) -> list[Wanted]:
    """No field at all: they are deleted."""
    mark = request.form.get("mark", "")
    values: Mapping[str, Any] | None = None
    if names:
        values = typed(request.form, row.record, *names, snapshot=acting().snapshot)
    return [Wanted(row.name, key, values, mark=mark if names else "") for key in keys]


def _choose(row: Kind[Any], keys: list[str], problems: tuple[Problem, ...] = ()) -> str:
    snapshot = acting().snapshot
    first = find(snapshot, row.name, keys[0]) if keys else None
    given = {name: getattr(first, name) for name in changeable(row)} if first is not None else {}
    values = {**given, **{name: request.form[name] for name in changeable(row) if name in request.form}}
    fields = fields_of(row.record, values, problems, snapshot=snapshot)
    return render_template(
        "records/bulk.html",
        row=row,
        keys=",".join(keys),
        count=len(keys),
        fields=[fields[name] for name in changeable(row)],
        chosen=_names(row),
        wrong=problems_by_field(problems),
        view=view_of(row, request.args),
    )


def _preview(row: Kind[Any], part: Part, keys: list[str], names: tuple[str, ...]) -> str:
    try:
        wanted = _wanted(row, keys, names)
    except Refused as refused:
        return _choose(row, keys, refused.problems)
    snapshot = acting().snapshot
    results = acting().save_all(wanted, dry=True)
    own = set() if names else {key for key in keys if _own_problems(row, part, key)}
    shown = [_previewed(row, part, result, result.key in own) for result in results if result.problems or result.changes or result.key in own]
    shown.sort(key=lambda one: not one.problems)
    wrong = sum(bool(one.problems) for one in shown)
    told, _ = consequences(snapshot, [(row.name, key) for key in keys]) if not names else ([], None)
    return render_template(
        "records/preview.html",
        row=row,
        keys=",".join(keys),
        names=names,
        values={name: request.form.get(name, "") for name in names},
        mark=request.form.get("mark", ""),
        shown=shown[:SHOWN],
        more=max(0, len(shown) - SHOWN),
        wrong=wrong,
        changing=len(shown) - wrong,
        same=len(results) - len(shown),
        told=told,
        view=view_of(row, request.args),
    )


def _own_problems(row: Kind[Any], part: Part, key: str) -> tuple[Problem, ...]:
    """Why this visitor may not delete it."""
    record = find(acting().snapshot, row.name, key)
    return tuple(part.keeps(record)) if part.keeps and record is not None else ()


def _refuse_own(row: Kind[Any], part: Part, keys: list[str]) -> None:
    problems = [problem for key in keys for problem in _own_problems(row, part, key)]
    if problems:
        raise Refused(*problems)


def _previewed(row: Kind[Any], part: Part, result: Result, own: bool) -> Previewed:
    record = result.before or result.after
    problems = [*result.problems, *(_own_problems(row, part, result.key) if own else ())]
    lines = () if result.after is None else changes_said(row.name, result)
    return Previewed(label_of(record) if record is not None else result.key, lines, tuple(problems_by_field(problems).values()))


def changes_said(kind: str, result: Result) -> tuple[str, ...]:
    """What is different in a record, a line for each field."""
    found = differences(kind, result.before, result.after, acting().snapshot)
    return tuple(t("records.change", field=one.label, old=one.old, new=one.new) for one in found)
