"""The media core's stand-in for tests of call control: commands are recorded, the engine's rules are checked, flows lead into the
simulated network. What it cannot show (packets) is shown end to end with the real one."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from media_core.engine import _check_address

import media_core
from media_core import Direction, FlowInfo, LegStats, Remote, Transport


@dataclass
class FakeLeg:
    id: int
    port: int
    remote: Remote | None = None
    peer: int | None = None
    payload_map: dict[int, int] = field(default_factory=dict)
    played: list[Any] = field(default_factory=list)
    room: int = 0
    muted: bool = False
    playing: tuple[int, float] = (0, 0.0)  # serial, until when
    recording: tuple[int, str, float] | None = None  # serial, path, since when
    recorded: tuple[int, int] = (0, 0)  # serial, milliseconds
    digits: str = ""
    digits_serial: int = 0
    packets: int = 0  # set by a test
    last_seen_ms: int = -1

    def stats(self) -> LegStats:
        secure = self.remote is not None and self.remote.crypto_in is not None
        secured = self.packets if secure else 0
        octets = self.packets * 172
        received = Direction(self.packets, octets, 0, 0, 0, 1.5, self.last_seen_ms, 0, 0, 0, 0, secured=secured)
        sent = Direction(self.packets, octets, 0, 0, 0, 0.0, 0, 0, 0, 0, 0, secured=secured)
        return LegStats(received, sent, True, secure, ("192.0.2.77", 0))


class FakeEngine:
    """Lives longer than the process it serves, like the shared memory."""

    def __init__(self, send: Callable[[FlowInfo, bytes], None]) -> None:
        self._send = send
        self._wake = os.eventfd(0, os.EFD_NONBLOCK)
        self._events: deque[media_core.Event] = deque()
        self._read = 0  # of them, by who is attached now
        self._gone = 0  # events that have been consumed
        self._next = 1
        self.media: dict[int, FakeLeg] = {}
        self.open_flows: dict[int, FlowInfo] = {}
        self.capacity = 100
        self.kept: set[int] = set()
        self.history: list[tuple[str, int]] = []

    # ---- towards `calls`
    def fileno(self) -> int:
        return self._wake

    def tell(self, event: media_core.Event) -> None:
        self._events.append(event)
        os.eventfd_write(self._wake, 1)

    def attach(self) -> None:
        """Another process takes over: what was not consumed is read again."""
        self._read = 0
        if self._events:
            os.eventfd_write(self._wake, 1)

    def poll(self, limit: int = 256) -> list[media_core.Event]:
        found = list(itertools.islice(self._events, self._read, self._read + limit))
        self._read += len(found)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        if self._read < len(self._events):
            os.eventfd_write(self._wake, 1)
        return found

    def positions(self) -> tuple[int, ...]:
        return (self._gone + self._read,)

    def cork(self) -> None:
        """Nobody here sleeps."""

    def uncork(self) -> None: ...

    def consumed(self) -> None:
        for _ in range(self._read):
            self._events.popleft()
        self._gone, self._read = self._gone + self._read, 0

    def resume(self, positions: Sequence[int]) -> None:
        self._read = positions[0] - self._gone
        assert 0 <= self._read <= len(self._events)
        self.consumed()

    def keep(self, flow: int, kept: bool = True) -> None:
        if flow not in self.open_flows:
            raise media_core.StaleHandle
        (self.kept.add if kept else self.kept.discard)(flow)

    def dispose(self) -> None:
        os.close(self._wake)

    # ---- media
    def owns(self, port: int) -> bool:
        return 20000 <= port < 30000

    def _id(self) -> int:
        self._next += 1
        return self._next | 7 << 32

    def _leg(self, leg: int) -> FakeLeg:
        if leg not in self.media:
            raise media_core.StaleHandle(f"leg {leg}")
        return self.media[leg]

    def open(self, beside: int | None = None) -> media_core.Leg:
        if beside is not None:
            self._leg(beside)
        if len(self.media) >= self.capacity:
            raise media_core.OutOfService("no free leg")
        id = self._id()
        self.media[id] = FakeLeg(id, 20000 + 2 * self._next)
        self.history.append(("open", id))
        return media_core.Leg(id, self.media[id].port)

    def describe(self, leg: int, remote: Remote, *, anew: bool = True) -> None:
        if not anew and self._leg(leg).remote == remote:
            return
        assert remote.port > 0 or not (remote.send or remote.receive), "a far end without a port"
        _check_address(remote.address, remote.signalling)
        assert not (self.owns(remote.port) and remote.address == "192.0.2.1"), "one of our own ports"
        assert (remote.crypto_in is None) == (remote.crypto_out is None), "SRTP goes both ways or not at all"
        if remote.crypto_in is not None and remote.crypto_out is not None:
            assert remote.crypto_in.suite == remote.crypto_out.suite
            assert remote.crypto_in.key != remote.crypto_out.key, "a key for two directions"
        self._leg(leg).remote = remote
        self.history.append(("describe", leg))

    def connect(
        self, a: int, b: int, a_to_b: Mapping[int, int] = {}, b_to_a: Mapping[int, int] = {}, *, anew: bool = True
    ) -> None:
        one, other = self._leg(a), self._leg(b)
        if not anew and (one.peer, other.peer) == (b, a):
            return
        for leg in (one, other):
            leg.room = 0
        one.peer, other.peer = b, a
        one.payload_map, other.payload_map = dict(a_to_b), dict(b_to_a)
        self.history.append(("connect", a))

    def mix(self, leg: int, room: int, *, muted: bool = False, anew: bool = True) -> None:
        one = self._leg(leg)
        assert room > 0
        assert one.remote is not None
        self.disconnect(leg)
        one.room, one.muted = room, muted

    def disconnect(self, leg: int) -> None:
        one = self._leg(leg)
        if one.peer is not None and one.peer in self.media:
            self.media[one.peer].peer = None
        one.peer, one.room = None, 0

    # ---- sound
    def play(self, leg: int, tones: Sequence[tuple[float, float, int]], payload_type: int, *, serial: int = 0) -> None:
        self._check_payload(leg, payload_type)
        self._play(leg, list(tones), sum(tone[2] for tone in tones) / 1000, serial)

    def play_files(
        self, leg: int, paths: Sequence[str], payload_type: int, *, loop: bool = False, serial: int = 0
    ) -> None:
        self._check_payload(leg, payload_type)
        self._play(leg, list(paths), 1e9 if loop else 2.0 * len(paths), serial)

    def _check_payload(self, leg: int, payload_type: int) -> None:
        described = self._leg(leg).remote
        agreed = [codec.payload_type for codec in described.codecs] if described is not None else []
        assert payload_type in (0, 8, *agreed)

    def _play(self, leg: int, what: list[Any], seconds: float, serial: int) -> None:
        """A serial that the leg has already goes on, or tells its end once more."""
        one, now = self._leg(leg), asyncio.get_running_loop().time()
        if serial and one.playing[0] == serial:
            if one.playing[1] <= now:
                self.tell(media_core.PlayEnded(leg, False, serial))
            return
        one.played += what
        one.playing = (serial, now + seconds)
        if seconds < 1e9:
            asyncio.get_running_loop().call_later(seconds, self._played, leg, one.playing)

    def _played(self, leg: int, playing: tuple[int, float]) -> None:
        if leg in self.media and self.media[leg].playing == playing:
            self.tell(media_core.PlayEnded(leg, False, playing[0]))

    def record(self, leg: int, path: str, *, sides: str = "both", seconds: int = 0, serial: int = 0) -> None:
        one, now = self._leg(leg), asyncio.get_running_loop().time()
        if not path:
            if one.recording is not None:
                self._recorded(leg, one.recording)
            return
        if serial and one.recording is not None and one.recording[0] == serial:
            return
        if serial and one.recorded[0] == serial:
            self.tell(media_core.RecordEnded(leg, one.recorded[1], False, serial))
            return
        one.recording = (serial, path, now)
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self._recorded, leg, one.recording)

    def _recorded(self, leg: int, recording: tuple[int, str, float]) -> None:
        one = self.media.get(leg)
        if one is None or one.recording != recording:
            return
        milliseconds = round(1000 * (asyncio.get_running_loop().time() - recording[2]))
        one.recording, one.recorded = None, (recording[0], milliseconds)
        self.tell(media_core.RecordEnded(leg, milliseconds, False, recording[0]))

    def send_digits(self, leg: int, digits: str, *, serial: int = 0) -> None:
        one = self._leg(leg)
        if serial and one.digits_serial == serial:
            self.tell(media_core.DigitsSent(leg, serial))
            return
        one.digits += digits
        one.digits_serial = serial
        if serial:
            asyncio.get_running_loop().call_later(0.16 * len(digits), self.tell, media_core.DigitsSent(leg, serial))

    def stats(self, leg: int) -> LegStats:
        return self._leg(leg).stats()

    def close(self, leg: int) -> LegStats:
        self.history.append(("close", leg))
        found = self.media.pop(leg, None) or FakeLeg(leg, 0)
        if found.peer is not None and found.peer in self.media:
            self.media[found.peer].peer = None
        return found.stats()

    def legs(self) -> list[int]:
        return list(self.media)

    # ---- flows
    def open_flow(self, transport: Transport, local: tuple[str, int], remote: tuple[str, int]) -> FlowInfo:
        cipher = "TLSv1.3 TLS_AES_128_GCM_SHA256" if transport == Transport.TLS else ""
        info = FlowInfo(self._id(), transport, local, remote, cipher)
        self.open_flows[info.id] = info
        self.tell(media_core.FlowOpened(info))
        return info

    def close_flow(self, flow: int) -> None:
        if self.open_flows.pop(flow, None) is not None:
            self.tell(media_core.FlowClosed(flow, "closed by the phone"))

    def dial(self, transport: Transport, host: str, port: int, *, server_name: str = "") -> int:
        for info in self.open_flows.values():
            if (info.transport, info.remote) == (transport, (host, port)):
                return info.id
        return self.open_flow(transport, ("192.0.2.1", 5060), (host, port)).id

    def send(self, flow: int, data: bytes) -> None:
        info = self.open_flows.get(flow)
        if info is None:
            raise media_core.StaleHandle(f"flow {flow}")
        self._send(info, data)

    def shut(self, flow: int) -> None:
        self.close_flow(flow)

    def flow(self, flow: int) -> FlowInfo:
        if flow not in self.open_flows:
            raise media_core.StaleHandle(f"flow {flow}")
        return self.open_flows[flow]

    def flows(self) -> list[FlowInfo]:
        return list(self.open_flows.values())

    def counters(self) -> dict[str, int]:
        return {"legs": len(self.media), "flows": len(self.open_flows)}
