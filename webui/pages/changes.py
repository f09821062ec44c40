"""The journal: who changed what and when, in words."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from webui.desk import desk
from webui.guard import route

pages = Blueprint("changes", __name__)
PAGE = 50


@route(pages, "/changes", role="read-only")
def listing() -> ResponseReturnValue:
    before = request.args.get("before", None, int)
    rows = desk().admin.journal(limit=PAGE + 1, before=before)
    return render_template("changes.html", rows=rows[:PAGE], more=len(rows) > PAGE, first=before is None)
