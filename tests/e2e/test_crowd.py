"""A whole site behind one address comes back at once, as after a power cut: nobody is refused."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.config.model import Extension, Line
from appliance.config.store import Change, Store
from appliance.host import privileges
from appliance.host.entitlement import announce
from benchmarks.contenders import allow_files
from benchmarks.sip import authorisation, request
from tests.e2e.running import System

PHONES = 2000
OVER_TLS = 400
PER_LINE = 10  # contacts of a line
SITE = "127.60.0.1"
AGAIN = 2.0  # seconds until a phone repeats what was not answered
WITHIN = 60.0


class Phone:
    """One socket that registers."""

    def __init__(self, system: System, line: str) -> None:
        self.system, self.line = system, line
        self.status = b""
        self.extra = ""
        self.sent = 0.0
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((SITE, 0))
        self.sock.connect((system.host, system.sip_port))
        self.sock.setblocking(False)

    def ask(self, now: float) -> None:
        self.sent = now
        here = self.sock.getsockname()[:2]
        with contextlib.suppress(OSError):
            self.sock.send(request("REGISTER", here, self.system.host, self.line, extra=self.extra))

    def hear(self, now: float) -> None:
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            data = self.sock.recv(65535)
            extra = authorisation(data, "REGISTER", f"sip:{self.system.host}", self.line, f"secret-of-{self.line}")
            if extra and extra != self.extra and data.startswith(b"SIP/2.0 401"):
                self.extra = extra
                self.ask(now)
            else:
                self.status = data[8:11]


class TlsPhone(Phone):
    def __init__(self, system: System, line: str, context: ssl.SSLContext) -> None:
        super().__init__(system, line)
        self.sock.close()
        plain = socket.create_connection((system.host, system.sips_port), 10.0, (SITE, 0))
        self.sock = context.wrap_socket(plain)
        self.sock.setblocking(False)

    def ask(self, now: float) -> None:
        self.sent = now + WITHIN  # TCP repeats by itself
        here = self.sock.getsockname()[:2]
        data = request("REGISTER", here, self.system.host, self.line, extra=self.extra)
        self.sock.send(
            data.replace(b"/UDP ", b"/TLS ").replace(b">\r\nContent-Length", b";transport=tls>\r\nContent-Length")
        )


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    running = System(tmp_path / "var")
    running.start()
    yield running
    assert running.stop() == 0


def fill(system: System) -> list[str]:
    """As many lines as the phones need; their SIP usernames."""
    names = [str(1000 + n) for n in range(PHONES // PER_LINE)]
    with privileges.as_owner(system.data):
        store = Store(system.data)
        changes = [Change("extension", f"e{name}", Extension(id=f"e{name}", number=name)) for name in names]
        changes += [
            Change(
                "line",
                f"l{name}",
                Line(id=f"l{name}", extension=f"e{name}", sip_username=name, sip_password=f"secret-of-{name}"),
            )
            for name in names
        ]
        revision = store.save(changes, "test", 1.0, store.revision())
        store.close()
    announce(system.data / "run", revision)
    return names


@pytest.mark.timeout(180)
def test_two_thousand_phones_behind_one_address_come_back(system: System) -> None:
    allow_files(PHONES + 500)
    names = fill(system)
    context = ssl.create_default_context(cafile=str(system.authority))
    context.check_hostname = False
    phones = [Phone(system, names[n % len(names)]) for n in range(PHONES - OVER_TLS)]
    phones += [TlsPhone(system, names[n % len(names)], context) for n in range(OVER_TLS)]
    by_fd = {phone.sock.fileno(): phone for phone in phones}
    poll = select.poll()
    begin = time.monotonic()
    for phone in phones:
        phone.ask(begin)
        poll.register(phone.sock, select.POLLIN)
    waiting = set(phones)
    while waiting and time.monotonic() < begin + WITHIN:
        now = time.monotonic()
        for fd, _ in poll.poll(50):
            phone = by_fd[fd]
            phone.hear(now)
            if phone.status:
                poll.unregister(fd)
                waiting.discard(phone)
        for phone in waiting:
            if now > phone.sent + AGAIN:
                phone.ask(now)
    answers = {status: sum(phone.status == status for phone in phones) for status in {phone.status for phone in phones}}
    assert answers == {b"200": PHONES}
    assert system.counters()["registrations"] == PHONES
    for phone in phones:
        phone.sock.close()
