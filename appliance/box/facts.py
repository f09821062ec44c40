"""Facts about the box, one per line, for the console's menu and the tests: units that failed, processes that died and their last
words, how partitions are mounted and filled, what listens, memory, how long the start took.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from appliance.box import system
from appliance.host import health

MOUNTS = ("/", "/state", "/media", "/efi")
LOG = system.DATA / "log/switchroom.log"
LOG_BYTES = 1 << 20  # of its end
DEATHS, LAST_WORDS = 3, 6  # shown: the last deaths, the lines before each
DIED = re.compile(r"(?P<time>\S+) (?P<name>\S+) +(?:[A-Z] \S+: )?(?P<how>.*\(pid \d+\) died: .*)")  # appliance.host.process writes it
# How the kernel begins or words the lines in which it tells that it ended a program.
KERNEL_ENDED = "segfault at|general protection fault|trap invalid opcode|traps: |Out of memory"
SECURE_BOOT = Path("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")


def report() -> list[str]:
    return [*_units(), *deaths(), *_kernel_ended(), *_mounts(), *_listeners(), *_memory(), *_start(), f"secure-boot {secure_boot()}"]


def secure_boot(variable: Path = SECURE_BOOT) -> str:
    """`on` when the firmware starts only what is signed with a key it knows (UEFI 2.10, 3.3: the value follows four bytes of flags)."""
    with contextlib.suppress(OSError):
        return "on" if variable.read_bytes()[4:5] == b"\1" else "off"
    return "unknown"


def _units() -> Iterator[str]:
    for line in system.run("systemctl", "list-units", "--failed", "--plain", "--no-legend").splitlines():
        yield f"failed-unit {line.split()[0]}"
    said = system.run("systemctl", "show", "-p", "ActiveState", "-p", "StatusText", "switchroom-health.service")
    found = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    match found.get("ActiveState", ""):
        case "active":
            yield "health passed"
        case "failed":
            yield f"health failed: {found.get('StatusText') or 'it did not say why'}"
        case _:
            yield "health still running"


def deaths(log: Path = LOG) -> Iterator[str]:
    """How the processes under the supervisor died that were not asked to, and what each said before."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return
    died = [(at, found) for at, line in enumerate(lines) if (found := DIED.fullmatch(line))]
    for at, found in died[-DEATHS:]:
        yield f"death {found['time']} {found['how']}"
        words = [line for line in lines[:at] if line.split()[1:2] == [found["name"]]]
        yield from (f"last-words {line}" for line in words[-LAST_WORDS:])


def _kernel_ended() -> Iterator[str]:
    with contextlib.suppress(system.CannotDo):  # also when there is no such line
        said = system.run("journalctl", "-k", "-b", "-q", "-o", "cat", "-n", str(LAST_WORDS), "--grep", KERNEL_ENDED)
        yield from (f"kernel {line}" for line in said.splitlines())


def _mounts() -> Iterator[str]:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if place in MOUNTS:
            yield f"mount {place} {kind} {options}"
    for place in MOUNTS[1:]:
        figures = os.statvfs(place)
        yield f"size {place} {figures.f_blocks * figures.f_frsize} free {figures.f_bavail * figures.f_frsize}"


def _listeners() -> Iterator[str]:
    """Sockets that anybody may reach, loopback included; of RTP ports only how many."""
    media = 0
    for line in system.run("ss", "-H", "-lntu").splitlines():
        fields = line.split()
        port = fields[4].rpartition(":")[2]
        if fields[0] == "udp" and port.isdigit() and 16384 <= int(port) <= 32767:
            media += 1
        else:
            yield f"listens {fields[0]} {port} {fields[4]}"
    yield f"media-ports {media}"


def _memory() -> Iterator[str]:
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE))
    used = int(found["MemTotal"]) - int(found["MemAvailable"])
    yield f"memory used {used >> 10} MiB of {int(found['MemTotal']) >> 10} MiB"
    sizes = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            name = (process / "comm").read_text().strip()
            sizes.append((health.memory_of(int(process.name)) >> 20, f"{name} ({process.name})"))
    for size, name in sorted(sizes, reverse=True)[:16]:
        yield f"process {size} MiB {name}"


def _start() -> Iterator[str]:
    for unit in ("multi-user.target", "switchroom.service", "switchroom-health.service"):
        done = system.run("systemctl", "show", "--value", "-p", "ActiveEnterTimestampMonotonic", unit).strip()
        if done.isdigit() and int(done):
            yield f"started {unit} {int(done) / 1e6:.1f} s"
