"""The composition root and the parent of every process: `switchroom run`.

It makes what must outlive a process (resources.py), starts core, calls and web with the descriptors they need, restarts what dies with a
growing delay, kills what hangs (three unanswered pings; the core: heartbeat.py), and tells how things are: on run/supervisor.sock, to systemd,
in the log. It holds no call and no configuration. One asyncio loop, one thread.

End: SIGTERM or Ctrl-C asks web and calls first, so that calls can still speak through the core, then the core; what remains after 1.2 s, or a
second Ctrl-C, is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from appliance import cti
from appliance.host import health, heartbeat, listeners
from appliance.host.alarms import Alarms, Facts, ProcessFacts, told
from appliance.host.boot import VARIABLE
from appliance.host.process import Early, Process
from appliance.host.renewal import Renewal
from appliance.host.resources import Options, Resources, acquire
from appliance.storage import condition, migration
from appliance.storage.migration import Watch
from appliance.version import VERSION

PATIENCE = 1.2  # seconds between asking to end and killing
CALLS_FIRST = 0.6  # of these, how long the core waits for calls and web
PING_EVERY = 2.0  # seconds
MISSES = 3  # unanswered pings until a process counts as hung
UP_LIMIT = 10.0  # seconds until systemd is told that we are up, even when a process has not answered yet
# Until a process's first answer, unless databases are being brought up to date. Generous: killing what starts makes a busy box slower still.
START_LIMIT = 90.0  # seconds
TELL_FIRST = 0.3  # seconds until an end that was asked for: who asked is answered before, and the page can be
SOUND_FIRST = -6  # nice(2): a process that starts burns a processor for half a second, and sound must not wait for it
PAGES_STAND_BACK = 5  # and calls come before pages
ADDRESS_WAIT = 20.0  # seconds more for an address, after those for phones
PAGES_WAIT = 10.0  # seconds at most until the pages are started: at a start too, calls come first
STDIN = 0  # what a spare core waits on
CORE_STEADY = 0.5  # seconds: calls are silent while the core is away, so only what dies while it starts waits
RECENT = 600.0  # seconds a death stays in the alarms
ORDER = ("core", "calls", "web")  # in which they are shown
CALLS_FDS = ("memory", "core_wake", "calls_wake", "journal")
WEB_FDS = ("admin_tcp", "admin_udp", "user_tcp", "user_udp", "renewed")

log = logging.getLogger("supervisor")


async def supervise(options: Options, say: Callable[[str], None], early: Early | None = None) -> None:
    """Run everything until SIGTERM or SIGINT; `say` gets the lines for the terminal, `early` is `calls`. CannotStart when it cannot begin."""
    migration.told = health.keep_waiting
    again = True
    while again:
        with acquire(options) as resources, _named("switchroom"):
            again = (
                await Supervisor(resources, early).run(say) and not health.under_systemd()
            )  # it starts us again, and keeps the calls
        early = None


class Supervisor:
    def __init__(self, resources: Resources, early: Early | None = None) -> None:
        self._resources = resources
        self._early = early
        self._options = resources.options
        self._started = time.time()
        self._alarms = Alarms()
        self._end = asyncio.Event()
        self._again = False
        self._misses: dict[str, int] = {}
        self._calls_know_address = True
        self._looked = False  # whether the box is set up is known, as far as it can be
        self._file = condition.Watch(self._options.data / "config.db")
        self._opening = Watch(self._options.data, 0.0)
        self._counters: dict[str, int] = {}
        self._noticed = cti.SecurityEvents([], [])
        self._core_view = resources.core_view()
        self._renewal = Renewal(resources)
        self._begun = asyncio.get_running_loop().time()
        self.processes: dict[str, Process] = {}

    async def run(self, say: Callable[[str], None]) -> bool:
        """Start everything, watch it until told to end, end it; whether it shall begin again."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._asked_to_end)
        server = cti.Server(str(self._options.run / "supervisor.sock"), self.answer)
        await self._create_processes()
        watchers: list[asyncio.Task[None]] = []
        try:
            await server.start()
            tasks = (self._start_pages, self._watch, self._watch_core, self._keep_systemd)
            watchers = [loop.create_task(task()) for task in tasks]
            await self._until_up()
            for line in self.welcome():
                say(line)
            health.notify_systemd("READY=1")
            await self._end.wait()
        finally:
            health.notify_systemd("STOPPING=1")
            for task in watchers:
                task.cancel()
            self._renewal.stop()
            await self._shut_down()
            await server.close()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
        return self._again

    async def answer(self, message: cti.Message, client: cti.Connection) -> cti.Message:
        """The control socket's requests."""
        match message:
            case cti.GetStatus():
                await self._ask_counters()
                return self.status()
            case cti.RestartProcess(name=name) if name in self.processes:
                log.info("%s is restarted because somebody asked", name)
                self.processes[name].restart()
                return cti.Ok()
            case cti.RestartProcess(name=name):
                return cti.Failed(f"There is no process {name}; there are {', '.join(self.processes)}.")
            case cti.ConfigurationSeen(damage=why):
                self._configuration_is(why)
                return cti.Ok()
            case cti.StartAgain():
                log.warning("everything is started again because somebody asked")
                self._start_again()
                return cti.Ok()
        return cti.Failed("The supervisor does not know this request.")

    def _start_again(self) -> None:
        self._again = True
        asyncio.get_running_loop().call_later(TELL_FIRST, self._end.set)

    def status(self) -> cti.Status:
        now = asyncio.get_running_loop().time()
        self._update_alarms()
        processes = [self._view("supervisor", os.getpid(), "running", time.time() - self._started, 0)]
        for process in self.processes.values():
            uptime = now - process.started if process.pid else 0.0
            processes.append(self._view(process.name, process.pid, process.state, uptime, process.restarts))
        return cti.Status(
            version=VERSION,
            started=self._started,
            healthy=all(view.state == "running" for view in processes)
            and not any(a.severity == "error" for a in self._alarms.standing),
            processes=processes,
            counters={**self._counters, "rtp_ports": 2 * self._resources.rtp.pairs, "workers": self._resources.workers},
            alarms=self._alarms.standing,
            datapath=self._core_view.datapath() if self._core_view is not None else "",
            addresses=self.addresses(),
            cipher=self._core_view.cipher()[0] if self._core_view is not None else "",
        )

    def addresses(self) -> dict[str, str]:
        o, host = self._options, self._resources.host
        shown = f"[{host}]" if ":" in host else host
        return {
            "admin": f"https://{shown}:{o.admin_port}/",
            "portal": f"https://{shown}{'' if o.user_port == 443 else f':{o.user_port}'}/",
            "sip": f"{shown}:{o.sip_port} (UDP, TCP)",
            **({"sips": f"{shown}:{o.sips_port} (TLS)"} if self._resources.certificate else {}),
            "rtp": f"{o.rtp_first}-{o.rtp_last} (UDP)",
        }

    def welcome(self) -> Iterator[str]:
        """What the terminal shows once everything runs."""
        addresses = self.addresses()
        yield f"Switchroom {VERSION} runs; its data is in {self._options.data}"
        yield f"  Admin page   {addresses['admin']}"
        if self._resources.set_up:
            yield "  Set up       already; log in with your name and password"
        else:
            asked = (
                "by the admin page before it restores a backup" if self._resources.damage else "once, by the first page"
            )
            yield f"  Setup code   {self._setup_code()}   (asked {asked})"
        if facts := self._resources.certificate:
            yield f"  Certificate  SHA-256 {facts.server_fingerprint}"
        yield f"  Phones       {addresses['sip']}" + (f" · {addresses['sips']}" if "sips" in addresses else "")
        for alarm in self._alarms.standing:
            yield f"  {alarm.severity.capitalize():<12} {told(alarm)}"
        yield "  First call   add two extensions on the admin page, give two phones their SIP user names and passwords,"
        yield "               and dial one from the other; or dial *60 to hear yourself. Ctrl-C ends Switchroom."

    def _setup_code(self) -> str:
        try:
            return self._options.setup_code.read_text()
        except OSError as error:  # just used up, or never written; an alarm says so too
            return f"unknown: {error.strerror}"

    # ---- processes ---------------------------------------------------------------------------------------------------

    async def _create_processes(self) -> None:
        """What phones wait for longest is started first: `calls`, then the core, which needs the certificate; the pages come last."""
        resources = self._resources
        if resources.memory is None:  # without it neither can live; the alarm says why
            log.error("core and calls are not started: there is no shared memory")
            if self._early is not None:
                self._early.drop()
        else:
            environment, fds = resources.boot(CALLS_FDS)
            first = self._early.begin(environment[VARIABLE], fds) if self._early is not None else None
            self._add("calls", "appliance.calls", environment, fds, first=first)
            self.processes["calls"].start()
            await asyncio.sleep(0)  # from here on it loads beside us
        resources.certify()
        if resources.memory is not None:
            spare, _ = resources.core(go=STDIN)
            self._add("core", "media_core", *resources.core(), spare=spare, steady=CORE_STEADY, nice=SOUND_FIRST)
            self.processes["core"].start()
        self._add("web", "webui", *resources.boot(WEB_FDS), nice=PAGES_STAND_BACK)
        self.processes = {name: self.processes[name] for name in ORDER if name in self.processes}

    def _add(self, name: str, module: str, environment: dict[str, str], fds: list[int], **options: Any) -> None:
        self.processes[name] = Process(name, module, environment, fds, **options)
        self._misses[name] = 0

    async def _start_pages(self) -> None:
        """Once phones are served and somebody could see a page, or that has been waited for long enough; at once when there is a long wait
        to be explained."""
        loop = asyncio.get_running_loop()
        until = loop.time() + PAGES_WAIT
        calls, core = self.processes.get("calls"), self.processes.get("core")
        while loop.time() < until and self._opening.report is None and calls is not None and not calls.deaths:
            if all(process.state == "running" for process in (calls, core) if process is not None):
                break
            await asyncio.sleep(0.1)
            self._opening.look(loop.time())
        await self._look_at_configuration()
        until = loop.time() + ADDRESS_WAIT
        while loop.time() < until and self._opening.report is None and not listeners.reachable(self._options.host):
            await asyncio.sleep(0.1)  # the processor is the network's; pages that come now would start again for the address
        if core is not None:
            core.stand_by()
        try:
            await self._follow_address()
        except Exception:  # the pages are needed all the more; it is tried again
            log.exception("following the address failed")
        self.processes["web"].start()

    async def _look_at_configuration(self) -> None:
        """`calls` has read it, and told whether the box is set up. Where it does not run, because it could not be read or for another
        reason, it is read here."""
        calls = self.processes.get("calls")
        if calls is None or calls.state != "running":
            self._resources.look_at_configuration()
        self._resources.guard_setup()
        if self._resources.damage:
            await self._leave_out_calls()
        self._looked = True

    async def _leave_out_calls(self) -> None:
        if (calls := self.processes.get("calls")) is not None:
            log.error("calls does not run: it would be without a configuration")
            self.processes = {name: process for name, process in self.processes.items() if process is not calls}
            calls.stop()
            await _wait([calls], PATIENCE)

    async def _look_for_damage(self) -> None:
        """The configuration may be lost while everything runs. `calls` goes on with what it has read, so it is left out only when it has died."""
        if self._looked and (news := self._file.look()) is not None:
            self._configuration_is(news)
        calls = self.processes.get("calls")
        if self._resources.damage and calls is not None and calls.state == "backing off":
            await self._leave_out_calls()

    def _configuration_is(self, damage: str) -> None:
        """The pages start again when that is news: they offer the restore of a backup, or are the usual ones."""
        before, self._resources.damage = self._resources.damage, damage
        if bool(damage) == bool(before):
            return
        log.error("the configuration %s", f"cannot be read any more: {damage}" if damage else "can be read again")
        self._resources.guard_setup()
        if not damage and "calls" not in self.processes:
            self._start_again()
        elif "web" in self.processes:
            self.processes["web"].restart()

    async def _follow_address(self) -> None:
        """This machine got another address: `calls` is told, and the pages start again. Calls go on."""
        if self._resources.moved():
            log.warning("the address is %s now", self._resources.host)
            self._calls_know_address = False
            for name, fds in (("calls", CALLS_FDS), ("web", WEB_FDS)):
                if name in self.processes:
                    self.processes[name].renew(self._resources.boot(fds)[0])
            self.processes["web"].restart()
        if not self._calls_know_address:
            with contextlib.suppress(cti.Unavailable):  # it is asked again
                told = cti.Moved(self._resources.host)
                reply = await cti.ask(str(self._options.run / "calls.sock"), told, health.PING_TIMEOUT)
                self._calls_know_address = isinstance(reply, cti.Ok)

    def _asked_to_end(self) -> None:
        self._again = False
        if self._end.is_set():
            for process in self.processes.values():
                process.signal(signal.SIGKILL)
        self._end.set()

    async def _shut_down(self) -> None:
        core = self.processes.get("core")
        others = [process for process in self.processes.values() if process is not core]
        begun = asyncio.get_running_loop().time()
        for process in others:
            process.stop()
        await _wait(others, CALLS_FIRST)
        self._resources.stopper.close()
        if core:
            core.stop()
        everything = list(self.processes.values())
        await _wait(everything, PATIENCE - (asyncio.get_running_loop().time() - begun))
        for process in everything:
            process.signal(signal.SIGKILL)
        await _wait(everything, 0.5)

    # ---- watching ----------------------------------------------------------------------------------------------------

    async def _until_up(self) -> None:
        """Every process answers, or has been given the time to; or we are to end."""
        loop = asyncio.get_running_loop()
        until = loop.time() + UP_LIMIT
        while not self._end.is_set():
            late = loop.time() > until
            if self._looked and (late or all(process.state == "running" for process in self.processes.values())):
                break
            for name in self.processes:
                await self._ping(name)
            await asyncio.sleep(0.1)
        self._update_alarms()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(PING_EVERY)
            try:
                await asyncio.gather(*(self._ping(name) for name in self.processes), self._ask_what_was_noticed())
                await self._follow_address()
                steady = all(process.state == "running" for process in self.processes.values())
                self._renewal.look(time.time(), asyncio.get_running_loop().time() - self._begun, steady)
                await self._look_for_damage()
                self._update_alarms()
            except Exception:  # a fault of the watcher must not end the watching
                log.exception("watching failed")

    async def _ping(self, name: str) -> None:
        """Ask one process whether it is awake; kill it when it has not been for too long."""
        process = self.processes.get(name)
        if process is None:
            return
        if process.state not in ("starting", "running"):
            self._misses[name] = 0
            return
        pid = process.pid
        if await self._answers(name):
            self._misses[name] = 0
            if process.pid == pid:
                process.ready()
            return
        if process.pid != pid or process.state not in ("starting", "running"):
            return  # it died meanwhile: that is seen elsewhere
        self._misses[name] += 1
        now = asyncio.get_running_loop().time()
        self._opening.look(now)
        late = now - process.started > START_LIMIT and self._opening.report is None
        if self._misses[name] >= MISSES and (process.state == "running" or late):
            log.error("%s (pid %d) does not answer; it is killed and started again", name, pid)
            self._misses[name] = 0
            process.restart(kill=True)

    async def _answers(self, name: str) -> bool:
        asked: dict[str, Callable[[], Awaitable[bool]]] = {
            "core": self._core_alive,
            "calls": self._ask_counters,
            "web": self._web_alive,
        }
        return await asked[name]()

    async def _core_alive(self) -> bool:
        return heartbeat.begun(self.processes["core"].pid, self._beat())  # whether it still beats: _watch_core

    async def _web_alive(self) -> bool:
        """Asked on its control socket: its ports may be full of strangers, and killing it would help them."""
        try:
            return isinstance(
                await cti.ask(str(self._options.run / "web.sock"), cti.Ping(), health.PING_TIMEOUT), cti.Ok
            )
        except cti.Unavailable:
            return False

    def _beat(self) -> heartbeat.Beat:
        return self._core_view.heartbeat() if self._core_view is not None else (0, None)

    async def _watch_core(self) -> None:
        """A core whose threads stand still is killed; the spare takes the calls over."""
        core, heart, loop = self.processes.get("core"), heartbeat.Heart(), asyncio.get_running_loop()
        while core is not None:
            if heart.hangs(loop.time(), core.pid, self._beat()):
                log.error("core (pid %d) stands still; it is killed and another one takes over", core.pid)
                core.restart(kill=True)
            await asyncio.sleep(heartbeat.LOOK_EVERY)

    async def _ask_counters(self) -> bool:
        """Fetch the counters of `calls`; empty when it does not answer."""
        reply: cti.Message | None = None
        with contextlib.suppress(cti.Unavailable):
            reply = await cti.ask(str(self._options.run / "calls.sock"), cti.GetCounters(), health.PING_TIMEOUT)
        if not isinstance(reply, cti.Counters):
            self._counters = {}
            return False
        self._counters, self._resources.set_up = dict(reply.counters), reply.set_up
        return True

    async def _ask_what_was_noticed(self) -> None:
        """What `calls` has noticed of packets that are not genuine, and of faults; as it was when it does not answer."""
        with contextlib.suppress(cti.Unavailable):
            reply = await cti.ask(str(self._options.run / "calls.sock"), cti.GetSecurityEvents(), health.PING_TIMEOUT)
            self._noticed = reply if isinstance(reply, cti.SecurityEvents) else cti.SecurityEvents([], [])

    def _update_alarms(self) -> None:
        resources, now = self._resources, asyncio.get_running_loop().time()
        cipher, agrees = self._core_view.cipher() if self._core_view is not None else ("", True)
        facts = Facts(
            processes={
                process.name: ProcessFacts(
                    process.state,
                    sum(now - death < RECENT for death in process.deaths),
                    sum(now - hang < RECENT for hang in process.hangs),
                )
                for process in self.processes.values()
                if process.started  # pages that still wait are no fault
            },
            failed_parts=resources.failed,
            damage=resources.damage,
            records_lost=bool(self._counters.get("records_begun_anew")),
            disk_free=health.disk_free(self._options.data),
            certificate_ends=resources.certificate.valid_until if resources.certificate else None,
            rtp_pairs=resources.rtp.pairs,
            rtp_wanted=resources.rtp.wanted,
            rtp_limited_by=resources.rtp.limited_by or "",
            events_lost=self._counters.get("events_lost", 0),
            hostile_media={
                f"{event.kind} {event.source} {event.account}": event.message
                for event in self._noticed.events
                if event.kind in ("forged media", "mixed media") and time.time() - event.time < RECENT
            },
            faults=[fault.message for fault in self._noticed.faults if time.time() - fault.time < RECENT],
            partitions=health.partitions(),
            stays_root=self._options.stays_root,
            reserve=health.keep_room(self._options.data),
            media_free=health.disk_free(health.MEDIA),
            cipher_differs="" if agrees else cipher,
        )
        begun, ended = self._alarms.update(facts, time.time())
        for alarm in begun:
            log.warning("alarm: %s", told(alarm))
        for alarm in ended:
            log.info("alarm is over: %s", told(alarm))

    async def _keep_systemd(self) -> None:
        interval = health.watchdog_interval()
        while interval:
            health.notify_systemd("WATCHDOG=1")
            await asyncio.sleep(interval)

    @staticmethod
    def _view(name: str, pid: int, state: str, uptime: float, restarts: int) -> cti.ProcessView:
        return cti.ProcessView(
            name=name,
            pid=pid,
            state=state,
            uptime=uptime,
            restarts=restarts,
            memory=health.memory_of(pid) if pid else 0,
            files=health.files_of(pid) if pid else 0,
        )


async def _wait(processes: list[Process], seconds: float) -> None:
    if processes:
        await asyncio.wait([asyncio.ensure_future(process.ended()) for process in processes], timeout=max(0.0, seconds))


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """What ps and "port taken by …" show for this process."""
    before = (file := Path("/proc/self/comm")).read_text().strip()
    file.write_text(name)
    yield
    file.write_text(before)
