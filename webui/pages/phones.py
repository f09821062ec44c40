"""Every line with the phones that are registered on it, page by page. A registration that changes is one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from appliance import cti
from appliance.config.model import Snapshot
from appliance.config.search import found
from webui.desk import desk
from webui.login.guard import acting, route
from webui.pages.status import of_line
from webui.work import live

pages = Blueprint("phones", __name__)
PAGE = 50
MOST_CHANGED = 50
WHICH = ("", "on", "off", "open")


def _asked() -> tuple[str, str]:
    which = request.args.get("which", "")
    return (which if which in WHICH else ""), request.args.get("q", "").strip()[:100]


def _fitting(snapshot: Snapshot, phones: cti.Phones | None, which: str, text: str) -> list[str]:
    """Line ids, in the order of the numbers."""
    opened = frozenset(phones.open if phones else ())
    on = opened | frozenset(phones.encrypted if phones else ())
    lines = [line for key, line in snapshot.lines.items() if which in ("", "on" if key in on else "off") or (which == "open" and key in opened)]
    if text:
        lines = [one for one in lines if found(text, one.sip_username, one.label, (of := of_line(snapshot, one.id)[1]).number, of.name)]
    return [line.id for line in sorted(lines, key=lambda line: order(snapshot, line.id))]


def order(snapshot: Snapshot, key: str) -> tuple[int, str, str]:
    line, extension = of_line(snapshot, key)
    return len(extension.number), extension.number, line.sip_username


def _rows(snapshot: Snapshot, phones: cti.Phones | None, keys: Sequence[str]) -> list[dict[str, Any]]:
    answer = live.registrations(desk(), keys) if keys else None
    there: dict[str, list[cti.RegistrationView]] = {}
    for one in answer.registrations if answer else ():
        there.setdefault(one.line, []).append(one)
    drops = {one.line: one for one in reversed(phones.drops if phones else ())}
    made = []
    for key in keys:
        line, extension = of_line(snapshot, key)
        made.append({"line": line, "extension": extension, "phones": there.get(key, []), "drop": drops.get(key)})
    return made


@route(pages, "/phones", may="see status")
def listing() -> ResponseReturnValue:
    snapshot, (which, text), phones = acting().snapshot, _asked(), live.phones(desk())
    keys = _fitting(snapshot, phones, which, text)
    page = min(max(request.args.get("page", 1, int), 1), max(1, -(-len(keys) // PAGE)))
    first = (page - 1) * PAGE
    part = request.headers.get("HX-Target") == "phones"
    return render_template(
        "phones/list.html" if part else "phones.html",
        rows=_rows(snapshot, phones, keys[first : first + PAGE]),
        silent=phones is None,
        args={name: value for name, value in (("which", which), ("q", text)) if value},
        which=which,
        text=text,
        page=page,
        first=first,
        total=len(keys),
        size=PAGE,
    )


@route(pages, "/phones/rows", may="see status", live=True)
def rows() -> ResponseReturnValue:
    """Lines whose registrations have changed, as far as they are shown."""
    snapshot = acting().snapshot
    keys = [key for key in request.args.get("ids", "").split()[:MOST_CHANGED] if key in snapshot.lines]
    return render_template("phones/rows.html", rows=_rows(snapshot, live.phones(desk()), keys))
