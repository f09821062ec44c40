"""The first five minutes with the real system: wizard, two extensions by clicking, two phones over TLS, an SRTP call seen live and in the history."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.baresip import Phone
from tests.e2e.running import Credentials, System
from tests.web.chromium import needs_chromium, shoot
from tests.web.made import PASSWORD

pytestmark = [
    needs_chromium,
    pytest.mark.skipif(not shutil.which("baresip"), reason="baresip is not installed (apt-get install baresip)"),
    pytest.mark.timeout(180),
]


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    made = System(tmp_path / "data")
    made.start()
    yield made
    made.stop()


def set_up(page: Page, system: System) -> None:
    page.goto(f"https://127.0.0.1:{system.admin_port}/")
    page.get_by_label("Setup code").fill((system.data / "run/setup-code").read_text())
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Full name").fill("Anna Berger")
    page.get_by_label("User name").fill("anna")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password once more").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Country").select_option("NL")
    page.get_by_role("button", name="Finish").click()
    expect(page.get_by_role("heading", name="Ready, Anna")).to_be_visible()


def add_extension(page: Page, system: System, name: str) -> Credentials:
    """By clicking; the login is read from the page as a person would."""
    page.goto(f"https://127.0.0.1:{system.admin_port}/extensions/add")
    number = page.get_by_role("textbox", name="Number", exact=True).input_value()
    page.get_by_role("textbox", name="Name", exact=True).fill(name)
    page.get_by_text("anything else is refused").click()
    page.get_by_role("button", name="Add extension").click()
    username = page.get_by_label("SIP username", exact=True).input_value()
    page.get_by_role("button", name="Show").click()
    password = page.locator(".revealed").inner_text()
    return Credentials(number, username, password, page.url.split("/")[-1].partition("?")[0])


def test_the_first_call(page: Page, system: System, tmp_path: Path) -> None:
    set_up(page, system)
    assert not (system.data / "run/setup-code").exists()
    reception, workshop = add_extension(page, system, "Reception"), add_extension(page, system, "Workshop")
    assert (reception.number, workshop.number) == ("100", "101")
    page.goto(f"https://127.0.0.1:{system.admin_port}/")
    expect(page.get_by_text("No phone is registered")).to_be_visible()
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    with (
        Phone(system, tmp_path / "one", reception, transport="tls", encryption="srtp-mand", tone=440) as one,
        Phone(system, tmp_path / "two", workshop, transport="tls", encryption="srtp-mand", tone=880) as two,
    ):
        expect(page.locator("#live-registrations tbody tr")).to_have_count(2)
        one.dial(workshop.number)
        call = page.locator(".live-call")
        expect(call).to_have_count(1)
        one.expect_tone(880)
        two.expect_tone(440)
        expect(call.locator(".timer")).to_be_visible()
        expect(call.locator(".lock.text-green")).to_have_count(2)
        expect(call.get_by_text("SRTP")).to_have_count(2)
        expect(call.get_by_text("TLS")).to_have_count(2)
        expect(call.locator(".timer")).to_have_text(re.compile("0:[01][3-9]"), timeout=20_000)
        shoot(page, "first-call")
        call.get_by_role("button", name="Hang up").click()
        page.get_by_role("dialog").get_by_role("button", name="Hang up").click()
        one.wait_for("CALL_CLOSED")
        two.wait_for("CALL_CLOSED")
        expect(page.get_by_text("Nobody is talking")).to_be_visible()
    page.goto(f"https://127.0.0.1:{system.admin_port}/calls")
    expect(page.locator("#calls tbody tr")).to_have_count(1)
    shoot(page, "first-call-history")
    page.locator("#calls tbody a").click()
    expect(page.get_by_text("every leg encrypted")).to_be_visible()
    shoot(page, "first-call-detail")


def test_the_page_comes_back_after_its_process_was_killed(page: Page, system: System) -> None:
    set_up(page, system)
    system.kill("web")
    page.goto(f"https://127.0.0.1:{system.admin_port}/extensions")
    expect(page.get_by_role("heading", name="Extensions")).to_be_visible()  # still logged in
