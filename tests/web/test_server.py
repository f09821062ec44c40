"""The real server over HTTP/1.1, 2 and 3: what its parts are known to get wrong stays right."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask, Response, request

from appliance.host import certificates
from appliance.host.boot import Boot
from tests.web.made import START, Clock, FakeBox, make_desk
from tests.web.served import Served, fetch, served, sockets
from tests.web.strangers import context
from webui.app import create_app
from webui.login.sessions import COOKIE, Stored
from webui.serving.lanes import STRANGERS_BODY
from webui.serving.limits import PER_SOURCE

VERSIONS = ("1.1", "2", "3")
LARGE = 20 * 1024 * 1024  # more than hypercorn's own bridge takes


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The product's pages, with a few extra addresses that answer in the ways that matter."""
    desk = make_desk(tmp_path_factory.mktemp("served"), Clock(), FakeBox())
    pages = create_app(desk)
    probes = Flask("probes")
    probes.add_url_rule("/probe/204", "empty", lambda: ("", 204))
    probes.add_url_rule("/probe/304", "same", lambda: Response(status=304, headers={"ETag": '"x"'}))
    probes.add_url_rule("/probe/text", "text", lambda: "hello")
    probes.add_url_rule(
        "/probe/upload", "upload", lambda: hashlib.sha256(request.get_data()).hexdigest(), methods=["POST"]
    )

    def application(environ, start_response):  # type: ignore[no-untyped-def]
        chosen = probes if environ["PATH_INFO"].startswith("/probe/") else pages
        return chosen(environ, start_response)

    desk.sessions.save("entered", Stored("", START, START, {"setup": "code"}))
    with served(application, desk) as made:
        yield made
    desk.sessions.close()
    desk.history.close()
    desk.admin._store.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_page(site: Served, version: str) -> None:
    answer = await fetch(version, site, "GET", "/setup")
    assert answer.status == 200
    assert b"Setup code" in answer.body
    assert answer.headers["alt-svc"] == f'h3=":{site.port}"; ma=3600'
    assert "server" not in answer.headers


async def test_a_renewed_certificate_is_shown_from_then_on_and_no_connection_ends(tmp_path: Path) -> None:
    """Here another authority signs it, so that nobody can take one for the other."""
    desk = make_desk(tmp_path, Clock(), FakeBox())
    with served(create_app(desk), desk) as site:
        trusted = ssl.create_default_context(cafile=str(site.authority))
        reader, writer = await asyncio.open_connection("localhost", site.port, ssl=trusted)
        before = ssl.get_server_certificate(("localhost", site.port))
        shutil.rmtree(tmp_path / "keys")
        certificates.ensure(tmp_path)
        os.eventfd_write(site.renewed, 1)
        while ssl.get_server_certificate(("localhost", site.port)) == before:
            pass
        for version in VERSIONS:
            assert (await fetch(version, site, "GET", "/setup")).status == 200, version
        writer.write(b"GET /setup HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        (tmp_path / "keys/server.key").write_bytes(b"damaged")
        os.eventfd_write(site.renewed, 1)
        for version in VERSIONS:
            assert (await fetch(version, site, "GET", "/setup")).status == 200, version
    desk.sessions.close()
    desk.history.close()
    desk.admin._store.close()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body(site: Served, version: str, status: int) -> None:
    answer = await fetch(version, site, "GET", f"/probe/{status}")
    assert (answer.status, answer.body) == (status, b"")


@pytest.mark.parametrize("version", VERSIONS)
async def test_head(site: Served, version: str) -> None:
    answer = await fetch(version, site, "HEAD", "/probe/text")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "5")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_large_upload(site: Served, version: str) -> None:
    body = os.urandom(1 << 16) * (
        LARGE >> 16 if version != "3" else 2 << 20 >> 16
    )  # QUIC is slow in Python: 2 MiB there
    answer = await fetch(version, site, "POST", "/probe/upload", body, cookie=f"{COOKIE}=entered")
    assert answer.status == 200
    assert answer.body.decode() == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_stranger_sends_no_file(site: Served, version: str) -> None:
    assert (await fetch(version, site, "POST", "/probe/upload", bytes(STRANGERS_BODY + 1))).status == 413


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_cache_of_a_browser_is_confirmed(site: Served, version: str) -> None:
    page = await fetch(version, site, "GET", "/setup")
    style = re.search(rb'href="(/static/vendor/tabler[^"]+)"', page.body)
    assert style
    answer = await fetch(version, site, "GET", style.group(1).decode())
    assert len(answer.body) == int(answer.headers["content-length"]) > 500_000
    assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_events_need_a_session(site: Served, version: str) -> None:
    assert (await fetch(version, site, "GET", "/events")).status == 403


def test_the_process_starts_from_its_boot_record_and_ends_at_once(tmp_path: Path) -> None:
    tcp, udp = sockets()
    user_tcp, user_udp = sockets()
    with tcp, udp, user_tcp, user_udp:
        port = tcp.getsockname()[1]
        (tmp_path / "run").mkdir()
        boot = Boot(
            data=str(tmp_path),
            run=str(tmp_path / "run"),
            admin_port=port,
            user_port=user_tcp.getsockname()[1],
            fds={
                "admin_tcp": tcp.fileno(),
                "admin_udp": udp.fileno(),
                "user_tcp": user_tcp.fileno(),
                "user_udp": user_udp.fileno(),
            },
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "webui"],
            env=boot.environment(),
            pass_fds=tuple(boot.fds.values()),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        for line in process.stderr:
            if "listens on port" in line:
                break
        waiting = socket.create_connection(("127.0.0.1", port))  # a client that never says anything
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        rest = process.stderr.read()
        process.stderr.close()
        waiting.close()
    assert "Traceback" not in rest


async def test_who_has_gone_keeps_no_place(site: Served) -> None:
    """Connections that ended without a goodbye, more of them than one address may have open."""
    head = f"GET /setup HTTP/1.1\r\nHost: localhost:{site.port}\r\nCookie: {COOKIE}=entered\r\n\r\n".encode()
    for _ in range(PER_SOURCE + 8):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", site.port, ssl=context("http/1.1"), local_addr=("127.0.0.5", 0)
        )
        writer.write(head)
        assert (await reader.readline()).split()[1] == b"200"
        writer.transport.abort()
