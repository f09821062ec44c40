"""Calls over the death of a process: `python -m benchmarks.survive --process core [--calls 200] [--kills 20]`.

Encrypted calls run; the core is killed with SIGKILL at random times and the spare that stands by takes the same memory and sockets
over. A call is lost when one of its streams does not come again; the gap is the longest time between two packets of a stream
around one kill (20 ms when nothing happens). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import threading
import time

from benchmarks.contenders import HOST, SUITE, Ours
from benchmarks.rtp_load import Load

SECONDS_PER_KILL = 1.0
SPARE_READY = 0.5  # seconds a spare has for its start, before the measurement goes on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--process", choices=["core"], default="core")
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[-1]})
    gaps: list[float] = []
    lost: set[int] = set()
    load = Load(options.calls)
    with Ours(options.calls, cpus[0]) as core:
        for _ in range(options.calls):
            call = core.call("srtp_srtp", load.address(0), load.address(1))
            load.add(0, HOST, call.port_a, call.port_b, SUITE, call.key_a, call.salt_a)
        rate = 50.0 * options.calls
        load.run(SECONDS_PER_KILL, rate)
        quiet = statistics.quantiles([gap for gap, _ in load.gaps()], n=100)
        for _ in range(options.kills):
            core.stand_by()
            time.sleep(SPARE_READY)
            killer = threading.Timer(random.uniform(0.2, SECONDS_PER_KILL / 2), core.restart)
            killer.start()
            load.run(SECONDS_PER_KILL, rate)
            for number, (gap, since) in enumerate(load.gaps()):
                gaps.append(gap)
                if since < 0 or since > 500:
                    lost.add(number)
            killer.join()
        generation = core.engine.counters()["generation"]
        drops = sum(core.engine.stats(leg).received.dropped_auth for leg in core.engine.legs())
    load.close()
    centiles = statistics.quantiles(gaps, n=100)
    print(
        f"{options.calls} calls, {generation - 1} kills: {len(lost)} lost, gap p50 {centiles[49]:.0f} ms, p99 {centiles[98]:.0f} ms"
    )
    result = {"process": options.process, "calls": options.calls, "kills": generation - 1, "lost": len(lost)}
    result |= {
        "gap_ms_p50": round(centiles[49], 1),
        "gap_ms_p99": round(centiles[98], 1),
        "gap_ms_max": round(max(gaps), 1),
    }
    print(json.dumps(result | {"gap_ms_p99_without_kills": round(quiet[98], 1), "dropped_auth": drops}))


if __name__ == "__main__":
    main()
