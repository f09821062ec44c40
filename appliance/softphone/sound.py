"""What a softphone says and hears: one tone out, the last second of sound in, over RTP or SRTP."""

from __future__ import annotations

import asyncio
import math
import secrets
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from appliance.sip.media.negotiation import LegMedia
from media_core.relay import rtp
from media_core.sound.codec import g711
from media_core.srtp.srtp import Session as Srtp

RATE = 8000
FRAME = 160  # samples of a packet: 20 ms
KEPT = RATE  # samples that are listened to
LOUD_ENOUGH = 0.5  # share of the energy that must be at the frequency


def _expand_a_law(value: int) -> int:
    value ^= 0x55
    magnitude = (value & 15) << 4
    exponent = (value >> 4) & 7
    magnitude = magnitude + 8 if exponent == 0 else (magnitude + 0x108) << (exponent - 1)
    return magnitude if value & 0x80 else -magnitude


def _expand_mu_law(value: int) -> int:
    value = ~value & 0xFF
    magnitude = (((value & 15) << 3) + 0x84) << ((value >> 4) & 7)
    return 0x84 - magnitude if value & 0x80 else magnitude - 0x84


EXPAND = {8: [_expand_a_law(value) for value in range(256)], 0: [_expand_mu_law(value) for value in range(256)]}


def share_of(frequency: float, samples: list[int]) -> float:
    """How much of the energy of `samples` (8 kHz) is at `frequency`: 0 … about 1. Goertzel."""
    total = sum(sample * sample for sample in samples)
    if len(samples) < FRAME or total < len(samples) * 100:  # near silence
        return 0.0
    factor = 2 * math.cos(2 * math.pi * frequency / RATE)
    one = two = 0.0
    for sample in samples:
        one, two = sample + factor * one - two, one
    power = one * one + two * two - factor * one * two
    return 2 * power / (len(samples) * total)


Address = tuple[str, int]
Route = Callable[[Address], Address]  # where packets for an address go: behind a forwarding that is another one


def direct(address: Address) -> Address:
    return address


class Audio(asyncio.DatagramProtocol):
    """The RTP socket of one call."""

    def __init__(self, frequency: float, route: Route = direct) -> None:
        self._frequency = frequency
        self._route = route
        self._transport: asyncio.DatagramTransport | None = None
        self._task: asyncio.Task[None] | None = None
        self._sequence = secrets.randbelow(1 << 16)
        self._time = secrets.randbelow(1 << 32)
        self._ssrc = secrets.randbelow(1 << 32)
        self._phase = 0
        self._in: Srtp | None = None
        self._out: Srtp | None = None
        self._keys: tuple[Any, Any] | None = None
        self.target: Address | None = None
        self.payload_type = 8
        self.heard: deque[int] = deque(maxlen=KEPT)
        self.packets = 0  # understood
        self.refused = 0  # arrived, and could not be decrypted or read
        self.sent = 0

    async def open(self, address: str) -> int:
        """The local port."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(address, 0))
        return int(self._transport.get_extra_info("sockname")[1])

    def apply(self, leg: LegMedia) -> None:
        """Send and understand what was agreed."""
        agreed = leg.agreed
        assert agreed is not None
        self.target = self._route((agreed.address, agreed.port)) if agreed.may_send else None
        self.payload_type = next((each.payload_type for each in agreed.send if each.name in ("PCMA", "PCMU")), 8)
        keys = (agreed.crypto_in, agreed.crypto_out)
        if keys != self._keys:
            self._keys = keys
            if agreed.crypto_in is not None and agreed.crypto_out is not None:
                theirs, ours = agreed.crypto_in, agreed.crypto_out
                self._in = Srtp(theirs.suite, theirs.key, theirs.salt, "in")
                self._out = Srtp(ours.suite, ours.key, ours.salt, "out")
            else:
                self._in = self._out = None
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._play())

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if rtp.classify(data) != "rtp":
            return
        try:
            packet = rtp.parse(self._in.unprotect(data) if self._in is not None else data)
        except Exception:  # of the media core, whatever it says: this packet was not for us
            self.refused += 1
            return
        table = EXPAND.get(packet.payload_type)
        if table is not None:
            self.packets += 1
            self.heard.extend(table[value] for value in packet.payload)

    def error_received(self, exc: Exception) -> None:
        """ICMP unreachable: the far end is gone, or not there yet."""

    async def _play(self) -> None:
        loop = asyncio.get_running_loop()
        next_frame = loop.time()
        while True:
            next_frame = max(next_frame + FRAME / RATE, loop.time() - 0.1)
            await asyncio.sleep(next_frame - loop.time())
            self._send_frame()

    def _send_frame(self) -> None:
        step = 2 * math.pi * self._frequency / RATE
        samples = [round(8000 * math.sin(step * (self._phase + n))) for n in range(FRAME)]
        self._phase += FRAME
        self._time = (self._time + FRAME) & 0xFFFFFFFF
        if self.target is None or self._transport is None:
            return
        self._sequence = (self._sequence + 1) & 0xFFFF
        head = struct.pack(">BBHII", 0x80, self.payload_type, self._sequence, self._time, self._ssrc)
        packet = head + g711(samples, self.payload_type)
        self._transport.sendto(self._out.protect(packet) if self._out is not None else packet, self.target)
        self.sent += 1

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._transport is not None:
            self._transport.close()
