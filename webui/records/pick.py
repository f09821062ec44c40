"""What a picker finds while one types: the records that a field may lead to. A part of a page."""

from __future__ import annotations

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue

from appliance.config.declare import Destination, FieldType, Reference
from appliance.config.model import KINDS
from webui.login.guard import acting, may, route
from webui.records.named import matching

pages = Blueprint("pick", __name__)
LONGEST = 80  # letters


@route(pages, "/pick/<kind>", role="person", live=True)
def found(kind: str) -> ResponseReturnValue:
    if kind != "destination" and kind not in KINDS:
        abort(404)
    if kind in KINDS and not may("see", kind):
        abort(403)
    field: FieldType = Destination() if kind == "destination" else Reference(kind, gone="clear")
    text = request.args.get("text", "")[:LONGEST]
    return render_template("records/picked.html", found=matching(field, text, acting().snapshot), text=text)
