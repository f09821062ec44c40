"""How the processes are: for who looks after the box, not for who telephones."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from webui.desk import desk
from webui.login.guard import route
from webui.work import live

pages = Blueprint("system", __name__)


@route(pages, "/system", may="see system")
def listing() -> ResponseReturnValue:
    return render_template("system.html", status=live.system(desk()))


@route(pages, "/live/system", may="see system", live=True)
def part() -> ResponseReturnValue:
    return render_template("status/system.html", status=live.system(desk()))
