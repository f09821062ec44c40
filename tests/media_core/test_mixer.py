"""The mixer: exact sums without one's own, the loudest speakers, no clipping."""

from __future__ import annotations

import itertools
import random

import pytest

from benchmarks.speech import speech
from media_core.sound.mixer import Room
from tests.media_core.voices import sine, strength
from tests.reference.mixing import others

PIECE = 160


def pieces(sounds: list[list[int]]) -> list[list[list[int]]]:
    return [[sound[at : at + PIECE] for sound in sounds] for at in range(0, len(sounds[0]) - PIECE + 1, PIECE)]


def test_everyone_hears_exactly_the_others() -> None:
    sounds = [speech(1.0, 8000, seed) for seed in (1, 2, 3)]
    room, steady = Room(3), False
    for number, step in enumerate(pieces(sounds)):
        heard = room.step(step)
        if number > 2 and all(room.heard) and steady:
            assert heard == others(step)
        steady = all(room.heard)  # who comes or goes is faded over one step
    tones = [sine(hertz, 8000, 8000) for hertz in (300, 700, 1100)]
    room = Room(3)
    exact = 0
    for step in pieces(tones)[2:]:
        heard = room.step(step)
        exact += heard == others(step)
    assert exact == len(pieces(tones)) - 3  # all but the first, which is faded in


def test_listeners_hear_the_same_and_nobody_hears_himself() -> None:
    tones = [sine(400, 8000, 8000), sine(900, 8000, 8000), [0] * 8000, [0] * 8000]
    room = Room(4)
    heard: list[list[int]] = [[], [], [], []]
    for step in pieces(tones):
        for member, sound in enumerate(room.step(step)):
            heard[member] += sound
    assert heard[2] == heard[3]
    assert strength(heard[0][800:], 400, 8000) < 0.001
    assert strength(heard[0][800:], 900, 8000) > 0.99
    assert strength(heard[2][800:], 400, 8000) == pytest.approx(0.5, abs=0.01)


def test_the_three_loudest_are_heard() -> None:
    tones = [sine(300 + 100 * n, 8000, 8000, 500 * (n + 1)) for n in range(8)]
    room = Room(8)
    for step in pieces(tones):
        room.step(step)
    assert room.heard == [False] * 5 + [True] * 3


def test_a_quiet_room_is_silent_and_has_no_speaker() -> None:
    chance = random.Random(1)
    room = Room(5)
    for _ in range(20):
        heard = room.step([[chance.randrange(-10, 10) for _ in range(PIECE)] for _ in range(5)])
    assert not any(room.heard)
    assert not any(itertools.chain.from_iterable(heard))


def test_who_stops_is_heard_a_little_longer() -> None:
    room = Room(5)
    loud = [sine(300 + 100 * n, PIECE, 8000, 6000) for n in range(5)]
    for _ in range(10):
        room.step([loud[0], loud[1], loud[2], [0] * PIECE, [0] * PIECE])
    room.step([[0] * PIECE, loud[1], loud[2], loud[3], [0] * PIECE])
    assert room.heard[0]
    for _ in range(12):
        room.step([[0] * PIECE, loud[1], loud[2], loud[3], [0] * PIECE])
    assert room.heard == [False, True, True, True, False]


def test_a_sum_that_is_too_loud_is_turned_down_and_not_cut_off() -> None:
    tones = [sine(hertz, 16000, 8000, 30000) for hertz in (300, 500, 700)]
    room = Room(4)
    heard: list[int] = []
    for step in pieces([*tones, [0] * 16000]):
        heard += room.step(step)[3]
    steady = heard[1600:]
    assert max(map(abs, steady)) <= 32767
    parts = [strength(steady, hertz, 8000) for hertz in (300, 500, 700)]
    assert sum(parts) > 0.999  # clipping would put energy where no tone is


def test_who_hears_less_than_all_is_not_cut_off_either() -> None:
    """One speaks against the other two: the total is quiet, what he hears is not."""
    tone = sine(400, 8000, 8000, 30000)
    room = Room(3)
    heard: list[int] = []
    for step in pieces([[-sample for sample in tone], tone, tone]):
        heard += room.step(step)[0]
    assert strength(heard[1600:], 400, 8000) > 0.999


def test_coming_and_going_does_not_click() -> None:
    tone = sine(300, 8000, 8000)
    room = Room(3)
    heard: list[int] = []
    for number, (piece,) in enumerate(pieces([tone])):
        speaking = 10 <= number < 30
        heard += room.step([piece if speaking else [0] * PIECE, [0] * PIECE, [0] * PIECE])[1]
    steps = [abs(b - a) for a, b in itertools.pairwise(heard[: 20 * PIECE])]
    assert max(steps) < 1.3 * max(abs(b - a) for a, b in itertools.pairwise(tone))


def test_odd_input_is_refused() -> None:
    with pytest.raises(ValueError, match="1 to 64"):
        Room(65)
    with pytest.raises(ValueError, match="same length"):
        Room(2).step([[0] * 160, [0] * 80])
