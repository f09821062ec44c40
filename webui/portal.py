"""The user port (443): what everybody in the office may open. An application of its own, so that no admin page is ever served there.

Whoever types the box's name into a browser lands here: the way to the admin page, and what a phone has to be told. Nothing needs a
login, nothing can be changed, and nothing tells who or what is in the configuration.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, Flask, render_template, request
from flask.typing import ResponseReturnValue

from appliance.config.model import service_number
from appliance.config.rights import owner_actor
from webui.app import furnish
from webui.desk import Desk, desk
from webui.login.guard import route
from webui.pages import encryption, health

LARGEST_REQUEST = 4096  # octets: nothing is sent here

pages = Blueprint("portal", __name__)


def create_portal(made: Desk) -> Flask:
    """The pages of the user port on the same desk as the admin pages."""
    app = Flask(__name__, static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=LARGEST_REQUEST)
    furnish(app, made, owner_actor, ("portal.first",))
    app.register_blueprint(pages)
    return app


@route(pages, "/", role="anyone")
def first() -> ResponseReturnValue:
    boot, snapshot = desk().boot, desk().admin.snapshot
    server = _name_of_this_box()
    return render_template(
        "portal.html",
        admin=f"https://{f'[{server}]' if ':' in server else server}:{boot.admin_port}/",
        is_set_up=snapshot.has_administrator,
        server=server,
        boot=boot,
        certificate=desk().certificate(),
        echo=service_number(snapshot, "echo"),
    )


def _name_of_this_box() -> str:
    """As the visitor has reached it, if its certificate knows that name: a made-up one leads nowhere."""
    certificate = desk().certificate()
    asked = urlsplit(f"//{request.host}").hostname or ""
    return asked if certificate and asked in certificate.names else desk().boot.host


route(pages, "/authority.crt", role="anyone")(encryption.authority)
route(pages, "/healthz", role="anyone")(health.check)
