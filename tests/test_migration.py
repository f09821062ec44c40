"""A database that is brought up to date tells how far it is; whoever waits for it does so as long as it goes on."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from appliance.box import console, gate
from appliance.storage import migration
from appliance.storage.database import Migrations, open_database
from appliance.storage.migration import PATIENCE, SUFFIX, Progress, Report, Watch
from appliance.words import Said, english


def told(report: Report, now: float) -> str:
    return english().say(report.words(now))


@pytest.fixture
def told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "EVERY", 0.0)


def test_a_long_migration_tells_each_part(tmp_path: Path, told_at_once: None) -> None:
    said: list[Report] = []
    made = Migrations("test")

    def busy(db: Database) -> None:
        db.execute(
            "with recursive c(n) as (select 1 union all select n + 1 from c where n < 20000) select max(n) from c"
        ).fetchone()
        report = migration.read(tmp_path)
        assert report is not None
        said.append(report)

    made(name="first")(lambda db: db["first"].insert_all({"id": number, "text": "x" * 500} for number in range(3000)))
    open_database(tmp_path / "calls.db", made).close()
    made(name="second")(busy)
    made(name="third")(busy)
    open_database(tmp_path / "calls.db", made).close()

    assert [(report.what, report.step, report.steps) for report in said] == [("changing", 1, 2), ("changing", 2, 2)]
    assert said[1].beat > said[0].beat > 1  # checking and copying have beaten too
    assert "call records are brought up to date for the new version: change 2 of 2" in told(
        said[1], said[1].started + 7
    )
    assert not (tmp_path / f"calls.db{SUFFIX}").exists()


def test_the_copy_tells_how_much_of_it_is_there(tmp_path: Path, told_at_once: None) -> None:
    path = tmp_path / "calls.db"
    path.touch()
    progress, copy = Progress(path), tmp_path / "copy"
    copy.write_bytes(bytes(40))
    connection = sqlite3.connect(":memory:")
    with progress.watch(connection):
        progress.now("copying", copy=copy, total=80)
        progress.beat()
        report = migration.read(tmp_path)
    assert report is not None
    assert told(report, report.started).endswith(": 50 %.")


def test_a_disk_that_takes_no_report_stops_nothing(tmp_path: Path, told_at_once: None) -> None:
    assert Progress(tmp_path / "gone" / "calls.db").beat() == 0


def report(beat: int) -> Report:
    return Report(database="calls.db", what="changing", step=1, steps=1, beat=beat)


def write(folder: Path, beat: int) -> None:
    import msgspec

    (folder / f"calls.db{SUFFIX}").write_bytes(msgspec.json.encode(report(beat)))


def test_what_a_power_cut_left_behind_delays_nobody(tmp_path: Path) -> None:
    write(tmp_path, 1)
    watch = Watch(tmp_path, 10.0)
    assert watch.look(15.0) == 5.0
    assert watch.report is None
    write(tmp_path, 2)
    assert watch.look(20.0) == 0.0
    assert watch.report == report(2)
    watch.look(20.0 + PATIENCE)
    assert watch.report is None


class Start:
    """A start in virtual time: the migration beats every ten seconds until `until`, and everything runs from `up` on."""

    def __init__(self, data: Path, until: float, up: float) -> None:
        self._data, self._until, self._up = data, until, up
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now < self._until and self.now % 10 == 0:
            write(self._data, int(self.now))

    def missing(self, data: Path) -> Said | None:
        return None if self.now >= self._up else Said.of("box.not-running", processes="calls")


def run_gate(start: Start, data: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(gate, "missing", start.missing)
    gate.wait_until_up(data, said.append, clock=start.clock, sleep=start.sleep)
    return said


def test_the_gate_waits_an_hour_for_a_migration_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = Start(tmp_path, until=3600, up=3605)
    (told,) = run_gate(start, tmp_path, monkeypatch)
    assert "brought up to date" in told
    assert start.now == 3605


def test_the_gate_gives_up_on_a_migration_that_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = Start(tmp_path, until=1000, up=1e9)
    with pytest.raises(gate.Unhealthy, match="calls"):
        run_gate(start, tmp_path, monkeypatch)
    assert 990 < start.now <= 1000 + gate.PATIENCE


def test_without_a_migration_the_gate_gives_up_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 1)
    start = Start(tmp_path, until=0, up=1e9)
    with pytest.raises(gate.Unhealthy):
        run_gate(start, tmp_path, monkeypatch)
    assert start.now == gate.PATIENCE


def test_the_console_says_what_goes_on(tmp_path: Path) -> None:
    write(tmp_path, 1)
    assert any("brought up to date" in english().say(said) for said in console.notes(tmp_path))


async def answered(application: Any, path: str) -> tuple[int, str]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    await application({"type": "http", "method": "GET", "path": path}, receive, send)
    return sent[0]["status"], sent[1]["body"].decode()


async def test_the_page_says_what_goes_on_and_gives_way(tmp_path: Path) -> None:
    import asyncio
    import threading

    from webui.serving.starting import Starting

    go, opened, spoken = threading.Event(), asyncio.Event(), []

    async def pages(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"the real pages"})

    def open_pages() -> Any:
        go.wait(10)
        return pages, pages

    async def receive() -> Any:
        if len(spoken) < 1:
            return {"type": "lifespan.startup"}
        return await asyncio.Event().wait()

    async def send(message: Any) -> None:
        spoken.append(message["type"])

    starting = Starting(tmp_path, open_pages, opened.set, lambda: None)
    life = asyncio.create_task(starting({"type": "lifespan"}, receive, send))
    write(tmp_path, 1)
    for port, path in ((starting, "/extensions"), (starting.portal, "/")):
        status, text = await answered(port, path)
        assert status == 503
        assert "brought up to date for the new version: change 1 of 1" in text
    go.set()
    await opened.wait()
    assert await answered(starting, "/extensions") == (200, "the real pages")
    assert await answered(starting.portal, "/") == (200, "the real pages")
    life.cancel()


async def test_pages_that_cannot_be_opened_end_the_process_with_the_reason(tmp_path: Path) -> None:
    import asyncio

    from webui.serving.starting import Starting

    failed = asyncio.Event()

    def open_pages() -> Any:
        raise RuntimeError("broken")

    starting = Starting(tmp_path, open_pages, lambda: None, failed.set)
    messages = asyncio.Queue[Any]()
    messages.put_nowait({"type": "lifespan.startup"})

    async def send(message: Any) -> None:
        pass

    life = asyncio.create_task(starting({"type": "lifespan"}, messages.get, send))
    await failed.wait()
    with pytest.raises(RuntimeError, match="broken"):
        starting.raise_fault()
    life.cancel()
