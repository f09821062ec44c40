"""Versions of the appliance: what runs, what failed and why, installing an update, when to restart, the support bundle.

The bundle is the body of the request and goes block by block to the box's helper, which writes it into the other slot: nothing is kept
here. Only on the appliance; elsewhere the page says how this installation is updated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
from flask import Blueprint, Response, abort, flash, redirect, render_template, request, send_file, url_for
from flask.typing import ResponseReturnValue

from appliance.box import update_client
from appliance.box.update_client import HelperFailed
from appliance.storage import copies
from appliance.upkeep import aside
from appliance.upkeep import support as bundle
from appliance.version import VERSION
from appliance.words import Said
from webui.desk import desk
from webui.login.guard import acting, route
from webui.pages.changes import tell
from webui.wording import say, t, words
from webui.work import kept

pages = Blueprint("updates", __name__)


@route(pages, "/updates", may="see update")
def listing() -> ResponseReturnValue:
    status, problem = None, ""
    if update_client.available():
        try:
            status = update_client.ask("status")
        except HelperFailed as error:
            problem = say(error.said)
    work = desk().desktop.of(kept.KIND)
    return render_template(
        "updates.html",
        version=VERSION,
        status=status,
        why_left=_why_left(status),
        problem=problem,
        kept=_kept(),
        work=work,
        most=copies.MOST,
    )


def _why_left(status: Any) -> str:
    """Why the other version was left; in English where it said so in a way that this one does not know."""
    left = status["failed"] if status else None
    said = msgspec.convert(left["said"], Said) if left and left.get("said") else None
    return say(said) if said is not None and words().has(said.key) else left["reason"] if left else ""


def _kept() -> list[dict[str, Any]]:
    """What a newer version left, with the changes of a configuration in words."""
    data, snapshot = Path(desk().boot.data), acting().snapshot
    return [
        {**asdict(one), "changes": [tell(row, snapshot) for row in aside.changes(data, one.name)]}
        for one in aside.listing(data)
    ]


@route(pages, "/updates/install", may="do update", methods=("POST",))
def upload() -> ResponseReturnValue:
    """Plain text: the version that was installed (200), or why not (409)."""
    blocks = _blocks()
    try:
        version = update_client.send_update(blocks)
    except HelperFailed as error:
        for _ in blocks:  # a browser reads the answer only when it has sent everything
            pass
        return Response(say(error.said), 409, mimetype="text/plain")
    return Response(version, mimetype="text/plain")


def _blocks() -> Iterator[bytes]:
    while block := request.stream.read(update_client.BLOCK):
        yield block


@route(pages, "/updates/progress", may="see update", live=True)
def progress() -> ResponseReturnValue:
    try:
        return dict(update_client.ask("status")["progress"])
    except HelperFailed as error:
        return {"what": "refused", "error": say(error.said)}


@route(pages, "/updates/restart", may="do update", methods=("POST",))
def restart() -> ResponseReturnValue:
    when = request.form.get("when", "")
    try:
        update_client.ask("restart", when=request.form.get("hour", "") if when == "hour" else when)
    except HelperFailed as error:
        flash(say(error.said))
    else:
        if not when:
            flash(t("updates.no-restart"))
    return redirect(url_for("updates.listing"), 303)


@route(pages, "/updates/support", may="do system", methods=("POST",))
def support() -> ResponseReturnValue:
    try:
        made = Path(update_client.ask("support")) if update_client.available() else bundle.write(Path(desk().boot.data))
    except HelperFailed as error:
        flash(say(error.said))
        return redirect(url_for("updates.listing"), 303)
    if not made.is_file():
        abort(404)
    acting().note("settings", "settings", Said("journal.bundle"))
    return send_file(made, as_attachment=True, download_name="switchroom-support.tar.gz")
