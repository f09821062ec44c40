"""The softphone lets go of its connection when it is closed, whatever the other end does: nothing of it outlives the event loop."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
from pathlib import Path

import pytest

from appliance.host import certificates
from appliance.softphone import Account, Softphone, phone


def listening(folder: Path) -> tuple[socket.socket, ssl.SSLContext]:
    files = certificates.ensure(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.chain, files.key)
    return socket.create_server(("127.0.0.1", 0)), context


@pytest.mark.parametrize("polite", [True, False], ids=["says goodbye", "says nothing"])
def test_a_closed_phone_has_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, polite: bool) -> None:
    monkeypatch.setattr(phone, "GOODBYE", 60.0 if polite else 0.05)
    server, context = listening(tmp_path)
    over = threading.Event()

    def serve() -> None:
        with context.wrap_socket(server.accept()[0], server_side=True) as connection:
            if polite:
                while connection.recv(4096):
                    pass
            else:
                over.wait(60)

    async def use() -> None:
        port = server.getsockname()[1]
        softphone = Softphone(
            Account("127.0.0.1", port, "TLS", "100", "anna", "secret", str(tmp_path / "keys/authority.pem"))
        )
        await softphone.connect(10.0)
        await softphone.close()

    thread = threading.Thread(target=serve)
    thread.start()
    with server:
        asyncio.run(use())
        gc.collect()  # what is not closed would say so, and a warning is an error
        over.set()
        thread.join()
