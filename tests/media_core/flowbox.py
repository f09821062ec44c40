"""A flows loop in a box for the tests: the shared memory, a loop in a thread or a process, and the client.

No test sleeps: `until` polls the client and blocks on its eventfd, and gives up only when the machine is hopeless.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from media_core.flows.flow_table import FlowClient, area_init, area_size
from media_core.flows.flows import FlowLoop, Limits
from media_core.records import (
    FlowClosed,
    FlowId,
    FlowInfo,
    FlowOpened,
    FlowReceived,
    FlowUnreachable,
    SipSocket,
    TlsFiles,
    Transport,
)
from media_core.shared.ring import RingView

Event = FlowOpened | FlowReceived | FlowClosed | FlowUnreachable
PATIENCE = 30.0  # seconds until a test gives up
RING = 4096  # bytes kept for a ring's own header


def message(body: bytes = b"", *, name: bytes = b"Content-Length", extra: bytes = b"") -> bytes:
    """A SIP request with this body."""
    return b"MESSAGE sip:a@b SIP/2.0\r\n" + extra + name + b": " + str(len(body)).encode() + b"\r\n\r\n" + body


@dataclass
class Box:
    """limits, ring sizes and sockets are fixed when it is made; the loop can be started, stopped and killed."""

    flows: int = 256
    events_bytes: int = 1 << 20
    commands_bytes: int = 1 << 20
    transports: tuple[Transport, ...] = (Transport.UDP, Transport.TCP)
    host: str = "127.0.0.1"
    tls: TlsFiles | None = None
    limits: Limits = field(default_factory=lambda: Limits(tick=20, answer=200))

    def __post_init__(self) -> None:
        area = (area_size(self.flows) + 4095) & ~4095
        self.memory = mmap.mmap(-1, area + self.commands_bytes + self.events_bytes + 2 * RING)
        self.at = address_of(self.memory)
        area_init(self.at, self.flows)
        view = memoryview(self.memory)
        self.commands_ring = RingView(view[area:], self.commands_bytes)
        self.events_ring = RingView(view[area + RING + self.commands_bytes :], self.events_bytes)
        self.rings = self.at + area, self.at + area + RING + self.commands_bytes
        self.core_wake = os.eventfd(0, os.EFD_NONBLOCK)
        self.calls_wake = os.eventfd(0, os.EFD_NONBLOCK)
        self.sockets = [listening(self.host, transport) for transport in self.transports]
        self.sip = [SipSocket(s.fileno(), t) for s, t in zip(self.sockets, self.transports, strict=True)]
        self.client = self.attach()
        self.seen: list[Event] = []
        self.loop: FlowLoop | None = None
        self.thread: threading.Thread | None = None
        self.child = 0

    def attach(self) -> FlowClient:
        return FlowClient(self.at, *self.rings, self.core_wake)

    def make_loop(self) -> FlowLoop:
        return FlowLoop(self.at, *self.rings, self.core_wake, self.calls_wake, self.sip, self.tls, self.limits)

    def start(self) -> None:
        self.loop = self.make_loop()
        self.thread = threading.Thread(target=self.loop.run)
        self.thread.start()

    def stop(self) -> None:
        if self.loop and self.thread:
            self.loop.stop()
            self.thread.join(PATIENCE)
            assert not self.thread.is_alive()
        self.loop = self.thread = None

    def start_child(self) -> None:
        self.child = os.fork()
        if self.child == 0:
            self.make_loop().run()
            os._exit(0)

    def kill_child(self) -> None:
        os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)
        self.child = 0

    def close(self) -> None:
        if self.child:
            self.kill_child()
        self.stop()
        for s in self.sockets:
            s.close()
        os.close(self.core_wake)
        os.close(self.calls_wake)

    def address(self, transport: Transport) -> tuple[str, int]:
        name: tuple[str, int] = self.sockets[self.transports.index(transport)].getsockname()[:2]
        return name

    def until(self, wanted: Callable[[], bool]) -> None:
        """Poll events into `seen` until `wanted()`."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self.calls_wake)
            while events := self.client.poll():
                self.seen += events
                self.client.consumed()
            if wanted():
                return
            assert time.monotonic() < deadline, f"gave up; events: {self.seen[-5:]}, {self.client.counters()}"
            select.select([self.calls_wake], [], [], 0.02)

    def opened(self) -> list[FlowInfo]:
        return [e.flow for e in self.seen if isinstance(e, FlowOpened)]

    def received(self, flow: FlowId | None = None) -> list[bytes]:
        return [e.data for e in self.seen if isinstance(e, FlowReceived) and flow in (None, e.flow)]

    def closed(self) -> list[FlowClosed]:
        return [e for e in self.seen if isinstance(e, FlowClosed)]

    def one_open(self) -> FlowInfo:
        """Wait for a (further) flow."""
        before = len(self.opened())
        self.until(lambda: len(self.opened()) > before)
        return self.opened()[before]

    def connect(self, transport: Transport = Transport.TCP) -> socket.socket:
        s = socket.create_connection(self.address(transport), PATIENCE)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def count(self, name: str) -> int:
        return self.client.counters()[name]


def address_of(memory: mmap.mmap) -> int:
    import ctypes

    place = (ctypes.c_char * len(memory)).from_buffer(memory)
    return ctypes.addressof(place)


def listening(host: str, transport: Transport) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM if transport is Transport.UDP else socket.SOCK_STREAM)
    s.bind((host, 0))
    if transport is not Transport.UDP:
        s.listen(1024)
    s.setblocking(False)
    return s


def udp_socket(box: Box, host: str = "127.0.0.1") -> socket.socket:
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((host, 0))
    s.connect(box.address(Transport.UDP))
    s.settimeout(PATIENCE)
    return s


@contextlib.contextmanager
def running(box: Box) -> Iterator[Box]:
    try:
        box.start()
        yield box
    finally:
        box.close()


def make_certificate(folder: Path, name: str = "box.test", *, rsa: bool = False) -> TlsFiles:
    key, certificate = (folder / "rsa.key", folder / "rsa.pem") if rsa else (folder / "key.pem", folder / "cert.pem")
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"]
    kind = ["-newkey", "rsa:2048"] if rsa else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    curve = [*kind, "-nodes", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", "-x509", *curve, *subject, *files], check=True, capture_output=True)
    return TlsFiles(str(certificate), str(key))
