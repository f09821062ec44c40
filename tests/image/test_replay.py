"""The replay itself, on logs made by hand: what a flush makes certain, what a cut may lose, tear or keep."""

import random
import struct
import subprocess
from pathlib import Path

import pytest

from tests.image.replay import FLUSH, MAGIC, Partitions, Write, read_log, torn

SECTOR = 512


def log_of(*entries: tuple[int, bytes, int]) -> bytes:
    """First sector, data, flags of each."""
    parts = [struct.pack("<QQQI", MAGIC, 1, len(entries), SECTOR).ljust(SECTOR, b"\0")]
    for sector, data, flags in entries:
        parts += [struct.pack("<QQQQ", sector, len(data) // SECTOR, flags, 0).ljust(SECTOR, b"\0"), data]
    return b"".join(parts)


def block(letter: str, sectors: int = 1) -> bytes:
    return letter.encode() * SECTOR * sectors


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """One megabyte, with the partition `one` from 256 KiB on."""
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1 << 20))
    table = "label: gpt\nfirst-lba: 34\nstart=512, size=512, name=one\n"
    subprocess.run(["/usr/sbin/sfdisk", "-q", path], input=table, text=True, check=True)
    return path


def test_a_log_is_read_to_where_it_ends() -> None:
    whole = log_of((512, block("a", 2), 0), (0, b"", FLUSH), (514, block("b"), 0))
    entries = read_log(whole)
    assert [entry.flush for entry in entries] == [False, True, False]
    assert entries[0].write == Write(512 * SECTOR, 2 * SECTOR, 2 * SECTOR)
    assert len(read_log(whole[:-1])) == 2
    with pytest.raises(ValueError, match="not a log"):
        read_log(bytes(1024))


def test_a_write_that_nobody_flushed_is_there_lost_or_torn() -> None:
    write, chance = Write(0, 8 * SECTOR, 0), random.Random(1)
    lengths = {left.length // SECTOR if (left := torn(write, chance)) else 0 for _ in range(500)}
    assert lengths == set(range(9))
    single = [torn(Write(0, SECTOR, 0), chance) for _ in range(100)]
    assert {left.length if left else 0 for left in single} == {0, SECTOR}


def test_a_flush_makes_certain_what_came_before_it(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/sbin:/usr/bin:/bin:/sbin")
    log = tmp_path / "log"
    log.write_bytes(
        log_of((512, block("a"), 0), (0, b"", FLUSH), (513, block("b"), 0), (511, block("xc", 2)[: 2 * SECTOR], 0))
    )
    parts = Partitions(disk, ["one"], log, tmp_path / "parts")
    parts.at(0)
    assert parts.after("one", [], tmp_path / "out").read_bytes() == bytes(256 << 10)
    parts.at(3)
    kept = parts.after("one", [], tmp_path / "out").read_bytes()
    assert kept[: 3 * SECTOR] == block("a") + bytes(2 * SECTOR)
    chance = random.Random(2)
    seen = set()
    for _ in range(50):
        survivors = parts.survivors(chance)
        found = parts.after("one", survivors, tmp_path / "out").read_bytes()
        seen.add((found[:1], found[SECTOR : SECTOR + 1]))
        assert parts.state_of("one", survivors)[0] == 1
    assert {second for _, second in seen} == {b"\0", b"b"}
    assert parts.writes_to("one") == [0, 2, 3]
    parts.close()
