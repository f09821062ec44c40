"""The health gate of a start: `switchroom health`. boot-complete.target, and with it the blessing of a new version, needs it.

It passes when every process runs, the self-test has made its encrypted call with sound both ways, the databases are whole and no unit
has failed. On a version that is on trial a failure is written down with its reason for the version that will run next.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from appliance import cti
from appliance.box import system
from appliance.selftest import selftest
from appliance.version import VERSION

PATIENCE = 180.0  # seconds until every process must run
DATABASES = ("config.db", "calls.db")


class Unhealthy(Exception):
    """Why, in a sentence."""


def check(data: Path, say: Callable[[str], None]) -> None:
    """Returns when the box is healthy; Unhealthy otherwise."""
    _running(data)
    say("every process runs")
    _databases(data)
    say("the databases are whole")
    report = selftest(data / "run")
    for step in report.steps:
        say(f"self-test, {step.name}: {step.message}")
    if not report.ok:
        raise Unhealthy(f"The self-test failed: {report.problem or report.steps[-1].message}")
    if failed := system.run("systemctl", "list-units", "--failed", "--plain", "--no-legend").split("\n")[0]:
        raise Unhealthy(f"A unit has failed: {failed.split()[0]}")


def write_down(reason: str) -> None:
    """For the page and the console of the version that runs after us."""
    trial = system.Trial(VERSION, reason, time.time())
    system.write_whole(system.TRIAL_FILE, msgspec.json.encode(trial))


def _running(data: Path) -> None:
    until = time.monotonic() + PATIENCE
    why = "The supervisor does not answer."
    while time.monotonic() < until:
        try:
            with cti.Client(str(data / "run/supervisor.sock")) as client:
                status = client.ask(cti.GetStatus())
            if isinstance(status, cti.Status):
                waiting = [process.name for process in status.processes if process.state != "running"]
                if not waiting:
                    return
                why = f"Not running: {', '.join(waiting)}."
        except (cti.Unavailable, OSError):
            pass
        time.sleep(1)
    raise Unhealthy(why)


def _databases(data: Path) -> None:
    for name in DATABASES:
        try:
            with sqlite3.connect(f"file:{data / name}?mode=ro", uri=True) as db:
                said = db.execute("PRAGMA quick_check").fetchone()[0]
        except sqlite3.Error as error:
            raise Unhealthy(f"{name} cannot be read: {error}.") from None
        if said != "ok":
            raise Unhealthy(f"{name} is damaged: {said}.")
