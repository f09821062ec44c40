"""The one-time code that whoever sets the box up, or restores a backup on a box that cannot read its configuration, reads where the box was
started: on its screen, or in run/setup-code."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"  # nothing that looks like something else
LENGTH = 10


def make() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def keep(file: Path) -> None:
    """A code is in the file, readable by its owner only; the one that is there stays."""
    with (
        contextlib.suppress(FileExistsError),
        open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out,
    ):
        out.write(make())
