"""Nothing grows: ten thousand encrypted calls opened, described, heard and closed leave memory, descriptors and legs as they were."""

from __future__ import annotations

import gc
import os
import signal
import time
from pathlib import Path

import pytest

from media_core import MediaEngine, Remote
from tests.media_core.bench import DATAPATHS, HOST, PATIENCE, Bench, running
from tests.media_core.test_relay_srtp import SecurePhone, dial, hang_up, key

CALLS = 10_000
ROUND = 500  # calls between two that carry packets
WARM_UP = 1_000  # until tables, caches and the allocator have their size
GROWTH = 512 * 1024  # bytes: a leak of 64 in each call would be more
CM, GCM = "AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM"


def private(pid: int) -> int:
    """Bytes this process has asked for. (The proportional size also moves when others that map the same libraries come and go.)"""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


def files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def one_call(engine: MediaEngine, number: int) -> None:
    a = engine.open()
    b = engine.open(beside=a.id)
    keys = [key(CM if number % 2 else GCM) for _ in range(4)]
    for at, leg in enumerate((a, b)):
        theirs, ours = keys[2 * at : 2 * at + 2]
        engine.describe(leg.id, Remote(HOST, 9, signalling=HOST, crypto_in=theirs, crypto_out=ours))
    engine.connect(a.id, b.id, {8: 8}, {8: 8})
    engine.stats(a.id)
    engine.close(b.id)
    engine.close(a.id)


def carried(here: SecurePhone, there: SecurePhone) -> None:
    """Packets pass, as soon as the core has come to the call."""
    end = time.monotonic() + PATIENCE
    while not there.receive(1, 0.05):
        assert time.monotonic() < end, "nothing is heard"
        here.send(1)


def heard(bench: Bench) -> None:
    """A call with packets: the worker has come past every command before its own."""
    pair = dial(bench, CM, GCM)
    for here, there in (pair, pair[::-1]):
        carried(here, there)
    hang_up(bench, *pair)
    bench.poll()
    bench.events.clear()


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_ten_thousand_calls_leave_nothing_behind(datapath: str) -> None:
    with running(legs=16, datapath=datapath) as bench:
        assert bench.core is not None
        core, own = bench.core.pid, os.getpid()
        before = (0, 0, 0, 0, 0)
        for number in range(CALLS + WARM_UP):
            if number == WARM_UP:
                heard(bench)
                gc.collect()
                before = (private(core), files(core), threads(core), private(own), files(own))
            one_call(bench.engine, number)
            if number % ROUND == 0:
                heard(bench)
        heard(bench)
        gc.collect()
        after = (private(core), files(core), threads(core), private(own), files(own))
        assert after[0] - before[0] < GROWTH
        assert after[1:3] == before[1:3]
        assert after[3] - before[3] < 4 * GROWTH  # with pytest's own, and what a sanitizer keeps of what was freed
        assert after[4] == before[4]
        counters = bench.engine.counters()
        assert (counters["legs_free"], counters["legs"], counters["events_lost"]) == (16, 0, 0)
        assert bench.engine.legs() == []


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_commands_that_found_no_room_are_made_up_for(datapath: str) -> None:
    """A core that stands still for long misses commands: it finds by itself what each leg is to be."""
    with running(legs=4, datapath=datapath) as bench:
        assert bench.core is not None
        os.kill(bench.core.pid, signal.SIGSTOP)
        busy = bench.engine.open()
        for number in range(20_000):
            bench.engine.describe(busy.id, Remote(HOST, 9, signalling=HOST, send=number % 2 == 0))
        a, b = dial(bench, CM, GCM)
        os.kill(bench.core.pid, signal.SIGCONT)
        carried(a, b)
        carried(b, a)
        hang_up(bench, a, b)
