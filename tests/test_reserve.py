"""The room that is kept back: made when there is plenty, given up when the disk is full, and the box says so."""

from pathlib import Path

import pytest

from appliance.host import alarms, health
from appliance.storage import reserve
from appliance.words import english


def free(monkeypatch: pytest.MonkeyPatch, mib: int | None) -> None:
    monkeypatch.setattr(health, "disk_free", lambda path: None if mib is None else mib << 20)


def test_it_is_made_kept_and_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 100)
    assert not health.keep_room(tmp_path)  # not so much that somebody would miss it
    free(monkeypatch, 1000)
    assert health.keep_room(tmp_path)
    file = tmp_path / "reserve"
    assert file.stat().st_blocks * 512 >= reserve.SIZE
    free(monkeypatch, 10)
    assert health.keep_room(tmp_path)
    free(monkeypatch, None)
    assert health.keep_room(tmp_path)
    free(monkeypatch, 3)
    assert not health.keep_room(tmp_path)
    assert not file.exists()


def test_a_disk_that_gives_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 1000)
    monkeypatch.setattr(reserve.os, "posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    assert not health.keep_room(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (alarms.Facts(disk_free=100 << 20), "Only 100 MB are free"),
        (alarms.Facts(disk_free=9 << 20, reserve=False), "The disk is full"),
        (alarms.Facts(media_free=1 << 20), "for recordings and prompts; calls go on"),
    ],
)
def test_what_the_box_says(facts: alarms.Facts, words: str) -> None:
    begun, _ = alarms.Alarms().update(facts, 0)
    assert [alarm for alarm in begun if words in english().say(alarm.message)], begun


def test_a_box_that_runs_from_memory_keeps_nothing_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 1000)
    monkeypatch.setattr(health, "partitions", lambda: {"state": "broken"})
    assert not health.keep_room(tmp_path)
    assert list(tmp_path.iterdir()) == []
