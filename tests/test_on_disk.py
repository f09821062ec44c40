"""Files that are whole whenever the power goes: each cut leaves what was there before or what was written, never a part of it."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appliance.host import entitlement
from appliance.storage import on_disk
from tests.power_cut import states

TRACED = frozenset({"on_disk.py", "entitlement.py"})
OLD, NEW = b"old" * 5000, b"new" * 7000


def cut_everywhere(tmp_path: Path, work: object) -> list[Path]:
    assert callable(work)
    return states(tmp_path / "data", work, tmp_path / "cuts", files=TRACED, databases=frozenset())


@pytest.mark.parametrize("before", [None, OLD])
def test_a_file_written_anew_is_the_old_one_or_the_new_one(tmp_path: Path, before: bytes | None) -> None:
    (tmp_path / "data").mkdir()
    file = tmp_path / "data/file"
    if before is not None:
        on_disk.write(file, before)
    cuts = cut_everywhere(tmp_path, lambda: on_disk.write(file, NEW))
    found = [(cut / "file").read_bytes() if (cut / "file").exists() else None for cut in cuts]
    assert set(found) == {before, NEW}
    assert found[-1] == NEW, "what was written is on the disk at the end"
    for cut in cuts:  # and whatever the cut has left beside it does not stand in the way
        on_disk.write(cut / "file", OLD)
        assert [entry.name for entry in cut.iterdir()] == ["file"]


def test_who_makes_a_file_at_the_same_time_finds_one_and_the_same(tmp_path: Path) -> None:
    file = tmp_path / "keys/key"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: on_disk.make(file, b"%d" % number * 1000), range(8)))
    assert len(set(file.read_bytes())) == 1
    assert list(file.parent.iterdir()) == [file]
    on_disk.make(file, b"another")
    assert file.stat().st_size == 1000
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_box_keeps_its_id_over_a_power_cut(tmp_path: Path) -> None:
    """A licence is issued for it. It was written without a sync: the id that a first start had shown was another one after a cut."""
    (tmp_path / "data").mkdir()
    shown: list[str] = []
    cuts = cut_everywhere(tmp_path, lambda: shown.append(entitlement.box_id(tmp_path / "data")))
    assert entitlement.box_id(cuts[-1]) == shown[0]
    for cut in cuts:
        seed = cut / "keys/box.id"
        assert not seed.exists() or seed.stat().st_size == 32
