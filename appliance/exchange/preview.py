"""What a batch is going to do, in words, before anybody says yes: for imports, texts, bulk edits and undo. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from appliance.config.model import KINDS, Snapshot
from appliance.config.reading.differences import Difference, differences
from appliance.config.saving.batch import Result
from appliance.exchange.names import Names
from appliance.words import Listed, Said

Action = Literal["add", "change", "delete", "same", "refused"]


class Foreseen(NamedTuple):
    """What becomes of one record. `name` as people know it; `said` is all of it in a sentence."""

    kind: str
    key: str
    name: str
    action: Action
    differences: tuple[Difference, ...]
    said: Said


class Preview(NamedTuple):
    rows: list[Foreseen]
    summary: Said

    @property
    def refused(self) -> bool:
        return any(row.action == "refused" for row in self.rows)


def preview(results: Sequence[Result], snapshot: Snapshot) -> Preview:
    """`snapshot` is the configuration as it is; names of what is new are those it will have."""
    names = Names(snapshot)
    rows = [_foreseen(result, names, snapshot) for result in results]
    count = {action: sum(row.action == action for row in rows) for action in ("add", "change", "delete")}
    if not any(count.values()):
        return Preview(rows, Said.of("exchange.unchanged"))
    return Preview(
        rows, Said.of("exchange.summary", added=count["add"], changed=count["change"], deleted=count["delete"])
    )


def _foreseen(result: Result, names: Names, snapshot: Snapshot) -> Foreseen:
    kind, record = result.kind, result.after or result.before
    row = KINDS.get(kind)
    named = row.one if row else Said.of("fields.no-kind", name=kind)
    name = result.key
    if row is not None and record is not None:
        name = names.of(kind, record.id) if result.before is not None else str(getattr(record, row.named_by))
    found: tuple[Difference, ...] = ()
    if result.problems:
        why = Listed(tuple(problem.said for problem in result.problems))
        return Foreseen(kind, result.key, name, "refused", found, Said.of("exchange.refused", kind=named, name=name, why=why))
    if result.before is None:
        found = tuple(differences(kind, None, result.after, snapshot))
        called = row.name_of(record) if row is not None else name
        known = name if called == name else f"{called} ({name})"  # what people are called, and what they are known by
        return Foreseen(kind, result.key, name, "add", found, Said.of("exchange.added", kind=named, name=known))
    if result.after is None:
        return Foreseen(kind, result.key, name, "delete", found, Said.of("exchange.deleted", kind=named, name=name))
    found = tuple(differences(kind, result.before, result.after, snapshot))
    told = Listed(tuple(Said.of("exchange.difference", label=one.label, old=one.old, new=one.new) for one in found))
    action: Action = "change" if result.changes else "same"
    return Foreseen(kind, result.key, name, action, found, Said.of("exchange.changed", kind=named, name=name, differences=told))
