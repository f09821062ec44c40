"""What is different between two states of a record, in words: for pages, previews, plans and the journal. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from appliance.config.declare import Choice, Destination, FieldType, Record, Reference, Secret, Several
from appliance.config.model import KINDS, Snapshot, destinations, name_of
from appliance.words import Fact, Listed, Said

CHANGED = "(changed)"  # how the journal tells that a secret is another one


class Difference(NamedTuple):
    """One field. `old` and `new` are sentences of a value, as a person reads them."""

    field: str
    label: Said
    old: Said
    new: Said


def differences(
    kind: str, before: Record | Mapping[str, Any] | None, after: Record | Mapping[str, Any] | None, snapshot: Snapshot
) -> list[Difference]:
    """In the order of the fields; a secret is only told to be another one. Where there is no `before` (or `after`), empty values stand
    for it. The snapshot gives names to what is referred to."""
    declared = KINDS[kind].record.declared
    old, new = _values(before), _values(after)
    found = []
    for name, field in declared.fields.items():
        was, now = old.get(name), new.get(name)
        if was == now or (field.hidden and not isinstance(field, Reference)):
            continue
        if isinstance(field, Secret):
            if before is None or after is None:
                continue
            found.append(Difference(name, declared.label(name), Said.of("fields.secret"), Said.of("fields.renewed")))
        else:
            was_said, now_said = (shown(kind, name, value, snapshot) for value in (was, now))
            if was_said != now_said:
                found.append(Difference(name, declared.label(name), was_said, now_said))
    return found


def _values(state: Record | Mapping[str, Any] | None) -> Mapping[str, Any]:
    if isinstance(state, Record):
        return {name: getattr(state, name) for name in state.declared.fields}
    return state or {}


def shown(kind: str, field: str, value: Any, snapshot: Snapshot) -> Said:
    """A field's value in a sentence."""
    return _shown(kind, field, KINDS[kind].record.declared.fields[field], value, snapshot)


def _shown(kind: str, name: str, field: FieldType, value: Any, snapshot: Snapshot) -> Said:
    if isinstance(field, Several) and isinstance(value, list | tuple) and value:
        return Said.of("fields.several", values=Listed(tuple(_shown(kind, name, field.of, each, snapshot) for each in value)))
    if isinstance(field, Reference) and (record := snapshot.of(field.kind).get(str(value))) is not None:
        return Said.of("fields.quoted", text=name_of(record))
    if isinstance(field, Choice) and value in field.values:
        word: Said = KINDS[kind].record.declared.choice(name, str(value))[0]
        return word
    if isinstance(field, Destination) and value:
        text = field.text(value)
        named: dict[str, Said] = dict(destinations(snapshot))
        return named.get(text, Said.of("fields.quoted", text=text))
    fact: Fact = field.fact(value)
    if isinstance(fact, Said):
        return fact
    if fact in ("", None) or (isinstance(value, list | tuple) and not value):
        return Said.of("fields.empty")
    return Said.of("fields.quoted", text=fact)
