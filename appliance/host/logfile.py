"""The one log: what every process says, on the terminal and in a file of bounded size (5 MB, three of them kept)."""

from __future__ import annotations

import logging
import logging.handlers
import sys
from pathlib import Path

FILE_BYTES = 5 << 20
FILES = 3
LINES = logging.Formatter("%(asctime)s.%(msecs)03d %(name)-10s %(message)s", "%Y-%m-%dT%H:%M:%S")  # of the file


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
