"""Every word that people see comes from the catalogue: in a language that puts each of its texts in brackets, a text outside is data or a bug.

Looked at as pages are served: what is visible, and what only a screen reader is told.
"""

from __future__ import annotations

import re
import socket
from html.parser import HTMLParser

import pytest

from appliance.box import console
from appliance.config.countries import zones
from appliance.version import VERSION
from appliance.words import Words, english
from tests.web.chromium import MISSING
from tests.web.made import CODE, FakeBox, Visitor
from tests.web.test_barriers import addresses
from tests.web.test_browser import a_status, busy, set_up
from webui import wording
from webui.app import create_app
from webui.desk import Desk
from webui.portal import create_portal

TOLD = (
    "aria-label",
    "title",
    "placeholder",
    "alt",
    "data-ask",
    "data-yes",
    "data-label",
    "hx-confirm",
)  # to people, by attributes
NO_SENTENCES = (
    "script",
    "style",
    "noscript",
    "time",
    "code",
    "pre",
    "svg",
    "kbd",
)  # times are the browser's, code is to be copied

DATA_ALONE = (
    "/licences",
    "/api",
    "/log",
)  # names of packages and operations, and lines of the log, which is in English
# Names of things that have no other name, units, and what a phone or a licence says of itself.
NAMES = [
    "Switchroom",
    "TLS",
    "SRTP",
    "RTP",
    "SIP",
    "UDP",
    "TCP",
    "HTTP",
    "DHCP",
    "QR",
    "ID",
    "OK",
    "Opus",
    "PCMA",
    "PCMU",
    "Apache",
    "MIT",
    "BSD",
    "GPL",
    "Ctrl",
    "kB",
    "MB",
    "GB",
    "ms",
    "min",
    "calls",
    "web",
    "supervisor",
    "media",
    "core",
    "Yealink",
    "Grandstream",
    "Snom",
    "Linphone",
    "localhost",
    "Deutsch",
    "English",
    "čeština",
    "CSV",
    "JSON",
    "OpenAPI",
]
DATA = re.compile(r"[^\s,·:;()/\[\]“”„\"'→+%–…]+")


def bracketed() -> Words:
    return Words("en", {key: f"⟦{text}⟧" for key, text in english().patterns.items()})


def outside(texts: list[str], data: set[str]) -> set[str]:
    """What stands outside of all brackets and is not made of the data: words of two letters and more."""
    found, depth = [], 0
    for text in texts:
        for letter in text:
            depth += (letter == "⟦") - (letter == "⟧")
            found.append(letter if depth == 0 and letter not in "⟦⟧" else " ")
        found.append(" ")
    assert depth == 0
    words = {word.strip(".!?-") for word in DATA.findall("".join(found))}
    return {
        word for word in words if sum(map(str.isalpha, word)) > 1 and word not in data and not re.search(r"\d", word)
    }


def data_of(desk: Desk) -> set[str]:
    """Every word that somebody has typed or that was generated."""
    snapshot = desk.admin.snapshot
    values = [
        str(value)
        for kind in ("user", "extension", "line", "settings")
        for one in snapshot.of(kind).values()
        for value in one.model_dump().values()
    ]
    initials = {wording.initials(user.full_name or user.username) for user in snapshot.users.values()}
    values += [
        *(name.replace("_", " ") for name in zones()),
        "past",
        "day days",
    ]  # time zones to choose from, the id of a call, units
    status, host = a_status(), socket.gethostname()
    values += [
        status.datapath,
        host,
        f"{host}.local",
        *status.addresses,
        *(name.replace("_", " ") for name in status.counters),
    ]  # figures have their own names
    return {word.strip(".!?-") for value in values for word in DATA.findall(value)} | initials | set(NAMES)


class Texts(HTMLParser):
    """Every text of a page in its order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._silent = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in NO_SENTENCES
        self.found += [value for name, value in attrs if name in TOLD and value]

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in NO_SENTENCES

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.found.append(data)


def looked_at(visitor: Visitor, paths: list[str], data: set[str]) -> dict[str, set[str]]:
    pages = {path: Texts(visitor.get(path).get_data(as_text=True)).found for path in paths}
    return {path: found for path, texts in pages.items() if (found := outside(texts, data))}


@pytest.fixture(autouse=True)
def brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    pseudo = bracketed()
    monkeypatch.setattr(wording, "words_of", lambda language: pseudo)


@pytest.fixture
def box() -> FakeBox:
    return FakeBox(status=a_status())


def test_pages_of_who_has_logged_in(made: Desk, box: FakeBox) -> None:
    set_up(made)
    busy(made, box)
    app = create_app(made)
    anna = Visitor(app.test_client())
    anna.log_in("anna")
    paths = [path for path in addresses(app, made, anna) if not path.startswith(DATA_ALONE)]
    assert len(paths) > 20
    assert looked_at(anna, [*paths, MISSING], data_of(made)) == {}
    box.away = True
    assert looked_at(anna, ["/", "/extensions", "/calls"], data_of(made)) == {}


def test_pages_before_the_login(made: Desk) -> None:
    visitor = Visitor(create_app(made).test_client())
    assert looked_at(visitor, ["/setup"], data_of(made)) == {}
    visitor.post("/setup/code", {"code": CODE})
    assert looked_at(visitor, ["/setup", "/setup/restore"], data_of(made)) == {}
    set_up(made)
    assert looked_at(visitor, ["/login"], data_of(made)) == {}


@pytest.mark.parametrize("complete", [False, True])
def test_pages_of_the_user_port(made: Desk, complete: bool) -> None:
    if complete:
        set_up(made)
    app = create_portal(made)
    visitor = Visitor(app.test_client())
    assert looked_at(visitor, addresses(app, made, visitor), data_of(made)) == {}


def test_the_screen_of_the_box() -> None:
    text = console.screen(a_status(), "ABCDEFGHJK", [], "a", "switchroom", spoken=bracketed(), columns=400, rows=80)
    text = re.sub(r"[█▀▄]|https://\S+|ABCDEFGHJK", " ", text)
    assert outside([text], {*NAMES, VERSION, *(process.name for process in a_status().processes)}) == set()


def test_a_word_outside_is_found() -> None:
    assert outside(["⟦Users ⟦of⟧ ", "Anna⟧ and Anna", " 12:00, TLS"], {"Anna", "TLS"}) == {"and"}
