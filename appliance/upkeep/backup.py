"""One file with everything this box must remember, and the way back: configuration, call records, keys, licence.

`make` copies the databases as they are at one moment and writes a sealed file (sealed.py) around a tar: `backup.json`, then the files of
`FILES` that exist. `stage` reads such a file into a folder of its own, checks all of it, brings it up to date and only then names it
`restore/`: until that moment nothing has changed, and whatever is wrong is refused with a sentence. `put_in_place` is called at the
start of the system, when no process has a file open: what was there goes to `aside/before-restore.N`, what was restored takes its
place. Each of its steps may be repeated, so a power cut in it is finished by the next start.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import IO, Annotated, cast

import msgspec

from appliance.calls.history.records import CallRecords, calls_migrations
from appliance.config.store import Store, config_migrations
from appliance.storage.archive import LARGEST, Archive
from appliance.storage.copies import applied
from appliance.storage.database import Migrations, StorageFailed
from appliance.storage.on_disk import sync
from appliance.storage.sealed import NotOpened, Opener, Sealer
from appliance.version import VERSION
from appliance.words import Explained, Fact, Instant, Said

DATABASES: dict[str, Migrations] = {"config.db": config_migrations, "calls.db": calls_migrations}
KEYS = ("keys/box.key", "keys/box.id", "keys/authority.pem", "keys/authority.key", "keys/server.pem", "keys/server.key")
FILES = (*DATABASES, *KEYS, "licence.json")
NEEDED = ("config.db", "keys/box.key")
CONTENTS = "backup.json"
WORK = "backup."  # begins the name of the folder of a backup that is being made
STAGE, READY = (
    "restoring",
    "restore",
)  # folders of a restore that is being read, and of one that waits for the next start
ASIDE = "kept-as"  # in READY: the name of the folder for what was there
KEPT = "before-restore"
MOST_KEPT = 2
SPARE = 64 << 20  # bytes that stay free
LARGEST_CONTENTS = 1 << 16
LARGEST_OTHER = 1 << 16  # octets of a file that is no database: keys, certificates, licence are read whole
# Of a configuration that somebody sends: it is held in memory whole. An office of two thousand has 8,000 records of 500 octets.
LONGEST_BODY, MOST_RECORDS, MOST_BODIES = 1 << 18, 50_000, 16 << 20

Progress = Callable[[str, int, int], None]  # what, bytes done, bytes in all (0: unknown)


class BadBackup(Explained):
    """It was refused, and nothing was changed."""


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says about itself."""

    version: str
    made: float  # unix time
    migrations: dict[str, list[str]]  # database -> what it has been through
    sizes: dict[str, Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]]  # file -> bytes
    extensions: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Restored:
    """What waits for the next start."""

    contents: Contents
    administrators: tuple[str, ...]  # who can log in then


def quiet(what: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


def file_name(now: float, name: str = "") -> str:
    """name: of the system; only what every file system takes is used of it."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"{plain or 'switchroom'}-{time.strftime('%Y-%m-%d-%H%M', time.localtime(now))}.backup"


# ---- making ----------------------------------------------------------------------------------------------------------


def make(data: Path, out: IO[bytes], passphrase: str, now: float, progress: Progress = quiet) -> Contents:
    """Write a backup of `data` to `out`. BadBackup when there is nothing to back up or no room for the copies."""
    missing = [name for name in NEEDED if not (data / name).exists()]
    if missing:
        raise BadBackup(Said.of("keeping.nothing", file=missing[0]))
    expected = sum((data / name).stat().st_size for name in DATABASES if (data / name).exists())
    _demand_room(data, expected)
    work = Path(tempfile.mkdtemp(prefix=WORK, dir=data))
    try:
        copied = 0
        for name in DATABASES:
            if (data / name).exists():
                _copy_database(data / name, work / name, partial(_told, progress, copied, expected))
                copied += (work / name).stat().st_size
        return _write(data, work, out, passphrase, now, progress)
    except OSError as error:
        raise BadBackup(Said.of("keeping.not-written", error=str(error.strerror))) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _told(progress: Progress, before: int, expected: int, done: int) -> None:
    progress("copying", before + done, expected)


def _copy_database(source: Path, target: Path, progress: Callable[[int], None]) -> None:
    def told() -> int:
        with contextlib.suppress(OSError):
            progress(target.stat().st_size)
        return 0

    connection = sqlite3.connect(f"file:{source}?mode=rw", uri=True, timeout=30.0, isolation_level=None)
    try:
        connection.set_progress_handler(told, 20_000)
        connection.execute("vacuum into ?", [str(target)])
    except sqlite3.DatabaseError as error:
        raise BadBackup(Said.of("keeping.not-copied", file=source.name, error=str(error))) from None
    finally:
        connection.close()


def _write(data: Path, work: Path, out: IO[bytes], passphrase: str, now: float, progress: Progress) -> Contents:
    sources = [(name, work / name if name in DATABASES else data / name) for name in FILES]
    sources = [(name, path) for name, path in sources if path.is_file()]
    contents = _describe(work, {name: path.stat().st_size for name, path in sources}, now)
    total, done = sum(contents.sizes.values()), 0
    sealer = Sealer(out, passphrase, VERSION, now)

    def counted(block: int) -> None:
        nonlocal done
        done += block
        progress("writing", done, total)

    with (
        gzip.GzipFile(fileobj=cast(IO[bytes], sealer), mode="wb", compresslevel=3, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        text = msgspec.json.encode(contents)
        tar.addfile(_entry(CONTENTS, len(text), now), _Counted(text, lambda block: None))
        for name, path in sources:
            with path.open("rb") as file:
                tar.addfile(_entry(name, contents.sizes[name], now), _Counted(file, counted))
    sealer.finish()
    return contents


def _entry(name: str, size: int, now: float) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = size, int(now), 0o600
    return entry


class _Counted:
    """A file whose reading is told."""

    def __init__(self, source: IO[bytes] | bytes, told: Callable[[int], None]) -> None:
        self._source = io.BytesIO(source) if isinstance(source, bytes) else source
        self._told = told

    def read(self, size: int = -1) -> bytes:
        block = self._source.read(size)
        self._told(len(block))
        return block


def _describe(work: Path, sizes: dict[str, int], now: float) -> Contents:
    migrations: dict[str, list[str]] = {}
    counts = {"extensions": 0, "calls": 0}
    queries = {
        "config.db": ("extensions", "select count(*) from record where kind = 'extension'"),
        "calls.db": ("calls", "select count(*) from call where selftest = 0"),
    }
    for name, (word, query) in queries.items():
        if (work / name).exists():
            with contextlib.closing(sqlite3.connect(work / name)) as connection:
                migrations[name] = sorted(applied(connection))
                counts[word] = int(connection.execute(query).fetchone()[0])
    return Contents(version=VERSION, made=now, migrations=migrations, sizes=sizes, **counts)


# ---- reading ---------------------------------------------------------------------------------------------------------


def stage(data: Path, sealed: IO[bytes], passphrase: str, who: str, now: float, progress: Progress = quiet) -> Restored:
    """Read and check a backup; the next start uses it. BadBackup: nothing has changed, not even an earlier one that waits. `who`
    asked for it is written into the restored list of changes."""
    folder = data / STAGE
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(mode=0o700)
        (folder / "keys").mkdir(mode=0o700)
        with Opener(sealed, passphrase) as plain, gzip.GzipFile(fileobj=cast(IO[bytes], plain)) as packed:
            tar = Archive(cast(IO[bytes], packed))
            contents = _read_contents(tar)
            _demand_room(data, 2 * sum(contents.sizes.values()))
            _unpack(tar, folder, contents, progress)
            while plain.read(1 << 16):  # to the last block: a file that was cut off behind the tar's end is cut off
                pass
        progress("checking", 0, 0)
        event = Said.of("journal.restored", time=Instant(contents.made))
        restored = _check(folder, contents, who, now, event)
        _name_it_ready(data, folder, contents)
    except NotOpened as error:
        raise BadBackup(error.said) from None
    except (tarfile.TarError, EOFError, zlib.error, msgspec.DecodeError, RecursionError) as error:
        raise BadBackup(Said.of("keeping.damaged", error=str(error))) from None
    except OSError as error:
        raise BadBackup(Said.of("keeping.not-read", error=error.strerror or str(error))) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return restored


def stage_kept(data: Path, name: str, who: str, now: float) -> Restored:
    """As `stage`, with what was in use before a restore (its folder's name)."""
    source = next((folder for folder in kept_states(data) if folder.name == name), None)
    if source is None:
        raise BadBackup(Said("keeping.gone"))
    folder = data / STAGE
    shutil.rmtree(folder, ignore_errors=True)
    try:
        (folder / "keys").mkdir(mode=0o700, parents=True)
        present = [file for file in FILES if (source / file).exists()]
        _demand_room(data, 2 * sum((source / file).stat().st_size for file in present))
        for file in present:
            for log in ("", "-wal") if file in DATABASES else ("",):
                if (source / (file + log)).exists():
                    shutil.copyfile(source / (file + log), folder / (file + log))
                    (folder / (file + log)).chmod(0o600)
        if missing := [file for file in NEEDED if file not in present]:
            raise BadBackup(Said.of("keeping.kept-lacks", file=missing[0]))
        contents = _describe(folder, {file: (folder / file).stat().st_size for file in present}, source.stat().st_mtime)
        restored = _check(folder, contents, who, now, Said("journal.put-back"))
        _name_it_ready(data, folder, contents)
    except (OSError, sqlite3.Error) as error:
        raise BadBackup(Said.of("keeping.kept-unusable", error=str(error))) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return restored


def _name_it_ready(data: Path, folder: Path, contents: Contents) -> None:
    """The moment from which the next start uses it."""
    (folder / CONTENTS).write_bytes(msgspec.json.encode(contents))
    for path in [*folder.rglob("*"), folder]:
        sync(path)
    shutil.rmtree(data / READY, ignore_errors=True)
    folder.rename(data / READY)
    sync(data)


def _read_contents(tar: Archive) -> Contents:
    entry = tar.next()
    if entry is None or entry.name != CONTENTS or entry.size > LARGEST_CONTENTS:
        raise BadBackup(Said("keeping.no-beginning"))
    contents = msgspec.json.decode(entry.read(entry.size), type=Contents)
    newer = [
        name
        for name, done in contents.migrations.items()
        if name not in DATABASES or set(done) - set(DATABASES[name].names)
    ]
    if newer or set(contents.sizes) - set(FILES):
        raise BadBackup(Said.of("keeping.newer", version=contents.version, ours=VERSION))
    if missing := [name for name in NEEDED if name not in contents.sizes]:
        raise BadBackup(Said.of("keeping.lacks", file=missing[0]))
    if large := [name for name, size in contents.sizes.items() if name not in DATABASES and size > LARGEST_OTHER]:
        raise BadBackup(Said.of("keeping.large", file=large[0]))
    return contents


def _unpack(tar: Archive, folder: Path, contents: Contents, progress: Progress) -> None:
    total, done, left = sum(contents.sizes.values()), 0, dict(contents.sizes)
    while (entry := tar.next()) is not None:
        if left.pop(entry.name, -1) != entry.size:
            raise BadBackup(Said.of("keeping.unexpected", file=entry.name[:80]))
        with open(os.open(folder / entry.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            while block := entry.read(1 << 18):
                file.write(block)
                done += len(block)
                progress("reading", done, total)
    if left:
        raise BadBackup(Said.of("keeping.lacks", file=min(left)))


def _check(folder: Path, contents: Contents, who: str, now: float, event: Said) -> Restored:
    """Open everything as a start would, so that what is put in place later is known to work."""
    try:
        for name in DATABASES:
            if (folder / name).exists():
                _bounded(folder / name)
        with contextlib.closing(Store(folder)) as store:
            snapshot = store.load()
            store.save([], who, now, snapshot.revision, [("settings", "settings", event)])
        with contextlib.closing(CallRecords(folder)):
            pass
    except (StorageFailed, FileNotFoundError) as error:
        why: Fact = error.said if isinstance(error, StorageFailed) else str(error)
        raise BadBackup(Said.of("keeping.unusable", why=why)) from None
    for name in DATABASES:
        for log in ("-wal", "-shm"):
            (folder / (name + log)).unlink(missing_ok=True)
    people = sorted(user.username for user in snapshot.users.values() if user.role == "full" and user.password_hash)
    return Restored(contents, tuple(people))


def _bounded(path: Path) -> None:
    """Nothing in a database that somebody sends takes more memory than it may, or computes something when it is read."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_BODY)  # whatever is longer is refused before it is read
        try:
            unexpected = not _acting(db) <= _acting_of_ours(path.name)
            if path.name == "config.db" and not unexpected:
                rows, octets = db.execute("select count(*), coalesce(sum(length(body)), 0) from record").fetchone()
                unexpected = rows > MOST_RECORDS or octets > MOST_BODIES
        except sqlite3.DataError:
            unexpected = True
        except sqlite3.DatabaseError as error:
            raise BadBackup(Said.of("keeping.database-damaged", file=path.name, error=str(error))) from None
    if unexpected:
        raise BadBackup(Said.of("keeping.unexpected", file=path.name))


def _acting(db: sqlite3.Connection) -> set[str]:
    """What of a database computes something by itself, as it is written."""
    acting = "select sql from sqlite_schema where type in ('view', 'trigger') or sql like '%virtual%'"
    return {str(sql) for (sql,) in db.execute(acting)}


@cache
def _acting_of_ours(name: str) -> set[str]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        DATABASES[name].apply(fresh, lambda step, steps: None)
        return _acting(fresh)


def _demand_room(data: Path, needed: int) -> None:
    figures = os.statvfs(data)
    free = figures.f_bavail * figures.f_frsize
    if free < needed + SPARE:
        raise BadBackup(Said.of("keeping.no-room", needed=(needed + SPARE) >> 20, free=free >> 20))


# ---- putting in place ------------------------------------------------------------------------------------------------


def waits(data: Path) -> bool:
    """Whether a restore waits for the next start."""
    return (data / READY / CONTENTS).exists()


def put_in_place(data: Path) -> Path | None:
    """At a start, before anything is opened: use what was staged; returns where that of before is kept. None: nothing waits."""
    ready = data / READY
    if not waits(data):
        for left in (ready, data / STAGE, *data.glob(f"{WORK}*")):
            shutil.rmtree(left, ignore_errors=True)
        return None
    contents = msgspec.json.decode((ready / CONTENTS).read_bytes(), type=Contents)
    for needed in ("aside", "before", "keys"):
        (data / needed).mkdir(mode=0o700, exist_ok=True)
    kept = _place_for_what_was(data, ready / ASIDE)
    if not kept.exists():
        _set_aside(data, kept)
    for name in FILES:
        if name in DATABASES:
            for log in ("-wal", "-shm"):
                (data / (name + log)).unlink(missing_ok=True)
        if (ready / name).exists():
            (ready / name).rename(data / name)
        elif name not in contents.sizes and name not in DATABASES:
            (data / name).unlink(missing_ok=True)
    for name in DATABASES:
        (data / "before" / name).unlink(missing_ok=True)
        if (ready / "before" / name).exists():
            (ready / "before" / name).rename(data / "before" / name)
    derived = [f"{name}{log}" for name in ("run/web-sessions.db", "found.db") for log in ("", "-wal", "-shm")]
    for extra in ("keys/tickets.key", *derived):
        (data / extra).unlink(missing_ok=True)  # nobody stays logged in, no TLS session is taken up again; calls are found anew
    for folder in (data / "keys", data / "before", data):
        sync(folder)
    (ready / CONTENTS).unlink()  # from here on nothing waits
    sync(ready)
    shutil.rmtree(ready)
    for old in kept_states(data)[:-MOST_KEPT]:
        shutil.rmtree(old)
    return kept


def _place_for_what_was(data: Path, note: Path) -> Path:
    """The name of the folder for what was there, chosen once for this restore, however often it has to be begun again."""
    name = note.read_text() if note.exists() else ""
    if not name.startswith(f"{KEPT}."):
        name = f"{KEPT}.{1 + max((_number(folder) for folder in kept_states(data)), default=0)}"
        note.write_text(name)
        sync(note)
        sync(note.parent)
    return data / "aside" / name


def _set_aside(data: Path, kept: Path) -> None:
    """A second name for every file, in a folder that appears when it is whole. Copies for older versions go along: they fit these."""
    temporary = kept.with_name(f"{KEPT}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "keys").mkdir(mode=0o700, parents=True)
    for name in (*FILES, *(f"before/{name}" for name in DATABASES)):
        for log in ("", "-wal") if name in DATABASES else ("",):
            if (data / (name + log)).exists():
                os.link(data / (name + log), temporary / (name.replace("before/", "before-") + log))
    for folder in (temporary / "keys", temporary):
        sync(folder)
    temporary.rename(kept)
    sync(kept.parent)
    sync(data)


def kept_states(data: Path) -> list[Path]:
    """What was in use before each restore, oldest first."""
    found = (folder for folder in (data / "aside").glob(f"{KEPT}.*") if folder.name.rpartition(".")[2].isdigit())
    return sorted(found, key=_number)


def _number(folder: Path) -> int:
    return int(folder.name.rpartition(".")[2])
