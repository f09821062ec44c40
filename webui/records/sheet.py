"""A kind's records as a table: out as CSV, and in from any spreadsheet's, with what each column means, a preview line by line, and one revision."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, flash, redirect, render_template, request, session
from flask.typing import ResponseReturnValue

from appliance.config.declare import Kind
from appliance.config.model import Refused
from appliance.exchange import table
from appliance.exchange.preview import preview
from appliance.words import Said
from webui.forms import Option
from webui.login.guard import acting, route
from webui.records.bulk import SHOWN
from webui.records.list import rows_of, view_of
from webui.wording import capital, say, words

KEPT = 20  # mappings of columns that a session remembers


@dataclass(frozen=True)
class Line:
    """What a line of the file does, or why it cannot."""

    number: str
    action: str
    said: str


def register(pages: Blueprint, row: Kind[Any]) -> None:
    @route(pages, f"/{row.path}.csv", may=f"see {row.name}")
    def export() -> ResponseReturnValue:
        snapshot = acting().snapshot
        rows, _, _ = rows_of(row, view_of(row, request.args), snapshot, count=1_000_000)
        lines = table.written(row.name, rows, snapshot, words().language)
        headers = {"Content-Disposition": f"attachment; filename={row.path}.csv"}
        return Response("\ufeff" + "".join(lines), mimetype="text/csv", headers=headers)  # the mark tells spreadsheets that it is UTF-8

    if row.always:
        return

    @route(pages, f"/{row.path}/import", may=f"add {row.name}")
    def choose_sheet() -> ResponseReturnValue:
        return _page(row)

    @route(pages, f"/{row.path}/import", may=f"add {row.name}", methods=("POST",))
    def take_sheet() -> ResponseReturnValue:
        sent = request.files.get("file")
        data = sent.read() if sent is not None and sent.filename else request.form.get("text", "").encode()
        try:
            sheet = table.read(data)
        except Refused as refused:
            return _page(row, problems=[say(problem.said) for problem in refused.problems]), 422
        mapping = _mapping(row, sheet)
        if request.form.get("do") != "save":
            return _page(row, sheet, mapping)
        try:
            results = acting().save_all(table.wanted(row.name, sheet, mapping, acting().snapshot).wanted)
        except Refused:
            return _page(row, sheet, mapping), 422
        told = preview([result for result in results if result.changes], acting().snapshot)
        flash(say(told.summary), f"undo {acting().snapshot.revision}")
        return redirect(f"/{row.path}", 303)


def _mapping(row: Kind[Any], sheet: table.Sheet) -> list[str]:
    """What each column means: as it was chosen on the page, before for such a file, or as its name says."""
    place, kept = f"sheets.{row.name}", dict(session.get(f"sheets.{row.name}", {}))
    chosen = request.form.getlist("column")
    if len(chosen) == len(sheet.header):
        session[place] = dict([*((k, v) for k, v in kept.items() if k != sheet.signature), (sheet.signature, chosen)][-KEPT:])
        return chosen
    known: list[str] | None = kept.get(sheet.signature)
    return known if known is not None else table.guessed(sheet, row.name)


def _page(row: Kind[Any], sheet: table.Sheet | None = None, mapping: Sequence[str] = (), problems: Sequence[str] = ()) -> str:
    lines, summary = _lines(row, sheet, mapping) if sheet is not None else ([], "")
    wrong = sum(line.action == "refused" for line in lines)
    lines.sort(key=lambda line: line.action != "refused")
    columns = table.columns_of(row.name)
    options = [Option("", say(Said("records.sheet-nothing"))), *(Option(each.key, capital(say(each.label))) for each in columns)]
    return render_template(
        "records/import.html",
        row=row,
        sheet=sheet,
        text="" if sheet is None else _text(sheet),
        columns=[] if sheet is None else [(name, mapping[n], sheet.rows[0][n] if sheet.rows else "") for n, name in enumerate(sheet.header)],
        options=options,
        lines=[line for line in lines if line.action != "same"][:SHOWN],
        more=max(0, sum(line.action != "same" for line in lines) - SHOWN),
        summary=summary,
        wrong=wrong,
        problems=problems,
    )


def _lines(row: Kind[Any], sheet: table.Sheet, mapping: Sequence[str]) -> tuple[list[Line], str]:
    """What the file would do, and that in one sentence."""
    try:
        found = table.wanted(row.name, sheet, mapping, acting().snapshot)
    except Refused as refused:
        told = [(problem.field.partition(".")[0], problem) for problem in refused.problems]
        return [Line(number, "refused", say(problem.said)) for number, problem in told], ""
    foreseen = preview(acting().save_all(found.wanted, dry=True), acting().snapshot)
    return [Line(str(number), one.action, capital(say(one.said))) for number, one in zip(found.lines, foreseen.rows, strict=True)], say(foreseen.summary)


def _text(sheet: table.Sheet) -> str:
    """The same file again, to be sent along with the page."""
    out = io.StringIO()
    csv.writer(out).writerows((sheet.header, *sheet.rows))
    return out.getvalue()
