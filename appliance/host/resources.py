"""What outlives every process: the data directory and its lock, keys, setup code, sockets, shared memory, journal.

Made once by the supervisor, after a backup that waits has been put in place, in the order below and handed down as inherited descriptors, so that a restart of any process loses none of
it; under systemd copies lie in its descriptor store (fdstore.py), so that a restart of the supervisor loses none either. A port that is taken or a data directory in use ends the start (`CannotStart`, a sentence) and leaves nothing behind; a part that
fails otherwise (certificate, shared memory) is noted in `failed` and the others start without it.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.host import fdstore, health, listeners, privileges, setup_code
from appliance.host.boot import VARIABLE, Boot
from media_core.receiver import open_receivers

if TYPE_CHECKING:
    from appliance.host import certificates
    from media_core import CoreView

CORE_VARIABLE = "SWITCHROOM_CORE"  # documented in media_core/__main__.py
SOCKET_PATH_LIMIT = 107  # sun_path, unix(7)
USUAL_WORKERS = 2  # of the media core, where there are as many processor cores: one carries a gigabit of calls

log = logging.getLogger("supervisor")


class CannotStart(Exception):
    """The sentence says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `switchroom run` was told."""

    data: Path = Path("var")
    host: str = "127.0.0.1"
    sip_port: int = 15060
    sips_port: int = 15061
    user_port: int = 14443
    admin_port: int = 14021
    rtp_first: int = 20000
    rtp_last: int = 29999
    calls: int = 500  # at a time; what each takes follows
    datapath: str = "auto"
    workers: int | None = None  # of the media core; None: one per processor core, at most USUAL_WORKERS
    stays_root: str = ""  # why everything runs as root

    @property
    def legs(self) -> int:
        """Media legs: two a call, and half a one more for phones that ring beside each other."""
        return 2 * self.calls + self.calls // 2

    @property
    def run(self) -> Path:
        return self.data / "run"

    @property
    def setup_code(self) -> Path:
        return self.run / "setup-code"


@dataclass(slots=True, kw_only=True)
class Resources:
    """All of it. Attributes that may be missing say so; `failed` has the reason."""

    options: Options
    host: str  # the address phones are told
    sockets: dict[str, socket.socket]  # sip_udp, sip_tcp, sips, admin_tcp, admin_udp, user_tcp, user_udp
    workers: int
    rtp: listeners.Rtp
    receivers: list[socket.socket]  # hear the RTP range for the workers, where that is allowed
    journal: int
    core_wake: int
    calls_wake: int
    stop: int  # reading end of a pipe: the core ends when `stopper`, the writing end, is closed
    stopper: io.FileIO
    renewed: dict[str, int]  # eventfds of who shows certificates, core and web: they have changed
    memory: int | None = None
    tls: certificates.Files | None = None
    certificate: certificates.Facts | None = None
    failed: dict[str, str] = field(default_factory=dict)
    set_up: bool = False  # there is an administrator; otherwise the first-run wizard asks for the code
    damage: str = (
        ""  # why the configuration cannot be read: nothing may run on it, and the page offers the restore of a backup
    )

    def boot(self, names: tuple[str, ...]) -> tuple[dict[str, str], list[int]]:
        """Environment and descriptors of `calls` or `web`."""
        available: dict[str, int | None] = {
            "memory": self.memory,
            "core_wake": self.core_wake,
            "calls_wake": self.calls_wake,
            "journal": self.journal,
            "renewed": self.renewed["web"],
            **{name: bound.fileno() for name, bound in self.sockets.items()},
        }
        fds = {name: fd for name in names if (fd := available[name]) is not None}
        o = self.options
        boot = Boot(
            data=str(o.data),
            run=str(o.run),
            host=self.host,
            sip_port=o.sip_port,
            sips_port=o.sips_port,
            user_port=o.user_port,
            admin_port=o.admin_port,
            rtp_first=o.rtp_first,
            rtp_last=o.rtp_last,
            calls=o.calls,
            fds=fds,
        )
        return boot.environment(), list(fds.values())

    def moved(self) -> bool:
        """Whether this machine has another address than when it was looked at last; then the certificate names it too."""
        host = listeners.advertised(self.options.host)
        if host == self.host:
            return False
        self.host = host
        self.certify()
        return True

    def look_at_configuration(self) -> None:
        """Whether it can be read, and whether the box is set up. Loads what nothing else here needs: for when `calls` cannot tell."""
        _part(self, "configuration", lambda: _configuration(self))

    def guard_setup(self) -> None:
        """A code for the first-run wizard until that has been gone through, or until a backup is restored."""
        file, unwanted = self.options.setup_code, self.set_up and not self.damage
        _part(self, "setup code", lambda: file.unlink(missing_ok=True) if unwanted else setup_code.keep(file))

    def certify(self) -> None:
        """Certificates for this address and time; who shows them is told when they are others than before."""
        before = self.certificate
        self.failed.pop("certificate", None)
        _part(self, "certificate", lambda: _certificate(self))
        if before is not None and self.certificate != before:
            for fd in self.renewed.values():
                os.eventfd_write(fd, 1)

    def core_view(self) -> CoreView | None:
        """The supervisor's view of the core; None without shared memory."""
        if self.memory is None:  # perhaps because media_core cannot be loaded
            return None
        from media_core import CoreView

        return CoreView(self.memory)

    def core(self, go: int | None = None) -> tuple[dict[str, str], list[int]]:
        """Environment and descriptors of the core, with `go` of one that stands by (format: media_core/__main__.py)."""
        kinds = {"sip_udp": "udp", "sip_tcp": "tcp", **({"sips": "tls"} if self.tls else {})}
        sip = [{"fd": self.sockets[name].fileno(), "transport": kind} for name, kind in kinds.items()]
        rtp = [bound.fileno() for bound in self.rtp.sockets]
        fds = {
            "memory": self.memory,
            "core_wake": self.core_wake,
            "calls_wake": self.calls_wake,
            "stop": self.stop,
            "renewed": self.renewed["core"],
        }
        files = self.tls
        tls = None
        if files:
            tls = {
                "certificate": str(files.chain),
                "key": str(files.key),
                "ticket_keys": files.ticket_keys.hex(),
                "rsa_certificate": str(files.rsa_chain),
                "rsa_key": str(files.rsa_key),
            }
        raw = [receiver.fileno() for receiver in self.receivers]
        record = {**fds, "sip": sip, "tls": tls, "rtp": _runs(rtp), "raw": raw, "datapath": self.options.datapath}
        if go is not None:
            record["go"] = go
        environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
        inherited = (
            [fd for fd in fds.values() if fd is not None] + [self.sockets[name].fileno() for name in kinds] + rtp + raw
        )
        return {**environment, CORE_VARIABLE: json.dumps(record)}, inherited


@contextlib.contextmanager
def acquire(options: Options) -> Iterator[Resources]:
    """Make everything; undone on the way out (data stays)."""
    with contextlib.ExitStack() as undo:
        _data_directory(options)
        undo.enter_context(lock(options.run / "lock"))
        _restore(options.data)
        kept = _kept(options)
        workers = _workers(options, kept)
        with privileges.root():
            sockets = _sockets(options, undo, kept)
            rtp = _rtp(options, kept)
            receivers = open_receivers(options.host, [_port(bound) for bound in rtp.sockets[::2]], workers)
        privileges.settle()
        for bound in (*rtp.sockets, *receivers):
            undo.callback(bound.close)
        descriptors = _shared(kept)
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        renewed = {name: os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for name in ("core", "web")}
        for fd in (*descriptors, reading, *renewed.values()):
            undo.callback(os.close, fd)
        resources = Resources(
            options=options,
            host=listeners.advertised(options.host),
            sockets=sockets,
            workers=workers,
            rtp=rtp,
            receivers=receivers,
            journal=descriptors[0],
            core_wake=descriptors[1],
            calls_wake=descriptors[2],
            stop=reading,
            stopper=undo.enter_context(io.FileIO(writing, "w")),
            renewed=renewed,
            memory=kept["memory"][0] if "memory" in kept else None,
        )
        _part(resources, "shared memory", lambda: _memory(resources, undo))
        _keep(resources, "rtp" in kept)
        yield resources


SHARED = ("journal", "core_wake", "calls_wake", "memory")


def _kept(options: Options) -> dict[str, list[int]]:
    """What systemd kept for us, when it is whole and still what the options want; otherwise only the journal: the memory and the sockets
    are one, and half of them would be none."""
    kept = fdstore.adopt()
    if parcels := kept.get("rtp"):
        kept["rtp"] = fdstore.unpack(parcels)
        for parcel in parcels:
            os.close(parcel)
    whole = all(len(kept.get(name, ())) == 1 for name in SHARED) and len(kept.get("rtp", ())) == 2 * options.legs
    if not kept or (whole and _fits(kept["memory"][0])):
        return kept
    log.warning("what was kept from before the restart is not whole or of another version; its calls end")
    fdstore.forget(kept)
    journal = kept.pop("journal", [])  # says whom to tell, and what to write down (calls/survival)
    for fd in (fd for fds in kept.values() for fd in fds):
        os.close(fd)
    return {"journal": journal} if len(journal) == 1 else {}


def _keep(resources: Resources, kept: bool) -> None:
    """Leave everything a call needs with systemd, if it is there. `kept`: it has been adopted from there."""
    if resources.memory is None:
        return
    shared = (resources.journal, resources.core_wake, resources.calls_wake, resources.memory)
    for name, fd in zip(SHARED, shared, strict=True):
        fdstore.keep(name, [fd])
    for name, bound in resources.sockets.items():
        fdstore.keep(name, [bound.fileno()])
    if not kept:  # what was adopted is in its parcel still
        fdstore.keep_parcels("rtp", [bound.fileno() for bound in resources.rtp.sockets])


def _fits(memory: int) -> bool:
    """Whether this version lays the shared memory out as the one that made it did."""
    from media_core import CoreView

    try:
        CoreView(memory)
    except ValueError:
        return False
    return True


def _workers(options: Options, kept: dict[str, list[int]]) -> int:
    """Those of a memory that was kept are as they were: its legs are dealt out to them."""
    if "memory" in kept:
        from media_core import CoreView

        return CoreView(kept["memory"][0]).workers()
    return options.workers or min(USUAL_WORKERS, len(os.sched_getaffinity(0)))


def _port(bound: socket.socket) -> int:
    return int(bound.getsockname()[1])


def _rtp(options: Options, kept: dict[str, list[int]]) -> listeners.Rtp:
    """In the order of ports, RTP and its RTCP in turn."""
    if "rtp" in kept:
        adopted = [socket.socket(fileno=fd) for fd in kept["rtp"]]
        for bound in adopted:
            bound.setblocking(False)
        rtp = listeners.Rtp(adopted, options.legs, None)
    else:
        rtp = listeners.bind_rtp(options.host, options.rtp_first, options.rtp_last, options.legs)
    rtp.sockets.sort(key=_port)
    return rtp


def _shared(kept: dict[str, list[int]]) -> list[int]:
    """Journal, which `calls` gives its shape (media_core.Slots), and the two wake-ups."""
    flags = os.EFD_NONBLOCK | os.EFD_CLOEXEC
    journal = kept["journal"][0] if "journal" in kept else os.memfd_create("switchroom-journal")
    return [journal, *(kept[name][0] if name in kept else os.eventfd(0, flags) for name in ("core_wake", "calls_wake"))]


def _restore(data: Path) -> None:
    """Put a backup in place that waits, and clear away what is left of one."""
    if not any(found for pattern in ("restor*", "backup.*") for found in data.glob(pattern)):
        return
    from appliance.upkeep import backup  # with much behind it that the supervisor needs for nothing else

    if (before := backup.put_in_place(data)) is not None:
        log.warning("a backup was restored; what was there before is in %s", before)


def _part(resources: Resources, name: str, make: Callable[[], None]) -> None:
    try:
        make()
    except Exception as error:  # whatever it is, the other parts shall start
        log.exception("the part %s could not be started", name)
        resources.failed[name] = f"{type(error).__name__}: {error}"


def _data_directory(options: Options) -> None:
    longest = options.run / "supervisor.sock"
    if len(os.fsencode(longest)) > SOCKET_PATH_LIMIT:
        raise CannotStart(
            f"The path {options.data} is too long for a control socket; choose a shorter one with --data."
        )
    try:
        for directory in (options.data, options.run, options.data / "keys", options.data / "log"):
            directory.mkdir(mode=0o700, parents=directory == options.data, exist_ok=True)
        options.data.chmod(0o700)
        health.keep_room(options.data)
    except OSError as error:
        raise CannotStart(f"The data directory {options.data} cannot be used: {error.strerror}.") from None


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Held while we run; the kernel lets go of it however we end."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise CannotStart(
                f"Switchroom already runs on {path.parents[1]} (pid {file.read().strip() or 'unknown'})."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
        file.truncate(0)


def _sockets(options: Options, undo: contextlib.ExitStack, kept: dict[str, list[int]]) -> dict[str, socket.socket]:
    wanted: Mapping[str, tuple[int, str, str]] = {
        "sip_udp": (options.sip_port, "UDP", "--sip-port"),
        "sip_tcp": (options.sip_port, "TCP", "--sip-port"),
        "sips": (options.sips_port, "TCP", "--sips-port"),
        "admin_tcp": (options.admin_port, "TCP", "--admin-port"),
        "admin_udp": (options.admin_port, "UDP", "--admin-port"),
        "user_tcp": (options.user_port, "TCP", "--user-port"),
        "user_udp": (options.user_port, "UDP", "--user-port"),
    }
    sockets = {}
    for name, (port, protocol, option) in wanted.items():
        if name in kept:
            sockets[name] = undo.enter_context(socket.socket(fileno=kept[name][0]))
            continue
        try:
            sockets[name] = undo.enter_context(listeners.bind(options.host, port, protocol, option))
        except (listeners.PortTaken, OSError) as error:
            raise CannotStart(str(error)) from None
    return sockets


def _memory(resources: Resources, undo: contextlib.ExitStack) -> None:
    from media_core import Layout, create_memory

    if resources.memory is not None:
        undo.callback(os.close, resources.memory)
        return
    memory = create_memory(Layout(legs=max(1, resources.rtp.pairs), workers=resources.workers))
    undo.callback(os.close, memory)
    resources.memory = memory


def _certificate(resources: Resources) -> None:
    from appliance.host import certificates

    resources.tls = certificates.ensure(resources.options.data, resources.host)
    resources.certificate = certificates.facts(resources.options.data)


def _configuration(resources: Resources) -> None:
    from appliance.config.store import Store
    from appliance.storage.database import StorageDamaged

    try:
        with contextlib.closing(Store(resources.options.data)) as store:
            resources.set_up = store.load().has_administrator
    except StorageDamaged as error:
        log.error("the configuration cannot be read: %s", error)
        resources.damage = str(error)


def _runs(numbers: list[int]) -> list[int | list[int]]:
    """Descriptors with runs of neighbours as [first, count]: two thousand of them in a line."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][0] + runs[-1][1] == number:
            runs[-1][1] += 1
        else:
            runs.append([number, 1])
    return [*runs]
