"""What the licence counts, how many there are, what remains and why; and a new licence file."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from appliance.config.licensing import LARGEST_FILE, BadLicence
from appliance.host import entitlement
from webui.desk import desk
from webui.login.guard import acting, route
from webui.wording import say, t

pages = Blueprint("licence", __name__)


@route(pages, "/licence", may="see licence")
def listing() -> ResponseReturnValue:
    return _page("")


def _page(wrong: str) -> str:
    try:
        takes_files = entitlement.maker_key(Path(desk().boot.data)) is not None
    except BadLicence as error:
        takes_files, wrong = True, wrong or say(error.said)
    usage = acting().licence_usage()
    return render_template("licence.html", usage=usage, box_id=desk().box_id, wrong=wrong, takes_files=takes_files)


@route(pages, "/licence", may="change licence", methods=("POST",))
def install() -> ResponseReturnValue:
    sent = request.files.get("file")
    text = sent.read(LARGEST_FILE + 1).decode(errors="replace") if sent else ""
    try:
        limits = entitlement.install(Path(desk().boot.data), text, acting())
    except BadLicence as error:
        return _page(say(error.said)), 422
    flash(t("licence.installed", note=limits.note))
    return redirect(url_for("licence.listing"), 303)
