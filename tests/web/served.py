"""The real server on free ports in a thread, and a small client for each of HTTP/1.1, 2 and 3."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h2.connection
import h2.events
import h11
import uvloop
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent
from flask import Flask

from appliance import cti
from appliance.host import certificates
from webui.desk import Desk, Service
from webui.events import Hub
from webui.serving import server

CHUNK = 64 * 1024


@dataclass
class Served:
    port: int
    authority: Path
    hub: Hub
    loop: asyncio.AbstractEventLoop
    renewed: int  # eventfd

    @property
    def address(self) -> str:
        return f"https://localhost:{self.port}"

    def publish(self, name: str) -> None:
        self.loop.call_soon_threadsafe(self.hub.publish, name)


async def no_events(service: Service) -> AsyncIterator[cti.Message]:
    await asyncio.Event().wait()
    yield cti.CallsChanged()


def sockets() -> tuple[socket.socket, socket.socket]:
    """A listening TCP socket and a UDP socket on the same free port."""
    for _ in range(50):
        tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
        tcp.bind(("127.0.0.1", 0))
        try:
            udp.bind(tcp.getsockname())
        except OSError:  # somebody has it for UDP
            tcp.close()
            udp.close()
            continue
        tcp.listen()  # so that nobody is turned away until the server is up
        return tcp, udp
    raise AssertionError("no free port")


@contextmanager
def served(pages: Flask, desk: Desk, *, portal: bool = False) -> Iterator[Served]:
    """Serve until the block ends; the thread has ended then. portal: as the page for everybody is."""
    tcp, udp = sockets()
    port = tcp.getsockname()[1]
    files = certificates.ensure(Path(desk.boot.data))
    hub = Hub(no_events)
    loop = uvloop.new_event_loop()
    stop = asyncio.Event()
    # the server closes the sockets it is given
    config = server.configure(tcp=tcp.detach(), udp=udp.detach(), certificate=files.chain, key=files.key)
    renewed = os.eventfd(0, os.EFD_NONBLOCK)

    async def serve() -> None:
        application = server.portal(pages, desk) if portal else server.combine(pages, desk, hub)
        await server.run([(application, config)], stop, hub.stop, renewed)

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield Served(port, files.authority, hub, loop, renewed)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(5)
        assert not thread.is_alive()
        os.close(renewed)


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


async def fetch(version: str, site: Served, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    """One request over the given version ("1.1", "2" or "3"), the certificate checked against the box's authority."""
    request = {"content-length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await {"1.1": _fetch_1, "2": _fetch_2, "3": _fetch_3}[version](site, method, path, body, request)


def _context(site: Served, protocol: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(site.authority))
    context.set_alpn_protocols([protocol])
    return context


async def _fetch_1(site: Served, method: str, path: str, body: bytes, request: dict[str, str]) -> Answer:
    reader, writer = await asyncio.open_connection("localhost", site.port, ssl=_context(site, "http/1.1"))
    client, answer = h11.Connection(h11.CLIENT), Answer()
    headers = [("host", f"localhost:{site.port}"), *request.items()]
    writer.write(client.send(h11.Request(method=method, target=path, headers=headers)) or b"")
    for start in range(0, len(body), CHUNK):
        writer.write(client.send(h11.Data(data=body[start : start + CHUNK])) or b"")
        await writer.drain()
    writer.write(client.send(h11.EndOfMessage()) or b"")
    while True:
        event = client.next_event()
        if event is h11.NEED_DATA:
            client.receive_data(await reader.read(CHUNK))
        elif isinstance(event, h11.Response):
            answer.status = event.status_code
            answer.headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            answer.body += event.data
        else:
            break
    writer.close()
    await writer.wait_closed()
    return answer


async def _fetch_2(site: Served, method: str, path: str, body: bytes, request: dict[str, str]) -> Answer:
    reader, writer = await asyncio.open_connection("localhost", site.port, ssl=_context(site, "h2"))
    client, answer, sent = h2.connection.H2Connection(), Answer(), 0
    client.initiate_connection()
    client.send_headers(1, _pseudo(site, method, path, request), end_stream=not body)
    ended = False
    while not ended:
        while (
            sent < len(body) and (room := min(client.local_flow_control_window(1), client.max_outbound_frame_size)) > 0
        ):
            part = body[sent : sent + room]
            sent += len(part)
            client.send_data(1, part, end_stream=sent == len(body))
        writer.write(client.data_to_send())
        await writer.drain()
        received = await reader.read(CHUNK)
        assert received, "the server hung up"
        for event in client.receive_data(received):
            if isinstance(event, h2.events.ResponseReceived):
                answer.headers = _texts(event.headers)
                answer.status = int(answer.headers.pop(":status"))
            elif isinstance(event, h2.events.DataReceived):
                answer.body += event.data
                client.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, h2.events.StreamEnded):
                ended = True
    writer.close()
    await writer.wait_closed()
    return answer


def _pseudo(site: Served, method: str, path: str, request: dict[str, str]) -> list[tuple[str, str]]:
    return [
        (":method", method),
        (":scheme", "https"),
        (":authority", f"localhost:{site.port}"),
        (":path", path),
        *request.items(),
    ]


def _texts(headers: Any) -> dict[str, str]:
    def text(part: bytes | str) -> str:
        return part.decode() if isinstance(part, bytes) else part

    return {text(name): text(value) for name, value in headers}


class _Http3(QuicConnectionProtocol):
    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        self.http = H3Connection(self._quic)
        self.answer = Answer()
        self.ended = asyncio.Event()

    def quic_event_received(self, event: QuicEvent) -> None:
        for one in self.http.handle_event(event):
            if isinstance(one, HeadersReceived):
                self.answer.headers = _texts(one.headers)
                self.answer.status = int(self.answer.headers.pop(":status"))
            if isinstance(one, DataReceived):
                self.answer.body += one.data
            if isinstance(one, HeadersReceived | DataReceived) and one.stream_ended:
                self.ended.set()


async def _fetch_3(site: Served, method: str, path: str, body: bytes, request: dict[str, str]) -> Answer:
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=True, cafile=str(site.authority))
    async with connect("127.0.0.1", site.port, configuration=configuration, create_protocol=_Http3) as client:
        assert isinstance(client, _Http3)
        if method == "HEAD":  # the length told is the one GET would have; aioquic's client does not know that
            client.http._check_content_length = lambda stream: None  # type: ignore[method-assign]
        stream = client._quic.get_next_available_stream_id()
        headers = [(name.encode(), value.encode()) for name, value in _pseudo(site, method, path, request)]
        client.http.send_headers(stream, headers, end_stream=not body)
        for start in range(0, len(body), CHUNK):
            client.http.send_data(stream, body[start : start + CHUNK], start + CHUNK >= len(body))
        client.transmit()
        await asyncio.wait_for(client.ended.wait(), 50)
        return client.answer
