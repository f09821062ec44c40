"""The form of a record: add, change, and delete with what that means for others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flask import Blueprint, abort, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue

from appliance.config.declare import Kind, Reference, Secret
from appliance.config.model import Problem, Record, Refused, Snapshot, find, name_of
from appliance.config.reading.consequences import consequences
from appliance.words import Said
from webui.forms import FIRST_TAB, Versions, chosen, fields_of, problems_by_field, tabs_of, typed, values_of
from webui.login.guard import acting, route
from webui.pages.changes import gone
from webui.records.named import label_of, single
from webui.records.parts import Part
from webui.records.shown import page_of, value_words
from webui.wording import capital, say


@dataclass(frozen=True)
class Form:
    """One form as it is drawn; `record` is None for a new one."""

    row: Kind[Any]
    part: Part
    record: Record | None
    values: Mapping[str, Any]
    problems: tuple[Problem, ...] = ()
    sent: Mapping[str, str] | None = None
    tab: str = FIRST_TAB

    def drawn(self) -> str:
        row, snapshot = self.row, acting().snapshot
        wrong = problems_by_field(self.problems)
        versions = self._versions(snapshot)
        fields = fields_of(row.record, self.values, self.problems, snapshot=snapshot, options=self.part.options(self.values), versions=versions)
        if self.record is None and row.parent in fields and self.values.get(row.parent):
            fields = {name: replace(field, tab="") if name == row.parent else field for name, field in fields.items()}
        tabs = tabs_of(fields)
        name = "edit" if self.record is not None else "add"
        return render_template(
            [f"{row.name}/{name}.html", f"records/{name}.html"],
            row=row,
            part=self.part,
            record=self.record,
            title=label_of(self.record) if self.record is not None else "",
            fields=fields,
            tabs=tabs,
            extra_tabs=self.part.tabs if self.record is not None else (),
            tab=self._tab(tabs, wrong),
            wrong=wrong,
            single=single(row),
            back=_back(row, self.record or None, self.values),
            conflicts=sorted(versions),
            values=self.values,
            **self.part.given(self.record, self.values, wrong, self.sent or {}),
        )

    def _tab(self, tabs: Mapping[str, Any], wrong: Mapping[str, str]) -> str:
        """Where the first problem is, else where it was."""
        told = next((tab for tab, fields in tabs.items() if any(field.problem for field in fields)), "")
        known = (*tabs, *(name for name, _ in self.part.tabs))
        if not told and any(name and name not in self.row.record.declared.fields for name in wrong):
            told = FIRST_TAB  # a question of the part's own stands there
        return told or (self.tab if self.tab in known else next(iter(tabs), FIRST_TAB))

    def _versions(self, snapshot: Snapshot) -> dict[str, Versions]:
        """Of the fields that somebody else has changed meanwhile: what they were, and what they are now."""
        if self.record is None or not (mark := (self.sent or {}).get("mark", "")):
            return {}
        changed = acting().changed_since(self.row.name, self.record.id, mark)
        told = {problem.field for problem in self.problems if _is_conflict(problem)}
        declared, found = self.row.record.declared, {}
        for name in told & set(changed):
            now, before = getattr(self.record, name), changed[name].before
            was = declared.fields[name].text(before)

            def words(value: Any, name: str = name) -> str:
                return value_words(self.row.record, name, value, snapshot) or say(Said("fields.empty"))

            found[name] = Versions(
                changed[name].who, was, declared.fields[name].text(now), words(before), words(now), words(self.values.get(name, ""))
            )
        return found


def _is_conflict(problem: Problem) -> bool:
    return isinstance(problem.said, Said) and problem.said.key == "fields.meanwhile"


def _back(row: Kind[Any], record: Record | None, values: Mapping[str, Any]) -> str:
    """Where a record's page was come to from: the list, or the record that it is a part of."""
    if row.parent:
        owner = row.record.declared.fields[row.parent]
        key = str(getattr(record, row.parent) if record is not None else values.get(row.parent, ""))
        if isinstance(owner, Reference) and key:
            return page_of(owner.kind, key)
    return f"/{row.path}"


def register(pages: Blueprint, row: Kind[Any], part: Part) -> None:
    if single(row):
        _register_single(pages, row, part)
        return
    if not row.always:
        _register_new(pages, row, part)
        _register_delete(pages, row, part)

    @route(pages, f"/{row.path}/<key>", may=f"see {row.name}")
    def edit(key: str) -> ResponseReturnValue:
        record = _record(row, key)
        return Form(row, part, record, values_of(record), tab=request.args.get("tab", FIRST_TAB)).drawn()

    @route(pages, f"/{row.path}/<key>", may=f"change {row.name}", methods=("POST",))
    def save(key: str) -> ResponseReturnValue:
        return _save(row, part, _record(row, key))

    if row.secrets - row.hidden:
        _register_reveal(pages, row)


def _register_single(pages: Blueprint, row: Kind[Any], part: Part) -> None:
    (key,) = row.always

    @route(pages, f"/{row.path}", may=f"see {row.name}")
    def listing() -> ResponseReturnValue:
        record = _record(row, key)
        return Form(row, part, record, values_of(record), tab=request.args.get("tab", FIRST_TAB)).drawn()

    @route(pages, f"/{row.path}", may=f"change {row.name}", methods=("POST",))
    def save() -> ResponseReturnValue:
        return _save(row, part, _record(row, key))


def _save(row: Kind[Any], part: Part, record: Record) -> ResponseReturnValue:
    form = request.form
    tab = form.get("tab", FIRST_TAB)
    try:
        values = _without_kept_secrets(row, typed(form, row.record, snapshot=acting().snapshot))
        values = chosen(form, values, [name for name in values if f"{name}.take" in form])
        saved = acting().update(row.name, record.id, values, mark=form.get("mark", ""), **part.arguments(form))
    except Refused as refused:
        now = find(acting().snapshot, row.name, record.id) or record
        shown = refused.values or _typed_text(row, form)
        return Form(row, part, now, {**values_of(now), **shown}, refused.problems, form, tab).drawn(), 422
    words = part.saved(record, saved, form) if part.saved else ""
    flash(words or say(Said("records.saved")))
    here = page_of(row.name, record.id)
    return redirect(here if tab == FIRST_TAB else f"{here}?tab={tab}", 303)


def _typed_text(row: Kind[Any], form: Mapping[str, str]) -> dict[str, str]:
    return {name: form[name].strip() for name in row.record.declared.fields if name in form and name not in row.hidden}


def _without_kept_secrets(row: Kind[Any], values: dict[str, str]) -> dict[str, str]:
    """An empty secret in a form means: as it is."""
    return {name: value for name, value in values.items() if value or not isinstance(row.record.declared.fields[name], Secret)}


def _register_new(pages: Blueprint, row: Kind[Any], part: Part) -> None:
    @route(pages, f"/{row.path}/add", may=f"add {row.name}")
    def add() -> ResponseReturnValue:
        given = {name: request.args[name] for name in row.record.declared.fields if name in request.args and name not in row.hidden}
        try:
            suggested = row.suggest(acting().snapshot)
        except Refused:
            suggested = {}
        return Form(row, part, None, {**suggested, **given}).drawn()

    @route(pages, f"/{row.path}/add", may=f"add {row.name}", methods=("POST",))
    def create() -> ResponseReturnValue:
        form, values = request.form, _typed_text(row, request.form)
        try:
            values = typed(form, row.record, snapshot=acting().snapshot)
            record = acting().create(row.name, values, **part.arguments(form))
        except Refused as refused:
            return Form(row, part, None, refused.values or values, refused.problems, form, form.get("tab", FIRST_TAB)).drawn(), 422
        words = part.saved(None, record, form) if part.saved else ""
        flash(words or capital(say(Said.of("records.added", what=said_name(row, record)))))
        here = _back(row, record, {}) if row.parent else page_of(row.name, record.id)
        return redirect(f"{here}?tab={part.added_tab}" if part.added_tab else here, 303)


def _register_delete(pages: Blueprint, row: Kind[Any], part: Part) -> None:
    @route(pages, f"/{row.path}/<key>/delete", may=f"delete {row.name}")
    def ask_delete(key: str) -> ResponseReturnValue:
        return _confirm(row, _record(row, key))

    @route(pages, f"/{row.path}/<key>/delete", may=f"delete {row.name}", methods=("POST",))
    def delete(key: str) -> ResponseReturnValue:
        record = _record(row, key)
        try:
            if part.keeps and (problems := part.keeps(record)):
                raise Refused(*problems)
            acting().delete(row.name, key)
        except Refused as refused:
            return _confirm(row, record, refused.problems), 422
        if part.deleted:
            part.deleted(record)
        flash(capital(say(Said.of("records.deleted", what=said_name(row, record)))), f"undo {acting().snapshot.revision}")
        return redirect(_back(row, record, {}), 303)


def _confirm(row: Kind[Any], record: Record, problems: tuple[Problem, ...] = ()) -> str:
    told, held = consequences(acting().snapshot, [(row.name, record.id)])
    wrong = " ".join(problems_by_field(problems).values()) or " ".join(map(say, held))
    return render_template(
        [f"{row.name}/delete.html", "records/delete.html"],
        row=row,
        record=record,
        name=label_of(record),
        told=told,
        problem=wrong,
        refused=bool(held),
        back=page_of(row.name, record.id),
    )


def _register_reveal(pages: Blueprint, row: Kind[Any]) -> None:
    @route(pages, f"/{row.path}/<key>/reveal/<field>", may=f"reveal {row.name}", methods=("POST",))
    def reveal(key: str, field: str) -> ResponseReturnValue:
        record = _record(row, key)
        if field not in row.secrets - row.hidden:
            abort(404)
        words = acting().reveal(row.name, key, field)
        return render_template("records/revealed.html", row=row, record=record, field=field, secret=words)


def said_name(row: Kind[Any], record: Record) -> Said:
    """The record with its kind before it: extension 100, user Anna Berger."""
    return Said.of("fields.named", kind=Said(f"kind.{row.name}"), name=name_of(record))


def _record(row: Kind[Any], key: str) -> Record:
    return find(acting().snapshot, row.name, key) or gone(row.name, key)
