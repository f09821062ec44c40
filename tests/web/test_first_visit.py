"""What a first visit costs on the line, what a page says to a browser without JavaScript, and what no address may hold."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.web.chromium import ARGUMENTS, CHROMIUM, needs_chromium, shoot
from tests.web.made import PASSWORD, FakeBox, Visitor
from tests.web.served import Served, served
from tests.web.test_barriers import addresses
from tests.web.test_browser import a_status, busy, log_in, set_up
from webui.app import create_app
from webui.desk import Desk
from webui.serving import compression

FIRST_VISIT = 215_000  # octets, from the login page to Status with its chart (20,000 of them); 950,000 before anything was compressed

pytestmark = pytest.mark.timeout(200)


@pytest.fixture
def box() -> FakeBox:
    return FakeBox(status=a_status())


@pytest.fixture
def made(made: Desk, box: FakeBox) -> Desk:
    set_up(made)
    busy(made, box)
    return made


@pytest.fixture
def app(made: Desk) -> Flask:
    return create_app(made)


@pytest.fixture
def site(app: Flask, made: Desk) -> Iterator[Served]:
    with served(app, made) as running:
        yield running


@needs_chromium
def test_a_first_visit_is_small(page: Page, site: Served) -> None:
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    received: list[float] = []
    session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    log_in(page, site)
    page.wait_for_load_state("networkidle") if not page.locator("#connection").count() else expect(
        page.locator("#connection")
    ).to_have_attribute("data-state", "live")
    assert 100_000 < sum(received) < FIRST_VISIT


@pytest.mark.parametrize("coding", ["br", "gzip", ""])
@pytest.mark.parametrize("name", ["tabler.css", "tabler.js", "icons.svg", "app.css", "js/page.js", "inter-latin.woff2"])
def test_a_file_comes_as_the_browser_takes_it(app: Flask, visitor: Visitor, coding: str, name: str) -> None:
    with app.test_request_context("/"):
        address = app.jinja_env.globals["asset"](name)  # type: ignore[operator]
    plain, answer = visitor.get(address), visitor.get(address, Accept_Encoding=coding)
    assert plain.status_code == answer.status_code == 200
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert answer.mimetype == plain.mimetype
    packed = answer.headers.get("Content-Encoding", "")
    if name.endswith("woff2") or not coding:
        assert packed == ""
    else:
        assert packed == (coding if coding == "gzip" or "vendor" in address else "")
    if packed == "gzip":
        assert gzip.decompress(answer.data) == plain.data
    if packed:
        assert len(answer.data) < len(plain.data) / 1.5
    again = visitor.get(address, Accept_Encoding=coding, If_None_Match=answer.headers["ETag"])
    assert again.status_code == 304


def test_a_page_is_compressed_and_its_token_is_another_text_every_time(app: Flask) -> None:
    visitor = Visitor(app.test_client())
    visitor.log_in("anna")
    tokens = set()
    for _ in range(20):
        answer = visitor.get("/account", Accept_Encoding="gzip")
        assert answer.headers["Content-Encoding"] == "gzip"
        tokens.add(re.findall(rb'name="csrf_token" value="([^"]+)"', gzip.decompress(answer.data))[0].decode())
    assert len(tokens) == 20
    assert len({compression.unmask(token)[:60] for token in tokens}) == 1
    visitor.token = tokens.pop()
    assert visitor.post("/account", {"current": "wrong"}).status_code == 422
    for forged in ("", "x", "AAAA", visitor.token[:-8]):
        visitor.token = forged
        assert visitor.post("/account", {"current": "wrong"}).status_code == 400


def test_no_form_would_put_its_token_into_an_address(app: Flask, made: Desk) -> None:
    """Without JavaScript a form without a method is a GET: *Show* put the token into the address."""
    anna = Visitor(app.test_client())
    anna.log_in("anna")
    seen = 0
    for address in [*addresses(app, made, anna), "/live/calls"]:
        for head, body in re.findall(r"(?s)<form([^>]*)>(.*?)</form>", anna.get(address).get_data(as_text=True)):
            if "csrf_token" in body:
                seen += 1
                assert 'method="post"' in head, (address, head)
            if "hx-post" in head:
                assert re.search(r' action="([^"]+)".* hx-post="\1"', head), (address, head)
    assert seen > 20


def test_every_page_says_what_it_needs_a_script_for(app: Flask, made: Desk) -> None:
    anna = Visitor(app.test_client())
    anna.log_in("anna")
    needs = re.compile(r"hx-(get|post)=|data-(work|restore|progress|restarting)=|id=\"update\"")
    for address in addresses(app, made, anna):
        text = anna.get(address).get_data(as_text=True)
        assert "JavaScript is switched off in this browser." in text, address
        body = text.partition("<main")[2].partition("</main>")[0]
        assert not needs.search(body) or "This page needs it to" in body, address


@needs_chromium
def test_without_a_script_the_page_is_usable_and_no_address_holds_a_token(
    playwright: Playwright, site: Served, made: Desk
) -> None:
    started: Browser = playwright.chromium.launch(
        executable_path=CHROMIUM, args=[*ARGUMENTS, "--blink-settings=scriptEnabled=false"]
    )
    page = started.new_context(ignore_https_errors=True, viewport={"width": 390, "height": 844}).new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(site.address + "/login")
    page.get_by_label("User name").fill("anna")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(
        page.locator("main noscript .alert")
    ).to_be_visible()  # by its place: text of such an element is not looked for
    shoot(page, "without-script-390")
    page.get_by_role("link", name="Extensions", exact=True).click()
    page.get_by_role("link", name="101", exact=True).click()
    page.locator('noscript a[href="?tab=lines"]').click()
    line = next(line for line in made.admin.snapshot.lines.values() if line.sip_username == "101")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text(line.sip_password)).to_be_visible()
    assert not [address for address in asked if "token" in address or line.sip_password in address]
    started.close()
