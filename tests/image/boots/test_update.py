"""Updates on a running box, from its page in Chromium and over HTTPS: a good one is installed during a call and stays, one that does not
work or does not start is left by itself and its sentence is on the page, one that is wrong is refused.

Slow: the emulated box writes and reads back two hundred megabytes and starts two to five times.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Error as PageError
from playwright.async_api import Page, async_playwright

from image.build import Image
from image.tree import PRODUCT
from tests.image.boots.conftest import NEWER, PASSWORD, Running, later
from tests.image.browser import Browser
from tests.image.phones import HIGH, LOW, talking
from tests.web.chromium import ARGUMENTS, CHROMIUM

pytestmark = [pytest.mark.timeout(3600), pytest.mark.slow]
LONG = 1200.0  # seconds
LOGIN, ATTEMPTS = 60.0, 5
MIGRATION = """

@calls_migrations()
def later_column(db: Tables) -> None:
    db["call"].add_column("later", str)
"""


def does_not_start(root: Path) -> None:
    unit = root / "etc/systemd/system/switchroom.service"
    unit.write_text(unit.read_text().replace("ExecStart=", "ExecStart=/bin/false "))


def changed(bundle: Path, target: Path, offset: int) -> Path:
    with bundle.open("rb") as source, target.open("wb") as out:
        content = bytearray(source.read())
        content[offset] ^= 1
        out.write(content)
    return target


@asynccontextmanager
async def chromium(folder: Path, port: int) -> AsyncIterator[Page]:
    """Logged in, on the page of versions."""
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            str(folder), executable_path=CHROMIUM, args=ARGUMENTS, ignore_https_errors=True
        )
        page = context.pages[0]
        for left in range(ATTEMPTS, 0, -1):  # a person tries again when a busy machine's page is started anew
            try:
                await page.goto(f"https://127.0.0.1:{port}/login", timeout=LOGIN * 1000)
                await page.get_by_label("User name").fill("anna", timeout=LOGIN * 1000)
                await page.get_by_label("Password", exact=True).fill(PASSWORD)
                await page.get_by_role("button", name="Log in").click()
                await page.get_by_role("link", name="Updates").click(timeout=LOGIN * 1000)
                break
            except PageError:
                if left == 1:
                    raise
        context.set_default_timeout(LONG * 1000)
        yield page
        await context.close()


async def says(page: Page, words: str) -> None:
    await page.get_by_text(words).first.wait_for()


async def install(page: Page, file: Path) -> list[str]:
    """Choose the file and press the button; what the page said until it was done."""
    await page.get_by_label("Update file").set_input_files(file)
    await page.get_by_role("button", name="Install").click()
    seen: list[str] = []
    place = page.locator("#update-state [data-said]")
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        text = await place.inner_text()
        if text and text not in seen[-1:]:
            seen.append(text)
        if not text.startswith(("Checking", "Sending", "Writing", "Reading")) and text:
            break
        await asyncio.sleep(0.3)
    return seen


async def test_a_good_update_during_a_call(image: Image, running: Running, good: Image, tmp_path: Path) -> None:
    machine = running.machine
    async with chromium(tmp_path / "chromium", running.port) as page:
        async with talking(running.accounts()) as (made, taken):
            seen = await install(page, good.bundle)
            assert seen[-1] == f"Version {NEWER} is installed. It starts at the next restart."
            percents = [int(found[1]) for text in seen if (found := re.fullmatch(r"Writing .*: (\d+) %", text))]
            assert percents == sorted(percents)
            assert len(set(percents)) > 5, seen
            assert "Reading back what was written …" in seen
            assert await taken.hears(LOW, 60), "the call went on"
            assert await made.hears(HIGH, 60), "the call went on"
            await page.reload()
            await says(page, "starts next")
            await page.get_by_role("button", name="Restart").click()  # when no call is up
            await says(page, "The box restarts when no call is up.")
            await asyncio.sleep(15)
            assert await taken.hears(LOW, 60), "it waits for the end of the call"
            assert machine.text().count("SWITCHROOM-INITRD") == 0
            made.hang_up()
        await asyncio.to_thread(machine.wait, "SWITCHROOM-INITRD slot b", LONG)
        await asyncio.to_thread(machine.wait, f"Switchroom {NEWER} +slot B")
        await asyncio.to_thread(machine.wait, r"State +healthy")
        await asyncio.to_thread(await_blessing, running)  # the screen, which stands back while all starts, may come after it
        said = await asyncio.to_thread(running.updates)
        assert f"This box runs version {NEWER}" in said
        assert f"{image.version} the way back" in said
        assert "did not work" not in said

    def back_and_forth() -> None:
        """The way back is kept, and taken at the console."""
        machine.send("3")
        machine.wait("Type yes and Enter")
        machine.send("yes")
        machine.wait(f"Starting with version {image.version}")
        machine.wait("SWITCHROOM-INITRD slot a", LONG)
        machine.wait(f"Switchroom {image.version} +slot A")
        machine.wait(r"State +healthy")
        said = running.updates()
        assert f"Version {NEWER} is not in use. It was left at the console." in said
        assert f"{NEWER} not in use" in said

    await asyncio.to_thread(back_and_forth)
    async with talking(running.accounts()):  # the office is as it was
        pass


def changes_the_databases(root: Path) -> None:
    """Another column in the table of calls. What was compiled from the source is not compared with it on the box, so it goes."""
    package = next(root.glob(f"{PRODUCT}/lib/python3*/site-packages/appliance"))
    records = package / "records.py"
    records.write_text(records.read_text() + MIGRATION)
    for compiled in package.glob("__pycache__/records.*.pyc"):
        compiled.unlink()


def test_a_version_that_changed_the_databases_is_left(image: Image, running: Running, tmp_path: Path) -> None:
    """It works, is used, and is left at the console: the older one works on the copy of before, and the call of meanwhile is offered."""
    bundle = later(image, tmp_path / "newer", changes_the_databases).bundle
    machine, browser = running.machine, running.log_in()
    browser.open("/updates")
    assert browser.send("/updates/install", bundle) == NEWER
    browser.open("/updates")
    browser.submit("/updates/restart", when="now", hour="")
    machine.wait(f"Switchroom {NEWER} +slot B", LONG)
    machine.wait(r"State +healthy", LONG)
    await_blessing(running)
    asyncio.run(a_call(running))
    assert talked(running.log_in()) == 1
    running.log_in().add_extension("107")
    machine.send("3")
    machine.wait("Type yes and Enter")
    machine.send("yes")
    machine.wait(f"Switchroom {image.version} +slot A", LONG)
    machine.wait(r"State +healthy", LONG)
    said = running.updates()
    assert f"Version {NEWER} is not in use. It was left at the console." in said
    assert "1 call record, 1 of them is not in the history" in said
    asyncio.run(a_call(running))  # the office is as it was before the update
    browser = running.log_in()
    before = talked(browser)
    kept = re.search(r"/updates/kept/(calls\.db\.\d+)/add", browser.open("/updates"))
    assert kept
    browser.submit(kept[0])
    until = time.monotonic() + LONG
    while "1 call records were added to the history" not in (page := browser.open("/updates")):
        assert time.monotonic() < until, page
    assert talked(browser) == before + 1
    assert "1 call record, all of them in the history" in running.updates()


def await_blessing(running: Running) -> None:
    until = time.monotonic() + LONG
    while "is on trial" in (said := running.updates()):
        assert time.monotonic() < until, said
        time.sleep(3)


async def a_call(running: Running) -> None:
    async with talking(running.accounts()) as (made, _):
        made.hang_up()


def talked(browser: Browser) -> int:
    """Calls in the history."""
    return len(set(re.findall(r'href="/calls/([^"/?]+)"', browser.open("/calls"))))


async def test_an_update_that_is_not_healthy(image: Image, running: Running, tmp_path: Path) -> None:
    bundle = later(image, tmp_path / "newer", does_not_start).bundle
    machine = running.machine
    async with chromium(tmp_path / "chromium", running.port) as page:
        seen = await install(page, bundle)
        assert seen[-1] == f"Version {NEWER} is installed. It starts at the next restart."
        hour, minute = map(int, re.search(r"^\D*(\d+):(\d+)", await clock(page)).groups())  # type: ignore[union-attr]
        hour, minute = (hour + (minute + 2) // 60) % 24, (minute + 2) % 60
        await page.get_by_label("Restart", exact=True).select_option("hour")
        await page.get_by_label("Hour").fill(f"{hour:02}:{minute:02}")
        await page.get_by_role("button", name="Restart").click()
        await says(page, f"The box restarts at {hour:02}:{minute:02}")
    await asyncio.to_thread(machine.wait, f"Switchroom {NEWER} +slot B", LONG)
    await asyncio.to_thread(machine.wait, f"Switchroom {image.version} +slot A", LONG)
    await asyncio.to_thread(machine.wait, rf"Version {NEWER} did not work and was left: (.+)")
    await asyncio.to_thread(machine.wait, r"State +healthy")
    said = await asyncio.to_thread(running.updates)
    assert f"This box runs version {image.version}" in said
    assert f"Version {NEWER} did not work and the box went back. The supervisor does not answer." in said
    assert f"{NEWER} did not work, not started again" in said


async def clock(page: Page) -> str:
    """The box's own, which the page tells with a restart at a set hour."""
    await page.get_by_label("Restart", exact=True).select_option("hour")
    await page.get_by_role("button", name="Restart").click()
    text = await page.get_by_text("its clock is at").first.inner_text()
    return text.split("its clock is at")[1]


def test_an_update_that_panics(image: Image, running: Running, tmp_path: Path) -> None:
    bundle = later(image, tmp_path / "newer", panics=True).bundle
    browser = running.log_in()
    browser.open("/updates")
    assert browser.send("/updates/install", bundle) == NEWER
    browser.open("/updates")
    assert "The box restarts now." in browser.submit("/updates/restart", when="now", hour="")
    for _ in range(3):
        running.machine.wait("Kernel panic", LONG)
    # both slots hold the same system now; either is right
    running.machine.wait(rf"Switchroom {image.version} +slot \w", LONG)
    running.machine.wait(r"State +healthy")
    said = running.updates()
    reason = "It was started 3 times and did not reach its health check: its kernel stopped or could not be loaded."
    assert f"Version {NEWER} did not work and the box went back. {reason}" in said


async def test_an_update_that_is_wrong(running: Running, good: Image, tmp_path: Path) -> None:
    unsigned = changed(good.bundle, tmp_path / "unsigned.update", good.bundle.read_bytes().index(b'"version"') + 12)
    damaged = changed(good.bundle, tmp_path / "damaged.update", 50 << 20)
    async with chromium(tmp_path / "chromium", running.port) as page:
        assert (await install(page, damaged))[
            -1
        ] == "The file is damaged (root.img). Download it again. Nothing was sent."
        await page.reload()
        said = (await install(page, unsigned))[-1]
        assert said.startswith("This update is not signed by Switchroom's maker (or was changed).")
        await page.reload()
        # past the page's own check: the box finds it too, and nothing is started from that slot
        refused = await asyncio.to_thread(_refused, running, damaged)
        assert "The update is damaged (root.img)" in refused
        await page.reload()
        assert "starts next" not in await page.inner_text("body")
        seen = await install(page, good.bundle)
        assert seen[-1] == f"Version {NEWER} is installed. It starts at the next restart."


def _refused(running: Running, file: Path) -> str:
    browser = running.log_in()
    browser.open("/updates")
    try:
        return browser.send("/updates/install", file)
    except AssertionError as error:
        return str(error)
