"""Factory reset from the page: the box forgets everything and starts as new. Only on the appliance.

Asked for with the administrator's own password. The answer is the last page of this box as it was: it tells what comes next, and takes
back what the browser has been told to insist on (HSTS), for the box comes back with another authority and the same name.
"""

from __future__ import annotations

from flask import Blueprint, Response, abort, make_response, render_template, request
from flask.typing import ResponseReturnValue

from appliance.box import update_client
from appliance.box.update_client import HelperFailed
from appliance.config.model import Problem, Refused
from webui.forms import problems_by_field
from webui.login.account import check_password
from webui.login.guard import route

pages = Blueprint("reset", __name__)


@route(pages, "/reset", may="do system")
def form() -> ResponseReturnValue:
    return _form({}, 200)


def _form(problems: dict[str, str], status: int) -> ResponseReturnValue:
    if not update_client.available():
        abort(404)
    return render_template("reset.html", problems=problems, asked=request.form), status


@route(pages, "/reset", may="do system", methods=("POST",))
def begin() -> ResponseReturnValue:
    keep_network, erase_media = (request.form.get(name) == "yes" for name in ("keep_network", "erase_media"))
    try:
        check_password(request.form.get("current", ""))
        update_client.ask("factory-reset", sure="factory reset", keep_network=keep_network, erase_media=erase_media)
    except Refused as refused:
        return _form(problems_by_field(refused.problems), 422)
    except HelperFailed as error:
        return _form(problems_by_field((Problem("", error.said),)), 409)
    answer: Response = make_response(render_template("reset_begun.html", keep_network=keep_network))
    answer.headers["Strict-Transport-Security"] = "max-age=0"
    return answer
