"""`/events`: tells open pages what has changed (server-sent events, WHATWG HTML §9.2), so that they fetch that part again.

A small ASGI function beside Flask, because a stream held open inside Flask would keep one of its threads. An event carries only the name of
what changed (`calls`, `history`, `registrations`, `status`) and the ids of the rows, never contents: what may be seen is decided where it is fetched. One subscription per process feeds all
pages; changes that arrive while a page is slow melt into one. Bounds: `STREAMS` in all, `PER_USER` and `PER_SESSION`, and the oldest makes room; each at most
`LONGEST` seconds (the browser comes back by itself), ended within `BEAT` seconds of its session.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping

from appliance.config.rights import actor_of
from appliance.cti import CallEnded, CallsChanged, Message, RegistrationsChanged, StatusChanged, Unavailable
from webui.desk import Desk, Service
from webui.login.guard import HEADERS
from webui.login.sessions import COOKIE, key_of
from webui.serving.asgi import Receive, Scope, Send, answer, cookies

log = logging.getLogger(__name__)

STREAMS, PER_USER, PER_SESSION = 64, 24, 8
BEAT = 15.0
LONGEST = 600.0
SETTLE = 0.3  # seconds until a connection stands
BACK_OFF = b"retry: 30000\n\n"  # milliseconds: a page that made room must not take the place of the next one at once
RETRY = 2.0  # seconds until a process that went away is asked again

MOST_IDS = 50  # of one event; more than that are told as "look again"

NAMES: Mapping[type[Message], str] = {
    CallsChanged: "calls",
    CallEnded: "history",
    RegistrationsChanged: "registrations",
    StatusChanged: "status",
}

Subscribe = Callable[[Service], AsyncIterator[Message]]


class Listener:
    """One open page: what has changed since it was last told."""

    def __init__(self, session: str, user: str) -> None:
        self.session, self.user = session, user
        self.changed: dict[str, set[str]] = {}  # names, and the ids of their rows; none: not known which
        self.wake = asyncio.Event()
        self.ended = False  # it has made room for another one

    def tell(self, name: str, *ids: str) -> None:
        before = self.changed.get(name)
        told = set(ids) if before is None else before | set(ids) if before and ids else set()
        self.changed[name] = told if len(told) <= MOST_IDS else set()
        self.wake.set()


class Hub:
    """Listens to the processes, wakes the pages."""

    def __init__(self, subscribe: Subscribe) -> None:
        self._subscribe = subscribe
        self._listeners: dict[Listener, None] = {}  # the oldest first
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
                        self.publish(name, *_ids(event))
            except (Unavailable, OSError) as problem:
                log.debug("no events from %s: %s", service, problem)
            except Exception:
                log.exception("events from %s failed", service)
            self._look_again(service)
            await asyncio.sleep(RETRY)

    def _look_again(self, service: Service) -> None:
        for name in ("calls", "history", "registrations") if service == "calls" else ("status",):
            self.publish(name)

    def publish(self, name: str, *ids: str) -> None:
        for listener in self._listeners:
            listener.tell(name, *ids)

    def join(self, session: str, user: str) -> Listener:
        """A new stream. Where there is no room for it the oldest one goes: of its session, of its user, or of the user who has the most."""
        rooms: tuple[tuple[int, Callable[[Listener], bool]], ...] = (
            (PER_SESSION, lambda one: one.session == session),
            (PER_USER, lambda one: one.user == user),
            (STREAMS, lambda one: True),
        )
        for bound, counts in rooms:
            there = [one for one in self._listeners if counts(one)]
            if len(there) >= bound:
                most = Counter(one.user for one in there).most_common(1)[0][0]
                self._end(next(one for one in there if one.user == most))
        listener = Listener(session, user)
        self._listeners[listener] = None
        return listener

    def _end(self, listener: Listener) -> None:
        listener.ended = True
        listener.wake.set()
        self.leave(listener)

    def leave(self, listener: Listener) -> None:
        self._listeners.pop(listener, None)


def _ids(event: Message) -> list[str]:
    """Of the rows that it is about."""
    match event:
        case CallEnded(id=id):
            return [id]
        case RegistrationsChanged(lines=lines):
            return lines
    return []


def _user(desk: Desk, cookie: str) -> str:
    """The id of who may listen; "" for everybody else."""
    stored = desk.sessions.find(cookie, desk.now()) if cookie else None
    user = desk.admin.snapshot.users.get(stored.user) if stored and stored.user else None
    return user.id if user is not None and actor_of(user, desk.admin.snapshot).rights else ""


async def serve_events(desk: Desk, hub: Hub, scope: Scope, receive: Receive, send: Send) -> None:
    """One stream, from request to its end."""
    cookie = cookies(scope).get(COOKIE, "")
    user = _user(desk, cookie)
    status = 405 if scope["method"] != "GET" else 403 if not user else 503 if hub.closing else 200
    if status != 200:
        await answer(scope, send, status, HEADERS)
        return
    await stream(hub, key_of(cookie), user, lambda: bool(_user(desk, cookie)), receive, send)


async def stream(hub: Hub, session: str, user: str, still: Callable[[], bool], receive: Receive, send: Send) -> None:
    """One open stream; still: whether who listens may go on."""
    listener = hub.join(session, user)
    gone = asyncio.create_task(_disconnected(receive, listener))
    try:
        headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
        headers += [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"retry: 2000\n\n", "more_body": True})
        until = asyncio.get_running_loop().time() + LONGEST
        while not (hub.closing or listener.ended) and asyncio.get_running_loop().time() < until and still():
            told = await _next(listener)
            if gone.done():
                return
            await send({"type": "http.response.body", "body": told, "more_body": True})
        await send({"type": "http.response.body", "body": BACK_OFF if listener.ended else b"", "more_body": False})
    finally:
        gone.cancel()
        hub.leave(listener)


async def _next(listener: Listener) -> bytes:
    try:
        await asyncio.wait_for(listener.wake.wait(), BEAT)
    except TimeoutError:
        return b": still here\n\n"
    listener.wake.clear()
    changed, listener.changed = sorted(listener.changed.items()), {}
    told = (f"event: {name}\ndata: {' '.join(sorted(ids))}".rstrip() + "\n\n" for name, ids in changed)
    return "".join(told).encode() or b": still here\n\n"


async def _disconnected(receive: Receive, listener: Listener) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    listener.wake.set()
