"""The first five minutes, all real: `switchroom run`, the wizard in Chromium, two extensions made by clicking, two baresip phones
with what the page shows, an encrypted call, seen live with its locks and in the history afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.e2e.baresip import Phone
from tests.e2e.running import Credentials, System
from tests.web.chromium import ARGUMENTS, CHROMIUM, needs_chromium, shoot

PASSWORD = "correct horse battery"
LOW, HIGH = 440, 700

pytestmark = [needs_chromium, pytest.mark.timeout(180)]


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    running = System(tmp_path / "var")
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def page(system: System, tmp_path: Path) -> Iterator[Page]:
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path / "browser"),
            executable_path=CHROMIUM,
            args=ARGUMENTS,
            ignore_https_errors=True,
            viewport={"width": 1280, "height": 860},
        )
        context.set_default_timeout(15_000)
        yield context.pages[0]
        context.close()


def set_up(page: Page, system: System) -> None:
    page.goto(f"https://127.0.0.1:{system.admin_port}/")
    page.get_by_label("Setup code").fill((system.data / "run/setup-code").read_text())
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Full name").fill("Anna Berger")
    page.get_by_label("User name").fill("anna")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password once more").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Country").select_option("DE")
    page.get_by_role("button", name="Finish").click()
    expect(page.get_by_role("heading", name="Ready, Anna")).to_be_visible()
    assert not (system.data / "run/setup-code").exists()


def add_extension(page: Page, system: System, name: str) -> Credentials:
    """By clicking; what the phone needs is read from the page."""
    page.goto(f"https://127.0.0.1:{system.admin_port}/extensions")
    page.get_by_role("link", name="Add extension").first.click()
    number = page.get_by_role("textbox", name="Number", exact=True).input_value()
    page.get_by_role("textbox", name="Name", exact=True).fill(name)
    page.get_by_text("anything else is refused").click()  # encryption: required
    page.get_by_role("button", name="Add extension").click()
    expect(page.get_by_text("What to enter in the phone")).to_be_visible()
    page.get_by_role("button", name="Show").click()
    password = page.locator(".secret code").first
    expect(password).to_be_visible()
    return Credentials(
        number, page.get_by_role("textbox", name="SIP username").input_value(), password.inner_text(), ""
    )


def test_the_first_call(page: Page, system: System, tmp_path: Path) -> None:
    set_up(page, system)
    anna, ben = add_extension(page, system, "Anna Berger"), add_extension(page, system, "Ben Carter")
    assert (anna.number, ben.number) == ("100", "101")
    options = {"transport": "tls", "encryption": "srtp-mand"}
    with (
        Phone(system, tmp_path / "phone0", anna, tone=LOW, **options) as caller,
        Phone(system, tmp_path / "phone1", ben, tone=HIGH, **options) as callee,
    ):
        page.goto(f"https://127.0.0.1:{system.admin_port}/")
        caller.dial(ben.number)
        caller.wait_for("CALL_ESTABLISHED")
        caller.expect_tone(HIGH)
        callee.expect_tone(LOW)
        expect(page.locator(".live-call")).to_have_count(1)
        expect(page.locator(".live-call .leg-how").first).to_contain_text("Encrypted: signalling, and sound both ways")
        expect(page.locator(".live-call .leg-how").last).to_contain_text("Encrypted: signalling, and sound both ways")
        expect(page.get_by_text("Nobody is talking")).to_have_count(0)
        shoot(page, "first-call")
        caller.hang_up()
        callee.wait_for("CALL_CLOSED")
        expect(page.locator(".live-call")).to_have_count(0)
    page.goto(f"https://127.0.0.1:{system.admin_port}/calls")
    expect(page.get_by_text("Ben Carter").first).to_be_visible()
    shoot(page, "first-call-history")
    for credentials in (anna, ben):
        log_in_refused(page, system, credentials)


def log_in_refused(page: Page, system: System, credentials: Credentials) -> None:
    """What registers a phone opens no page."""
    page.context.clear_cookies()
    page.goto(f"https://127.0.0.1:{system.admin_port}/login")
    page.get_by_label("User name").fill(credentials.username)
    page.get_by_label("Password", exact=True).fill(credentials.password)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Status")).to_have_count(0)
    assert page.url.endswith("/login")


def test_an_administrators_login_registers_no_phone(system: System, page: Page, tmp_path: Path) -> None:
    set_up(page, system)
    login = Credentials("100", "anna", PASSWORD, "")
    with Phone(system, tmp_path / "phone", login, transport="tls", register=False) as phone:
        phone.register()
        phone.wait_for("REGISTER_FAIL")
    assert system.counters()["registrations"] == 0
