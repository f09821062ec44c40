"""The health gate of a start: `switchroom health`. boot-complete.target, and with it the blessing of a new version, needs it.

It passes when every process runs and the admin page is served, a self-test has made its encrypted call with sound both ways, the
databases are whole and no unit has failed. Databases that are being brought up to date may take as long as they need: the gate waits as
long as that goes on (appliance/storage/migration.py). On a version that is on trial a failure is written down with its reason for the version
that will run next.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from appliance import cti
from appliance.box import system
from appliance.host import health
from appliance.softphone.selftest import Report, selftest
from appliance.storage import migration
from appliance.version import VERSION
from appliance.words import Explained, Said, english

PATIENCE = 180.0  # seconds until every process must run; of those in which databases are brought up to date, since the last progress
TESTS, BETWEEN_TESTS = 3, 10.0  # how often the call is tried; seconds
DATABASES = ("config.db", "calls.db")


class Unhealthy(Explained):
    """Why."""


def check(data: Path, say: Callable[[str], None]) -> None:
    """Returns when the box is healthy; Unhealthy otherwise."""
    wait_until_up(data, say)
    say("every process runs")
    _databases(data)
    say("the databases are whole")
    call_is_good(lambda: selftest(data / "run"), say)
    if failed := system.run("systemctl", "list-units", "--failed", "--plain", "--no-legend").split("\n")[0]:
        raise Unhealthy(Said.of("box.unit-failed", unit=failed.split()[0]))


def call_is_good(test: Callable[[], Report], say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep) -> None:
    """Returns after a self-test that passed; Unhealthy when `TESTS` of them have failed. One that fails may only have met the rest of the
    start, and a good version is not left for that."""
    for left in reversed(range(TESTS)):
        report = test()
        for step in report.steps:
            say(f"self-test, {step.name}: {step.message}")
        if report.ok:
            return
        why = Said.of("box.self-test", why=report.problem or report.steps[-1].message)
        if not left:
            raise Unhealthy(why)
        say(f"{english().say(why)} It is tried again in {BETWEEN_TESTS:g} s.")
        sleep(BETWEEN_TESTS)


def write_down(reason: Said) -> None:
    """For the page and the console of the version that runs after us."""
    system.write_trial(system.Trial.of(VERSION, reason, time.time()))


def written_down() -> bool:
    """Whether this start has said why it failed."""
    trial = system.written_trial()
    return trial is not None and trial.version == VERSION and not trial.asked


def wait_until_up(
    data: Path,
    say: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Returns when everything answers; Unhealthy when nothing has moved for `PATIENCE` seconds. systemd, which has a limit of its own
    for our start, is asked to wait along."""
    watch, said = migration.Watch(data, clock()), ""
    while why := missing(data):
        idle = watch.look(clock())
        if idle >= PATIENCE:
            raise Unhealthy(why)
        if watch.report is not None:
            health.keep_waiting()
            if (what := f"{watch.report.database}: {watch.report.what}") != said:
                said = what
                say(english().say(watch.report.words(time.time())))
        sleep(1)


def missing(data: Path) -> Said | None:
    """What does not answer yet; None when everything does."""
    try:
        with cti.Client(str(data / "run/supervisor.sock")) as client:
            status = client.ask(cti.GetStatus())
    except (cti.Unavailable, OSError):
        return Said("box.supervisor-silent")
    if not isinstance(status, cti.Status):
        return Said("box.supervisor-vague")
    waiting = [process.name for process in status.processes if process.state != "running"]
    if waiting:
        return Said.of("box.not-running", processes=", ".join(waiting))
    page = urlsplit(status.addresses["admin"])
    answer = asyncio.run(health.web_status(page.hostname or "", page.port or 0))
    return None if answer == 200 else Said.of("box.page-silent", answer=answer or "–")


def _databases(data: Path) -> None:
    for name in DATABASES:
        try:
            with sqlite3.connect(f"file:{data / name}?mode=ro", uri=True) as db:
                said = db.execute("PRAGMA quick_check").fetchone()[0]
        except sqlite3.Error as error:
            raise Unhealthy(Said.of("box.file-unreadable", file=name, error=str(error))) from None
        if said != "ok":
            raise Unhealthy(Said.of("box.file-damaged", file=name, error=str(said)))
