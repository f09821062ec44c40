"""The licence story in a browser: a maker's key and a licence made on the command line, installed on the page, outgrown."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from appliance import cti
from appliance.config.store import Store
from appliance.host import entitlement
from tests.web.chromium import needs_chromium, shoot
from tests.web.made import PASSWORD, FakeBox, make_desk
from tests.web.served import Served, served
from webui.app import create_app
from webui.desk import Desk

pytestmark = [needs_chromium, pytest.mark.timeout(120)]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Desk]:
    """A box that knows what its licence allows, with an administrator."""
    data = tmp_path / "data"
    made = make_desk(data, time.time, FakeBox(status=cti.Status("1", 0.0, True, [], {}, [], "epoll", {})))
    admin = entitlement.use_cases(Store(data), data, lambda revision: None)
    admin._hasher = made.admin._hasher
    admin.complete_setup(username="anna", full_name="Anna Berger", password=PASSWORD, first_extension="100", country="DE")
    yield replace(made, admin=admin, box_id=entitlement.box_id(data))
    made.sessions.close()
    made.history.close()
    made.admin._store.close()
    admin._store.close()


@pytest.fixture
def site(office: Desk) -> Iterator[Served]:
    with served(create_app(office), office) as running:
        yield running


def switchroom(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "appliance", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def add_user(page: Page, site: Served, name: str) -> None:
    page.goto(site.address + "/users/add")
    page.get_by_label("User name", exact=True).fill(name)
    page.get_by_role("button", name="Add user").click()


def test_a_licence_is_made_installed_and_outgrown(page: Page, office: Desk, site: Served, tmp_path: Path) -> None:
    data = Path(office.boot.data)
    page.goto(site.address + "/login")
    page.get_by_label("User name").fill("anna")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    for number in range(4):
        office.admin.create("user", {"username": f"person{number}"}, "anna")
    add_user(page, site, "sixth")
    expect(page.get_by_text("This box is licensed for 5 users, and 5 are set up; they all go on working.")).to_be_visible()

    page.goto(site.address + "/licence")
    expect(page.get_by_text("built without its maker’s key")).to_be_visible()
    expect(page.get_by_label("Licence file")).to_have_count(0)

    key = tmp_path / "maker.key"
    switchroom("licence", "new-key", str(key), "--data", str(data))
    page.reload()
    box = page.locator("#box-id").inner_text()
    file = tmp_path / "office.licence"
    file.write_text(switchroom("licence", "issue", "--key", str(key), "--box", box, "--users", "6"))
    page.get_by_label("Licence file").set_input_files(file)
    page.get_by_role("button", name="Install").click()
    expect(page.get_by_text("Installed. Standard licence for 6 users.")).to_be_visible()
    expect(page.get_by_text("6 users are licensed: 5 are here, 1 can be added.")).to_be_visible()
    shoot(page, "licence")

    add_user(page, site, "sixth")
    expect(page.get_by_text("sixth is added.")).to_be_visible()
    add_user(page, site, "seventh")
    expect(page.get_by_text("This box is licensed for 6 users, and 6 are set up")).to_be_visible()
    expect(page.get_by_text("install a licence for more users")).to_be_visible()
    assert len(office.admin.snapshot.users) == 6
    assert "6 can be added" not in switchroom("licence", "show", "--data", str(data))

    file.write_text(file.read_text().replace('"users": 6', '"users": 60'))
    page.goto(site.address + "/licence")
    page.get_by_label("Licence file").set_input_files(file)
    page.get_by_role("button", name="Install").click()
    expect(page.get_by_text("changed after it was signed")).to_be_visible()
