"""A PBX in a box: the whole of call control on a virtual clock, simulated phones and a simulated network.

    async with Box(Office(101, 102)) as box:
        a, b = await box.phone("101"), await box.phone("102", transport="TLS")
        call = await a.call("102")

Phones are built on the same Stack, used as user agents. Leaving the block asserts that nothing is left: no call, slot, media leg,
session, transaction or task, on either side. `box.kill()` and `box.start()` are a kill -9 of `calls` and its successor: the engine,
the journal and the stored registrations are what outlives it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import media_core
from appliance import cti
from appliance.calls.history.record import CallRecord
from appliance.calls.process import reattach, to_row, view
from appliance.calls.registrar.authentication import Authenticator
from appliance.calls.registrar.registrar import Registrar
from appliance.calls.survival.takeover import assemble, begin, end, open_slots, written
from appliance.config.model import Encrypt, Extension, Line, Settings, Snapshot
from appliance.services.scripts import SCRIPTS
from media_core import FlowInfo
from tests.box_engine import FakeEngine
from tests.box_phone import Phone

HOST = "192.0.2.1"
CALLS = 64  # slots
PORTS = {"UDP": 5060, "TCP": 5060, "TLS": 5061}


def office(*numbers: str, encrypt: Encrypt = "preferred", ring_seconds: int = 60, lines: int = 1) -> Snapshot:
    """Extensions with these numbers; SIP user names are the number, then number-2, …; the password is secret-<user name>."""
    extensions = {
        f"e{n}": Extension(id=f"e{n}", number=n, name=f"Phone {n}", encrypt=encrypt, ring_seconds=ring_seconds)
        for n in numbers
    }
    names = [(n, n if i == 1 else f"{n}-{i}") for n in numbers for i in range(1, lines + 1)]
    records = {
        f"l{name}": Line(id=f"l{name}", extension=f"e{n}", sip_username=name, sip_password=f"secret-{name}")
        for n, name in names
    }
    return Snapshot(1, {"extension": extensions, "line": records, "settings": {"settings": Settings(id="settings")}})


class Network:
    """Delay for all, loss for UDP. Addresses are made up per phone."""

    def __init__(self, loss: float, seed: int) -> None:
        self.loss = loss
        self.delay = 0.01
        self._last = 0.0
        self._random = random.Random(seed)
        self.trace: list[tuple[float, str, str]] = []

    def carry(self, transport: str, deliver: Any, *arguments: Any) -> None:
        if transport == "UDP" and self._random.random() < self.loss:
            return
        loop = asyncio.get_running_loop()
        self._last = max(self._last + 1e-9, loop.time() + self.delay)  # what was sent first arrives first
        loop.call_at(self._last, deliver, *arguments)


class Box:
    def __init__(
        self, snapshot: Snapshot, *, loss: float = 0.0, seed: int = 1, services: Mapping[str, Any] = SCRIPTS, after: Box | None = None
    ) -> None:
        """`after`: a killed box, of another version or configuration, whose slots, engine, registrations, records and phones this one takes over."""
        self.snapshot = snapshot
        self.network = Network(loss, seed)
        self.engine = FakeEngine(self._to_phone)
        self.phones: dict[tuple[str, int], Phone] = {}
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        self.records: list[CallRecord] = []
        self.wrap: Callable[[Any], Any] = lambda slots: slots  # for who watches what is written
        self.alive = False
        self.deaths = 0  # by its own hand
        self._services = services
        self._fd = os.memfd_create("journal")
        self._numbers = itertools.count(1)
        self._seed = seed
        self._tasks: list[asyncio.Task[None]] = []
        if after is not None:
            self._take_over(after)

    async def __aenter__(self) -> Box:
        self.start()
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                await self._check_nothing_left()
        finally:
            for phone in self.phones.values():
                phone.stop()
            self.kill()
            await asyncio.sleep(0)
            self.dispose()

    def dispose(self) -> None:
        """What outlives its processes goes, too: tens of thousands of boxes are made in one run of the tests."""
        self.engine.dispose()
        os.close(self._fd)

    def _take_over(self, other: Box) -> None:
        assert not other.alive
        self.dispose()
        for name in ("network", "engine", "phones", "rows", "records", "_fd", "_numbers"):
            setattr(self, name, getattr(other, name))
        for phone in self.phones.values():
            phone.box = self

    # ---- the process
    def start(self) -> None:
        loop = asyncio.get_running_loop()
        tokens = self.tokens(f"box{next(self._numbers)}")
        rows = list(self.rows.values())
        slots, old = open_slots(self._fd, CALLS)
        self.slots = self.wrap(slots)
        self.engine.attach()
        registrar = Registrar(reattach(rows, self.engine.flows(), loop.time(), self.unix()))
        self.exchange, self.controller = assemble(
            self.engine,
            self.slots,
            registrar,
            self.snapshot,
            self._services,
            Authenticator(b"key", lambda: next(tokens)),
            calls=CALLS,
            host=HOST,
            tokens=lambda: next(tokens),
            secrets=random.Random(self._seed).randbytes,
            unix=self.unix,
            user_agent="Switchroom/test",
        )
        self.exchange.turn.die = self._died
        self.alive = True
        self.resumed = begin(self.exchange, self.engine, old)
        self._tasks = [loop.create_task(self._archive())]

    def _died(self) -> None:
        """It has ended itself; the next one runs a moment later."""
        self.deaths += 1
        self.kill()
        asyncio.get_running_loop().call_later(0.05, self.start)

    def kill(self) -> None:
        """Everything in the process is gone at once; nothing is said to anybody. At any moment; of the dead nothing happens."""
        if not self.alive:
            return
        self.alive = False
        end(self.exchange)
        for task in self._tasks:
            task.cancel()
        self.slots.close()

    def unix(self) -> float:
        return 1_700_000_000.0 + asyncio.get_running_loop().time()

    async def _archive(self) -> None:
        while True:
            await self.exchange.changed.wait()
            self.exchange.changed.clear()
            controller, loop = self.controller, asyncio.get_running_loop()
            for binding in controller.removed:
                self.rows.pop(binding.key, None)
            for binding in controller.stored:
                self.rows[binding.key] = to_row(binding, loop.time(), self.unix())
            controller.stored, controller.removed = [], []
            finished = list(self.exchange.finished)
            self.exchange.finished.clear()
            self.records += [record for _, record in finished]
            self.exchange.turn.run(lambda finished=finished: written(self.exchange, finished))  # type: ignore[misc]

    def apply(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.exchange.turn.run(lambda: self.controller.apply(snapshot))

    @staticmethod
    def tokens(name: str) -> Iterator[str]:
        return (f"{name}x{number:08x}" for number in itertools.count(1))

    # ---- the network
    def _to_phone(self, info: FlowInfo, data: bytes) -> None:
        phone = self.phones.get(info.remote)
        if phone is not None:
            self.network.carry(info.transport.name, phone.receive, info.id, data)

    def from_phone(self, info: FlowInfo, data: bytes) -> None:
        def deliver() -> None:
            if info.id in self.engine.open_flows:
                self.engine.tell(media_core.FlowReceived(info.id, data))

        self.network.carry(info.transport.name, deliver)

    def connect(self, phone: Phone, transport: str) -> FlowInfo:
        number = next(self._numbers)
        remote = (phone.host, 30000 + number)
        self.phones[remote] = phone
        return self.engine.open_flow(media_core.Transport[transport], (HOST, PORTS[transport]), remote)

    # ---- for tests
    async def phone(
        self, user: str, *, transport: str = "UDP", register: bool = True, host: str = "", **how: Any
    ) -> Phone:
        phone = Phone(self, user, host or f"198.51.100.{next(self._numbers)}", transport, **how)
        if register:
            assert await phone.register() == 200
        return phone

    async def seconds(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @property
    def calls(self) -> list[Any]:
        return list(self.exchange.calls.values())

    @property
    def views(self) -> list[cti.CallView]:
        """The calls, as pages show them."""
        return [view(call, self.engine) for call in self.calls]

    def leg_of(self, phone: Phone) -> Any:
        """The engine's leg that faces this phone's media."""
        found = [
            leg
            for leg in self.engine.media.values()
            if leg.remote is not None and leg.remote.port == phone.rtp_port and leg.remote.address == phone.host
        ]
        assert len(found) == 1, found
        return found[0]

    async def _check_nothing_left(self) -> None:
        await asyncio.sleep(70)  # 64*T1 and the longest wait after it
        left = self.left()
        assert not left, left
        assert not list(self.exchange.faults), list(self.exchange.faults)

    def left(self) -> list[str]:
        """What is there although no call is, on either side."""
        stacks = {"pbx": self.exchange.turn.driver.stack} | {phone.user: phone.stack for phone in self.phones.values()}
        found = {
            "calls": list(self.exchange.calls),
            "media legs": list(self.engine.media),
            "sessions in the index": list(self.exchange.sessions),
            "slots": [*self.slots.legs, *self.slots.calls],
            "media legs in the index": list(self.exchange.ports),
            "timers of calls": len(self.exchange.turn.timers) - (self.exchange.registrar.deadline() is not None),
        } | {
            f"{name} of {user}": stack.counters()[name]
            for user, stack in stacks.items()
            for name in ("sessions", "dialogs", "transactions", "timers")
        }
        return [f"left: {name} {which}" for name, which in found.items() if which]
