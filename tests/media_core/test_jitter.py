"""The jitter buffer in virtual time: order, loss, jitter, drift, talk-spurts, hostile packets."""

from __future__ import annotations

import random
import struct

from media_core.sound.jitter import Buffer


def packet(number: int, *, ssrc: int = 1, timestamp: int | None = None, payload: bytes = b"x") -> bytes:
    clock = number * 160 if timestamp is None else timestamp
    return struct.pack("!BBHII", 0x80, 8, number & 0xFFFF, clock & 0xFFFFFFFF, ssrc) + payload


def play(
    arrivals: list[tuple[float, bytes]], until: float, *, phase: float = 3.0, skips: bool = False
) -> list[tuple[str, int | None, float]]:
    """Take every 20 ms what is due; kind, sequence number and excess delay of each."""
    buffer, out = Buffer(8000), []
    waiting = sorted(arrivals, key=lambda pair: pair[0])
    now = phase
    while now < until:
        while waiting and waiting[0][0] <= now:
            buffer.put(waiting[0][1], waiting.pop(0)[0])
        excess = buffer.excess(now)
        if skips and excess > 30:
            buffer.skip()
        kind, slot = buffer.take(now)
        out.append((kind, slot[0] if slot else None, excess))
        now += 20
    return out


def kinds(played: list[tuple[str, int | None, float]], kind: str) -> int:
    return sum(1 for found, _, _ in played if found == kind)


def test_an_even_stream_is_played_whole_and_in_order() -> None:
    played = play([(20.0 * n, packet(n)) for n in range(200)], 4400)
    assert [number for kind, number, _ in played if kind == "packet"] == list(range(200))
    begun = next(at for at, item in enumerate(played) if item[0] == "packet")
    assert begun <= 4
    assert [kind for kind, _, _ in played[begun : begun + 200]] == ["packet"] * 200
    assert played[-1][0] == "idle"


def test_numbers_and_timestamps_wrap() -> None:
    first = 65500
    arrivals = [(20.0 * n, packet(first + n, timestamp=2**32 - 5000 + 160 * n)) for n in range(300)]
    played = play(arrivals, 6200)
    assert [number for kind, number, _ in played if kind == "packet"] == [(first + n) & 0xFFFF for n in range(300)]


def test_reordered_and_doubled_packets_are_put_in_order() -> None:
    arrivals = []
    for n in range(200):
        late = 25 if n % 10 == 5 else 0
        arrivals += [(20.0 * n + late, packet(n)), (20.0 * n + late + 1, packet(n))]
    played = play(arrivals, 4500)
    assert [number for kind, number, _ in played if kind == "packet"] == list(range(200))


def test_lost_packets_are_told_with_the_one_behind_them() -> None:
    arrivals = [(20.0 * n, packet(n)) for n in range(100) if n not in (30, 60, 61)]
    played = play(arrivals, 2400)
    lost = [item for item in played if item[0] == "lost"]
    assert [number for _, number, _ in lost] == [31, None, 62]
    assert [number for kind, number, _ in played if kind == "packet"] == [
        n for n in range(100) if n not in (30, 60, 61)
    ]


def test_the_delay_follows_the_jitter_up_and_down() -> None:
    chance = random.Random(4)
    buffer = Buffer(8000)
    targets = []
    for n in range(3000):
        spread = 80 if 500 <= n < 1500 else 4
        buffer.put(packet(n), 20 * n + chance.uniform(0, spread))
        buffer.take(20 * n + 60)
        targets.append(buffer.target)
    assert targets[499] <= 15
    assert 60 <= targets[1499] <= 90
    assert targets[2999] <= 15


def test_jitter_costs_few_packets_once_it_is_known() -> None:
    chance = random.Random(5)
    arrivals = [(20 * n + min(chance.expovariate(1 / 15), 120), packet(n)) for n in range(2000)]
    played = play(arrivals, 40400)[250:2000]
    assert kinds(played, "packet") > 0.95 * len(played)
    assert kinds(played, "idle") == 0


def test_loss_and_jitter_together() -> None:
    chance = random.Random(6)
    arrivals = [(20 * n + chance.uniform(0, 40), packet(n)) for n in range(1500) if chance.random() > 0.05]
    played = play(arrivals, 30200)
    numbers = [number for kind, number, _ in played if kind == "packet" and number is not None]
    assert numbers == sorted(numbers)
    assert len(numbers) > 0.97 * len(arrivals)


def test_excess_delay_is_seen_and_given_back() -> None:
    """A second without packets, then all at once: the delay is far above what is aimed at until it is skipped."""
    buffer = Buffer(8000)
    for n in range(100):
        buffer.put(packet(n), 20 * n)
        buffer.take(20 * n + 45)
    for n in range(100, 130):
        buffer.put(packet(n), 2600)
    assert buffer.excess(2640) > 300
    skipped = 0
    while buffer.excess(2640) > 25:
        buffer.skip()
        skipped += 1
    assert 10 <= skipped <= 30
    assert buffer.take(2640)[0] == "packet"


def test_a_clock_that_runs_fast_or_slow_does_not_pile_up() -> None:
    for step in (19.98, 20.02):
        arrivals = [(step * n, packet(n)) for n in range(5000)]
        played = play(arrivals, step * 5000, skips=True)
        assert max(excess for _, _, excess in played[200:]) < 60
        assert kinds(played[200:], "packet") > 0.99 * len(played[200:])


def test_a_new_talk_spurt_begins_anew() -> None:
    arrivals = [(20.0 * n, packet(n)) for n in range(50)]
    arrivals += [(5000 + 20.0 * n, packet(50 + n, timestamp=5000 * 8 + 160 * n)) for n in range(50)]
    played = play(arrivals, 6400)
    assert [number for kind, number, _ in played if kind == "packet"] == list(range(100))
    assert kinds(played, "lost") == 0


def test_another_source_takes_over() -> None:
    arrivals = [(20.0 * n, packet(n)) for n in range(50)]
    arrivals += [(1000 + 20.0 * n, packet(30000 + n, ssrc=2, timestamp=77 + 160 * n)) for n in range(50)]
    played = play(arrivals, 2400)
    numbers = [number for kind, number, _ in played if kind == "packet"]
    assert numbers[-50:] == list(range(30000, 30050))


def test_any_octets_do_no_harm() -> None:
    chance = random.Random(7)
    buffer = Buffer(48000)
    for at in range(5000):
        data = bytearray(chance.randbytes(chance.randrange(0, 900)))
        if data:
            data[0] = 0x80 | data[0] & 0x3F
        buffer.put(bytes(data), at, bool(at & 1))
        _, slot = buffer.take(at)
        assert slot is None or len(slot[1]) <= 640
    assert buffer.counts["waiting"] <= 64
