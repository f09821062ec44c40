"""HTTP/3 under strangers' datagrams: what opens connections is bounded by address, and a neighbour's page comes."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from tests.web.made import Clock, FakeBox, make_desk
from tests.web.served import Served, fetch, served
from webui.app import create_app
from webui.serving.limits import KINDS, OF_SOURCE

MANY = 2000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    desk = make_desk(tmp_path_factory.mktemp("quic"), Clock(), FakeBox())
    with served(create_app(desk), desk) as made:
        yield made
    desk.sessions.close()
    desk.history.close()
    desk.admin._store.close()


def first_datagram(site: Served) -> bytes:
    """Of a new connection, with a name of its own each time."""
    client = QuicConnection(configuration=QuicConfiguration(is_client=True, alpn_protocols=["h3"]))
    client.connect(("127.0.0.1", site.port), now=0.0)
    return client.datagrams_to_send(now=0.0)[0][0]


async def test_connections_that_begin_and_never_go_on(site: Served) -> None:
    answered = 0
    with socket.socket(type=socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.2", 0))
        stranger.setblocking(False)
        for _ in range(int(3 * KINDS["connection"].burst * OF_SOURCE)):
            stranger.sendto(first_datagram(site), ("127.0.0.1", site.port))
            await asyncio.sleep(0)
        page = await asyncio.wait_for(fetch("3", site, "GET", "/setup"), 20)
        assert page.status == 200
        names = set()
        while True:
            try:
                told = stranger.recv(2048)
            except BlockingIOError:
                break
            if told[0] & 0x80:
                names.add(told[6 + told[5] + 1 :][: told[6 + told[5]]])
        answered = len(names)
    assert 0 < answered <= 2 * KINDS["connection"].burst * OF_SOURCE


async def test_rubbish(site: Served) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.3", 0))
        for length in range(MANY):
            stranger.sendto(os.urandom(length % 1400), ("127.0.0.1", site.port))
            if not length % 50:
                await asyncio.sleep(0)
        assert (await asyncio.wait_for(fetch("3", site, "GET", "/setup"), 20)).status == 200
