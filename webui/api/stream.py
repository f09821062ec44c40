"""`/api/v1/events`: what the pages are told while it changes (`webui.events`), for programs. Beside Flask; who may listen is said by the same gate."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, cast

from a2wsgi.wsgi import build_environ
from flask import Flask, Response

from webui.api import callers
from webui.api.app import refuse
from webui.desk import Desk
from webui.events import Hub, stream
from webui.serving.asgi import Receive, Scope, Send

PATH = "/events"


async def serve_stream(api: Flask, here: Desk, hub: Hub, scope: Scope, receive: Receive, send: Send) -> None:
    """One stream, from request to its end: when the key has ended, and after a while in any case (the program comes back)."""
    environ = build_environ(cast(Any, scope), cast(Any, io.BytesIO()))
    with api.request_context(cast(Any, environ)):
        try:
            caller = cast(callers.Gate, api.extensions["gate"]).enter(here)
            caller.actor.demand("see", "status")
        except Exception as error:
            await _send(api.make_response(refuse(error)), send)
            return
    await stream(hub, caller.purse, caller.purse, _still(api, here, environ), receive, send)


def _still(api: Flask, here: Desk, environ: Any) -> Callable[[], bool]:
    """Whether who listens still may."""

    def known() -> bool:
        with api.request_context(environ):
            caller = callers.known(here)
        return caller is not None and caller.actor.may("see", "status")

    return known


async def _send(response: Response, send: Send) -> None:
    lines = [(name.lower().encode(), value.encode()) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status_code, "headers": lines})
    await send({"type": "http.response.body", "body": response.get_data()})
