"""REGISTER as phones write it: outbound over each transport (RFC 5626), and optional parts in odd but harmless shapes."""

from __future__ import annotations

import pytest

from appliance.calls.registrar.registrar import FLOW_TIMER
from appliance.sip.text import digest
from appliance.sip.text.message import Response, parse
from tests.box import HOST, Box, office
from tests.box_phone import Phone
from tests.clock import run

REGISTER = """\
REGISTER sip:{box} SIP/2.0
Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{number}{via}
Max-Forwards: 70
From: <sip:101@{box}>;tag=a1
To: <sip:101@{box}>
Call-ID: written
CSeq: {number} REGISTER
Contact: <sip:101@{host}:{port}>;expires=600{contact}
{more}Content-Length: 0

"""
OUTBOUND = "Require: outbound\nSupported: path, outbound\n"
INSTANCE = ';+sip.instance="<urn:uuid:00000000-0000-1000-8000-000a95a0e128>";reg-id=1'


class WrittenPhone(Phone):
    """Sends what a test has written, and keeps what is answered."""

    last: Response | None = None

    def receive(self, flow: int, data: bytes) -> None:
        answer = parse(data)
        assert isinstance(answer, Response)
        self.last = answer

    async def write(self, number: int, via: str, contact: str, more: str) -> Response:
        host, port = self.flow.remote
        self.send(REGISTER.format(box=HOST, host=host, port=port, number=number, via=via, contact=contact, more=more))
        await self.box.seconds(1)
        assert self.last is not None
        return self.last


@pytest.mark.parametrize(
    ("via", "contact", "more", "status"),
    [
        (";rport", "", "", 200),
        (";rport;", "", "", 200),
        (";rport=", "", "", 200),
        (";rport", ";", "", 200),
        (";rport", "", OUTBOUND, 200),
        (";rport", INSTANCE, OUTBOUND, 200),
        (";rport", "", "Require: teleport\n", 420),
        (";rport", "", "Require: outbound, teleport\n", 420),
    ],
    ids=[
        "control",
        "Via ends in ;",
        "rport without a value",
        "Contact ends in ;",
        "outbound",
        "outbound, instance",
        "unknown",
        "unknown beside outbound",
    ],
)
def test_a_register_as_it_is_written(via: str, contact: str, more: str, status: int) -> None:
    async def scene() -> None:
        async with Box(office("101")) as box:
            phone = WrittenPhone(box, "101", "198.51.100.7", "UDP")
            response = await phone.write(1, via, contact, more)
            if status == 200:
                assert response.status == 401
                given = digest.strongest(response.get_all("WWW-Authenticate"))
                assert given is not None
                answer = digest.answer(
                    given, method="REGISTER", uri=f"sip:{HOST}", username="101", password="secret-101", cnonce="c"
                )
                response = await phone.write(2, via, contact, f"{more}Authorization: {answer}\n")
                assert len(box.exchange.registrar.bindings("l101")) == 1
            assert response.status == status
            if status == 420:
                assert response.get("Unsupported") == "teleport"

    run(scene())


@pytest.mark.parametrize(("transport", "timer"), [("UDP", None), ("TCP", str(FLOW_TIMER)), ("TLS", str(FLOW_TIMER))])
def test_outbound_is_promised_to_who_brings_an_instance(transport: str, timer: str | None) -> None:
    """Over UDP the flow is kept by STUN, which the port answers (RFC 5626 §4.4.2); how often is the phone's own rule there."""

    async def scene() -> None:
        async with Box(office("101")) as box:
            response = await (await box.phone("101", transport=transport, register=False)).registered()
            assert response.get("Require") is None
            phone = await box.phone("101", transport=transport, instance="<urn:uuid:0001>", register=False)
            response = await phone.registered()
            assert (response.get("Require"), response.get("Flow-Timer")) == ("outbound", timer)

    run(scene())
