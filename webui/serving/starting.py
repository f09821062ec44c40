"""The page while the databases are being opened: says what goes on, and gives way to the real pages.

A new version may have to bring large databases up to date at its first start. Until then this answers every request itself, with
status 503 and a page that looks again by itself, so that nobody takes the box for dead. It stands before everything else: no login,
no session, no database; what it tells is no more than that work goes on.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import time
from collections.abc import Callable
from pathlib import Path

from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from appliance.storage import migration
from appliance.words import LANGUAGES, Said, words_of
from webui.login.guard import HEADERS
from webui.serving.asgi import Application, Receive, Scope, Send

LOOK_AGAIN = 2  # seconds
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:0;min-height:100vh;display:grid;place-items:center;background:#f6f8fb;color:#182433}"
    "main{max-width:30rem;margin:1.5rem;padding:2rem;border:1px solid #dce1e7;border-radius:.6rem;background:#fff}"
    "h1{font-size:1.25rem;margin:0 0 .75rem}p{margin:.5rem 0}.quiet{color:#5f6b7a}"
    "@media(prefers-color-scheme:dark){body{background:#151f2c;color:#dce1e7}main{background:#1a2635;border-color:#2c3a4b}.quiet{color:#9aa7b6}}"
)
PAGE = """<!doctype html>
<html lang="{language}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><meta http-equiv="refresh" content="{again}"><title>{title} · Switchroom</title><style>{style}</style></head>
<body><main><h1>{head}</h1><p>{what}</p><p class="quiet">{leave_on}</p></main></body></html>
"""


def _language(scope: Scope) -> str:
    """What the browser asks for: nothing can be read of the office yet."""
    asked = next((value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"accept-language"), "")
    return asked_for(parse_accept_header(asked, LanguageAccept)) or "en"


def asked_for(accepted: LanguageAccept) -> str:
    """The first that is spoken here, of whichever region: Austria's German before somebody's second choice. "": none of them."""
    codes = (tag.partition("-")[0].lower() for tag in accepted.values())
    return next((code for code in codes if code in LANGUAGES), "")


class Starting:
    """An ASGI application that opens others in a thread, then calls `opened`; or `failed`, and `raise_fault` says why. `open_pages`
    makes that of the admin port, which this stands for, and that of the user port, which `portal` stands for."""

    def __init__(
        self,
        data: Path,
        open_pages: Callable[[], tuple[Application, Application]],
        opened: Callable[[], None],
        failed: Callable[[], None],
    ) -> None:
        self._data = data
        self._open_pages = open_pages
        self._opened, self._failed = opened, failed
        self._pages: tuple[Application, Application] | None = None
        self._fault: BaseException | None = None
        self._opening: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            self._opening = asyncio.create_task(self._open())
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await self._serve(0, scope, receive, send)

    async def portal(self, scope: Scope, receive: Receive, send: Send) -> None:
        """On the user port. It lives as long as the other."""
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
        else:
            await self._serve(1, scope, receive, send)

    async def _serve(self, which: int, scope: Scope, receive: Receive, send: Send) -> None:
        if self._pages is not None:
            await self._pages[which](scope, receive, send)
        elif scope["type"] == "http":
            await self._wait(scope, send)

    def raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault

    async def _open(self) -> None:
        try:
            self._pages = await asyncio.to_thread(self._open_pages)
            self._opened()
        except Exception as error:
            self._fault = error
            self._failed()

    async def _wait(self, scope: Scope, send: Send) -> None:
        report, words = migration.read(self._data), words_of(_language(scope))
        what = report.words(time.time()) if report else Said("opening.data")
        said = {"title": Said("opening.title"), "head": Said("opening.head"), "leave_on": Said("opening.leave-on"), "what": what}
        told = {name: html.escape(words.say(each)) for name, each in said.items()}
        body = PAGE.format(again=LOOK_AGAIN, style=STYLE, language=words.language, **told).encode()
        digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
        headers = {
            **HEADERS,
            "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; frame-ancestors 'none'",
            "Content-Type": "text/html; charset=utf-8",
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "Retry-After": str(LOOK_AGAIN),
        }
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 503, "headers": raw})
        await send({"type": "http.response.body", "body": body})
