"""CPU per packet of calls whose legs are on two workers, beside calls on one worker: `python -m benchmarks.pairs [--seconds 12] [--calls 500]`.

Same load and same rules as benchmarks.relay; the contenders take turns in one run. One worker is the media core as it is measured there.
Two workers share one processor core first, so that what is compared is the work, with both of its wake-ups and the way over the ring;
then each has a processor core of its own, the second together with the load, so that the packets cross between caches too. `ratio_*` is
a call across over one worker's, of CPU per packet; the last line is one JSON object. Status 1: a ratio is above LIMIT.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import partial

from benchmarks.contenders import Contender, Ours
from benchmarks.relay import measure, real_time, rounded, shared

KINDS = ("rtp", "srtp_srtp")
LIMIT = 1.5
ONE, BESIDE, ACROSS, SPREAD = (
    "one worker",
    "two workers, beside",
    "two workers, across",
    "two workers, across, two cores",
)


class Named(Ours):
    """Ours under the name of how its calls are laid."""

    def __init__(self, name: str, calls: int, *cpus: int, datapath: str, workers: int = 2, apart: bool = False) -> None:
        super().__init__(calls, *cpus, datapath=datapath, workers=workers, apart=apart)
        self.name = f"{name} ({self.engine.datapath().split()[0]})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--datapath", default="auto")
    parser.add_argument("--fair", action="store_true", help="at the same priority as the neighbours on this machine")
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        parser.error("two processor cores are needed: one for the load")
    relay_cpu, load_cpu = cpus[0], cpus[-1]
    os.sched_setaffinity(0, {load_cpu})
    quiet = not options.fair and real_time(os.getpid())

    def core(name: str, calls: int, *, spread: bool = False, workers: int = 2, apart: bool = False) -> Contender:
        where = (relay_cpu, load_cpu) if spread else (relay_cpu,)
        return Named(name, calls, *where, datapath=options.datapath, workers=workers, apart=apart)

    makers: list[Callable[[int], Contender]] = [
        partial(core, ONE, workers=1),
        partial(core, BESIDE),
        partial(core, ACROSS, apart=True),
        partial(core, SPREAD, apart=True, spread=True),
    ]
    with shared(relay_cpu, "idle"):
        rows = [row for kind in KINDS for row in measure(makers, kind, options.calls, options.seconds, quiet)]
    cost = {(row["kind"], row["name"].partition(" (")[0]): row["us_per_packet"] for row in rows}
    for row in rows:
        print(f"{row['kind']:10} {row['name']:44} {row['us_per_packet']:6.2f} µs/packet, {row['sent']} sent, {row['lost']} lost, "
              f"delay p50 {row['delay_us_p50']} p99 {row['delay_us_p99']} p99.9 {row['delay_us_p99.9']} µs")  # fmt: skip
    ratios = {
        f"ratio_{kind}_{label}": round(cost[kind, name] / cost[kind, ONE], 2)
        for kind in KINDS
        for label, name in (("beside", BESIDE), ("across", ACROSS), ("across_two_cores", SPREAD))
    }
    print(json.dumps({**ratios, "calls": options.calls, "real_time": quiet, "rows": rounded(rows)}))
    return 1 if max(ratios.values()) > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
