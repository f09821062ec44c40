"""Whether a database file is still one, by a look that costs next to nothing: its first hundred octets and its length (SQLite's file format, 1.3).

What else may be wrong inside it is found by who reads it. Not for a process that has the database open: closing the file here would take the
locks that SQLite has on it.
"""

from __future__ import annotations

import os
from pathlib import Path

MAGIC = b"SQLite format 3\0"
HEAD = 100  # octets


def damage(path: Path) -> str:
    """What is wrong with it, in a sentence; "": nothing that could be seen. While a log is written back into the file, its length may be
    behind for a moment: who asks twice knows."""
    try:
        with path.open("rb") as file:
            head, size = file.read(HEAD), os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return f"{path.name} is missing."
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})."
    if not size:
        return f"{path.name} is empty."
    if not head.startswith(MAGIC) or len(head) < HEAD:
        return f"{path.name} is overwritten: it does not begin as a database does."
    page = int.from_bytes(head[16:18], "big")
    counted = head[24:28] == head[92:96]  # otherwise the number of pages is an old one
    if counted and size < int.from_bytes(head[28:32], "big") * (65536 if page == 1 else page):
        return f"{path.name} is cut off: its end is missing."
    return ""


class Watch:
    """Looks at a file again and again, and tells what is news."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._suspicion = ""
        self._told = False

    def look(self) -> str | None:
        """Why it cannot be used, once it has been found so twice; "" when what was told is over; None: nothing new."""
        found, before = damage(self._path), self._suspicion
        self._suspicion = found
        if found and found == before and not self._told:
            self._told = True
            return f"{found} Restore a backup."
        if not found and self._told:
            self._told = False
            return ""
        return None
