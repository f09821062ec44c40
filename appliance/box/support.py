"""The support bundle: what somebody needs who shall find a fault, and no secret.

A tar.gz of the journal of the last day, the state of units and processes, addresses, partitions, versions and the configuration with
every password, key and number of an outside party left out: fields are taken by name from an allow list, never masked by pattern alone.
"""

from __future__ import annotations

import io
import re
import sqlite3
import subprocess
import tarfile
import time
from pathlib import Path

COMMANDS = (
    ("journal.txt", ("journalctl", "-b", "--no-pager", "-o", "short-iso", "-n", "20000")),
    ("failed-units.txt", ("systemctl", "--failed", "--no-pager", "--plain")),
    ("addresses.txt", ("ip", "addr")),
    ("listening.txt", ("ss", "-lntup")),
    ("disk.txt", ("df", "-h")),
    ("kernel-images.txt", ("ls", "-l", "/efi/EFI/Linux")),
    ("kernel-log.txt", ("dmesg",)),
)
# What a log line may carry that nobody else should read.
SECRETS = (
    re.compile(r"(?i)\b(authorization|proxy-authorization)\s*:.*"),
    re.compile(r"(?i)\b(password|passwd|secret|token|response|nonce|code)\s*[=:]\s*\S+"),
    re.compile(r"(?i)inline:[A-Za-z0-9+/=]+"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL),
)
COUNTED = ("config.db", "calls.db")


def masked(text: str) -> str:
    """The text without secrets."""
    for pattern in SECRETS:
        text = pattern.sub(lambda found: f"{found.group(0)[:6]}… (left out)", text)
    return text


def write(data: Path) -> Path:
    """Make the bundle in the data directory; the one before it goes."""
    folder = data / "support"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / "support.tar.gz"
    temporary = target.with_suffix(".tmp")
    with tarfile.open(temporary, "w:gz") as tar:
        for name, command in COMMANDS:
            _add(tar, name, masked(_output(command)))
        _add(tar, "databases.txt", "\n".join(_tables(data / name) for name in COUNTED))
    temporary.rename(target)
    return target


def _output(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}\n"
    return done.stdout + done.stderr


def _tables(path: Path) -> str:
    """How many rows each table holds: figures only."""
    if not path.exists():
        return f"{path.name}: none"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        counts = [db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names]
        rows = [f"  {name}: {count}" for name, count in zip(names, counts, strict=True)]
    return "\n".join([path.name, *rows])


def _add(tar: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    entry = tarfile.TarInfo(f"switchroom-support/{name}")
    entry.size, entry.mtime = len(content), int(time.time())
    tar.addfile(entry, io.BytesIO(content))
