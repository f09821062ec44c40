"""The licences of what this product is made of. What may be added to this box is on the licence page."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue

from appliance.box import notices
from webui.login.guard import route
from webui.wording import t

pages = Blueprint("licences", __name__)
ASSETS = Path(__file__).parents[1] / "static" / "vendor"


def _kind(kind: str) -> str:
    return t(f"licences.kind-{kind}")


@route(pages, "/licences", role="person")
def listing() -> ResponseReturnValue:
    text = request.args.get("q", "").strip()[:100]
    words = text.casefold().split()
    every = notices.parts(ASSETS)
    found = [
        one
        for one in every
        if all(word in f"{one.name} {one.licences} {_kind(one.kind)}".casefold() for word in words)
    ]
    part = request.headers.get("HX-Target") == "licences"
    return render_template(
        "licences/list.html" if part else "licences.html",
        parts=found,
        every=len(every),
        text=text,
        standard=notices.standard_texts(),
        box=notices.BILL.exists(),
    )


@route(pages, "/licences/<kind>/<path:name>", role="person")
def detail(kind: str, name: str) -> ResponseReturnValue:
    if kind == "text":
        text = notices.standard_text(name) or abort(404)
        return render_template("licences/text.html", title=name, lead=_kind(kind), text=text)
    part = next((one for one in notices.parts(ASSETS) if (one.kind, one.name) == (kind, name)), None) or abort(404)
    lead = " · ".join(filter(None, (_kind(kind), part.version, part.licences)))
    return render_template("licences/text.html", title=part.name, lead=lead, text=notices.text_of(part, ASSETS))
