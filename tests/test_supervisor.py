"""The supervisor's parts: back-off, alarms, sockets with their holders, what outlives the processes, the life of one process."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from appliance.box import facts
from appliance.config import licensing
from appliance.host import entitlement, fdstore, health, listeners, logfile
from appliance.host.boot import FOLLOWS, VARIABLE, Boot
from appliance.host.process import DELAYS, STEADY, Backoff, Early, Process
from appliance.host.resources import CannotStart, Options, _runs, acquire
from appliance.words import Said, english


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ---- back-off --------------------------------------------------------------------------------------------------------


def test_delay_grows_and_starts_anew_after_steady_running() -> None:
    backoff = Backoff()
    assert [backoff.died(0.0) for _ in range(8)] == [*DELAYS, DELAYS[-1], DELAYS[-1]]
    assert backoff.died(STEADY) == DELAYS[0]
    assert backoff.died(STEADY - 1) == DELAYS[1]
    quick = Backoff(steady=0.5)
    assert [quick.died(0.5), quick.died(0.5), quick.died(0.4)] == [DELAYS[0], DELAYS[0], DELAYS[1]]


# ---- sockets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["UDP", "TCP"])
def test_taken_port_names_protocol_and_holder(protocol: str) -> None:
    with listeners.bind("127.0.0.1", 0, protocol, "--port") as holder:
        port = holder.getsockname()[1]
        with pytest.raises(listeners.PortTaken) as caught:
            listeners.bind("127.0.0.1", port, protocol, "--port")
    assert f"{port}/{protocol}" in str(caught.value)
    assert f"(pid {os.getpid()})" in str(caught.value)
    assert "--port" in str(caught.value)


def test_rtp_pairs_are_even_spread_and_pass_over_taken_ports() -> None:
    base = 2 * (free_port() // 4)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", base + 1))
        rtp = listeners.bind_rtp("127.0.0.1", base, base + 79, 10)
    ports = [bound.getsockname()[1] for bound in rtp.sockets]
    for bound in rtp.sockets:
        bound.close()
    assert rtp.pairs == 10
    assert not rtp.limited_by
    assert all(port % 2 == 0 for port in ports[::2])
    assert [port + 1 for port in ports[::2]] == ports[1::2]
    assert base not in ports
    assert max(ports) - min(ports) > 50


def test_full_range_is_said() -> None:
    with listeners.bind("127.0.0.1", 0, "UDP", "") as holder:
        port = holder.getsockname()[1] // 2 * 2
        rtp = listeners.bind_rtp("127.0.0.1", port, port + 1, 5)
    assert rtp.sockets == []
    assert rtp.wanted == 1
    assert rtp.limited_by == Said.of("alarm.port-range", range=f"{port}-{port + 1}")


def test_runs_of_descriptors() -> None:
    assert _runs([3, 4, 5, 9, 11, 12]) == [[3, 3], [9, 1], [11, 2]]


# ---- what outlives the processes -------------------------------------------------------------------------------------


def options(data: Path, **changes: Any) -> Options:
    first = free_port() // 2 * 2
    ports = {name: free_port() for name in ("sip_port", "sips_port", "admin_port", "user_port")}
    return Options(data=data, calls=2, rtp_first=first, rtp_last=min(65535, first + 100), **{**ports, **changes})


def test_everything_is_made_and_undone(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    chosen = options(tmp_path / "var")
    with acquire(chosen) as resources:
        resources.look_at_configuration()
        resources.certify()
        assert resources.failed == {}
        environment, fds = resources.core()
        record = json.loads(environment["SWITCHROOM_CORE"])
        assert {socket["transport"] for socket in record["sip"]} == {"udp", "tcp", "tls"}
        assert sum(count for _, count in record["rtp"]) == 2 * resources.options.legs == 10
        assert len(set(fds)) == len(fds) == 5 + 3 + 10 + len(record["raw"])
        environment, fds = resources.boot(("memory", "core_wake", "calls_wake", "journal"))
        boot = Boot(**json.loads(environment[VARIABLE]))
        assert sorted(boot.fds.values()) == sorted(fds)
        assert boot.sip_port == chosen.sip_port
        assert "SWITCHROOM_CORE" not in environment
    assert set(os.listdir("/proc/self/fd")) == before


def test_second_start_on_the_same_data_is_refused_with_the_pid(tmp_path: Path) -> None:
    with (
        acquire(options(tmp_path / "var")),
        pytest.raises(CannotStart, match=f"pid {os.getpid()}"),
        acquire(options(tmp_path / "var")),
    ):
        pass


def test_taken_port_leaves_nothing_behind(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with listeners.bind("127.0.0.1", 0, "TCP", "") as holder:
        chosen = options(tmp_path / "var", admin_port=holder.getsockname()[1])
        with pytest.raises(CannotStart, match="--admin-port"), acquire(chosen):
            pass
    assert set(os.listdir("/proc/self/fd")) == before


def test_failing_part_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "var/keys").mkdir(parents=True)
    (tmp_path / "var/keys/authority.pem").write_text("nonsense")
    (tmp_path / "var/keys/authority.key").write_text("nonsense")
    with acquire(options(tmp_path / "var")) as resources:
        resources.look_at_configuration()
        resources.certify()
        assert list(resources.failed) == ["certificate"]
        assert resources.memory is not None
        assert {socket["transport"] for socket in json.loads(resources.core()[0]["SWITCHROOM_CORE"])["sip"]} == {
            "udp",
            "tcp",
        }


def test_path_too_long_for_a_socket(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="too long"), acquire(options(tmp_path / ("x" * 100))):
        pass


# ---- one process -----------------------------------------------------------------------------------------------------


def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Process:
    """A process that runs `text`."""
    file = tmp_path / "subject.py"
    file.write_text(text)
    process = Process("subject", "subject", dict(os.environ), ())
    process._command = [process._command[0], str(file)]
    return process


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_process_is_started_again_and_its_last_words_are_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    process = module(tmp_path, monkeypatch, "import time\nprint('here I am')\ntime.sleep(60)")
    process.start()
    await until(lambda: "here I am" in caplog.text)
    first = process.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: process.pid not in (0, first) and caplog.text.count("here I am") == 2)
    assert process.restarts == len(process.deaths) == 1
    assert "killed by SIGKILL" in caplog.text
    process.ready()
    assert process.state == "running"
    process.stop()
    await process.ended()
    assert process.state == "stopped"
    assert process.restarts == 1


async def test_restart_that_was_asked_for_is_no_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = module(tmp_path, monkeypatch, "import time\ntime.sleep(60)")
    process.start()
    await until(lambda: process.pid)
    first = process.pid
    process.restart()
    await until(lambda: process.pid not in (0, first))
    assert (process.restarts, process.deaths) == (1, [])
    process.stop()
    await process.ended()


async def test_a_death_and_the_last_words_are_among_the_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """From a box whose screen said no more than "The process core died once in the last ten minutes and was started again"."""
    caplog.set_level(logging.INFO)
    log = logging.FileHandler(tmp_path / "switchroom.log")
    log.setFormatter(logfile.LINES)
    logging.getLogger().addHandler(log)
    process = module(tmp_path, monkeypatch, "import sys, time\nprint('no certificate')\nsys.exit(3)")
    assert list(facts.deaths(tmp_path / "none.log")) == []
    process.start()
    await until(lambda: process.deaths)
    process.stop()
    await process.ended()
    logging.getLogger().removeHandler(log)
    log.close()
    said = list(facts.deaths(tmp_path / "switchroom.log"))
    assert re.fullmatch(r"death \S+ subject \(pid \d+\) died: it ended with code 3", said[0]), said
    assert re.fullmatch(r"last-words \S+ subject +I subject: no certificate", said[1]), said


async def test_stop_cuts_a_back_off_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = module(tmp_path, monkeypatch, "raise SystemExit(3)")
    process._backoff._row = len(DELAYS) - 1
    process.start()
    await until(lambda: process.state == "backing off")
    process.stop()
    await asyncio.wait_for(process.ended(), 1)


EARLY = """
import os, time
from appliance.host.boot import read_boot
boot = read_boot()
os.write(boot.fds["there"], boot.host.encode())
time.sleep(60)
"""


def early_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Early:
    file = tmp_path / "subject.py"
    file.write_text(text)
    monkeypatch.setattr("appliance.host.process._command", lambda module: [sys.executable, str(file)])
    return Early("subject", {**os.environ, VARIABLE: FOLLOWS})


async def test_what_was_started_early_is_told_and_is_the_first_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = early_of(tmp_path, monkeypatch, EARLY)
    reading, writing = os.pipe()
    boot = Boot(data="/data", run="/run", host="192.0.2.7", fds={"there": writing})
    first = early.begin(boot.environment()[VARIABLE], [writing])
    assert first is not None
    process = Process("subject", "subject", dict(os.environ), (), first=first)
    process.start()
    assert await asyncio.to_thread(os.read, reading, 100) == b"192.0.2.7"
    assert (process.pid, process.restarts) == (first.pid, 0)
    process.stop()
    await process.ended()
    early.drop()
    for fd in (reading, writing):
        os.close(fd)


def test_what_was_started_early_and_is_not_wanted_or_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dropped = early_of(tmp_path, monkeypatch, EARLY)
    child = dropped._child
    assert child is not None
    dropped.drop()
    assert child.returncode is not None
    dead = early_of(tmp_path, monkeypatch, "raise SystemExit(3)")
    assert dead._child is not None
    os.waitid(os.P_PID, dead._child.pid, os.WEXITED | os.WNOWAIT)
    assert dead.begin("{}", []) is None


SPARE = """
import os, sys, time
if "STANDS_BY" in os.environ:
    print("standing by", os.getpid())
    if not os.read(0, 8):
        sys.exit(0)
print("at work", os.getpid())
time.sleep(60)
"""


def with_spare(tmp_path: Path, nice: int = 0) -> Process:
    file = tmp_path / "subject.py"
    file.write_text(SPARE)
    environment = dict(os.environ)
    process = Process("subject", "subject", environment, (), spare={**environment, "STANDS_BY": "1"}, nice=nice)
    process._command = [process._command[0], str(file)]
    return process


@pytest.mark.parametrize("allowed", [True, False])
async def test_what_comes_first_does_so_before_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, allowed: bool
) -> None:
    """Also a spare that is woken, which has stood back until then. Where the supervisor may not say so, all are alike."""
    caplog.set_level(logging.INFO)
    said: list[tuple[int, int]] = []

    def say(which: int, pid: int, nice: int) -> None:
        said.append((pid, nice))
        assert f"at work {pid}" not in caplog.text
        if not allowed:
            raise PermissionError

    monkeypatch.setattr(os, "setpriority", say)
    process = with_spare(tmp_path, nice=-6)
    process.start()
    process.stand_by()
    await until(lambda: process._spare is not None)
    assert process._spare is not None
    first, spare = process.pid, process._spare.pid
    assert said == [(first, -6)]
    os.kill(first, signal.SIGKILL)
    await until(lambda: f"at work {spare}" in caplog.text)
    assert (spare, -6) in said
    process.stop()
    await process.ended()


async def test_the_spare_takes_over_and_has_a_successor(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    process = with_spare(tmp_path)
    process.start()
    process.stand_by()
    for life in range(2):
        await until(lambda: process._spare is not None)
        assert process._spare is not None
        spare = process._spare.pid
        os.kill(process.pid, signal.SIGKILL)
        await until(lambda spare=spare: process.pid == spare)
        await until(lambda spare=spare: f"at work {spare}" in caplog.text)
        assert process.restarts == len(process.deaths) == life + 1
    await until(lambda: process._spare is not None)
    assert process._spare is not None
    idle = process._spare
    process.stop()
    await process.ended()
    assert idle.returncode is not None
    assert process._spare is None


async def test_a_spare_that_dies_is_replaced_and_nothing_else_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("appliance.host.process.SPARE_AGAIN", 0.01)
    process = with_spare(tmp_path)
    process.start()
    process.stand_by()
    await until(lambda: process._spare is not None)
    assert process._spare is not None
    first, spare = process.pid, process._spare.pid
    os.kill(spare, signal.SIGKILL)
    await until(lambda: process._spare is not None and process._spare.pid != spare)
    assert (process.pid, process.restarts) == (first, 0)
    assert f"the spare of subject (pid {spare}) died: killed by SIGKILL" in caplog.text
    process.stop()
    await process.ended()


async def test_both_dead_at_once_is_a_start_like_the_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    process = with_spare(tmp_path)
    process.start()
    process.stand_by()
    await until(lambda: process._spare is not None)
    assert process._spare is not None
    first, spare = process.pid, process._spare.pid
    os.kill(spare, signal.SIGKILL)
    os.waitid(os.P_PID, spare, os.WEXITED | os.WNOWAIT)
    os.kill(first, signal.SIGKILL)
    await until(lambda: process.pid not in (0, first, spare) and f"at work {process.pid}" in caplog.text)
    process.stop()
    await process.ended()


def test_memory_and_files_of_a_process() -> None:
    assert health.memory_of(os.getpid()) > 1 << 20
    assert health.files_of(os.getpid()) >= 3
    assert (health.memory_of(0), health.files_of(0)) == (0, 0)


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "4000000")
        health.notify_systemd("READY=1")
        assert systemd.recv(100) == b"READY=1"
    assert health.watchdog_interval() == 2.0


# ---- the address -----------------------------------------------------------------------------------------------------


def reachable_alone(host: str) -> str:
    """Asked on a machine of its own, without a network."""
    asked = f"from appliance.host.listeners import reachable; print(reachable({host!r}))"
    return subprocess.run(
        ["unshare", "-rn", sys.executable, "-c", asked], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_pages_need_an_address_that_others_can_reach() -> None:
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("network namespaces are not allowed here")
    assert reachable_alone("0.0.0.0") == reachable_alone("::") == "False"
    assert reachable_alone("127.0.0.1") == reachable_alone("192.0.2.7") == "True"  # somebody has said so


def test_of_what_another_version_kept_only_the_journal_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which phones have to be told that their call is over, and what to write down."""
    kept = {name: [os.memfd_create(name)] for name in ("journal", "core_wake", "calls_wake", "memory")}
    os.write(kept["journal"][0], b"a call")
    mark = os.fstat(kept["journal"][0]).st_ino
    monkeypatch.setattr(fdstore, "adopt", lambda: kept)
    with acquire(options(tmp_path / "var")) as resources:
        assert os.fstat(resources.journal).st_ino == mark
        assert os.pread(resources.journal, 6, 0) == b"a call"
        assert resources.memory is not None
        assert os.fstat(resources.memory).st_size > 0
        assert len(resources.rtp.sockets) == 2 * resources.options.legs


# ---- the licence of this box -----------------------------------------------------------------------------------------


def test_licence_of_this_box_counts_and_a_foreign_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    maker = tmp_path / "maker.pem"
    maker.write_bytes(
        private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    monkeypatch.setattr(entitlement, "MAKER_KEY", tmp_path / "none.pem")
    assert entitlement.maker_key(tmp_path / "other") is None
    box = entitlement.box_id(tmp_path)
    assert entitlement.box_id(tmp_path) == box
    assert entitlement.read_limits(tmp_path) == licensing.Limits()
    for name, users in ((box, 20), ("AAAA-BBBB", licensing.FREE_USERS)):
        text = licensing.issue(private, box=name, users=20, edition="office", issued=date(2026, 1, 1), expires=None, maintenance_until=None)
        entitlement.licence_file(tmp_path).write_text(text)
        assert entitlement.read_limits(tmp_path).users == users
    assert "AAAA-BBBB" in english().say(entitlement.read_limits(tmp_path).note)
