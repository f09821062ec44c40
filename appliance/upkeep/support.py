"""The support bundle: what somebody needs who shall find a fault, and no secret.

A tar.gz of the log, the state of the processes, how many rows each table holds and, on the box, the journal, units, addresses, partitions
and kernel images. The configuration itself is not in it. Every text goes through `Mask`: it leaves out every secret this box knows, by
its value, and what looks like one that it does not know.
"""

from __future__ import annotations

import contextlib
import io
import re
import sqlite3
import subprocess
import tarfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from appliance import cti
from appliance.config.model import KINDS
from appliance.config.store import Store
from appliance.storage.database import StorageFailed

Commands = tuple[tuple[str, tuple[str, ...]], ...]
# Only on the box: on somebody's own computer these would tell about other things than the telephone system.
BOX: Commands = (
    ("journal.txt", ("journalctl", "-b", "--no-pager", "-o", "short-iso", "-n", "20000")),
    ("failed-units.txt", ("systemctl", "--failed", "--no-pager", "--plain")),
    ("addresses.txt", ("ip", "addr")),
    ("listening.txt", ("ss", "-lntup")),
    ("disk.txt", ("df", "-h")),
    ("kernel-images.txt", ("ls", "-l", "/efi/EFI/Linux")),
    ("kernel-log.txt", ("dmesg",)),
)
# What a log line may carry that nobody else should read, however it came there.
PATTERNS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL),
    re.compile(r"\$argon2\w*\$\S+"),
    re.compile(r"(?i)__Host-switchroom\s*=\s*\S+"),
    re.compile(r"(?i)\b(authorization|proxy-authorization|cookie|set-cookie)\s*:.*"),
    re.compile(r"(?i)\b(password|passwd|passphrase)\W{0,4}[=:].*"),  # to the end of the line: it may hold spaces
    re.compile(r"(?i)\b(secret|token|signature|response|nonce|code)\W{0,4}[=:]\s*(\"[^\"]*\"|\S+)"),
    re.compile(r"(?i)\bsetup code\s+\S+"),  # on the terminal, and so in the journal; it may be spent and known no more
    re.compile(r"(?i)inline:[A-Za-z0-9+/=]+"),
)
COUNTED = ("config.db", "calls.db")
SHORTEST = 6  # letters of a secret that is looked for by its value
LOG_BYTES = 2 << 20  # the end of each log file


class Mask:
    """Leaves secrets out of a text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub("(left out)", text)
        for pattern in PATTERNS:
            text = pattern.sub(lambda found: f"{found.group(0)[:6]}… (left out)", text)
        return text


def secrets_of(data: Path) -> Iterator[str]:
    """Every secret that is stored here, as it might stand in a text."""
    if (data / "config.db").exists():
        with contextlib.suppress(StorageFailed), contextlib.closing(Store(data)) as store:
            snapshot = store.load()
            for kind, row in KINDS.items():
                for record in snapshot.of(kind).values():
                    yield from (getattr(record, name) for name in row.secrets)
    for file in (data / "keys").glob("*"):
        with contextlib.suppress(OSError):
            content = file.read_bytes()
            yield content.hex()
            if file.suffix == ".key" or file.name == "box.id":
                yield from (
                    line.strip() for line in content.decode(errors="ignore").splitlines() if "-----" not in line
                )
    for file in (data / "run/setup-code", data / "licence.json"):
        with contextlib.suppress(OSError):
            text = file.read_text(errors="replace").strip()
            yield from (text, *re.findall(r"[0-9a-f]{64,}", text))
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"file:{data / 'run/web-sessions.db'}?mode=ro", uri=True)) as sessions,
    ):
        yield from (value for (value,) in sessions.execute("select value from secret"))
        yield from (key for (key,) in sessions.execute("select key from session"))


def write(data: Path, commands: Commands = ()) -> Path:
    """Make the bundle in the data directory; the one before it goes."""
    folder = data / "support"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / "support.tar.gz"
    temporary = target.with_suffix(".tmp")
    mask = Mask(secrets_of(data))
    with tarfile.open(temporary, "w:gz") as tar:
        for name, text in _texts(data, commands):
            _add(tar, name, mask(text))
    temporary.chmod(0o600)
    temporary.rename(target)
    return target


def _texts(data: Path, commands: Commands) -> Iterator[tuple[str, str]]:
    for name, command in commands:
        yield name, _output(command)
    for file in sorted((data / "log").glob("switchroom.log*")):
        yield f"log/{file.name}.txt", _end_of(file)
    yield "status.json", _status(data)
    yield "databases.txt", "\n".join(_tables(data / name) for name in COUNTED)


def _end_of(file: Path) -> str:
    with file.open("rb") as content:
        content.seek(max(0, file.stat().st_size - LOG_BYTES))
        return content.read().decode(errors="replace")


def _status(data: Path) -> str:
    try:
        with cti.Client(str(data / "run/supervisor.sock")) as supervisor:
            return msgspec.json.format(msgspec.json.encode(supervisor.ask(cti.GetStatus()))).decode()
    except (cti.Unavailable, OSError) as error:
        return f"the supervisor does not answer: {error}\n"


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
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            names = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
            counts = [db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names]
    except sqlite3.Error as error:  # a broken one is what such a bundle is made for
        return f"{path.name}: {error}"
    return "\n".join([path.name, *(f"  {name}: {count}" for name, count in zip(names, counts, strict=True))])


def _add(tar: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    entry = tarfile.TarInfo(f"switchroom-support/{name}")
    entry.size, entry.mtime = len(content), int(time.time())
    tar.addfile(entry, io.BytesIO(content))
