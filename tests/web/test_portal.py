"""The user port: the way to the admin page and what a phone has to know, for everybody; and nothing else."""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect

from appliance.config.model import service_number
from appliance.host import certificates
from tests.e2e.running import System, wait_until
from tests.web.chromium import needs_chromium
from webui.desk import Desk
from webui.portal import create_portal


@pytest.fixture
def client(desk: Desk) -> FlaskClient:
    return create_portal(desk).test_client()


def text_of(client: FlaskClient, path: str = "/", host: str = "localhost") -> str:
    return client.get(path, base_url=f"https://{host}").get_data(as_text=True)


def test_it_leads_to_the_admin_page_under_the_name_it_was_reached_by(client: FlaskClient, desk: Desk) -> None:
    for host, server in (("localhost", "localhost"), ("127.0.0.1:14443", "127.0.0.1"), ("[::1]:14443", "[::1]")):
        assert f'href="https://{server}:{desk.boot.admin_port}/"' in text_of(client, host=host)


def test_a_made_up_name_leads_nowhere(client: FlaskClient, desk: Desk) -> None:
    text = text_of(client, host="elsewhere.example")
    assert "elsewhere" not in text
    assert f'href="https://{desk.boot.host}:{desk.boot.admin_port}/"' in text


def test_it_says_what_a_phone_has_to_know(client: FlaskClient, desk: Desk) -> None:
    text = text_of(client)
    assert f"port {desk.boot.sips_port}, with SRTP" in text
    assert service_number(desk.admin.snapshot, "echo") in text
    answer = client.get("/authority.crt", base_url="https://localhost")
    facts = certificates.facts(Path(desk.boot.data))
    assert facts is not None
    assert answer.get_data() == facts.authority_file.read_bytes()


def test_before_it_is_set_up_it_says_so(new_desk: Desk) -> None:
    text = text_of(create_portal(new_desk).test_client())
    assert "setup code" in text
    assert "Set it up" in text


def test_nothing_of_the_configuration_is_told(client: FlaskClient, desk: Desk) -> None:
    desk.admin.update("settings", "settings", {"name": "Office Graz"}, "anna")
    text = text_of(client)
    assert "Graz" not in text
    assert "Anna" not in text


def test_no_admin_page_is_served(client: FlaskClient, app: Flask) -> None:
    both = {"static", "login", "account", "second_factor", "calls", "licences"}
    paths = {re.sub(r"<[^>]+>", "1", rule.rule) for rule in app.url_map.iter_rules() if rule.endpoint.partition(".")[0] not in both}
    for path in sorted(paths - {"/", "/healthz", "/settings", "/lines/1", "/lines/1/reveal"}):
        assert client.get(path, base_url="https://localhost").status_code == 404, path
    for path in ("/", "/authority.crt", "/healthz"):
        answer = client.post(path, base_url="https://localhost", data=b"x")
        assert answer.status_code in (400, 405)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def answer_of(port: int) -> int:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    made = System(tmp_path / "data")
    made.start()
    wait_until(lambda: answer_of(made.user_port) == 200, "the page for everybody, behind the one that asks to wait")
    yield made
    made.stop()


@needs_chromium
def test_from_the_name_of_the_box_to_its_setup(page: Page, system: System) -> None:
    answer = page.goto(f"https://127.0.0.1:{system.user_port}/")
    assert answer is not None
    assert answer.headers["alt-svc"] == f'h3=":{system.user_port}"; ma=3600'
    page.get_by_role("link", name="Set it up").click()
    expect(page).to_have_url(re.compile(rf"^https://127\.0\.0\.1:{system.admin_port}/setup"))
    assert system.status()["addresses"]["portal"] == f"https://127.0.0.1:{system.user_port}/"
