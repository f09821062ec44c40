"""axe-core in Chromium on every page, light and dark, at desktop and telephone size: nobody is kept out by how it is drawn.

The pages are those of the route table that answer with a page, so a new one is tried as soon as it has a route.
"""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Page
from werkzeug.routing import IntegerConverter

from tests.web.chromium import MISSING, needs_chromium, shoot
from tests.web.made import CODE, FakeBox, Visitor
from tests.web.served import Served, served
from tests.web.test_browser import a_status, busy, log_in, set_up
from webui import build
from webui.app import create_app
from webui.desk import Desk
from webui.portal import create_portal

MODES = [(width, theme) for width in (1280, 390) for theme in ("light", "dark")]
TABS = {"extensions.edit": ("?tab=lines", "?tab=advanced")}  # pages that are several behind one route
RUN = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations.flatMap(one => one.nodes.map(node =>
    `${one.id}: ${node.target.join(" ")} ${node.any.map(check => check.message).join(" ")}`))"""

pytestmark = [needs_chromium, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def axe() -> str:
    if not build.AXE.exists():
        build.fetch()
    return build.AXE.read_text()


@pytest.fixture
def box() -> FakeBox:
    return FakeBox(status=a_status())


def addresses(app: Flask, desk: Desk, visitor: Visitor) -> list[str]:
    """Of every page that this visitor is shown."""
    keys = {
        "extensions": next(iter(desk.admin.snapshot.extensions), ""),
        "users": next(iter(desk.admin.snapshot.users), ""),
        "lines": next(iter(desk.admin.snapshot.lines), ""),
        "calls": "past",
        "undo": "1",
    }
    found = []
    for rule in app.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or rule.endpoint == "static":
            continue
        known = keys.get(rule.endpoint.partition(".")[0], "none")
        values = {name: 1 if isinstance(rule._converters[name], IntegerConverter) else known for name in rule.arguments}
        path = rule.build(values)[1]  # type: ignore[index]
        for address in (path, *(path + tab for tab in TABS.get(rule.endpoint, ()))):
            answer = visitor.get(address)
            if (
                answer.status_code == 200
                and answer.mimetype == "text/html"
                and "<html" in answer.get_data(as_text=True)
            ):
                found.append(address)
    return found


def barriers(page: Page, axe: str, address: str) -> list[str]:
    """Of one page, in every mode."""
    answer = page.goto(address)
    assert answer is not None
    assert answer.ok or (answer.status == 404 and address.endswith(MISSING)), address
    page.evaluate(axe)
    found = []
    for width, theme in MODES:
        page.set_viewport_size({"width": width, "height": 860})
        page.evaluate(f"document.documentElement.dataset.bsTheme = '{theme}'")
        found += [f"{width} {theme} {told}" for told in page.evaluate(RUN)]
    return found


def tried(page: Page, axe: str, site: Served, paths: list[str]) -> dict[str, Any]:
    page.emulate_media(reduced_motion="reduce")
    return {path: found for path in paths if (found := barriers(page, axe, site.address + path))}


def test_pages_of_who_has_logged_in(page: Page, axe: str, made: Desk, box: FakeBox) -> None:
    set_up(made)
    busy(made, box)
    app = create_app(made)
    anna = Visitor(app.test_client())
    anna.log_in("anna")
    paths = addresses(app, made, anna)
    assert len(paths) > 20
    with served(app, made) as site:
        log_in(page, site)
        assert tried(page, axe, site, paths) == {}


def test_pages_of_a_box_where_nothing_is_set_up_or_running(page: Page, axe: str, made: Desk, box: FakeBox) -> None:
    """Lists without rows, and processes that do not answer."""
    set_up(made)
    for extension in list(made.admin.snapshot.extensions):
        made.admin.delete("extension", extension, "anna")
    app = create_app(made)
    with served(app, made) as site:
        log_in(page, site)
        assert tried(page, axe, site, ["/", "/extensions", "/calls", MISSING]) == {}
        box.away = True
        assert tried(page, axe, site, ["/", "/extensions"]) == {}


def test_pages_before_the_login(page: Page, axe: str, made: Desk) -> None:
    app = create_app(made)
    visitor = Visitor(app.test_client())
    with served(app, made) as site:
        assert tried(page, axe, site, addresses(app, made, visitor)) == {}
        page.goto(site.address)
        page.get_by_label("Setup code").fill(CODE)
        page.get_by_role("button", name="Continue").click()
        assert tried(page, axe, site, ["/setup", "/setup/restore"]) == {}
        set_up(made)
        assert tried(page, axe, site, ["/login"]) == {}


@pytest.mark.parametrize("complete", [False, True])
def test_pages_of_the_user_port(page: Page, axe: str, made: Desk, complete: bool) -> None:
    if complete:
        set_up(made)
    app = create_portal(made)
    with served(app, made) as site:
        paths = addresses(app, made, Visitor(app.test_client()))
        assert "/" in paths
        assert tried(page, axe, site, paths) == {}
        shoot(page, f"portal-{'ready' if complete else 'new'}")
