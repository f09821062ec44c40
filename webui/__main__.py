"""`python -m webui`: the web process, started by the supervisor with the boot record and the listening sockets.

Ends in under a second on SIGTERM or SIGINT. A configuration that cannot be read leaves one page: the restore of a backup, for who has the setup code. A save tells `calls` at once; when `calls` is away, it loads the newest configuration as it comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop
from hypercorn.config import Config

from appliance import cti
from appliance.calls.history.records import CallRecords
from appliance.config.admin import Admin
from appliance.config.store import Store
from appliance.host import certificates, entitlement, setup_code
from appliance.host.boot import Boot, read_boot
from appliance.storage.database import StorageDamaged
from webui.app import create_app
from webui.desk import Desk, Service
from webui.events import Hub
from webui.login.sessions import Sessions
from webui.portal import create_portal
from webui.serving import server
from webui.serving.asgi import Application
from webui.serving.starting import Starting
from webui.work import nightly

log = logging.getLogger("webui")


class ControlSockets:
    """The running box, asked through the control sockets in its run folder. One short connection per request."""

    def __init__(self, run: Path) -> None:
        self._run = run

    def _path(self, service: Service) -> str:
        return str(self._run / f"{service}.sock")

    def ask(self, service: Service, request: cti.Message) -> cti.Message:
        with cti.Client(self._path(service), seconds=3.0) as client:
            reply = client.ask(request)
        if isinstance(reply, cti.Failed):
            raise cti.Unavailable(reply.message)
        return reply

    def events(self, service: Service) -> AsyncIterator[cti.Message]:
        return cti.events(self._path(service))

    def applied(self, revision: int) -> None:
        try:
            self.ask("calls", cti.Applied(revision))
        except cti.Unavailable as problem:
            log.info("revision %d is not announced: %s", revision, problem)


def make_desk(boot: Boot, box: ControlSockets) -> Desk:
    """On the stored configuration; on an empty one beside it when that is damaged."""
    data, run = Path(boot.data), Path(boot.run)
    folder, damage = run / "empty", ""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        store = Store(data)
        try:
            admin = entitlement.use_cases(store, data, box.applied)
        except BaseException:
            store.close()
            raise
        folder = data
    except StorageDamaged as error:
        log.error("only a restore is offered, for the configuration cannot be read: %s", error)
        damage, admin = str(error), Admin(Store(folder))
        setup_code.keep(run / "setup-code")
    with contextlib.suppress(cti.Unavailable):
        box.ask("supervisor", cti.ConfigurationSeen(damage))
    return Desk(
        admin=admin,
        damage=damage,
        box_id=entitlement.box_id(data),
        box=box,
        history=CallRecords(folder),
        sessions=Sessions(run / "web-sessions.db"),
        boot=boot,
        now=time.time,
        certificate=lambda: certificates.facts(data),
    )


async def run(boot: Boot) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    box = ControlSockets(Path(boot.run))
    hub = Hub(box.events)

    def open_pages() -> tuple[Application, Application]:
        desk = make_desk(boot, box)
        if not desk.damage:
            nightly.watch(desk)
        return server.combine(create_app(desk), desk, hub), server.portal(create_portal(desk), desk)

    pages = Starting(Path(boot.data), open_pages, hub.start, stop.set)
    files = certificates.ensure(Path(boot.data), boot.host)

    def on(port: str) -> Config:
        return server.configure(
            tcp=boot.fds[f"{port}_tcp"], udp=boot.fds.get(f"{port}_udp"), certificate=files.chain, key=files.key
        )

    log.info("the admin page listens on port %d, the page for everybody on port %d", boot.admin_port, boot.user_port)
    health = cti.Server(str(Path(boot.run) / "web.sock"), _alive)
    await health.start()
    await server.run([(pages, on("admin")), (pages.portal, on("user"))], stop, hub.stop, boot.fds.get("renewed"))
    await health.close()
    pages.raise_fault()


async def _alive(message: cti.Message, _: cti.Connection) -> cti.Message:
    """For the supervisor, on a way that strangers cannot fill: the process works through its events."""
    return cti.Ok() if isinstance(message, cti.Ping) else cti.Failed("The pages answer nothing else.")


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("webui.http").setLevel(logging.WARNING)
    try:
        boot = read_boot()
    except KeyError:
        raise SystemExit("The web process is started by `switchroom run`.") from None
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(boot))
        logging.shutdown()
        os._exit(0)  # a page that is still being drawn must not hold the end up; every save is a transaction


if __name__ == "__main__":
    main()
