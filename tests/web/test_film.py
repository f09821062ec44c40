"""The first day of an office, in Chromium, as somebody spends it who has never seen the pages: from the setup code to thirty people with their
telephones, one change to all of them, a disagreement of two windows, the way back, and the same in German and Czech.

Each step leaves a picture in ./artefacts, at desktop and telephone size, light and dark.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from appliance.config.licensing import Limits
from appliance.words import Said, words_of
from tests.web.chromium import needs_chromium, shoot
from tests.web.made import CODE, PASSWORD, FakeBox
from tests.web.served import Served
from tests.web.test_barriers import MODES, RUN, axe  # noqa: F401
from tests.web.test_browser import a_status
from webui.desk import Desk

pytestmark = [needs_chromium, pytest.mark.timeout(300)]

PEOPLE = "Full name;E-mail address;Number\n" + "".join(
    f"{name} {number};person{number}@example.com;{number}\n"
    for number, name in zip(range(200, 230), ("Žofie Nováková", "Jürgen Groß", "Łukasz Đặng") * 10, strict=True)
)


@pytest.fixture
def box() -> FakeBox:
    return FakeBox(status=a_status())


def picture(page: Page, name: str, axe: str) -> None:  # noqa: F811
    """In every mode, without a barrier and without anything beside the edge of the screen."""
    page.emulate_media(reduced_motion="reduce")
    page.evaluate(axe)
    found = []
    for width, theme in MODES:
        page.set_viewport_size({"width": width, "height": 860})
        page.evaluate(f"document.documentElement.dataset.bsTheme = '{theme}'")
        found += [f"{name} {width} {theme} {told}" for told in page.evaluate(RUN)]
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"{name} is wider than {width}")
        shoot(page, f"film-{name}-{width}-{theme}")
    page.set_viewport_size({"width": 1280, "height": 860})
    page.evaluate("document.documentElement.dataset.bsTheme = 'light'")
    assert found == []


def test_the_first_day_of_an_office(page: Page, browser: BrowserContext, site: Served, made: Desk, axe: str) -> None:  # noqa: F811
    made.admin._limits = lambda: Limits(users=40)  # what the licence of such an office says
    begin(page, site)
    bring_thirty_people(page, site, made, axe)
    encrypt_all(page, site, made, axe)
    look_at_a_password(page, site, made, axe)
    disagree(page, browser, site, made, axe)
    take_all_back(page, site, made, axe)
    for language in ("de", "cs"):
        speak(page, site, made, language, axe)


def begin(page: Page, site: Served) -> None:
    page.goto(f"{site.address}/#{CODE}")
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Full name").fill("Anna Berger")
    page.get_by_label("User name").fill("anna")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password once more").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Country").select_option("DE")
    page.get_by_text("Three digits").click()
    page.get_by_role("button", name="Finish").click()
    expect(page.get_by_role("heading", name="Ready, Anna")).to_be_visible()


def bring_thirty_people(page: Page, site: Served, made: Desk, axe: str) -> None:  # noqa: F811
    before = made.admin.snapshot.revision
    page.goto(site.address + "/users/import")
    picture(page, "import", axe)
    page.set_input_files("#file", {"name": "people.csv", "mimeType": "text/csv", "buffer": PEOPLE.encode("utf-8-sig")})
    page.get_by_role("button", name="Read").click()
    expect(page.get_by_text("60 are added")).to_be_visible()
    picture(page, "import-preview", axe)
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_role("heading", name="Users")).to_be_visible()
    assert made.admin.snapshot.revision == before + 1
    assert len(made.admin.snapshot.extensions) == 30
    picture(page, "users", axe)


def encrypt_all(page: Page, site: Served, made: Desk, axe: str) -> None:  # noqa: F811
    page.goto(site.address + "/extensions")
    page.locator("thead input[type=checkbox]").check()
    picture(page, "selected", axe)
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_label("Change this: Encrypt communication").check()
    page.get_by_text("anything else is refused").click()
    picture(page, "many", axe)
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text("“Preferred” → “Required”").or_(page.get_by_text("Preferred → Required")).first).to_be_visible()
    picture(page, "many-preview", axe)
    page.get_by_role("button", name="Change all 30").click()
    expect(page.get_by_role("heading", name="Extensions")).to_be_visible()
    assert {one.encrypt for one in made.admin.snapshot.extensions.values()} == {"required"}


def look_at_a_password(page: Page, site: Served, made: Desk, axe: str) -> None:  # noqa: F811
    extension = made.admin.snapshot.extension_by_number["200"]
    (line,) = made.admin.snapshot.lines_of[extension.id]
    page.goto(f"{site.address}/extensions/{extension.id}?tab=lines")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text(line.sip_password)).to_be_visible()
    picture(page, "password", axe)
    assert made.admin.history("line", line.id)[0].who == "anna"


def disagree(page: Page, browser: BrowserContext, site: Served, made: Desk, axe: str) -> None:  # noqa: F811
    """Two windows on one record: the second one to save sees both versions."""
    extension = made.admin.snapshot.extension_by_number["201"]
    page.goto(f"{site.address}/extensions/{extension.id}")
    page.get_by_role("textbox", name="Name", exact=True).fill("Workshop")
    other = browser.new_page()
    other.goto(f"{site.address}/extensions/{extension.id}")
    other.get_by_role("textbox", name="Name", exact=True).fill("Store room")
    other.get_by_role("button", name="Save").click()
    expect(other.get_by_role("heading", name="201 Store room")).to_be_visible()
    other.close()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Store room").first).to_be_visible()
    picture(page, "conflict", axe)
    assert made.admin.snapshot.extensions[extension.id].name == "Store room"
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="201 Workshop")).to_be_visible()


def take_all_back(page: Page, site: Served, made: Desk, axe: str) -> None:  # noqa: F811
    revision = next(row.revision for row in made.admin.journal(limit=200) if row.kind == "extension" and row.who == "anna" and len(made.admin._store.revised(row.revision)) == 30)
    page.goto(site.address + "/changes")
    picture(page, "changes", axe)
    page.get_by_role("link", name=f"Undo revision {revision}").or_(page.locator(f"a[href$='/changes/{revision}/undo']")).first.click()
    picture(page, "undo", axe)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Undone.")).to_be_visible()
    assert {one.encrypt for one in made.admin.snapshot.extensions.values()} == {"preferred"}
    assert made.admin.snapshot.extension_by_number["201"].name == "Workshop"  # what came after it stays


def speak(page: Page, site: Served, made: Desk, language: str, axe: str) -> None:  # noqa: F811
    """The office's pages in the person's language."""
    person = next(user for user in made.admin.snapshot.users.values() if user.username == "anna")
    made.admin.update("user", person.id, {"language": language}, "anna")
    said = words_of(language)
    for path, key in (("/", ""), ("/extensions", "kind.extension-many"), ("/users/import", ""), ("/settings", "kind.settings-many"), ("/changes", "menu.changes")):
        page.goto(site.address + path)
        assert page.locator("html").get_attribute("lang") == language
        if key:
            expect(page.get_by_role("heading", level=1)).to_have_text(said.say(Said(key)))
        picture(page, f"{language}{path.replace('/', '-')}", axe)
