"""The log as facts: what a process says is read back with level, topic and what belongs to it; only what is wanted, and no secret."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest

from appliance.host import logfile
from appliance.upkeep import logs
from appliance.upkeep.logs import Wanted, after, end, newest, parse
from appliance.upkeep.support import Mask

DAY = "2026-11-27T10:00:"
LINES = f"""{DAY}00.001 supervisor W supervisor: alarm: The disk is full. Delete something.
{DAY}01.002 web        I webui.pages.login: anna logged in from 192.0.2.9
{DAY}02.003 web        W webui.pages.login: login refused for 'ben' from 192.0.2.9
{DAY}03.004 calls      W appliance.calls.requests: refused: wrong password (100 from 192.0.2.7)
{DAY}04.005 calls      E appliance.calls.switchboard: An internal fault (KeyError) held up a turn.
{DAY}04.006 calls      Traceback (most recent call last):
{DAY}04.006 calls        File "x.py", line 3, in f
{DAY}04.006 calls      KeyError: 'x'
{DAY}05.007 core       started
{DAY}06.008 web        W webui.serving.limits: closed a connection: too many
{DAY}07.009 supervisor alarm is over: an older version said no level
{DAY}08.010 calls      I appliance.calls: password: hunter2 hunter3
no line at all
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / logs.NAME).write_text(LINES)
    return tmp_path


def found(folder: Path, **wanted: Any) -> list[str]:
    return [line.text for line in newest(folder, Wanted(**wanted), Mask())]


def test_each_line_has_its_level_topic_and_what_belongs_to_it(folder: Path) -> None:
    lines = list(newest(folder, Wanted(), Mask()))[::-1]
    assert [(line.level, line.topic, line.process) for line in lines] == [
        ("warning", "system", "supervisor"), ("info", "auth", "web"), ("warning", "auth", "web"), ("warning", "security", "calls"),
        ("error", "calls", "calls"), ("info", "system", "core"), ("warning", "security", "web"), ("info", "system", "supervisor"), ("info", "calls", "calls"),
    ]  # fmt: skip
    assert lines[4].more == ("Traceback (most recent call last):", '  File "x.py", line 3, in f', "KeyError: 'x'")
    assert lines[-1].more == ("no line at all",)
    assert time.strftime("%H:%M:%S", time.localtime(lines[3].at)) == "10:00:03"
    assert logs.as_text(lines[4]).splitlines()[0] == f"{DAY}04.005 calls      E appliance.calls.switchboard: An internal fault (KeyError) held up a turn."


def test_only_what_is_wanted_is_found(folder: Path) -> None:
    assert len(found(folder, level="warning")) == 5
    assert len(found(folder, level="error")) == 1
    assert found(folder, topic="auth", text="ANNA") == ["anna logged in from 192.0.2.9"]
    assert len(found(folder, text="keyerror 'x'")) == 1  # also in what belongs to a line
    moment = parse(f"{DAY}03.004 calls      I a: b")
    assert moment is not None
    assert [text[:7] for text in found(folder, since=moment.at, until=moment.at + 1)] == ["refused"]


def test_what_looks_like_a_secret_is_left_out(folder: Path) -> None:
    assert "hunter" not in "".join(found(folder))
    assert found(folder, topic="calls", level="info")[0].startswith("passwo… (left out)")


def test_lines_are_found_over_blocks_and_files_and_their_order_is_that_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "BLOCK", 37)
    for number, name in enumerate((f"{logs.NAME}.2", f"{logs.NAME}.1", logs.NAME)):
        (tmp_path / name).write_text("".join(f"2026-11-27T1{number}:00:{n:02}.000 web        I webui: line {number}-{n} ü\n" for n in range(20)))
    (tmp_path / "other.log").write_text("secret")
    assert found(tmp_path) == [f"line {number}-{n} ü" for number in (2, 1, 0) for n in range(19, -1, -1)]


def test_lines_that_come_are_told_once_also_when_the_file_moves_on(folder: Path) -> None:
    place = end(folder)
    assert after(folder, place, Wanted(), Mask()) == []
    with (folder / logs.NAME).open("a") as file:
        file.write(f"{DAY}20.000 web        I webui: one\n{DAY}21.000 web        W webui: two\n{DAY}21.000 web        Traceback (x)\n")
    lines = after(folder, place, Wanted(), Mask())
    assert [(line.text, line.more) for line in lines] == [("two", ("Traceback (x)",)), ("one", ())]
    assert [line.text for line in after(folder, place, Wanted(level="warning"), Mask())] == ["two"]
    place = end(folder)
    with (folder / logs.NAME).open("a") as file:
        file.write(f"{DAY}22.000 web        I webui: three\n")
    (folder / logs.NAME).rename(folder / f"{logs.NAME}.1")
    (folder / logs.NAME).write_text(f"{DAY}23.000 web        I webui: four\n")
    assert [line.text for line in after(folder, place, Wanted(), Mask())] == ["four", "three"]
    for nowhere in ("", "x", "1-", "99999999999999999999999-0", "0-x"):
        assert after(folder, nowhere, Wanted(), Mask()) == [] or nowhere.startswith("9")


def test_what_the_log_writes_is_what_is_read(tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / logs.NAME)
    handler.setFormatter(logfile.LINES)
    for name, level, text in (
        ("supervisor", logging.WARNING, "calls (pid 3) died"), ("calls", logging.INFO, "W appliance.sip: bad"), ("calls", logging.WARNING, "calls died"),
        ("core", logging.INFO, "Traceback (most recent call last):"), ("a.long.name.of.a.logger", logging.ERROR, "x"),
    ):  # fmt: skip
        handler.emit(logging.LogRecord(name, level, "", 0, text, (), None))
    handler.close()
    lines = list(newest(tmp_path, Wanted(), Mask()))[::-1]
    assert [(line.process, line.level, line.module, line.text, len(line.more)) for line in lines] == [
        ("supervisor", "warning", "supervisor", "calls (pid 3) died", 0), ("calls", "warning", "appliance.sip", "bad", 0),
        ("calls", "warning", "calls", "calls died", 1), ("a.long.name.of.a.logger", "error", "a.long.name.of.a.logger", "x", 0),
    ]  # fmt: skip
