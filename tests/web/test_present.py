"""Pages tell the present state: what another tab has deleted, a phone that went off, a system that has started again."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, expect

from appliance.config.model import Extension, Line
from tests.web.chromium import needs_chromium, shoot
from tests.web.made import FakeBox, Visitor, phone
from tests.web.served import Served
from tests.web.test_browser import a_status, log_in, set_up
from webui.desk import Desk


@pytest.fixture
def extension(desk: Desk) -> Extension:
    made = desk.admin.create("extension", {"number": "100", "name": "Reception"}, "anna")
    assert isinstance(made, Extension)
    return made


@pytest.fixture
def second(desk: Desk, extension: Extension) -> Line:
    made = desk.admin.add_line(extension.id, {"label": "mobile"}, "anna")
    assert isinstance(made, Line)
    return made


@pytest.mark.parametrize("kind", ["extension", "user"])
@pytest.mark.parametrize("what", ["", "/delete"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_another_tab_has_deleted_says_so_and_by_whom(
    anna: Visitor, desk: Desk, extension: Extension, kind: str, what: str, method: str
) -> None:
    ben = next(user.id for user in desk.admin.snapshot.users.values() if user.username == "ben")
    key, name = {"extension": (extension.id, "Extension 100 Reception"), "user": (ben, "User Ben Carter (ben)")}[kind]
    anna.get(f"/{kind}s/{key}")
    desk.admin.delete(kind, key, "carl")
    answer = anna.get(f"/{kind}s/{key}{what}") if method == "GET" else anna.post(f"/{kind}s/{key}{what}", {"name": "x"})
    assert answer.status_code == 404
    assert f"{name} was deleted by carl on " in answer.get_data(as_text=True)
    assert "was not saved" in answer.get_data(as_text=True)


def test_what_never_was_there_is_said_without_a_name(anna: Visitor) -> None:
    answer = anna.get("/extensions/nothing")
    assert answer.status_code == 404
    assert "This page does not exist" in answer.get_data(as_text=True)


@pytest.mark.parametrize("what", ["", "/reveal", "/renew", "/remove"])
def test_a_line_that_another_tab_has_removed_leaves_the_tab_as_it_is_now(
    anna: Visitor, desk: Desk, extension: Extension, second: Line, what: str
) -> None:
    anna.get(f"/extensions/{extension.id}?tab=lines")
    desk.admin.delete("line", second.id, "carl")
    revision = desk.admin.snapshot.revision
    answer = anna.post(f"/lines/{second.id}{what}", {"label": "van"})
    text = answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert "The line 100-2 was removed by carl on " in text
    assert text.count('class="line"') == 1
    if what == "/reveal":  # its answer would have gone to the place of the password
        assert answer.headers["HX-Retarget"] == "#lines"
    assert desk.admin.snapshot.revision == revision


def test_a_tab_of_an_extension_that_is_gone_leads_to_the_page_that_says_so(
    anna: Visitor, desk: Desk, extension: Extension, second: Line
) -> None:
    anna.get(f"/extensions/{extension.id}?tab=lines")
    desk.admin.delete("extension", extension.id, "carl")
    for path in (f"/lines/{second.id}", f"/extensions/{extension.id}/lines"):
        answer = anna.post(path, {"label": "x"}, **{"HX-Request": "true"})
        assert answer.status_code == 204
        assert answer.headers["HX-Redirect"] == f"/extensions/{extension.id}"


def test_a_restored_page_that_is_opened_again_goes_on(anna: Visitor, desk: Desk) -> None:
    """Kept in a browser's history it waited for ever for a start that was over."""
    assert anna.get(f"/backup/restored?made=1&start={desk.start}").status_code == 200
    assert anna.get("/backup/restored?made=1&start=another").location == "/"
    assert anna.get("/backup/restored?wait=1&start=another").location == "/"


@pytest.fixture
def box() -> FakeBox:
    return FakeBox(status=a_status())


@needs_chromium
@pytest.mark.timeout(120)
def test_the_header_follows_a_phone_that_goes_off_after_a_new_password(
    page: Page, site: Served, made: Desk, box: FakeBox
) -> None:
    set_up(made)
    (line,) = (one for one in made.admin.snapshot.lines.values() if one.sip_username == "100")
    box.phones = [phone("100", "Anna", line=line.id, secure=True, agent="Yealink", since=time.time())]
    log_in(page, site)
    page.goto(f"{site.address}/extensions/{line.extension}?tab=lines")
    expect(page.get_by_text("1 phone registered")).to_be_visible()
    expect(page.get_by_text("Yealink at 192.0.2.100:50612")).to_be_visible()
    page.get_by_role("button", name="New password for 100").click()
    box.phones = []  # as `calls` drops it
    page.get_by_role("dialog").get_by_role("button", name="New password").click()
    expect(page.get_by_text("The line has a new password.")).to_be_visible()
    expect(page.get_by_text("no phone registered")).to_be_visible()
    box.phones = [phone("100", "Anna", line=line.id, secure=True, agent="Snom", since=time.time())]
    page.get_by_label("Label", exact=True).fill("half typed")
    site.publish("registrations")
    expect(page.get_by_text("1 phone registered")).to_be_visible()
    expect(page.get_by_text("Snom at 192.0.2.100:50612")).to_be_visible()
    expect(page.get_by_label("Label", exact=True)).to_have_value("half typed")


@needs_chromium
@pytest.mark.timeout(120)
def test_two_tabs_of_a_browser(page: Page, site: Served, made: Desk) -> None:
    """The second to save is told by whom and what, keeps what was typed, and may save again."""
    set_up(made)
    log_in(page, site)
    (key,) = (one.id for one in made.admin.snapshot.extensions.values() if one.number == "102")
    page.goto(f"{site.address}/extensions/{key}")
    other = page.context.new_page()
    other.goto(f"{site.address}/extensions/{key}")
    other.get_by_role("textbox", name="Name", exact=True).fill("Front desk")
    other.get_by_role("button", name="Save").click()
    expect(other.get_by_role("heading", name="102 Front desk")).to_be_visible()
    page.get_by_role("textbox", name="Name", exact=True).fill("Welcome")
    page.get_by_role("button", name="Save").click()
    expect(
        page.get_by_text("Meanwhile anna has made this “Front desk”. Save again to put yours in its place.")
    ).to_be_visible()
    shoot(page, "two-tabs")
    expect(page.get_by_role("textbox", name="Name", exact=True)).to_have_value("Welcome")
    assert made.admin.snapshot.extensions[key].name == "Front desk"
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="102 Welcome")).to_be_visible()
    other.close()
