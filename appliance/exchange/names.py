"""How records are named where people write them down: by the field that people know one by, with the id where that says too little. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from appliance.config.declare import Destination, FieldType, Record, Reference, Several
from appliance.config.model import KINDS, Snapshot, find


def there(snapshot: Snapshot, kind: str) -> Mapping[str, Record]:
    """The records of a kind by id, with those that are there from the start."""
    row = KINDS[kind]
    if row.always:
        return {key: found for key in row.always if (found := find(snapshot, kind, key)) is not None}
    return snapshot.of(kind)


class Names:
    """Of all records of a snapshot. Within a kind a name means one record."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    @cached_property
    def _all(self) -> Mapping[str, Mapping[str, str]]:
        """Kind to id to name."""
        return {kind: self._named(kind) for kind in KINDS}

    def _named(self, kind: str) -> Mapping[str, str]:
        row = KINDS[kind]
        if row.always:
            return {key: key for key in row.always}
        plain = {key: str(getattr(record, row.named_by)) for key, record in self._snapshot.of(kind).items()}
        often = Counter(plain.values())
        return {key: name if name and often[name] == 1 else f"{name} ({key})".strip() for key, name in plain.items()}

    @cached_property
    def _ids(self) -> Mapping[str, Mapping[str, str]]:
        return {kind: {name: key for key, name in named.items()} for kind, named in self._all.items()}

    def of(self, kind: str, key: str) -> str:
        """An id that leads nowhere is written as it is."""
        return self._all.get(kind, {}).get(key, key)

    def id(self, kind: str, name: str) -> str | None:
        """None: nobody is called that."""
        named = self._ids.get(kind, {})
        return named.get(name) or (name if name in self._all.get(kind, {}) else None)

    def value(self, field: FieldType, value: Any) -> Any:
        """A field's value with names in the place of ids."""
        match field:
            case Several(of=Reference(kind=kind)):
                return [self.of(kind, each) for each in value]
            case Reference(kind=kind):
                return self.of(kind, value) if value else ""
            case Destination():
                return f"{value[0]}:{self.of(*value)}" if value else ""
        return value
