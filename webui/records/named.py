"""How a record is called where one of many is chosen or found, and which one is meant by what was typed. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from appliance.config.declare import Destination, FieldType, Kind, NumberPattern, Record, Reference, Text
from appliance.config.model import KINDS, Snapshot, destinations, find, name_of
from appliance.config.search import folded
from appliance.config.search import found as found_in
from appliance.words import Listed, Said
from webui.wording import capital, say

FEW = 50  # so many are a list to choose from; more are found by typing
SHOWN = 20  # found ones at once


def single(row: Kind[Any]) -> bool:
    """Whether it is the one record of its kind, with a page instead of a list."""
    return tuple(row.always) == (row.name,)


def label_of(record: Record) -> str:
    """A name that no other of its kind has: 100 Reception, Anna Berger (anna)."""
    row = KINDS[record.declared.kind]
    if row.words is not None:
        return say(row.words(record))
    if single(row):
        return capital(say(Said(f"kind.{row.name}")))
    fields = [name for name in row.columns[:2] if isinstance(record.declared.fields.get(name), Text)]
    first, second = ([str(getattr(record, name)) for name in fields] + ["", ""])[:2]
    if not first or not second:
        return first or second or name_of(record)
    return f"{first} {second}" if isinstance(record.declared.fields[fields[0]], NumberPattern) else f"{first} ({second})"


def all_for(field: FieldType, snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """What a field may lead to, as it is stored and as it is called."""
    if isinstance(field, Reference):
        row = KINDS[field.kind]
        for key in row.always or snapshot.of(field.kind):
            record = find(snapshot, field.kind, key)
            if record is not None:
                yield key, label_of(record)
    elif isinstance(field, Destination):
        for typed, said in destinations(snapshot):
            yield typed, capital(say(said))


def few(field: FieldType, snapshot: Snapshot) -> list[tuple[str, str]] | None:
    """All of them in their order; None when they are too many for a list."""
    if isinstance(field, Reference) and len(snapshot.of(field.kind)) > FEW:
        return None
    found = []
    for each in all_for(field, snapshot):
        found.append(each)
        if len(found) > FEW:
            return None
    return sorted(found, key=lambda each: order(each[1]))


def order(label: str) -> tuple[int, str]:
    """Numbers by how long they are, then names, blind to accents."""
    first = label.partition(" ")[0]
    return (len(first), label) if first.isdigit() else (99, folded(label))


def leads_to(field: FieldType, key: str, snapshot: Snapshot) -> str:
    """What stands in a picker's box for a stored value; what was typed stays as it was."""
    if isinstance(field, Reference) and key:
        record = find(snapshot, field.kind, key)
        return label_of(record) if record is not None else key
    return next((label for value, label in all_for(field, snapshot) if value == key), key) if key else ""


def matching(field: FieldType, text: str, snapshot: Snapshot) -> list[tuple[str, str]]:
    """What fits some typed letters, at most `SHOWN`, those that begin with them first."""
    wanted = folded(text.strip())
    found = [each for each in all_for(field, snapshot) if found_in(text, each[1])]
    found.sort(key=lambda each: (not folded(each[1]).startswith(wanted), order(each[1])))
    return found[:SHOWN]


def resolve(field: FieldType, text: str, snapshot: Snapshot) -> tuple[str, Said | None]:
    """The stored value that was meant; with a sentence when none or several fit."""
    if isinstance(field, Reference) and find(snapshot, field.kind, text) is not None:
        return text, None
    if isinstance(field, Reference) and len(named := list(snapshot.having(field.kind, KINDS[field.kind].named_by, text))) == 1:
        return named[0].id, None
    if isinstance(field, Destination) and ":" in text:
        return text, None
    found = matching(field, text, snapshot)
    exact = [key for key, label in found if folded(label) == folded(text) or folded(label.partition(" ")[0]) == folded(text)]
    if len(exact) == 1 or len(found) == 1:
        return (exact or [found[0][0]])[0], None
    if not found:
        return text, Said.of("records.nothing-called", text=text)
    return text, Said.of("records.several-called", text=text, some=Listed(tuple(label for _, label in found[:6]), any=True))
