"""Room kept back for the day on which the disk is full, so that the telephone still starts and still records its calls.

A file of real blocks lies beside the databases. It is given up when next to nothing else is free, at a start and while running, and made
again when there is plenty. Half of it may go to the journal, which as root goes on writing on a disk that is full for us; 16 MB hold some
ten thousand call records: time enough for somebody to read the alarm. A box that runs from memory keeps nothing back: that would be memory.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

NAME = "reserve"
SIZE = 32 << 20
LOW = 4 << 20  # free bytes below which it is given up
PLENTY = 400 << 20  # and above which it is made

log = logging.getLogger("supervisor")


def keep(data: Path, free: int | None, *, lasting: bool = True) -> bool:
    """Give up or make the reserve as the disk asks for it; whether it is there now. Call it at the start and every now and then. `free`: octets
    that an ordinary user may still write there, None: not known; `lasting`: the data is on a disk, not in memory."""
    file = data / NAME
    if free is not None and free < LOW and file.exists():
        with contextlib.suppress(OSError):
            file.unlink()
            log.warning("the disk is full: the room that was kept back is used now")
    elif free is not None and free > PLENTY and not file.exists() and lasting:
        _make(file)
    return file.exists()


def _make(file: Path) -> None:
    temporary = file.with_name(NAME + ".tmp")
    try:
        with temporary.open("wb") as made:
            os.posix_fallocate(made.fileno(), 0, SIZE)
        temporary.rename(file)
    except OSError as error:  # then there is none; nothing else depends on it
        log.info("no room could be kept back on the disk: %s", error.strerror)
        with contextlib.suppress(OSError):
            temporary.unlink()
