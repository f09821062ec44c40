"""The socket that hears the whole RTP range: what its filter lets through, and that nobody can widen it."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator

import pytest

from media_core.receiver import SO_ATTACH_FILTER, SO_LOCK_FILTER, open_receiver
from tests.media_core.bench import HOST, rtp_pair


@pytest.fixture
def ports() -> Iterator[tuple[socket.socket, socket.socket]]:
    first, second = rtp_pair()
    with first, second:
        yield first, second


def heard(raw: socket.socket) -> list[tuple[int, bytes]]:
    """Destination port and payload of what waits."""
    out = []
    while select.select([raw], [], [], 0.1)[0]:
        packet = raw.recv(4096)
        header = 4 * (packet[0] & 15)
        out.append((struct.unpack_from("!H", packet, header + 2)[0], packet[header + 8 :]))
    return out


def receiver(host: str, ports: range) -> socket.socket:
    made = open_receiver(host, ports)
    if made is None:
        pytest.skip("raw sockets are not allowed here")
    return made


def test_it_hears_the_range_and_nothing_else(ports: tuple[socket.socket, socket.socket]) -> None:
    first, second = (int(s.getsockname()[1]) for s in ports)
    with receiver(HOST, range(first, first + 1)) as raw, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        for port in (first, second, first - 1, 9):
            phone.sendto(b"to %d" % port, (HOST, port))
        assert heard(raw) == [(first, b"to %d" % first)]
    with receiver(HOST, range(first, second + 1)) as raw, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        for port in (first, second):
            phone.sendto(b"x", (HOST, port))
        assert [port for port, _ in heard(raw)] == [first, second]


def test_another_address_of_this_machine_is_another_host(ports: tuple[socket.socket, socket.socket]) -> None:
    port = int(ports[0].getsockname()[1])
    with receiver(HOST, range(port, port + 1)) as raw, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.sendto(b"x", ("127.0.0.2", port))
        assert heard(raw) == []


def test_its_holder_cannot_widen_it(ports: tuple[socket.socket, socket.socket]) -> None:
    port = int(ports[0].getsockname()[1])
    with receiver(HOST, range(port, port + 1)) as raw:
        for option, value in ((27, 0), (SO_LOCK_FILTER, 0)):  # SO_DETACH_FILTER
            with pytest.raises(PermissionError):
                raw.setsockopt(socket.SOL_SOCKET, option, value)
        with pytest.raises(PermissionError):
            raw.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", 0, 0))


def test_there_is_none_for_ipv6() -> None:
    assert open_receiver("::", range(20000, 20010)) is None
