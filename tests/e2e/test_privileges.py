"""Started as root: nobody of the system is, every process is confined, and a call is made."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.host import privileges
from appliance.host.supervisor import SOUND_FIRST
from tests.e2e.running import System, wait_until

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.geteuid() != 0, reason="what root gives up can be seen of root only"),
]


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    made = System(tmp_path / "data")
    yield made
    if made.process is not None:
        assert made.stop() == 0


def facts(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_every_process_is_an_account_that_may_nothing(system: System) -> None:
    system.start()
    core = system.pid("core")
    spare = wait_until(lambda: [pid for pid in children(system) if pid != core and is_core(pid)], "the spare core")
    kept = privileges._mask(*privileges.KEPT.values())
    owner = system.data.stat().st_uid
    assert owner != 0
    for name in ("supervisor", "core", "calls", "web", "spare"):
        found = facts(spare[0] if name == "spare" else system.pid(name))
        assert found["Uid"].split() == [str(owner)] * 4, name
        assert found["Gid"].split() == [str(system.data.stat().st_gid)] * 4, name
        assert found["NoNewPrivs"] == "1", name
        assert found["Seccomp"] == "2", name
        for bounds in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            least = kept if name == "supervisor" and bounds in ("CapEff", "CapPrm") else 0
            assert int(found[bounds], 16) == least, (name, bounds)
        assert int(found["CapBnd"], 16) == kept, name
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    nice = {int(os.getpriority(os.PRIO_PROCESS, int(thread.name))) for thread in Path(f"/proc/{core}/task").iterdir()}
    assert SOUND_FIRST in nice, "its relay comes first"
    assert SOUND_FIRST + 3 in nice, "then what is transcoded"
    assert [os.getpriority(os.PRIO_PROCESS, pid) for pid in (spare[0], system.pid("calls"))] == [usual, usual]
    strangers = [str(path) for path in system.data.rglob("*") if path.lstat().st_uid != owner]
    assert strangers == []
    assert system.run("selftest", "--data", str(system.data), seconds=55).returncode == 0
    assert not system.status()["alarms"]


def test_what_an_earlier_start_as_root_has_made_goes_on_working(system: System) -> None:
    system.start()
    made = system.add_extension()
    system.stop()
    for path in [system.data, *system.data.rglob("*")]:
        os.chown(path, 0, 0, follow_symlinks=False)
    system.start()
    assert system.data.stat().st_uid != 0
    assert made.number in system.run("extension", "list", "--data", str(system.data)).stdout
    assert system.run("selftest", "--data", str(system.data), seconds=55).returncode == 0


def test_where_it_cannot_be_somebody_else_it_runs_and_says_so(system: System) -> None:
    system.data.mkdir(mode=0o700)
    (system.data / "holiday.jpg").touch()
    system.start()
    assert system.data.stat().st_uid == 0
    (alarm,) = system.status()["alarms"]
    assert alarm["id"] == "runs-as-root"
    assert "holiday.jpg" in alarm["message"]
    assert system.status()["healthy"]


def children(system: System) -> list[int]:
    assert system.process is not None
    listed = subprocess.run(["pgrep", "-P", str(system.process.pid)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listed.stdout.split()]


def is_core(pid: int) -> bool:
    return b"media_core" in Path(f"/proc/{pid}/cmdline").read_bytes()
