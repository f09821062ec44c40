"""`/events`: tells open pages what has changed (server-sent events, WHATWG HTML §9.2), so that they fetch that part again.

A small ASGI function beside Flask, because a stream held open inside Flask would keep one of its threads. An event carries only the name of
what changed (`calls`, `registrations`, `status`), never contents: what may be seen is decided where it is fetched. One subscription per process feeds all
pages; changes that arrive while a page is slow melt into one. Bounds: `STREAMS` in all, `PER_SESSION` for one session, each at most `LONGEST` seconds (the browser
comes back by itself), ended within `BEAT` seconds of its session.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from appliance.cti import CallEnded, CallsChanged, Message, RegistrationsChanged, StatusChanged, Unavailable
from webui.desk import Desk, Service
from webui.guard import HEADERS
from webui.sessions import COOKIE, key_of

log = logging.getLogger(__name__)

STREAMS, PER_SESSION = 64, 8
BEAT = 15.0
LONGEST = 600.0
SETTLE = 0.3  # seconds until a connection stands
RETRY = 2.0  # seconds until a process that went away is asked again

NAMES: Mapping[type[Message], str] = {
    CallsChanged: "calls",
    CallEnded: "calls",
    RegistrationsChanged: "registrations",
    StatusChanged: "status",
}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Subscribe = Callable[[Service], AsyncIterator[Message]]


class Listener:
    """One open page: what has changed since it was last told."""

    def __init__(self) -> None:
        self.changed: set[str] = set()
        self.wake = asyncio.Event()

    def tell(self, name: str) -> None:
        self.changed.add(name)
        self.wake.set()


class Hub:
    """Listens to the processes, wakes the pages."""

    def __init__(self, subscribe: Subscribe) -> None:
        self._subscribe = subscribe
        self._listeners: dict[Listener, str] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.closing = False

    def start(self) -> None:
        services: tuple[Service, ...] = ("calls", "supervisor")
        self._tasks = [asyncio.create_task(self._follow(service)) for service in services]

    async def stop(self) -> None:
        self.closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for listener in self._listeners:
            listener.wake.set()

    async def _follow(self, service: Service) -> None:
        while True:
            # connected by then or not: pages look how it stands, so that what was away shows up again by itself
            asyncio.get_running_loop().call_later(SETTLE, self._look_again, service)
            try:
                async for event in self._subscribe(service):
                    if name := NAMES.get(type(event)):
                        self.publish(name)
            except (Unavailable, OSError) as problem:
                log.debug("no events from %s: %s", service, problem)
            except Exception:
                log.exception("events from %s failed", service)
            self._look_again(service)
            await asyncio.sleep(RETRY)

    def _look_again(self, service: Service) -> None:
        for name in ("calls", "registrations") if service == "calls" else ("status",):
            self.publish(name)

    def publish(self, name: str) -> None:
        for listener in self._listeners:
            listener.tell(name)

    def join(self, session: str) -> Listener | None:
        """None when there are too many streams already."""
        if len(self._listeners) >= STREAMS or Counter(self._listeners.values())[session] >= PER_SESSION:
            return None
        listener = Listener()
        self._listeners[listener] = session
        return listener

    def leave(self, listener: Listener) -> None:
        self._listeners.pop(listener, None)


def _cookie(scope: Scope) -> str:
    jar: SimpleCookie = SimpleCookie()
    try:
        for name, value in scope["headers"]:
            if name == b"cookie":  # HTTP/2 and 3 may send several
                jar.load(value.decode("latin1"))
    except CookieError:
        return ""
    return jar[COOKIE].value if COOKIE in jar else ""


def _allowed(desk: Desk, cookie: str) -> bool:
    stored = desk.sessions.find(cookie, desk.now()) if cookie else None
    user = desk.admin.snapshot.users.get(stored.user) if stored and stored.user else None
    return user is not None and user.role != "none"


async def _refuse(send: Send, status: int) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def serve_events(desk: Desk, hub: Hub, scope: Scope, receive: Receive, send: Send) -> None:
    """One stream, from request to its end."""
    if scope["method"] != "GET":
        await _refuse(send, 405)
        return
    cookie = _cookie(scope)
    if not _allowed(desk, cookie):
        await _refuse(send, 403)
        return
    listener = hub.join(key_of(cookie))
    if listener is None or hub.closing:
        await _refuse(send, 503)
        return
    gone = asyncio.create_task(_disconnected(receive, listener))
    try:
        headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
        headers += [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"retry: 2000\n\n", "more_body": True})
        until = asyncio.get_running_loop().time() + LONGEST
        while not hub.closing and asyncio.get_running_loop().time() < until and _allowed(desk, cookie):
            told = await _next(listener)
            if gone.done():
                return
            await send({"type": "http.response.body", "body": told, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    except (OSError, AssertionError):
        pass  # the browser went away; over QUIC, writing to a stream that was reset is an assertion
    finally:
        gone.cancel()
        hub.leave(listener)


async def _next(listener: Listener) -> bytes:
    try:
        await asyncio.wait_for(listener.wake.wait(), BEAT)
    except TimeoutError:
        return b": still here\n\n"
    listener.wake.clear()
    names, listener.changed = sorted(listener.changed), set()
    return b"".join(f"event: {name}\ndata:\n\n".encode() for name in names) or b": still here\n\n"


async def _disconnected(receive: Receive, listener: Listener) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    listener.wake.set()
