"""Keys in the sound: found when they are there, also in noise, and not found in speech."""

from __future__ import annotations

import random

import pytest

from benchmarks.speech import speech
from media_core.sound.codec import Coder, g711
from media_core.sound.dtmf import Receiver, digit, tone
from tests.media_core.voices import strength

KEYS = "0123456789*#ABCD"


def dial(keys: str, milliseconds: int = 80, pause: int = 80) -> list[int]:
    out = [0] * 400
    for key in keys:
        out += digit(key, milliseconds, 8000) + [0] * (pause * 8)
    return out + [0] * 800


def found(samples: list[int]) -> str:
    return "".join(key for key, _ in Receiver().feed(samples))


def test_every_key_is_found_with_its_duration() -> None:
    ear = Receiver()
    for key in KEYS:
        ((heard, milliseconds),) = ear.feed([0] * 800 + digit(key, 120, 8000) + [0] * 800)
        assert heard == key
        assert milliseconds == pytest.approx(120, abs=30)


def test_short_keys_are_found() -> None:
    assert found(dial(KEYS, 50, 50)) == KEYS


@pytest.mark.parametrize("law", [0, 8])
def test_keys_are_found_after_g711(law: int) -> None:
    coder, coded = Coder("PCMU" if law == 0 else "PCMA"), g711(dial("159D*#"), law)
    assert (
        found([sample for at in range(0, len(coded), 160) for sample in coder.decode(coded[at : at + 160])]) == "159D*#"
    )


@pytest.mark.parametrize("noise", [100, 300, 700])
def test_keys_are_found_in_noise(noise: int) -> None:
    chance = random.Random(noise)
    samples = [max(-32768, min(32767, sample + round(chance.gauss(0, noise)))) for sample in dial(KEYS * 3, 100, 100)]
    assert found(samples) == KEYS * 3


def test_a_key_is_told_while_it_is_pressed() -> None:
    ear = Receiver()
    ear.feed(digit("5", 60, 8000))
    assert ear.pressed == "5"
    assert ear.feed([0] * 800)
    assert ear.pressed is None


def test_speech_is_not_taken_for_keys() -> None:
    ear = Receiver()
    told = [key for seed in range(10) for key, _ in ear.feed(speech(12.0, 8000, seed))]
    assert told == []


def test_single_tones_and_noise_are_not_taken_for_keys() -> None:
    chance = random.Random(8)
    ear = Receiver()
    for hertz in (350, 425, 440, 697, 941, 1209, 1633, 2100):
        assert ear.feed(tone(hertz, 0, 500, 8000) + [0] * 800) == []
    assert ear.feed(tone(350, 440, 1000, 8000) + [0] * 800) == []  # a dial tone
    assert ear.feed([round(chance.gauss(0, 3000)) for _ in range(80000)]) == []


@pytest.mark.parametrize("rate", [8000, 16000])
def test_tones_have_their_frequencies_and_do_not_click(rate: int) -> None:
    samples = tone(440, 620, 200, rate)
    assert len(samples) == rate // 5
    assert strength(samples, 440, rate) == pytest.approx(0.5, abs=0.05)
    assert strength(samples, 620, rate) == pytest.approx(0.5, abs=0.05)
    assert max(map(abs, samples[:4])) < 1000
    assert max(map(abs, samples[-4:])) < 1000
