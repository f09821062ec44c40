"""The sockets that outlive every process: SIP, admin page and RTP, bound once by the supervisor and inherited by the others.

A port that is taken is named together with its protocol and whoever holds it, found through the socket's inode in
/proc/net/{tcp,udp}* and /proc/<pid>/fd (proc(5)); a process of another user stays nameless without root. RTP ports come in
pairs, RTP even and RTCP the next (RFC 3550 §11), spread over the range so that a neighbour's port is not the next call's.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import resource
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.words import Said

EXPEDITED = 46 << 2  # DSCP EF (RFC 4594): voice goes first, in networks that care
RESERVED_FILES = 512  # what the core needs beside the RTP sockets: flows, rings, libraries
BACKLOG = 1024
LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp


class PortTaken(Exception):
    """Somebody else has the port; the message is the whole sentence for the administrator."""

    def __init__(self, protocol: str, host: str, port: int, option: str, holder: str) -> None:
        by = f"by {holder}" if holder else "by a process that only root can see"
        super().__init__(
            f"Port {port}/{protocol} on {host} is taken {by}. Stop it, or choose another port with {option}."
        )


@dataclass(frozen=True, slots=True)
class Rtp:
    """Bound pairs: RTP at even index, its RTCP at the next."""

    sockets: list[socket.socket]
    wanted: int  # pairs that were asked for
    limited_by: Said | None  # why there are fewer

    @property
    def pairs(self) -> int:
        return len(self.sockets) // 2


def bind(host: str, port: int, protocol: str, option: str) -> socket.socket:
    """A non-blocking UDP or listening TCP socket; PortTaken when somebody has the port."""
    kind = socket.SOCK_DGRAM if protocol == "UDP" else socket.SOCK_STREAM
    bound = socket.socket(_family(host), kind)
    try:
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        if kind == socket.SOCK_STREAM:
            bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        if isinstance(error, PermissionError):
            raise PermissionError(
                f"Port {port}/{protocol} needs root (ports below 1024); choose another with {option}."
            ) from None
        if error.errno == 98:  # EADDRINUSE
            raise PortTaken(protocol, host, port, option, holder_of(protocol, port)) from None
        raise OSError(
            f"Cannot listen on {host}, port {port}/{protocol}: {error.strerror}. Choose another address with --host."
        ) from None
    return bound


def bind_rtp(host: str, first: int, last: int, pairs: int) -> Rtp:
    """Bind as many of `pairs` as the range and the limit of open files allow; ports that are taken are passed over."""
    pairs = min(pairs, (last - first - first % 2 + 1) // 2)
    allowed = min(pairs, max(0, (_raise_file_limit(2 * pairs + RESERVED_FILES) - RESERVED_FILES) // 2))
    limited_by = None
    if allowed < pairs:
        limited_by = Said.of("alarm.open-files", most=resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    sockets: list[socket.socket] = []
    for port in _spread(first, last, allowed):
        if len(sockets) >= 2 * allowed:
            break
        sockets.extend(_bind_pair(host, port))
    if len(sockets) < 2 * allowed:
        limited_by = Said.of("alarm.port-range", range=f"{first}-{last}")
    return Rtp(sockets, pairs, limited_by)


def advertised(host: str) -> str:
    """The address phones are told: `host` itself, or for a wildcard the address of the interface towards the world; without a way to
    the world the one towards neighbours (RFC 3927)."""
    if not ipaddress.ip_address(host).is_unspecified:
        return host
    family = _family(host)
    for there in ("192.0.2.1", "169.254.1.1") if family == socket.AF_INET else ("2001:db8::1",):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((there, 9))  # sends nothing
            return str(probe.getsockname()[0])
    return "127.0.0.1" if family == socket.AF_INET else "::1"


def reachable(host: str) -> bool:
    """Whether this machine has the address that phones are told; not so for a wildcard before an interface has one."""
    return not (ipaddress.ip_address(host).is_unspecified and ipaddress.ip_address(advertised(host)).is_loopback)


def holder_of(protocol: str, port: int) -> str:
    """Who has the port: "name (pid 123)", or "" when it cannot be seen."""
    inodes = set(_inodes(protocol.lower(), port))
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for pid in sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit()) if wanted else ():
        with contextlib.suppress(OSError):
            if any(_link(f"/proc/{pid}/fd/{fd}") in wanted for fd in os.listdir(f"/proc/{pid}/fd")):
                return f"{_name(pid)} (pid {pid})"
    return ""


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET


def _raise_file_limit(needed: int) -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def _spread(first: int, last: int, pairs: int) -> Iterator[int]:
    """Even ports of the range: `pairs` evenly spaced ones, then the others as replacements for taken ones."""
    ports = range(first + first % 2, last, 2)
    chosen = {ports[index * len(ports) // pairs] for index in range(min(pairs, len(ports)))} if pairs else set()
    yield from sorted(chosen)
    yield from (port for port in ports if port not in chosen)


def _bind_pair(host: str, port: int) -> list[socket.socket]:
    """The RTP and the RTCP socket, or nothing when either port is taken."""
    pair: list[socket.socket] = []
    try:
        for number in (port, port + 1):
            pair.append(socket.socket(_family(host), socket.SOCK_DGRAM))
            pair[-1].bind((host, number))
            pair[-1].setblocking(False)
            if pair[-1].family == socket.AF_INET:
                pair[-1].setsockopt(socket.IPPROTO_IP, socket.IP_TOS, EXPEDITED)
            else:
                pair[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, EXPEDITED)
    except OSError:
        for opened in pair:
            opened.close()
        return []
    return pair


def _inodes(protocol: str, port: int) -> Iterator[str]:
    for table in (f"/proc/net/{protocol}", f"/proc/net/{protocol}6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == port and (protocol == "udp" or fields[3] == LISTEN):
                    yield fields[9]


def _link(path: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(path)
    return ""


def _name(pid: int) -> str:
    """The command; for an interpreter also its script, for "python3" tells nobody anything."""
    name = Path(f"/proc/{pid}/comm").read_text().strip()
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[1:3]
    if name.startswith(("python", "perl", "node", "bash", "sh")) and arguments and arguments[0]:
        name += " " + (" ".join(arguments) if arguments[0] == "-m" else arguments[0])
    return name
