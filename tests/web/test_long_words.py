"""Long words break no layout: names of as many letters as a field takes, without a space, on every page, desktop and telephone."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page

from appliance import cti
from appliance.words import Said
from tests.web.chromium import needs_chromium, shoot
from tests.web.made import PASSWORD, FakeBox, leg, phone
from tests.web.served import served
from tests.web.test_browser import a_status, log_in
from webui.app import create_app
from webui.desk import Desk

NAME = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamter"
MAIL = "maximiliane.wolkensteiner-hohenfels_vertretung.empfang.erdgeschoss"[:64]
AGENT = "Grandstream-GXP2170-with-a-firmware-version-of-many-letters-1.0.11.74.build.20260101"
ADDRESS = "[2001:db8:1234:5678:9abc:def0:1234:5678]:50612"

pytestmark = [needs_chromium, pytest.mark.timeout(180)]

# Whatever stands out of its card to the right, or of the page.
STANDS_OUT = """() => {
  const cards = [...document.querySelectorAll('.card, .alert, .page-header, .navbar, .live-call')];
  const found = document.documentElement.scrollWidth > innerWidth ? ['the page'] : [];
  for (const card of cards) {
    const edge = card.getBoundingClientRect().right + 1;
    for (const inner of card.querySelectorAll('*')) {
      const style = getComputedStyle(inner);
      if (inner.closest('.table-responsive, .text-truncate, .visually-hidden, svg, .collapse:not(.show)') || style.visibility === 'hidden') continue;
      const box = inner.getBoundingClientRect();
      if (box.width && box.right > edge) found.push(`${inner.tagName}.${inner.className} ${inner.textContent.trim().slice(0, 40)}`);
    }
  }
  for (const table of document.querySelectorAll('.table-responsive'))
    if (table.scrollWidth > table.clientWidth + 1) found.push(`a table of ${table.scrollWidth} in ${table.clientWidth}`);
  for (const cell of document.querySelectorAll('td')) if (cell.offsetHeight > 260) found.push(`a cell of ${cell.offsetHeight} pixels`);
  return found.slice(0, 6);
}"""


@pytest.fixture
def box() -> FakeBox:
    return FakeBox(status=a_status())


def fill(desk: Desk, box: FakeBox) -> dict[str, str]:
    """An office of long words; page to its path."""
    admin, now = desk.admin, time.time()
    admin.complete_setup(username="anna", full_name=NAME, password=PASSWORD, first_extension="100", country="DE")
    user = admin.create("user", {"username": MAIL, "full_name": NAME, "role": "none"}, "anna")
    extension = admin.create("extension", {"number": "123456789012", "name": NAME, "user": user.id}, "anna")
    admin.update("settings", "settings", {"name": NAME[:40], "realm": ("x" * 60 + ".de")}, MAIL)
    line = admin.snapshot.lines_of[extension.id][0]
    admin.update("line", line.id, {"sip_username": MAIL, "label": NAME[:40]}, MAIL)
    one = phone("123456789012", NAME, line=line.id, secure=True, agent=AGENT, since=now - 9000)
    one.address, one.sip_username = ADDRESS, MAIL
    box.phones = [one]
    first, second = leg("123456789012", NAME, secure=True), leg("100", NAME, secure=False, state="held")
    box.calls = [cti.CallView("one", now - 80, now - 75, first, [second], "123456789012")]
    box.status = a_status()
    box.status.alarms.append(cti.Alarm("x", "error", now, *(Said.of("call.told", words=words) for words in (f"{ADDRESS} was refused: {MAIL}", f"Look at {NAME}."))))
    legs = [{"number": "123456789012", "name": NAME, "address": ADDRESS, "transport": "TLS", "signalling_secure": True, "media_secure": True, "codec": "Opus",
             "packets_received": 123456789, "packets_sent": 123456789, "lost": 12345, "burst_lost": 123, "jitter_ms": 12.3}] * 2  # fmt: skip
    for id, answered in (("past", now - 3990), ("failed", None)):
        desk.history.write(
            {
                "id": id, "started": now - 4000, "answered": answered, "ended": now - 3810, "caller_number": "123456789012", "caller_name": NAME,
                "dialled": "1234567890123456789012345678901234567890", "callee_number": "100", "callee_name": NAME, "outcome": "failed",
                "cause": 16, "hung_up_by": f"{NAME} (admin page)", "said": Said.of("call.told", words=f"{NAME} (123456789012) and {MAIL} were connected; {NAME} hung up."), "people": [], "parts": [],
                "selftest": False, "legs": legs,
            }
        )  # fmt: skip
    paths = ["/", "/calls", "/calls/past", "/calls/failed", "/extensions", "/users", "/encryption", "/settings", "/licence", "/backup",
             "/updates", "/changes", "/account", "/welcome", "/extensions/add", f"/users/{user.id}", f"/users/{user.id}/delete",
             f"/extensions/{extension.id}", f"/extensions/{extension.id}?tab=lines", f"/extensions/{extension.id}/delete",
             f"/users?q={NAME}{NAME}"]  # fmt: skip
    return {path.replace(user.id, "user").replace(extension.id, "extension"): path for path in paths}


@pytest.mark.parametrize(("width", "height"), [(1280, 860), (390, 844)])
def test_nothing_stands_out(page: Page, made: Desk, box: FakeBox, width: int, height: int) -> None:
    paths = fill(made, box)
    page.set_viewport_size({"width": width, "height": height})
    broken = {}
    with served(create_app(made), made) as site:
        log_in(page, site)
        for name, path in paths.items():
            page.goto(site.address + path)
            shoot(page, f"long{name.partition('?q')[0].replace('/', '-').replace('?', '-')}-{width}")
            if found := page.evaluate(STANDS_OUT):
                broken[name] = found
    assert broken == {}
