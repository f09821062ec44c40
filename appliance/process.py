"""One process under the supervisor: started with inherited descriptors, watched, restarted when it dies, its output logged.

It dies with its parent (PR_SET_PDEATHSIG, prctl(2)), even when that is killed with -9: nobody is left behind holding a port.
It is in a process group of its own, so that Ctrl-C in a terminal reaches the supervisor only, which ends the others in order.
Death is seen through a pidfd: no signal handler, no thread. A hang is the supervisor's to see; `restart` ends it here.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

DELAYS = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)  # seconds before the first, second, … restart in a row
STEADY = 30.0  # seconds up after which the row starts anew
LINE_LIMIT = 8192  # bytes of one line of output; the rest of a longer one is dropped
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>

_libc = ctypes.CDLL(None, use_errno=True)


class Backoff:
    """How long to wait before the next start. Pure: times are arguments, seconds."""

    def __init__(self) -> None:
        self._row = 0

    def died(self, up: float) -> float:
        """The process was up for `up` seconds; returns the seconds to wait."""
        if up >= STEADY:
            self._row = 0
        delay = DELAYS[min(self._row, len(DELAYS) - 1)]
        self._row += 1
        return delay


class Process:
    """A command kept alive. `state`: stopped, starting, running, backing off; `running` is the supervisor's word (`ready`)."""

    def __init__(
        self, name: str, module: str, environment: Mapping[str, str], fds: Iterable[int], changed: Callable[[], None]
    ) -> None:
        self.name = name
        self.state = "stopped"
        self.restarts = 0
        self.started = 0.0  # loop time of the present start
        self.deaths: list[float] = []  # loop times of the last unasked deaths, newest last
        self._command = [sys.executable, "-P", "-m", module]
        self._environment = {**environment, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONUNBUFFERED": "1"}
        self._fds = tuple(fds)
        self._changed = changed
        self._log = logging.getLogger(name)
        self._child: subprocess.Popen[bytes] | None = None
        self._backoff = Backoff()
        self._asked = False  # the present death was asked for
        self._ending = False
        self._again = asyncio.Event()  # cuts a back-off short
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        return self._child.pid if self._child is not None else 0

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep(), name=f"keep {self.name}")

    def ready(self) -> None:
        """It answered: starting becomes running."""
        if self.state == "starting":
            self._set("running")

    def restart(self, *, kill: bool = False) -> None:
        """End it and start it again at once; kill when it hangs (that counts as a death)."""
        self._asked = not kill
        self._again.set()
        self.signal(signal.SIGKILL if kill else signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(number)

    def stop(self) -> None:
        """Ask it to end and not to come back; `ended` tells when it has."""
        self._ending = True
        self._again.set()
        self.signal(signal.SIGTERM)

    async def ended(self) -> None:
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._ending:
            self._again.clear()
            self._asked = False
            self.started = loop.time()
            try:
                await self._one_life()
            except OSError as error:
                self._log.error("cannot start: %s", error)
            self._child = None
            if self._ending:
                break
            self.restarts += 1
            delay = 0.0
            if not self._asked:
                self.deaths = [*self.deaths[-19:], loop.time()]
                delay = self._backoff.died(loop.time() - self.started)
            self._set("backing off")
            if delay:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._again.wait(), delay)
        self._set("stopped")

    async def _one_life(self) -> None:
        loop = asyncio.get_running_loop()
        parent = os.getpid()

        def die_with_parent() -> None:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)

        child = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=self._fds,
            process_group=0,
            preexec_fn=die_with_parent,  # safe: the supervisor has one thread
        )
        assert child.stdout is not None
        self._child = child
        if self._ending:  # asked to stop while it was being started
            child.terminate()
        self._set("starting")
        transport, lines = await loop.connect_read_pipe(lambda: _Lines(self._log), child.stdout)
        pidfd = os.pidfd_open(child.pid)
        died = asyncio.Event()
        loop.add_reader(pidfd, died.set)
        try:
            await died.wait()
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            code = child.wait()
            with contextlib.suppress(TimeoutError):  # its last words; a grandchild may hold the pipe open
                await asyncio.wait_for(lines.ended.wait(), 0.2)
            transport.close()
        if not (self._ending or self._asked):
            self._log.warning("%s (pid %d) died: %s", self.name, child.pid, _death(code))

    def _set(self, state: str) -> None:
        self.state = state
        self._changed()


class _Lines(asyncio.Protocol):
    """Output of a process, line by line, into the log."""

    def __init__(self, log: logging.Logger) -> None:
        self.ended = asyncio.Event()
        self._log = log
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:LINE_LIMIT]
        for line in lines:
            self._write(line)

    def connection_lost(self, error: Exception | None) -> None:
        self._write(self._rest)
        self.ended.set()

    def _write(self, line: bytes) -> None:
        if text := line[:LINE_LIMIT].decode(errors="replace").rstrip():
            self._log.info("%s", text)


def _death(code: int) -> str:
    if code >= 0:
        return f"it ended with code {code}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"
