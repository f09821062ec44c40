"""Records as tables: out as CSV, and in from any spreadsheet's (`appliance.exchange.table`), all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from flask import Response, request

from appliance.config.declare import Kind
from appliance.config.model import KINDS
from appliance.config.reading import listing
from appliance.exchange import table
from appliance.exchange.preview import Action, preview
from appliance.words import Said
from webui.api.operations import Asked, Operations
from webui.api.records import Preview


class Row(msgspec.Struct):
    """What a line of the file does."""

    line: int
    action: Action
    sentence: str


class Imported(msgspec.Struct):
    preview: bool
    sentence: str
    columns: list[str]
    items: list[Row]


def table_operations() -> Iterator[Operations]:
    for kind in KINDS.values():
        yield _operations(kind)


def _operations(kind: Kind[Any]) -> Operations:
    many = Said.of(f"kind.{kind.name}-many")
    found = Operations(many)
    found.add(
        "GET", f"/{kind.path}.csv", name=f"{kind.name}.table", may=f"see {kind.name}", said=Said.of("api.table", kinds=many), kind="text/csv"
    )(lambda asked: _written(asked, kind))  # fmt: skip
    if not kind.always:
        found.add(
            "POST", f"/{kind.path}/import", name=f"{kind.name}.import", may=f"add {kind.name}", said=Said.of("api.import", kinds=many),
            query=Preview, raw="text/csv", answer=Imported, refuses=frozenset({409, 413, 422}),
        )(lambda asked: _imported(asked, kind))  # fmt: skip
    return found


def _written(asked: Asked, kind: Kind[Any]) -> Response:
    snapshot = asked.caller.acting.snapshot
    lines = table.written(kind.name, listing.listed(snapshot, kind.name), snapshot, asked.words.language)
    return Response("\ufeff" + "".join(lines), mimetype="text/csv")


def _imported(asked: Asked, kind: Kind[Any]) -> Imported:
    """What a column means, its name says, in any of the languages."""
    acting = asked.caller.acting
    sheet = table.read(request.stream.read(table.LARGEST + 1))
    columns, snapshot = table.guessed(sheet, kind.name), acting.snapshot
    wanted = table.wanted(kind.name, sheet, columns, snapshot)
    foreseen = preview(acting.save_all(wanted.wanted, dry=True), snapshot)
    if not asked.query.preview:
        acting.save_all(wanted.wanted)
    rows = [Row(line, one.action, asked.say(one.said)) for line, one in zip(wanted.lines, foreseen.rows, strict=True)]
    return Imported(asked.query.preview, asked.say(foreseen.summary), columns, rows)
