"""A field's value as people read it, in a list, a preview or beside somebody else's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import current_app, url_for

from appliance.config.declare import Choice, Destination, FieldType, Language, Record, Reference, Several, TickBox
from appliance.config.model import KINDS, Snapshot, find
from appliance.words import Said
from webui.login.guard import acting
from webui.records.named import label_of, leads_to, single
from webui.wording import say

HIDDEN = "••••••••"


def value_words(record: type[Record], name: str, value: Any, snapshot: Snapshot) -> str:
    """"" for an empty one."""
    field = record.declared.fields[name]
    return HIDDEN if field.secret and value else _words(record, name, field, value, snapshot)


def _words(record: type[Record], name: str, field: FieldType, value: Any, snapshot: Snapshot) -> str:
    match field:
        case Choice():
            return say(record.declared.choice(name, value)[0]) if value in field.values else str(value)
        case TickBox():
            return say(Said("fields.ticked")) if field.read(value) is True else say(Said("fields.not-ticked"))
        case Reference() | Destination():
            return leads_to(field, field.text(value), snapshot)
        case Several(of=inner):
            return ", ".join(_words(record, name, inner, each, snapshot) for each in value)
        case Language() if isinstance(said := field.fact(value), Said):
            return say(said)
    return field.text(value)


def page_of(kind: str, key: str) -> str:
    """The address of a record's page; "" when it has none. A part of another record is on that one's page."""
    row = KINDS[kind]
    if row.parent and f"{row.path}.edit" not in current_app.view_functions:  # a tab of the page that it is a part of
        part = find(acting().snapshot, kind, key)
        owner = row.references[row.parent].kind
        return f"{page_of(owner, str(getattr(part, row.parent)))}?tab={row.path}" if part is not None else ""
    if not row.group and not row.parent:
        return ""
    return url_for(f"{row.path}.listing") if single(row) else url_for(f"{row.path}.edit", key=key)


def links(record: Record, name: str, snapshot: Snapshot) -> Mapping[str, str]:
    """What a reference of the record leads to: words, and the address of its page."""
    row, field = KINDS[record.declared.kind], record.declared.fields[name]
    inner = field.of if isinstance(field, Several) else field
    if not isinstance(inner, Reference):
        return {}
    value = getattr(record, name)
    keys = value if isinstance(value, tuple) else (value,) if value else ()
    found = {key: find(snapshot, inner.kind, key) for key in keys}
    assert row
    return {label_of(other): page_of(inner.kind, key) for key, other in found.items() if other is not None}
