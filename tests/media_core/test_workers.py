"""Legs of two workers: every packet crosses to the worker that seals it. The other files of this folder run with two workers, too, and with
the legs of a call on both (`apart`); here stands what only there can go wrong: no index twice, whatever the legs are moved to; a
conference of many; a ring that is full; sound that moves from one DSP to another."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import random
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from media_core import Codec, DigitsSent, OutOfService, PlayEnded, RecordEnded
from tests.media_core.bench import DATAPATHS, HOST, Bench, Phone, collect, fields, report, running, settle
from tests.media_core.test_dsp import close, read_wave, voices
from tests.media_core.test_relay_srtp import SecurePhone, dial, hang_up
from tests.media_core.voices import Voice, strength, talk, talk_until

CM, GCM = "AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM"
TAG = {CM: 10, GCM: 0}  # octets behind the SRTCP index
G711 = (Codec("PCMA", 8),)


# ---- opening -------------------------------------------------------------------------------------------------------------


def test_beside_is_a_preference() -> None:
    with running(legs=6) as bench:
        first = bench.engine.open()
        legs = [first, *(bench.engine.open(beside=first.id) for _ in range(5))]
        own, other = first.id % 2, 1 - first.id % 2
        assert [leg.id % 2 for leg in legs] == [own, own, own, other, other, other]
        with pytest.raises(OutOfService):
            bench.engine.open(beside=first.id)


def test_calls_are_spread_over_the_workers_and_a_call_stays_on_one() -> None:
    with running(legs=8) as bench:
        calls = [dial(bench, CM, "") for _ in range(4)]
        assert [{phone.leg.id % 2 for phone in pair} for pair in calls].count({0}) == 2
        assert [{phone.leg.id % 2 for phone in pair} for pair in calls].count({1}) == 2
        for pair in calls:
            pair[0].send(3)
            assert len(pair[1].receive(3)) == 3
            hang_up(bench, *pair)
        assert bench.engine.counters()["crossed"] == 0


# ---- no index twice --------------------------------------------------------------------------------------------------------


class Watched(SecurePhone):
    """A phone of which every packet that comes to it is opened, and its index noted."""

    def __init__(self, bench: Bench, number: int) -> None:
        leg = bench.engine.open()
        super().__init__(leg, 0x1000 + number, (CM, GCM)[number // 2 % 2])
        self.sequence = 65536 - 150  # the rollover counter changes on the way
        self.before = self.unprotect  # under the key that was agreed before: packets may have been on their way
        self.used: set[tuple[str, int, int]] = set()
        self.highest: dict[int, int] = {}

    def remote(self, **changes: object) -> object:  # type: ignore[override]
        return super().remote(codecs=G711, telephone_event=101, **changes)

    def rekey(self) -> None:
        self.before = getattr(self, "unprotect", None)
        super().rekey()
        self.used, self.highest = set(), {}

    def speak(self) -> None:
        for _ in range(4):
            self.rtp.sendto(self.packet(b"\x55" * 160), (HOST, self.leg.port))
        self.report(0, lost=0)

    def note(self, kind: str, ssrc: int, index: int) -> None:
        assert (kind, ssrc, index) not in self.used, f"{kind} index {index} was sealed twice under one key"
        self.used.add((kind, ssrc, index))

    def listen(self) -> int:
        """Everything that has come; how many packets of voice."""
        count = 0
        for packet in collect(self.rtp, 1000, 0.01):
            try:
                self.unprotect.unprotect(packet)
            except Exception:
                self.before.unprotect(packet)
                continue
            _, sequence, _, ssrc, _ = fields(packet)
            highest = self.highest.setdefault(ssrc, sequence)
            index = highest + ((sequence - highest + 0x8000 & 0xFFFF) - 0x8000)
            self.highest[ssrc] = max(highest, index)
            self.note("RTP", ssrc, index)
            count += 1
        for packet in collect(self.rtcp, 1000, 0.001):
            try:
                self.unprotect.unprotect_rtcp(packet)
            except Exception:
                self.before.unprotect_rtcp(packet)
                continue
            end = len(packet) - TAG[self.suite]
            self.note(
                "RTCP", *struct.unpack("!I", packet[4:8]), struct.unpack("!I", packet[end - 4 : end])[0] & 0x7FFFFFFF
            )
        return count


def change(bench: Bench, dice: random.Random, phones: list[Watched]) -> None:
    """One of the things that are done to legs in the middle of a call."""
    one, other = dice.sample(phones, 2)
    engine = bench.engine
    match dice.choice(
        ("pair", "pair", "pair", "loop", "room", "room", "alone", "key", "key", "tone", "digits", "kill")
    ):
        case "pair":
            engine.connect(one.leg.id, other.leg.id)
        case "loop":
            engine.connect(one.leg.id, one.leg.id)
        case "room":
            for phone in dice.sample(phones, 3):
                engine.mix(phone.leg.id, dice.choice((1, 2)))
        case "alone":
            engine.disconnect(one.leg.id)
        case "key":
            one.rekey()
            engine.describe(one.leg.id, one.remote())
        case "tone":
            engine.play(one.leg.id, [(440, 0, 200)], 8)
        case "digits":
            engine.send_digits(one.leg.id, "1#")
        case "kill":
            bench.kill()  # with packets in the sockets, in the rings between the workers, sealed but not sent
            for phone in phones:
                phone.speak()
            bench.start()


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_no_index_is_sealed_twice_wherever_the_legs_are_moved(datapath: str) -> None:
    """Pairs, loops and conferences within a worker and across, under new keys and over the death of the core: libsrtp opens every packet,
    and no packet has the index of another."""
    dice = random.Random(6)
    with running(legs=6, datapath=datapath) as bench:
        phones = [Watched(bench, number) for number in range(6)]
        assert {phone.leg.id % 2 for phone in phones} == {0, 1}
        for phone in phones:
            bench.engine.describe(phone.leg.id, phone.remote())
        heard = 0
        for _ in range(60):
            change(bench, dice, phones)
            for _ in range(2):
                for phone in phones:
                    phone.speak()
                heard += sum(phone.listen() for phone in phones)
        settle(0.2)
        heard += sum(phone.listen() for phone in phones)
        counters = bench.engine.counters()
        assert heard > 1000
        assert counters["crossed"] > 100
        assert counters["crossing_lost"] == 0
        assert all(bench.engine.stats(phone.leg.id).sent.dropped_other == 0 for phone in phones)
        for phone in phones:
            bench.engine.close(phone.leg.id)
            phone.close()


# ---- what is on the way when something changes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_who_has_been_connected_elsewhere_hears_nothing_more_of_the_old_one(datapath: str) -> None:
    with running(legs=8, datapath=datapath, apart=True) as bench:
        a, b = dial(bench, "", "")
        c = Phone(bench.second(b.leg), 0xC0C0C0C0)
        bench.engine.describe(c.leg.id, c.remote())
        a.send(5)
        assert len(b.receive(5)) == 5
        bench.engine.connect(b.leg.id, c.leg.id)
        settle()
        a.send(5)
        assert b.nothing()
        c.send(5, b"\x11" * 160)
        packets = [fields(p) for p in b.receive(5)]
        assert {p[4] for p in packets} == {b"\x11" * 160}
        assert [p[1] for p in packets] == list(range(1005, 1010)), "one unbroken sequence"
        hang_up(bench, a, b)
        bench.engine.close(c.leg.id)
        c.close()


def test_a_closed_leg_is_sent_nothing_by_the_other_worker() -> None:
    with running(legs=4, apart=True) as bench:
        a, b = dial(bench, "", "")
        bench.engine.close(b.leg.id)
        again = [bench.engine.open() for _ in range(3)]  # whoever has its place now
        for leg in again:
            bench.engine.describe(leg.id, b.remote())
        settle()
        a.send(5)
        assert b.nothing()
        bench.engine.close(a.leg.id)
        a.close()
        b.close()


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_reports_cross_and_are_translated_on_both_sides(datapath: str) -> None:
    with running(legs=4, datapath=datapath, apart=True) as bench:
        a, b = dial(bench, CM, GCM)
        a.send(5)
        b.send(5)
        at_b, at_a = fields(b.receive(5)[0]), fields(a.receive(5)[0])
        b.report(at_b[3], lost=4)
        assert a.receive(1, rtcp=True)[0] == report(at_a[3], 777, a.ssrc, 1003, lost=4)
        assert bench.engine.stats(b.leg.id).sent.lost == 4
        hang_up(bench, a, b)


# ---- a full ring ---------------------------------------------------------------------------------------------------------------

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000


@contextlib.contextmanager
def held(bench: Bench, worker: int) -> Iterator[None]:
    """The worker's thread stands still, and no other."""
    assert bench.core is not None
    threads = Path(f"/proc/{bench.core.pid}/task")
    tid = next(int(t.name) for t in threads.iterdir() if (t / "comm").read_text().strip() == f"relay-{worker}")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(PTRACE_SEIZE, tid, None, None):
        pytest.skip("no thread can be stopped alone here (ptrace)")
    libc.ptrace(PTRACE_INTERRUPT, tid, None, None)
    os.waitpid(tid, WALL)
    try:
        yield
    finally:
        libc.ptrace(PTRACE_DETACH, tid, None, None)


def test_a_full_ring_costs_packets_that_are_counted_and_nothing_else() -> None:
    """One worker stands still for a moment: what crosses to it waits, then is dropped; the other one goes on with its own calls."""
    with running(legs=8, datapath="epoll", apart=True) as bench:
        a, b = dial(bench, CM, CM)
        c = SecurePhone(bench.engine.open(beside=a.leg.id), 3, "")
        bench.engine.describe(c.leg.id, c.remote())
        bench.engine.connect(c.leg.id, c.leg.id)
        a.send(1)
        assert len(b.receive(1)) == 1
        with held(bench, b.leg.id % 2):
            for sent in range(1, 4000):
                a.send(1)
                if sent % 50 == 0:
                    c.send(1)
                    assert len(c.receive(1)) == 1, "the worker that receives waits for nobody"
            lost = bench.engine.counters()["crossing_lost"]
        assert 500 < lost < 3000
        end = time.monotonic() + 10
        while bench.engine.counters()["crossed"] + lost < 4000 and time.monotonic() < end:
            settle()
        got = b.receive(4000 - lost, 2)
        assert len(got) > 100, "its socket holds no more"
        a.send(1, b"\x77" * 160)
        assert fields(b.receive(1)[-1])[4] == b"\x77" * 160
        assert bench.engine.stats(b.leg.id).sent.packets == 4001 - lost
        bench.engine.close(c.leg.id)
        c.close()
        hang_up(bench, a, b)


# ---- sound -----------------------------------------------------------------------------------------------------------------------


def test_twenty_people_in_a_conference_across() -> None:
    """Everybody hears everybody else and not himself: three speak at a time, until all have."""
    codecs = list(itertools.islice(itertools.cycle(("PCMU", "PCMA", "G722", "opus")), 20))
    with running(legs=20) as bench:
        everyone = [Voice(bench.engine.open(), codec, ssrc=0x100 + at) for at, codec in enumerate(codecs)]
        assert sum(voice.leg.id % 2 for voice in everyone) == 10
        for voice in everyone:
            bench.engine.describe(voice.leg.id, voice.remote())
            bench.engine.mix(voice.leg.id, 5)
        settle()
        tones = (400, 700, 1100)
        for first in range(0, 20, 3):
            speakers = dict(zip(everyone[first : first + 3], tones, strict=False))
            steps = [voice.tone(hertz) for voice, hertz in speakers.items()]

            def right(speakers: dict[Voice, int] = speakers) -> bool:
                return all(
                    voice.hears(hertz) < 0.02 if voice is speaker else voice.hears(hertz) > 0.6 / len(speakers)
                    for voice in everyone
                    for speaker, hertz in speakers.items()
                    if voice is not speaker or len(speakers) > 1
                )

            talk(0.8, everyone, *steps)
            talk_until(right, everyone, *steps)
            assert right(), [[round(voice.hears(hertz), 2) for hertz in speakers.values()] for voice in everyone]
            talk(0.4, everyone)
        close(bench.engine, everyone)


def test_what_plays_goes_on_when_its_leg_moves_to_another_dsp() -> None:
    """Relayed, transcoded across, mixed, alone again: the tone is heard from end to end, once, and its end is told once."""
    with running(legs=6, apart=True) as bench:
        a, b = both = voices(bench, "PCMA", "opus")
        bench.engine.play(a.leg.id, [(440, 0, 1600)], 8, serial=9)
        talk(0.4, both)
        bench.engine.connect(a.leg.id, b.leg.id)
        talk(0.4, both)
        bench.engine.mix(a.leg.id, 1 + (min(a.leg.id, b.leg.id) & 1))
        talk(0.4, both)
        bench.engine.disconnect(a.leg.id)
        talk(0.2, both)
        talk_until(lambda: len(a.packets) >= 75, both)
        assert bench.wait(PlayEnded, leg=a.leg.id) == PlayEnded(a.leg.id, serial=9)
        assert 75 <= len(a.packets) <= 80
        heads = [fields(packet) for packet in a.packets]
        assert [head[1] for head in heads] == list(range(heads[0][1], heads[0][1] + len(heads)))
        times = [head[2] - heads[0][2] for head in heads]
        assert times == sorted(set(times)), "no piece is heard twice"
        assert strength(a.heard, 440, 8000) > 0.8
        bench.poll(0.2)
        assert not [event for event in bench.events if isinstance(event, PlayEnded)]
        close(bench.engine, both)


def test_a_tone_over_a_pair_across_and_then_the_other_is_heard_again() -> None:
    with running(legs=6, apart=True) as bench:
        a, b = both = voices(bench, "PCMA", "PCMA")
        bench.engine.connect(a.leg.id, b.leg.id)
        settle()
        tone = a.tone(1000)
        talk(0.3, both, tone)
        bench.engine.play(b.leg.id, [(440, 0, 400)], 8)
        talk(0.35, both, tone)
        assert b.hears(440, 0.2) > 0.8
        talk(0.6, both, tone)
        talk_until(lambda: b.hears(1000) > 0.8, both, tone)
        assert b.hears(1000) > 0.8
        bench.wait(PlayEnded, leg=b.leg.id)
        close(bench.engine, both)


def test_a_recording_across_has_both_sides(tmp_path: Path) -> None:
    with running(legs=6, apart=True) as bench:
        a, b = both = voices(bench, "PCMU", "PCMU")
        bench.engine.connect(a.leg.id, b.leg.id)
        bench.engine.record(b.leg.id, str(tmp_path / "call.wav"), sides="apart")
        settle()
        talk(1.2, both, a.tone(440), b.tone(1000))
        bench.engine.record(b.leg.id, "")
        assert not bench.wait(RecordEnded, leg=b.leg.id).failed
        _, channels, samples = read_wave(tmp_path / "call.wav")
        assert channels == 2
        assert strength(samples[::2][-6000:-1000], 1000, 8000) > 0.8
        assert strength(samples[1::2][-6000:-1000], 440, 8000) > 0.8
        close(bench.engine, both)


def test_digits_are_sent_over_a_pair_across() -> None:
    with running(legs=6, apart=True) as bench:
        a, b = dial(bench, "", "")
        bench.engine.describe(b.leg.id, b.remote(telephone_event=101))
        settle()
        a.send(3)
        assert len(b.receive(3)) == 3
        bench.engine.send_digits(b.leg.id, "7", serial=3)
        frames = [fields(p) for p in b.receive(7)]
        assert {frame[0] for frame in frames} == {101}
        assert [frame[1] for frame in frames] == list(range(1003, 1010))
        assert bench.wait(DigitsSent, leg=b.leg.id).serial == 3
        a.send(3)
        assert [fields(p)[1] for p in b.receive(3)] == [1010, 1011, 1012]
        hang_up(bench, a, b)
