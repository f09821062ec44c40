"""What the parts in front of Flask say to each other (ASGI 3.0, https://asgi.readthedocs.io), and what they read in a request themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def cookies(scope: Scope) -> dict[str, str]:
    """Name -> value; nothing when the header is malformed."""
    jar: SimpleCookie = SimpleCookie()
    try:
        for name, value in scope["headers"]:
            if name == b"cookie":  # HTTP/2 and 3 may send several
                jar.load(value.decode("latin1"))
    except CookieError:
        return {}
    return {name: morsel.value for name, morsel in jar.items()}


async def answer(scope: Scope, send: Send, status: int, headers: dict[str, str] | None = None) -> None:
    """An answer without contents. A connection of HTTP/1.1 that still sends its request is closed with it."""
    lines = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    if scope.get("http_version", "1.1") not in ("2", "3"):
        lines.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": [*lines, (b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
