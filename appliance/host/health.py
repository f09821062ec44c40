"""How the supervisor sees a process from outside: its memory and files in /proc, and whether it answers.

`calls` and `web` are asked on their control sockets: an answer proves that the process works through its event loop. Nothing here decides; the supervisor does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from pathlib import Path

from appliance.storage import migration, reserve

PING_TIMEOUT = 2.0  # seconds
BOOT_FACTS = Path("/run/switchroom-boot")  # of the appliance: what its initrd found
MEDIA = Path("/media/recordings")


def memory_of(pid: int) -> int:
    """Proportional set size in bytes (proc(5), smaps_rollup): what ending the process would free; 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


def files_of(pid: int) -> int:
    """Open file descriptors; 0 when the process is gone."""
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0


def disk_free(path: Path) -> int | None:
    """Bytes an ordinary user may still write there."""
    with contextlib.suppress(OSError):
        figures = os.statvfs(path)
        return figures.f_bavail * figures.f_frsize
    return None


def keep_room(data: Path) -> bool:
    """See to the room that is kept back on the disk; whether there is any now."""
    return reserve.keep(data, disk_free(data), lasting=partitions().get("state") != "broken")


def partitions(folder: Path = BOOT_FACTS) -> dict[str, str]:
    """What the start of the appliance found of its data partitions that was not as it should be: broken or repaired."""
    found = {}
    for name in ("state", "media"):
        with contextlib.suppress(OSError):
            found[name] = (folder / name).read_text().strip()
    return found


async def web_status(host: str, port: int) -> int:
    """The status of the admin page's answer over TLS, 200 when it works, 0 when there is none. The certificate is not checked: this
    asks only whether the process is awake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(PING_TIMEOUT):
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
            try:
                writer.write(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                version, status, *_ = [*(await reader.readline()).split(), b"", b""]
                return int(status) if version == b"HTTP/1.1" and status.isdigit() else 0
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return 0


def notify_systemd(state: str) -> None:
    """sd_notify(3); nothing without NOTIFY_SOCKET."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


def keep_waiting() -> None:
    """Ask systemd for as much patience as ours with this service's start, while a database is brought up to date."""
    notify_systemd(f"EXTEND_TIMEOUT_USEC={int(migration.PATIENCE * 1e6)}")


def under_systemd() -> bool:
    return bool(os.environ.get("NOTIFY_SOCKET"))


def watchdog_interval() -> float | None:
    """Seconds between the signs of life systemd wants, half of what it allows; None: it wants none."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2e6 if microseconds.isdigit() else None
