"""What the licence counts, how many there are, what remains and why."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from webui.desk import desk
from webui.guard import route

pages = Blueprint("licence", __name__)


@route(pages, "/licence", role="read-only")
def listing() -> ResponseReturnValue:
    return render_template("licence.html", usage=desk().admin.licence_usage(), box_id=desk().box_id)
