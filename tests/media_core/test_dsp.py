"""The DSP in a real core: what phones of different codecs hear of each other, conferences, plays, recordings, keys."""

from __future__ import annotations

import itertools
import math
import struct
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from media_core import Codec, Digit, MediaEngine, PlayEnded, RecordEnded
from media_core.relay import rtp
from media_core.sound.codec import CLOCKS, Coder
from media_core.sound.dtmf import Receiver, digit
from tests.media_core.bench import Bench, fields, report, running, settle
from tests.media_core.voices import Voice, sine, strength, talk, talk_until


@pytest.fixture(scope="module", params=[False, True], ids=["beside", "apart"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with running(legs=16, apart=request.param) as bench:
        yield bench


def voices(bench: Bench, *codecs: str, **remote: object) -> list[Voice]:
    """Phones of these codecs, each on a leg that is described."""
    out: list[Voice] = []
    for number, codec in enumerate(codecs):
        out.append(Voice(bench.second(out[-1].leg) if out else bench.engine.open(), codec, ssrc=0x100 + number))
        bench.engine.describe(out[-1].leg.id, out[-1].remote(**remote))
    return out


def close(engine: MediaEngine, all_voices: list[Voice]) -> None:
    for voice in all_voices:
        engine.close(voice.leg.id)
        voice.close()


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(["PCMU", "PCMA", "G722", "opus"], 2)))
def test_any_two_codecs_hear_each_other(bench: Bench, one: str, other: str) -> None:
    a, b = both = voices(bench, one, other)
    bench.engine.connect(a.leg.id, b.leg.id)
    settle()
    tones = a.tone(440), b.tone(1000)
    talk(1.2, both, *tones)
    talk_until(lambda: b.hears(440) > 0.8 and a.hears(1000) > 0.8, both, *tones)
    assert b.hears(440) > 0.8
    assert a.hears(1000) > 0.8
    for voice in both:
        heads = [fields(packet) for packet in voice.packets]
        assert {head[0] for head in heads} == {voice.payload_type}
        assert len({head[3] for head in heads}) == 1
        assert [head[1] for head in heads] == list(range(heads[0][1], heads[0][1] + len(heads)))
        step = CLOCKS[voice.codec] // 50
        assert {(y[2] - x[2]) % 2**32 for x, y in itertools.pairwise(heads)} == {step}
    close(bench.engine, both)


def test_the_laws_of_g711_are_changed_by_the_relay(bench: Bench) -> None:
    a, b = both = voices(bench, "PCMU", "PCMA")
    bench.engine.connect(a.leg.id, b.leg.id)
    settle()
    a.send(1, b"\xff" * 160)
    (packet,) = b.receive(1)
    assert fields(packet)[0] == 8
    assert fields(packet)[4] == b"\xd5" * 160
    close(bench.engine, both)


def test_the_same_codec_under_another_payload_type_is_relayed_untouched(bench: Bench) -> None:
    a, b = both = voices(bench, "opus", "opus")
    b.payload_type = 96
    bench.engine.describe(b.leg.id, b.remote())
    bench.engine.connect(a.leg.id, b.leg.id)
    settle()
    a.send(1, b"anything at all")
    (packet,) = b.receive(1)
    assert fields(packet)[0] == 96
    assert fields(packet)[4] == b"anything at all"
    close(bench.engine, both)


@pytest.mark.parametrize("apart", [False, True])
def test_transcoding_goes_on_after_the_core_was_killed(apart: bool) -> None:
    with running(legs=4, apart=apart) as bench:
        a, b = both = voices(bench, "PCMA", "opus")
        bench.engine.connect(a.leg.id, b.leg.id)
        settle()
        talk(0.6, both, a.tone(440), b.tone(1000))
        bench.kill()
        bench.start()
        last = fields(b.packets[-1])
        before = len(b.packets)
        tones = a.tone(440), b.tone(1000)
        talk(1.2, both, *tones)
        talk_until(lambda: b.hears(440) > 0.8 and a.hears(1000) > 0.8, both, *tones)
        assert b.hears(440) > 0.8
        assert a.hears(1000) > 0.8
        first = fields(b.packets[before])
        assert first[1] == (last[1] + 1) & 0xFFFF
        assert first[3] == last[3]
        assert 0 < (first[2] - last[2]) % 2**32 < 48000 * 20
        close(bench.engine, both)


def test_in_a_conference_everyone_hears_the_others_and_not_himself(bench: Bench) -> None:
    a, b, c, d = everyone = voices(bench, "PCMU", "G722", "opus", "PCMA")
    for voice in everyone:
        bench.engine.mix(voice.leg.id, 7)
    settle()
    tones = a.tone(400), b.tone(700), c.tone(1100)

    def shares() -> list[list[float]]:
        return [[round(voice.hears(hertz), 2) for hertz in (400, 700, 1100)] for voice in everyone]

    def right() -> bool:
        """Of a, b and c each hears two tones, half and half; d hears three."""
        return all(
            share < 0.02 if tone == own else share > 0.7 / (3 if own == 3 else 2)
            for own, heard in enumerate(shares())
            for tone, share in enumerate(heard)
        )

    talk(1.5, everyone, *tones)
    talk_until(right, everyone, *tones)
    assert right(), shares()
    bench.engine.mix(a.leg.id, 7, muted=True)
    settle()
    talk(0.8, everyone, *tones)
    talk_until(lambda: d.hears(700) > 0.4, everyone, *tones)
    assert d.hears(400) < 0.02
    assert d.hears(700) > 0.4
    bench.engine.disconnect(b.leg.id)
    settle()
    talk(0.8, everyone, *tones)
    talk_until(lambda: d.hears(1100) > 0.9, everyone, *tones)
    assert d.hears(1100) > 0.9
    close(bench.engine, everyone)


def test_a_conference_needs_a_codec_and_a_number(bench: Bench) -> None:
    (a,) = voices(bench, "PCMU", codecs=())
    with pytest.raises(ValueError, match="no codec"):
        bench.engine.mix(a.leg.id, 1)
    with pytest.raises(ValueError, match="above 0"):
        bench.engine.mix(a.leg.id, 0)
    close(bench.engine, [a])


def write_wave(path: Path, samples: list[int], rate: int, channels: int = 1) -> str:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"".join(struct.pack("<h", sample) * channels for sample in samples))
    return str(path)


def read_wave(path: Path) -> tuple[int, int, list[int]]:
    """rate, channels, samples"""
    with wave.open(str(path), "rb") as file:
        data = file.readframes(file.getnframes())
        return file.getframerate(), file.getnchannels(), list(struct.unpack(f"<{len(data) // 2}h", data))


@pytest.mark.parametrize("codec", ["PCMU", "G722", "opus"])
def test_files_are_played_one_after_the_other(bench: Bench, codec: str, tmp_path: Path) -> None:
    one = write_wave(tmp_path / "one.wav", sine(600, 44100 // 2, 44100), 44100, 2)
    two = write_wave(tmp_path / "two.wav", sine(900, 8000 // 2, 8000), 8000)
    (a,) = voices(bench, codec)
    settle()
    bench.engine.play_files(a.leg.id, [one, two], a.payload_type)
    talk(1.2, [a])
    assert bench.wait(PlayEnded, leg=a.leg.id) == PlayEnded(a.leg.id)
    assert len(a.packets) == pytest.approx(50, abs=1)
    rate = a.rate
    assert strength(a.heard[rate // 10 : rate * 4 // 10], 600, rate) > 0.8
    assert strength(a.heard[rate * 6 // 10 : rate * 9 // 10], 900, rate) > 0.8
    close(bench.engine, [a])


def test_a_looped_file_plays_until_it_is_stopped(bench: Bench, tmp_path: Path) -> None:
    path = write_wave(tmp_path / "hold.wav", sine(500, 800, 8000), 8000)
    (a,) = voices(bench, "PCMA")
    settle()
    bench.engine.play_files(a.leg.id, [path], 8, loop=True)
    talk(0.8, [a])
    talk_until(lambda: len(a.packets) > 30 and a.hears(500) > 0.8, [a])
    assert len(a.packets) > 30
    assert a.hears(500) > 0.8
    bench.engine.play(a.leg.id, [], 8)
    bench.wait(PlayEnded, leg=a.leg.id)
    close(bench.engine, [a])


def test_a_file_that_cannot_be_read_is_told(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound at all")
    (a,) = voices(bench, "PCMA")
    for name in ("text.wav", "missing.wav", ""):
        bench.engine.play_files(a.leg.id, [str(tmp_path / name)], 8, loop=True)
        assert bench.wait(PlayEnded, leg=a.leg.id).failed
    with pytest.raises(ValueError, match="absolute"):
        bench.engine.play_files(a.leg.id, ["here.wav"], 8)
    with pytest.raises(ValueError, match="octets together"):
        bench.engine.play_files(a.leg.id, ["/" + "x" * 1100] * 2, 8)
    with pytest.raises(ValueError, match="payload type"):
        bench.engine.play_files(a.leg.id, ["/here.wav"], 96)
    close(bench.engine, [a])


def test_what_plays_goes_before_the_other_leg_and_then_it_is_back(bench: Bench, tmp_path: Path) -> None:
    path = write_wave(tmp_path / "beep.wav", sine(1500, 4000, 8000), 8000)
    a, b = both = voices(bench, "PCMA", "opus")
    bench.engine.connect(a.leg.id, b.leg.id)
    settle()
    tone = a.tone(440)
    talk(0.6, both, tone)
    bench.engine.play_files(b.leg.id, [path], b.payload_type)
    talk(0.45, both, tone)
    assert b.hears(1500, 0.2) > 0.8
    talk(0.8, both, tone)
    talk_until(lambda: b.hears(440) > 0.8, both, tone)
    assert b.hears(440) > 0.8
    times = [fields(packet)[2] for packet in b.packets]
    assert all(0 < (y - x) % 2**32 <= 48000 // 10 for x, y in itertools.pairwise(times))
    close(bench.engine, both)


def test_a_recording_has_both_sides_in_time(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    a, b = both = voices(bench, "PCMU", "PCMU")
    bench.engine.connect(a.leg.id, b.leg.id)
    bench.engine.record(a.leg.id, str(path), sides="apart")
    settle()
    talk(0.5, both)
    talk(1.0, both, a.tone(440), b.tone(1000))
    bench.engine.record(a.leg.id, "")
    ended = bench.wait(RecordEnded, leg=a.leg.id)
    assert not ended.failed
    rate, channels, samples = read_wave(path)
    assert (rate, channels) == (8000, 2)
    assert ended.milliseconds == pytest.approx(1550, abs=150)
    left, right = samples[::2], samples[1::2]
    assert not any(left[:3000])
    assert strength(left[-6000:-1000], 440, 8000) > 0.8
    assert strength(right[-6000:-1000], 1000, 8000) > 0.8
    assert [item.name for item in tmp_path.iterdir()] == ["call.wav"]
    close(bench.engine, both)


def test_a_recording_ends_with_its_leg_and_at_its_limit(bench: Bench, tmp_path: Path) -> None:
    a, b = both = voices(bench, "opus", "opus")
    bench.engine.record(a.leg.id, str(tmp_path / "closed.ogg"), sides="received")
    bench.engine.record(b.leg.id, str(tmp_path / "limit.wav"), seconds=1)
    settle()
    talk(1.0, both, a.tone(440), b.tone(440))
    bench.engine.close(a.leg.id)
    assert not bench.wait(RecordEnded, leg=a.leg.id).failed
    assert (tmp_path / "closed.ogg").read_bytes()[:4] == b"OggS"
    assert bench.wait(RecordEnded, leg=b.leg.id).milliseconds == 1000
    rate, channels, samples = read_wave(tmp_path / "limit.wav")
    assert (rate, channels, len(samples)) == (16000, 1, 16000)
    assert strength(samples[4000:14000], 440, 16000) > 0.8
    close(bench.engine, both)


def test_a_recording_that_cannot_be_written_is_told(bench: Bench, tmp_path: Path) -> None:
    (a,) = voices(bench, "PCMU")
    bench.engine.record(a.leg.id, str(tmp_path / "nowhere" / "call.wav"))
    assert bench.wait(RecordEnded, leg=a.leg.id).failed
    for path in ("call.wav", "/tmp/call.txt", "/" + "x" * 2100 + ".wav"):
        with pytest.raises(ValueError, match="absolute path"):
            bench.engine.record(a.leg.id, path)
    with pytest.raises(ValueError, match="sides"):
        bench.engine.record(a.leg.id, "/tmp/call.wav", sides="left")
    close(bench.engine, [a])


@pytest.mark.parametrize("ending", ["wav", "ogg"])
def test_a_recording_survives_the_death_of_the_core(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"call.{ending}"
    with running(legs=4) as bench:
        a, b = both = voices(bench, "PCMA", "PCMA")
        bench.engine.connect(a.leg.id, b.leg.id)
        bench.engine.record(a.leg.id, str(path), sides="received")
        settle()
        talk(2.5, both, a.tone(440))
        bench.kill()
        bench.start()
        talk(1.5, both, a.tone(900))
        bench.engine.record(a.leg.id, "")
        ended = bench.wait(RecordEnded, leg=a.leg.id)
        assert not ended.failed
        assert ended.milliseconds > 4000
        if ending == "wav":
            samples = read_wave(path)[2]
            assert strength(samples[2000:8000], 440, 8000) > 0.8
            assert strength(samples[-6000:-1000], 900, 8000) > 0.8
        assert [item.name for item in tmp_path.iterdir()] == [path.name]
        close(bench.engine, both)


def event_packet(voice: Voice, code: int, duration: int, timestamp: int, over: bool, payload_type: int) -> bytes:
    head = struct.pack("!BBHII", 0x80, payload_type, voice.sequence & 0xFFFF, timestamp & 0xFFFFFFFF, voice.ssrc)
    voice.sequence += 1
    return head + struct.pack("!BBH", code, 10 | over << 7, duration)


def press(bench: Bench, voice: Voice, code: int, listeners: list[Voice], payload_type: int = 101) -> None:
    """100 ms of a key as RFC 4733 events."""
    began = voice.timestamp

    def step() -> None:
        voice.timestamp += CLOCKS[voice.codec] // 50
        duration = (voice.timestamp - began) * 8000 // CLOCKS[voice.codec]
        packet = event_packet(voice, code, duration, began, over=duration >= 800, payload_type=payload_type)
        voice.rtp.sendto(packet, ("127.0.0.1", voice.leg.port))

    talk(0.1, listeners, step)


def test_key_events_are_passed_on_by_the_dsp(bench: Bench) -> None:
    a, b = both = voices(bench, "PCMA", "opus", telephone_event=101)
    bench.engine.connect(a.leg.id, b.leg.id)
    settle()
    talk(0.4, both, a.tone(440))
    press(bench, a, 5, both)
    talk(0.3, both, a.tone(440))
    assert bench.wait(Digit, leg=a.leg.id).digit == "5"
    events = [fields(packet) for packet in b.packets if fields(packet)[0] == 101]
    assert len(events) == 5
    assert len({event[2] for event in events}) == 1
    assert [event[4][0] for event in events] == [5] * 5
    assert [struct.unpack("!H", event[4][2:])[0] for event in events] == [160, 320, 480, 640, 800]
    assert events[-1][4][1] & 0x80
    close(bench.engine, both)


def test_key_events_become_tones_for_who_takes_none(bench: Bench) -> None:
    a, b = both = voices(bench, "G722", "PCMU")
    bench.engine.describe(a.leg.id, a.remote(telephone_event=101))
    bench.engine.connect(a.leg.id, b.leg.id)
    settle()
    heard: list[str] = []
    for _ in range(5):  # the sound threads run below everything else: on a busy machine a press may come too late to be a clean tone
        b.heard.clear()
        talk(0.4, both, a.tone(300))
        press(bench, a, 9, both)
        talk(0.3, both, a.tone(300))
        heard = [key for key, _ in Receiver().feed(b.heard)]
        if heard:
            break
    assert heard == ["9"]
    close(bench.engine, both)


def test_tones_are_found_told_and_passed_on_as_events(bench: Bench) -> None:
    a, b = both = voices(bench, "PCMU", "opus")
    bench.engine.describe(a.leg.id, a.remote(find_digits=True))
    bench.engine.describe(b.leg.id, b.remote(telephone_event=101))
    bench.engine.connect(a.leg.id, b.leg.id)
    settle()
    sound = iter(sine(300, 3200, 8000, 3000) + digit("7", 120, 8000) + [0] * 8000)
    talk(0.9, both, lambda: a.speak([next(sound) for _ in range(160)]))
    found = bench.wait(Digit, leg=a.leg.id)
    assert found.digit == "7"
    assert found.milliseconds == pytest.approx(120, abs=40)
    events = [fields(packet)[4] for packet in b.packets if fields(packet)[0] == 101]
    assert {event[0] for event in events} == {7}
    assert sum(event[1] >> 7 for event in events) == 3
    close(bench.engine, both)


def test_tones_are_found_while_the_relay_forwards_untouched(bench: Bench) -> None:
    a, b = both = voices(bench, "PCMA", "PCMA")
    bench.engine.describe(a.leg.id, a.remote(find_digits=True))
    bench.engine.connect(a.leg.id, b.leg.id)
    settle()
    sound = iter(digit("#", 100, 8000) + [0] * 8000)
    talk(0.5, both, lambda: a.speak([next(sound) for _ in range(160)]))
    assert bench.wait(Digit, leg=a.leg.id).digit == "#"
    assert len(b.packets) == 25
    close(bench.engine, both)


def test_digits_are_sent_as_tones_in_any_codec(bench: Bench) -> None:
    (a,) = voices(bench, "G722")
    settle()
    bench.engine.send_digits(a.leg.id, "1D")
    talk(0.6, [a])
    ear = Receiver()
    narrow = a.heard[::2] + [0] * 800
    assert [key for key, _ in ear.feed(narrow)] == ["1", "D"]
    close(bench.engine, [a])


def test_loss_and_jitter_are_heard_as_little_as_possible(bench: Bench) -> None:
    """Every tenth packet is lost: the tone goes on at nearly its full strength."""
    a, b = both = voices(bench, "PCMA", "opus")
    bench.engine.connect(a.leg.id, b.leg.id)
    settle()
    count = itertools.count(1)
    speak = a.tone(400)

    def step() -> None:
        if next(count) % 10:
            speak()
        else:
            a.sequence += 1
            a.timestamp += 160
            a.spoken += 160

    def level() -> float:
        return math.sqrt(sum(sample * sample for sample in b.heard[-16000:]) / 16000)

    talk(2.0, both, step)
    talk_until(lambda: b.hears(400, 1.2) > 0.9 and level() > 8000 / math.sqrt(2) * 0.9, both, step)
    assert b.hears(400, 1.2) > 0.9
    assert level() > 8000 / math.sqrt(2) * 0.9
    close(bench.engine, both)


def test_codecs_may_change_during_the_call(bench: Bench) -> None:
    a, b = both = voices(bench, "PCMA", "PCMA")
    bench.engine.connect(a.leg.id, b.leg.id)
    settle()
    talk(0.4, both, a.tone(440))
    bench.engine.describe(b.leg.id, b.remote(codecs=(Codec("G722", 9),)))
    b.payload_type = 9
    b.ear = Coder("G722")
    settle()
    b.packets.clear()
    b.heard.clear()
    b.rate = 16000
    tone = a.tone(440)
    talk(0.8, both, tone)
    talk_until(lambda: b.hears(440) > 0.8, both, tone)
    assert b.hears(440) > 0.8
    close(bench.engine, both)


def test_a_transcoded_stream_has_reports_of_its_own(bench: Bench) -> None:
    a, b = both = voices(bench, "PCMA", "opus")
    bench.engine.connect(a.leg.id, b.leg.id)
    settle()
    reports: list[bytes] = []
    for _ in range(5):  # a busy machine may keep the first one waiting
        talk(1.6, both, a.tone(440), b.tone(1000))
        if reports := b.receive(1, 0.2, rtcp=True):
            break
    sr, sdes = rtp.parse_rtcp(reports[0])
    assert (sr.type, sdes.type) == (200, 202)
    assert sr.sender is not None
    assert sr.sender.ssrc == fields(b.packets[0])[3]
    assert 0 < sr.sender.packets <= len(b.packets)
    (block,) = sr.reports
    assert (block.ssrc, block.lost, block.fraction_lost) == (b.ssrc, 0, 0)
    b.rtcp.sendto(report(b.ssrc, 1, about=sr.sender.ssrc, highest=100, lost=7), ("127.0.0.1", b.leg.port + 1))
    settle()
    assert bench.engine.stats(b.leg.id).sent.lost == 7
    assert all(
        rtp.parse_rtcp(packet)[0].sender != sr.sender for packet in a.receive(2, 0.1, rtcp=True)
    )  # it went no further
    close(bench.engine, both)
