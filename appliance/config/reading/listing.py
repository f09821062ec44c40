"""One page of a list of records: filtered, in the order people expect, so many from there on. Pure.

Numbers are in the order of their length, then of their digits (9, 10, 100); names as they are looked up in a phone book, whatever their case
and accents; what refers to a record by the name of that. The order of a kind by one field is made once for each configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, cast

from appliance.config.declare import Choice, FieldType, NumberPattern, Record, Reference, Several
from appliance.config.model import KINDS, Snapshot, find, name_of
from appliance.config.search import folded

PAGE = 50  # records


class Page(NamedTuple):
    """`total` is how many there are on all pages, `start` the place of the first one here."""

    rows: list[Record]
    total: int
    start: int


def listed(
    snapshot: Snapshot,
    kind: str,
    *,
    found: Collection[str] | None = None,
    filters: Mapping[str, str] | None = None,
    sort: str = "",
    down: bool = False,
) -> Sequence[Record]:
    """All of a kind in order. found: the ids that a search has found; filters: field to the text its value has in a form, or to one of
    several references; sort: a field, "" for that which people know them by. KeyError: there is no such field."""
    row = KINDS[kind]
    fields = row.record.declared.fields
    chosen = {name: (fields[name], text) for name, text in (filters or {}).items()}
    field = sort or (row.columns[0] if row.columns else row.named_by)
    if field not in fields and field != "id":
        raise KeyError(field)
    wanted = None if found is None else frozenset(found)
    rows = [
        record
        for record in _in_order(snapshot, kind, field)
        if (wanted is None or record.id in wanted) and all(_fits(record, name, *each) for name, each in chosen.items())
    ]
    return rows[::-1] if down else rows


def page(
    snapshot: Snapshot,
    kind: str,
    *,
    found: Collection[str] | None = None,
    filters: Mapping[str, str] | None = None,
    sort: str = "",
    down: bool = False,
    start: int = 0,
    count: int = PAGE,
) -> Page:
    """The same, from `start` on; where that is behind the last one, the last page."""
    rows = listed(snapshot, kind, found=found, filters=filters, sort=sort, down=down)
    first = max(0, min(start, (len(rows) - 1) // count * count))
    return Page(list(rows[first : first + count]), len(rows), first)


def _fits(record: Record, name: str, field: FieldType, text: str) -> bool:
    value = getattr(record, name)
    if isinstance(field, Several):
        return text in value if text else not value
    return field.text(value) == text


def _in_order(snapshot: Snapshot, kind: str, field: str) -> Sequence[Record]:
    if (kept := snapshot.made.get(("order", kind, field))) is not None:
        return cast(Sequence[Record], kept)
    row = KINDS[kind]
    there: list[Record] = [found for key in row.always if (found := find(snapshot, kind, key))] if row.always else list(
        snapshot.of(kind).values()
    )
    name, wanted = _ordered_by(snapshot, kind, row.named_by), _ordered_by(snapshot, kind, field)
    ordered = sorted(there, key=lambda record: (wanted(record), name(record), record.id))
    snapshot.made["order", kind, field] = ordered
    return ordered


def _ordered_by(snapshot: Snapshot, kind: str, field: str) -> Callable[[Record], Any]:
    if field == "id":
        return lambda record: record.id
    declared = KINDS[kind].record.declared.fields[field]
    match declared:
        case NumberPattern():
            return lambda record: (len(getattr(record, field)), getattr(record, field))
        case Choice():
            places = {value: place for place, value in enumerate(declared.values)}
            return lambda record: places.get(getattr(record, field), -1)
        case Reference():
            there = snapshot.of(declared.kind)
            return lambda record: _name(there.get(getattr(record, field)))
    return lambda record: _comparable(getattr(record, field), declared)


def _name(record: Record | None) -> tuple[bool, str]:
    """What leads nowhere comes last."""
    return (record is None, folded(name_of(record)) if record is not None else "")


def _comparable(value: Any, declared: FieldType) -> tuple[int, Any]:
    if isinstance(value, int):
        return 0, value
    return 1, folded(declared.text(value))
