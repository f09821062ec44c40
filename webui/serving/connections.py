"""Connections of the pages: accepted, bounded (`limits.py`) and handed to hypercorn's protocols.

Hypercorn's own server is not used, because it knows no bound of what a client may open, send or leave unread before there is a request,
and an application never sees such a client. Here a source is looked at when a connection is accepted, before the handshake; HTTP/2
frames are counted before they are worked on; a client that does not read is dropped after `STALL` seconds; and one that breaks off is
nothing to write a traceback about.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, cast

from h2.errors import ErrorCodes
from hypercorn.asyncio.lifespan import Lifespan
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer
from hypercorn.asyncio.udp_server import UDPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError
from hypercorn.protocol.quic import QuicProtocol
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr, wrap_app

from webui.serving.lanes import STALL
from webui.serving.limits import Frames, Gate, Visit

log = logging.getLogger(__name__)
GOODBYE = 5.0  # seconds the far end has to end TLS in order
QUIC_NAMES = 1000  # connection ids, some ten for each connection; more are not answered, and browsers come over TCP
LONG_HEADER, SHORTEST = 0x80, 21  # RFC 9000 section 17.2, 10.3: octets of the shortest datagram that can be one


class _Tasks(TaskGroup):
    """Hypercorn's tasks of a connection. One that fails, because its client broke off, ends no other."""

    def spawn(self, func: Callable[..., Awaitable[Any]], *args: Any) -> None:
        self._task_group.create_task(_quietly(func, *args))


async def _quietly(func: Callable[..., Awaitable[Any]], *args: Any) -> None:
    try:
        await func(*args)
    except Exception as problem:
        log.debug("a client broke off: %r", problem)


class _Connection(TCPServer):
    """One TCP connection: HTTP/1.1 or 2 after the handshake. `visit` is found by the application in `scope["state"]`."""

    def __init__(self, site: Site, visit: Visit, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state = {**site.state, "gate": site.gate, "visit": visit}
        super().__init__(site.app, site.loop, site.config, site.context, cast(Any, state), reader, writer)
        self._visit = visit
        self._over = False  # nothing is read any more

    async def run(self) -> None:
        sock, tls = self.writer.get_extra_info("socket"), self.writer.get_extra_info("ssl_object")
        try:
            client = parse_socket_addr(sock.family, sock.getpeername())
            server = parse_socket_addr(sock.family, sock.getsockname())
            async with _Tasks(self.loop) as tasks:
                self._task_group = tasks
                self.protocol = ProtocolWrapper(
                    self.app, self.config, self.context, tasks, ConnectionState(self.state), True, client, server,
                    self.protocol_send, tls.selected_alpn_protocol(),
                )  # fmt: skip
                await self.protocol.initiate()
                await self.idle_task.restart(tasks, self._idle_timeout)
                await self._read_data()
                self._over = True
                await self.idle_task.stop()
        except Exception as problem:
            log.debug("a connection ended: %r", problem)
        finally:
            # who has gone waits for no goodbye, and must not keep a place meanwhile
            self.writer.transport.abort() if self.reader.at_eof() else self.writer.close()

    async def _read_data(self) -> None:
        """What comes goes to the protocol chosen in the handshake. Another one chosen in plain text afterwards (h2c) would not be counted."""
        spoken = self.protocol.protocol
        frames = Frames(self._visit) if isinstance(spoken, H2Protocol) else None
        try:
            while data := await self.reader.read(MAX_RECV):
                if frames and (kind := frames.excess(data, self.loop.time())):
                    self._visit.source.report(f"{spoken.client}: too many HTTP/2 frames ({kind})")
                    cast(H2Protocol, spoken).connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
                    self.writer.write(cast(H2Protocol, spoken).connection.data_to_send())
                    self.writer.transport.abort()  # to end TLS in order, all that still comes would have to be deciphered
                    break
                await spoken.handle(RawData(data))
        except (OSError, TimeoutError, H2ProtocolAssumedError, H2CProtocolRequiredError):
            pass
        finally:
            await spoken.handle(Closed())
            if isinstance(spoken, H2Protocol):  # answers still wait there for their reader
                for buffer in list(spoken.stream_buffers.values()):
                    await buffer.close()

    async def protocol_send(self, event: Event) -> None:
        if not isinstance(event, RawData):
            if not (self._over and isinstance(event, Updated)):  # its clock for idle time would keep its place for that long
                await super().protocol_send(event)
            return
        async with self.send_lock:
            try:
                self.writer.write(event.data)
                async with asyncio.timeout(STALL):
                    await self.writer.drain()
            except (OSError, RuntimeError, TimeoutError):
                self.writer.transport.abort()
                await self.protocol.handle(Closed())

    async def _close(self) -> None:
        self.writer.close()


class _Datagrams(UDPServer):
    """HTTP/3. What is dropped here is sent again, slower."""

    def __init__(self, site: Site) -> None:
        state = {**site.state, "gate": site.gate}
        super().__init__(site.app, site.loop, site.config, site.context, cast(Any, state))
        self._gate = site.gate

    def datagram_received(self, data: bytes, address: Any) -> None:
        now = self.loop.time()
        purse = self._gate.source(address[0], now).purse
        if len(data) < SHORTEST or not hasattr(self, "protocol") or not purse.take("datagram", now):
            return
        known = self.protocol.connections
        first = data[0] & LONG_HEADER and data[6 : 6 + data[5]] not in known  # of a connection
        if first and (len(known) >= QUIC_NAMES or not purse.take("connection", now)):
            return
        super().datagram_received(data, address)

    def renew(self) -> None:
        """Connections from now on are shown the certificate that the files hold now."""
        if hasattr(self, "protocol"):
            self.protocol.quic_config.load_cert_chain(str(self.config.certfile), self.config.keyfile)

    async def run(self) -> None:
        assert self.transport is not None
        sock = self.transport.get_extra_info("socket")
        async with _Tasks(self.loop) as tasks:
            self.protocol = QuicProtocol(
                self.app, self.config, self.context, tasks, ConnectionState(self.state), parse_socket_addr(sock.family, sock.getsockname()),
                self.protocol_send,
            )  # fmt: skip
            self.protocol.quic_config.idle_timeout = self.config.keep_alive_timeout
            while True:
                event = await self.protocol_queue.get()
                await _quietly(self.protocol.handle, event)


class Site:
    """An application on its ports."""

    def __init__(self, application: Any, config: Config, gate: Gate) -> None:
        self.config, self.gate = config, gate
        self.app = wrap_app(application, 0, "asgi")
        self.loop = asyncio.get_running_loop()
        self.context = WorkerContext(None)
        self.state: dict[str, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._tls: ssl.SSLContext | None = None
        self._datagrams: list[_Datagrams] = []
        self._lifespan = Lifespan(self.app, config, self.loop, cast(Any, self.state))

    async def serve(self, stop: Callable[[], Awaitable[None]]) -> None:
        """Until `stop` returns; then answers in progress have `config.graceful_timeout` seconds."""
        life = asyncio.create_task(self._lifespan.handle_lifespan())
        await self._lifespan.wait_for_startup()
        sockets, self._tls = self.config.create_sockets(), cast(ssl.SSLContext, self.config.create_ssl_context())
        doors, transports = [], []
        for listener in sockets.secure_sockets:
            listener.listen(self.config.backlog)
            doors.append(asyncio.create_task(self._accept(listener, self._tls)))
        for sock in sockets.quic_sockets:
            transport, protocol = await self.loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=sock)
            transports.append(transport)
            self._datagrams.append(protocol)
            doors.append(asyncio.create_task(protocol.run()))
        try:
            await stop()
        finally:
            await self.context.terminated.set()
            for door in doors:
                door.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self.config.graceful_timeout)
            for listener in sockets.secure_sockets:
                listener.close()
            for transport in transports:
                transport.close()
            for task in self._tasks:
                task.cancel()
            await self._lifespan.wait_for_shutdown()
            life.cancel()
            await asyncio.gather(life, *doors, *self._tasks, return_exceptions=True)

    def renew(self) -> None:
        """Handshakes from now on show the certificate that the files hold now; connections keep theirs."""
        if self._tls is not None:
            self._tls.load_cert_chain(str(self.config.certfile), self.config.keyfile)
        for datagrams in self._datagrams:
            datagrams.renew()

    async def _accept(self, listener: socket.socket, tls: ssl.SSLContext) -> None:
        while True:
            try:
                sock, address = await self.loop.sock_accept(listener)
            except OSError as problem:  # no descriptor is left, or the client is gone already
                log.debug("accept: %s", problem)
                await asyncio.sleep(0.05)
                continue
            task = asyncio.create_task(self._welcome(sock, address[0], tls))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _welcome(self, sock: socket.socket, address: str, tls: ssl.SSLContext) -> None:
        """One connection from its handshake to its end."""
        twin = sock.dup()  # what is shut must be ours: the loop may have closed the other, and its number be a neighbour's by now
        visit = self.gate.enter(address, self.loop.time(), lambda: _shut(twin))
        if visit is None:
            twin.close()
            sock.close()
            return
        reader = asyncio.StreamReader(loop=self.loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self.loop)
        try:
            with twin:
                transport, _ = await self.loop.connect_accepted_socket(
                    lambda: protocol, sock, ssl=tls,
                    ssl_handshake_timeout=self.config.ssl_handshake_timeout, ssl_shutdown_timeout=GOODBYE,
                )  # fmt: skip
                visit.cut = transport.abort
            try:
                writer = asyncio.StreamWriter(transport, protocol, reader, self.loop)
                await _Connection(self, visit, reader, writer).run()
                async with asyncio.timeout(GOODBYE):
                    await writer.wait_closed()
            finally:
                transport.abort()
        except (OSError, TimeoutError) as problem:  # also of TLS
            log.debug("no connection with %s: %r", address, problem)
        finally:
            self.gate.leave(visit)


def _shut(sock: socket.socket) -> None:
    """Ends a handshake: to cancel it would leave its descriptor open."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


async def serve(site: Site, stop: Callable[[], Awaitable[None]]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await site.serve(stop)
