"""What a disk can hold after a power cut, from the log of its writes.

QEMU's `blklogwrites` (the format of the kernel's dm-log-writes) records each write and each flush of an emulated box. A cut lies behind
one entry of the log: what came before the last flush is there; of each later write all, nothing or its first sectors are, drawn by a
seed. So writes are lost, reordered and torn, as a disk with a cache does it; a disk that lies about a flush is not modelled.

`Partitions` holds some partitions of the disk as sparse files, as of the last flush, and gives copies as a cut leaves them.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import random
import struct
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from image.disk import data_of

MAGIC, HEADER, ENTRY = 0x6A736677736872, struct.Struct("<QQQI"), struct.Struct("<QQQQ")
FLUSH, FUA, DISCARD = 1, 2, 4
SECTOR = 512


@dataclass(frozen=True, slots=True)
class Write:
    offset: int  # on the disk, bytes
    length: int
    place: int  # of the data in the log


@dataclass(frozen=True, slots=True)
class Entry:
    """A flush, a write that is on the disk when it is done (`fua`), or a plain write."""

    write: Write | None
    place: int  # of the entry in the log: all entries before it were begun earlier
    flush: bool = False


def read_log(log: mmap.mmap | bytes) -> list[Entry]:
    """The entries in their order; the log may end in the middle of one. ValueError when it is no log."""
    magic, version, _, sector = HEADER.unpack_from(log, 0)
    if (magic, version) != (MAGIC, 1):
        raise ValueError("not a log of writes")
    found, place = [], sector
    while place + ENTRY.size <= len(log):
        first, sectors, flags, marked = ENTRY.unpack_from(log, place)
        if not (sectors or flags):
            break
        length = 0 if flags & DISCARD else sectors * sector + marked  # `marked`: the words of a mark; its `sectors` are none
        data = place + sector
        if data + length > len(log):
            break
        write = Write(first * sector, sectors * sector, data) if sectors and not flags & DISCARD else None
        if write is not None or flags & (FLUSH | FUA):
            found.append(Entry(write, place, bool(flags & (FLUSH | FUA))))
        place = data + -(-length // sector) * sector
    return found


def torn(write: Write, chance: random.Random) -> Write | None:
    """What of a write that nobody has flushed is there after the cut."""
    draw = chance.random()
    if draw < 0.4:
        return None
    if draw < 0.8 or write.length <= SECTOR:
        return write
    return Write(write.offset, SECTOR * chance.randrange(1, -(-write.length // SECTOR)), write.place)


def places(disk: Path) -> dict[str, tuple[int, int]]:
    """Partitions of a raw disk by name: offset and size in bytes."""
    said = subprocess.run(["sfdisk", "-J", disk], capture_output=True, check=True).stdout
    table = json.loads(said)["partitiontable"]["partitions"]
    return {row["name"]: (row["start"] * SECTOR, row["size"] * SECTOR) for row in table}


def copy(source: Path, target: Path, offset: int = 0, size: int | None = None) -> None:
    """A sparse copy of (a range of) a file."""
    size = source.stat().st_size - offset if size is None else size
    with source.open("rb") as old, target.open("wb") as new:
        new.truncate(size)
        for first, end in data_of(old):
            first, end = max(first, offset), min(end, offset + size)
            while first < end and (
                done := os.copy_file_range(old.fileno(), new.fileno(), end - first, first, first - offset)
            ):
                first += done


class Partitions:
    """The named partitions of a disk ("": the whole disk), as of the last flush before an entry of the log."""

    def __init__(self, disk: Path, names: Sequence[str], log: Path, folder: Path) -> None:
        folder.mkdir()
        self._file = log.open("rb")
        self._log = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self.entries = read_log(self._log)
        every = places(disk) | {"": (0, disk.stat().st_size)}
        self._places = {name: every[name] for name in names}
        self._files = {name: folder / f"{name or 'disk'}.img" for name in names}
        for name, file in self._files.items():
            copy(disk, file, *self._places[name])
        self._next = 0  # entry that has not been looked at
        self._pending: list[Write] = []
        self.changes = dict.fromkeys(names, 0)  # flushed writes to each

    def close(self) -> None:
        self._log.close()
        self._file.close()

    def touched(self, write: Write) -> Iterator[tuple[str, int, int, int]]:
        """Of each of our partitions that a write reaches: name, offset in it, first and last byte in the write's data."""
        for name, (start, size) in self._places.items():
            first, end = max(write.offset, start), min(write.offset + write.length, start + size)
            if first < end:
                yield name, first - start, first - write.offset, end - write.offset

    def writes_to(self, *names: str, since: int = 0) -> list[int]:
        """Entries that write to one of these partitions, from a place of the log on."""
        return [
            index
            for index, entry in enumerate(self.entries)
            if entry.place >= since and entry.write and any(row[0] in names for row in self.touched(entry.write))
        ]

    def at(self, entry: int) -> None:
        """The power goes right behind this entry; only forward."""
        for index in range(self._next, entry + 1):
            found = self.entries[index]
            if found.write is not None:
                self._pending.append(found.write)
            if found.flush:
                for write in self._pending:
                    for name, *_ in self.touched(write):
                        self.changes[name] += 1
                for name, file in self._files.items():
                    self._apply(name, file, self._pending)
                self._pending.clear()
        self._next = max(self._next, entry + 1)

    def survivors(self, chance: random.Random) -> list[Write]:
        return [left for write in self._pending if (left := torn(write, chance)) is not None]

    def state_of(self, name: str, survivors: Sequence[Write]) -> tuple[object, ...]:
        """Equal for equal contents of a partition: what was found out once holds again."""
        return self.changes[name], *(write for write in survivors if any(row[0] == name for row in self.touched(write)))

    def after(self, name: str, survivors: Sequence[Write], target: Path) -> Path:
        """The partition as the cut leaves it, as a file."""
        copy(self._files[name], target)
        self._apply(name, target, survivors)
        return target

    def _apply(self, name: str, file: Path, writes: Sequence[Write]) -> None:
        with file.open("r+b", buffering=0) as target:
            for write in writes:
                for where, offset, first, end in self.touched(write):
                    if where == name:
                        target.seek(offset)
                        target.write(memoryview(self._log)[write.place + first : write.place + end])


def disk_after(disk: Path, log: Path, entry: int, chance: random.Random, folder: Path) -> Path:
    """The whole disk as a cut leaves it."""
    with contextlib.closing(Partitions(disk, [""], log, folder)) as whole:
        whole.at(entry)
        return whole.after("", whole.survivors(chance), folder / "cut.img")
