"""Between connections and Flask: a request takes a thread only when all of it has come, and strangers cannot take the last one.

Threads are what is scarce. Each lane has its own: `strangers`; `passwords`, because the check of one is made to be slow; `known`, for who has
logged in; `long`, for bodies that are too large to be kept (backups, updates) and come from who is known. Whoever sends or reads slower than
`LEAST_RATE` is dropped. Answers wait in memory for their reader, not in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast
from wsgiref.types import WSGIApplication

from a2wsgi import WSGIMiddleware

from webui.serving.asgi import Application, Message, Receive, Scope, Send, answer
from webui.serving.limits import Gate, Visit

THREADS = {"strangers": 4, "passwords": 2, "known": 4, "long": 2}
PASSWORDS = ("/login",)
LASTING = (".csv", "/calls.json", "/call-records.json")  # what is written while it is read
KEPT = 1 << 20  # octets of a body that is kept until all of it has come
STRANGERS_BODY = 1 << 16
DISCARDED = 16 << 20
LEAST_RATE = 2048  # octets in a second
PATIENCE = 10.0  # seconds before the rate counts, and for a body that tells no length
ANSWER_CHUNKS = 256  # of an answer, kept until its reader takes them; of a file 8 KiB each
STALL = 20.0  # seconds a reader may leave them
SLOW, LARGE, MANY = 408, 413, 429


@dataclass(slots=True)
class _Ended(Exception):
    """The request is answered with this status, or (0) the client has gone."""

    status: int


class Lanes:
    """An ASGI application over a WSGI one. `known`: whether a request comes from somebody who has logged in, or has shown the setup code."""

    def __init__(self, pages: WSGIApplication, known: Callable[[Scope], bool]) -> None:
        self._known = known
        self._lanes = {
            name: cast(Application, WSGIMiddleware(cast(Any, pages), workers=threads, send_queue_size=ANSWER_CHUNKS))
            for name, threads in THREADS.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gate, visit = admitted(scope)
        if self._known(scope):
            visit.prove()
            await self._serve("known", visit, scope, receive, send)
        elif gate.begin(visit, asyncio.get_running_loop().time(), scope["http_version"] == "2"):
            try:
                password = scope["method"] == "POST" and scope["path"] in PASSWORDS
                await self._serve("passwords" if password else "strangers", visit, scope, receive, send)
            finally:
                gate.end(visit)
        else:
            await answer(scope, send, MANY, {"Retry-After": "1"})

    async def _serve(self, lane: str, visit: Visit, scope: Scope, receive: Receive, send: Send) -> None:
        paced = Paced(receive, asyncio.get_running_loop().time)
        try:
            first = await paced.collect(KEPT if lane == "known" else STRANGERS_BODY)
            if paced.more and lane != "known":
                while paced.more and paced.octets < DISCARDED:  # a browser reads the answer only when it has sent everything
                    await paced.next()
                raise _Ended(LARGE)
        except _Ended as ended:
            if ended.status:
                await answer(scope, send, ended.status)
            return

        async def body() -> Message:
            nonlocal first
            if first:
                taken, first = first, b""
                return {"type": "http.request", "body": taken, "more_body": paced.more}
            return await paced.next()

        lasting = paced.more or (lane == "known" and scope["path"].endswith(LASTING))
        await self._lanes["long" if lasting else lane](scope, body, patient(send, visit))


class Paced:
    """A body, read with a time limit. `more`: it has not ended yet."""

    def __init__(self, receive: Receive, now: Callable[[], float]) -> None:
        self._receive, self._now = receive, now
        self._begun, self.octets = now(), 0
        self._gone = False
        self.more = True

    async def collect(self, most: int) -> bytes:
        """All of it, or the first part when it has more than `most` octets; `_Ended` when it comes too slowly."""
        parts: list[bytes] = []
        while self.more and self.octets <= most:
            message = await self.next()
            if message["type"] == "http.disconnect":
                raise _Ended(0 if self._gone else SLOW)
            parts.append(message["body"])
        return b"".join(parts)

    async def next(self) -> Message:
        """The next part; `http.disconnect` when the client went away or is too slow."""
        due = self._begun + PATIENCE + self.octets / LEAST_RATE
        try:
            async with asyncio.timeout(max(0.0, due - self._now())):
                message = await self._receive()
        except TimeoutError:
            self.more = False
            return {"type": "http.disconnect"}
        if message["type"] == "http.request":
            self.more = bool(message.get("more_body"))
            self.octets += len(message.get("body", b""))
        else:
            self.more, self._gone = False, True
        return message


def admitted(scope: Scope) -> tuple[Gate, Visit]:
    """Who this request comes from, as its connection has put it there. Over HTTP/3 each request is a visit of its own."""
    gate: Gate = scope["state"]["gate"]
    visit = scope["state"].get("visit") or gate.guest(scope["client"][0], asyncio.get_running_loop().time())
    return gate, visit


def patient(send: Send, visit: Visit) -> Send:
    """`send`, for `STALL` seconds at a time: a client that does not read is cut off, and the rest of the answer goes nowhere."""
    gone = False

    async def bounded(message: Message) -> None:
        nonlocal gone
        if gone:
            return
        try:
            async with asyncio.timeout(STALL):
                await send(message)
        except (OSError, AssertionError, TimeoutError):  # over QUIC, writing to a stream that was reset is an assertion
            gone = True
            visit.cut()

    return bounded
