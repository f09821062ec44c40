"""Strangers who fill the pages, side by side with an owner who is served meanwhile. The attacks run in a process of their own."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.web.made import START, Clock, FakeBox, make_desk
from tests.web.served import Served, fetch, served
from tests.web.strangers import ATTACKS
from webui.app import create_app
from webui.login.sessions import COOKIE, Stored

SECONDS = {"rapid reset": 15}  # as long as it took to send 376,000 of them
PACE = 0.3  # seconds between the clicks of a person
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Set up; anna is logged in with the cookie "owner"."""
    desk = make_desk(tmp_path_factory.mktemp("strangers"), Clock(), FakeBox())
    anna = desk.admin.complete_setup(
        username="anna", full_name="Anna Berger", password="correct horse battery", first_extension="100", country="DE"
    )
    desk.sessions.save("owner", Stored(anna.id, START, START, {}))
    with served(create_app(desk), desk) as made:
        yield made
    desk.sessions.close()
    desk.history.close()
    desk.admin._store.close()


OWNER = "127.0.0.1"
# Who floods spends what his address may open in a second, and with it his neighbours' new connections; who holds does not.
SAME_ADDRESS = ("eight slow POSTs", "90 open requests", "90 unread answers")
ELSEWHERE = [(name, f"127.0.1.{at + 1}") for at, name in enumerate(ATTACKS) if name not in SAME_ADDRESS]


@pytest.mark.parametrize(("name", "source"), [*ELSEWHERE, *((name, OWNER) for name in SAME_ADDRESS)])
async def test_the_owner_is_served(site: Served, name: str, source: str, caplog: pytest.LogCaptureFixture) -> None:
    seconds = SECONDS.get(name, 4)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.web.strangers", "127.0.0.1", str(site.port), str(seconds), source, name,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    told = asyncio.create_task(process.communicate())
    owner = stranger = 0
    while not told.done():
        page = await asyncio.wait_for(fetch("2", site, "GET", "/account", cookie=f"{COOKIE}=owner"), 10)
        assert page.status == 200
        owner += 1
        form = await asyncio.wait_for(fetch("1.1", site, "GET", "/login"), 10)
        assert form.status == 200
        stranger += 1
        await asyncio.sleep(PACE)
    figures = json.loads((await told)[0])
    assert figures["refused"] == 0
    assert figures["sent"] > 0
    assert owner > 1
    assert stranger > 1
    assert [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info] == []
