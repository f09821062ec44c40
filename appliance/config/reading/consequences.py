"""What deleting records means for others, in words, from the references that the kinds declare. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config.claims import EMERGENCY
from appliance.config.declare import Record
from appliance.config.model import KINDS, Refused, Snapshot, find, name_of, without
from appliance.words import Listed, PhoneNumber, Said, english

TOLD = 12  # names in one sentence


def consequences(snapshot: Snapshot, gone: Sequence[tuple[str, str]]) -> tuple[list[Said], list[Said]]:
    """What happens to others when records (kind and id) are deleted, and why they cannot be (empty: they can)."""
    records = [record for kind, key in gone if (record := find(snapshot, kind, key)) is not None]
    told = _of_themselves(records)
    try:
        changes = without(snapshot, gone)
    except Refused as refused:
        return told, [problem.said for problem in refused.problems if isinstance(problem.said, Said)]
    along: dict[str, list[Record]] = {}
    cleared: dict[tuple[str, str], list[Record]] = {}
    asked = set(gone)
    for kind, key, after in changes:
        other = find(snapshot, kind, key)
        if (kind, key) in asked or other is None:
            continue
        if after is None:
            along.setdefault(kind, []).append(other)
            continue
        for field in after.declared.fields:
            if getattr(after, field) != getattr(other, field):
                cleared.setdefault((kind, field), []).append(other)
    for kind, others in along.items():
        told.append(Said.of("consequences.goes-along", kind=_kind(kind, others), who=_listed(others), count=len(others)))
        told += _own_words(others)
    for (kind, field), others in cleared.items():
        label = KINDS[kind].record.declared.label(field)
        told.append(Said.of("consequences.stays-without", kind=_kind(kind, others), who=_listed(others), field=label, count=len(others)))
    return told, []


def _of_themselves(records: Sequence[Record]) -> list[Said]:
    claims = [claim for record in records for _, claim in KINDS[record.declared.kind].claims(record) if claim.target.kind != EMERGENCY]
    numbers = [PhoneNumber(claim.number) for claim in claims]
    told = [Said.of("consequences.number", number=_cut(numbers))] if numbers else []
    return told + (_own_words(records) if records else [])


def _own_words(records: Sequence[Record]) -> list[Said]:
    """A kind may have a sentence of its own: KIND.deleted with its name, and KIND.deleted-many about several."""
    kind = records[0].declared.kind
    if not english().has(f"{kind}.deleted"):
        return []
    return [Said(f"{kind}.deleted-many") if len(records) > 1 else Said.of(f"{kind}.deleted", name=name_of(records[0]))]


def _kind(name: str, records: Sequence[Record]) -> Said:
    return Said(f"kind.{name}") if len(records) == 1 else Said(f"kind.{name}-many")


def _listed(records: Sequence[Record]) -> Listed:
    return _cut(sorted((name_of(record) for record in records), key=lambda name: (len(name), name) if name.isdigit() else (99, name)))


def _cut(facts: Sequence[PhoneNumber] | Sequence[str]) -> Listed:
    """Of many the first, and how many more."""
    rest = len(facts) - TOLD
    return Listed((*facts[:TOLD], *((Said.of("consequences.more", count=rest),) if rest > 0 else ())))
