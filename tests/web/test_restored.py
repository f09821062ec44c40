"""A restore on the page of the real system: everything starts again by itself, and the page goes on to the login of the backup."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.e2e.running import System
from tests.web.chromium import needs_chromium
from tests.web.made import PASSWORD

pytestmark = [needs_chromium, pytest.mark.timeout(180)]
PASSPHRASE = "a walk along the river"


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """Of another box, with the administrator anna and the extension 177."""
    data, file = tmp_path / "other", tmp_path / "other.backup"
    other = System(data)
    other.start()
    for words, typed in (
        (("user", "add", "anna", "--role", "full", "--password"), f"{PASSWORD}\n{PASSWORD}\n"),
        (("extension", "add", "177"), ""),
        (("backup", str(file)), f"{PASSPHRASE}\n"),
    ):
        done = System.run(*words, "--data", str(data), typed=typed)
        assert done.returncode == 0, done.stderr
    other.stop()
    return file


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    made = System(tmp_path / "data")
    made.start()
    yield made
    made.stop()


def test_a_new_box_becomes_the_old_one(browser: BrowserContext, system: System, backup: Path) -> None:
    page = browser.pages[
        0
    ]  # without a look at the browser's console: it says that the box is away for a while, and it is
    page.goto(f"https://127.0.0.1:{system.admin_port}")
    page.get_by_label("Setup code").fill((system.data / "run/setup-code").read_text())
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("link", name="Restore from a backup instead").click()
    page.get_by_label("Backup file").set_input_files(backup)
    page.get_by_label("Its passphrase").fill(PASSPHRASE)
    page.get_by_role("button", name="Restore", exact=True).click()
    expect(page.get_by_role("heading", name="The backup is in place")).to_be_visible(timeout=30_000)
    expect(page.get_by_role("heading", name="Log in")).to_be_visible(timeout=60_000)
    page.get_by_label("User name").fill("anna")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name="Extensions", exact=True).click()
    expect(page.get_by_role("link", name="177", exact=True)).to_be_visible()
    page.get_by_role("link", name="Backup", exact=True).click()
    expect(page.get_by_text("From before a restore")).to_be_visible()
    expect(page.get_by_role("button", name="Put it back")).to_be_visible()
