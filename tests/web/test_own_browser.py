"""The page for everybody in Chromium, as somebody uses it who has never seen it: given password, login code, label, password, phone app."""

from __future__ import annotations

import re
import subprocess

import pyotp
import pytest
from playwright.sync_api import Page, expect

from appliance import cti
from appliance.words import Said
from tests.web.chromium import ARTEFACTS, needs_chromium, shoot
from tests.web.made import PASSWORD, FakeBox, phone
from tests.web.served import Served, served
from tests.web.test_barriers import MODES, RUN, axe  # noqa: F401
from tests.web.test_browser import a_status, set_up
from webui.app import create_app
from webui.desk import Desk
from webui.portal import create_portal

pytestmark = [needs_chromium, pytest.mark.timeout(300)]
NEW = "a password of my own"


@pytest.fixture
def box() -> FakeBox:
    return FakeBox(status=a_status())


@pytest.fixture
def office(made: Desk, box: FakeBox) -> Desk:
    """Dora has two extensions: one with a registered phone, one whose phone was refused."""
    set_up(made)
    admin = made.admin
    dora = admin.create("user", {"username": "dora", "full_name": "Dora Eck", "role": "own"}, "anna", password=PASSWORD)
    for number, name in (("104", "Dora Eck"), ("105", "Dora, workshop")):
        admin.create("extension", {"number": number, "name": name, "user": dora.id}, "anna")
    lines = {line.sip_username: line.id for line in admin.snapshot.lines.values()}
    admin.add_line(admin.snapshot.extension_by_number["104"].id, {"label": "mobile"}, "anna")
    box.phones = [
        phone(
            "104", "Dora Eck", line=lines["104"], secure=True, agent="Yealink SIP-T54W 96.86", since=made.now() - 4000
        )
    ]
    refused = Said.of("refused.wrong-password", doing="register", account="105"), Said("refused.wrong-password-repair")
    box.refused = [
        cti.RefusalView(made.now() - 300, "wrong-password", "192.0.2.9:5060", lines["105"], "105", *refused, 3)
    ]
    return made


def no_barrier(page: Page, axe: str, name: str = "") -> None:  # noqa: F811
    """Of the page as it stands, in every mode; with a picture of each under this name."""
    page.emulate_media(reduced_motion="reduce")
    page.evaluate(axe)
    found = []
    for width, theme in MODES:
        page.set_viewport_size({"width": width, "height": 860})
        page.evaluate(f"document.documentElement.dataset.bsTheme = '{theme}'")
        found += [f"{name} {width} {theme} {told}" for told in page.evaluate(RUN)]
        if name:
            shoot(page, f"{name}-{width}-{theme}")
    page.set_viewport_size({"width": 1280, "height": 860})
    page.evaluate("document.documentElement.dataset.bsTheme = 'light'")
    assert found == []


def read_by_a_camera(page: Page, name: str) -> str:
    """What a reader of QR codes sees in the picture on the page."""
    page.locator(".qr-frame").screenshot(path=str(ARTEFACTS / f"{name}.png"))
    done = subprocess.run(
        ["zbarimg", "--raw", "-q", str(ARTEFACTS / f"{name}.png")], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def enter(page: Page, site: Served, password: str) -> None:
    page.goto(site.address + "/login")
    page.get_by_label("User name").fill("dora")
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Log in").click()


def switch_on(page: Page, axe: str) -> list[str]:  # noqa: F811
    """The login code, with an app that scans the picture; the recovery codes."""
    page.get_by_role("link", name="My login").click()
    no_barrier(page, axe, "own-login")
    page.get_by_role("link", name="Switch on").click()
    no_barrier(page, axe, "own-code")
    seed = re.findall(r"secret=(\w+)", read_by_a_camera(page, "own-code-qr"))[0]
    page.get_by_label("Code", exact=True).fill(pyotp.TOTP(seed).now())
    page.get_by_label("Password now").fill(PASSWORD)
    page.get_by_role("button", name="Switch on").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    no_barrier(page, axe, "own-recovery")
    codes = page.locator("#recovery").inner_text().split()
    page.get_by_role("link", name="I have kept them").click()
    return codes


def test_from_the_first_login_to_a_phone_app(page: Page, office: Desk, axe: str) -> None:  # noqa: F811
    ARTEFACTS.mkdir(exist_ok=True)
    with served(create_portal(office), office, portal=True) as site:
        page.goto(site.address)
        no_barrier(page, axe, "own-open")
        page.get_by_role("link", name="Log in").click()
        enter(page, site, PASSWORD)
        expect(page.get_by_role("heading", name="My phones")).to_be_visible()
        expect(page.get_by_text("Last refused attempt")).to_be_visible()
        no_barrier(page, axe, "own-phones")

        page.get_by_label("Label").first.fill("Desk")
        page.get_by_role("button", name="Save").first.click()
        expect(page.get_by_text("Saved.")).to_be_visible()
        expect(page.get_by_label("Label").first).to_have_value("Desk")
        page.get_by_role("button", name="Show").first.click()
        first = office.admin.snapshot.lines_of[office.admin.snapshot.extension_by_number["104"].id][0]
        expect(page.get_by_text(first.sip_password)).to_be_visible()
        no_barrier(page, axe, "own-revealed")

        recovery = switch_on(page, axe)
        page.get_by_role("link", name="My login").click()
        page.get_by_label("Password now").fill(PASSWORD)
        page.get_by_label("New password", exact=True).fill(NEW)
        page.get_by_label("New password once more").fill(NEW)
        page.get_by_role("button", name="Change password").click()
        expect(page.get_by_text("Your password is changed.")).to_be_visible()
        page.get_by_role("button", name="Log out").last.click()

        enter(page, site, NEW)
        expect(page.get_by_role("heading", name="Enter the code")).to_be_visible()
        no_barrier(page, axe, "own-enter-code")
        page.get_by_label("Code", exact=True).fill(recovery[0])
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", name="My phones")).to_be_visible()

        page.get_by_role("button", name="Phone app").first.click()
        expect(page.get_by_role("heading", name="Set up a phone app")).to_be_visible()
        no_barrier(page, axe, "own-app")
        address = read_by_a_camera(page, "own-app-qr")
        assert address.startswith(f"{site.address}/phone/")
        answer = page.request.get(address)
        assert first.sip_password in answer.text()

        page.get_by_role("link", name="My calls").click()
        no_barrier(page, axe, "own-calls")
        page.get_by_role("link", name="My settings").click()
        page.get_by_label("Language").select_option("de")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("heading", name="Meine Einstellungen")).to_be_visible()
        no_barrier(page, axe, "own-settings")


def test_what_an_administrator_does_about_logins_groups_and_keys(page: Page, office: Desk, axe: str) -> None:  # noqa: F811
    dora = next(user for user in office.admin.snapshot.users.values() if user.username == "dora")
    with served(create_app(office), office) as site:
        page.goto(site.address + "/login")
        page.get_by_label("User name").fill("anna")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(site.address + "/")
        page.goto(f"{site.address}/users/{dora.id}/login")
        page.get_by_role("button", name="Give a password for the next login").click()
        expect(page.get_by_text("logs in with this password once")).to_be_visible()
        no_barrier(page, axe, "admin-login-of")
        page.goto(f"{site.address}/permission-groups/add")
        page.get_by_label("Name", exact=True).fill("Helpdesk")
        page.get_by_role("group", name="Change", exact=True).get_by_label("Extensions", exact=True).check()
        no_barrier(page, axe, "admin-group")
        page.get_by_role("button", name=re.compile("^Add")).last.click()
        expect(page.get_by_role("heading", name="Helpdesk")).to_be_visible()
        page.goto(f"{site.address}/users/{dora.id}")
        page.get_by_label("Helpdesk").check()
        no_barrier(page, axe, "admin-user")
        page.goto(f"{site.address}/api-keys/add")
        page.get_by_label("Name", exact=True).fill("Door")
        page.get_by_role("button", name=re.compile("^Add")).last.click()
        page.get_by_role("link", name="To the key").click()
        page.get_by_role("button", name="Make a new key").click()
        expect(page.get_by_text("It is not shown again.")).to_be_visible()
        no_barrier(page, axe, "admin-key")
