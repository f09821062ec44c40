"""Calls over the death of call control: the part of `benchmarks.survive` for `--process calls`. See there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance import cti
from appliance.config import licensing
from appliance.config.rights import named
from appliance.config.rights.acting import Acting
from appliance.host.entitlement import PUBLIC_HALF, box_id, install, open_admin
from appliance.softphone import Account, PhoneError
from benchmarks.contenders import allow_files
from benchmarks.system import Credentials, System
from benchmarks.telephones import KINDS, RING_SECONDS, Clock, Kind, Seat, Seen, Stream, Telephone

BETWEEN = (1.0, 4.0)  # seconds from one life to the next death
ROW = 2  # deaths after which the supervisor waits before it starts the process again
SETTLE = 45.0  # seconds after the last call in which what is left must go
STARTING = 30.0  # seconds a process may take
AROUND = 0.3  # seconds after a new process is there that still count as around the kill
SHUFFLES = 10_000  # of which moments were kills and which were not

Window = tuple[float, float]  # unix times


def seats_of(calls: int) -> list[Kind]:
    """The kinds in their shares, as many as there are calls at once; each at least once."""
    return [kind for kind in KINDS for _ in range(max(1, round(kind.share * calls / 100)))]


def prepare(system: System, count: int) -> list[Credentials]:
    """An administrator, a licence of a maker that this directory knows alone, and that many extensions."""
    private = Ed25519PrivateKey.generate()
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    (system.data / PUBLIC_HALF).write_bytes(private.public_key().public_bytes(*form))
    with open_admin(system.data) as admin:
        admin.complete_setup(
            username="owner",
            full_name="Owner",
            password="seven lamps in the hall",
            first_extension="100",
            country="DE",
        )
        text = licensing.issue(
            private, box=box_id(system.data), users=count, edition="benchmark", issued=datetime.now(UTC).date(),
            expires=None, maintenance_until=None,
        )  # fmt: skip
        install(system.data, text, Acting(admin, named("benchmark")))
        found = []
        for number in range(count):
            dialled = str(2000 + number)
            made = admin.create("extension", {"number": dialled, "ring_seconds": RING_SECONDS}, "benchmark")
            line = admin.snapshot.lines_of[made.id][0]
            found.append(Credentials(dialled, line.sip_username, line.sip_password, made.id))
    return found


class Killer:
    """Kills `calls` and waits until it answers again; or lets a moment pass as long as that takes, in which nothing is killed."""

    def __init__(self, system: System) -> None:
        self._run = system.data / "run"
        self.restarts: list[float] = []  # seconds
        self.kills: list[Window] = []  # around each
        self.shams: list[Window] = []
        self.starts: list[Window] = []

    async def _pid(self) -> int:
        status = await cti.ask(str(self._run / "supervisor.sock"), cti.GetStatus())
        assert isinstance(status, cti.Status)
        return next(process.pid for process in status.processes if process.name == "calls")

    async def kill(self) -> None:
        pid = await self._pid()
        begin = time.time()
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.002)
        if (
            len(self.restarts) >= ROW
        ):  # fifty deaths in minutes stand for fifty in years: the wait that a row of them brings is cut short
            await asyncio.sleep(0.05)
            await cti.ask(str(self._run / "supervisor.sock"), cti.RestartProcess(name="calls"))
        await self.answers(pid)
        end = time.time()
        self.restarts.append(end - begin)
        self.kills.append((begin, end + AROUND))

    async def sham(self) -> None:
        """As long as the last kill."""
        begin, last = time.time(), self.restarts[-1] if self.restarts else 0.5
        await self._pid()
        await asyncio.sleep(max(0.0, begin + last - time.time()))
        await self.answers()
        self.shams.append((begin, time.time() + AROUND))

    async def start(self) -> None:
        """A process loads what `calls` loads, at the same priority, and ends; nothing is killed."""
        begin, ours = time.time(), os.getpriority(os.PRIO_PROCESS, 0)
        load = [sys.executable, "-P", "-c", "import appliance.calls.process"]
        process = await asyncio.create_subprocess_exec(*load, preexec_fn=lambda: os.nice(-ours))
        await process.wait()
        self.starts.append((begin, time.time() + AROUND))

    async def answers(self, not_pid: int = 0) -> dict[str, int]:
        """Its counters, as soon as it answers."""
        end = time.monotonic() + STARTING
        while True:
            with contextlib.suppress(cti.Unavailable, ConnectionError):
                reply = await cti.ask(str(self._run / "calls.sock"), cti.GetCounters(), 5.0)
                if isinstance(reply, cti.Counters):
                    return reply.counters
            if time.monotonic() > end:
                raise RuntimeError("calls does not answer again")
            await asyncio.sleep(0.02)


async def telephones(system: System, kinds: list[Kind], accounts: list[Credentials], seen: Seen) -> list[Seat]:
    """All phones, registered, two (at an echo one) to a seat."""
    waiting = iter(accounts)

    async def phone(kind: Kind, side: int) -> Telephone:
        who = next(waiting)
        port = system.sips_port if kind.transport == "TLS" else system.sip_port
        account = Account(
            system.host, port, kind.transport, who.number, who.username, who.password, str(system.authority),
            kind.encrypt, formats=kind.formats[side],
        )  # fmt: skip
        made = Telephone(account)
        await made.connect(20.0)
        await made.register(3600, 20.0)
        return made

    found = []
    for kind in kinds:
        caller = await phone(kind, 0)
        found.append(Seat(kind, caller, None if kind.echo else await phone(kind, 1), seen))
    return found


async def left(system: System, killer: Killer) -> dict[str, int]:
    """What the system still has when all phones have hung up, after it had time to notice."""
    end = time.monotonic() + SETTLE
    while True:
        counters = await killer.answers()
        calls = await cti.ask(str(system.data / "run/calls.sock"), cti.GetCalls())
        assert isinstance(calls, cti.Calls)
        found = {name: counters[name] for name in ("legs", "dialogs", "slots")} | {"calls": len(calls.calls)}
        if not any(found.values()) or time.monotonic() > end:
            return found
        await asyncio.sleep(1.0)


def records(system: System, seats: list[Seat]) -> dict[str, int]:
    """Call records missing and doubled: each phone has dialled so often and has so many."""
    with contextlib.closing(sqlite3.connect(system.data / "calls.db")) as db:
        found = Counter(dict(db.execute("SELECT caller_number, count(*) FROM call GROUP BY caller_number").fetchall()))
    more = [found[seat.caller.account.number] - seat.dialled for seat in seats]
    return {
        "records": found.total(),
        "records_missing": -sum(n for n in more if n < 0),
        "records_doubled": sum(n for n in more if n > 0),
    }


def longest(windows: list[Window]) -> list[tuple[float, str]]:
    """Of each: the longest time without a packet that overlaps it, in ms beyond what we were late ourselves, and of which leg."""
    found = [(0.0, "")] * len(windows)
    for end, beyond, where in Stream.gaps:
        for number, (begin, until) in enumerate(windows):
            if begin <= end and end - beyond <= until:
                found[number] = max(found[number], (1000 * beyond, where))
    return found


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values) or [0.0]
    return {
        "p50": round(ordered[len(ordered) // 2], 1),
        "p90": round(ordered[len(ordered) * 9 // 10], 1),
        "max": round(ordered[-1], 1),
    }


def mean(values: list[float]) -> float:
    return sum(values) / max(1, len(values))


def by_chance(ours: list[float], others: list[float]) -> float:
    """How often two groups drawn from the same moments at random differ in their mean by at least as much as these: 0..1."""
    both, chance, size = ours + others, random.Random("moments"), len(ours)
    if not ours or not others:
        return 1.0
    total, seen = sum(ours), 0
    for _ in range(SHUFFLES):
        chance.shuffle(both)
        seen += sum(both[:size]) >= total
    return round(seen / SHUFFLES, 3)


def gaps(killer: Killer) -> dict[str, Any]:
    """The longest time without a packet in each moment of a kill beside that in as many moments of the same length, the same run and the
    same load in which nothing was killed."""
    kills, starts, shams = longest(killer.kills), longest(killer.starts), longest(killer.shams)
    ours, loads, others = ([gap for gap, _ in found] for found in (kills, starts, shams))
    return {
        "media_gap_ms": round(max(0.0, max(ours, default=0.0) - max(others, default=0.0)), 1),
        "gap_ms_kills": spread(ours),
        "gap_ms_starts": spread(loads),
        "gap_ms_shams": spread(others),
        "gap_ms_added": round(mean(ours) - mean(others), 2),
        "gap_by_chance": by_chance(ours, others),
        "gap_ms_added_to_starts": round(mean(ours) - mean(loads), 2),
        "gap_by_chance_of_starts": by_chance(ours, loads),
        "gap_where": max(kills, default=(0.0, ""))[1],
    }


async def telephone(system: System, kinds: list[Kind], accounts: list[Credentials], kills: int) -> dict[str, Any]:
    seen = Seen()
    Stream.clock = Clock()
    clock = asyncio.create_task(Stream.clock.run())
    seats = await telephones(system, kinds, accounts, seen)
    killer = Killer(system)
    over = asyncio.Event()
    living = [asyncio.create_task(seat.live(over)) for seat in seats]
    begin = time.monotonic()
    await asyncio.sleep(6.0)
    for _ in range(kills):
        for moment in random.sample((killer.kill, killer.start, killer.sham), 3):
            await asyncio.sleep(random.uniform(*BETWEEN))
            await moment()
    await asyncio.sleep(3.0)
    seconds = time.monotonic() - begin
    over.set()
    await asyncio.gather(*living)
    remains = await left(system, killer)
    for seat in seats:
        for phone in (seat.caller, seat.called):
            if phone is not None:
                with contextlib.suppress(PhoneError, OSError):
                    await phone.close()
    clock.cancel()
    history = await asyncio.to_thread(records, system, seats)
    ghosts = seen.ghosts + max(remains.values()) + history["records_missing"] + history["records_doubled"]
    restarts = sorted(1000 * each for each in killer.restarts) or [0.0]
    figures = {key: value for key, value in asdict(seen).items() if key not in ("reasons", "calls")}
    return {
        "telephoned": seen.calls,
        "kills": kills,
        "load_average": round(os.getloadavg()[1], 1),
        "seconds": round(seconds, 1),
        **figures,
        "ghosts": ghosts,
        "phones_going_on": seen.ghosts,
        **{f"{name}_left": count for name, count in remains.items()},
        **history,
        **gaps(killer),
        "restart_ms": {"p50": round(restarts[len(restarts) // 2]), "max": round(restarts[-1])},
        "reasons": dict(sorted(seen.reasons.items(), key=lambda row: -row[1])),
    }


def survive_calls(calls: int, kills: int, log: str, favour: Callable[[], bool]) -> dict[str, Any]:
    """`calls` calls of all kinds at once, and that many deaths of the process beneath them. What the system said goes to the file `log`.
    `favour` puts the telephones before the neighbours on this machine, for they stand for other machines."""
    kinds = seats_of(calls)
    count = sum(1 if kind.echo else 2 for kind in kinds)
    allow_files(8192)
    with tempfile.TemporaryDirectory() as folder:
        system = System(Path(folder) / "var", calls=count + count // 4)
        system.start()
        try:
            accounts = prepare(system, count)
            core = next(process["pid"] for process in system.status()["processes"] if process["name"] == "core")
            sizes = {"processors": os.cpu_count(), "core_nice": os.getpriority(os.PRIO_PROCESS, core), "favoured": favour()}
            result = sizes | asyncio.run(telephone(system, kinds, accounts, kills))
        finally:
            system.stop()
            if log:
                Path(log).write_text(system.output.read_text())
    return result
