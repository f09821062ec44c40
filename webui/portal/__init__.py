"""The user port (443): what everybody in the office may open. An application of its own, so that no admin page is ever served there.

Whoever types the box's name into a browser lands here. Without a login: the way to the admin page, and what a phone has to be told; nothing tells
who or what is in the configuration. With one (`own.py`): the own extensions, phones, calls and settings, whatever more the same person may
do on the admin page. Sessions of the two ports are apart (`login/sessions.py`).
"""

from __future__ import annotations

from flask import Flask

from appliance.config.rights import owner_actor
from webui.app import furnish
from webui.desk import Desk
from webui.login import account, entering, second_factor
from webui.pages import calls, encryption, health, licences
from webui.portal import own

LARGEST_REQUEST = 16 << 10  # octets: forms of a few fields


def create_portal(made: Desk) -> Flask:
    """The pages of the user port on the same desk as the admin pages."""
    app = Flask("webui", static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=LARGEST_REQUEST, FRAME="portal/base.html")
    furnish(app, made, owner_actor, ("portal.first",), portal=True)
    for pages in (own.pages, account.pages, calls.pages, entering.pages, licences.pages, second_factor.pages):
        app.register_blueprint(pages)
    app.add_url_rule("/authority.crt", "portal.authority", encryption.authority)
    app.add_url_rule("/healthz", "portal.health", health.check)
    return app
