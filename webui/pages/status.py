"""The dashboard: what needs attention, live calls, registered phones, processes. Its parts are fetched again when an event says so."""

from __future__ import annotations

import contextlib

from flask import Blueprint, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from appliance.cti import (
    Calls,
    GetCalls,
    GetRefusals,
    GetRegistrations,
    GetStatus,
    HangUp,
    Refusals,
    RefusalView,
    Registrations,
    Status,
    Unavailable,
)
from webui.desk import desk
from webui.login.guard import person, route

pages = Blueprint("status", __name__)
REFUSALS_SHOWN = 10


def live_calls() -> Calls | None:
    """None when the telephone process does not answer."""
    try:
        reply = desk().box.ask("calls", GetCalls())
    except Unavailable:
        return None
    return reply if isinstance(reply, Calls) else None


def registrations() -> Registrations | None:
    try:
        reply = desk().box.ask("calls", GetRegistrations())
    except Unavailable:
        return None
    return reply if isinstance(reply, Registrations) else None


def refusals() -> list[RefusalView]:
    """Who was turned away last, newest first; none when nobody can tell."""
    try:
        reply = desk().box.ask("calls", GetRefusals())
    except Unavailable:
        return []
    return reply.refusals if isinstance(reply, Refusals) else []


def pending_refusals() -> list[RefusalView]:
    """Those whose phone has not registered since, a line of ours before what belongs to none."""
    pending = [one for one in refusals() if one.over is None]
    return sorted(pending, key=lambda one: not one.line)[:REFUSALS_SHOWN]


def system() -> Status | None:
    try:
        reply = desk().box.ask("supervisor", GetStatus())
    except Unavailable:
        return None
    return reply if isinstance(reply, Status) else None


@route(pages, "/", role="read-only")
def listing() -> ResponseReturnValue:
    return render_template(
        "status.html",
        calls=live_calls(),
        registrations=registrations(),
        status=system(),
        extensions=desk().admin.snapshot.extensions,
        refusals=pending_refusals(),
        snapshot=desk().admin.snapshot,
    )


@route(pages, "/live/calls", role="read-only", live=True)
def calls_part() -> ResponseReturnValue:
    return render_template("status/calls.html", calls=live_calls())


@route(pages, "/live/registrations", role="read-only", live=True)
def registrations_part() -> ResponseReturnValue:
    return render_template(
        "status/registrations.html", registrations=registrations(), extensions=desk().admin.snapshot.extensions
    )


@route(pages, "/live/refusals", role="read-only", live=True)
def refusals_part() -> ResponseReturnValue:
    return render_template("status/refusals.html", refusals=pending_refusals(), snapshot=desk().admin.snapshot)


@route(pages, "/live/system", role="read-only", live=True)
def system_part() -> ResponseReturnValue:
    return render_template("status/system.html", status=system())


@route(pages, "/live/figures", role="read-only", live=True)
def figures_part() -> ResponseReturnValue:
    return render_template(
        "status/figures.html",
        status=system(),
        calls=live_calls(),
        registrations=registrations(),
        extensions=desk().admin.snapshot.extensions,
    )


@route(pages, "/live/calls/<call>/hang-up", role="full", methods=("POST",))
def hang_up(call: str) -> ResponseReturnValue:
    calls = live_calls()
    view = next((one for one in calls.calls if one.id == call), None) if calls else None
    with contextlib.suppress(Unavailable):  # the list drawn next tells how it stands
        desk().box.ask("calls", HangUp(call, f"{person().full_name or person().username} (admin page)"))
        between = f" between {view.caller.number} and {view.dialled}" if view else ""
        desk().admin.note("settings", "settings", f"hung up a call{between}", person().username)
    return redirect(url_for("status.calls_part"), 303)
