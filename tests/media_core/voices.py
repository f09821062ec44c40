"""Phones that speak and listen in any of our codecs, for the tests of the DSP; and what of a tone is in a sound."""

from __future__ import annotations

import math
import select
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from media_core import Codec, Leg, Remote
from media_core.sound.codec import CLOCKS, Coder
from tests.media_core.bench import HOST, Phone, fields

PAYLOAD_TYPES = {"PCMU": 0, "PCMA": 8, "G722": 9, "opus": 111}


def sine(hertz: float, count: int, rate: int, amplitude: float = 8000) -> list[int]:
    return [round(amplitude * math.sin(2 * math.pi * hertz * at / rate)) for at in range(count)]


def strength(samples: Sequence[int], hertz: float, rate: int) -> float:
    """Goertzel: how much of the sound's energy is this tone, 0 to 1."""
    factor = 2 * math.cos(2 * math.pi * hertz / rate)
    last = before = 0.0
    for sample in samples:
        last, before = sample + factor * last - before, last
    energy = sum(sample * sample for sample in samples)
    if not energy:
        return 0.0
    return (last * last + before * before - factor * last * before) / (energy * len(samples) / 2)


def signal_to_noise(wanted: Sequence[int], got: Sequence[int], delays: Iterable[int]) -> float:
    """dB, at the delay where they are most alike; the first and last fifth are left out."""
    begin, end = len(wanted) // 5, len(wanted) * 4 // 5
    best = -math.inf
    for delay in delays:
        pairs = list(zip(wanted[begin - delay : end - delay], got[begin:end], strict=True))
        power = sum(a * a for a, _ in pairs)
        noise = sum((a - b) ** 2 for a, b in pairs)
        best = max(best, 10 * math.log10(power / max(noise, 1)))
    return best


class Voice(Phone):
    """A phone with a codec: speaks what `sound` gives and keeps what it hears."""

    def __init__(self, leg: Leg, codec: str, *, ssrc: int = 0x1234) -> None:
        super().__init__(leg, ssrc, payload_type=PAYLOAD_TYPES[codec])
        self.codec = codec
        self.coder = Coder(codec)
        self.ear = Coder(codec)
        self.rate = self.coder.rate
        self.spoken = 0
        self.heard: list[int] = []
        self.packets: list[bytes] = []

    def remote(self, **changes: Any) -> Remote:
        return super().remote(**{"codecs": (Codec(self.codec, self.payload_type),), **changes})

    def speak(self, samples: Sequence[int]) -> None:
        """20 ms."""
        head = struct.pack(
            "!BBHII", 0x80, self.payload_type, self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF, self.ssrc
        )
        self.rtp.sendto(head + self.coder.encode(samples), (HOST, self.leg.port))
        self.sequence += 1
        self.timestamp += CLOCKS[self.codec] // 50

    def tone(self, hertz: float) -> Callable[[], None]:
        """Something to be done every 20 ms: the next piece of a tone."""

        def step() -> None:
            piece = self.rate // 50
            at = self.spoken
            self.spoken += piece
            self.speak([round(8000 * math.sin(2 * math.pi * hertz * (at + n) / self.rate)) for n in range(piece)])

        return step

    def listen(self) -> None:
        """Take what has come."""
        while select.select([self.rtp], [], [], 0)[0]:
            packet = self.rtp.recv(2048)
            self.packets.append(packet)
            payload_type, _, _, _, payload = fields(packet)
            if payload_type == self.payload_type:
                self.heard += self.ear.decode(payload)

    def hears(self, hertz: float, seconds: float = 0.4) -> float:
        """How much of what it heard last is this tone."""
        return strength(self.heard[-int(seconds * self.rate) :], hertz, self.rate)


def talk(seconds: float, voices: Sequence[Voice], *steps: Callable[[], None]) -> None:
    """Real time: every 20 ms each step is done, and everyone listens."""
    due = time.monotonic()
    for _ in range(int(seconds * 50)):
        for step in steps:
            step()
        due += 0.02
        time.sleep(max(0.0, due - time.monotonic()))
        for voice in voices:
            voice.listen()


def talk_until(heard: Callable[[], bool], voices: Sequence[Voice], *steps: Callable[[], None]) -> None:
    """Talk on until that is heard, five seconds at most: the sound threads run below everything else, so a busy machine gives them gaps."""
    for _ in range(25):
        if heard():
            return
        talk(0.2, voices, *steps)
