"""Serials: what plays, is sent or is recorded goes on when it is asked for once more, tells its end whoever has been killed, and is never
begun twice. And describe, connect and mix that change nothing where all is so already."""

from __future__ import annotations

import os
import random
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from media_core import Codec, DigitsSent, MediaEngine, PlayEnded, RecordEnded
from tests.media_core.bench import Bench, Phone, fields, running, settle
from tests.media_core.test_dsp import close, read_wave, voices, write_wave
from tests.media_core.voices import sine, strength, talk


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with running(legs=4) as running_bench:
        yield running_bench


def phone_on(bench: Bench, **remote: object) -> Phone:
    phone = Phone(bench.engine.open(), 21)
    bench.engine.describe(phone.leg.id, phone.remote(**remote))
    return phone


def another_process(bench: Bench) -> None:
    """The one before has died: its engine is not used any more."""
    bench.engine = MediaEngine(bench.memory, bench.core_wake, bench.calls_wake)


def no_event(bench: Bench, kind: type, seconds: float = 0.15) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        bench.poll(0.02)
    return not any(isinstance(event, kind) for event in bench.events)


def test_what_has_ended_tells_its_end_once_more(bench: Bench) -> None:
    phone = phone_on(bench)
    tones = [(440.0, 0.0, 100)]
    bench.engine.play(phone.leg.id, tones, 8, serial=7)
    assert bench.wait(PlayEnded) == PlayEnded(phone.leg.id, serial=7)
    assert len(phone.receive(6, 0.3)) == 5
    for _ in range(2):
        another_process(bench)
        bench.engine.play(phone.leg.id, tones, 8, serial=7)
        assert bench.wait(PlayEnded) == PlayEnded(phone.leg.id, serial=7)
    assert phone.nothing(0.2)
    assert no_event(bench, PlayEnded)
    bench.engine.play(phone.leg.id, tones, 8, serial=8)
    assert bench.wait(PlayEnded) == PlayEnded(phone.leg.id, serial=8)
    bench.engine.play(phone.leg.id, tones, 8)  # without a serial always anew
    assert bench.wait(PlayEnded) == PlayEnded(phone.leg.id)
    bench.engine.play(phone.leg.id, tones, 8)
    assert bench.wait(PlayEnded) == PlayEnded(phone.leg.id)
    assert len(phone.receive(16, 0.3)) == 15
    close_phone(bench, phone)


def close_phone(bench: Bench, phone: Phone) -> None:
    phone.close()
    bench.engine.close(phone.leg.id)


def test_the_next_call_on_the_leg_has_serials_of_its_own(bench: Bench) -> None:
    for _ in range(bench.legs + 1):  # each leg at least once, one of them twice
        phone = phone_on(bench)
        bench.engine.play(phone.leg.id, [(440, 0, 20)], 8, serial=1)
        assert bench.wait(PlayEnded) == PlayEnded(phone.leg.id, serial=1)
        assert len(phone.receive(2, 0.2)) == 1
        close_phone(bench, phone)


def test_what_plays_goes_on(bench: Bench, tmp_path: Path) -> None:
    phone = phone_on(bench)
    sound = write_wave(tmp_path / "a.wav", sine(440, 4800, 8000), 8000)
    begin: list[Callable[[int], None]] = [
        lambda serial: bench.engine.play(phone.leg.id, [(440, 0, 600)], 8, serial=serial),
        lambda serial: bench.engine.play_files(phone.leg.id, [sound], 8, serial=serial),
    ]
    for serial, play in enumerate(begin, 1):
        play(serial)
        packets = phone.receive(8)
        another_process(bench)
        play(serial)
        packets += phone.receive(40, 1.0)
        assert len(packets) == 30
        assert [fields(p)[1] - fields(packets[0])[1] & 0xFFFF for p in packets] == list(range(30))
        assert bench.wait(PlayEnded) == PlayEnded(phone.leg.id, serial=serial)
        assert no_event(bench, PlayEnded)
    close_phone(bench, phone)


def test_digits_with_a_serial_tell_when_they_are_sent(bench: Bench) -> None:
    phone = phone_on(bench, telephone_event=101)
    bench.engine.send_digits(phone.leg.id, "5")
    assert no_event(bench, DigitsSent, 0.3)
    assert len(phone.receive(7)) == 7
    for _ in range(2):
        bench.engine.send_digits(phone.leg.id, "5#", serial=3)
        assert bench.wait(DigitsSent) == DigitsSent(phone.leg.id, 3)
        another_process(bench)
    assert len(phone.receive(15, 0.3)) == 14
    bench.engine.play(phone.leg.id, [(440, 0, 5000)], 8, serial=4)
    phone.receive(1)
    bench.engine.send_digits(phone.leg.id, "1", serial=5)
    assert bench.wait(PlayEnded) == PlayEnded(phone.leg.id, serial=4)
    assert bench.wait(DigitsSent) == DigitsSent(phone.leg.id, 5)
    close_phone(bench, phone)


def test_a_failure_is_told_once_more(bench: Bench) -> None:
    phone = phone_on(bench)
    for _ in range(2):
        bench.engine.play_files(phone.leg.id, ["/nowhere.wav"], 8, serial=9)
        assert bench.wait(PlayEnded) == PlayEnded(phone.leg.id, failed=True, serial=9)
        another_process(bench)
    close_phone(bench, phone)


def test_an_end_is_told_whenever_the_core_is_killed() -> None:
    """The end goes from the DSP over the worker to the ring: a core killed on that way leaves it to the next one."""
    chance = random.Random(1)
    with running(legs=2) as bench:
        phone = phone_on(bench, telephone_event=101)
        for serial in range(1, 13):
            if serial % 3:
                bench.engine.play(phone.leg.id, [(440, 0, 40)], 8, serial=serial)
            else:
                bench.engine.send_digits(phone.leg.id, "1", serial=serial)
            time.sleep(chance.random() * (0.07 if serial % 3 else 0.2))
            bench.kill()
            bench.start()
            bench.wait(PlayEnded if serial % 3 else DigitsSent, serial=serial)
        phone.close()


def test_the_end_that_was_not_told_is_told_by_the_next_core() -> None:
    """The same, at the one place where it would be lost: done, and not told."""
    with running(legs=2) as bench:
        phone = phone_on(bench)
        bench.engine.play(phone.leg.id, [(440, 0, 40)], 8, serial=5)
        bench.wait(PlayEnded, serial=5)
        settle()
        bench.kill()
        (players,) = struct.unpack("=Q", os.pread(bench.memory, 8, 88))  # abi.pxd: Header.player_table
        told = players + (phone.leg.id & 0xFFFFFFFF) * 3072 + 3008 + 32  # behind Request and Progress
        assert os.pread(bench.memory, 4, told) == struct.pack("=I", 2)  # the version of the first request
        os.pwrite(bench.memory, struct.pack("=I", 0), told)
        bench.start()
        assert bench.wait(PlayEnded) == PlayEnded(phone.leg.id, serial=5)
        assert no_event(bench, PlayEnded)
        phone.close()


# ---- recordings --------------------------------------------------------------------------------------------------------------


def test_a_recording_goes_on_and_tells_its_end_once_more(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    (a,) = both = voices(bench, "PCMU")
    bench.engine.record(a.leg.id, str(path), sides="received", serial=3)
    settle()
    talk(0.6, both, a.tone(440))
    another_process(bench)
    bench.engine.record(a.leg.id, str(path), sides="received", serial=3)
    talk(0.6, both, a.tone(440))
    bench.engine.record(a.leg.id, "")
    ended = bench.wait(RecordEnded)
    assert (ended.leg, ended.failed, ended.serial) == (a.leg.id, False, 3)
    assert ended.milliseconds == pytest.approx(1250, abs=200)
    whole = path.read_bytes()
    assert strength(read_wave(path)[2][800:8000], 440, 8000) > 0.8
    for _ in range(2):
        another_process(bench)
        bench.engine.record(a.leg.id, str(path), sides="received", serial=3)
        assert bench.wait(RecordEnded) == ended
    settle()
    assert path.read_bytes() == whole
    assert [item.name for item in tmp_path.iterdir()] == ["call.wav"]
    bench.engine.record(a.leg.id, str(path), serial=4)
    bench.engine.record(a.leg.id, "")
    assert bench.wait(RecordEnded).serial == 4
    assert len(path.read_bytes()) < len(whole)  # another serial begins anew
    close(bench.engine, both)


def test_a_stop_survives_the_death_of_the_core(tmp_path: Path) -> None:
    """Killed while the file is completed, named and told: whatever of that was done, the next core tells the end of a whole file."""
    chance = random.Random(2)
    with running(legs=2) as bench:
        (a,) = both = voices(bench, "PCMU")
        for serial in range(1, 9):
            path = tmp_path / f"{serial}.wav"
            bench.engine.record(a.leg.id, str(path), sides="received", serial=serial)
            settle()
            talk(0.2, both, a.tone(440))
            bench.engine.record(a.leg.id, "")
            time.sleep(chance.random() * 0.012)
            bench.kill()
            bench.start()
            another_process(bench)
            bench.engine.record(
                a.leg.id, str(path), sides="received", serial=serial
            )  # whoever asks again does not begin it again
            ended = bench.wait(RecordEnded, serial=serial)
            assert not ended.failed
            assert len(read_wave(path)[2]) // 8 == ended.milliseconds
            assert sorted(item.name for item in tmp_path.iterdir()) == [f"{n}.wav" for n in range(1, serial + 1)]
        close(bench.engine, both)


def test_a_file_that_was_complete_is_not_begun_anew(tmp_path: Path) -> None:
    """A core killed between giving the file its name and telling so."""
    path = tmp_path / "call.wav"
    with running(legs=2) as bench:
        (a,) = both = voices(bench, "PCMU")
        bench.engine.record(a.leg.id, str(path), sides="received", seconds=1, serial=1)
        settle()
        talk(1.0, both, a.tone(440))
        ended = bench.wait(RecordEnded, serial=1)
        assert (ended.milliseconds, ended.failed) == (1000, False)
        settle()
        (takes,) = struct.unpack("=Q", os.pread(bench.memory, 8, 120))  # abi.pxd: Header.take_table
        for lost in (8, 44):  # Take.done: killed after the file had its name; Take.told: killed before it was told
            bench.kill()
            place = takes + (a.leg.id & 0xFFFFFFFF) * (48 + 2016) + lost
            assert os.pread(bench.memory, 4, place) == struct.pack("=I", 2)  # the version of the first one
            os.pwrite(bench.memory, bytes(4), place)
            bench.start()
            assert bench.wait(RecordEnded, serial=1) == ended
            settle()
        assert strength(read_wave(path)[2][1000:7000], 440, 8000) > 0.8
        assert [item.name for item in tmp_path.iterdir()] == ["call.wav"]
        close(bench.engine, both)


# ---- nothing anew ------------------------------------------------------------------------------------------------------------


def configs(bench: Bench) -> bytes:
    begin, end = struct.unpack("=2Q", os.pread(bench.memory, 16, 80))  # abi.pxd: Header.config_table and player_table
    return os.pread(bench.memory, end - begin, begin)


def test_nothing_happens_where_all_is_so_already(bench: Bench) -> None:
    a, b = both = voices(bench, "PCMU", "PCMA")
    remotes = [voice.remote(telephone_event=101) for voice in both]
    steps: list[tuple[Callable[[], None], Callable[[], None]]] = [
        (
            lambda: bench.engine.describe(a.leg.id, remotes[0], anew=False),
            lambda: bench.engine.describe(a.leg.id, remotes[0]),
        ),
        (
            lambda: bench.engine.describe(b.leg.id, remotes[1], anew=False),
            lambda: bench.engine.describe(b.leg.id, remotes[1]),
        ),
        (
            lambda: bench.engine.connect(a.leg.id, b.leg.id, {0: 8}, {8: 0}, anew=False),
            lambda: bench.engine.connect(a.leg.id, b.leg.id, {0: 8}, {8: 0}),
        ),
        (
            lambda: bench.engine.connect(a.leg.id, a.leg.id, anew=False),
            lambda: bench.engine.connect(a.leg.id, a.leg.id),
        ),
        (
            lambda: bench.engine.mix(a.leg.id, 5, muted=True, anew=False),
            lambda: bench.engine.mix(a.leg.id, 5, muted=True),
        ),
    ]
    for once, anew in steps:
        before = configs(bench)
        once()  # it is not so yet
        first = configs(bench)
        assert first != before
        another_process(bench)
        once()
        assert configs(bench) == first
        anew()
        assert configs(bench) != first
    close(bench.engine, both)


def test_what_differs_is_made_so(bench: Bench) -> None:
    """A process that died between the two halves of a connection, or with another description."""
    a, b = both = voices(bench, "PCMU", "PCMU")
    bench.engine.connect(a.leg.id, b.leg.id)
    whole = configs(bench)
    bench.engine.connect(a.leg.id, a.leg.id)
    bench.engine.connect(a.leg.id, b.leg.id, anew=False)
    assert configs(bench) != whole  # the versions have moved; what is said is as before
    settle()
    talk(0.2, both, a.tone(440), b.tone(440))
    assert a.packets
    assert b.packets
    first = configs(bench)
    bench.engine.describe(a.leg.id, a.remote(codecs=(Codec("PCMA", 8),)), anew=False)
    assert configs(bench) != first
    close(bench.engine, both)
