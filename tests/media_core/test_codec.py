"""The codec table against slow twins, speech through every codec, and hostile payloads."""

from __future__ import annotations

import contextlib
import itertools
import math
import random

import pytest

from benchmarks.speech import speech
from media_core.sound.codec import CLOCKS, NUMBERS, Coder, g711, noise, recoded
from tests.media_core.voices import signal_to_noise, sine, strength
from tests.reference.g711 import decode_a, decode_mu, encode_a, encode_mu

EVERY_SAMPLE = range(-32768, 32768)
EVERY_OCTET = bytes(range(256))
CODECS = ("PCMU", "PCMA", "G722", "opus")


def power(samples: list[int]) -> float:
    return math.sqrt(sum(sample * sample for sample in samples) / len(samples))


def test_g711_encodes_every_sample_as_the_standard_says() -> None:
    assert g711(EVERY_SAMPLE, 8) == bytes(map(encode_a, EVERY_SAMPLE))
    assert g711(EVERY_SAMPLE, 0) == bytes(map(encode_mu, EVERY_SAMPLE))


def test_g711_decodes_every_octet_as_the_standard_says() -> None:
    assert Coder("PCMA").decode(EVERY_OCTET) == list(map(decode_a, EVERY_OCTET))
    assert Coder("PCMU").decode(EVERY_OCTET) == list(map(decode_mu, EVERY_OCTET))


def test_g711_changes_its_law_as_decoding_and_encoding_would() -> None:
    assert recoded(EVERY_OCTET, 8) == bytes(encode_mu(decode_a(octet)) for octet in EVERY_OCTET)
    assert recoded(EVERY_OCTET, 0) == bytes(encode_a(decode_mu(octet)) for octet in EVERY_OCTET)


def test_g711_survives_being_decoded_and_encoded() -> None:
    assert g711(Coder("PCMA").decode(EVERY_OCTET), 8) == EVERY_OCTET
    back = g711(Coder("PCMU").decode(EVERY_OCTET), 0)
    assert [octet for octet in EVERY_OCTET if back[octet] != octet] == [0x7F]  # minus zero


def through(coder: Coder, samples: list[int]) -> list[int]:
    piece = coder.rate // 50
    out: list[int] = []
    for at in range(0, len(samples) - piece + 1, piece):
        out += coder.decode(coder.encode(samples[at : at + piece]))
    return out


@pytest.mark.parametrize(("codec", "decibels"), [("PCMU", 30), ("PCMA", 30), ("G722", 18), ("opus", 5)])
def test_speech_comes_through(codec: str, decibels: float) -> None:
    coder = Coder(codec)
    samples = speech(2.0, coder.rate)
    assert signal_to_noise(samples, through(coder, samples), range(coder.rate // 50)) > decibels


@pytest.mark.parametrize("codec", CODECS)
def test_a_tone_keeps_its_pitch_and_level(codec: str) -> None:
    coder = Coder(codec)
    heard = through(coder, sine(1000, coder.rate, coder.rate))[coder.rate // 2 :]
    assert strength(heard, 1000, coder.rate) > 0.98
    assert power(heard) == pytest.approx(8000 / math.sqrt(2), rel=0.06)


@pytest.mark.parametrize("codec", CODECS)
def test_any_octets_are_decoded_or_refused(codec: str) -> None:
    coder, chance = Coder(codec), random.Random(5)
    for _ in range(300):
        payload = chance.randbytes(chance.choice([1, 2, 3, 20, 80, 160, 320, 1000, 1500, 3000]))
        with contextlib.suppress(ValueError):
            assert len(coder.decode(payload)) <= 1920
    with pytest.raises(ValueError, match="no packet"):
        coder.decode(b"")
    assert len(coder.decode(coder.encode([0] * (coder.rate // 50)))) == coder.rate // 50


def test_opus_repairs_a_lost_packet_from_the_one_after_it() -> None:
    """Forward error correction is on while loss is reported: what was lost is heard nearly as it was."""
    samples = speech(3.0, 16000)
    likeness = {}
    for percent in (0, 20):
        coder = Coder("opus")
        coder.loss(percent)
        packets = [coder.encode(samples[at : at + 320]) for at in range(0, len(samples) - 319, 320)]
        whole = [sample for packet in packets for sample in Coder("opus").decode(packet)]
        whole, ear = [], Coder("opus")
        for packet in packets:
            whole += ear.decode(packet)
        heard, ear = [], Coder("opus")
        for number, packet in enumerate(packets):
            if number % 5 == 3 and number + 1 < len(packets):
                heard += ear.conceal(packets[number + 1])
            else:
                heard += ear.decode(packet)
        likeness[percent] = signal_to_noise(whole, heard, [0])
    assert likeness[20] > likeness[0] + 2


def test_comfort_noise_has_the_level_asked_for() -> None:
    for level in (30, 50, 70):
        for spectrum in (b"", bytes([60, 180])):
            heard = noise(bytes([level]) + spectrum, 8000)
            assert 20 * math.log10(power(heard) / 32767) == pytest.approx(-level, abs=1.5)
    assert not any(noise(b"", 160))


def test_comfort_noise_has_the_spectrum_asked_for() -> None:
    low = noise(bytes([30, 20]), 8000)  # a strong first coefficient: the neighbours are alike
    assert abs(sum(a * b for a, b in itertools.pairwise(low))) > 0.5 * sum(a * a for a in low)


def test_comfort_noise_of_any_octets_stays_within_bounds() -> None:
    chance = random.Random(6)
    for _ in range(200):
        assert len(noise(chance.randbytes(chance.randrange(1, 40)), 320)) == 320


def test_the_table_tells_names_and_clocks() -> None:
    assert set(NUMBERS) == {"PCMU", "PCMA", "G722", "opus", "CN"}
    assert CLOCKS["G722"] == 8000  # RFC 3551 section 4.5.2
    assert CLOCKS["opus"] == 48000  # RFC 7587
    with pytest.raises(ValueError, match="codes no sound"):
        Coder("CN")
