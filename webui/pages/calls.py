"""Call history: what is looked for, page by page, with each new call as a row of its own; one call in detail; all that is sought as a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from flask import Blueprint, Response, abort, render_template, request, stream_with_context
from flask.typing import ResponseReturnValue

from appliance.calls.history.records import CallPage
from appliance.calls.history.records.query import BadQuery, CallQuery, Sought
from appliance.config.model import Snapshot, service_number
from appliance.config.search import folded, found
from appliance.words import Said
from webui.desk import desk
from webui.login.guard import acting, route
from webui.wording import t
from webui.work import history

pages = Blueprint("calls", __name__)
MOST_NEW = 50  # calls that one event adds
MOST_NAMES = 12  # that are offered while somebody types
LONGEST_CURSOR = 17  # digits


def _asked() -> tuple[CallQuery, str, dict[str, Said]]:
    """What the address asks for, what was typed as extension or person, and what is wrong with it, by field."""
    args, who, wrong = request.args.to_dict(), request.args.get("who", "").strip()[:100], {}
    try:
        args |= _who(acting().snapshot, who)
    except BadQuery as bad:
        wrong[bad.field] = bad.said
    while True:  # a field that makes no sense is told, and the rest is looked for
        try:
            return CallQuery.read(args), who, wrong
        except BadQuery as bad:
            wrong[bad.field] = bad.said
            args.pop(bad.field)


def _who(snapshot: Snapshot, typed: str) -> dict[str, str]:
    """An extension by its number, or a user by name."""
    if not typed or typed in snapshot.extension_by_number:
        return {"extension": typed} if typed else {}
    number = typed.split()[0]
    if number in snapshot.extension_by_number and " " in typed:  # as it was offered: number and name
        return {"extension": number}
    users = [user for user in snapshot.users.values() if folded(typed) in (folded(user.username), folded(user.full_name))]
    if not users:
        raise BadQuery("who", Said.of("history.nobody", typed=typed))
    return {"person": users[0].id}


def _sought(query: CallQuery) -> Sought:
    return history.sought(desk(), acting(), query)


def _cursor(name: str) -> int:
    typed = request.args.get(name, "")
    return int(typed) if typed.isascii() and typed.isdigit() and len(typed) <= LONGEST_CURSOR else 0


@route(pages, "/calls", may="see history")
def listing() -> ResponseReturnValue:
    query, who, wrong = _asked()
    before, after = _cursor("before"), _cursor("after")
    found_page = desk().history.page(_sought(query), before=before, after=after)
    part = request.headers.get("HX-Target") == "calls"
    return render_template(
        "calls/list.html" if part else "calls.html",
        page=found_page,
        newest=not before and not found_page.newer,
        links=_links(found_page, _args(query, who)),
        wrong=wrong,
        query=query,
        who=who,
        args=_args(query, who),
        to_index=desk().history.not_indexed(),
        echo=service_number(acting().snapshot, "echo"),
    )


def _args(query: CallQuery, who: str) -> dict[str, str]:
    """What stands in the addresses of this page."""
    rest = {name: value for name, value in query.args.items() if name not in ("extension", "person") or not who}
    return rest | ({"who": who} if who else {})


def _links(page: CallPage, args: Mapping[str, str]) -> dict[str, Mapping[str, str]]:
    """Where the newer and older calls are; only what there is."""
    links: dict[str, Mapping[str, str]] = {}
    if page.newer:
        links |= {"newest": args, "newer": {**args, "after": str(page.newer)}}
    if page.older:
        links |= {"older": {**args, "before": str(page.older)}, "oldest": {**args, "after": "1"}}
    return links


@route(pages, "/calls/rows", may="see history", live=True)
def rows() -> ResponseReturnValue:
    """Calls that have just ended, those of them that are sought."""
    query, _, _ = _asked()
    ids = request.args.get("ids", "").split()[:MOST_NEW]
    return render_template("calls/rows.html", calls=desk().history.among(ids, _sought(query)))


@route(pages, "/calls/who", may="see history", live=True)
def names() -> ResponseReturnValue:
    """Extensions and people whose name fits what is being typed."""
    snapshot, typed = acting().snapshot, request.args.get("who", "").strip()[:100]
    offered: list[tuple[str, str]] = []
    if typed:
        extensions = (one for one in snapshot.extensions.values() if found(typed, one.number, one.name))
        users = (one for one in snapshot.users.values() if found(typed, one.username, one.full_name))
        offered += [(f"{one.number} {one.name}".strip(), t("history.an-extension")) for one in extensions]
        offered += [(one.full_name or one.username, t("history.a-person")) for one in users]
    return render_template("calls/names.html", offered=sorted(offered, key=lambda one: (len(one[0]), one))[:MOST_NAMES])


@route(pages, "/calls/<call>", may="see history")
def detail(call: str) -> ResponseReturnValue:
    record = history.find(desk(), acting(), call)
    if record is None:
        abort(404)
    return render_template("calls/detail.html", call=record)


# ---- as a file, written while it is read -------------------------------------------------------------------------------


@route(pages, "/calls.csv", may="see history")
def as_csv() -> ResponseReturnValue:
    query, _, _ = _asked()
    return _file(history.sheet(desk().history.each(_sought(query))), "text/csv; charset=utf-8", "csv")


@route(pages, "/calls.json", may="see history")
def as_json() -> ResponseReturnValue:
    query, _, _ = _asked()
    return _file(history.objects(desk().history.each(_sought(query))), "application/json", "json")


def _file(parts: Iterator[str], kind: str, ending: str) -> Response:
    name = f"calls-{datetime.fromtimestamp(desk().now(), desk().admin.snapshot.zone):%Y-%m-%d}.{ending}"
    return Response(stream_with_context(parts), content_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})
