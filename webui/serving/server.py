"""HTTPS for each port: HTTP/1.1 and 2 on its inherited TCP socket, HTTP/3 on its inherited UDP socket, announced by alt-svc.

The protocols are hypercorn's; `connections.py` bounds who may speak them, `lanes.py` what reaches Flask. Flask runs behind a2wsgi, because hypercorn's own
WSGI bridge answers 500 to 204, 304 and HEAD. One worker: the state of QUIC connections is per process.
`/events` goes past Flask. `run` returns within `GRACE` seconds of its stop event, whatever browsers do.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from wsgiref.types import WSGIApplication

from flask import Flask
from hypercorn.config import Config

from webui import devices
from webui.api import stream
from webui.api.callers import key_in
from webui.api.everything import BASE
from webui.desk import Desk
from webui.events import Hub, serve_events
from webui.login.sessions import COOKIE, PORTAL_COOKIE
from webui.serving.asgi import Application, Receive, Scope, Send, cookies
from webui.serving.connections import Site, serve
from webui.serving.lanes import Lanes, admitted, patient
from webui.serving.limits import Gate

log = logging.getLogger(__name__)
GRACE = 0.7


def combine(pages: Flask, desk: Desk, hub: Hub) -> Application:
    """The ASGI application: events beside the pages and the API."""
    flask = Lanes(pages, lambda scope: is_known(desk, scope))

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(hub, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        elif scope["path"] == "/events":
            await serve_events(desk, hub, scope, receive, patient(send, admitted(scope)[1]))
        elif scope["path"] == BASE + stream.PATH:
            api, lasting = pages.extensions["api"], patient(send, admitted(scope)[1])
            await stream.serve_stream(api, desk, hub, scope, receive, lasting)
        else:
            await flask(scope, receive, send)

    return application


def is_known(desk: Desk, scope: Scope, *, portal: bool = False) -> bool:
    """Does this request come from somebody who has logged in, here or in this browser before, or has entered the setup code?"""
    for name, value in scope["headers"]:
        if name == b"authorization":
            return key_in(value.decode("latin1"), desk) is not None
    brought = cookies(scope)
    stored = desk.sessions.find(brought.get(PORTAL_COOKIE if portal else COOKIE, ""), desk.now(), portal=portal)
    if stored and (stored.user in desk.admin.snapshot.users or "setup" in stored.contents):
        return True
    return devices.user_of(desk, brought.get(devices.COOKIE, "")) is not None


def portal(pages: WSGIApplication, desk: Desk) -> Application:
    """The ASGI application of the user port: it has no events and no life of its own."""
    return Lanes(pages, lambda scope: is_known(desk, scope, portal=True))


async def _live(hub: Hub, receive: Receive, send: Send) -> None:
    await receive()
    hub.start()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await hub.stop()
    await send({"type": "lifespan.shutdown.complete"})


def configure(*, tcp: int, udp: int | None, certificate: Path, key: Path) -> Config:
    """tcp, udp: inherited file descriptors, bound; tcp need not listen yet."""
    config = Config()
    config.bind = [f"fd://{tcp}"]
    config.quic_bind = [f"fd://{udp}"] if udp is not None else []
    config.certfile, config.keyfile = str(certificate), str(key)
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("webui.http")
    config.loglevel = "WARNING"
    config.backlog = 256
    config.keep_alive_timeout = 30.0
    config.ssl_handshake_timeout = 10.0
    config.graceful_timeout = 0.3
    config.shutdown_timeout = 0.5
    config.h2_max_concurrent_streams = 100
    config.h2_max_header_list_size = 1 << 15
    config.websocket_max_message_size = 1 << 16
    return config


async def run(
    sites: Sequence[tuple[Application, Config]],
    stop: asyncio.Event,
    closing: Callable[[], Awaitable[None]] | None = None,
    renewed: int | None = None,
) -> None:
    """Serve every site until stop is set, or one of them has failed. closing: what must end before connections can (open event streams).
    renewed: eventfd; the files of the certificate have changed, and handshakes from now on show the new one."""

    async def wait_for_stop() -> None:
        await stop.wait()
        if closing is not None:
            await closing()

    gate = Gate()
    opened = [Site(application, config, gate) for application, config in sites]

    def renew(eventfd: int) -> None:
        os.eventfd_read(eventfd)
        try:
            for site in opened:
                site.renew()
        except (OSError, ValueError) as error:  # the pages go on with the one before
            log.error("the renewed certificate cannot be used: %s", error)

    if renewed is not None:
        asyncio.get_running_loop().add_reader(renewed, renew, renewed)
    served = {asyncio.create_task(serve(site, wait_for_stop)) for site in opened}
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({*served, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if renewed is not None:
        asyncio.get_running_loop().remove_reader(renewed)
    stopped.cancel()
    stop.set()
    done, late = await asyncio.wait(served, timeout=GRACE)
    if late:
        log.info("connections were still open at the end")
        for task in late:
            task.cancel()
        await asyncio.wait(late, timeout=0.1)
    for error in filter(None, (task.exception() for task in done)):
        raise error
