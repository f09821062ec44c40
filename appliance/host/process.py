"""One process under the supervisor: started with inherited descriptors, watched, restarted when it dies, its output logged.

It dies with its parent (PR_SET_PDEATHSIG, prctl(2)), even when that is killed with -9: nobody is left behind holding a port.
It is in a process group of its own, so that Ctrl-C in a terminal reaches the supervisor only, which ends the others in order.
Death is seen through a pidfd: no signal handler, no thread. A hang is the supervisor's to see; `restart` ends it here.

A process whose absence is heard (the core) has a spare: the same command, started ahead, that waits for eight octets on its standard
input. It has one from `stand_by` on, for at a start there is more urgent work. It gets them the moment the death is seen, before anything else is done, and the next spare is started. It ends by itself
when its input is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from appliance.host import privileges

DELAYS = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)  # seconds before the first, second, … restart in a row
STEADY = 30.0  # seconds up after which the row starts anew
SPARE_AFTER = 0.1  # seconds from a start to that of the spare: who takes over needs the processor first
SPARE_AGAIN = 1.0  # seconds until a spare that died is replaced
GO = (1).to_bytes(8, "little")  # what a spare waits for; an eventfd would say the same
LINE_LIMIT = 8192  # bytes of one line of output; the rest of a longer one is dropped
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
# Our modules; output at once; and no look for plug-ins of pydantic, which nobody installs: that reads the facts of every distribution.
OWN = {
    "PYTHONPATH": str(Path(__file__).parents[2]),
    "PYTHONUNBUFFERED": "1",
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
}

_libc = ctypes.CDLL(None, use_errno=True)


def _without_systemd(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}


class Backoff:
    """How long to wait before the next start. Pure: times are arguments, seconds."""

    def __init__(self, steady: float = STEADY) -> None:
        self._row = 0
        self._steady = steady

    def died(self, up: float) -> float:
        """The process was up for `up` seconds; returns the seconds to wait."""
        if up >= self._steady:
            self._row = 0
        delay = DELAYS[min(self._row, len(DELAYS) - 1)]
        self._row += 1
        return delay


class Early:
    """A process that loads before it can be told what it is for: while others are made ready, the processor has time for it. It waits for
    one message on its standard input, a socket: text and descriptors."""

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._child: subprocess.Popen[bytes] | None = _spawn(
                _command(module), {**_without_systemd(environment), **OWN}, theirs.fileno()
            )

    def begin(self, text: str, fds: Iterable[int]) -> subprocess.Popen[bytes] | None:
        """Tell it; None when it is not there any more, for what it was started by must not depend on it."""
        child, self._child = self._child, None
        with self._ours:
            if child is None:
                return None
            with contextlib.suppress(OSError):
                socket.send_fds(self._ours, [text.encode()], list(fds))
                if child.poll() is None:
                    return child
        _end(child)
        return None

    def drop(self) -> None:
        """Unless it has begun, it is not wanted."""
        child, self._child = self._child, None
        self._ours.close()
        if child is not None:
            _end(child)


class Process:
    """A command kept alive. `state`: stopped, starting, running, backing off; `running` is the supervisor's word (`ready`)."""

    def __init__(
        self,
        name: str,
        module: str,
        environment: Mapping[str, str],
        fds: Iterable[int],
        *,
        spare: Mapping[str, str] | None = None,
        steady: float = STEADY,
        nice: int = 0,
        first: subprocess.Popen[bytes] | None = None,
    ) -> None:
        """`first`: what its first start is already (`Early`). `spare`: the environment of one that stands by; None: there is none. `steady`: seconds up after which a death is the first.
        `nice`: how far it stands back when the processor is short; below 0 it comes first, where the supervisor may say so."""
        self.name = name
        self.state = "stopped"
        self.restarts = 0
        self.started = 0.0  # loop time of the present start
        self.deaths: list[float] = []  # loop times of the last unasked deaths, newest last
        self.hangs: list[float] = []  # those of them that were ordered because it hung (loop times of the orders)
        self._command = _command(module)
        self._first = first
        self.renew(environment)
        self._spare_environment = None if spare is None else {**_without_systemd(spare), **OWN}
        self._standing_by = False
        self._fds = tuple(fds)
        self._nice = nice
        self._log = logging.getLogger(name)
        self._child: subprocess.Popen[bytes] | None = None
        self._spare: subprocess.Popen[bytes] | None = None
        self._spare_watch = -1  # its pidfd
        self._spare_due: asyncio.TimerHandle | None = None
        self._backoff = Backoff(steady)
        self._asked = False  # the present death was asked for
        self._ending = False
        self._again = asyncio.Event()  # cuts a back-off short
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        return self._child.pid if self._child is not None else 0

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep(), name=f"keep {self.name}")

    def stand_by(self) -> None:
        """From now on there is a spare, where there shall be one."""
        self._standing_by = True
        self._order_spare(0.0)

    def ready(self) -> None:
        """It answered: starting becomes running."""
        if self.state == "starting":
            self.state = "running"

    def renew(self, environment: Mapping[str, str]) -> None:
        """What the next start is told. systemd's socket is the supervisor's alone."""
        self._environment = {**_without_systemd(environment), **OWN}

    def restart(self, *, kill: bool = False) -> None:
        """End it and start it again at once; kill when it hangs (that counts as a death)."""
        self._asked = not kill
        if kill:
            self.hangs = [*self.hangs[-19:], asyncio.get_running_loop().time()]
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
            self.state = "backing off"
            if delay:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._again.wait(), delay)
        self._drop_spare()
        self.state = "stopped"

    async def _one_life(self) -> None:
        loop = asyncio.get_running_loop()
        self.started = loop.time()
        first, self._first = self._first, None
        child = first or self._wake_spare() or self._spawn(self._environment, subprocess.DEVNULL)
        self._put_first(child)
        assert child.stdout is not None
        self._child = child
        if self._ending:  # asked to stop while it was being started
            child.terminate()
        self.state = "starting"
        self._order_spare(SPARE_AFTER)
        transport, lines = await loop.connect_read_pipe(lambda: _Lines(self._log), child.stdout)
        died = asyncio.Event()
        pidfd = os.pidfd_open(child.pid)
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

    def _spawn(self, environment: Mapping[str, str], stdin: int) -> subprocess.Popen[bytes]:
        return _spawn(self._command, environment, stdin, self._fds, max(0, self._nice))

    def _put_first(self, child: subprocess.Popen[bytes]) -> None:
        """Before the others, if it is to be: now, for threads that it starts inherit that. A process cannot say so itself, it may nothing."""
        if self._nice < 0:
            with contextlib.suppress(PermissionError, ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, child.pid, self._nice)

    # ---- the spare

    def _order_spare(self, delay: float) -> None:
        wanted = self._spare_environment is not None and self._standing_by and not self._ending
        if wanted and self._spare is None and self._spare_due is None:
            self._spare_due = asyncio.get_running_loop().call_later(delay, self._start_spare)

    def _start_spare(self) -> None:
        assert self._spare_environment is not None
        self._spare_due = None
        try:
            self._spare = self._spawn(self._spare_environment, subprocess.PIPE)
        except OSError as error:
            self._log.error("cannot start a spare: %s", error)
            self._order_spare(SPARE_AGAIN)
            return
        self._spare_watch = os.pidfd_open(self._spare.pid)
        asyncio.get_running_loop().add_reader(self._spare_watch, self._spare_died)

    def _spare_died(self) -> None:
        spare = self._take_spare()
        if spare is None:
            return
        code = spare.wait()
        _close(spare)
        if not self._ending:
            self._log.warning("the spare of %s (pid %d) died: %s", self.name, spare.pid, _death(code))
            self._order_spare(SPARE_AGAIN)

    def _take_spare(self) -> subprocess.Popen[bytes] | None:
        """The spare, which from now on is none."""
        if self._spare_due is not None:
            self._spare_due.cancel()
            self._spare_due = None
        spare, self._spare = self._spare, None
        if spare is not None:
            asyncio.get_running_loop().remove_reader(self._spare_watch)
            os.close(self._spare_watch)
        return spare

    def _wake_spare(self) -> subprocess.Popen[bytes] | None:
        """Let the spare be the process; None when there is none or it died as well."""
        spare = self._take_spare()
        if spare is None:
            return None
        assert spare.stdin is not None
        self._put_first(spare)
        with contextlib.suppress(OSError):
            os.write(spare.stdin.fileno(), GO)
            spare.stdin.close()
            if spare.poll() is None:
                return spare
        _end(spare)
        return None

    def _drop_spare(self) -> None:
        spare = self._take_spare()
        if spare is not None:
            _end(spare)


def _command(module: str) -> list[str]:
    return [sys.executable, "-P", "-m", module]


def errand(module: str, *arguments: str) -> subprocess.Popen[bytes]:
    """What does one thing and ends, behind everything else; what it says goes where our own words go."""
    return _spawn(
        [*_command(module), *arguments],
        {**_without_systemd(os.environ), **OWN},
        subprocess.DEVNULL,
        nice=19,
        stdout=None,
    )


def _spawn(
    command: list[str],
    environment: Mapping[str, str],
    stdin: int,
    fds: tuple[int, ...] = (),
    nice: int = 0,
    stdout: int | None = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    parent = os.getpid()

    def die_with_parent() -> None:
        privileges.drop()  # first: the kernel forgets the next line with a change of the account
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.nice(nice)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return subprocess.Popen(
        command,
        env=environment,
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.STDOUT if stdout is not None else None,
        pass_fds=fds,
        process_group=0,
        preexec_fn=die_with_parent,  # safe: the supervisor has one thread
    )


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    _close(child)


def _close(child: subprocess.Popen[bytes]) -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


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
