"""A real core process on loopback sockets, and phones that send and receive RTP, for the tests of the relay and the engine."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from media_core import CoreStarted, Event, Layout, Leg, MediaEngine, Remote, create_memory
from media_core.__main__ import VARIABLE
from media_core.receiver import open_receivers

HOST = "127.0.0.1"
DATAPATHS = ("epoll", "io_uring", "raw")
WAYS = [
    (datapath, apart) for datapath in DATAPATHS for apart in (False, True)
]  # apart: a call's legs are on two workers
PATIENCE = 15.0  # seconds until a thing that should happen counts as not happening


def rtp_pair() -> tuple[socket.socket, socket.socket]:
    """Two UDP sockets on neighbouring ports, the first one even."""
    while True:
        port = random.randrange(20000, 60000, 2)
        first, second = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) for _ in range(2))
        try:
            first.bind((HOST, port))
            second.bind((HOST, port + 1))
        except OSError:
            first.close()
            second.close()
            continue
        return first, second


def way(value: tuple[str, bool]) -> str:
    return f"{value[0]}-apart" if value[1] else value[0]


@dataclass
class Bench:
    """What the supervisor owns, one core on it, and an engine."""

    legs: int = 8
    workers: int = 2  # as on every machine with two cores
    datapath: str = "auto"
    apart: bool = False
    sip: list[dict[str, Any]] = field(default_factory=list)
    tls: dict[str, str] | None = None
    events: list[Event] = field(default_factory=list)
    core: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.memory = create_memory(Layout(legs=self.legs, flows=64, workers=self.workers))
        self.core_wake, self.calls_wake = (os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2))
        self.sockets = [s for _ in range(self.legs) for s in rtp_pair()]
        ports = [int(s.getsockname()[1]) for s in self.sockets[::2]]
        self.raw = open_receivers(HOST, ports, self.workers) if self.datapath in ("auto", "raw") else []
        self.engine = MediaEngine(self.memory, self.core_wake, self.calls_wake)

    def second(self, first: Leg) -> Leg:
        """A leg for another phone of a call: beside the first, or, `apart`, on another worker."""
        if not self.apart:
            return self.engine.open(beside=first.id)
        passed_over = []
        while (leg := self.engine.open()).id % self.workers == first.id % self.workers:
            passed_over.append(leg.id)
        for other in passed_over:
            self.engine.close(other)
        return leg

    def start(self) -> None:
        """Start a core and wait until it works."""
        self.core, self.stop_end = self.spawn()
        self.wait_started()

    def spawn(self, go: int | None = None) -> tuple[subprocess.Popen[bytes], int]:
        """A core process, with `go` one that stands by; and the end of the pipe that stops it when it is closed."""
        stop, stop_end = os.pipe()
        boot: dict[str, Any] = {
            "memory": self.memory,
            "core_wake": self.core_wake,
            "calls_wake": self.calls_wake,
            "stop": stop,
            "sip": self.sip,
            "tls": self.tls,
            "rtp": [s.fileno() for s in self.sockets],
            "datapath": self.datapath,
        }
        if go is not None:
            boot["go"] = go
        fds = [
            self.memory,
            self.core_wake,
            self.calls_wake,
            stop,
            *(s["fd"] for s in self.sip),
            *(s.fileno() for s in self.sockets),
        ]
        if self.raw:
            boot["raw"] = [s.fileno() for s in self.raw]
            fds.extend(boot["raw"])
        if go is not None:
            fds.append(go)
        core = subprocess.Popen(
            [sys.executable, "-m", "media_core"], env={**os.environ, VARIABLE: json.dumps(boot)}, pass_fds=fds
        )
        os.close(stop)
        return core, stop_end

    def wait_started(self) -> None:
        assert self.core is not None
        try:
            self.wait(CoreStarted)
        except AssertionError:
            if self.core.poll() == 2 and self.datapath not in ("auto", "epoll"):
                pytest.skip(f"this kernel has no {self.datapath}")
            raise

    def kill(self) -> None:
        """kill -9, and be sure that it is gone."""
        assert self.core is not None
        self.core.kill()
        self.core.wait()
        self.core = None
        os.close(self.stop_end)

    def stop(self) -> int:
        """End the core as the supervisor does; its exit status."""
        assert self.core is not None
        os.close(self.stop_end)
        status = self.core.wait(PATIENCE)
        self.core = None
        return status

    def close(self) -> None:
        if self.core is not None:
            self.kill()
        for s in (*self.sockets, *self.raw):
            s.close()
        for fd in (self.memory, self.core_wake, self.calls_wake):
            os.close(fd)

    def poll(self, seconds: float = 0.0) -> None:
        """Take what events there are into `events`, waiting up to `seconds` for the first."""
        select.select([self.engine.fileno()], [], [], seconds)
        self.events.extend(self.engine.poll())
        self.engine.consumed()

    def wait(self, kind: type[Any], **fields: object) -> Any:
        """The next event of this kind with these fields; earlier ones are forgotten."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for at, event in enumerate(self.events):
                if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items()):
                    # A recorder may be quicker than the relay: what it told before a CoreStarted is not earlier.
                    del self.events[at if kind is CoreStarted else 0 : at + 1]
                    return event
            if self.core is not None and self.core.poll() is not None:
                break
            self.poll(0.2)
        raise AssertionError(f"no {kind.__name__} {fields} among {self.events}")


@contextlib.contextmanager
def running(**arguments: Any) -> Iterator[Bench]:
    bench = Bench(**arguments)
    try:
        bench.start()
        yield bench
        if bench.core is not None:
            assert bench.stop() == 0
    finally:
        bench.close()


class Phone:
    """The far end of a leg: sends RTP from its own sockets and keeps what comes back."""

    def __init__(self, leg: Leg, ssrc: int, *, payload_type: int = 8) -> None:
        self.leg = leg
        self.ssrc = ssrc
        self.payload_type = payload_type
        self.sequence = 1000
        self.timestamp = 160000
        self.rtp, self.rtcp = rtp_pair()

    def close(self) -> None:
        self.rtp.close()
        self.rtcp.close()

    @property
    def port(self) -> int:
        return int(self.rtp.getsockname()[1])

    def remote(self, **changes: Any) -> Remote:
        """How signalling describes this phone."""
        values: dict[str, Any] = {"address": HOST, "port": self.port, "rtcp_port": self.port + 1, "signalling": HOST}
        return Remote(**{**values, **changes})

    def packet(self, payload: bytes = b"\xd5" * 160, *, payload_type: int | None = None, marker: bool = False) -> bytes:
        pt = self.payload_type if payload_type is None else payload_type
        head = struct.pack(
            "!BBHII", 0x80, pt | marker << 7, self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF, self.ssrc
        )
        self.sequence += 1
        self.timestamp += 160
        return head + payload

    def send(self, count: int = 1, payload: bytes = b"\xd5" * 160, **options: Any) -> None:
        for _ in range(count):
            self.rtp.sendto(self.packet(payload, **options), (HOST, self.leg.port))

    def receive(self, count: int, seconds: float = PATIENCE, *, rtcp: bool = False) -> list[bytes]:
        """`count` packets, or fewer when the time is up."""
        return collect(self.rtcp if rtcp else self.rtp, count, seconds)

    def nothing(self, seconds: float = 0.1) -> bool:
        return not self.receive(1, seconds)


def collect(source: socket.socket, count: int, seconds: float = PATIENCE) -> list[bytes]:
    out: list[bytes] = []
    end = time.monotonic() + seconds
    while len(out) < count and select.select([source], [], [], max(0.0, end - time.monotonic()))[0]:
        out.append(source.recv(2048))
    return out


def fields(packet: bytes) -> tuple[int, int, int, int, bytes]:
    """payload type, sequence, timestamp, ssrc, payload"""
    _, pt, sequence, timestamp, ssrc = struct.unpack("!BBHII", packet[:12])
    return pt & 0x7F, sequence, timestamp, ssrc, packet[12:]


def report(ssrc: int, timestamp: int, about: int, highest: int, lost: int = 0) -> bytes:
    """A sender report with one block, and an SDES."""
    block = struct.pack("!IIIIII", about, lost, highest, 80, 0, 0)
    sr = struct.pack("!BBHIIIIII", 0x81, 200, 12, ssrc, 0, 0, timestamp, 10, 1720) + block
    return sr + struct.pack("!BBHIBB", 0x81, 202, 2, ssrc, 0, 0) + b"\0\0"


def settle(seconds: float = 0.05) -> None:
    """Commands and packets travel on different ways: let the ones given take effect before the others are sent."""
    time.sleep(seconds)
