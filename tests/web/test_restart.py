"""The page's process is killed under the real supervisor: it comes back, and whoever was logged in still is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.running import System
from tests.web.chromium import needs_chromium
from tests.web.made import PASSWORD

pytestmark = [needs_chromium, pytest.mark.timeout(120)]


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    made = System(tmp_path / "data")
    made.start()
    yield made
    made.stop()


def test_whoever_was_logged_in_still_is(page: Page, system: System) -> None:
    done = System.run(
        "user",
        "add",
        "anna",
        "--data",
        str(system.data),
        "--role",
        "full",
        "--password",
        typed=f"{PASSWORD}\n{PASSWORD}\n",
    )
    assert done.returncode == 0, done.stderr
    address = f"https://127.0.0.1:{system.admin_port}"
    page.goto(address)
    page.get_by_label("User name").fill("anna")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    page.goto(address + "/licence")
    system.kill("web")
    page.goto(address + "/extensions")
    expect(page.get_by_role("heading", name="Extensions")).to_be_visible()
