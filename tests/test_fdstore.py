"""Parcels of descriptors, against a socket that stands for systemd's."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from appliance.host import fdstore


def test_a_parcel_holds_its_sockets_open_and_is_not_emptied_by_a_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = fdstore.MOST + 7
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        kept = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(many)]
        for each in kept:
            each.bind(("127.0.0.1", 0))
        names = [each.getsockname() for each in kept]
        fdstore.keep_parcels("rtp", [each.fileno() for each in kept])
        for each in kept:
            each.close()
        assert systemd.recv(1000) == b"FDSTOREREMOVE=1\nFDNAME=rtp"
        parcels = []
        for _ in range(2):
            said, fds, _, _ = socket.recv_fds(systemd, 1000, 2)
            assert said == b"FDSTORE=1\nFDNAME=rtp\nFDPOLL=0"
            parcels += fds
    for _ in range(2):
        found = [socket.socket(fileno=fd) for fd in fdstore.unpack(reversed(parcels))]
        assert [each.getsockname() for each in found] == names
        for each in found:
            each.close()
    for parcel in parcels:
        os.close(parcel)


def test_without_systemd_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    fdstore.keep_parcels("rtp", [0])
