"""The one way in which a tar from outside is read: as a stream, plain files only, name and size looked at before a byte of the contents is.

Backups and updates are plain ustar archives. `tarfile` follows more: headers that extend the next one (pax, GNU), of any size they claim and
any number of them, all taken into memory. Here a header is one block of 512 octets, its name fits into that, and what is not a file
is refused; so what is read costs the same memory whatever somebody has written into it.
"""

from __future__ import annotations

import tarfile
from typing import IO

BLOCK = tarfile.BLOCKSIZE
CHUNK = 1 << 16
LARGEST = (1 << 33) - 1  # octets of a file: what eleven octal digits can say
PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)


class Member:
    """A file of the archive; its contents are read before the next one is asked for."""

    def __init__(self, name: str, size: int, stream: IO[bytes]) -> None:
        self.name = name
        self.size = size
        self._stream = stream
        self._left = size

    def read(self, size: int) -> bytes:
        """The next `size` octets, fewer only at the end. tarfile.ReadError when the archive ends before the file does."""
        block = exactly(self._stream, min(size, self._left))
        self._left -= len(block)
        return block

    def skip(self) -> None:
        """What is left of it, and what fills up its last block."""
        while self.read(CHUNK):
            pass
        exactly(self._stream, -self.size % BLOCK)


class Archive:
    """`next` gives one file after the other. tarfile.TarError: this is not an archive, or not one of plain files."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._last: Member | None = None

    def next(self) -> Member | None:
        """None behind the last one."""
        if self._last is not None:
            self._last.skip()
        block = exactly(self._stream, BLOCK)
        if not block.strip(b"\0"):
            return None
        entry = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if entry.type not in PLAIN or not 0 <= entry.size <= LARGEST:
            raise tarfile.ReadError("it holds something that is not a plain file")
        self._last = Member(entry.name, entry.size, self._stream)
        return self._last


def exactly(stream: IO[bytes], size: int) -> bytes:
    """Streams from a network give less at a time than was asked for."""
    parts, left = [], size
    while left and (part := stream.read(min(left, CHUNK))):
        parts.append(part)
        left -= len(part)
    if left:
        raise tarfile.ReadError("it ends too early")
    return b"".join(parts)
