"""The heartbeat of the core: the rule in virtual time, and the beats of a real core that is stopped and goes on."""

from __future__ import annotations

import os
import signal

import pytest

from appliance.host.heartbeat import LIMIT, LOOK_EVERY, Heart, begun
from media_core import CoreView
from tests.media_core.bench import PATIENCE, running, settle

CORE, NEXT = 10, 11


class Box:
    """Looks at a core in virtual time; `stop` says when the core, or the whole machine, stood still."""

    def __init__(self) -> None:
        self.heart = Heart()
        self.now = 1000.0

    def watch(self, seconds: float, beat_at: float | None = None, *, pid: int = CORE, core: int = CORE) -> list[float]:
        """Times of the verdicts; the last beat was at `beat_at`, None: it beats on."""
        verdicts = []
        end = self.now + seconds
        while self.now < end:
            self.now += LOOK_EVERY
            age = 0.1 if beat_at is None else self.now - beat_at
            if self.heart.hangs(self.now, core, (pid, age)):
                verdicts.append(self.now)
        return verdicts


def test_a_core_that_stands_still_is_found_within_half_a_second_of_the_limit_and_once() -> None:
    box = Box()
    assert box.watch(60) == []
    stopped = box.now
    (found,) = box.watch(LIMIT + 1, stopped)
    assert LIMIT < found - stopped <= LIMIT + 2 * LOOK_EVERY


def test_the_next_one_has_its_time() -> None:
    box = Box()
    box.watch(10)
    (found,) = box.watch(LIMIT + 1, box.now)
    assert box.watch(5, found - 3) == [found + LIMIT + LOOK_EVERY, found + 2 * (LIMIT + LOOK_EVERY)]


def test_a_starting_core_does_not_hang() -> None:
    box = Box()
    box.watch(10)
    assert box.watch(60, 900.0, pid=CORE, core=NEXT) == []  # the memory still says what the dead one wrote
    assert not begun(NEXT, (CORE, 60.0))
    for _ in range(100):
        box.now += LOOK_EVERY
        assert not box.heart.hangs(box.now, NEXT, (NEXT, None))  # adopting
    assert not begun(NEXT, (NEXT, None))
    assert begun(NEXT, (NEXT, 0.3))


def test_a_machine_that_stood_still_is_no_hung_core() -> None:
    box = Box()
    box.watch(10)
    stopped = box.now
    box.now += 3600
    assert not box.heart.hangs(box.now, CORE, (CORE, box.now - stopped))  # the supervisor was quicker than the core
    assert box.watch(LIMIT - LOOK_EVERY, stopped) == []
    assert box.watch(60) == []


def test_a_starved_machine_kills_nobody() -> None:
    box = Box()
    box.watch(10)
    stopped = box.now
    for _ in range(20):
        box.now += 1.5
        assert not box.heart.hangs(box.now, CORE, (CORE, box.now - stopped))


@pytest.mark.parametrize("datapath", ["epoll", "auto"])
def test_a_real_core_beats_and_stops_beating(datapath: str) -> None:
    with running(datapath=datapath) as bench:
        assert bench.core is not None
        view = CoreView(bench.memory)

        def age_until(wanted: bool) -> float:
            waited = 0.0
            while True:
                pid, age = view.heartbeat()
                if pid == bench.core.pid and age is not None and (age > 1.0) == wanted:
                    return age
                assert waited < PATIENCE, (pid, age)
                settle(0.05)
                waited += 0.05

        age_until(False)
        os.kill(bench.core.pid, signal.SIGSTOP)
        age_until(True)
        os.kill(bench.core.pid, signal.SIGCONT)
        age_until(False)
        first = bench.core.pid
        bench.kill()
        bench.start()
        assert bench.core.pid != first
        age_until(False)
