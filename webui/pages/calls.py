"""Call history: search, page by page, and one call in detail."""

from __future__ import annotations

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue

from webui.desk import desk
from webui.login.guard import route

pages = Blueprint("calls", __name__)
PAGE = 50


@route(pages, "/calls", may="see history")
def listing() -> ResponseReturnValue:
    text = request.args.get("q", "").strip()[:100]
    page = min(max(request.args.get("page", 1, int), 1), 10_000)
    found = list(desk().history.search(text, limit=PAGE + 1, offset=(page - 1) * PAGE))
    part = request.headers.get("HX-Target") == "calls"
    template = "calls/list.html" if part else "calls.html"
    return render_template(template, calls=found[:PAGE], more=len(found) > PAGE, page=page, text=text)


@route(pages, "/calls/<call>", may="see history")
def detail(call: str) -> ResponseReturnValue:
    record = desk().history.find(call)
    if record is None:
        abort(404)
    return render_template("calls/detail.html", call=record)
