"""The process `calls`: puts SIP, call control and services together on the shared memory of the supervisor, and serves the
control socket.

Everything that must outlive it lies elsewhere: media and connections in `core`, calls in the journal memory, registrations and
records in calls.db. So its end, planned or not, is silent: SIGTERM leaves calls as they stand, the next process goes on.
The database is touched by one thread of its own: a slow disk delays records, not calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import secrets
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import media_core
from appliance import cti
from appliance.calls.api import Files
from appliance.calls.call import Call
from appliance.calls.history.record import CallRecord
from appliance.calls.history.records import CallRecords, RecordsDamaged
from appliance.calls.history.summary import as_row, counters, live
from appliance.calls.registrar.authentication import Authenticator
from appliance.calls.registrar.registrar import EXPIRES_MAX, Binding, Registrar
from appliance.calls.survival.takeover import assemble, begin, end, open_slots, written
from appliance.calls.switchboard import Media
from appliance.config.model import Extension, Line, Snapshot
from appliance.config.store import Store
from appliance.flows.driver import token
from appliance.host.boot import Boot, read_boot
from appliance.services.scripts import SCRIPTS
from appliance.sip.text.uri import join_host
from appliance.storage import copies
from appliance.storage.database import StorageDamaged, StorageFailed
from appliance.words import Said

log = logging.getLogger("appliance.calls")

TOGETHER = 0.05  # seconds of call records go to the disk in one transaction; their slots hold them until then
AT_MOST_EVERY = 0.5  # seconds, when there are many: one call alone is listed as soon as it has ended
INDEX_PAUSE = 0.1  # seconds between two small steps that make calls of before findable
INDEX_LOOK = 60.0  # seconds until it is looked again whether all can be found
MOST_TOLD = 50  # lines that are named when registrations have changed
TELL_AFTER = 0.2  # changes within this time are told once
COLLECT = (20_000, 20, 100)  # objects, and rounds of the younger: a call makes a few hundred, of which next to none are in circles


class Archive:
    """calls.db behind a thread. Its methods wait for the disk, the event loop does not. When it is damaged it is kept aside and begun anew:
    calls matter more than their records."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="archive")
        self._records: CallRecords | None = None
        self.begun_anew = 0

    async def run(self, work: Any) -> Any:
        """`work(records)` in the archive's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._call, work)

    def _call(self, work: Any) -> Any:
        if self._records is None:
            self._records = self._open()
        try:
            return work(self._records)
        except RecordsDamaged as error:  # not all of it is checked when it is opened
            registered = self._registered(self._records)
            self._records.close()
            self._records = self._anew(error)
            self._records.keep(saved=registered)
            return work(self._records)

    def _open(self) -> CallRecords:
        try:
            return CallRecords(self._data)
        except StorageDamaged as error:
            return self._anew(error)

    def _anew(self, error: StorageFailed) -> CallRecords:
        kept = copies.set_aside(self._data / "calls.db")
        log.error("call records begin anew, those of before are in %s: %s", kept, error)
        self.begun_anew += 1
        return CallRecords(self._data)

    @staticmethod
    def _registered(records: CallRecords) -> list[dict[str, Any]]:
        with contextlib.suppress(StorageFailed):
            return records.registrations()
        return []

    async def close(self) -> None:
        await self.run(lambda records: records.close())
        self._thread.shutdown()


def view(call: Call, media: Media) -> cti.CallView:
    """As it is shown while it goes on: from the story, and what has been counted by now."""
    stats = {}
    for leg in call.legs:
        with contextlib.suppress(media_core.StaleHandle):
            stats[leg.who] = media.stats(leg.stream.port.id)
    quality = {leg.who: leg.quality for leg in call.legs}
    return live(call.story, stats, quality, id=call.id, dialled=call.dialled, legs=[leg.who for leg in call.legs])


def recorded(folder: Path) -> Callable[[Said], Files]:
    """Sentences as they have been recorded or spoken: a file named by the key of the sentence; none: nothing is heard."""

    def find(said: Said) -> Files:
        found = (folder / f"{said.key}{kind}" for kind in (".wav", ".ogg", ".opus"))
        return Files(tuple(str(path) for path in found if path.is_file())[:1])

    return find


def to_row(binding: Binding, now: float, unix: float) -> dict[str, Any]:
    """Stored with unix times: the monotonic clock starts anew with the machine."""
    times = {name: unix + (getattr(binding, name) - now) for name in ("since", "refreshed", "expires")}
    return asdict(binding) | times


def from_row(row: dict[str, Any], now: float, unix: float) -> Binding:
    left = min(max(0.0, row["expires"] - unix), EXPIRES_MAX)  # a wall clock that was wrong ends nothing early or never
    past = {name: now - max(0.0, unix - row.get(name, row["since"])) for name in ("since", "refreshed")}
    return Binding(**(row | past | {"expires": now + left}))


def reattach(rows: list[dict[str, Any]], flows: list[media_core.FlowInfo], now: float, unix: float) -> list[Binding]:
    """The stored bindings, on the flows that are still there; the others are away."""
    by_id = {flow.id: flow for flow in flows}
    found = []
    for row in rows:
        binding = from_row(row, now, unix)
        flow = by_id.get(binding.flow)
        same = (
            flow is not None
            and flow.transport.name == binding.transport
            and flow.remote == (binding.host, binding.port)
        )
        found.append(replace(binding, away=not same))
    return found


class CallsProcess:
    def __init__(self, boot: Boot) -> None:
        self._boot = boot
        self._data = Path(boot.data)
        self._store = Store(self._data)
        self._archive = Archive(self._data)
        self._slots, self._before = open_slots(boot.fds["journal"], boot.calls)
        self._kept_at = 0.0  # when records went to the disk last
        self._selftests: dict[int, list[tuple[Extension, Line]]] = {}
        self._base = self._store.load()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        boot = self._boot
        loop = asyncio.get_running_loop()
        engine = media_core.MediaEngine(boot.fds["memory"], boot.fds["core_wake"], boot.fds["calls_wake"])
        self._engine = engine
        rows = await self._archive.run(lambda records: records.registrations())
        registrar = Registrar(reattach(rows, engine.flows(), loop.time(), time.time()))
        self._board, self._requests = assemble(
            engine,
            self._slots,
            registrar,
            self._base,
            SCRIPTS,
            Authenticator(secrets.token_bytes(32), token),
            calls=boot.calls,
            host=boot.host,
            tokens=token,
            secrets=secrets.token_bytes,
            unix=time.time,
        )
        self._board.prompts = recorded(self._data / "prompts")
        resumed = begin(self._board, engine, self._before)
        await self._archive.run(lambda records: records.remove_selftest())
        self._server = cti.Server(str(Path(boot.run) / "calls.sock"), self._handle)
        await self._server.start()
        self._tasks = [loop.create_task(work, name=name) for name, work in (
            ("archive", self._keep()), ("index", self._index()), ("news", self._publish()),
        )]  # fmt: skip
        log.info(
            "calls ready: revision %d, %d registrations, %d calls go on", self._base.revision, len(registrar), resumed
        )

    async def stop(self) -> None:
        """Calls stay up in the core and in their slots."""
        end(self._board)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.close()
        await self._keep_once()
        await self._archive.close()
        self._store.close()
        self._slots.close()

    # ---- to disk
    async def _keep(self) -> None:
        while True:
            await self._board.changed.wait()
            if not self._requests.stored:  # a phone has been told that it is registered: nothing else holds that
                await asyncio.sleep(max(TOGETHER, self._kept_at + AT_MOST_EVERY - self._board.turn.now))
            self._board.changed.clear()
            self._kept_at = self._board.turn.now
            try:
                await self._keep_once()
            except Exception as error:  # what could not be written stays in the slots; the next change tries again
                self._board.fault(error, Said.of("fault.records", error=type(error).__name__))

    async def _keep_once(self) -> None:
        requests, board = self._requests, self._board
        stored, requests.stored = requests.stored, []
        removed, requests.removed = requests.removed, []
        finished = list(board.finished)
        board.finished.clear()
        now, unix = board.turn.now, board.unix()
        rows = [to_row(binding, now, unix) for binding in stored]

        def write(records: CallRecords) -> None:
            records.keep([as_row(record) for _, record in finished], rows, [binding.key for binding in removed])

        if removed or rows or finished:
            try:
                await self._archive.run(write)
            except Exception as error:  # a full disk must not end calls; the slots keep the records
                log.exception("call records could not be written")
                board.faults.add(Said.of("fault.disk", error=type(error).__name__), board.unix())
                asyncio.get_running_loop().call_later(5, self._again, stored, removed, finished)
                return
        board.turn.run(lambda: written(board, finished))

    async def _index(self) -> None:
        """Records of before become findable behind everything else, also those that an older version has written meanwhile."""
        while True:
            more = False
            with contextlib.suppress(StorageFailed):  # it is told by what keeps the records
                more = await self._archive.run(lambda records: records.index_more())
            await asyncio.sleep(INDEX_PAUSE if more else INDEX_LOOK)

    def _again(
        self, stored: list[Binding], removed: list[Binding], finished: list[tuple[int | None, CallRecord]]
    ) -> None:
        live = set(self._board.registrar)
        self._requests.stored = [binding for binding in stored if binding in live] + self._requests.stored
        self._requests.removed = [binding for binding in removed if binding not in live] + self._requests.removed
        self._board.finished.extendleft(reversed(finished))
        self._board.changed.set()

    # ---- to the control socket
    async def _publish(self) -> None:
        while True:
            news = [await self._board.news.get()]
            await asyncio.sleep(TELL_AFTER)
            while not self._board.news.empty():
                news.append(self._board.news.get_nowait())
            told: list[cti.Message] = []
            for message in _together(news):
                if message not in told:
                    told.append(message)
                    self._server.publish(message)

    async def _handle(self, request: cti.Message, connection: cti.Connection) -> cti.Message:
        try:
            return await self._answer(request, connection)
        except Exception as error:  # one request, one boundary
            name = type(error).__name__
            self._board.fault(error, Said.of("fault.request", error=name, request=type(request).__name__))
            return cti.Failed(f"Internal error ({type(error).__name__}); see the log.")

    async def _answer(self, request: cti.Message, connection: cti.Connection) -> cti.Message:
        match request:
            case cti.GetCalls():
                return cti.Calls([view(call, self._engine) for call in self._board.calls.values()])
            case cti.GetRegistrations(lines=lines):
                return cti.Registrations(list(self._registrations(frozenset(lines))))
            case cti.GetPhones():
                return self._phones()
            case cti.GetCounters():
                return cti.Counters(self._counters(), self._base.has_administrator)
            case cti.HangUp(call=id, who=who):
                return self._hang_up(id, who)
            case cti.Applied():
                return self._read_again()
            case cti.Moved(host=host):
                self._board.host = host
                return cti.Ok()
            case cti.SelftestBegin():
                return self._selftest_begin(connection)
            case cti.GetRecord(call=id):
                return await self._record(id)
            case cti.GetSecurityEvents():
                events = [cti.SecurityEventView(**asdict(event)) for event in self._requests.security]
                return cti.SecurityEvents(events, [cti.FaultView(**asdict(fault)) for fault in self._board.faults])
            case cti.GetRefusals():
                last = self._requests.refusals.last()[: cti.MOST_REFUSALS]
                return cti.Refusals(
                    [cti.RefusalView(**asdict(one) | {"address": join_host(*one.address)}) for one in last]
                )
        return cti.Failed(f"calls does not know {type(request).__name__}.")

    def _phones(self) -> cti.Phones:
        encrypted: dict[str, bool] = {}
        for binding in self._board.registrar:
            if not binding.away:
                encrypted[binding.line] = binding.secure and encrypted.get(binding.line, True)
        drops = [
            cti.DropView(drop.time, drop.why, one.line, join_host(one.host, one.port), one.user_agent)
            for drop in self._requests.drops
            for one in (drop.binding,)
        ]
        return cti.Phones(
            [line for line, secure in encrypted.items() if secure],
            [line for line, secure in encrypted.items() if not secure],
            sorted(drops, key=lambda drop: -drop.time)[: cti.MOST_REFUSALS],
        )

    def _registrations(self, lines: frozenset[str]) -> Any:
        snapshot, now, unix = self._board.snapshot, self._board.turn.now, self._board.unix()
        for binding in self._board.registrar:
            if binding.away or (lines and binding.line not in lines):
                continue
            line = snapshot.lines.get(binding.line)
            extension = snapshot.extensions.get(line.extension) if line is not None else None
            if line is None or extension is None:
                continue
            yield cti.RegistrationView(
                number=extension.number,
                name=extension.name,
                line=line.id,
                sip_username=line.sip_username,
                address=f"{binding.host}:{binding.port}",
                transport=binding.transport,
                secure=binding.secure,
                user_agent=binding.user_agent,
                since=unix - (now - binding.since),
                expires=unix + (binding.expires - now),
            )

    def _counters(self) -> dict[str, int]:
        media = self._engine.counters()
        return {
            **self._board.turn.driver.stack.counters(),
            **media,
            "registrations": sum(not binding.away for binding in self._board.registrar),
            "registrations_away": sum(binding.away for binding in self._board.registrar),
            **counters(call.story for call in self._board.calls.values()),
            "slots": len(self._slots.calls),
            "faults": self._board.faults.total,
            "records_begun_anew": self._archive.begun_anew,
            "messages_dropped": self._board.turn.driver.dropped,
        }

    def _hang_up(self, id: str, who: str) -> cti.Message:
        call = self._board.calls.get(id)
        if call is None:
            return cti.Failed("This call has ended already.")
        call.end(who or "system")
        return cti.Ok()

    async def _record(self, id: str) -> cti.Message:
        def find(records: CallRecords) -> Any:
            if id:
                return records.find(id)
            return records.newest_selftest()

        row = await self._archive.run(find)
        return cti.Record(asdict(row)) if row is not None else cti.Failed("There is no such call record (yet).")

    # ---- configuration
    def _read_again(self) -> cti.Message:
        """What it has read stays in force when it cannot be read any more. Another file in its place is opened."""
        try:
            snapshot = self._store.load(self._base)
        except StorageFailed:
            try:
                store = Store(self._data)
                snapshot = store.load()
            except StorageFailed as error:
                log.error("the configuration stays as it was: %s", error)
                return cti.Failed(str(error))
            self._store.close()
            self._store = store
        self._apply(snapshot)
        return cti.Ok()

    def _apply(self, snapshot: Snapshot) -> None:
        self._base = snapshot
        for pairs in self._selftests.values():
            for extension, line in pairs:
                snapshot = snapshot.with_record("extension", extension).with_record("line", line)
        self._board.turn.run(lambda: self._requests.apply(snapshot))

    def _selftest_begin(self, connection: cti.Connection) -> cti.Message:
        """Two extensions with numbers nobody has, that exist only in this process's snapshot."""
        claims = self._board.snapshot.claims
        free = (number for _ in range(10_000) if claims.find(number := f"{random.randrange(10**8, 10**9)}") is None)
        pairs = []
        for name in ("Self-test A", "Self-test B"):
            number = next(free)
            extension = Extension(
                id=f"selftest-{number}", number=number, name=name, encrypt="required", ring_seconds=15
            )
            line = Line(
                id=f"selftest-line-{number}",
                extension=extension.id,
                sip_username=f"selftest-{number}",
                sip_password=token(),
            )
            pairs.append((extension, line))
        self._selftests[id(connection)] = pairs
        self._board.selftest |= {extension.id for extension, _ in pairs}
        connection.on_close(lambda: self._selftest_end(id(connection)))
        self._apply(self._base)
        return cti.SelftestReady(
            phones=[cti.TestPhone(extension.number, line.sip_username, line.sip_password) for extension, line in pairs],
            realm=self._base.settings.realm,
            host=self._board.host,
            tls_port=self._boot.sips_port,
            ca_file=str(self._data / "keys/authority.pem"),
        )

    def _selftest_end(self, connection: int) -> None:
        pairs = self._selftests.pop(connection, [])
        self._board.turn.run(self._end_selftests)
        self._board.selftest -= {extension.id for extension, _ in pairs}
        self._apply(self._base)
        task = asyncio.get_running_loop().create_task(self._forget_selftest(), name="selftest")
        self._tasks.append(task)
        task.add_done_callback(self._tasks.remove)

    def _end_selftests(self) -> None:
        for call in list(self._board.calls.values()):
            if call.selftest:
                call.end("system")

    async def _forget_selftest(self) -> None:
        await asyncio.sleep(1)  # calls that were cleared just now write their records first
        if not self._selftests:
            await self._archive.run(lambda records: records.remove_selftest())


def _together(news: list[cti.Message]) -> list[cti.Message]:
    """Registrations told at once: the lines that they are about, or none when they are many."""
    changed = [message for message in news if isinstance(message, cti.RegistrationsChanged)]
    if not changed:
        return news
    lines = sorted({line for message in changed for line in message.lines})
    whole = len(lines) > MOST_TOLD or not all(message.lines for message in changed)
    rest = [message for message in news if not isinstance(message, cti.RegistrationsChanged)]
    return [*rest, cti.RegistrationsChanged([] if whole else lines)]


async def _serve(boot: Boot) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    process = CallsProcess(boot)
    await process.start()
    gc.collect()
    gc.set_threshold(*COLLECT)
    gc.freeze()  # code, configuration and registrations stay: the collector need not walk them for every few calls
    await stop.wait()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.8):  # the supervisor gives a second
            await process.stop()


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(name)s: %(message)s")
    try:
        boot = read_boot()
    except EOFError:  # the start came to nothing
        return
    asyncio.run(_serve(boot))
