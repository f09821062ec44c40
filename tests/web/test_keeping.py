"""Chromium at the pages that keep what the box must remember: backup and restore, on a box in use and on a new one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from appliance.box import update_client
from appliance.upkeep import backup
from tests.test_aside import in_between
from tests.web.chromium import needs_chromium, shoot
from tests.web.made import CODE, FakeBox
from tests.web.served import Served
from tests.web.test_browser import a_status, log_in, set_up
from webui.desk import Desk

pytestmark = [needs_chromium, pytest.mark.timeout(120)]
PASSPHRASE = "a walk along the river"


@pytest.fixture
def box() -> FakeBox:
    return FakeBox(status=a_status())


@pytest.fixture
def made(made: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(update_client, "SOCKET", tmp_path / "none.sock")
    monkeypatch.setattr(update_client, "FOUND_AT_START", tmp_path / "found")
    return made


def make_one(page: Page, site: Served, folder: Path) -> Path:
    page.goto(site.address + "/backup")
    page.locator("#field-passphrase").fill(PASSPHRASE)
    page.get_by_label("Passphrase once more").fill(PASSPHRASE)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Make a backup").click()
    target = folder / waiting.value.suggested_filename
    waiting.value.save_as(target)
    return target


def both_sizes(page: Page, name: str) -> None:
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 860})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than {width}"
        shoot(page, f"{name}-{width}")


def test_out_and_back(page: Page, site: Served, made: Desk, box: FakeBox, tmp_path: Path) -> None:
    set_up(made)
    log_in(page, site)
    file = make_one(page, site, tmp_path)
    assert file.read_bytes().startswith(b"Switchroom backup 1\n")
    assert file.name.startswith("switchroom-20")
    expect(page.get_by_text("4 extensions and 0 call records")).to_be_visible()
    both_sizes(page, "backup-ready")

    page.get_by_label("Backup file").set_input_files(file)
    page.get_by_label("Its passphrase").fill("not this one")
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_text("The passphrase is not the one")).to_be_visible(timeout=30_000)
    both_sizes(page, "backup-refused")
    page.get_by_label("Its passphrase").fill(PASSPHRASE)
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_role("heading", name="The backup is in place")).to_be_visible(timeout=30_000)
    both_sizes(page, "restored")
    assert backup.waits(Path(made.boot.data))
    assert box.started_again == 1


def test_a_new_box_with_a_damaged_partition_offers_it(page: Page, site: Served, made: Desk, tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    (tmp_path / "found/state").write_text("broken\n")
    page.goto(site.address)
    expect(page.get_by_text("cannot be read")).to_be_visible()
    both_sizes(page, "damaged-setup")
    page.get_by_label("Setup code").fill(CODE)
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("link", name="Restore from a backup instead").click()
    expect(page.get_by_text("The damaged partition is erased and made anew")).to_be_visible()
    both_sizes(page, "setup-restore")


def test_what_a_newer_version_left_is_shown_and_added(page: Page, site: Served, made: Desk) -> None:
    set_up(made)
    log_in(page, site)
    data = Path(made.boot.data)
    made.history.close()
    in_between(data)
    shutil.copy(data / "aside/calls.db.1", data / "aside/calls.db.2")
    made.admin._store._db.execute("pragma wal_checkpoint(truncate)")
    shutil.copy(data / "config.db", data / "aside/config.db.1")
    made.admin._store._db.execute("delete from journal where revision > 3")
    made.admin._store._db.commit()
    page.goto(site.address + "/updates")
    expect(page.get_by_text("2 of them are not in the history")).to_have_count(2)
    page.get_by_text("Which changes").click()
    both_sizes(page, "updates-kept")
    page.get_by_role("button", name="Add to the history").first.click()
    expect(page.get_by_text("2 call records were added to the history.")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Delete").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Deleted.")).to_be_visible()
    both_sizes(page, "updates-added")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").click()
    assert waiting.value.suggested_filename == "switchroom-support.tar.gz"
