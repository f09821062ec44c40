"""Headless Chromium through the wizard and the pages, at desktop and telephone size, light and dark.

Screenshots go to ./artefacts.
"""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, expect

from appliance import cti
from appliance.words import Said, english
from tests.web.chromium import needs_chromium, shoot
from tests.web.made import CODE, PASSWORD, FakeBox, leg, phone
from tests.web.served import Served
from webui.desk import Desk

PAGES = (
    "/",
    "/calls",
    "/extensions",
    "/users",
    "/encryption",
    "/licence",
    "/settings",
    "/backup",
    "/updates",
    "/licences",
    "/changes",
    "/dial-plan?from=100&number=101",
    "/account",
    "/extensions/add",
    "/users/add",
    "/services",
    "/search?q=an",
)

pytestmark = [needs_chromium, pytest.mark.timeout(120)]


@pytest.fixture
def box() -> FakeBox:
    return FakeBox(status=a_status())


def a_status() -> cti.Status:
    now = time.time()
    names = ("supervisor", "core", "calls", "web")
    processes = [cti.ProcessView(name, 100, "running", 190_000, 0, 40_000_000, 50) for name in names]
    counters = {"registrations": 4, "calls": 2, "dialogs": 4, "legs": 4, "rtp_ports": 8, "flows": 4}
    return cti.Status("0.1.0", now - 190_000, True, processes, counters, [], "epoll", {"sips": "192.0.2.1:5061"})


def set_up(desk: Desk) -> None:
    """A small office, set up without the browser."""
    admin = desk.admin
    anna = admin.complete_setup(
        username="anna", full_name="Anna Berger", password=PASSWORD, first_extension="100", country="DE"
    )
    ben = admin.create(
        "user", {"username": "ben", "full_name": "Ben Carter", "role": "read-only"}, "anna", password=PASSWORD
    )
    office = (("100", "Anna Berger", anna.id, "required"), ("101", "Ben Carter", ben.id, "preferred"), ("102", "Reception", "", "preferred"),
              ("103", "Workshop", "", "off"))  # fmt: skip
    for number, name, user, encrypt in office:
        admin.create("extension", {"number": number, "name": name, "user": user, "encrypt": encrypt}, "anna")


def busy(desk: Desk, box: FakeBox) -> None:
    """Phones registered, two calls up, one in the history."""
    now, lines = time.time(), {line.sip_username: line.id for line in desk.admin.snapshot.lines.values()}
    agents = ("Yealink SIP-T54W 96.86.0.100", "Linphone/5.2.0", "snomD785/10.1.175.16", "Grandstream GXP2170")
    names = ("Anna Berger", "Ben Carter", "Reception", "Workshop")
    box.phones = [
        phone(number, names[at], line=lines[number], secure=number != "103", agent=agents[at], since=now - 86_000)
        for at, number in enumerate(("100", "101", "102", "103"))
    ]
    first = leg("100", "Anna Berger", secure=True), leg("101", "Ben Carter", secure=True)
    second = (
        leg("102", "Reception", secure=True, state="held"),
        leg("103", "Workshop", secure=False, state="on-hold", codec="PCMA", lost=61),
    )
    box.calls = [
        cti.CallView("one", now - 80, now - 75, first[0], [first[1]], "101"),
        cti.CallView("two", now - 9, None, second[0], [second[1]], "103"),
    ]
    legs = [
        {"number": number, "name": "", "address": "192.0.2.9:5061", "transport": "TLS", "signalling_secure": True, "media_secure": True,
         "codec": "Opus", "packets_received": 9000, "packets_sent": 9010, "lost": 2, "jitter_ms": 1.4}
        for number in ("100", "102", "102")
    ]  # fmt: skip
    desk.history.write(
        {
            "id": "past", "started": now - 4000, "answered": now - 3990, "ended": now - 3810, "caller_number": "100", "caller_name": "Anna Berger",
            "dialled": "102", "callee_number": "102", "callee_name": "Reception", "outcome": "answered", "cause": 16, "hung_up_by": "callee",
            "said": Said.of("call.told", words="They talked for 3 minutes; Reception hung up."), "selftest": False,
            "legs": [{**one, "who": who, "fate": fate} for who, (one, fate) in enumerate(zip(legs, ("", "answered", "answered elsewhere"), strict=True), 1)],
            "people": [{"number": "102", "name": "Reception", "fate": "answered"}],
            "parts": [
                {"who": who, "kind": kind, "seconds": seconds}
                for who, kind, seconds in ((1, "calling", 10.0), (1, "talking", 170.0), (1, "on hold", 10.0), (2, "ringing", 10.0), (2, "talking", 170.0),
                                           (2, "holding", 10.0), (3, "ringing", 10.0))
            ],
        }
    )  # fmt: skip


def log_in(page: Page, site: Served) -> None:
    page.goto(site.address + "/login")
    page.get_by_label("User name").fill("anna")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Status")).to_be_visible()


def test_the_qr_code_of_the_screen_brings_the_setup_code_along(page: Page, site: Served) -> None:
    page.goto(f"{site.address}/#{CODE}")
    expect(page.get_by_label("Setup code")).to_have_value(CODE)
    assert page.url == f"{site.address}/setup"
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name="The first administrator")).to_be_visible()


def test_from_the_setup_code_to_a_deleted_extension(page: Page, site: Served, made: Desk) -> None:
    page.goto(site.address)
    page.get_by_label("Setup code").fill("wrong")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("This is not the setup code")).to_be_visible()
    shoot(page, "setup-code")
    page.get_by_label("Setup code").fill(CODE)
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Full name").fill("Anna Berger")
    page.get_by_label("User name").fill("anna")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password once more").fill(PASSWORD)
    shoot(page, "setup-administrator")
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Country").select_option("DE")
    page.get_by_text("Two digits").click()
    shoot(page, "setup-numbering")
    page.get_by_role("button", name="Finish").click()
    expect(page.get_by_role("heading", name="Ready, Anna")).to_be_visible()
    shoot(page, "setup-welcome")

    page.get_by_role("link", name="Add the first extension").click()
    expect(page.get_by_role("textbox", name="Number", exact=True)).to_have_value("10")
    page.get_by_role("textbox", name="Name", exact=True).fill("Reception")
    page.get_by_role("button", name="Add extension").click()
    expect(page.get_by_text("What to enter in the phone")).to_be_visible()
    reveal_renew_and_add_a_line(page, made)
    edit_with_a_conflict(page, site, made)

    page.get_by_role("link", name="Delete").click()
    expect(page.get_by_text("Nobody can dial 12 any more.")).to_be_visible()
    shoot(page, "extension-delete")
    page.get_by_role("button", name="Delete extension").click()
    expect(page.get_by_text("Extension 12 is deleted.")).to_be_visible()
    page.goto(site.address + "/changes")
    expect(page.get_by_text("looked at line 10 of extension 10")).to_have_count(0)
    expect(page.get_by_text("SIP password shown")).to_be_visible()
    shoot(page, "changes")


def reveal_renew_and_add_a_line(page: Page, made: Desk) -> None:
    (line,) = made.admin.snapshot.lines.values()
    expect(page.get_by_text(line.sip_password)).to_have_count(0)
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text(line.sip_password)).to_be_visible()
    assert english().say(made.admin.journal(limit=1)[0].event) == "SIP password shown"
    shoot(page, "extension-lines")
    page.get_by_role("button", name="Hide SIP password").click()
    expect(page.get_by_text(line.sip_password)).to_have_count(0)
    page.get_by_role("button", name="New password for 10").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert made.admin.snapshot.lines[line.id].sip_password == line.sip_password
    page.get_by_role("button", name="New password for 10").click()
    page.get_by_role("dialog").get_by_role("button", name="New password").click()
    expect(page.get_by_text("The line has a new password.")).to_be_visible()
    assert made.admin.snapshot.lines[line.id].sip_password != line.sip_password
    page.get_by_label("Label of the new line").fill("mobile")
    page.get_by_role("button", name="Add line").click()
    expect(page.get_by_text("A line is added.")).to_be_visible()
    assert {one.label for one in made.admin.snapshot.lines.values()} == {"", "mobile"}
    page.get_by_role("button", name="Remove line 10-2").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_text("The line is removed.")).to_be_visible()


def edit_with_a_conflict(page: Page, site: Served, made: Desk) -> None:
    made.admin.create("extension", {"number": "11", "name": "Workshop"}, "anna")
    page.get_by_role("tab", name="General").click()
    page.get_by_role("textbox", name="Number", exact=True).fill("11")
    page.get_by_role("textbox", name="Name", exact=True).fill("Front desk")
    page.get_by_role("tab", name="Advanced").click()
    page.get_by_text("anything else is refused").click()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("11 is in use by extension 11 (Workshop).")).to_be_visible()
    expect(page.get_by_role("textbox", name="Name", exact=True)).to_have_value("Front desk")
    shoot(page, "extension-conflict")
    page.get_by_role("textbox", name="Number", exact=True).fill("12")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Choose what becomes of the SIP username.")).to_be_visible()
    shoot(page, "extension-renumbered")
    page.get_by_label("Change it to the new number").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="12 Front desk")).to_be_visible()
    (saved,) = (one for one in made.admin.snapshot.extensions.values() if one.number == "12")
    assert (saved.name, saved.encrypt) == ("Front desk", "required")


def test_every_page_at_every_size_and_colour(page: Page, site: Served, made: Desk, box: FakeBox) -> None:
    set_up(made)
    busy(made, box)
    log_in(page, site)
    (anna,) = (one.id for one in made.admin.snapshot.extensions.values() if one.number == "100")
    person = next(user.id for user in made.admin.snapshot.users.values() if user.username == "anna")
    paths = (
        *PAGES,
        f"/extensions/{anna}?tab=lines",
        f"/extensions/{anna}?tab=advanced",
        f"/extensions/{anna}/delete",
        f"/users/{person}",
        "/calls/past",
    )
    names = {anna: "extension", person: "user"}
    for width, height in ((1280, 860), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        for theme in ("light", "dark"):
            page.evaluate(f"localStorage.setItem('theme', '{theme}')")
            for path in paths:
                answer = page.goto(site.address + path)
                assert answer is not None
                assert answer.ok, path
                assert page.evaluate("document.documentElement.dataset.bsTheme") == theme
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
                    f"{path} is wider than {width}"
                )
                assert page.evaluate(
                    "[...document.querySelectorAll('input:not([type=hidden]),select')].every(i => i.labels?.length || i.ariaLabel)"
                ), path
                assert page.evaluate(
                    "[...document.querySelectorAll('button,a')].every(b => b.textContent.trim() || b.ariaLabel || b.querySelector('img'))"
                ), path
                name = path.strip("/").replace("?tab=", "-").replace("/", "-") or "status"
                for key, word in names.items():
                    name = name.replace(key, word)
                shoot(page, f"{name}-{width}-{theme}")


def test_live_calls_come_and_go_and_are_hung_up(page: Page, site: Served, made: Desk, box: FakeBox) -> None:
    set_up(made)
    log_in(page, site)
    expect(page.get_by_text("Nobody is talking")).to_be_visible()
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    busy(made, box)
    site.publish("calls")
    expect(page.locator(".live-call")).to_have_count(2)
    timer = page.locator("#call-one .timer")
    before = timer.inner_text()
    expect(timer).not_to_have_text(before)
    expect(page.locator("#call-one .leg-how").first).to_contain_text("Encrypted: signalling, and sound both ways")
    expect(page.locator("#call-two .legs .leg-how")).to_contain_text("Not encrypted")
    page.locator("#call-one").get_by_role("button", name="Hang up").click()
    box.calls = box.calls[1:]
    page.get_by_role("dialog").get_by_role("button", name="Hang up").click()
    expect(page.locator(".live-call")).to_have_count(1)
    assert box.hung_up == [("one", "Anna Berger (admin page)")]
    box.away = True
    site.publish("calls")
    expect(page.get_by_text("The telephone process does not answer").first).to_be_visible()


def test_the_colour_is_remembered_and_search_narrows_the_list(page: Page, site: Served, made: Desk) -> None:
    set_up(made)
    log_in(page, site)
    page.locator("aside .d-none [data-theme-toggle]").click()
    assert page.evaluate("document.documentElement.dataset.bsTheme") == "dark"
    page.goto(site.address + "/extensions")
    assert page.evaluate("document.documentElement.dataset.bsTheme") == "dark"
    page.get_by_role("searchbox", name="Search", exact=True).fill("recep")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page).to_have_url(site.address + "/extensions?q=recep")
    page.get_by_role("searchbox", name="Search", exact=True).fill("nothing like this")
    expect(page.get_by_text("Nothing fits")).to_be_visible()
