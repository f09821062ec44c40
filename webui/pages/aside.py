"""What is kept aside after a return to an older version: shown on the updates page, added to the history, fetched, deleted."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from flask import Blueprint, Response, abort, flash, redirect, request, send_file, url_for
from flask.typing import ResponseReturnValue

from appliance.upkeep import aside
from webui.desk import desk
from webui.login.guard import acting, route
from webui.wording import say, t
from webui.work import Busy, kept

pages = Blueprint("aside", __name__)


@route(pages, "/updates/kept/<name>", may="do update")
def fetch(name: str) -> ResponseReturnValue:
    """The database as it is; its call records as a table with ?as=table."""
    file = kept.fetch(desk(), acting(), name) or abort(404)
    if request.args.get("as") != "table":
        return send_file(file, mimetype="application/vnd.sqlite3", as_attachment=True, download_name=f"{name}.sqlite3")
    return Response(
        _table(file),
        mimetype="text/csv",
        headers={"Content-Disposition": f"attachment; filename={name.replace('.', '-')}.csv"},
    )


def _table(file: Path) -> Iterator[str]:
    out = io.StringIO()
    writer = csv.writer(out)
    for row in aside.table(file):
        writer.writerow(_harmless(cell) for cell in row)
        yield out.getvalue()
        out.seek(0)
        out.truncate()


def _harmless(cell: object) -> object:
    """A spreadsheet takes a text that begins like a formula for one; callers choose their names themselves."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in "=+-@\t\r" and cell else cell


@route(pages, "/updates/kept/<name>/add", may="do update", methods=("POST",))
def add(name: str) -> ResponseReturnValue:
    try:
        kept.add(desk(), acting(), name)
    except Busy as busy:
        flash(say(busy.said))
    return redirect(url_for("updates.listing"), 303)


@route(pages, "/updates/kept/progress", may="see update", live=True)
def progress() -> ResponseReturnValue:
    work = desk().desktop.of(kept.KIND)
    if work is None:
        return {"finished": True}
    return {
        "finished": work.finished,
        "said": t("aside.adding", done=work.done, total=work.total),
        "percent": work.percent,
    }


@route(pages, "/updates/kept/<name>/delete", may="do update", methods=("POST",))
def delete(name: str) -> ResponseReturnValue:
    if not kept.delete(desk(), acting(), name):
        abort(404)
    flash(t("page.deleted"))
    return redirect(url_for("updates.listing"), 303)
