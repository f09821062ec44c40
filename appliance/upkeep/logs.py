"""What the processes have said, for a page: the lines of `log/switchroom.log*` as facts, by topic, the newest first, and those that come.

The files are bounded (host/logfile.py), so there is nothing to index: they are read backwards until enough lines fit. A line that is
no beginning belongs to the one before (a traceback, of which every line has the time and the process). Every text goes through `Mask`: what looks like a secret is left out, although no line should
hold one.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from appliance.config.search import found
from appliance.upkeep.support import Mask

Level = Literal["debug", "info", "warning", "error"]
Topic = Literal["auth", "calls", "security", "system"]
LEVELS: tuple[Level, ...] = get_args(Level)
TOPICS: tuple[Topic, ...] = get_args(Topic)
NAME = "switchroom.log"
BLOCK = 1 << 16
MOST_MORE = 60  # lines that belong to one
LONGEST = 2000  # letters of a line that is shown

_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{3}) (?:(\S{11,}) |(?=\S)(.{10}) )(?:([DIWEC]) ([\w.<>-]+): )?(.*)", re.DOTALL)
_GOES_ON = re.compile(r"\s|Traceback \(|The above exception|During handling of|\w[\w.]*(Error|Exception|Interrupt|Exit|Failed|Damaged)\b")
_LEVEL: dict[str, Level] = {"D": "debug", "I": "info", "W": "warning", "E": "error", "C": "error"}
# Whose lines are about what: the beginning of the module's name, of the text, the topic; the first that fits.
_TOPICS: tuple[tuple[str, str, Topic], ...] = (
    ("", "security: ", "security"), ("", "refused: ", "security"), ("webui.serving.limits", "", "security"),
    ("webui.pages.login", "", "auth"), ("webui.login", "", "auth"), ("webui.pages.setup", "", "auth"), ("webui.records.logins", "", "auth"),
    ("webui.portal", "", "auth"), ("appliance.calls", "", "calls"), ("appliance.sip", "", "calls"), ("appliance.flows", "", "calls"),
    ("media_core", "", "calls"),
)  # fmt: skip


class Line(NamedTuple):
    at: float  # unix
    level: Level
    topic: Topic
    process: str
    module: str
    text: str
    more: tuple[str, ...] = ()  # the lines that belong to it


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Each field narrows the lines."""

    text: str = ""
    level: Level = "debug"  # at least
    topic: Topic | Literal[""] = ""
    since: float = 0.0
    until: float = float("inf")

    def fits(self, line: Line) -> bool:
        return (
            LEVELS.index(line.level) >= LEVELS.index(self.level)
            and self.topic in ("", line.topic)
            and self.since <= line.at < self.until
            and (not self.text or found(self.text, line.process, line.module, line.text, *line.more))
        )


def parse(text: str) -> Line | None:
    """None: it belongs to the line before, or is none of the log."""
    if (match := _LINE.fullmatch(text)) is None:
        return None
    moment, thousandths, long, short, letter, module, said = match.groups()
    process = (long or short).strip()
    if letter is None and _GOES_ON.match(said):
        return None
    try:
        at = time.mktime(time.strptime(moment, "%Y-%m-%dT%H:%M:%S")) + int(thousandths) / 1000
    except (ValueError, OverflowError):
        return None
    module = module or process
    topic: Topic = next((topic for name, begins, topic in _TOPICS if module.startswith(name) and said.startswith(begins)), "system")
    return Line(at, _LEVEL.get(letter or "I", "info"), topic, process, module, said)


def _bare(text: str) -> str:
    """A line that belongs to another one, without its time and process."""
    match = _LINE.fullmatch(text)
    return match[7] if match else text


# ---- files -------------------------------------------------------------------------------------------------------------


def files(folder: Path) -> list[Path]:
    """The newest first."""
    return [file for file in (folder / NAME, *(folder / f"{NAME}.{n}" for n in range(1, 10))) if file.is_file()]


def _backwards(file: Path) -> Iterator[str]:
    """Its lines, the last one first."""
    with file.open("rb") as source:
        place, rest = source.seek(0, os.SEEK_END), b""
        while place > 0:
            step = min(BLOCK, place)
            place -= step
            source.seek(place)
            first, *lines = (source.read(step) + rest).split(b"\n")
            rest = first
            for line in reversed(lines):
                if line:
                    yield line.decode(errors="replace")
        if rest:
            yield rest.decode(errors="replace")


def newest(folder: Path, wanted: Wanted, mask: Mask) -> Iterator[Line]:
    """The lines that are wanted, the newest first. Reading stops where all that is left is too old."""
    for file in files(folder):
        with contextlib.suppress(FileNotFoundError):  # it was moved on meanwhile
            more: list[str] = []
            for text in _backwards(file):
                line = parse(text)
                if line is None:
                    more.append(_bare(text))
                    continue
                if line.at < wanted.since:
                    return
                line = line._replace(more=tuple(reversed(more[-MOST_MORE:])))
                more = []
                if wanted.fits(line):
                    yield masked(line, mask)


def end(folder: Path) -> str:
    """Where the log ends now, for `after`."""
    with contextlib.suppress(OSError):
        facts = (folder / NAME).stat()
        return f"{facts.st_ino}-{facts.st_size}"
    return ""


def after(folder: Path, place: str, wanted: Wanted, mask: Mask) -> list[Line]:
    """The lines that have come since, the newest first. From a place that nobody knows (any more): none."""
    inode, _, offset = place.partition("-")
    if not (inode.isdecimal() and offset.isdecimal()):
        return []
    lines: list[Line] = []
    for file in reversed(files(folder)[:2]):  # the one before may have been moved on in between
        with contextlib.suppress(OSError), file.open("rb") as source:
            same = os.fstat(source.fileno()).st_ino == int(inode[:20])
            if file.name != NAME and not same:
                continue
            source.seek(int(offset[:12]) if same else 0)
            for text in source.read(4 * BLOCK).decode(errors="replace").splitlines():
                line = parse(text)
                if line is not None:
                    lines.append(line)
                elif lines and len(lines[-1].more) < MOST_MORE:
                    lines[-1] = lines[-1]._replace(more=(*lines[-1].more, _bare(text)))
    return [masked(line, mask) for line in reversed(lines) if wanted.fits(line)]


def masked(line: Line, mask: Mask) -> Line:
    return line._replace(text=mask(line.text)[:LONGEST], more=tuple(mask(text)[:LONGEST] for text in line.more))


def as_text(line: Line) -> str:
    """As it stood in the file."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(line.at))
    head = f"{moment}.{round(line.at % 1 * 1000) % 1000:03} {line.process:<10} {line.level.upper()[0]} {line.module}: {line.text}\n"
    return head + "".join(f"{text}\n" for text in line.more)
