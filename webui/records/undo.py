"""A save taken back: first what that would do, in words, then the doing, which is a save of its own."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from appliance.config.admin import Result
from appliance.config.model import KINDS, Refused, find
from appliance.words import Said
from webui.forms import problems_by_field
from webui.login.guard import acting, route
from webui.records.bulk import SHOWN, Previewed, changes_said
from webui.records.named import label_of
from webui.wording import capital, say

pages = Blueprint("undo", __name__)


@route(pages, "/changes/<int:revision>/undo", may="do journal")
def ask(revision: int) -> ResponseReturnValue:
    return _page(revision)


@route(pages, "/changes/<int:revision>/undo", may="do journal", methods=("POST",))
def do(revision: int) -> ResponseReturnValue:
    try:
        acting().undo(revision)
    except Refused:
        return _page(revision), 422
    flash(say(Said("records.undone")), f"undo {acting().snapshot.revision}")
    return redirect(url_for("changes.listing"), 303)


def _page(revision: int) -> str:
    here = acting()
    if not 0 < revision <= here.snapshot.revision:
        abort(404)
    results, undone = here.undo(revision, dry=True)
    shown = [_previewed(result) for result in results if result.changes or result.problems]
    shown.sort(key=lambda one: not one.problems)
    return render_template(
        "records/undo.html",
        revision=revision,
        shown=shown[:SHOWN],
        more=max(0, len(shown) - SHOWN),
        wrong=any(one.problems for one in shown),
        kept=[(_name(*name), list(problems_by_field(problems).values())) for name, problems in undone.kept.items()],
    )


def _previewed(result: Result) -> Previewed:
    lines = changes_said(result.kind, result)
    if result.after is None:
        lines = (say(Said("records.undo-deleted")),)
    elif result.before is None:
        lines = (say(Said("records.undo-made")), *lines)
    record = result.before or result.after
    name = f"{capital(say(Said(f'kind.{result.kind}')))} {label_of(record) if record is not None else result.key}"
    return Previewed(name, lines, tuple(problems_by_field(result.problems).values()))


def _name(kind: str, key: str) -> str:
    record = find(acting().snapshot, kind, key) if kind in KINDS else None
    return f"{capital(say(Said(f'kind.{kind}')))} {label_of(record) if record is not None else ''}".strip()
