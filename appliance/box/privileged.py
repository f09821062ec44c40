"""`switchroom helper`: the few things the admin page needs root for, over a local socket that only the telephone system may open.

A request is one line of JSON, `{"do": VERB, …}`; for `update` the bundle follows until the end of the stream. Answers are lines of
JSON; the last one has `ok` or `failed`. One update at a time. Its progress also lies in a file, for the console and for pages that are
opened meanwhile. A restart waits, when asked, until no call is up or until an hour of the day; what was asked lies in a file as well.

systemd starts it at the first request; with nothing to do and nothing to wait for it ends again and takes no memory.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from appliance import cti
from appliance.box import examine, system, update
from appliance.box.system import CannotDo
from appliance.box.update import BadUpdate
from appliance.version import VERSION
from appliance.words import Said

FIRST = 3  # the socket systemd hands over
PROGRESS = Path("/run/switchroom-box/progress.json")
LONGEST_LINE = 65536
HOUR = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
LOOK_EVERY = 2.0  # seconds between two looks whether a restart that waits may come
MOMENT = 4.0  # seconds a restart "now" leaves the page to say so
IDLE = 60.0  # seconds without a request after which the helper ends

Answer = Callable[[dict[str, Any]], None]


class Helper:
    """What is asked for, done. `progress` is called with what the page and the console show."""

    def __init__(self, data: Path = system.DATA, progress: Path = PROGRESS) -> None:
        self._data = data
        self._progress = progress
        self._updating = threading.Lock()
        self._restart_file = progress.with_name("restart")
        self._asked_at = self._last = time.monotonic()
        self._open = 0  # requests being answered

    @property
    def _restart(self) -> str:
        """now, idle or HH:MM; "" none asked for."""
        with contextlib.suppress(OSError):
            return self._restart_file.read_text()
        return ""

    def handle(self, stream: IO[bytes], answer: Answer) -> None:
        self._open += 1
        try:
            request = json.loads(stream.readline(LONGEST_LINE))
            verb = getattr(self, "_do_" + str(request.get("do")).replace("-", "_"), None)
            if verb is None:
                raise CannotDo(Said("box.unknown-request"))
            answer({"ok": verb(request, stream, answer)})
        except (CannotDo, BadUpdate) as error:
            answer({"failed": msgspec.to_builtins(error.said)})
        except (ValueError, AttributeError, RecursionError) as error:
            answer({"failed": msgspec.to_builtins(Said.of("box.unreadable-request", error=str(error)))})
        except OSError as error:
            answer({"failed": msgspec.to_builtins(Said.of("box.did-not-work", error=str(error.strerror)))})
        finally:
            self._open -= 1
            self._last = time.monotonic()

    # ---- the verbs
    def _do_status(self, request: dict[str, Any], stream: IO[bytes], answer: Answer) -> dict[str, Any]:
        trial = system.last_trial()
        kernels = [
            {"version": kernel.version, "running": kernel.running, "left": kernel.left} for kernel in system.kernels()
        ]
        return {
            "version": VERSION,
            "slot": system.slot(),
            "trial": system.on_trial(),
            "kernels": kernels,
            "failed": msgspec.to_builtins(trial),
            "restart": self._restart,
            "clock": f"{datetime.datetime.now().astimezone():%H:%M}",
            "progress": self.progress(),
        }

    def _do_update(self, request: dict[str, Any], stream: IO[bytes], answer: Answer) -> str:
        if not self._updating.acquire(blocking=False):
            raise CannotDo(Said("box.installing"))
        try:
            self._say("reading", 0, 0)
            last = ("", 0.0)

            def progress(what: str, done: int, total: int) -> None:
                nonlocal last
                if what != last[0] or time.monotonic() - last[1] > 0.5 or done == total:
                    last = (what, time.monotonic())
                    self._say(what, done, total)
                    answer({"what": what, "done": done, "total": total})

            with system.writable_esp():
                manifest = update.install(stream, system.this_box(), progress)
            system.TRIAL_FILE.unlink(missing_ok=True)  # what it says is about a version that is gone
            examine.remember(manifest)
            self._say("installed", 1, 1, manifest.version)
            return manifest.version
        except (BadUpdate, CannotDo) as error:
            self._say("refused", 0, 0, error=error.said)
            raise
        finally:
            self._updating.release()

    def _do_restart(self, request: dict[str, Any], stream: IO[bytes], answer: Answer) -> str:
        when = str(request.get("when", ""))
        if when not in ("now", "idle", "") and not HOUR.fullmatch(when):
            raise CannotDo(Said("box.no-hour"))
        if self._updating.locked():
            raise CannotDo(Said("box.installing-restart"))
        if when:
            self._progress.parent.mkdir(mode=0o755, exist_ok=True)
            self._restart_file.write_text(when)
        else:
            self._restart_file.unlink(missing_ok=True)
        self._asked_at = time.monotonic()
        return when

    def _do_support(self, request: dict[str, Any], stream: IO[bytes], answer: Answer) -> str:
        from appliance.upkeep import support  # it opens the databases, which nothing else here does

        file = support.write(self._data, support.BOX)
        owner = self._data.stat()
        for path in (file.parent, file):
            os.chown(path, owner.st_uid, owner.st_gid)
        return str(file)

    def _do_factory_reset(self, request: dict[str, Any], stream: IO[bytes], answer: Answer) -> str:
        if request.get("sure") != "factory reset":
            raise CannotDo(Said("box.unchanged"))
        if self._updating.locked():
            raise CannotDo(Said("box.installing-reset"))
        system.ask_factory_reset(bool(request.get("keep_network")), bool(request.get("erase_media")))
        return self._do_restart({"when": "now"}, stream, answer)  # not before the page has said so

    def _do_renew_state(self, request: dict[str, Any], stream: IO[bytes], answer: Answer) -> str:
        if request.get("sure") != "erase":
            raise CannotDo(Said("box.unchanged"))
        system.renew_state()
        return "made anew"

    # ---- progress and waiting
    def progress(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads(self._progress.read_text()))
        return {}

    def _say(self, what: str, done: int, total: int, version: str = "", error: Said | None = None) -> None:
        self._progress.parent.mkdir(mode=0o755, exist_ok=True)
        temporary = self._progress.with_suffix(".tmp")
        temporary.write_text(
            json.dumps(
                {"what": what, "done": done, "total": total, "version": version, "error": msgspec.to_builtins(error)}
            )
        )
        temporary.rename(self._progress)

    def restart_when_due(self, now: datetime.datetime, calls: int | None) -> bool:
        """Whether the restart that was asked for comes now. `calls` is None when nobody knows."""
        when = self._restart
        if when == "now":
            return time.monotonic() - self._asked_at > MOMENT
        if when == "idle":
            return calls == 0
        return bool(when) and when == f"{now:%H:%M}"

    def watch(self, idle: float = IDLE) -> None:
        """Restarts the box when that is due; returns when there is nothing to do any more."""
        while self._restart or self._open or time.monotonic() - self._last < idle:
            time.sleep(LOOK_EVERY)
            if self._restart and self.restart_when_due(datetime.datetime.now().astimezone(), self._calls()):
                self._restart_file.unlink(missing_ok=True)
                with contextlib.suppress(CannotDo):
                    system.reboot()

    def _calls(self) -> int | None:
        with contextlib.suppress(cti.Unavailable, OSError), cti.Client(str(self._data / "run/calls.sock")) as client:
            reply = client.ask(cti.GetCounters())
            if isinstance(reply, cti.Counters):
                return reply.counters.get("calls", 0)
        return None


def serve() -> None:
    """On the socket systemd hands over, until there is nothing to do: a request that comes while this ends starts the next one."""
    helper = Helper()

    class Request(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            def answer(row: dict[str, Any]) -> None:
                with contextlib.suppress(OSError):  # who asked is gone; the update goes on
                    self.wfile.write(json.dumps(row).encode() + b"\n")

            helper.handle(cast(IO[bytes], self.rfile), answer)

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = False  # the end waits for what is being answered

        def __init__(self) -> None:
            super().__init__("", Request, bind_and_activate=False)
            self.socket.close()
            self.socket = socket.socket(fileno=FIRST)

    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        helper.watch()
        server.shutdown()
