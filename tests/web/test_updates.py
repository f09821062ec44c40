"""The page of versions in headless Chromium, before a helper that says what it is told to: a damaged file never leaves the browser."""

from __future__ import annotations

import hashlib
import io
import json
import socketserver
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Page, expect

from appliance.box import update_client
from appliance.box.update import BLOCK
from appliance.words import Said
from tests.web.chromium import needs_chromium, shoot
from tests.web.made import PASSWORD, FakeBox, make_desk
from tests.web.served import Served, served
from webui.app import create_app

pytestmark = [needs_chromium, pytest.mark.timeout(120)]


class FakeHelper:
    """The box's helper: `status` as set, what was sent as an update kept; `answer` is its last word."""

    def __init__(self) -> None:
        self.status: dict[str, Any] = {
            "version": "1.0", "slot": "a", "trial": False, "failed": None, "restart": "", "clock": "12:00", "progress": {},
            "kernels": [{"version": "1.0", "running": True, "left": None}, {"version": "0.9", "running": False, "left": None}],
        }  # fmt: skip
        self.sent: list[bytes] = []
        self.answer: dict[str, str] = {"ok": "1.1"}
        self.reset: dict[str, Any] = {}

    def handle(self, request: dict[str, Any], body: Any) -> dict[str, Any]:
        if request["do"] == "update":
            self.sent.append(body.read() if "ok" in self.answer else body.read(2000))
            return self.answer
        if request["do"] == "factory-reset":
            self.reset = request
        if request["do"] == "restart":
            self.status["restart"] = request["when"]
        return {"ok": self.status}


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHelper]:
    made = FakeHelper()
    path = tmp_path / "helper.sock"
    monkeypatch.setattr(update_client, "SOCKET", path)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            answer = made.handle(json.loads(self.rfile.readline()), self.rfile)
            self.wfile.write(json.dumps(answer).encode() + b"\n")

    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def updates(page: Page, helper: FakeHelper, tmp_path: Path) -> Iterator[Page]:
    desk = make_desk(tmp_path / "data", time.time, FakeBox())
    desk.admin.complete_setup(
        username="anna", full_name="Anna Berger", password=PASSWORD, first_extension="100", country="DE"
    )
    with served(create_app(desk), desk) as site:
        log_in(page, site)
        page.goto(site.address + "/updates")
        yield page
        page.goto("about:blank")
    desk.sessions.close()
    desk.history.close()
    desk.admin._store.close()


def log_in(page: Page, site: Served) -> None:
    page.goto(site.address + "/login")
    page.get_by_label("User name").fill("anna")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Status")).to_be_visible()


def update_file(folder: Path) -> Path:
    parts = {"root.img": bytes(range(256)) * 10_000, "root.verity": b"tree" * 99, "uki.efi": b"kernel" * 1000}
    rows = [
        {
            "name": name,
            "size": len(body),
            "blocks": [hashlib.sha256(body[n : n + BLOCK]).hexdigest() for n in range(0, len(body), BLOCK)],
        }
        for name, body in parts.items()
    ]
    manifest = json.dumps({"version": "1.1", "parts": rows}).encode()
    path = folder / "switchroom-1.1.update"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, body in {"manifest.json": manifest, "manifest.sig": bytes(64), **parts}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    return path


def install(page: Page, file: Path) -> None:
    page.get_by_label("Update file").set_input_files(file)
    page.get_by_role("button", name="Install").click()


def test_a_whole_file_arrives_as_it_is(updates: Page, helper: FakeHelper, tmp_path: Path) -> None:
    file = update_file(tmp_path)
    install(updates, file)
    expect(updates.get_by_text("Version 1.1 is installed.")).to_be_visible()
    assert helper.sent == [file.read_bytes()]
    shoot(updates, "updates")


def test_a_damaged_file_is_not_sent(updates: Page, helper: FakeHelper, tmp_path: Path) -> None:
    file = update_file(tmp_path)
    whole = bytearray(file.read_bytes())
    whole[2_000_000] ^= 1
    file.write_bytes(whole)
    install(updates, file)
    expect(updates.get_by_text("The file is damaged (root.img)")).to_be_visible()
    whole[2_000_000] ^= 1
    file.write_bytes(whole[:100_000])
    install(updates, file)
    expect(updates.get_by_text("The file ends too early")).to_be_visible()
    assert helper.sent == []


def test_what_the_box_refuses_is_shown_in_its_words(updates: Page, helper: FakeHelper, tmp_path: Path) -> None:
    helper.answer = {"failed": msgspec.to_builtins(Said("update.no-update"))}
    file = tmp_path / "holiday.update"
    file.write_bytes(b"no tar at all" * 400_000)
    install(updates, file)
    expect(updates.get_by_text("This is not a Switchroom update.")).to_be_visible()


def test_a_version_that_was_left_and_a_restart(updates: Page, helper: FakeHelper) -> None:
    helper.status["failed"] = {"version": "0.9", "reason": "The self-test failed.", "when": 0.0, "asked": False}
    updates.get_by_label("Restart").select_option("idle")
    updates.get_by_role("button", name="Restart").click()
    expect(updates.get_by_text("The box restarts when no call is up.")).to_be_visible()
    expect(updates.get_by_text("Version 0.9 did not work and the box went back. The self-test failed.")).to_be_visible()
    updates.get_by_label("Restart").select_option("hour")
    updates.get_by_label("Hour").fill("04:15")
    updates.get_by_role("button", name="Restart").click()
    expect(updates.get_by_text("The box restarts at 04:15, its clock is at 12:00.")).to_be_visible()


def test_a_restart_that_nobody_saw_ends_the_wait(updates: Page, helper: FakeHelper) -> None:
    """The box answers every look, before and after: quicker than the page looks. What tells is that another start answers."""
    updates.get_by_label("Restart").select_option("now")
    updates.get_by_role("button", name="Restart").click()
    waits = updates.get_by_text("The box restarts now. This page comes back by itself.")
    expect(waits).to_be_visible()
    helper.status["restart"] = ""
    with updates.expect_response("**/healthz") as answer:
        pass
    assert answer.value.ok
    expect(waits).to_be_visible()  # the same start
    updates.route("**/healthz", lambda route: route.fulfill(json={"ok": True, "start": "another"}))
    expect(waits).to_be_hidden()
    updates.unroute("**/healthz")


def test_a_factory_reset(updates: Page, helper: FakeHelper) -> None:
    updates.get_by_role("link", name="Backup").first.click()
    updates.get_by_role("link", name="Factory reset").click()
    for width in (390, 1280):
        updates.set_viewport_size({"width": width, "height": 860})
        assert updates.evaluate("document.documentElement.scrollWidth <= innerWidth")
        shoot(updates, f"reset-{width}")
    assert updates.get_by_label("Keep the network settings").is_checked()
    updates.get_by_label("Keep the network settings").uncheck()
    updates.get_by_label("Your password").fill("wrong")
    updates.get_by_role("button", name="Erase everything").click()
    expect(updates.get_by_text("This is not your password.")).to_be_visible()
    assert not updates.get_by_label("Keep the network settings").is_checked()
    assert helper.reset == {}
    updates.get_by_label("Your password").fill(PASSWORD)
    updates.get_by_role("button", name="Erase everything").click()
    expect(updates.get_by_role("heading", name="The box starts as new")).to_be_visible()
    assert (helper.reset["keep_network"], helper.reset["erase_media"]) == (False, False)
