"""Every line with the phones that are registered on it, page by page. A registration that changes is one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from appliance import cti
from appliance.config.model import Extension, Line, Snapshot
from appliance.config.search import folded
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


class _Ordered:
    """The lines of the newest configuration in the order of their numbers, each with the text it is found by. What has not changed since the
    configuration before is not looked at again: at 10,000 lines that would take longer than all the rest of the page."""

    def __init__(self) -> None:
        self._of: Snapshot | None = None
        self._known: dict[str, tuple[Line, Extension, tuple[int, str, str], str]] = {}
        self._lines: list[tuple[str, str]] = []

    def lines(self, snapshot: Snapshot) -> list[tuple[str, str]]:
        if snapshot is self._of:
            return self._lines
        extensions, before, known = snapshot.extensions, self._known, {}
        for key, line in snapshot.lines.items():
            one = extensions.get(line.extension, _NOBODY)
            old = before.get(key)
            known[key] = old if old is not None and old[0] is line and old[1] is one else _made(line, one)
        made = [(key, text) for key, (_, _, _, text) in sorted(known.items(), key=lambda item: item[1][2])]
        self._of, self._known, self._lines = snapshot, known, made
        return made


_NOBODY = Extension()


def _made(line: Line, one: Extension) -> tuple[Line, Extension, tuple[int, str, str], str]:
    text = folded(f"{one.number} {one.name} {line.sip_username} {line.label}")
    return line, one, (len(one.number), one.number, line.sip_username), text


_ordered = _Ordered()


def _fitting(phones: cti.Phones | None, which: str, text: str) -> list[str]:
    """Line ids, in the order of the numbers."""
    opened, seen = frozenset(phones.open if phones else ()), acting().snapshot.lines
    on = opened | frozenset(phones.encrypted if phones else ())

    def fits(key: str) -> bool:
        return (which != "on" or key in on) and (which != "off" or key not in on) and (which != "open" or key in opened)

    words = folded(text).split()
    found = (key for key, words_of in _ordered.lines(desk().admin.snapshot) if all(word in words_of for word in words) and fits(key))
    return [key for key in found if key in seen]


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
    keys = _fitting(phones, which, text)
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
