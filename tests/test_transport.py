"""The driver: order, backpressure, a full ring, a stale flow, the rate of strangers. Virtual time, a stand-in for the core."""

from __future__ import annotations

import asyncio

import media_core
from appliance import transport as driver
from appliance.callcontrol.abilities import SWITCHROOM
from appliance.flows.admission import BURST
from appliance.sip import events
from appliance.transport import Transport
from media_core import FlowClosed, FlowInfo, FlowReceived
from tests.box_engine import FakeEngine
from tests.clock import run

PHONE = ("198.51.100.7", 5060)


def register(number: int) -> bytes:
    return (
        f"REGISTER sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK{number}\r\nFrom: <sip:a@b>;tag=1\r\n"
        f"To: <sip:a@b>\r\nCall-ID: {number}\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ).encode()


class Core(FakeEngine):
    """Remembers what was sent; can be full."""

    def __init__(self) -> None:
        super().__init__(lambda info, data: self.sent.append(data))
        self.sent: list[bytes] = []
        self.full = False

    def send(self, flow: int, data: bytes) -> None:
        if self.full:
            raise media_core.OutOfService("command ring full")
        super().send(flow, data)


def begin() -> tuple[Core, FlowInfo, Transport]:
    core = Core()
    flow = core.open_flow(media_core.Transport.UDP, ("192.0.2.1", 5060), PHONE)
    numbers = iter(range(10**9))
    return core, flow, Transport(core, user_agent="x", tokens=lambda: f"token{next(numbers):09d}", can=SWITCHROOM)


def test_requests_come_up_in_order_and_answers_go_down() -> None:
    async def scene() -> None:
        core, flow, transport = begin()
        for number in range(300):
            core.tell(FlowReceived(flow.id, register(number)))
        for number in range(300):
            event = await transport.next()
            assert isinstance(event, events.Requested)
            assert event.request.call_id == str(number)
            transaction = event.transaction
            transport.run(lambda stack, now, transaction=transaction: stack.respond(transaction, 200, now))  # type: ignore[misc]
        assert len(core.sent) == 300
        transport.close()
        core.dispose()

    run(scene())


def test_the_core_is_not_polled_while_nobody_takes_the_events() -> None:
    async def scene() -> None:
        core, flow, transport = begin()
        transport.trust(flow.id, True)
        for number in range(driver.WAITING * 2):
            core.tell(FlowReceived(flow.id, register(number)))
        await asyncio.sleep(1)
        assert driver.WAITING <= transport.waiting < driver.WAITING + driver.TURN
        for _ in range(driver.WAITING * 2):
            assert isinstance(await transport.next(), events.Requested)
        assert transport.waiting == 0
        transport.close()
        core.dispose()

    run(scene())


def test_messages_wait_for_a_full_ring_and_keep_their_order() -> None:
    async def scene() -> None:
        core, flow, transport = begin()
        for number in range(3):
            core.tell(FlowReceived(flow.id, register(number)))
        core.full = True
        for _ in range(3):
            event = await transport.next()
            assert isinstance(event, events.Requested)
            transaction = event.transaction
            transport.run(lambda stack, now, transaction=transaction: stack.respond(transaction, 200, now))  # type: ignore[misc]
            await asyncio.sleep(0.1)
        assert core.sent == []
        core.full = False
        await asyncio.sleep(0.1)
        assert [b"Call-ID: %d\r\n" % number in core.sent[number] for number in range(3)] == [True] * 3
        transport.close()
        core.dispose()

    run(scene())


def test_a_stale_flow_fails_its_transactions_at_once() -> None:
    async def scene() -> None:
        core, flow, transport = begin()
        await asyncio.sleep(0)
        core.open_flows.pop(flow.id)
        transaction = transport.run(
            lambda stack, now: stack.request(
                "OPTIONS", now, flow=flow.id, target="sip:a@198.51.100.7", from_="<sip:b@c>"
            )
        )
        event = await transport.next()
        assert isinstance(event, events.Answered)
        assert (event.transaction, event.status) == (transaction, 503)
        core.tell(FlowClosed(flow.id, "gone"))
        assert isinstance(await transport.next(), FlowClosed)
        transport.close()
        core.dispose()

    run(scene())


def test_the_timer_runs_without_traffic() -> None:
    async def scene() -> None:
        core, flow, transport = begin()
        await asyncio.sleep(0)
        transport.run(
            lambda stack, now: stack.request(
                "OPTIONS", now, flow=flow.id, target="sip:a@198.51.100.7", from_="<sip:b@c>"
            )
        )
        event = await transport.next()
        assert isinstance(event, events.Answered)
        assert event.status == 408
        assert len(core.sent) == 11, "retransmissions of RFC 3261 §17.1.2.2 over 32 s"
        transport.close()
        core.dispose()

    run(scene())


def test_what_nobody_repeats_waits_for_its_turn() -> None:
    """A site of TLS phones behind one address: what is too much at once comes later, in order, and nothing is lost."""

    async def scene() -> None:
        core, _, transport = begin()
        flow = core.open_flow(media_core.Transport.TLS, ("192.0.2.1", 5061), ("198.51.100.9", 40000))
        count = int(BURST) + 500
        for number in range(count):
            core.tell(FlowReceived(flow.id, register(number)))
        found = [await transport.next() for _ in range(count)]
        numbers = [event.request.cseq[0] for event in found if isinstance(event, events.Requested)]
        assert numbers == sorted(numbers)
        assert (len(numbers), transport.dropped) == (count, 0)
        transport.close()
        core.dispose()

    run(scene())


def test_strangers_have_a_rate_and_known_phones_have_none() -> None:
    async def scene() -> None:
        core, flow, transport = begin()
        other = core.open_flow(media_core.Transport.UDP, ("192.0.2.1", 5060), ("198.51.100.8", 5060))
        transport.trust(other.id, True)
        count = int(BURST) + 500
        for number in range(count):
            core.tell(FlowReceived(flow.id, register(number)))
        core.tell(FlowReceived(other.id, register(10**6)))
        for _ in range(int(BURST) + 1):
            await transport.next()
        assert transport.dropped == 500
        await asyncio.sleep(1)
        core.tell(FlowReceived(flow.id, register(10**7)))
        assert isinstance(await transport.next(), events.Requested)
        transport.close()
        core.dispose()

    run(scene())
