"""CPU per relayed packet beside rtpengine, in one run, on the same core, under the same load.

`python -m benchmarks.relay [--seconds 4] [--calls 500] [--datapath auto]`; the last line is one JSON object. The load and the
receiver are on another core. On loopback the sender's CPU also carries the packet into the receiver's socket: for every contender
alike, the figure holds its receive call, its work, its send call and the delivery to the sink, but not the delivery to itself.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from typing import Any

from benchmarks.contenders import HOST, SUITE, Contender, Ours, Rtpengine
from benchmarks.rtp_load import Load

WARM_UP = 1.0  # seconds


def measure(make: Callable[[], Contender], kind: str, calls: int, seconds: float, cpu: int) -> dict[str, Any]:
    """One contender under one kind of load; for encrypted kinds only A sends, so every packet is of that kind."""
    load = Load(2 * calls)
    with make() as contender:
        made = [contender.call(kind, load.address(0), load.address(1)) for _ in range(calls)]
        for call in made:
            load.add(0, HOST, call.port_a, call.port_b, SUITE if call.key_a else "", call.key_a, call.salt_a)
        if kind == "rtp":
            for call in made:
                load.add(1, HOST, call.port_b, call.port_a)
        rate = 50.0 * calls * (2 if kind == "rtp" else 1)
        load.run(WARM_UP, rate)
        before, wall = contender.cpu(), time.monotonic()
        result: dict[str, Any] = load.run(seconds, rate)
        used, wall = contender.cpu() - before, time.monotonic() - wall
    load.close()
    result |= {
        "name": contender.name,
        "kind": kind,
        "rate": rate,
        "us_per_packet": 1e6 * used / max(1, result["received"]),
    }
    result |= {"lost": result["sent"] - result["received"], "cpu_share": used / wall}
    return result


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

    def rtpengine() -> Contender:
        return Rtpengine(options.calls, relay_cpu)

    rows = [
        measure(make, kind, options.calls, options.seconds, relay_cpu)
        for kind, makers in (("rtp", (ours, rtpengine)), ("srtp", (ours, rtpengine)), ("srtp_srtp", (ours,)))
        for make in makers
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
                "calls": options.calls,
                "rows": [{k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in rows],
            }
        )
    )


if __name__ == "__main__":
    main()
