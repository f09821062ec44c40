"""A save taken back: what has to be wanted so that its records are as they were, field by field where nobody has changed them since. Pure.

The way back is a save like any other: it is checked, licensed, journalled, and can be taken back itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from appliance.config.model import KINDS, Problem, Snapshot, find
from appliance.config.reading.differences import CHANGED, shown
from appliance.config.saving.batch import Wanted
from appliance.config.store import JournalRow
from appliance.words import Said


class Undone(NamedTuple):
    """`kept`: what stays, by kind and id, and why, for somebody has changed it since."""

    wanted: list[Wanted]
    kept: dict[tuple[str, str], list[Problem]]


def undo(
    rows: Sequence[JournalRow],
    later: Callable[[JournalRow], Iterable[JournalRow]],
    secrets: Callable[[JournalRow], Mapping[str, str]],
    snapshot: Snapshot,
) -> Undone:
    """rows: what the save did. later: what its record has been through since, oldest first. secrets: those that it put away."""
    wanted: list[Wanted] = []
    kept: dict[tuple[str, str], list[Problem]] = {}
    for row in rows:
        if row.event or row.kind not in KINDS:
            continue
        since = list(later(row))
        problems = kept.setdefault((row.kind, row.key), [])
        there = find(snapshot, row.kind, row.key)
        if row.before is None:
            if there is None:
                problems.append(Problem("", Said.of("fields.gone-since")))
            elif since:
                problems.append(Problem("", Said.of("fields.changed-since", who=since[-1].who, value=Said.of(f"kind.{row.kind}"))))
            else:
                wanted.append(Wanted(row.kind, row.key, None))
        elif row.after is None:
            if there is not None:
                problems.append(Problem("", Said.of("fields.made-again")))
            else:
                wanted.append(Wanted(row.kind, row.key, _as_it_was(row, secrets(row)), new=True, back=True))
        elif there is None:
            problems.append(Problem("", Said.of("fields.gone-since")))
        elif values := _fields_back(row, since, secrets(row), problems, snapshot):
            wanted.append(Wanted(row.kind, row.key, values, usernames="keep"))
    return Undone(wanted, {name: problems for name, problems in kept.items() if problems})


def _as_it_was(row: JournalRow, secrets: Mapping[str, str]) -> dict[str, Any]:
    fields, before = KINDS[row.kind].record.declared.fields, row.before or {}
    plain = {name: before[name] for name in fields if name in before and not fields[name].secret and not fields[name].forgotten}
    return {**plain, **{name: value for name, value in secrets.items() if name in fields}}


def _fields_back(
    row: JournalRow, since: Sequence[JournalRow], secrets: Mapping[str, str], problems: list[Problem], snapshot: Snapshot
) -> dict[str, Any]:
    before, after, found = row.before or {}, row.after or {}, {}
    for name, field in KINDS[row.kind].record.declared.fields.items():
        if field.hidden or field.personal or field.forgotten or name not in before or name not in after:
            continue
        if not (after[name] == CHANGED if field.secret else before[name] != after[name]):
            continue
        other = next((each for each in since if _changed(each, name)), None)
        if other is not None:
            now = getattr(find(snapshot, row.kind, row.key), name)
            value = Said.of("fields.renewed") if field.secret else shown(row.kind, name, now, snapshot)
            problems.append(Problem(name, Said.of("fields.changed-since", who=other.who, value=value)))
        elif field.secret and name in secrets:
            found[name] = secrets[name]
        elif not field.secret:
            found[name] = before[name]
    return found


def _changed(row: JournalRow, field: str) -> bool:
    before, after = row.before or {}, row.after or {}
    return after.get(field) == CHANGED or before.get(field) != after.get(field)
