"""What is kept aside after a return to an older version: shown on the updates page, added to the history, fetched, deleted."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from flask import Blueprint, Response, abort, flash, redirect, request, send_file, url_for
from flask.typing import ResponseReturnValue

from appliance.storage.database import StorageFailed
from appliance.upkeep import aside
from appliance.upkeep.aside import CannotTakeOver
from appliance.words import Said
from webui.desk import desk
from webui.login.guard import acting, route
from webui.wording import say, t
from webui.work import Busy, Tell

pages = Blueprint("aside", __name__)
KIND = "aside"


def data() -> Path:
    return Path(desk().boot.data)


@route(pages, "/updates/kept/<name>", may="do update")
def fetch(name: str) -> ResponseReturnValue:
    """The database as it is; its call records as a table with ?as=table."""
    file = aside.find(data(), name) or abort(404)
    acting().note("settings", "settings", f"downloaded {name}, kept from a newer version")
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
    folder = data()

    def work(tell: Tell) -> Said:
        count = aside.take_over(folder, name, lambda done, total: tell("adding", done, total))
        return Said.of("aside.added", count=count)

    try:
        desk().desktop.begin(KIND, work, (CannotTakeOver, StorageFailed))
    except Busy as busy:
        flash(say(busy.said))
    else:
        acting().note("settings", "settings", f"added the call records of {name} to the history")
    return redirect(url_for("updates.listing"), 303)


@route(pages, "/updates/kept/progress", may="see update", live=True)
def progress() -> ResponseReturnValue:
    work = desk().desktop.of(KIND)
    if work is None:
        return {"finished": True}
    return {
        "finished": work.finished,
        "said": t("aside.adding", done=work.done, total=work.total),
        "percent": work.percent,
    }


@route(pages, "/updates/kept/<name>/delete", may="do update", methods=("POST",))
def delete(name: str) -> ResponseReturnValue:
    file = aside.find(data(), name) or abort(404)
    file.unlink()
    acting().note("settings", "settings", f"deleted {name}, kept from a newer version")
    flash(t("page.deleted"))
    return redirect(url_for("updates.listing"), 303)
