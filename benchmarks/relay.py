"""CPU per relayed packet beside rtpengine, in one run, on the same core, under the same load.

`python -m benchmarks.relay [--seconds 4] [--calls 500] [--datapath auto]`; the last line is one JSON object. The load and the
receiver are on another core. On loopback the sender's CPU also carries the packet into the receiver's socket: for every contender
alike, the figure holds its receive call, its work, its send call and the delivery to the sink, but not the delivery to itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.contenders import HOST, SUITE, Bare, Contender, Ours, Rtpengine
from benchmarks.rtp_load import Load

WARM_UP = 0.5  # seconds
ROUNDS = 8  # the contenders take turns, so that a noisy neighbour disturbs all alike


class Trial:
    """A contender with its calls and its load, ready to run in slices."""

    def __init__(self, contender: Contender, kind: str, calls: int) -> None:
        self.contender, self.kind = contender, kind
        self.load = Load(2 * calls)
        made = [contender.call(kind, self.load.address(0), self.load.address(1)) for _ in range(calls)]
        for call in made:
            self.load.add(0, HOST, call.port_a, call.port_b, SUITE if call.key_a else "", call.key_a, call.salt_a)
        if kind == "rtp":  # of the encrypted kinds only A sends, so that every packet is of the kind
            for call in made:
                self.load.add(1, HOST, call.port_b, call.port_a)
        self.rate = 50.0 * calls * (2 if kind == "rtp" else 1)
        self.cpu = self.wall = 0.0
        self.slices: list[dict[str, Any]] = []

    def slice(self, seconds: float, *, count: bool = True) -> None:
        before, start = self.contender.cpu(), time.monotonic()
        result = self.load.run(seconds, self.rate)
        if count:
            self.cpu += self.contender.cpu() - before
            self.wall += time.monotonic() - start
            self.slices.append(result)

    def row(self) -> dict[str, Any]:
        total = {
            key: sum(r[key] for r in self.slices)
            for key in ("sent", "received", "reordered", "late", "refused", "unknown")
        }
        delays = {
            key: statistics.median(r[key] for r in self.slices) for key in self.slices[0] if key.startswith("delay")
        }
        return {
            "name": self.contender.name,
            "kind": self.kind,
            "rate": self.rate,
            "us_per_packet": 1e6 * self.cpu / max(1, total["received"]),
            "cpu_share": self.cpu / self.wall,
            "lost": total["sent"] - total["received"],
            **total,
            **delays,
        }


def measure(makers: Sequence[Callable[[], Contender]], kind: str, calls: int, seconds: float) -> list[dict[str, Any]]:
    """All contenders under one kind of load, in turns."""
    with contextlib.ExitStack() as stack:
        trials = [Trial(stack.enter_context(make()), kind, calls) for make in makers]
        for trial in trials:
            trial.slice(WARM_UP, count=False)
        for number in range(ROUNDS):
            for trial in trials if number % 2 else reversed(trials):
                trial.slice(seconds / ROUNDS)
        for trial in trials:
            trial.load.close()
        return [trial.row() for trial in trials]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--datapath", default="auto")
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    relay_cpu, load_cpu = cpus[0], cpus[-1]
    os.sched_setaffinity(0, {load_cpu})

    def ours() -> Contender:
        return Ours(options.calls, relay_cpu, options.datapath)

    def bare() -> Contender:
        return Bare(options.calls, relay_cpu, "epoll" if options.datapath == "epoll" else "io_uring")

    def rtpengine() -> Contender:
        return Rtpengine(options.calls, relay_cpu)

    rows = [
        row
        for kind, makers in (("rtp", (ours, rtpengine, bare)), ("srtp", (ours, rtpengine)), ("srtp_srtp", (ours, bare)))
        for row in measure(makers, kind, options.calls, options.seconds)
    ]
    cost = {(row["kind"], row["name"].split()[0]): row["us_per_packet"] for row in rows}
    for row in rows:
        print(f"{row['kind']:10} {row['name']:24} {row['us_per_packet']:6.2f} µs/packet, {row['sent']} sent, {row['lost']} lost, "
              f"delay p50 {row['delay_us_p50']} p99 {row['delay_us_p99']} p99.9 {row['delay_us_p99.9']} µs")  # fmt: skip
    print(
        json.dumps(
            {
                "ratio_rtp_vs_rtpengine": round(cost["rtp", "rtpengine"] / cost["rtp", "switchroom"], 2),
                "ratio_srtp_vs_rtpengine": round(cost["srtp", "rtpengine"] / cost["srtp", "switchroom"], 2),
                "ratio_of_bare_loop": round(cost["rtp", "bare"] / cost["rtp", "switchroom"], 2),
                "ratio_srtp_srtp_of_bare_loop": round(cost["srtp_srtp", "bare"] / cost["srtp_srtp", "switchroom"], 2),
                "calls": options.calls,
                "rows": [{k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in rows],
            }
        )
    )


if __name__ == "__main__":
    main()
