"""By which words a record is found: those of its searched fields, and of what its references lead to. Pure; the store keeps them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from appliance.config.declare import Kind, Record, Reference, Several
from appliance.config.model import KINDS, Change, Snapshot
from appliance.config.search import folded

LONGEST = 4_000  # characters of one record
# Changes when what is searched does, so that an index of another version is made anew.
MARK = zlib.crc32(repr([(name, row.searched) for name, row in sorted(KINDS.items())]).encode()) or 1


def words_of(record: Record, snapshot: Snapshot) -> str:
    row = KINDS[record.declared.kind]
    return folded(" ".join(filter(None, _texts(row, record, snapshot))))[:LONGEST]


def _texts(row: Kind[Any], record: Record, snapshot: Snapshot) -> Iterator[str]:
    for name in row.searched:
        declared = record.declared.fields[name]
        inner = declared.of if isinstance(declared, Several) else declared
        if not isinstance(inner, Reference):
            yield declared.text(getattr(record, name)).replace("\n", " ")
            continue
        for id in row.leads_to(record, name):
            if (other := snapshot.of(inner.kind).get(id)) is not None:
                for field in KINDS[inner.kind].searched:  # not further than one step: nobody looks for more
                    if not isinstance(other.declared.fields[field], Reference | Several):
                        yield other.declared.fields[field].text(getattr(other, field))


def everything(snapshot: Snapshot) -> Iterator[tuple[str, str, str]]:
    """Kind, id and words of all records that are searched."""
    for name, row in KINDS.items():
        if row.searched:
            yield from ((name, key, words_of(record, snapshot)) for key, record in snapshot.of(name).items())


def changed(changes: Iterable[Change], snapshot: Snapshot) -> Iterator[tuple[str, str, str | None]]:
    """The same of what these changes touch, those that refer to what has changed too. `snapshot` is with them."""
    told: set[tuple[str, str]] = set()
    for kind, key, record in changes:
        if (kind, key) not in told and KINDS[kind].searched:
            told.add((kind, key))
            yield kind, key, words_of(record, snapshot) if record is not None else None
        for name, row in KINDS.items():
            for field in row.searched:
                if (leads := row.references.get(field)) is None or leads.kind != kind:
                    continue
                for other in snapshot.having(name, field, key):
                    if (name, other.id) not in told:
                        told.add((name, other.id))
                        yield name, other.id, words_of(other, snapshot)
