"""The event stream of the API: for whom, and what is told."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from flask import Flask

from tests.web.made import Visitor
from tests.web.test_events import silent
from webui.api.everything import BASE
from webui.api.stream import PATH, serve_stream
from webui.desk import Desk
from webui.events import Hub
from webui.login.sessions import COOKIE


class Listening:
    """A program that holds the stream open."""

    def __init__(self, app: Flask, desk: Desk, hub: Hub, *headers: tuple[bytes, bytes]) -> None:
        self.messages: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self.gone = asyncio.Event()
        scope = {
            "type": "http", "method": "GET", "path": BASE + PATH, "root_path": "", "query_string": b"", "headers": list(headers),
            "http_version": "1.1", "scheme": "https", "client": ("192.0.2.7", 5000), "server": ("localhost", 4021),
        }  # fmt: skip
        self.task = asyncio.create_task(
            serve_stream(app.extensions["api"], desk, hub, scope, self._receive, self.messages.put)
        )

    async def _receive(self) -> MutableMapping[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def next(self) -> MutableMapping[str, Any]:
        return await asyncio.wait_for(self.messages.get(), 5)


async def test_a_program_is_told_what_changes(app: Flask, desk: Desk, anna: Visitor) -> None:
    hub = Hub(silent)
    cookie = next(one.value for one in anna._client._cookies.values() if one.key == COOKIE)
    listening = Listening(app, desk, hub, (b"cookie", f"{COOKIE}={cookie}".encode()))
    assert (await listening.next())["status"] == 200
    assert (await listening.next())["body"].startswith(b"retry:")
    hub.publish("calls")
    assert (await listening.next())["body"] == b"event: calls\ndata:\n\n"
    desk.sessions.end_all_of(desk.admin.authenticate("anna", "correct horse battery").id)  # type: ignore[union-attr]
    hub.publish("status")
    assert (await listening.next())["body"] == b"event: status\ndata:\n\n"
    assert (await listening.next())["more_body"] is False
    await listening.task


async def test_a_stranger_is_told_why_not(app: Flask, desk: Desk) -> None:
    stranger = Listening(app, desk, Hub(silent), (b"accept-language", b"de"))
    assert (await stranger.next())["status"] == 401
    assert b'"api.unknown"' in (await stranger.next())["body"]
    await stranger.task
