"""The wire of the control sockets: length-prefixed MessagePack over a unix socket, peer uid checked.

Bounds: a message ≤ 1 MiB, 64 clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Union

import msgspec

from appliance.cti.messages import Failed, Message, Ok, Subscribe

log = logging.getLogger(__name__)

LARGEST_MESSAGE = 1 << 20
MOST_CLIENTS = 64
MOST_REFUSALS = 1000  # well below the largest message
EVENT_QUEUE = 256


class Unavailable(Exception):
    """The process does not answer: it is not running, restarting, or hangs."""


def _kinds(base: type[Message]) -> list[type[Message]]:
    return [kind for child in base.__subclasses__() for kind in (child, *_kinds(child))]


def _codec() -> tuple[msgspec.msgpack.Encoder, msgspec.msgpack.Decoder[Message]]:
    # views that only occur inside other messages may stand in the union too: a tag is a tag
    return msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Union[tuple(_kinds(Message))])  # noqa: UP007


def _frame(encoder: msgspec.msgpack.Encoder, message: Message) -> bytes:
    body = encoder.encode(message)
    if len(body) > LARGEST_MESSAGE:
        body = encoder.encode(Failed("The answer is too large."))
    return struct.pack(">I", len(body)) + body


class Connection:
    """One client, as a handler sees it."""

    def __init__(self) -> None:
        self._on_close: list[Callable[[], None]] = []
        self.closed = False

    def on_close(self, action: Callable[[], None]) -> None:
        """Called once when the client has hung up."""
        self._on_close.append(action)

    def _close(self) -> None:
        self.closed = True
        for action in self._on_close:
            try:
                action()
            except Exception:
                log.exception("clearing up after a control connection failed")
        self._on_close.clear()


Handler = Callable[[Message, Connection], Awaitable[Message]]


class Server:
    """Serves a control socket. Only our own user and root may connect (checked by the kernel's peer credentials)."""

    def __init__(self, path: str, handle: Handler) -> None:
        self._path, self._handle = path, handle
        self._encoder, self._decoder = _codec()
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._subscribers: set[asyncio.Queue[Message]] = set()

    async def start(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            sock.bind(self._path)
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._client, sock=sock, limit=LARGEST_MESSAGE)

    async def close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for client in list(self._clients):
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def publish(self, event: Message) -> None:
        """To every subscriber; one that does not read loses the oldest."""
        for queue in self._subscribers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connection = Connection()
        self._clients.add(task)
        try:
            if len(self._clients) <= MOST_CLIENTS and _trusted(writer):
                await self._serve(reader, writer, connection)
        except (asyncio.IncompleteReadError, ConnectionError, msgspec.DecodeError, asyncio.CancelledError):
            pass  # the client went away, talks nonsense, or we are closing: in each case this connection ends
        finally:
            self._clients.discard(task)
            connection._close()
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: Connection) -> None:
        while True:
            message = await _read(reader, self._decoder)
            if isinstance(message, Subscribe):
                await self._stream(reader, writer)
                return
            try:
                reply = await self._handle(message, connection)
            except Exception as error:
                log.exception("a control request failed: %s", type(message).__name__)
                reply = Failed(f"Internal error ({type(error).__name__}); see the log.")
            writer.write(_frame(self._encoder, reply))
            await writer.drain()

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        queue: asyncio.Queue[Message] = asyncio.Queue(EVENT_QUEUE)
        self._subscribers.add(queue)
        gone = asyncio.ensure_future(reader.read(1))
        try:
            writer.write(_frame(self._encoder, Ok()))
            while not gone.done():
                event = asyncio.ensure_future(queue.get())
                await asyncio.wait((gone, event), return_when=asyncio.FIRST_COMPLETED)
                if not event.done():
                    event.cancel()
                    return
                writer.write(_frame(self._encoder, event.result()))
                await writer.drain()
        finally:
            self._subscribers.discard(queue)
            gone.cancel()


def _trusted(writer: asyncio.StreamWriter) -> bool:
    credentials = writer.get_extra_info("socket").getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
    )
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in (0, os.getuid())


async def _read(reader: asyncio.StreamReader, decoder: msgspec.msgpack.Decoder[Message]) -> Message:
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    if length > LARGEST_MESSAGE:
        raise msgspec.DecodeError("too large")
    return decoder.decode(await reader.readexactly(length))


class Client:
    """A blocking client for pages and the command line; a context manager. One connection, any number of requests."""

    def __init__(self, path: str, seconds: float = 5.0) -> None:
        self._encoder, self._decoder = _codec()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(seconds)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise Unavailable(
                f"{os.path.basename(path).removesuffix('.sock')} is not running ({error.strerror or error})."
            ) from None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def ask(self, request: Message) -> Message:
        """One request, one reply (maybe Failed). After Unavailable the client is closed: a late reply must not answer the next."""
        try:
            self._socket.sendall(_frame(self._encoder, request))
            return self._next()
        except (OSError, EOFError, msgspec.DecodeError) as error:
            self.close()
            raise Unavailable(f"No answer ({error or 'connection closed'}).") from None

    def _next(self) -> Message:
        (length,) = struct.unpack(">I", self._exactly(4))
        if length > LARGEST_MESSAGE:
            raise EOFError("nonsense")
        return self._decoder.decode(self._exactly(length))

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            part = self._socket.recv(count - len(found))
            if not part:
                raise EOFError("connection closed")
            found += part
        return found


async def ask(path: str, request: Message, seconds: float = 5.0) -> Message:
    """One request from asyncio; Unavailable when there is no answer in time."""
    encoder, decoder = _codec()
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(path, limit=LARGEST_MESSAGE)
            try:
                writer.write(_frame(encoder, request))
                return await _read(reader, decoder)
            finally:
                writer.close()
    except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
        raise Unavailable(
            f"{os.path.basename(path).removesuffix('.sock')} does not answer ({type(error).__name__})."
        ) from None


async def events(path: str) -> AsyncIterator[Message]:
    """The events of a process until it goes away (then Unavailable)."""
    encoder, decoder = _codec()
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=LARGEST_MESSAGE)
        try:
            writer.write(_frame(encoder, Subscribe()))
            while True:
                message = await _read(reader, decoder)
                if not isinstance(message, Ok):
                    yield message
        finally:
            writer.close()
    except (OSError, asyncio.IncompleteReadError) as error:
        raise Unavailable(
            f"{os.path.basename(path).removesuffix('.sock')} went away ({type(error).__name__})."
        ) from None
