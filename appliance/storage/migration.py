"""What others are told while a database is copied, checked and brought up to date, and how they see that it goes on.

Who opens a database writes how far it is to a file beside it (calls.db.opening), at most once a second, driven by SQLite's own progress handler:
the figure moves only while statements are being executed, so a migration that hangs is told from one that is long. The supervisor,
the health gate, the console and the page read the file: they wait as long as it changes and give up a fixed time after it stopped.
A file left behind by a power cut does not change, so it delays nobody.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from appliance.words import Duration, Said

SUFFIX = ".opening"
EVERY = 1.0  # seconds between two reports
STEPS = 5_000  # of SQLite's virtual machine between two looks at the clock
PATIENCE = 120.0  # seconds without progress after which nobody waits any more
NAMES = {"config.db": Said("opening.configuration"), "calls.db": Said("opening.calls")}


def _nothing() -> None:
    pass


told: Callable[[], None] = _nothing  # called at every report; whoever puts a process together says what else is done then


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How far the work on one database is."""

    database: str  # file name
    what: str  # checking, copying, changing
    step: int = 0  # of `steps` changes, from 1
    steps: int = 0
    done: int = 0  # bytes copied, of `total`; 0 when nobody can tell
    total: int = 0
    started: float = 0.0  # unix time
    beat: int = 0  # grows as long as the work goes on

    def words(self, now: float) -> Said:
        """For the console and the page."""
        name: Said | str = NAMES.get(self.database, self.database)
        spent = Duration(max(0.0, now - self.started))
        if self.what == "copying" and self.total:
            return Said.of("opening.copying", name=name, percent=min(99, 100 * self.done // self.total))
        if self.what == "copying":
            return Said.of("opening.copying-spent", name=name, time=spent)
        if self.what == "changing":
            return Said.of("opening.changing", name=name, step=self.step, steps=self.steps, time=spent)
        return Said.of("opening.checking", name=name, time=spent)


class Progress:
    """The report of one database being opened. `watch` makes the connection's own work drive it."""

    def __init__(self, path: Path) -> None:
        self._file = path.with_name(path.name + SUFFIX)
        self._report = Report(database=path.name, what="checking", started=time.time())
        self._told = time.monotonic()  # nothing is told of what takes less than a moment
        self._copy: Path | None = None

    def now(self, what: str, *, step: int = 0, steps: int = 0, copy: Path | None = None, total: int = 0) -> None:
        """A new part of the work begins; `copy` is the file whose growth to `total` bytes is the progress."""
        self._copy = copy
        self._report = msgspec.structs.replace(self._report, what=what, step=step, steps=steps, done=0, total=total)

    @contextlib.contextmanager
    def watch(self, connection: sqlite3.Connection) -> Iterator[None]:
        connection.set_progress_handler(self.beat, STEPS)
        try:
            yield
        finally:
            connection.set_progress_handler(None, 0)
            self._file.unlink(missing_ok=True)

    def beat(self) -> int:
        """0: SQLite shall go on."""
        if (moment := time.monotonic()) - self._told < EVERY:
            return 0
        self._told = moment
        done = 0
        with contextlib.suppress(OSError):
            done = self._copy.stat().st_size if self._copy else 0
        self._report = msgspec.structs.replace(self._report, beat=self._report.beat + 1, done=done)
        with contextlib.suppress(OSError):  # a full disk is told by what fills it
            temporary = self._file.with_suffix(".tmp")
            temporary.write_bytes(msgspec.json.encode(self._report))
            temporary.rename(self._file)
        told()
        return 0


def read(data: Path) -> Report | None:
    """What is going on now; None when nothing is."""
    for name in NAMES:
        with contextlib.suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode((data / (name + SUFFIX)).read_bytes(), type=Report)
    return None


class Watch:
    """When the work was last seen to go on. Time is an argument, on any clock that only goes forward."""

    def __init__(self, data: Path, now: float) -> None:
        self._data = data
        self._seen = read(data)
        self.moved = now
        self._alive = False
        self.report: Report | None = None  # of work that was seen to go on; what a power cut left behind is none

    def look(self, now: float) -> float:
        """Seconds since the last change of the report, or since this began."""
        found = read(self._data)
        if found != self._seen:
            self._seen, self.moved, self._alive = found, now, True
        self.report = found if self._alive and now - self.moved < PATIENCE else None
        return now - self.moved
