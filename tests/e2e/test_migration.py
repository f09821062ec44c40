"""A new version whose change of the call records takes longer than any start may: it is waited for, and everybody can see why."""

from __future__ import annotations

import contextlib
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.storage import migration
from tests.e2e.running import ROOT, System, wait_until

pytestmark = pytest.mark.timeout(120)

# In every process of the "new version": a change of the call records that goes on until the test lets it end.
SLOW = """
import pathlib, time
from appliance.calls.history import records

@records.calls_migrations()
def slow(db):
    while not pathlib.Path({go!r}).exists():
        db.execute("with recursive c(n) as (select 1 union all select n + 1 from c where n < 20000) select max(n) from c").fetchone()
        time.sleep(0.02)
    db["slow"].insert({{"id": 1}})
"""
# The supervisor of the new version: less patient than the real one, so that the test need not wait as long.
LAUNCH = """
import sys
from appliance.host import process
from appliance.host import supervisor
process.OWN["PYTHONPATH"] = {paths!r}
supervisor.START_LIMIT = 8.0
from appliance.__main__ import main
main()
"""


class NewVersion(System):
    def __init__(self, data: Path, folder: Path) -> None:
        super().__init__(data)
        self.go = folder / "go"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(SLOW.format(go=str(self.go)))
        launch = LAUNCH.format(paths=f"{folder}:{ROOT}")
        self.command = lambda *words: [sys.executable, "-c", launch, *words]  # type: ignore[method-assign]

    def page(self) -> tuple[int, str]:
        context = ssl.create_default_context(cafile=str(self.data / "keys/authority.pem"))
        try:
            with urllib.request.urlopen(
                f"https://localhost:{self.admin_port}/healthz", context=context, timeout=5
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""


@pytest.fixture
def old_data(tmp_path: Path) -> Path:
    old = System(tmp_path / "data")
    old.start()
    old.stop()
    return old.data


@pytest.fixture
def new(old_data: Path) -> Iterator[NewVersion]:
    made = NewVersion(old_data, old_data / "support")  # where the account of the system may go
    yield made
    made.go.touch()
    with contextlib.suppress(AssertionError):
        made.stop()


def test_it_is_waited_for_and_nobody_is_killed(new: NewVersion) -> None:
    new.start()  # says that it runs although the call records are not ready
    wait_until(lambda: new.page()[0] == 503 and "change 1 of 1" in new.page()[1], "the page to say what goes on")
    report = wait_until(
        lambda: (found := migration.read(new.data)) and found.beat > 10 and found, "longer than a start may take", 60
    )
    assert (report.database, report.what) == ("calls.db", "changing")
    states = {process["name"]: process for process in new.status()["processes"]}
    assert states["calls"]["state"] == "starting"
    assert {name: process["restarts"] for name, process in states.items()} == dict.fromkeys(states, 0)
    new.go.touch()
    wait_until(lambda: new.page()[0] == 200, "the real pages")
    wait_until(lambda: all(process["state"] == "running" for process in new.status()["processes"]), "every process")
    assert all(process["restarts"] == 0 for process in new.status()["processes"])
    assert migration.read(new.data) is None
    assert (new.data / "before/calls.db").exists()
