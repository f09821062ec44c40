"""The one log: what every process says, on the terminal and in a file of bounded size (5 MB, three of them kept)."""

from __future__ import annotations

import logging
import logging.handlers
import re
import sys
from pathlib import Path

FILE_BYTES = 5 << 20
FILES = 3
PROCESSES = ("core", "calls", "web")
MOMENT, NAME = 24, 10  # letters of the time with the space behind it, and of the name at least
_SAID = re.compile(r"[DIWEC] [\w.<>-]+: ")  # how a line of a process of ours begins, which has said its level and module


class _Lines(logging.Formatter):
    """Of the file: time, process, level and module (of our own words too), what was said. `upkeep/logs.py` reads them."""

    def format(self, record: logging.LogRecord) -> str:
        said = super().format(record)
        place = MOMENT + max(NAME, len(record.name)) + 1
        if record.levelno == logging.INFO and (record.name in PROCESSES or _SAID.match(said[place:])):
            return said  # what a process has said, as it said it
        return f"{said[:place]}{record.levelname[0]} {record.name}: {said[place:]}"


LINES = _Lines("%(asctime)s.%(msecs)03d %(name)-10s %(message)s", "%Y-%m-%dT%H:%M:%S")


def open_log(directory: Path) -> None:
    """Send the root logger to the terminal's error output and to `directory`/switchroom.log."""
    directory.mkdir(parents=True, exist_ok=True)
    file = logging.handlers.RotatingFileHandler(
        directory / "switchroom.log", maxBytes=FILE_BYTES, backupCount=FILES - 1
    )
    file.setFormatter(LINES)
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(logging.Formatter("%(asctime)s %(name)-10s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[file, terminal], force=True)
