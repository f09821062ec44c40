"""The turn and its driver: order, a full ring, a stale flow, the rate of strangers; nothing leaves before the commit. Virtual time, a
stand-in for the core."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import media_core
from appliance.calls.legs.abilities import SWITCHROOM
from appliance.calls.turns.turn import INPUTS, SOFTWARE, Turn
from appliance.flows.admission import BURST
from appliance.flows.driver import Driver, Event
from appliance.sip import events
from appliance.words import Said
from media_core import FlowClosed, FlowInfo, FlowReceived, Slots
from tests.box_engine import FakeEngine
from tests.clock import run
from tests.written import as_written

PHONE = ("198.51.100.7", 5060)


NUMBERS = iter(range(10**9))


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
    """A turn whose user answers every REGISTER and remembers everything. One that ends itself has a successor at once."""

    def __init__(self) -> None:
        self.core = Core()
        self.flow: FlowInfo = self.core.open_flow(media_core.Transport.UDP, ("192.0.2.1", 5060), PHONE)
        self._fd = os.memfd_create("slots")
        Slots.make(self._fd, 4)
        self.events: list[Event] = []
        self.faults: list[Said] = []
        self.deaths = -1
        self.wrap: Callable[[Slots], Slots] = lambda slots: slots
        self._start()

    def _start(self) -> None:
        self.deaths += 1
        self.core.attach()
        driver = Driver(self.core, user_agent="x", tokens=lambda: f"token{next(NUMBERS):09d}", can=SWITCHROOM)
        self.turn = turn = Turn(self.core, driver, self.wrap(Slots(self._fd)))
        turn.handle, turn.die = self._handle, lambda: asyncio.get_running_loop().call_soon(self._start)  # type: ignore[assignment]
        turn.fault = lambda error, whose, said: self.faults.append(said)
        turn.driver.outbox.extend(turn.slots.unsent)
        turn.begin()

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


class Refusing:
    """Slots that cannot commit a turn in which this message is said."""

    def __init__(self, slots: Slots, said: bytes) -> None:
        self._slots, self._said = slots, said

    def __getattr__(self, name: str) -> Any:
        return getattr(self._slots, name)

    def commit(self, positions: Sequence[int], messages: Sequence[tuple[int, bytes]]) -> None:
        if any(self._said in message for _, message in messages):
            raise ValueError("it cannot be written")
        self._slots.commit(positions, messages)


def test_a_turn_that_fails_says_nothing_and_costs_one_message() -> None:
    """The process ends, its successor reads one message at a time, and leaves out the one that it cannot go on with."""

    async def scene() -> None:
        process = Process()
        process.turn.driver.trust(process.flow.id, True)
        process.wrap = lambda slots: Refusing(slots, b"Call-ID: 17\r\n")  # type: ignore[return-value,assignment]
        process.turn.slots = process.wrap(process.turn.slots)
        for number in range(40):
            process.core.tell(FlowReceived(process.flow.id, register(number)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (process.core.sent, process.deaths) == ([], 0), "of a turn that does not count nobody hears"
        await asyncio.sleep(1)
        answered = [int(re.findall(rb"Call-ID: (\d+)", data)[0]) for data in process.core.sent]
        assert answered == [number for number in range(40) if number != 17]
        assert process.deaths == 2, "once with all of them, once with it alone"
        assert [said.key for said in process.faults] == ["fault.input"]
        process.core.tell(FlowReceived(process.flow.id, register(99)))
        await asyncio.sleep(1)
        assert len(process.core.sent) == 40
        assert process.turn.slots.failure == 0
        process.close()

    run(scene())


@as_written("puts a failing step in the place of one")
@pytest.mark.parametrize("step", ["_settle", "_leave", "_set_timer", "_due"])
def test_a_fault_of_the_turn_itself_loses_nothing(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, in the middle of answers: a successor says what was not said, and nothing twice but what may be repeated."""

    async def scene() -> None:
        process = Process()
        process.turn.driver.trust(process.flow.id, True)
        await asyncio.sleep(0)

        def fail() -> None:
            raise RuntimeError(step)

        monkeypatch.setattr(process.turn, step, fail)
        for number in range(3):
            process.core.tell(FlowReceived(process.flow.id, register(number)))
        await asyncio.sleep(1)
        assert process.deaths == 1
        answered = [int(re.findall(rb"Call-ID: (\d+)", data)[0]) for data in process.core.sent]
        assert sorted(set(answered)) == [0, 1, 2]
        assert process.faults == []
        process.close()

    run(scene())


def test_a_step_that_fails_costs_its_call() -> None:
    async def scene() -> None:
        process = Process()
        whose: list[object] = []
        process.turn.fault = lambda error, run, said: whose.append(run)

        class Broken:
            def step(self) -> None:
                raise RuntimeError

        broken = Broken()
        process.turn.run(lambda: process.turn.ready(broken))
        assert (whose, process.deaths) == ([broken], 0)
        process.close()

    run(scene())


def test_the_process_ends_by_itself() -> None:
    """For the supervisor, which starts the next one."""
    ended = subprocess.run(
        [sys.executable, "-c", "from appliance.calls.turns.turn import end_process; end_process()"], check=False
    )
    assert ended.returncode == SOFTWARE


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
