"""Headless Chromium as fixtures. A message in the browser's console, a violation of the content security policy first of all, fails the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Playwright, sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
ARTEFACTS = Path("artefacts")
MISSING = "/nothing-like-this"  # an address that no page has

needs_chromium = pytest.mark.skipif(
    not Path(CHROMIUM).exists(), reason="Chromium is not installed (apt-get install chromium)"
)


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """By module: while it lives, its event loop runs in this thread, and nothing asynchronous can be tried."""
    with sync_playwright() as made:
        yield made


@pytest.fixture
def browser(playwright: Playwright, tmp_path: Path) -> Iterator[BrowserContext]:
    context = playwright.chromium.launch_persistent_context(
        str(tmp_path / "browser"),
        executable_path=CHROMIUM,
        args=ARGUMENTS,
        ignore_https_errors=True,
        viewport={"width": 1280, "height": 860},
        color_scheme="light",
    )
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    said: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        # the browser reports a form that was refused (422, 409), or the page that is not there, as a failed resource; that is the answer asked for
        asked_for = any(code in message.text for code in ("422", "409")) or message.location["url"].endswith(MISSING)
        if message.type in ("error", "warning") and not asked_for:
            said.append(f"{page.url}: {message.text} {message.location}")

    page = browser.pages[0]
    page.on("console", hear)
    page.on("pageerror", lambda error: said.append(f"{page.url}: {error}"))
    yield page
    assert said == [], said


def shoot(page: Page, name: str) -> None:
    ARTEFACTS.mkdir(exist_ok=True)
    page.screenshot(path=str(ARTEFACTS / f"{name}.png"), full_page=True)
