"""The command line as a person uses it: start, second start, a port taken, status, the self-test, the end."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.config.store import Store
from tests.e2e.running import System, wait_until


@pytest.fixture
def own(tmp_path: Path) -> Iterator[System]:
    """A system that the test itself starts."""
    system = System(tmp_path / "var")
    yield system
    if system.process is not None:
        system.stop()


def test_starts_tells_how_to_begin_and_ends_cleanly(own: System) -> None:
    own.start()
    said = own.output.read_text()
    code = (own.data / "run/setup-code").read_text()
    assert len(code) == 10
    assert code in said
    assert f"https://127.0.0.1:{own.admin_port}/" in said
    assert "*60" in said
    assert stat.S_IMODE(own.data.stat().st_mode) == 0o700
    assert stat.S_IMODE((own.data / "run/setup-code").stat().st_mode) == 0o600
    pids = [process["pid"] for process in own.status()["processes"]]
    begun = time.monotonic()
    assert own.stop() == 0
    assert time.monotonic() - begun < 2.5  # the promise is 2 s
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not list((own.data / "run").glob("*.sock"))


def test_second_start_finds_the_data_again(own: System) -> None:
    own.start()
    code = (own.data / "run/setup-code").read_text()
    authority = own.authority.read_bytes()
    made = own.add_extension()
    own.stop()
    own.start()
    assert (own.data / "run/setup-code").read_text() == code
    assert own.authority.read_bytes() == authority
    listed = json.loads(own.run("extension", "list", "--data", str(own.data), "--json").stdout)
    assert [row["number"] for row in listed] == [made.number]


def test_second_system_on_the_same_data_is_refused(own: System) -> None:
    own.start()
    other = own.run("run", "--data", str(own.data))
    assert other.returncode == 2
    assert f"pid {own.process and own.process.pid}" in other.stderr


@pytest.mark.parametrize(
    ("option", "kind"), [("sip_port", "UDP"), ("sips_port", "TCP"), ("admin_port", "TCP"), ("user_port", "TCP")]
)
def test_port_taken_is_named_with_its_holder(own: System, option: str, kind: str) -> None:
    number = getattr(own, option)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "UDP" else socket.SOCK_STREAM) as holder:
        holder.bind(("127.0.0.1", number))
        if kind == "TCP":
            holder.listen()
        done = own.run("run", *own.arguments)
    assert done.returncode == 2
    assert f"Port {number}/{kind} on 127.0.0.1 is taken by " in done.stderr
    assert f"(pid {os.getpid()})" in done.stderr
    assert not list((own.data / "run").glob("*.sock"))


def test_children_die_with_a_killed_supervisor(own: System) -> None:
    own.start()
    pids = [process["pid"] for process in own.status()["processes"]]
    assert own.process is not None
    own.process.kill()
    own.process.wait()
    wait_until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()], "the others to die", 5)


def test_hung_process_is_started_again(own: System) -> None:
    own.start()
    pid = own.pid("web")
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: own.pid("web") not in (0, pid), "web to be started again", 40)


def test_status_of_nothing() -> None:
    done = System.run("status", "--data", "/nonexistent")
    assert done.returncode == 3
    assert "not running" in done.stderr


def test_status_shows_processes_and_counters(system: System) -> None:
    status = system.status()
    assert status["healthy"], status["alarms"]
    assert [process["name"] for process in status["processes"]] == ["supervisor", "core", "calls", "web"]
    assert all(process["pid"] and process["memory"] and process["files"] for process in status["processes"])
    assert {"registrations", "calls", "dialogs", "transactions", "legs", "rtp_ports", "flows"} <= status[
        "counters"
    ].keys()
    table = system.run("status", "--data", str(system.data)).stdout
    assert "healthy" in table
    assert str(system.pid("calls")) in table


def test_selftest_passes(system: System) -> None:
    done = system.run("selftest", "--data", str(system.data), "--json", seconds=55)
    assert json.loads(done.stdout)["ok"], done.stdout
    assert done.returncode == 0
    assert system.counters()["calls"] == 0


def test_extension_from_the_command_line(system: System) -> None:
    done = system.run("extension", "add", "--data", str(system.data), "--name", "Anna", "--show-password", "--json")
    row = json.loads(done.stdout)
    assert row["number"] == row["sip_username"]
    assert len(row["sip_password"]) >= 20
    again = system.run("extension", "add", row["number"], "--data", str(system.data))
    assert again.returncode == 1
    assert row["number"] in again.stderr


def test_a_user_with_a_password_or_none_at_all(tmp_path: Path) -> None:
    own = System(tmp_path / "var")
    Store(own.data).close()
    arguments = ("user", "add", "anna", "--role", "full", "--password", "--data", str(own.data))
    assert "at least 10" in own.run(*arguments, typed="short\n").stderr
    assert json.loads(own.run("user", "list", "--json", "--data", str(own.data)).stdout) == []
    own.run(*arguments, typed="correct horse battery\n")
    assert [
        row["username"] for row in json.loads(own.run("user", "list", "--json", "--data", str(own.data)).stdout)
    ] == ["anna"]
