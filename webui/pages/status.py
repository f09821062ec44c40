"""The dashboard: what needs attention, this day's calls, live calls, phones that dropped, and whether the office can rely on it all. Its parts are
fetched again when an event says so."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from flask import Blueprint, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from appliance import cti
from appliance.config.model import Extension, Line, Snapshot
from appliance.cti import Unavailable
from appliance.upkeep import scheduled
from webui.desk import desk
from webui.login.guard import acting, opens, person, route
from webui.work import live, ready, today

pages = Blueprint("status", __name__)
SHOWN = 8  # phones of a kind


@route(pages, "/", may="see status")
def listing() -> ResponseReturnValue:
    phones = live.phones(desk())
    return render_template(
        "status.html",
        **_figures(phones),
        **_attention(phones),
        hours=today.hours(desk()) if opens("calls.listing") else None,
        steps=_steps(phones),
    )


def _figures(phones: cti.Phones | None) -> dict[str, Any]:
    query, counts = today.today(desk()) if opens("calls.listing") else (None, {})
    return {"status": live.system(desk()), "calls": live.live_calls(desk()), "phones": phones, "today": query, "counts": counts, "lines": len(acting().snapshot.lines)}  # fmt: skip


def _attention(phones: cti.Phones | None) -> dict[str, Any]:
    """Phones that somebody should look at."""
    snapshot = acting().snapshot
    drops = [one for one in phones.drops if one.line in snapshot.lines] if phones else []
    unencrypted = [line for line in phones.open if line in snapshot.lines] if phones else []
    named = [(one, *of_line(snapshot, one.line)) for one in drops[:SHOWN]]
    return {
        "drops": named,
        "more_drops": len(drops) - len(named),
        "unencrypted": sorted((of_line(snapshot, line) for line in unencrypted), key=lambda one: (len(one[1].number), one[1].number))[:SHOWN],
        "more_unencrypted": max(0, len(unencrypted) - SHOWN),
        "refusals": live.pending_refusals(desk()),
        "snapshot": snapshot,
    }


def of_line(snapshot: Snapshot, key: str) -> tuple[Line, Extension]:
    """A line with its extension."""
    line = snapshot.lines[key]
    return line, snapshot.extensions.get(line.extension) or Extension(id=line.extension)


def _steps(phones: cti.Phones | None) -> list[ready.Step]:
    state = scheduled.read(Path(desk().boot.data))
    return ready.steps(ready.Facts(snapshot=desk().admin.snapshot, phones=phones, backups=state, now=desk().now()))


@route(pages, "/live/figures", may="see status", live=True)
def figures_part() -> ResponseReturnValue:
    return render_template("status/figures.html", **_figures(live.phones(desk())))


@route(pages, "/live/attention", may="see status", live=True)
def attention_part() -> ResponseReturnValue:
    phones = live.phones(desk())
    return render_template("status/attention.html", phones=phones, **_attention(phones))


@route(pages, "/live/ready", may="see status", live=True)
def ready_part() -> ResponseReturnValue:
    return render_template("status/ready.html", steps=_steps(live.phones(desk())))


@route(pages, "/live/chart", may="see history", live=True)
def chart_part() -> ResponseReturnValue:
    return render_template("status/chart.html", hours=today.hours(desk()))


@route(pages, "/live/calls", may="see call", live=True)
def calls_part() -> ResponseReturnValue:
    return render_template("status/calls.html", calls=live.live_calls(desk()))


@route(pages, "/live/calls/<call>/hang-up", may="do call", methods=("POST",))
def hang_up(call: str) -> ResponseReturnValue:
    with contextlib.suppress(Unavailable):  # the list drawn next tells how it stands
        live.end_call(desk(), acting(), call, f"{person().full_name or person().username} (admin page)")
    return redirect(url_for("status.calls_part"), 303)
