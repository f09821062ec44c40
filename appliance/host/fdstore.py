"""Descriptors that systemd holds for us while the service is restarted (sd_notify(3): FDSTORE, FDNAME, FDPOLL).

What a call needs lies in descriptors: sockets, shared memory, wake-ups. `keep` leaves copies with systemd under a name, `adopt` finds
them after a restart. Without systemd both do nothing. Within one name the order is not promised.

systemd compares each descriptor with all it has, so that two thousand of them cost two million comparisons. Many go in parcels: a parcel
is one socket in whose queue a message with the others lies (unix(7), SCM_RIGHTS). `unpack` looks at it without taking it out.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections.abc import Iterable

FIRST = 3  # SD_LISTEN_FDS_START
MOST = 250  # descriptors per message; the kernel takes 253 (SCM_MAX_FD)


def adopt() -> dict[str, list[int]]:
    """What systemd kept for this process, by name; no child inherits it unasked. To be called once."""
    pid, count, names = (os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    found: dict[str, list[int]] = {}
    if pid != str(os.getpid()) or not count.isdigit():
        return found
    for fd, name in zip(range(FIRST, FIRST + int(count)), names.split(":"), strict=False):
        os.set_inheritable(fd, False)
        found.setdefault(name, []).append(fd)
    return found


def keep(name: str, fds: Iterable[int]) -> None:
    """Leave copies of these with systemd. A descriptor it has already is not stored twice."""
    numbers = list(fds)
    for start in range(0, len(numbers), MOST):
        _send(f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0", numbers[start : start + MOST])


def keep_parcels(name: str, fds: Iterable[int]) -> None:
    """Leave copies of these with systemd, `MOST` in each parcel. In place of what it has under this name."""
    if not os.environ.get("NOTIFY_SOCKET"):
        return
    numbers = list(fds)
    forget([name])
    for place, start in enumerate(range(0, len(numbers), MOST)):
        writing, parcel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with writing, parcel:
            socket.send_fds(writing, [place.to_bytes(2, "big")], numbers[start : start + MOST])
            keep(name, [parcel.fileno()])


def unpack(parcels: Iterable[int]) -> list[int]:
    """Copies of the descriptors in these parcels, in their order; the parcels stay as they are."""
    found: dict[bytes, list[int]] = {}
    for parcel in parcels:
        fds = array.array("i")
        with socket.socket(fileno=os.dup(parcel)) as reader, contextlib.suppress(BlockingIOError):
            room = socket.CMSG_SPACE(MOST * fds.itemsize)  # recv_fds would be shorter and ignores its flags
            place, rights, _, _ = reader.recvmsg(
                2, room, socket.MSG_PEEK | socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            )
            for _, _, octets in rights:
                fds.frombytes(octets[: len(octets) - len(octets) % fds.itemsize])
            found[place] = fds.tolist()
    return [fd for _, fds in sorted(found.items()) for fd in fds]


def forget(names: Iterable[str]) -> None:
    for name in names:
        _send(f"FDSTOREREMOVE=1\nFDNAME={name}", [])


def _send(text: str, fds: list[int]) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())] if fds else []
        sender.sendmsg([text.encode()], rights)
