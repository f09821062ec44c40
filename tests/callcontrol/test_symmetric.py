"""Phones over UDP that send from another port than they listen on: where their answers and their calls go (RFC 3261 §18.2.2, RFC 3581)."""

from __future__ import annotations

import pytest

from appliance.flows import driver
from appliance.sip.symmetric import answer_port
from appliance.sip.text import digest
from appliance.sip.text.message import Request, Response, parse
from media_core import FlowInfo, Transport
from tests.box import HOST, Box, office
from tests.box_phone import Phone
from tests.clock import run

PUBLIC, PRIVATE = "198.51.100.7", "192.168.1.5"


@pytest.mark.parametrize(
    ("via", "source", "port"),
    [
        (f"{PUBLIC}:5060", PUBLIC, 5060),
        (f"{PUBLIC}", PUBLIC, 5060),
        (f"{PUBLIC}:5060;rport", PUBLIC, 50933),
        (f"{PUBLIC}:50933", PUBLIC, 50933),
        ("phone.example:5070", PUBLIC, 5070),
        ("203.0.113.9:5070", PUBLIC, 5070),
        (f"{PRIVATE}:5060", PUBLIC, 50933),  # behind a NAT
        (f"{PRIVATE}:5060", PRIVATE, 5060),
        (f"{PUBLIC}:53", PUBLIC, 50933),  # somebody else's service
    ],
)
def test_the_port_that_answers_go_to(via: str, source: str, port: int) -> None:
    request = Request("OPTIONS", f"sip:{HOST}", [("Via", f"SIP/2.0/UDP {via};branch=z9hG4bK1")])
    assert answer_port(request, (source, 50933)) == port


class OldPhone(Phone):
    """Sends from an ephemeral port, listens on 5060 and knows no rport."""

    got: list[tuple[int, Request | Response]]

    def listen(self) -> None:
        self.got = []
        self.box.phones[self.host, 5060] = self

    def receive(self, flow: int, data: bytes) -> None:
        self.got.append((self.box.engine.open_flows[flow].remote[1], parse(data)))

    def say(self, method: str, number: int, *more: str, via: str = "") -> None:
        lines = (
            f"{method} sip:{HOST} SIP/2.0", f"Via: SIP/2.0/UDP {via or self.host + ':5060'};branch=z9hG4bK{method}{number}", "Max-Forwards: 70",
            f"From: <sip:{self.user}@{HOST}>;tag=1", f"To: <sip:{self.user}@{HOST}>", "Call-ID: old", f"CSeq: {number} {method}",
            f"Contact: <sip:{self.user}@{self.host}:5060>", *more, "Content-Length: 0", "", "",
        )  # fmt: skip
        self.send("\n".join(lines))


async def registered(box: Box, phone: OldPhone) -> None:
    phone.listen()
    phone.say("REGISTER", 1)
    await box.seconds(1)
    port, challenge = phone.got.pop()
    assert isinstance(challenge, Response)
    assert (port, challenge.status) == (5060, 401)
    assert "rport" not in challenge.via.params
    given = digest.strongest(challenge.get_all("WWW-Authenticate"))
    assert given is not None
    answer = digest.answer(
        given, method="REGISTER", uri=f"sip:{HOST}", username=phone.user, password=phone.password, cnonce="c"
    )
    phone.say("REGISTER", 2, f"Authorization: {answer}")
    await box.seconds(1)
    port, response = phone.got.pop()
    assert isinstance(response, Response)
    assert (port, response.status) == (5060, 200)


def test_a_phone_without_rport_registers_and_is_called_where_it_listens() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            caller = await box.phone("102")
            old = OldPhone(box, "101", PUBLIC, "UDP")
            sending = old.flow
            await registered(box, old)
            (binding,) = box.exchange.registrar.bindings("l101")
            assert (binding.host, binding.port) == (PUBLIC, 5060)
            call = caller.dial("101")
            await box.seconds(1)
            port, invite = old.got[-1]
            assert (port, getattr(invite, "method", "")) == (5060, "INVITE")
            busy = [f"{name}: {value}" for name, value in invite.headers if name in ("Via", "From", "Call-ID", "CSeq")]
            old.flow = sending
            old.send(
                "\n".join(
                    ["SIP/2.0 486 Busy Here", *busy, f"To: {invite.get('To')};tag=2", "Content-Length: 0", "", ""]
                )
            )
            assert await call.final == 486
            box.kill()
            await box.seconds(1)
            box.start()
            await registered(box, old)
            assert len(box.exchange.registrar.bindings("l101")) == 1
            assert sum(flow.remote == (PUBLIC, 5060) for flow in box.engine.flows()) == 1, (
                "one flow to it, not one per start"
            )

    run(scene())


def test_strangers_have_no_more_than_some_flows_to_other_ports() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            old = OldPhone(box, "101", PUBLIC, "UDP")
            await registered(box, old)
            stranger = OldPhone(box, "102", "203.0.113.9", "UDP")
            for number in range(3 * driver.ANSWERING):
                stranger.say("REGISTER", number, via=f"{stranger.host}:{20000 + number}")
            await box.seconds(1)
            dialled = [flow for flow in box.engine.flows() if flow.remote[0] == stranger.host and flow != stranger.flow]
            assert len(dialled) <= driver.ANSWERING
            assert (PUBLIC, 5060) in [flow.remote for flow in box.engine.flows()], "a registered phone keeps its own"

    run(scene())


def test_what_is_sent_at_once_over_a_dialled_flow_names_our_address() -> None:
    """The core tells the local address of a dialled flow only when it has opened it."""

    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            await box.phone("101")
            made = box.engine.open_flow(Transport.UDP, (HOST, 5060), ("198.51.100.66", 5060))
            box.engine.open_flows[made.id] = FlowInfo(made.id, made.transport, ("", 0), made.remote, "")
            assert box.exchange.turn.driver.dial_udp("198.51.100.66", 5060).local == (HOST, 5060)

    run(scene())
