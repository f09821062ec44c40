"""One socket for each worker that hears and speaks for all its RTP ports, for the `raw` datapath.

A raw IPv4 socket for UDP gets a copy of every datagram for this machine, after the firewall and put together again where it was
in fragments. A filter (classic BPF, locked, so that whoever holds the socket cannot widen it) leaves a range of ports of it, so the ports
are dealt to the workers in ranges (`dealt`). With the header written by us it sends from any port. The ports' own sockets stay bound; their queues are not used. What this saves is the
price of thousands of sockets: their part of the kernel does not fit into a processor's cache.

Only who may open raw sockets (CAP_NET_RAW) and may give them a large queue (CAP_NET_ADMIN) has one; the supervisor opens it, so
that the core needs neither, and keeps it over the core's death, so that what comes in between waits.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")

QUEUE = 4 << 20  # octets; the kernel counts about 900 for a voice packet
SO_ATTACH_FILTER, SO_SNDBUFFORCE, SO_RCVBUFFORCE, SO_LOCK_FILTER = 26, 32, 33, 44
IP_HDRINCL = 3
# linux/filter.h: x = header length; a = destination port; first <= a <= last ? all of it : nothing
LDX_HEADER, LDH_X, JGE, JGT, RET = 0xB1, 0x48, 0x35, 0x25, 0x06


def dealt(pairs: Sequence[T], workers: int) -> list[T]:
    """Pairs in the order of ports, put in that of legs: leg n is of worker n % workers, and each worker's ports lie side by side."""
    share, more = divmod(len(pairs), workers)
    first = [worker * share + min(worker, more) for worker in range(workers)]
    return [pairs[first[leg % workers] + leg // workers] for leg in range(len(pairs))]


def open_receivers(host: str, ports: Iterable[int], workers: int) -> list[socket.socket]:
    """One for each worker's share of the RTP ports (RTCP's are the next); none when not all are to be had."""
    made: list[socket.socket] = []
    legs = dealt(sorted(ports), workers)
    for worker in range(min(workers, len(legs))):
        own = legs[worker::workers]
        receiver = open_receiver(host, range(own[0], own[-1] + 2))
        if receiver is None:
            break
        made.append(receiver)
    if len(made) == workers:
        return made
    for receiver in made:
        receiver.close()
    return []


def open_receiver(host: str, ports: range) -> socket.socket | None:
    """Non-blocking, hears datagrams to `host` (0.0.0.0: to all our addresses) and `ports`; None: not allowed here, or not IPv4."""
    if ":" in host:
        return None
    try:
        made = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_UDP)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.EPROTONOSUPPORT):
            return None
        raise
    try:
        made.bind((host, 0))
        _filter(made, ports[0], ports[-1])
        made.setsockopt(socket.IPPROTO_IP, IP_HDRINCL, 1)
        for queue in (SO_SNDBUFFORCE, SO_RCVBUFFORCE):
            made.setsockopt(socket.SOL_SOCKET, queue, QUEUE)
    except PermissionError:
        made.close()
        return None
    while True:  # what came before the filter was there
        try:
            made.recv(1)
        except BlockingIOError:
            return made


def _filter(raw: socket.socket, first: int, last: int) -> None:
    steps = [
        (LDX_HEADER, 0, 0, 0),
        (LDH_X, 0, 0, 2),
        (JGE, 0, 2, first),
        (JGT, 1, 0, last),
        (RET, 0, 0, 0xFFFFFFFF),
        (RET, 0, 0, 0),
    ]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    raw.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(steps), ctypes.addressof(program)))
    raw.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)
