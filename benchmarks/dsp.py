"""What sound costs: python -m benchmarks.dsp [--seconds N] [--calls N] [--party N].

Calls between G.711 and Opus, between G.711 and G.722, and a conference of G.711 phones of whom three speak, each through a real core
process on one CPU; the phones are on another. Every phone of a call speaks speech-like sound all the time, both ways, 20 ms packets.
Counted is the CPU time of the whole core process: receiving, jitter buffer, decoding, resampling, encoding, sending. Calls per core
is what one CPU would carry at that cost, and is derived, not filled up; nothing may have been lost or left out at the load measured.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.contenders import HOST, Ours
from benchmarks.speech import speech
from media_core import Codec, Leg, Remote
from media_core.sound.codec import CLOCKS, Coder

PAYLOAD_TYPES = {"PCMU": 0, "PCMA": 8, "G722": 9, "opus": 111}
SOUND = 4.0  # seconds, then it begins again
WARM_UP = 1.0


def payloads(codec: str) -> list[bytes]:
    """20 ms packets of speech in this codec."""
    coder = Coder(codec)
    samples = speech(SOUND, coder.rate)
    piece = coder.rate // 50
    return [coder.encode(samples[at : at + piece]) for at in range(0, len(samples), piece)]


@dataclass
class Talker:
    leg: Leg
    codec: str
    sound: list[bytes]
    number: int
    step: int = 0
    clock: int = field(init=False)

    def __post_init__(self) -> None:
        self.clock = CLOCKS[self.codec] // 50
        self.head = struct.pack("!BB", 0x80, PAYLOAD_TYPES[self.codec])

    def packet(self) -> bytes:
        self.step += 1
        numbers = struct.pack("!HII", self.step & 0xFFFF, self.step * self.clock & 0xFFFFFFFF, 0x1000 + self.number)
        return self.head + numbers + self.sound[(self.step + 37 * self.number) % len(self.sound)]


class Phones:
    """All phones on one socket; their packets are spread evenly over 20 ms."""

    def __init__(self, core: Ours) -> None:
        self.core = core
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.bind((HOST, 0))
        self.sounds = {codec: payloads(codec) for codec in PAYLOAD_TYPES}
        self.talkers: list[Talker] = []

    def leg(self, codec: str, beside: Leg | None, *, talks: bool = True) -> Leg:
        leg = self.core.engine.open(beside=beside.id if beside else None)
        agreed = (Codec(codec, PAYLOAD_TYPES[codec]),)
        address, port = self.socket.getsockname()
        remote = Remote(address, port, signalling=HOST, codecs=agreed)
        self.core.engine.describe(leg.id, remote)
        if talks:
            self.talkers.append(Talker(leg, codec, self.sounds[codec], len(self.talkers)))
        return leg

    def talk(self, seconds: float) -> int:
        """Everyone speaks; how many packets came back."""
        buffer = bytearray(2048)
        heard, begin = 0, time.monotonic()
        count = len(self.talkers)
        for step in range(int(seconds * 50)):
            for at, talker in enumerate(self.talkers):
                due = begin + (step + at / count) * 0.02
                while (now := time.monotonic()) < due:
                    try:
                        while self.socket.recv_into(buffer):
                            heard += 1
                    except BlockingIOError:
                        time.sleep(min(0.0005, max(0.0, due - now)))
                self.socket.sendto(talker.packet(), (HOST, talker.leg.port))
        return heard


def measure(phones: Phones, seconds: float) -> dict[str, float]:
    """CPU seconds per second of the core while everyone speaks, and what went wrong."""
    core = phones.core
    phones.talk(WARM_UP)
    before, counters, start = core.cpu(), core.engine.counters(), time.monotonic()
    dsp = thread_seconds(core.process.pid, "dsp-")
    heard = phones.talk(seconds)
    spent = time.monotonic() - start
    after = core.engine.counters()
    wrong = {name: after[name] - counters[name] for name in ("dsp_lost", "dsp_skipped")}
    return {
        "share": (core.cpu() - before) / spent,
        "dsp_share": (thread_seconds(core.process.pid, "dsp-") - dsp) / spent,
        "heard_per_second": heard / spent,
        **wrong,
    }


def thread_seconds(process: int, name: str) -> float:
    """CPU seconds of the threads whose name begins so."""
    total = 0.0
    for thread in os.listdir(f"/proc/{process}/task"):
        with open(f"/proc/{process}/task/{thread}/comm") as file:
            wanted = file.read().startswith(name)
        if wanted:
            with open(f"/proc/{process}/task/{thread}/schedstat") as file:
                total += int(file.read().split()[0]) / 1e9
    return total


def calls(cpu: int, one: str, other: str, count: int, seconds: float) -> dict[str, float]:
    with Ours(count, cpu) as core:
        phones = Phones(core)
        for _ in range(count):
            a = phones.leg(one, None)
            b = phones.leg(other, a)
            core.engine.connect(a.id, b.id)
        result = measure(phones, seconds)
        phones.socket.close()
    return {**result, "calls": count, "calls_per_core": count / result["share"]}


def conference(cpu: int, party: Sequence[str], speakers: int, seconds: float) -> dict[str, float]:
    """Everybody sends; who does not speak sends silence, as phones without silence suppression do."""
    with Ours((len(party) + 1) // 2, cpu) as core:
        phones = Phones(core)
        first: Leg | None = None
        for number, codec in enumerate(party):
            leg = phones.leg(codec, first)
            first = first or leg
            if number >= speakers:
                coder = Coder(codec)
                phones.talkers[-1].sound = [coder.encode([0] * (coder.rate // 50))]
            core.engine.mix(leg.id, 1)
        result = measure(phones, seconds)
        phones.socket.close()
    return {**result, "party": len(party), "speakers": speakers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="per figure")
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("--party", type=int, default=100)
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[-1]})
    opus = calls(cpus[0], "PCMA", "opus", options.calls, options.seconds)
    g722 = calls(cpus[0], "PCMA", "G722", options.calls, options.seconds)
    room = conference(cpus[0], ["PCMA"] * options.party, 3, options.seconds)
    mixed = conference(cpus[0], (["PCMA", "G722", "opus", "PCMU"] * options.party)[: options.party], 3, options.seconds)
    for name, row in (("G.711-Opus", opus), ("G.711-G.722", g722)):
        print(f"{name:12} {row['calls']} calls: {100 * row['share']:.1f} % of a core ({100 * row['dsp_share']:.1f} % DSP), "
              f"{row['calls_per_core']:.0f} calls per core")  # fmt: skip
    for name, row in (("G.711", room), ("all codecs", mixed)):
        print(
            f"conference of {row['party']}, {name}: {100 * row['share']:.1f} % of a core ({100 * row['dsp_share']:.1f} % DSP)"
        )
    result = {
        "calls_per_core_g711_opus": round(opus["calls_per_core"]),
        "calls_per_core_g711_g722": round(g722["calls_per_core"]),
        "conference_100_core_share": round(room["share"], 4) if options.party == 100 else None,
        "rows": {
            name: {key: round(value, 4) for key, value in row.items()}
            for name, row in (
                ("g711_opus", opus),
                ("g711_g722", g722),
                ("conference", room),
                ("conference_mixed", mixed),
            )
        },
        "conditions": {
            "counted": "CPU time of the whole core process, both directions, speech-like sound, 20 ms packets, plain RTP on loopback",
            "opus": "16 kHz mono, 24 kbit/s, complexity 5, no FEC",
            "seconds": options.seconds,
            "cpus": len(cpus),
            "machine": platform.machine(),
            "python": platform.python_version(),
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
