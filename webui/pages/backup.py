"""Backup and restore: one file out, one file in.

A backup is made in a thread into the data directory and then fetched; the next one, or an hour, removes it. A restore is sent as the body of a request:
one line of JSON with the passphrase, then the file, which is checked while it arrives. It is used when everything starts again, which
follows at once; on a box whose data partition cannot be mounted, that is made anew first.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import IO, Any

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, send_file, url_for
from flask.typing import ResponseReturnValue

from appliance import cti
from appliance.box import update_client
from appliance.box.update_client import HelperFailed
from appliance.config.model import Problem, Refused
from appliance.storage import backup
from appliance.storage.backup import BadBackup
from webui.desk import desk
from webui.forms import problems_by_field
from webui.login.guard import person, route
from webui.work import Busy, Tell

pages = Blueprint("backup", __name__)
KIND = "backup"
SHORTEST_PASSPHRASE = 10
LONGEST_LINE = 8192
KEPT_FOR = 3600.0  # seconds a finished backup may be fetched


def _data() -> Path:
    return Path(desk().boot.data)


def _folder() -> Path:
    return _data() / "backup"


def _finished() -> Path | None:
    """The backup that can be fetched."""
    for file in sorted(_folder().glob("*.backup")):
        if desk().now() - file.stat().st_mtime < KEPT_FOR:
            return file
        file.unlink()
    return None


@route(pages, "/backup", role="read-only")
def listing() -> ResponseReturnValue:
    return _page({})


def _page(wrong: dict[str, str], status: int = 200) -> ResponseReturnValue:
    work = desk().desktop.of(KIND)
    fetch_now = work is not None and work.fresh and not work.problem and not work.fetched
    if work is not None and work.finished:
        work.fetched = True
    kept = [(folder.name, folder.stat().st_mtime) for folder in reversed(backup.kept_states(_data()))]
    file = _finished()
    text = render_template(
        "backup.html",
        work=work,
        fetch_now=fetch_now,
        wrong=wrong,
        kept=kept,
        file=file.name if file else "",
        size=file.stat().st_size if file else 0,
        shortest=SHORTEST_PASSPHRASE,
        on_box=update_client.available(),
    )
    return text, status


@route(pages, "/backup", role="full", methods=("POST",))
def begin() -> ResponseReturnValue:
    open_one = request.form.get("unprotected") == "yes"
    word = "" if open_one else request.form.get("passphrase", "")
    problems = []
    if not open_one and len(word) < SHORTEST_PASSPHRASE:
        problems.append(
            Problem(
                "passphrase", f"At least {SHORTEST_PASSPHRASE} characters. A few words in a row are easy to remember."
            )
        )
    elif not open_one and word != request.form.get("again", ""):
        problems.append(Problem("again", "The two passphrases are not the same."))
    try:
        if problems:
            raise Refused(*problems)
        data, now = _data(), desk().now()
        name = backup.file_name(now, desk().admin.snapshot.settings.name)
        _clear()
        desk().desktop.begin(KIND, lambda tell: _make(data, name, word, now, tell), (BadBackup, OSError))
    except Refused as refused:
        return _page(problems_by_field(refused.problems), 422)
    except Busy as busy:
        return _page({"": str(busy)}, 409)
    protected = "without a passphrase" if open_one else "with a passphrase"
    desk().admin.note("settings", "settings", f"made a backup {protected}", person().username)
    return redirect(url_for("backup.listing"), 303)


def _clear() -> None:
    shutil.rmtree(_folder(), ignore_errors=True)


def _make(data: Path, name: str, passphrase: str, now: float, tell: Tell) -> str:
    folder = data / "backup"
    folder.mkdir(mode=0o700, exist_ok=True)
    temporary = folder / "making.tmp"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        contents = backup.make(data, out, passphrase, now, tell)
    temporary.rename(folder / name)
    return f"{contents.extensions} extensions and {contents.calls} call records, keys and licence."


@route(pages, "/backup/progress", role="read-only", live=True)
def progress() -> ResponseReturnValue:
    work = desk().desktop.of(KIND)
    if work is None:
        return {"finished": True}
    words = {"copying": "Copying the databases as they are now", "writing": "Writing the file"}.get(
        work.what, "Beginning"
    )
    return {"finished": work.finished, "said": f"{words} …", "percent": work.percent}


@route(pages, "/backup/file", role="full")
def fetch() -> ResponseReturnValue:
    file = _finished() or abort(404)
    return send_file(file, mimetype="application/octet-stream", as_attachment=True, download_name=file.name)


# ---- restore ---------------------------------------------------------------------------------------------------------


@route(pages, "/backup/restore", role="full", methods=("POST",))
def restore() -> ResponseReturnValue:
    return take(person().username)


def take(who: str) -> ResponseReturnValue:
    """Plain text: where the page goes on (200), or why the backup was refused (422)."""
    stream = request.stream
    try:
        _refuse_on_trial()
        asked = json.loads(stream.readline(LONGEST_LINE))
        restored = backup.stage(_data(), stream, str(asked.get("passphrase", "")), who, time.time())
        start_again()
    except (BadBackup, HelperFailed) as error:
        _drain(stream)
        return Response(str(error), 422, mimetype="text/plain")
    except (ValueError, AttributeError, RecursionError):
        return Response(
            "The page sent something this system does not understand. Reload it and try again.",
            422,
            mimetype="text/plain",
        )
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


def _refuse_on_trial() -> None:
    if update_client.available() and update_client.ask("status").get("trial"):
        raise BadBackup(
            "The running version is still on trial. Wait until it has proved itself, then restore. Nothing was changed."
        )


def start_again() -> None:
    """So that what was staged is used. BadBackup when it has to wait for the next start."""
    if "state" in update_client.damaged():
        update_client.ask("renew-state", sure="erase")
        update_client.ask("restart", when="now")
        return
    try:
        desk().box.ask("supervisor", cti.StartAgain())
    except cti.Unavailable as error:
        raise BadBackup(
            f"The backup is checked and waits, but Switchroom could not be started again ({error}). Start it again by hand."
        ) from None


@route(pages, "/backup/restored", role="anyone")
def restored() -> ResponseReturnValue:
    """Shown until the restored system answers; it knows nothing and tells only what its address says."""
    made, extensions, calls = (request.args.get(name, 0, int) for name in ("made", "extensions", "calls"))
    over = request.args.get("start", desk().start) != desk().start  # opened again when everything has started again
    if over or ("wait" not in request.args and not made):
        return redirect(url_for("status.listing"), 303)
    people: Any = request.args.get("people", "")[:200]
    return render_template("restored.html", made=made, extensions=extensions, calls=calls, people=people)


@route(pages, "/backup/kept/<name>/use", role="full", methods=("POST",))
def put_back(name: str) -> ResponseReturnValue:
    try:
        _refuse_on_trial()
        found = backup.stage_kept(_data(), name, person().username, time.time())
        start_again()
    except (BadBackup, HelperFailed) as error:
        return _page({"kept": str(error)}, 409)
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


@route(pages, "/backup/kept/<name>/delete", role="full", methods=("POST",))
def delete_kept(name: str) -> ResponseReturnValue:
    folder = next((folder for folder in backup.kept_states(_data()) if folder.name == name), None) or abort(404)
    shutil.rmtree(folder)
    desk().admin.note("settings", "settings", "deleted what was in use before a restore", person().username)
    flash("Deleted.")
    return redirect(url_for("backup.listing"), 303)


@route(pages, "/backup/renew", role="full", methods=("POST",))
def renew() -> ResponseReturnValue:
    """The damaged data partition is made anew and keeps what has been set up since the start."""
    try:
        update_client.ask("renew-state", sure="erase")
        update_client.ask("restart", when="now")
    except HelperFailed as error:
        return _page({"renew": str(error)}, 409)
    return redirect(url_for("backup.restored", wait=1, start=desk().start), 303)
