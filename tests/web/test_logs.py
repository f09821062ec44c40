"""The page of the log: who sees it, what it narrows, what comes by itself, the file."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from appliance.upkeep.logs import NAME
from tests.test_logs import DAY, LINES
from tests.web.made import Visitor
from tests.web.test_calls import text_of
from webui.desk import Desk


@pytest.fixture
def log(desk: Desk) -> Path:
    folder = Path(desk.boot.data) / "log"
    folder.mkdir()
    (folder / NAME).write_text(LINES)
    return folder / NAME


def texts(page: str) -> list[str]:
    return [unescape(text) for text in re.findall(r'<span class="text-break">(.*?)</span>', page)]


def test_the_log_is_narrowed_and_its_file_is_what_is_shown(anna: Visitor, visitor: Visitor, log: Path) -> None:
    assert visitor.get("/logs").status_code == 303
    assert len(texts(text_of(anna.get("/logs")))) == 9
    assert texts(text_of(anna.get("/logs?topic=auth&level=warning"))) == ["login refused for 'ben' from 192.0.2.9"]
    assert "Nothing fits" in text_of(anna.get("/logs?q=nowhere&from=junk&topic=junk"))
    file = text_of(anna.get("/logs.txt?topic=calls"))
    assert [line.split(" ", 1)[0] for line in file.splitlines() if line.startswith("2026")] == [f"{DAY}08.010", f"{DAY}04.005"]
    assert "hunter" not in file + text_of(anna.get("/logs"))
    assert "KeyError: &#39;x&#39;" in text_of(anna.get("/logs"))


def test_new_lines_come_alone_and_older_ones_page_by_page(anna: Visitor, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webui.pages.logs.PAGE", 4)
    page = text_of(anna.get("/logs"))
    tail = unescape(re.findall(r'hx-get="(/logs/new[^"]*)"', page)[0])
    with log.open("a") as file:
        file.write(f"{DAY}30.000 web        I webui: <b>new</b>\n")
    part = text_of(anna.get(tail))
    assert texts(part) == ["<b>new</b>"]
    assert texts(text_of(anna.get(unescape(re.findall(r'hx-get="(/logs/new[^"]*)"', part)[0])))) == []
    seen = texts(page)
    while older := re.findall(r'href="(/logs\?before[^"]*)"', page):
        page = text_of(anna.get(unescape(older[0])))
        assert "hx-get=\"/logs/new" not in page
        seen += texts(page)
    assert len(seen) == len(set(seen)) == 9
