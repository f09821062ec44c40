"""Backup and restore: one file out, one file in (`work.backups`).

A restore is sent as the body of a request: one line of JSON with the passphrase, then the file.
"""

from __future__ import annotations

import json
from typing import IO, Any

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, send_file, url_for
from flask.typing import ResponseReturnValue

from appliance.box import update_client
from appliance.box.update_client import HelperFailed
from appliance.config.kinds.backups import BackupPlan
from appliance.config.model import Problem, Refused
from appliance.upkeep import scheduled
from appliance.upkeep.backup import BadBackup
from appliance.words import Said
from webui.desk import desk
from webui.forms import fields_of, problems_by_field, values_of
from webui.login.guard import acting, person, route
from webui.wording import say, t
from webui.work import Busy, backups, nightly

pages = Blueprint("backup", __name__)
LONGEST_LINE = 8192


@route(pages, "/backup", may="see backup")
def listing() -> ResponseReturnValue:
    return _page({})


def _page(wrong: dict[str, str], status: int = 200, plan: Refused | None = None) -> ResponseReturnValue:
    work = desk().desktop.of(backups.KIND)
    fetch_now = work is not None and work.fresh and not work.problem and not work.fetched
    if work is not None and work.finished:
        work.fetched = True
    kept = [(folder.name, folder.stat().st_mtime) for folder in backups.kept_states(desk())]
    file = backups.finished(desk())
    text = render_template(
        "backup.html",
        work=work,
        fetch_now=fetch_now,
        wrong=wrong,
        kept=kept,
        file=file.name if file else "",
        size=file.stat().st_size if file else 0,
        shortest=backups.SHORTEST_PASSPHRASE,
        on_box=update_client.available(),
        **_scheduled(plan),
    )
    return text, status


# ---- by themselves -----------------------------------------------------------------------------------------------------


def _scheduled(refused: Refused | None) -> dict[str, Any]:
    shown = dict(refused.values) if refused and refused.values else values_of(scheduled.plan_of(acting().snapshot))
    problems = refused.problems if refused else ()
    return {
        "plan": fields_of(BackupPlan, shown, problems), "plan_wrong": problems_by_field(problems), "places": nightly.places(desk()),
        "nightly": nightly.state(desk()),
    }  # fmt: skip


@route(pages, "/backup/plan", may="change backup-plan", methods=("POST",))
def plan() -> ResponseReturnValue:
    values = {name: request.form.get(name, "").strip() for name in ("at", "folder", "keep")}
    if word := request.form.get("plan-passphrase", ""):  # an empty one stays as it was
        values["passphrase"] = word
    try:
        if values["at"]:
            nightly.demand_usable(desk(), values["folder"])
        acting().update("backup-plan", "backup-plan", values, mark=request.form.get("mark", ""))
    except Refused as refused:
        return _page({}, 422, Refused(*refused.problems, values=values))
    flash(t("scheduled.saved"))
    return redirect(url_for("backup.listing"), 303)


@route(pages, "/backup/now", may="do backup", methods=("POST",))
def make_now() -> ResponseReturnValue:
    try:
        nightly.by_hand(desk(), acting())
    except Refused as refused:
        return _page({}, 422, refused)
    except Busy as busy:
        return _page({}, 409, Refused(Problem("", busy.said)))
    flash(t("scheduled.begun"))
    return redirect(url_for("backup.listing"), 303)


@route(pages, "/backup/nightly", may="see backup", live=True)
def nightly_progress() -> ResponseReturnValue:
    found = nightly.state(desk())
    what = found.what if found.what in ("copying", "writing", "reading", "checking") else "beginning"
    return {"finished": not found.running(desk().now()), "said": f"{t(f'scheduled.what-{what}')} …", "percent": found.percent}


# ---- by hand -----------------------------------------------------------------------------------------------------------


@route(pages, "/backup", may="do backup", methods=("POST",))
def begin() -> ResponseReturnValue:
    unprotected, word = request.form.get("unprotected") == "yes", request.form.get("passphrase", "")
    try:
        if not unprotected and len(word) >= backups.SHORTEST_PASSPHRASE and word != request.form.get("again", ""):
            raise Refused(Problem("again", Said("keeping.not-same")))
        backups.begin(desk(), acting(), word, unprotected=unprotected)
    except Refused as refused:
        return _page(problems_by_field(refused.problems), 422)
    except Busy as busy:
        return _page({"": say(busy.said)}, 409)
    return redirect(url_for("backup.listing"), 303)


@route(pages, "/backup/progress", may="see backup", live=True)
def progress() -> ResponseReturnValue:
    work = desk().desktop.of(backups.KIND)
    if work is None:
        return {"finished": True}
    what = work.what if work.what in ("copying", "writing") else "beginning"
    return {"finished": work.finished, "said": t(f"keeping.{what}"), "percent": work.percent}


@route(pages, "/backup/file", may="do backup")
def fetch() -> ResponseReturnValue:
    file = backups.finished(desk()) or abort(404)
    return send_file(file, mimetype="application/octet-stream", as_attachment=True, download_name=file.name)


# ---- restore ---------------------------------------------------------------------------------------------------------


@route(pages, "/backup/restore", may="do backup", methods=("POST",))
def restore() -> ResponseReturnValue:
    return take(person().username)


def take(who: str) -> ResponseReturnValue:
    """Plain text: where the page goes on (200), or why the backup was refused (422)."""
    stream = request.stream
    try:
        asked = json.loads(stream.readline(LONGEST_LINE))
        restored = backups.restore(desk(), stream, str(asked.get("passphrase", "")), who)
    except (BadBackup, HelperFailed) as error:
        _drain(stream)
        return Response(say(error.said), 422, mimetype="text/plain")
    except (ValueError, AttributeError, RecursionError):
        return Response(t("problem.400-help"), 422, mimetype="text/plain")
    contents = restored.contents
    return Response(
        url_for(
            "backup.restored", made=int(contents.made), extensions=contents.extensions, calls=contents.calls,
            people=", ".join(restored.administrators), start=desk().start,
        ),
        mimetype="text/plain",
    )  # fmt: skip


def _drain(stream: IO[bytes]) -> None:
    """Read what is still coming: a browser that is answered in the middle of sending may show an error of its own instead."""
    while stream.read(1 << 18):
        pass


@route(pages, "/backup/restored", role="anyone")
def restored() -> ResponseReturnValue:
    """Shown until the restored system answers; it knows nothing and tells only what its address says."""
    made, extensions, calls = (request.args.get(name, 0, int) for name in ("made", "extensions", "calls"))
    over = request.args.get("start", desk().start) != desk().start  # opened again when everything has started again
    if over or ("wait" not in request.args and not made):
        return redirect(url_for("status.listing"), 303)
    people: Any = request.args.get("people", "")[:200]
    return render_template("restored.html", made=made, extensions=extensions, calls=calls, people=people)


@route(pages, "/backup/kept/<name>/use", may="do backup", methods=("POST",))
def put_back(name: str) -> ResponseReturnValue:
    try:
        found = backups.put_back(desk(), acting(), name)
    except (BadBackup, HelperFailed) as error:
        return _page({"kept": say(error.said)}, 409)
    contents = found.contents
    return redirect(
        url_for(
            "backup.restored",
            made=int(contents.made),
            extensions=contents.extensions,
            calls=contents.calls,
            people=", ".join(found.administrators),
            start=desk().start,
        ),
        303,
    )


@route(pages, "/backup/kept/<name>/delete", may="do backup", methods=("POST",))
def delete_kept(name: str) -> ResponseReturnValue:
    if not backups.delete_kept(desk(), acting(), name):
        abort(404)
    flash(t("page.deleted"))
    return redirect(url_for("backup.listing"), 303)


@route(pages, "/backup/renew", may="do backup", methods=("POST",))
def renew() -> ResponseReturnValue:
    """The damaged data partition is made anew and keeps what has been set up since the start."""
    try:
        backups.renew_state()
    except HelperFailed as error:
        return _page({"renew": say(error.said)}, 409)
    return redirect(url_for("backup.restored", wait=1, start=desk().start), 303)
