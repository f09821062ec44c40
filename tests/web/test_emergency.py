"""Nobody is promised help that nothing can call: as long as no line leads to the outside, the pages say so where it matters."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from appliance.calls.api import Cause
from appliance.calls.plan.plan import Refuse, plan
from appliance.config import model, snapshot
from tests.web.chromium import needs_chromium, shoot
from tests.web.made import CODE, PASSWORD, Visitor
from tests.web.served import served
from webui.app import create_app
from webui.desk import Desk
from webui.portal import create_portal

NOTICE = "Emergency calls do not work."


def told(visitor: Visitor) -> dict[str, bool]:
    """Page to whether the notice stands on it."""
    return {path: NOTICE in visitor.get(path).get_data(as_text=True) for path in ("/", "/settings", "/welcome")}


def test_the_pages_say_so_until_a_line_leads_to_the_outside(
    anna: Visitor, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(told(anna).values())
    assert "112 or 110 reaches nobody" in anna.get("/").get_data(as_text=True)
    extension = desk.admin.create("extension", {"number": "100"}, "anna")
    assert isinstance(extension, model.Extension)
    assert all(told(anna).values()), "an extension leads nowhere outside"
    refused = plan("112", extension, desk.admin.snapshot).action
    assert isinstance(refused, Refuse)
    assert refused.cause is Cause.NO_ROUTE
    # any kind that has records stands in for the first one that leads outside
    monkeypatch.setattr(snapshot, "OUTSIDE", ("extension",))
    desk.admin.create("extension", {"number": "101"}, "anna")
    assert not any(told(anna).values())


def test_everybody_is_told_on_the_user_port(desk: Desk) -> None:
    page = create_portal(desk).test_client().get("/", base_url="https://localhost").get_data(as_text=True)
    assert NOTICE in page


@needs_chromium
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("width", "height"), [(1280, 860), (390, 844)])
def test_it_is_seen_in_the_wizard_and_on_status(page: Page, made: Desk, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    with served(create_app(made), made) as site:
        page.goto(f"{site.address}/#{CODE}")
        page.get_by_role("button", name="Continue").click()
        page.get_by_label("Full name").fill("Anna Berger")
        page.get_by_label("User name").fill("anna")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_label("Password once more").fill(PASSWORD)
        page.get_by_role("button", name="Continue").click()
        notice = page.get_by_role("alert").filter(has_text=NOTICE)
        expect(notice).to_be_visible()
        shoot(page, f"emergency-wizard-{width}")
        page.get_by_label("Country").select_option("DE")
        page.get_by_role("button", name="Finish").click()
        expect(notice).to_contain_text("112 or 110 reaches nobody")
        for path in ("/", "/settings"):
            page.goto(site.address + path)
            expect(notice).to_be_in_viewport()
            assert "danger" in (notice.get_attribute("class") or "")
        page.goto(site.address)
        shoot(page, f"emergency-status-{width}")
