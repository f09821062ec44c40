"""Tones: written as WAV for a phone to speak, and looked for in what a phone has heard (Goertzel)."""

from __future__ import annotations

import math
import struct
import wave
from pathlib import Path

RATE = 8000


def write_tone(path: Path, frequency: float, seconds: int) -> None:
    """16-bit mono at 8 kHz, at a quarter of full scale."""
    period = [
        int(8000 * math.sin(2 * math.pi * frequency * n / RATE)) for n in range(RATE)
    ]  # whole periods for whole Hz
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(struct.pack(f"<{RATE}h", *period) * seconds)


def share(samples: tuple[int, ...], frequency: float) -> float:
    """How much of the energy of `samples` is at `frequency`: 1 for that tone alone, 0 for silence."""
    total = sum(sample * sample for sample in samples)
    if total < len(samples) * 100:  # quieter than 10 of 32,768: silence
        return 0.0
    factor = 2 * math.cos(2 * math.pi * frequency / RATE)
    one = two = 0.0
    for sample in samples:
        one, two = sample + factor * one - two, one
    return 2 * (one * one + two * two - factor * one * two) / (len(samples) * total)


def read_samples(path: Path) -> tuple[int, ...]:
    """Samples at RATE (every sixth of the left channel at 48 kHz, say) of a 16-bit WAV file that is still being written: its header's
    length is not believed."""
    whole = path.read_bytes()
    data = whole[44:]
    samples = struct.unpack(f"<{len(data) // 2}h", data[: len(data) // 2 * 2])
    if len(whole) < 44:
        return samples
    channels, rate = struct.unpack_from("<HI", whole, 22)
    return samples[:: channels * rate // RATE]
