"""The journal: who changed what and when, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue

from appliance.config.declare import FieldType, Reference
from appliance.config.model import KINDS, Snapshot, name_of, services
from appliance.config.store import JournalRow
from appliance.words import Said
from webui.login.guard import acting, may, route
from webui.wording import plain_time, say

pages = Blueprint("changes", __name__)
PAGE = 50
GONE = "{name} was deleted by {who} on {when}. If something was typed into a form here, it was not saved."


@dataclass(frozen=True, slots=True)
class Told:
    """A journal row as people read it."""

    at: float
    who: str
    verb: str  # added, changed, deleted, looked at
    what: str
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
    name = _name(kind, key, row.before or {}, acting().snapshot)
    abort(404, GONE.format(name=f"{name[0].upper()}{name[1:]}", who=row.who, when=plain_time(row.at)))


def tell(row: JournalRow, snapshot: Snapshot) -> Told:
    """A journal row in words; the snapshot gives names to the ids it mentions."""
    body = row.after or row.before or {}
    if (event := (row.after or {}).get("event")) and row.kind == "settings":
        return Told(row.at, row.who, str(event), "", (), row.revision)
    if event:
        current = snapshot.of(row.kind).get(row.key)
        return Told(
            row.at,
            row.who,
            "looked at",
            _name(row.kind, row.key, current.model_dump() if current else {}, snapshot),
            (str(event),),
            row.revision,
        )
    name = _name(row.kind, row.key, body, snapshot)
    if row.kind == "settings" and body.get("completed") and not (row.before or {}).get("completed"):
        return Told(row.at, row.who, "completed", "the setup", (), row.revision)
    if row.before is None:
        return Told(row.at, row.who, "added", name, (), row.revision, True)
    if row.after is None:
        return Told(row.at, row.who, "deleted", name, (), row.revision, True)
    return Told(row.at, row.who, "changed", name, tuple(_differences(row, snapshot)), row.revision, True)


def _name(kind: str, key: str, body: Mapping[str, Any], snapshot: Snapshot) -> str:
    match kind:
        case "extension":
            return f"extension {body.get('number', '')} {body.get('name', '')}".strip()
        case "line":
            owner = snapshot.extensions.get(body.get("extension", ""))
            return f"line {body.get('sip_username', '')}".strip() + (f" of extension {owner.number}" if owner else "")
        case "user":
            return f"user {body.get('full_name') or body.get('username', '')}".strip()
        case "service" if key in services(snapshot):
            return f"service {say(Said.of(f'{key}.title'))}"
    return "the settings" if kind == "settings" else kind


def _differences(row: JournalRow, snapshot: Snapshot) -> list[str]:
    before, after = row.before or {}, row.after or {}
    declared = KINDS[row.kind].record.declared if row.kind in KINDS else None
    found = []
    for name in after:
        old, new = before.get(name), after[name]
        if old == new:
            continue
        field = declared.fields.get(name) if declared else None
        if declared is None or field is None:  # of a version that had other fields
            found.append(f"{name}: {old} → {new}")
            continue
        label = say(declared.label(name))
        if new == "(changed)":
            found.append(f"{label} renewed")
        else:
            found.append(f"{label}: {_said(field, old, snapshot)} → {_said(field, new, snapshot)}")
    return found


def _said(field: FieldType, value: object, snapshot: Snapshot) -> str:
    if isinstance(field, Reference) and (record := snapshot.of(field.kind).get(str(value))) is not None:
        return name_of(record)
    return field.text(value) or "empty"
