"""For the supervisor's watchdog: does this process answer, and can it read the configuration? And for a page that waits for a restart:
is this still the same start?"""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from webui.desk import desk
from webui.login.guard import route

pages = Blueprint("health", __name__)


@route(pages, "/healthz", role="anyone")
def check() -> ResponseReturnValue:
    return {"ok": desk().admin.snapshot.revision >= 0, "start": desk().start}
