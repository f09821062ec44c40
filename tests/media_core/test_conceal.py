"""Lost sound replaced, and sound shortened."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from benchmarks.speech import speech
from media_core.sound.conceal import Listener, shortened
from tests.media_core.voices import sine


def jump(samples: list[int]) -> int:
    """The largest step between neighbours."""
    return max(abs(b - a) for a, b in itertools.pairwise(samples))


def power(samples: list[int]) -> float:
    return math.sqrt(sum(sample * sample for sample in samples) / len(samples))


@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_lost_packet_of_a_tone_is_hardly_heard(rate: int) -> None:
    tone = sine(150, rate, rate)
    ear, piece = Listener(rate), rate // 50
    heard: list[int] = []
    for number in range(25):
        part = tone[number * piece : (number + 1) * piece]
        heard += ear.lost(piece) if number in (10, 17) else ear.heard(part)
    assert jump(heard) < 1.6 * jump(tone)
    gap = heard[10 * piece : 11 * piece]
    error = [a - b for a, b in zip(gap, tone[10 * piece : 11 * piece], strict=True)]
    assert power(error) < 0.35 * power(tone)


def test_a_long_loss_fades_and_ends_in_silence() -> None:
    ear = Listener(8000)
    for at in range(0, 1600, 160):
        ear.heard(sine(200, 1600, 8000)[at : at + 160])
    levels = [power(ear.lost(80)) for _ in range(8)]
    assert all(later <= earlier * 1.05 for earlier, later in itertools.pairwise(levels))
    assert levels[0] > 0.9 * 8000 / math.sqrt(2)
    assert levels[6:] == [0, 0]


def test_silence_is_replaced_by_silence() -> None:
    ear = Listener(8000)
    ear.heard([0] * 800)
    assert not any(ear.lost(320))


def test_without_a_past_nothing_is_made_up() -> None:
    assert not any(Listener(16000).lost(640))


@pytest.mark.parametrize("rate", [8000, 16000])
def test_speech_with_losses_is_better_concealed_than_silenced(rate: int) -> None:
    samples, piece, chance = speech(3.0, rate), rate // 50, random.Random(2)
    ear = Listener(rate)
    concealed = silenced = 0.0
    for at in range(0, len(samples) - piece, piece):
        part = samples[at : at + piece]
        if at > rate // 4 and chance.random() < 0.1:
            made = ear.lost(piece)
            concealed += sum((a - b) ** 2 for a, b in zip(part, made, strict=True))
            silenced += sum(a * a for a in part)
        else:
            ear.heard(list(part))
    assert concealed < silenced


@pytest.mark.parametrize(("rate", "hertz"), [(8000, 125), (8000, 200), (16000, 110)])
def test_sound_is_shortened_by_whole_periods(rate: int, hertz: int) -> None:
    tone = sine(hertz, rate // 20, rate)
    less = shortened(tone, rate)
    taken = len(tone) - len(less)
    assert rate // 200 <= taken <= rate * 15 // 1000
    period = rate / hertz
    assert min(taken % period, period - taken % period) <= 1.5
    assert jump(less) < 1.3 * jump(tone)


def test_noise_is_not_shortened_but_silence_is() -> None:
    chance = random.Random(3)
    loud = [chance.randrange(-9000, 9000) for _ in range(400)]
    assert shortened(loud, 8000) == loud
    assert len(shortened([0] * 400, 8000)) < 400


def test_what_is_too_short_is_left_alone() -> None:
    assert shortened([1] * 100, 8000) == [1] * 100
