"""The softphone lets go of its connection when it is closed, whatever the other end does: nothing of it outlives the event loop."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from appliance.host import certificates
from appliance.sip.text import digest
from appliance.sip.text.message import Request, answer_to, parse
from appliance.softphone import Account, PhoneError, Softphone, phone

Refusal = tuple[int, bool]  # status, and of a challenge whether it says that the nonce was stale


class Refusing(asyncio.DatagramProtocol):
    """A box that answers each INVITE with the next of its refusals."""

    def __init__(self, refusals: list[Refusal]) -> None:
        self.refusals = refusals
        self.invited = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        request = parse(data)
        if isinstance(request, Request) and request.method == "INVITE":
            status, stale = self.refusals[self.invited]
            self.invited += 1
            asked = [("Proxy-Authenticate", digest.challenge("box", f"n{self.invited}", stale=stale))] if status == 407 else []
            self.transport.sendto(answer_to(request, status, to_tag="t", headers=asked), addr)


@pytest.mark.parametrize(
    ("refusals", "told"),
    [
        ([(407, False), (486, False)], "486"),
        ([(407, False), (407, True), (486, False)], "486"),  # the box has started again in between
        ([(407, False), (407, False)], "407"),
        ([(407, False), (407, True), (407, True)], "407"),
    ],
)
async def test_a_challenge_is_answered_again_only_when_its_nonce_was_too_old(refusals: list[Refusal], told: str) -> None:
    loop = asyncio.get_running_loop()
    transport, box = await loop.create_datagram_endpoint(lambda: Refusing(refusals), local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    softphone = Softphone(Account("127.0.0.1", port, "UDP", "100", "anna", "secret"))
    await softphone.connect()
    with pytest.raises(PhoneError, match=f"refused: {told} "):
        await softphone.call("101")
    assert box.invited == len(refusals)
    await softphone.close()
    transport.close()


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
