"""As much of systemd as the service sees: a notify socket whose descriptor store survives the service, and starts with what is in it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

LAUNCH = """
import os, sys
count, names, *command = sys.argv[1:]
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count, "LISTEN_FDNAMES": names}
os.execvp(command[0], command)
"""


class Systemd:
    """`start` runs a command as the service's main process; what it stores is given to the next start."""

    def __init__(self) -> None:
        self.store: list[tuple[str, int]] = []
        self.states: list[str] = []
        self.ready = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("")  # the kernel gives it an abstract name, which every account reaches
        self._address = "@" + self._socket.getsockname()[1:].decode()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                text, fds, _, _ = socket.recv_fds(self._socket, 8192, 250)
            except OSError:
                return
            fields = dict(line.split("=", 1) for line in text.decode().splitlines())
            if "FDSTORE" in fields:
                known = {self._identity(fd) for _, fd in self.store}
                self.store += [(fields["FDNAME"], fd) for fd in fds if self._identity(fd) not in known]
            self.states += [name for name in ("READY", "STOPPING") if name in fields]
            if "READY" in fields:
                self.ready.set()

    @staticmethod
    def _identity(fd: int) -> tuple[int, int, int]:
        """Enough to tell sockets and memory files apart; every eventfd is the same file to stat."""
        found = os.fstat(fd)
        return (found.st_dev, found.st_ino, fd if "eventfd" in os.readlink(f"/proc/self/fd/{fd}") else 0)

    def start(self, *command: str, cwd: Path) -> subprocess.Popen[bytes]:
        self.ready.clear()
        kept = list(self.store)
        names = ":".join(name for name, _ in kept)

        def place() -> None:
            """From 3 on, as sd_listen_fds(3) wants them."""
            base = 5000
            for number, (_, fd) in enumerate(kept):
                os.dup2(fd, base + number)
            for number in range(len(kept)):
                os.dup2(base + number, 3 + number, inheritable=True)
                os.close(base + number)

        words = [sys.executable, "-c", LAUNCH, str(len(kept)), names, *command]
        environment = {**os.environ, "NOTIFY_SOCKET": self._address}
        return subprocess.Popen(words, cwd=cwd, env=environment, preexec_fn=place, close_fds=False)

    def close(self) -> None:
        self._socket.close()
        for _, fd in self.store:
            os.close(fd)
