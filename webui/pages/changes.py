"""The journal: who changed what and when, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from appliance.config.model import KINDS, Record, Snapshot, find, name_of
from appliance.config.reading.differences import differences
from appliance.config.store import JournalRow
from appliance.words import Said
from webui.login.guard import acting, may, route
from webui.records.named import label_of
from webui.wording import capital, plain_time, say, t

pages = Blueprint("changes", __name__)
PAGE = 50


@dataclass(frozen=True, slots=True)
class Told:
    """A journal row as people read it."""

    at: float
    sentence: str  # who did what; the name is marked
    details: tuple[str, ...]
    revision: int
    undoable: bool = False


@route(pages, "/changes", may="see journal")
def listing() -> ResponseReturnValue:
    before = request.args.get("before", None, int)
    rows = acting().journal(limit=PAGE + 1, before=before)
    snapshot = acting().snapshot
    told = [tell(row, snapshot) for row in rows[:PAGE]]
    return render_template(
        "changes.html", rows=told, older=rows[PAGE - 1].id if len(rows) > PAGE else None, first=before is None
    )


LOOKED_AT = 2_000  # rows of the journal, for who has deleted something


def deletion(kind: str, key: str) -> JournalRow | None:
    """The row that says who deleted a record; None when nobody did, or long ago."""
    if not may("see", "journal"):
        return None
    before, looked = None, 0
    while looked < LOOKED_AT and (rows := acting().journal(limit=200, before=before)):
        if row := next((row for row in rows if (row.kind, row.key, row.after) == (kind, key, None)), None):
            return row
        before, looked = rows[-1].id, looked + len(rows)
    return None


def gone(kind: str, key: str) -> NoReturn:
    """Ends the request: what this address showed is not there. Says who deleted it, where somebody did."""
    row = deletion(kind, key)
    if row is None:
        abort(404)
    name = say(_named(kind, key, row.before or {}, acting().snapshot))
    abort(404, t("changes.gone", name=capital(name), who=row.who, when=plain_time(row.at)))


def tell(row: JournalRow, snapshot: Snapshot) -> Told:
    """A journal row in words; the snapshot gives names to the ids it mentions."""
    who = Markup('<span class="fw-semibold">{}</span>').format(row.who)
    body, event = row.after or row.before or {}, row.event
    if event and row.kind == "settings":
        return Told(row.at, t("changes.event", who=who, event=event), (), row.revision)
    what = say(_named(row.kind, row.key, body, snapshot))
    if event:
        return Told(row.at, t("changes.looked-at", who=who, what=what), (say(event),), row.revision)
    if row.kind == "settings" and body.get("completed") and not (row.before or {}).get("completed"):
        return Told(row.at, t("changes.completed", who=who), (), row.revision)
    if row.before is None:
        return Told(row.at, t("changes.added", who=who, what=what), (), row.revision, True)
    if row.after is None:
        return Told(row.at, t("changes.deleted", who=who, what=what), (), row.revision, True)
    return Told(row.at, t("changes.changed", who=who, what=what), tuple(_differences(row, snapshot)), row.revision, True)


def _named(kind: str, key: str, body: Mapping[str, Any], snapshot: Snapshot) -> Said:
    """The record of a row, with its kind before it and what it is a part of behind it: as it is, else as it was."""
    row = KINDS.get(kind)
    if row is None:  # of a version that had other kinds
        return Said.of("changes.unknown", kind=kind)
    if tuple(row.always) == (kind,):
        return Said.of("changes.the", kind=row.one)
    record = find(snapshot, kind, key) or _as_it_was(kind, key, body)
    named = Said.of("fields.named", kind=row.one, name=label_of(record))
    if not row.parent:
        return named
    owner = find(snapshot, row.references[row.parent].kind, str(getattr(record, row.parent)))
    if owner is None:
        return named
    of = Said.of("fields.named", kind=KINDS[owner.declared.kind].one, name=name_of(owner))
    return Said.of("changes.part-of", part=named, whole=of)


def _as_it_was(kind: str, key: str, body: Mapping[str, Any]) -> Record:
    fields = KINDS[kind].record.declared.fields
    known = {name: value for name, value in body.items() if name in fields and not fields[name].secret}
    record: Record = KINDS[kind].record.model_construct(id=key, **known)
    return record


def _differences(row: JournalRow, snapshot: Snapshot) -> list[str]:
    """A line for each field; of a version that had other fields as it stands there."""
    before, after = row.before or {}, row.after or {}
    known = KINDS[row.kind].record.declared.fields if row.kind in KINDS else {}
    found = differences(row.kind, before, after, snapshot) if known else []
    told = [t("records.change", field=one.label, old=one.old, new=one.new) for one in found]
    return told + [f"{name}: {before.get(name)} → {after[name]}" for name in after if name not in known and before.get(name) != after[name]]
