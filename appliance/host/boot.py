"""What the supervisor tells a process it starts: where the data is, which inherited file descriptors are what."""

from __future__ import annotations

import os
import socket

import msgspec

VARIABLE = "SWITCHROOM_BOOT"
FOLLOWS = "follows"  # instead of a record: it comes on standard input (process.Early)
LONGEST = 1 << 16  # bytes of a record
MOST = 64  # descriptors


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    data: str  # directory of databases, keys, certificates
    run: str  # directory of control sockets and the setup code
    host: str = "127.0.0.1"  # address phones are told (SDP, Contact)
    sip_port: int = 15060
    sips_port: int = 15061
    user_port: int = 14443
    admin_port: int = 14021
    rtp_first: int = 20000
    rtp_last: int = 29999
    calls: int = 500  # at a time: the slots of a new memory are made for so many
    fds: dict[str, int] = {}  # memory, core_wake, calls_wake, journal, admin_tcp, admin_udp, user_tcp, user_udp, renewed

    def environment(self) -> dict[str, str]:
        return {**os.environ, VARIABLE: msgspec.json.encode(self).decode()}


def read_boot() -> Boot:
    """The boot record of this process; KeyError if it was not started by the supervisor. Waits for a record that follows; EOFError when
    nobody wants this process any more."""
    record = os.environ[VARIABLE]
    if record != FOLLOWS:
        return msgspec.json.decode(record, type=Boot)
    with socket.socket(fileno=os.dup(0)) as end:
        received, fds, _, _ = socket.recv_fds(end, LONGEST, MOST)
    if not received:
        raise EOFError
    boot = msgspec.json.decode(received, type=Boot)
    return msgspec.structs.replace(boot, fds=dict(zip(boot.fds, fds, strict=True)))
