"""Every word that people see comes from the catalogue: in a language that puts each of its texts in brackets, a text outside is data or a bug.

Looked at in Chromium, so that what scripts write is seen too; what is visible, and what only a screen reader is told.
"""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page

from appliance.words import Words, english
from tests.web.chromium import MISSING, needs_chromium
from tests.web.made import CODE, FakeBox, Visitor
from tests.web.served import served
from tests.web.test_barriers import addresses
from tests.web.test_browser import a_status, busy, set_up
from webui import wording
from webui.app import create_app
from webui.desk import Desk
from webui.portal import create_portal

pytestmark = [needs_chromium, pytest.mark.timeout(300)]

# Every text in the order of the page, of which nobody writes a sentence: times are the browser's, code is to be copied.
TEXTS = """() => {
  const found = [document.title];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.nodeType === Node.TEXT_NODE) {
      const parent = node.parentElement;
      if (parent.closest("script, style, noscript, time, code, pre, svg, [data-since], [data-ago]")) continue;
      if (parent.tagName === "OPTION" || parent.checkVisibility()) found.push(node.textContent);
      continue;
    }
    if (node.closest("noscript")) continue;
    for (const name of ["aria-label", "title", "placeholder", "alt", "data-ask", "data-yes", "data-label"])
      if (node.getAttribute(name)) found.push("⟦⟧" + node.getAttribute(name));
  }
  return found;
}"""
# Names of things that have no other name, units, and what a phone or a licence says of itself.
NAMES = ["Switchroom", "TLS", "SRTP", "RTP", "SIP", "UDP", "TCP", "HTTP", "DHCP", "QR", "ID", "OK", "Opus", "PCMA", "PCMU", "Apache", "MIT", "BSD", "GPL", "Ctrl", "kB", "MB", "GB", "ms", "min", "calls", "web", "supervisor", "media", "core", "Yealink", "Grandstream", "Snom", "Linphone", "localhost", "Deutsch", "English", "čeština", "CSV", "JSON", "OpenAPI"]
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
    return {word for word in words if sum(map(str.isalpha, word)) > 1 and word not in data and not re.search(r"\d", word)}


def data_of(desk: Desk) -> set[str]:
    """Every word that somebody has typed or that was generated."""
    snapshot = desk.admin.snapshot
    values = [str(value) for kind in ("user", "extension", "line", "settings") for one in snapshot.of(kind).values() for value in one.model_dump().values()]
    return {word.strip(".!?-") for value in values for word in DATA.findall(value)} | set(NAMES)


def looked_at(page: Page, site: str, paths: list[str], data: set[str]) -> dict[str, set[str]]:
    wrong = {}
    for path in paths:
        page.goto(site + path)
        page.wait_for_timeout(100)  # what is fetched or written by scripts at the beginning
        if found := outside(page.evaluate(TEXTS), data):
            wrong[path] = found
    return wrong


@pytest.fixture(autouse=True)
def brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    pseudo = bracketed()
    monkeypatch.setattr(wording, "words_of", lambda language: pseudo)


@pytest.fixture
def box() -> FakeBox:
    return FakeBox(status=a_status())


def test_pages_of_who_has_logged_in(page: Page, made: Desk, box: FakeBox) -> None:
    set_up(made)
    busy(made, box)
    app = create_app(made)
    anna = Visitor(app.test_client())
    anna.log_in("anna")
    paths = [path for path in addresses(app, made, anna) if not path.startswith(("/licences", "/api"))]
    with served(app, made) as site:
        page.goto(site.address + "/login")
        page.locator("#username").fill("anna")
        page.locator("#field-password").fill("correct horse battery")
        page.locator("form button.btn-primary").click()
        assert looked_at(page, site.address, [*paths, MISSING], data_of(made)) == {}
        box.away = True
        assert looked_at(page, site.address, ["/", "/extensions", "/calls"], data_of(made)) == {}


def test_pages_before_the_login(page: Page, made: Desk) -> None:
    app = create_app(made)
    with served(app, made) as site:
        assert looked_at(page, site.address, ["/setup"], data_of(made)) == {}
        page.locator("#code").fill(CODE)
        page.locator("form button.btn-primary").click()
        assert looked_at(page, site.address, ["/setup", "/setup/restore"], data_of(made)) == {}
        set_up(made)
        assert looked_at(page, site.address, ["/login"], data_of(made)) == {}


@pytest.mark.parametrize("complete", [False, True])
def test_pages_of_the_user_port(page: Page, made: Desk, complete: bool) -> None:
    if complete:
        set_up(made)
    app = create_portal(made)
    with served(app, made) as site:
        paths = addresses(app, made, Visitor(app.test_client()))
        assert looked_at(page, site.address, paths, data_of(made)) == {}
