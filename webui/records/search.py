"""Search over everything: pages and what one can do there, records, numbers, settings and their fields. A page, and what Ctrl-K shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from flask import Blueprint, current_app, render_template, request, url_for
from flask.typing import ResponseReturnValue

from appliance.config.model import KINDS, find, owner
from appliance.config.search import folded
from appliance.config.search import found as found_in
from webui.login.guard import acting, may, opens, route
from webui.records.named import label_of, single
from webui.records.shown import page_of
from webui.wording import capital, say, t

pages = Blueprint("search", __name__)
LONGEST = 100
RECORDS = 20
FIELDS = 8


class Hit(NamedTuple):
    """One thing found: where it leads, what it is called, what kind of thing it is, and a picture."""

    address: str
    title: str
    about: str
    icon: str


@route(pages, "/search", role="person")
def listing() -> ResponseReturnValue:
    text = request.args.get("q", "").strip()[:LONGEST]
    template = "records/found.html" if request.headers.get("HX-Request") else "search.html"
    return render_template(template, text=text, hits=everything(text) if text else start())


def start() -> list[Hit]:
    """What is offered before anything is typed: every page, and what can be made."""
    return [*_pages(""), *_actions("")]


def everything(text: str) -> list[Hit]:
    """The best first: what has exactly that name or number, then pages and actions, then records, then fields."""
    hits = [*_number(text), *_pages(text), *_actions(text), *_records(text), *_fields(text)]
    wanted = folded(text)
    hits.sort(key=lambda hit: not folded(hit.title).startswith(wanted))
    return list({(hit.address, hit.title): hit for hit in hits}.values())


def _pages(text: str) -> Iterator[Hit]:
    for group, entries in current_app.jinja_env.globals["menu"]:  # type: ignore[attr-defined]
        for entry in entries:
            title = capital(t(entry.title))
            if found_in(text, title, t(group)) and opens(f"{entry.page}.listing"):
                yield Hit(url_for(f"{entry.page}.listing"), title, t("search.page", group=t(group)), entry.icon)
    title = t("search.account")
    if found_in(text, title):
        yield Hit(url_for("account.form"), title, t("search.action"), "key")


def _actions(text: str) -> Iterator[Hit]:
    for row in KINDS.values():
        if row.group and not row.always and may("add", row.name):
            title = t("records.add", kind=t(f"kind.{row.name}"))
            if found_in(text, title):
                yield Hit(url_for(f"{row.path}.add"), title, t("search.action"), "plus")


def _records(text: str) -> Iterator[Hit]:
    here = acting()
    for kind, key in here.search(text, limit=RECORDS):
        if (record := find(here.snapshot, kind, key)) is not None and (address := page_of(kind, key)):
            yield Hit(address, label_of(record), capital(t(f"kind.{kind}")), KINDS[kind].icon)
    for row in KINDS.values():  # those that are there from the start stand in no index until they are changed
        for key in row.always if may("see", row.name) else ():
            record = find(here.snapshot, row.name, key)
            if record is not None and found_in(text, label_of(record)) and (address := page_of(row.name, key)):
                yield Hit(address, label_of(record), capital(t(f"kind.{row.name}")), row.icon)


def _number(text: str) -> Iterator[Hit]:
    """Who has a number that is typed whole."""
    snapshot = acting().snapshot
    if text and all(letter in "0123456789*#" for letter in text) and (claimed := snapshot.claims.find(text)) is not None:
        claim = claimed[0]
        words = say(owner(claim, snapshot))
        yield Hit(url_for("dialplan.listing", number=text), text, capital(words), "arrow-up-right")


def _fields(text: str) -> Iterator[Hit]:
    """Settings by their label or what their help says."""
    found = 0
    for row in KINDS.values():
        declared = row.record.declared
        for name, field in declared.fields.items():
            label, help = say(declared.label(name)), "" if field.hidden else say(declared.help(name))
            if field.hidden or not row.group or not may("see", row.name) or found == FIELDS or not found_in(text, label, help):
                continue
            found += 1
            address = url_for(f"{row.path}.listing") + (f"?tab={field.tab}#field-{name}" if single(row) else "")
            yield Hit(address, label, t("search.field", kinds=capital(t(f"kind.{row.name}-many"))), "adjustments")
