"""Phones that cannot get in, all real: the page and `switchroom status` say when, from where, why, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from appliance.host.entitlement import open_admin
from tests.e2e.baresip import Phone
from tests.e2e.running import Credentials, System
from tests.web.chromium import ARGUMENTS, CHROMIUM, needs_chromium, shoot

PASSWORD = "correct horse battery"

pytestmark = [needs_chromium, pytest.mark.timeout(120)]


@pytest.fixture
def page(system: System, tmp_path: Path) -> Iterator[Page]:
    """An administrator who has logged in."""
    with open_admin(system.data) as admin:
        admin.complete_setup(
            username="anna", full_name="Anna Berger", password=PASSWORD, first_extension="100", country="DE"
        )
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path / "browser"),
            executable_path=CHROMIUM,
            args=ARGUMENTS,
            ignore_https_errors=True,
            viewport={"width": 1280, "height": 860},
        )
        context.set_default_timeout(15_000)
        page = context.pages[0]
        page.goto(f"https://127.0.0.1:{system.admin_port}/login")
        page.get_by_label("User name").fill("anna")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", name="Status")).to_be_visible()
        yield page
        context.close()


def test_the_last_refused_attempt_is_shown_until_the_phone_gets_in(
    page: Page, system: System, extension: Callable[..., Credentials], phone: Callable[..., Phone]
) -> None:
    open_one, locked = extension(), extension(encrypt="required")
    mistyped = phone(replace(open_one, password="mistyped"), register=False)
    plain = phone(locked, transport="udp", register=False)
    for each in (mistyped, plain):
        each.register()
        each.wait_for("REGISTER_FAIL")

    def card(credentials: Credentials) -> None:
        page.goto(f"https://127.0.0.1:{system.admin_port}/extensions/{credentials.extension}?tab=lines")

    card(open_one)
    shown = page.locator("[data-refused]")
    expect(shown).to_contain_text("with a wrong SIP password")
    expect(shown).to_contain_text("from 127.0.0.1:")
    expect(shown).to_contain_text("Enter the line's SIP password in the phone")
    shoot(page, "refused-wrong-password")
    card(locked)
    expect(shown).to_contain_text("came over UDP, but the extension requires encryption")
    expect(shown).to_contain_text("Set the phone to TLS")
    shoot(page, "refused-not-encrypted")

    page.goto(f"https://127.0.0.1:{system.admin_port}/")
    expect(page.get_by_role("heading", name="Refused attempts")).to_be_visible()
    expect(page.locator("#live-attention")).to_contain_text("with a wrong SIP password")
    expect(page.locator("#live-attention")).to_contain_text("came over UDP")
    said = system.run("status", "--data", str(system.data)).stdout
    assert "with a wrong SIP password" in said
    assert "came over UDP, but the extension requires encryption" in said
    assert {one["kind"] for one in system.status()["refusals"]} == {"wrong password", "must use TLS"}

    right = phone(open_one)  # registers, from the same address
    card(open_one)
    expect(shown).to_contain_text("A phone has registered since")
    assert {one["kind"] for one in system.status()["refusals"]} == {"must use TLS"}
    assert right.number == open_one.number
