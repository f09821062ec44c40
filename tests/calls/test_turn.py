"""The turn and its driver: order, a full ring, a stale flow, the rate of strangers; nothing leaves before the commit. Virtual time, a
stand-in for the core."""

from __future__ import annotations

import asyncio
import os

import media_core
from appliance.calls.legs.abilities import SWITCHROOM
from appliance.calls.turns.turn import INPUTS, Turn
from appliance.flows.admission import BURST
from appliance.flows.driver import Driver, Event
from appliance.sip import events
from media_core import FlowClosed, FlowInfo, FlowReceived, Slots
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


class Process:
    """A turn whose user answers every REGISTER and remembers everything."""

    def __init__(self) -> None:
        self.core = Core()
        self.flow: FlowInfo = self.core.open_flow(media_core.Transport.UDP, ("192.0.2.1", 5060), PHONE)
        numbers = iter(range(10**9))
        self._fd = os.memfd_create("slots")
        Slots.make(self._fd, 4)
        driver = Driver(self.core, user_agent="x", tokens=lambda: f"token{next(numbers):09d}", can=SWITCHROOM)
        self.turn = Turn(self.core, driver, Slots(self._fd))
        self.turn.handle = self._handle
        self.events: list[Event] = []
        self.turn.begin()

    def _handle(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, events.Requested):
            transaction = event.transaction
            self.turn.sip(lambda stack, now: stack.respond(transaction, 200, now))

    @property
    def requested(self) -> list[int]:
        return [int(event.request.call_id) for event in self.events if isinstance(event, events.Requested)]

    def options(self) -> str:
        return self.turn.run(
            lambda: self.turn.sip(
                lambda stack, now: stack.request(
                    "OPTIONS", now, flow=self.flow.id, target="sip:a@198.51.100.7", from_="<sip:b@c>"
                )
            )
        )

    def close(self) -> None:
        self.turn.close()
        self.turn.slots.close()
        self.core.dispose()
        os.close(self._fd)


def test_requests_come_up_in_order_and_answers_go_down() -> None:
    async def scene() -> None:
        process = Process()
        process.turn.driver.trust(process.flow.id, True)
        for number in range(300):
            process.core.tell(FlowReceived(process.flow.id, register(number)))
        await asyncio.sleep(1)
        assert process.requested == list(range(300))
        assert [b"Call-ID: %d\r\n" % number in data for number, data in enumerate(process.core.sent)] == [True] * 300
        process.close()

    run(scene())


def test_nothing_leaves_before_the_commit() -> None:
    """In the order of the law: the slots count, then what was read is gone from the rings, then the messages leave."""

    async def scene() -> None:
        process = Process()
        told: list[str] = []
        slots, core = process.turn.slots, process.core

        class Watched:
            def __getattr__(self, name: str) -> object:
                if name == "commit":
                    told.append(f"commit, {len(core.sent)} sent")
                return getattr(slots, name)

        process.turn.slots = Watched()  # type: ignore[assignment]
        consumed = core.consumed
        core.consumed = lambda: (told.append(f"consumed, {len(core.sent)} sent"), consumed())[1]  # type: ignore[method-assign, func-returns-value]
        core.tell(FlowReceived(process.flow.id, register(1)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert told[:2] == ["commit, 0 sent", "consumed, 0 sent"]
        await asyncio.sleep(1)
        assert len(core.sent) == 1
        assert slots.unsent == []
        process.close()

    run(scene())


def test_a_box_that_does_not_keep_up_says_so() -> None:
    async def scene() -> None:
        process = Process()
        process.turn.driver.trust(process.flow.id, True)
        for number in range(INPUTS * 20):
            process.core.tell(FlowReceived(process.flow.id, register(number)))
        behind = []
        while len(process.requested) < INPUTS * 20:
            await asyncio.sleep(0)
            behind.append(process.turn.behind)
        assert True in behind
        process.core.tell(FlowReceived(process.flow.id, register(10**6)))
        await asyncio.sleep(1)
        assert not process.turn.behind
        process.close()

    run(scene())


def test_messages_wait_for_a_full_ring_and_keep_their_order() -> None:
    async def scene() -> None:
        process = Process()
        process.core.full = True
        for number in range(3):
            process.core.tell(FlowReceived(process.flow.id, register(number)))
            await asyncio.sleep(0.1)
        assert process.requested == [0, 1, 2]
        assert process.core.sent == []
        assert len(process.turn.slots.unsent) == 3, "a successor would send them"
        process.core.full = False
        await asyncio.sleep(0.1)
        assert [b"Call-ID: %d\r\n" % number in process.core.sent[number] for number in range(3)] == [True] * 3
        assert process.turn.slots.unsent == []
        process.close()

    run(scene())


def test_a_stale_flow_fails_its_transactions_at_once() -> None:
    async def scene() -> None:
        process = Process()
        await asyncio.sleep(0)
        process.core.open_flows.pop(process.flow.id)
        transaction = process.options()
        await asyncio.sleep(0.01)
        (event,) = process.events
        assert isinstance(event, events.Answered)
        assert (event.transaction, event.status) == (transaction, 503)
        process.core.tell(FlowClosed(process.flow.id, "gone"))
        await asyncio.sleep(0.01)
        assert isinstance(process.events[-1], FlowClosed)
        process.close()

    run(scene())


def test_the_timer_runs_without_traffic() -> None:
    async def scene() -> None:
        process = Process()
        await asyncio.sleep(0)
        process.options()
        await asyncio.sleep(40)
        (event,) = process.events
        assert isinstance(event, events.Answered)
        assert event.status == 408
        assert len(process.core.sent) == 11, "retransmissions of RFC 3261 §17.1.2.2 over 32 s"
        process.close()

    run(scene())


def test_what_nobody_repeats_waits_for_its_turn() -> None:
    """A site of TLS phones behind one address: what is too much at once comes later, in order, and nothing is lost."""

    async def scene() -> None:
        process = Process()
        flow = process.core.open_flow(media_core.Transport.TLS, ("192.0.2.1", 5061), ("198.51.100.9", 40000))
        count = int(BURST) + 500
        for number in range(count):
            process.core.tell(FlowReceived(flow.id, register(number)))
        await asyncio.sleep(60)
        assert process.requested == list(range(count))
        assert process.turn.driver.dropped == 0
        process.close()

    run(scene())


def test_strangers_have_a_rate_and_known_phones_have_none() -> None:
    async def scene() -> None:
        process = Process()
        core = process.core
        other = core.open_flow(media_core.Transport.UDP, ("192.0.2.1", 5060), ("198.51.100.8", 5060))
        process.turn.driver.trust(other.id, True)
        count = int(BURST) + 500
        for number in range(count):
            core.tell(FlowReceived(process.flow.id, register(number)))
        core.tell(FlowReceived(other.id, register(10**6)))
        await asyncio.sleep(0.02)
        assert len(process.requested) == int(BURST) + 1
        assert process.turn.driver.dropped == 500
        await asyncio.sleep(1)
        core.tell(FlowReceived(process.flow.id, register(10**7)))
        await asyncio.sleep(0.02)
        assert process.requested[-1] == 10**7
        process.close()

    run(scene())
