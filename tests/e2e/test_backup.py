"""Backup and restore on the command line, with the system running and not: it starts again by itself with what the file holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running import System, wait_until

pytestmark = pytest.mark.timeout(120)
PASSPHRASE = "a walk along the river"


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    made = System(tmp_path / "data")
    made.start()
    yield made
    made.stop()


def numbers(system: System) -> str:
    done = System.run("extension", "list", "--data", str(system.data))
    assert done.returncode == 0, done.stderr
    return " ".join(line.split()[0] for line in done.stdout.splitlines()[1:])


def test_out_and_back_while_it_runs_and_while_it_does_not(system: System, tmp_path: Path) -> None:
    data, file = ("--data", str(system.data)), str(tmp_path / "office.backup")
    assert System.run("extension", "add", "100", *data).returncode == 0
    done = System.run("backup", file, *data, typed=f"{PASSPHRASE}\n")
    assert done.returncode == 0, done.stderr
    assert "1 extensions" in done.stdout
    assert Path(file).stat().st_mode & 0o777 == 0o600
    assert System.run("extension", "add", "101", *data).returncode == 0

    done = System.run("restore", file, *data, typed="something else\n")
    assert done.returncode == 1
    assert "passphrase is not the one" in done.stderr
    assert numbers(system) == "100 101"

    before = system.pid("calls")
    done = System.run("restore", file, *data, typed=f"{PASSPHRASE}\n")
    assert done.returncode == 0, done.stderr
    assert "starts again" in done.stdout
    wait_until(
        lambda: (system.data / "aside/before-restore.1").exists() and system_is_up(system), "the restored system"
    )
    assert numbers(system) == "100"
    assert system.pid("calls") != before
    assert System.run("selftest", *data).returncode == 0

    assert system.stop() == 0
    done = System.run("restore", file, "--data", str(tmp_path / "elsewhere"), typed=f"{PASSPHRASE}\n")
    assert done.returncode == 0, done.stderr
    assert "in place" in done.stdout


def system_is_up(system: System) -> bool:
    done = System.run("status", "--data", str(system.data))
    return done.returncode == 0


def test_a_short_passphrase_is_refused(system: System, tmp_path: Path) -> None:
    done = System.run("backup", str(tmp_path / "x.backup"), "--data", str(system.data), typed="short\n")
    assert done.returncode == 1
    assert "at least 10" in done.stderr
    assert not (tmp_path / "x.backup").exists()
