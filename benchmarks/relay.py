"""CPU per relayed packet beside rtpengine, in one run, on the same core, under the same load.

`python -m benchmarks.relay [--seconds 4] [--calls 500] [--datapath auto]`; the last line is one JSON object. The load and the
receiver are on another core. On loopback the sender's CPU also carries the packet into the receiver's socket: for every contender
alike, the figure holds its receive call, its work, its send call and the delivery to the sink, but not the delivery to itself.

Calls are whole: both sides send. srtp: A speaks RTP, B SRTP, so half of the packets are sealed and half opened; srtp_srtp: both SRTP.

For all contenders alike: what is measured and the load run at real-time priority where that is allowed (`--fair`: not), so that
neighbours count as little as possible; and a loop of idle priority keeps the relay's core awake, so that the work is counted and not
the waking of a halted processor, which in a virtual machine costs more than the work.

The curve: the same relay at 100, 1,000 and 5,000 calls, each offered 10 to 100 % of the peak, which is what one core carries when it is
offered more. `growth` is the cost of a packet at 5,000 calls over that at 100, the mean of the loads from 50 % on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.contenders import HOST, PHONES, Bare, Contender, Ours, Rtpengine, most_calls
from benchmarks.rtp_load import Load
from media_core import Crypto

WARM_UP = 0.5  # seconds
SETTLED = 1.5  # after thousands of calls at once, of which the core finds some by itself, once a second
ROUNDS = 8  # the contenders take turns, so that a noisy neighbour disturbs all alike
PRESSED_ROUNDS = 4
CURVE_CALLS = (100, 1000, 5000)
CURVE_LOADS = (10, 25, 50, 75, 100)  # % of the peak


def sending(crypto: Crypto | None) -> tuple[str, bytes, bytes]:
    return (crypto.suite, crypto.key, crypto.salt) if crypto else ("", b"", b"")


class Trial:
    """A contender with its calls and its load, ready to run in slices."""

    def __init__(self, contender: Contender, kind: str, calls: int) -> None:
        self.contender, self.kind = contender, kind
        self.load = Load(2 * calls, PHONES)
        made = [contender.call(kind, self.load.address(0), self.load.address(1)) for _ in range(calls)]
        for call in made:
            self.load.add(0, HOST, call.port_a, call.port_b, *sending(call.crypto_a))
        for call in made:
            self.load.add(1, HOST, call.port_b, call.port_a, *sending(call.crypto_b))
        self.rate = 50.0 * self.load.count
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


def measure(
    makers: Sequence[Callable[[int], Contender]], kind: str, calls: int, seconds: float, quiet: bool
) -> list[dict[str, Any]]:
    """All contenders under one kind of load, in turns."""
    with contextlib.ExitStack() as stack:
        trials = [Trial(stack.enter_context(make(calls)), kind, calls) for make in makers]
        for trial in trials:
            if quiet:
                real_time(trial.contender.process.pid)
            trial.slice(WARM_UP, count=False)
        for number in range(ROUNDS):
            for trial in trials if number % 2 else reversed(trials):
                trial.slice(seconds / ROUNDS)
        for trial in trials:
            trial.load.close()
        return [trial.row() for trial in trials]


def busy(cpu: int, policy: str) -> subprocess.Popen[bytes]:
    """A loop on one core, at an ordinary (other) or idle priority."""
    words = ["chrt", f"--{policy}", "0", "taskset", "-c", str(cpu), sys.executable, "-c", "while True: pass"]
    return subprocess.Popen(words)


@contextlib.contextmanager
def shared(cpu: int, policy: str) -> Iterator[None]:
    """The core is shared with such a loop."""
    with busy(cpu, policy) as loop:
        try:
            yield
        finally:
            loop.kill()


def curve(make: Callable[[int], Contender], peak: float, seconds: float, quiet: bool) -> list[dict[str, Any]]:
    """One row per number of calls and load."""
    rows = []
    for calls in (min(calls, most_calls()) for calls in CURVE_CALLS):
        with make(calls) as contender:
            trial = Trial(contender, "rtp", calls)
            if quiet:
                real_time(contender.process.pid)
            trial.rate = peak / 2
            trial.slice(SETTLED, count=False)
            for load in CURVE_LOADS:
                trial.rate = peak * load / 100
                trial.cpu = trial.wall = 0.0
                trial.slices = []
                trial.slice(seconds)
                rows.append({"calls": calls, "load": load, **trial.row()})
            trial.load.close()
    return rows


def growth(rows: list[dict[str, Any]]) -> float:
    """Cost of a packet with the most calls over that with the fewest."""
    cost: dict[tuple[int, int], float] = {(row["calls"], row["load"]): row["us_per_packet"] for row in rows}
    most, fewest = rows[-1]["calls"], rows[0]["calls"]
    return statistics.fmean(cost[most, load] / cost[fewest, load] for load in CURVE_LOADS if load >= 50)


def real_time(process: int) -> bool:
    """Keep neighbours away from a process while it is measured, as far as that is allowed."""
    try:
        for thread in os.listdir(f"/proc/{process}/task"):
            os.sched_setscheduler(int(thread), os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(5))
    except PermissionError:
        return False
    return True


def overload(make: Callable[[int], Contender], calls: int, seconds: float, cpu: int) -> dict[str, Any]:
    """Throughput when twice the peak is offered, as a share of the peak; both per second of CPU that the relay got.

    The relay shares its core with a busy loop, so that one core is enough to offer it twice what it can carry. The two loads take
    turns. Per second of CPU, because a relay that works on packets it then drops shows in that, and a neighbour does not.
    """
    with make(calls) as contender, shared(cpu, "other"):
        trial = Trial(contender, "rtp", calls)
        peak, rate = 0.0, 50_000.0
        while rate < 2 * max(peak, 50_000):
            result = trial.load.run(seconds / 4, rate)
            peak = max(peak, result["received"] / result["seconds"])
            rate *= 1.4
        cpu_seconds, carried, offered = {1: 0.0, 2: 0.0}, {1: 0, 2: 0}, {1: 0, 2: 0}
        for number in range(PRESSED_ROUNDS):
            factor = 1 + number % 2
            before = contender.cpu()
            result = trial.load.run(seconds / PRESSED_ROUNDS, factor * peak)
            cpu_seconds[factor] += contender.cpu() - before
            carried[factor] += result["received"]
            offered[factor] += result["sent"]
        trial.load.close()
    once, twice = (carried[factor] / cpu_seconds[factor] for factor in (1, 2))
    figures = {"peak": peak, "per_cpu_second": once, "per_cpu_second_at_twice": twice, "kept": twice / once}
    return figures | {"offered_at_twice": offered[2], "carried_at_twice": carried[2]}


def rounded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--datapath", default="auto")
    parser.add_argument("--fair", action="store_true", help="at the same priority as the neighbours on this machine")
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    relay_cpu, load_cpu = cpus[0], cpus[-1]
    os.sched_setaffinity(0, {load_cpu})
    quiet = not options.fair and real_time(os.getpid())

    def ours(calls: int) -> Contender:
        return Ours(calls, relay_cpu, datapath=options.datapath)

    def bare(calls: int) -> Contender:
        return Bare(calls, relay_cpu, "epoll" if options.datapath == "epoll" else "io_uring")

    def rtpengine(calls: int) -> Contender:
        return Rtpengine(calls, relay_cpu)

    kinds = (("rtp", (ours, rtpengine, bare)), ("srtp", (ours, rtpengine)), ("srtp_srtp", (ours, bare)))
    with shared(relay_cpu, "idle"):
        rows = [
            row for kind, makers in kinds for row in measure(makers, kind, options.calls, 0.75 * options.seconds, quiet)
        ]
    cost = {(row["kind"], row["name"].split()[0]): row["us_per_packet"] for row in rows}
    for row in rows:
        print(f"{row['kind']:10} {row['name']:24} {row['us_per_packet']:6.2f} µs/packet, {row['sent']} sent, {row['lost']} lost, "
              f"delay p50 {row['delay_us_p50']} p99 {row['delay_us_p99']} p99.9 {row['delay_us_p99.9']} µs")  # fmt: skip
    if quiet:  # at real-time priority an overloaded sender would lock out the kernel threads that deliver its packets
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    pressed = overload(ours, options.calls, options.seconds / 2, relay_cpu)
    once, twice = pressed["per_cpu_second"], pressed["per_cpu_second_at_twice"]
    print(f"overload: {once:.0f} packets per CPU second, {twice:.0f} when twice the peak is offered")
    quiet = quiet and real_time(os.getpid())
    with shared(relay_cpu, "idle"):
        points = curve(ours, once, max(0.25, options.seconds / 20), quiet)
    for row in points:
        print(f"{row['calls']:5} calls, {row['load']:3} % load {row['us_per_packet']:6.2f} µs/packet, CPU {100 * row['cpu_share']:3.0f} %, "
              f"{row['lost']} of {row['sent']} lost, delay p50 {row['delay_us_p50']} p99 {row['delay_us_p99']} p99.9 {row['delay_us_p99.9']} µs")  # fmt: skip
    print(
        json.dumps(
            {
                "ratio_rtp_vs_rtpengine": round(cost["rtp", "rtpengine"] / cost["rtp", "switchroom"], 2),
                "ratio_srtp_vs_rtpengine": round(cost["srtp", "rtpengine"] / cost["srtp", "switchroom"], 2),
                "ratio_of_bare_loop": round(cost["rtp", "bare"] / cost["rtp", "switchroom"], 2),
                "ratio_srtp_srtp_of_bare_loop": round(cost["srtp_srtp", "bare"] / cost["srtp_srtp", "switchroom"], 2),
                "overload_kept": round(pressed["kept"], 3),
                "growth": round(growth(points), 2),
                "overload": {key: round(value, 3) for key, value in pressed.items()},
                "calls": options.calls,
                "real_time": quiet,
                "rows": rounded(rows),
                "curve": rounded(points),
            }
        )
    )


if __name__ == "__main__":
    main()
