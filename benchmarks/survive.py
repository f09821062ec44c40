"""Calls over the death of a process: `python -m benchmarks.survive --process core [--calls 200] [--kills 20] [--seconds 30]`, and
`python -m benchmarks.survive --process calls [--calls 100] [--kills 50]`.

The core:
Encrypted calls (half AES_CM_128_HMAC_SHA1_80, half AEAD_AES_128_GCM, both legs encrypted, both directions, 20 ms) run through a
core that the supervisor's own code keeps alive (`appliance.host.process`, with its spare). The core is killed with SIGKILL at random
times. Every sealed packet is examined (`call_load.pyx`): no index twice, authentic, the right content; the sequence numbers begin so
that at every kill some streams are within 100 packets of their wrap, in both directions.

A call is lost when one of its streams does not come again. The gap is the longest time between two packets of one stream around
one kill: 20 ms when nothing happens; `gap_ms_p99_without_kills` is the same measure between the kills, so what the machine does by
itself. Where that is allowed, core and load (of `calls`: the load) run at a higher priority than their neighbours (`--fair`: they do not), so
that the figures are of this software. `restart_ms` is the time from the kill until the new core relays. `--flood` measures instead what a flood on one port costs
the other calls.

Call control: the whole system runs with `--calls` calls at once of all kinds (`benchmarks.telephones`: talked, held, transcoded, echo, TLS and SRTP, and
ringing: answered, given up, refused, unanswered), one after the other, while the process `calls` is killed at random moments.

- `lost`: answered calls that ended by themselves or had no sound, calls that never got a final answer or another one than the phone gave;
- `refused`: calls that did not come about though the phone was there; `holds_refused`: likewise a hold;
- `ghosts`: phones that rang or talked on when the other had hung up, what is left on the system's lists in the end, records missing or doubled;
- `media_gap_ms`: the longest time without a packet in the moments of the kills, beyond the longest in as many moments as long in which nothing
  is killed (`shams`), drawn between them under the same load; both without what the load was late itself. Two groups of moments without any kill
  differ, too: one of their longest gaps is the longer one. So `gap_ms_added` is the difference of the means of the moments, and `gap_by_chance` how
  often moments dealt out at random differ by as much: near 0, the kills did it; near 1/2 or above, they did nothing that can be seen. `starts`
  are as many moments again in which a process only loads what `calls` loads: what the kills add to those is not the processor's.

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from appliance.host.process import Process
from benchmarks.call_load import CallLoad, flood
from benchmarks.contenders import HOST, allow_files, receivers_of, rtp_sockets, runs
from benchmarks.survive_calls import survive_calls
from media_core import CoreStarted, Crypto, Layout, MediaEngine, Remote, create_memory
from media_core.__main__ import VARIABLE

SUITES = (("AES_CM_128_HMAC_SHA1_80", 14), ("AEAD_AES_128_GCM", 12))
PACKETS_PER_SECOND = 50
AROUND = 0.6  # seconds after a kill that count as around it
LOST_AFTER = 500.0  # ms without a packet at the end
FAVOURED = -15  # nice value
STARTING = 20.0  # seconds a core may take


def key(number: int) -> Crypto:
    suite, salt = SUITES[number % len(SUITES)]
    return Crypto(suite, os.urandom(16), os.urandom(salt))


class Kept:
    """A core with its sockets and memory, kept alive by the supervisor's code in a thread of its own."""

    def __init__(self, legs: int, cpu: int, datapath: str, favoured: bool) -> None:
        allow_files(2 * legs + 200)
        self.sockets: list[socket.socket] = rtp_sockets(2 * legs)
        self.raw = receivers_of(self.sockets)
        self.memory = create_memory(Layout(legs=legs, flows=16))
        self.wakes = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
        self.stop, self.stopper = os.pipe()
        self.cpu, self.favoured = cpu, favoured
        self.engine = MediaEngine(self.memory, *self.wakes)
        rtp = [s.fileno() for s in self.sockets]
        boot: dict[str, Any] = {"memory": self.memory, "core_wake": self.wakes[0], "calls_wake": self.wakes[1]}
        boot |= {"stop": self.stop, "sip": [], "tls": None, "rtp": runs(rtp), "datapath": datapath}
        boot["raw"] = [s.fileno() for s in self.raw]
        first, spare = ({**os.environ, VARIABLE: json.dumps(record)} for record in (boot, {**boot, "go": 0}))
        fds = [self.memory, *self.wakes, self.stop, *rtp, *(s.fileno() for s in self.raw)]
        self.process = Process("core", "media_core", first, fds, spare=spare, steady=0.5)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.keep)

    def keep(self) -> None:
        os.sched_setaffinity(0, {self.cpu})
        if self.favoured:
            favour()
        self.loop.run_forever()

    def __enter__(self) -> Self:
        self.thread.start()
        self.loop.call_soon_threadsafe(self.process.start)
        self.loop.call_soon_threadsafe(self.process.stand_by)
        self.wait_started()
        return self

    def __exit__(self, *exc: object) -> None:
        self.loop.call_soon_threadsafe(self.process.stop)
        os.close(self.stopper)
        asyncio.run_coroutine_threadsafe(self.process.ended(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        for s in (*self.sockets, *self.raw):
            s.close()
        for fd in (self.memory, *self.wakes, self.stop):
            os.close(fd)

    def wait_started(self) -> None:
        end = time.monotonic() + STARTING
        while not any(isinstance(event, CoreStarted) for event in self.engine.poll()):
            self.engine.consumed()
            if time.monotonic() > end:
                raise RuntimeError("the core process does not start")
            time.sleep(0.0005)

    def kill(self) -> float:
        """kill -9; ms until the next core relays."""
        self.engine.poll(1 << 20)
        self.engine.consumed()
        begin = time.monotonic()
        os.kill(self.process.pid, signal.SIGKILL)
        self.wait_started()
        return 1000 * (time.monotonic() - begin)

    def call(self, number: int, load: CallLoad, first: Callable[[], int]) -> None:
        """An encrypted call in both directions, all four keys its own."""
        legs = [self.engine.open()]
        legs.append(self.engine.open(beside=legs[0].id))
        keys = [(key(number), key(number)) for _ in legs]  # the phone's, ours
        for side, leg in enumerate(legs):
            host, port = load.address(side)
            theirs, ours = keys[side]
            self.engine.describe(leg.id, Remote(host, port, signalling=HOST, crypto_in=theirs, crypto_out=ours))
        self.engine.connect(legs[0].id, legs[1].id)
        for side in range(2):
            there = 1 - side
            load.add(side, HOST, legs[side].port, legs[there].port, keys[side][0], keys[there][1], first())


def favour() -> bool:
    """Put this thread and what it starts before the neighbours, as far as that is allowed."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), FAVOURED)
    except PermissionError:
        return False
    return True


def centiles(values: list[float]) -> dict[str, float]:
    """p50, p99, max."""
    ordered = statistics.quantiles(values, n=100)
    return {"p50": round(ordered[49], 1), "p99": round(ordered[98], 1), "max": round(max(values), 1)}


def kills(core: Kept, load: CallLoad, count: int, seconds: float, rate: float) -> dict[str, Any]:
    """Run the load and kill the core `count` times."""
    around: list[float] = []
    quiet: list[float] = []
    restarts: list[float] = []
    errors: list[BaseException] = []
    waits = [random.uniform(0.6, 1.4) for _ in range(count)]
    scale = max(0.1, seconds - count * AROUND) / sum(waits)

    def trouble() -> None:
        try:
            time.sleep(1.0)  # until every stream has come
            load.take_gaps()
            for wait in waits:
                time.sleep(wait * scale)
                quiet.extend(gap for gap, _ in load.take_gaps())
                begin = time.monotonic()
                restarts.append(core.kill())
                time.sleep(max(0.0, begin + AROUND - time.monotonic()))
                around.extend(gap for gap, _ in load.take_gaps())
            time.sleep(1.0)
        except BaseException as error:
            errors.append(error)
        finally:
            load.stop()

    thread = threading.Thread(target=trouble)
    thread.start()
    total = load.run(rate)
    since = [ms for _, ms in load.take_gaps()]
    thread.join()
    if errors:
        raise errors[0]
    gone = {stream // 2 for stream, ms in enumerate(since) if ms < 0 or ms > LOST_AFTER}
    gaps, floor = centiles(around), centiles(quiet)
    return {
        "kills": core.engine.counters()["generation"] - 1,
        "lost": len(gone),
        "gap_ms_p99": gaps["p99"],
        "gap_ms_p50": gaps["p50"],
        "gap_ms_max": gaps["max"],
        "gap_ms_p99_without_kills": floor["p99"],
        "restart_ms": centiles(restarts),
        "indices_reused": total["reused"],
        "not_authentic": total["forged"],
        "wrong_content": total["mixed"],
        "streams_wrapped": total["wrapped"],
        "packets_lost_share": round(1 - total["received"] / total["sent"], 6),
        **{name: total[name] for name in ("sent", "received", "reordered", "refused", "unknown")},
    }


def flooded(core: Kept, load: CallLoad, seconds: float, rate: float) -> dict[str, Any]:
    """Loss of the calls without and with a flood on a port of another call."""
    victim = core.engine.open()
    core.engine.describe(victim.id, Remote(HOST, load.address(0)[1], signalling=HOST))
    core.engine.connect(victim.id, victim.id)
    figures: dict[str, Any] = {}
    before = {"sent": 0, "received": 0, "forged": 0, "reused": 0}
    for name in ("quiet", "flooded"):
        poured: list[int] = []

        def pour(name: str = name, poured: list[int] = poured) -> None:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)  # not at the load generator's expense
            if name == "flooded":
                poured.append(flood(HOST, victim.port, seconds))
            else:
                time.sleep(seconds)
            load.stop()

        thread = threading.Thread(target=pour)
        thread.start()
        total = load.run(rate)
        thread.join()
        delta = {field: total[field] - before[field] for field in before}
        before = {field: total[field] for field in before}
        figures[f"lost_share_{name}"] = round(1 - delta["received"] / delta["sent"], 6)
        figures[f"packets_{name}"] = delta["sent"]
        if poured:
            figures["flood_per_second"] = round(poured[0] / seconds)
            figures["not_authentic"], figures["indices_reused"] = delta["forged"], delta["reused"]
    received = core.engine.stats(victim.id).received
    return figures | {"flood_read": received.dropped_source + received.dropped_other + received.packets}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--process", choices=["core", "calls"], default="core")
    parser.add_argument("--calls", type=int, help="at once: 200 for the core, 100 for calls")
    parser.add_argument("--kills", type=int, help="20 for the core, 50 for calls")
    parser.add_argument("--log", default="", help="calls: a file for what the system says meanwhile")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--datapath", default="auto")
    parser.add_argument("--flood", action="store_true", help="flood one port instead of killing")
    parser.add_argument("--fair", action="store_true", help="at the same priority as the neighbours on this machine")
    options = parser.parse_args()
    if options.process == "calls":
        calls = options.calls or 100
        chosen = 50 if options.kills is None else options.kills
        result = survive_calls(calls, chosen, options.log, (lambda: False) if options.fair else favour)
    else:
        calls = options.calls or 200
        result = survive_core(calls, 20 if options.kills is None else options.kills, options)
    for name, value in result.items():
        if name != "reasons":
            print(f"{name:28} {value}")
    for reason, count in result.get("reasons", {}).items():
        print(f"{count:6}  {reason}")
    print(json.dumps({"process": options.process, "calls": calls} | result))


def survive_core(calls: int, count: int, options: argparse.Namespace) -> dict[str, Any]:
    cpus = sorted(os.sched_getaffinity(0))
    load = CallLoad(2 * calls)
    wraps = int(PACKETS_PER_SECOND * options.seconds) + 100
    with Kept(2 * calls + 2, cpus[0], options.datapath, not options.fair) as core:
        for number in range(calls):
            core.call(number, load, lambda: 65536 - random.randrange(1, wraps))
        os.sched_setaffinity(0, {cpus[-1]})
        favoured = not options.fair and favour()
        rate = 2.0 * PACKETS_PER_SECOND * calls
        if options.flood:
            result = flooded(core, load, options.seconds / 2, rate)
        else:
            result = kills(core, load, count, options.seconds, rate)
        datapath = core.engine.datapath()
    load.close()
    return {"datapath": datapath, "favoured": favoured} | result


if __name__ == "__main__":
    main()
