"""The dashboard: what needs attention, live calls, registered phones, processes. Its parts are fetched again when an event says so."""

from __future__ import annotations

import contextlib

from flask import Blueprint, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from appliance.cti import Unavailable
from webui.desk import desk
from webui.login.guard import acting, person, route
from webui.work import live

pages = Blueprint("status", __name__)


@route(pages, "/", may="see status")
def listing() -> ResponseReturnValue:
    return render_template(
        "status.html",
        calls=live.live_calls(desk()),
        registrations=live.registrations(desk()),
        status=live.system(desk()),
        extensions=acting().snapshot.extensions,
        refusals=live.pending_refusals(desk()),
        snapshot=acting().snapshot,
    )


@route(pages, "/live/calls", may="see call", live=True)
def calls_part() -> ResponseReturnValue:
    return render_template("status/calls.html", calls=live.live_calls(desk()))


@route(pages, "/live/registrations", may="see status", live=True)
def registrations_part() -> ResponseReturnValue:
    return render_template(
        "status/registrations.html",
        registrations=live.registrations(desk()),
        extensions=acting().snapshot.extensions,
    )


@route(pages, "/live/refusals", may="see status", live=True)
def refusals_part() -> ResponseReturnValue:
    return render_template(
        "status/refusals.html", refusals=live.pending_refusals(desk()), snapshot=acting().snapshot
    )


@route(pages, "/live/system", may="see system", live=True)
def system_part() -> ResponseReturnValue:
    return render_template("status/system.html", status=live.system(desk()))


@route(pages, "/live/figures", may="see status", live=True)
def figures_part() -> ResponseReturnValue:
    return render_template(
        "status/figures.html",
        status=live.system(desk()),
        calls=live.live_calls(desk()),
        registrations=live.registrations(desk()),
        extensions=acting().snapshot.extensions,
    )


@route(pages, "/live/calls/<call>/hang-up", may="do call", methods=("POST",))
def hang_up(call: str) -> ResponseReturnValue:
    with contextlib.suppress(Unavailable):  # the list drawn next tells how it stands
        live.end_call(desk(), acting(), call, f"{person().full_name or person().username} (admin page)")
    return redirect(url_for("status.calls_part"), 303)
