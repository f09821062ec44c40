"""The small network of an office: a tap to which a box is plugged in, on the other side everybody else; with or without a DHCP server.

It lies in a network namespace without a name, into which the test itself goes while the context manager is open: what it starts there (the
emulator, Chromium, phones) is in the office too, and nothing of it can be reached from anywhere else or reaches anything else. The kernel
takes it away with the last process in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

NEW_NETWORK = 0x40000000  # CLONE_NEWNET of sched.h
TAP = "office"
GROUP, PORT = "224.0.0.251", 5353  # mDNS (RFC 6762)
ADDRESS, INTERNET, ANSWER = 1, 1, 0x8000  # type A, class IN, the flag of an answer


def _system(name: str, *arguments: int) -> None:
    call = getattr(ctypes.CDLL(None, use_errno=True), name)
    if call(*arguments):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Lan:
    """A context manager. `addresses`: of everybody but the box, with the network's size; the first one is the computer's."""

    wire = f"tap,ifname={TAP},script=no,downscript=no"

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    @property
    def here(self) -> str:
        return self._addresses[0].partition("/")[0]

    def __enter__(self) -> Lan:
        self._before = os.open("/proc/self/ns/net", os.O_RDONLY)
        _system("unshare", NEW_NETWORK)
        try:
            _ip("link", "set", "lo", "up")
            _ip("tuntap", "add", "dev", TAP, "mode", "tap")
            for address in self._addresses:
                _ip("address", "add", address, "dev", TAP)
            _ip("link", "set", TAP, "up")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _system("setns", self._before, NEW_NETWORK)
        os.close(self._before)

    @contextlib.contextmanager
    def router(self, folder: Path, first: str, last: str) -> Iterator[None]:
        """A DHCP server that gives out the addresses from `first` to `last`, as the router of an office does."""
        folder.mkdir()
        lines = [
            "port=0", "user=root", "keep-in-foreground", "bind-interfaces", "log-dhcp", f"interface={TAP}", "except-interface=lo",
            f"dhcp-range={first},{last},1h", f"dhcp-leasefile={folder / 'leases'}", f"pid-file={folder / 'pid'}", f"log-facility={folder / 'log'}",
        ]  # fmt: skip
        (folder / "conf").write_text("\n".join([*lines, ""]))
        process = subprocess.Popen(["dnsmasq", f"--conf-file={folder / 'conf'}"])
        try:
            yield
            assert process.poll() is None, "the DHCP server has ended"
        finally:
            process.terminate()
            process.wait()

    def find(self, name: str, seconds: float = 30) -> str:
        """The address of a name in `.local`: everybody is asked, who has the name answers."""
        question = struct.pack("!6H", 0, 0, 1, 0, 0, 0) + _labels(name) + struct.pack("!2H", ADDRESS, INTERNET)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("", PORT))
            ours = socket.inet_aton(self.here)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + ours)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, ours)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                sock.sendto(question, (GROUP, PORT))
                while select.select([sock], [], [], 1.0)[0]:
                    for found, address in answers(sock.recv(9000)):
                        if found.lower() == name.lower():
                            return address
        raise AssertionError(f"nobody answers for {name}")


def _labels(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def _name(packet: bytes, at: int) -> tuple[str, int]:
    """The name that begins there, and where it ends; the rest of one may lie further ahead in the packet."""
    labels: list[str] = []
    after = 0
    while length := packet[at]:
        if length >= 0xC0:
            after = after or at + 2
            at = struct.unpack_from("!H", packet, at)[0] & 0x3FFF
        else:
            labels.append(packet[at + 1 : at + 1 + length].decode())
            at += 1 + length
    return ".".join(labels), after or at + 1


def answers(packet: bytes) -> Iterator[tuple[str, str]]:
    """Names and addresses that an mDNS answer tells; nothing for a question."""
    _, flags, questions, *counts = struct.unpack_from("!6H", packet)
    at = 12
    for _ in range(questions):
        at = _name(packet, at)[1] + 4
    for _ in range(sum(counts) if flags & ANSWER else 0):
        name, at = _name(packet, at)
        kind, length = struct.unpack_from("!H6xH", packet, at)
        if kind == ADDRESS:
            yield name, socket.inet_ntoa(packet[at + 10 : at + 14])
        at += 10 + length
