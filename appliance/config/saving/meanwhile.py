"""A form and what has changed since it was drawn: nothing of somebody else's is put back, and nothing is overwritten unseen.

A form carries the mark of the configuration that it showed (`Snapshot.mark`). What it says of a field that only somebody else has changed
since is not a wish; where both have changed the same field to different values, whoever saves second is told and may save again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from appliance.config.declare import FieldType
from appliance.config.model import Problem, Record, Snapshot
from appliance.config.reading.differences import shown
from appliance.config.store import Store
from appliance.words import Said


class Change(NamedTuple):
    """What somebody else has done to a field."""

    who: str
    before: object  # as the form showed it


def merge(
    store: Store, snapshot: Snapshot, kind: str, old: Record, values: Mapping[str, Any], mark: str
) -> tuple[dict[str, Any], list[Problem]]:
    """The values to save over `old`, and a problem for each field that both have changed. Without a mark the values as they are."""
    merged, problems, declared = dict(values), [], old.declared.fields
    for name, change in changes(store, kind, old, mark).items():
        now = getattr(old, name, None)
        if name not in values or name not in declared or (wanted := _text(declared[name], values[name])) == _text(declared[name], now):
            continue
        if wanted == _text(declared[name], change.before):
            merged[name] = now
        else:
            problems.append(Problem(name, Said.of("fields.meanwhile", who=change.who, value=shown(kind, name, now, snapshot))))
    return merged, problems


def changes(store: Store, kind: str, record: Record, mark: str) -> Mapping[str, Change]:
    """Fields that differ from what a form drawn at `mark` showed."""
    if not mark:
        return {}
    number, _, moment = mark.partition(" ")
    if not number.isdecimal() or moment.startswith("-") or moment != str(store.moment(int(number[:18]))):
        # of a configuration that is not this one's past: nobody knows what the form showed
        return dict.fromkeys(record.declared.fields, Change("a restored backup", None))
    found: dict[str, Change] = {}
    for row in store.changes_of(kind, record.id, int(number)):
        before, after = row.before or {}, row.after or {}
        for name in before.keys() & after.keys():
            if before[name] != after[name]:
                found[name] = Change(row.who, found[name].before if name in found else before[name])
    return found


def _text(declared: FieldType, value: object) -> str:
    """A value, or what was typed, as a form shows it: two that mean the same are the same."""
    with contextlib.suppress(ValueError):  # typed text that is none stays as it is
        return declared.text(declared.read(value))
    return declared.text(value)
