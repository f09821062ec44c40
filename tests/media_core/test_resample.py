"""Resampling: length, level, purity and what is above the lower rate's half."""

from __future__ import annotations

import math

import pytest

from media_core.sound.resample import Stream
from tests.media_core.voices import sine, strength

RATES = [8000, 16000, 44100, 48000]


def power(samples: list[int]) -> float:
    return math.sqrt(sum(sample * sample for sample in samples) / len(samples))


@pytest.mark.parametrize("source", RATES)
@pytest.mark.parametrize("target", [8000, 16000, 48000])
@pytest.mark.parametrize("hertz", [300, 1000, 3000])
def test_a_tone_stays_what_it_was(source: int, target: int, hertz: int) -> None:
    made = Stream(source, target).feed(sine(hertz, source // 2, source))
    assert len(made) == pytest.approx(target // 2, abs=1)
    steady = made[len(made) // 5 :]
    assert strength(steady, hertz, target) > 0.9999
    assert power(steady) == pytest.approx(8000 / math.sqrt(2), rel=0.02)


@pytest.mark.parametrize(
    ("source", "target", "hertz"), [(16000, 8000, 5000), (48000, 8000, 6000), (48000, 16000, 11000)]
)
def test_what_does_not_fit_is_gone(source: int, target: int, hertz: int) -> None:
    made = Stream(source, target).feed(sine(hertz, source // 2, source))
    assert power(made[len(made) // 5 :]) < 8000 / math.sqrt(2) / 1000


def test_the_loudest_square_wave_does_not_wrap_around() -> None:
    square = [32767 if at // 8 % 2 else -32768 for at in range(8000)]
    made = Stream(8000, 16000).feed(square)[800:]
    wrong = sum(1 for at, sample in enumerate(made) if abs(sample) < 5000)
    assert wrong < len(made) / 10


def test_blocks_of_any_size_give_the_same() -> None:
    samples = sine(440, 1600, 8000)
    whole = Stream(8000, 16000).feed(samples)
    stream = Stream(8000, 16000)
    assert [value for at in range(0, 1600, 37) for value in stream.feed(samples[at : at + 37])] == whole


def test_rates_without_a_filter_are_refused() -> None:
    for source, target in ((8000, 100), (1000, 8000), (44101, 16000)):
        with pytest.raises(ValueError, match="no filter"):
            Stream(source, target)
