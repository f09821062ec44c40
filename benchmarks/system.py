"""The whole system as a person runs it: `switchroom run` in a directory and on ports of its own. For benchmarks, and for tests end to end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.host.entitlement import open_admin

ROOT = Path(__file__).parents[1]
CALLS = 10


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """The first true value of `condition`; AssertionError naming `what` when the time is over."""
    end = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        assert time.monotonic() < end, f"waited {seconds:.0f} s for: {what}"
        time.sleep(0.05)


def free_port(*kinds: socket.SocketKind, neighbours: int = 1) -> int:
    """A port that is free for all the kinds of socket asked for (default: both); with neighbours, an even one and those after it."""
    while True:
        port = random.randint(10000, 32000)  # below the ports the kernel gives to clients
        port -= port % 2 if neighbours > 1 else 0
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for kind in kinds or (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                for number in range(port, port + neighbours):
                    stack.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", number))
            return port


@dataclass(frozen=True)
class Credentials:
    """What a phone is given."""

    number: str
    username: str
    password: str
    extension: str  # id of the record


class System:
    """One running system. Everything is done from outside, but extensions are added through the use-cases."""

    host = "127.0.0.1"

    def __init__(self, data: Path, *arguments: str, calls: int = CALLS) -> None:
        legs = 2 * calls + calls // 2
        self.data = data
        self.sip_port, self.sips_port, self.admin_port, self.user_port = (free_port() for _ in range(4))
        rtp = free_port(socket.SOCK_DGRAM, neighbours=4 * legs + 1)
        self.arguments = [
            *("--data", str(data), "--sip-port", str(self.sip_port), "--sips-port", str(self.sips_port)),
            *(
                "--admin-port",
                str(self.admin_port),
                "--user-port",
                str(self.user_port),
                "--rtp",
                f"{rtp}-{rtp + 4 * legs}",
                "--calls",
                str(calls),
                *arguments,
            ),
        ]
        self.process: subprocess.Popen[str] | None = None
        self.output = data.parent / f"{data.name}.out"

    def start(self) -> None:
        """Start it; returns when it says that it runs."""
        with self.output.open("w") as output:
            process = subprocess.Popen(
                self.command("run", *self.arguments), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, text=True
            )
        self.process = process
        wait_until(
            lambda: "Ctrl-C ends" in self.output.read_text() or process.poll() is not None, "the system to start", 40
        )
        assert process.poll() is None, self.output.read_text()

    def stop(self) -> int:
        """Ctrl-C; returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
        return self.process.wait()

    def status(self) -> dict[str, Any]:
        done = self.run("status", "--data", str(self.data), "--json")
        assert done.returncode in (0, 1), done.stderr
        return dict(json.loads(done.stdout))

    def pid(self, name: str) -> int:
        return int(self.view(name)["pid"])

    def kill(self, name: str) -> None:
        """kill -9, and wait until another one runs in its place."""
        before = self.pid(name)
        os.kill(before, signal.SIGKILL)
        wait_until(
            lambda: self.view(name)["state"] == "running" and self.view(name)["pid"] != before, f"{name} to run again"
        )

    def hang(self, name: str) -> None:
        """Stop a process without ending it, and wait until another one runs in its place."""
        before = self.pid(name)
        os.kill(before, signal.SIGSTOP)
        wait_until(
            lambda: self.view(name)["state"] == "running" and self.view(name)["pid"] != before, f"{name} to run again"
        )

    def view(self, name: str) -> dict[str, Any]:
        return dict(next(process for process in self.status()["processes"] if process["name"] == name))

    def counters(self) -> dict[str, int]:
        return dict(self.status()["counters"])

    def add_extension(self, number: str = "", encrypt: str = "preferred") -> Credentials:
        with open_admin(self.data) as admin:
            made = admin.create("extension", {"number": number or admin.suggest_number(), "encrypt": encrypt}, "test")
            snapshot = admin.snapshot
            line = snapshot.lines_of[made.id][0]
            return Credentials(snapshot.extensions[made.id].number, line.sip_username, line.sip_password, made.id)

    def remove_extension(self, credentials: Credentials) -> None:
        with open_admin(self.data) as admin:
            admin.delete("extension", credentials.extension, "test")

    @property
    def authority(self) -> Path:
        return self.data / "keys/authority.pem"

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "appliance", *arguments]

    @classmethod
    def run(cls, *arguments: str, seconds: float = 30.0, typed: str = "") -> subprocess.CompletedProcess[str]:
        command = cls.command(*arguments)
        return subprocess.run(
            command, cwd=ROOT, input=typed, capture_output=True, text=True, timeout=seconds, check=False
        )
