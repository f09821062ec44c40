"""Every field of every kind says what people and programs need of it, and somebody asks for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.config.declare import Reference, Several
from appliance.config.kinds import KINDS
from appliance.words import english

ROOT = Path(__file__).parents[1]
FIELDS = [(row.name, name) for row in KINDS.values() for name in row.record.declared.fields]
# Nobody asks for these by their names yet.
UNREAD = {
    "user.email": "stands in lists and exports; mails come with voicemail",
}


def sources() -> Iterator[str]:
    for folder in ("appliance", "webui"):
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in (".py", ".html") and "kinds" not in file.parts:
                yield file.read_text()


READ = "\n".join(sources())


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_somebody_reads_it(kind: str, field: str) -> None:
    read = re.search(rf"\.{field}\b", READ) is not None or (KINDS[kind].references.get(field) is not None)
    assert read != (f"{kind}.{field}" in UNREAD)


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_it_has_a_help_and_a_place(kind: str, field: str) -> None:
    declared = KINDS[kind].record.declared
    if not declared.fields[field].hidden:
        assert english().say(declared.help(field))
        assert english().say(declared.tab(declared.fields[field].tab))


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_it_has_values_to_try_that_fit(kind: str, field: str) -> None:
    row = KINDS[kind]
    declared = row.record.declared.fields[field]
    inner = declared.of if isinstance(declared, Several) else declared
    values = declared.tried()
    assert values or isinstance(inner, Reference)
    for value in values:
        made = row.make({field: value})
        assert declared.fits(getattr(made, field))
        typed = declared.text(getattr(made, field))
        assert getattr(row.make({field: typed}), field) == getattr(made, field)  # a form brings it back


@pytest.mark.parametrize("row", KINDS.values(), ids=KINDS)
def test_a_kind_says_how_people_come_to_it(row: object) -> None:
    kind = KINDS[getattr(row, "name")]  # noqa: B009
    fields = kind.record.declared.fields
    assert {*kind.columns, *kind.searched} <= fields.keys()
    assert not {name for name in (*kind.columns, *kind.searched) if fields[name].secret}
    assert kind.named_by in (*fields, "id")
    assert english().say(kind.one)
    assert english().say(kind.many)
    assert not kind.parent or kind.references[kind.parent]
    if kind.columns and not kind.parent and not kind.always:
        assert kind.searched
