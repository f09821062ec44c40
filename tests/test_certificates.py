"""The private authority and server certificate: made once, renewed in time, checked by a real TLS handshake."""

import multiprocessing
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance import certificates


def test_made_once_and_private(tmp_path: Path) -> None:
    files = certificates.ensure(tmp_path)
    before = (files.chain.read_bytes(), files.key.read_bytes(), files.ticket_keys)
    again = certificates.ensure(tmp_path)
    assert (again.chain.read_bytes(), again.key.read_bytes(), again.ticket_keys) == before
    assert len(files.ticket_keys) == 80
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "keys").iterdir()} == {0o600}


def test_renewed_before_it_ends_and_for_a_new_address(tmp_path: Path) -> None:
    certificates.ensure(tmp_path)
    first = certificates.facts(tmp_path)
    assert first is not None
    certificates.ensure(tmp_path, now=datetime.now(UTC) + certificates.SERVER_LIFE - timedelta(days=29))
    second = certificates.facts(tmp_path)
    assert second is not None
    assert second.server_fingerprint != first.server_fingerprint
    assert second.authority_fingerprint == first.authority_fingerprint
    certificates.ensure(tmp_path, "198.51.100.7")
    third = certificates.facts(tmp_path)
    assert third is not None
    assert "198.51.100.7" in third.names


def test_a_client_that_trusts_the_authority_accepts_it(tmp_path: Path) -> None:
    files = certificates.ensure(tmp_path)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(files.chain, files.key)
    client = ssl.create_default_context(cafile=str(files.authority))
    left, right = socket.socketpair()

    def serve() -> None:
        with server.wrap_socket(left, server_side=True) as wrapped:
            wrapped.send(b"hello")

    thread = threading.Thread(target=serve)
    thread.start()
    with client.wrap_socket(right, server_hostname="127.0.0.1") as wrapped:
        assert wrapped.recv(5) == b"hello"
    thread.join()


def test_a_cut_between_key_and_chain(tmp_path: Path) -> None:
    """A renewal writes two files; when only the first is there, the next start makes both anew and keeps the authority."""
    certificates.ensure(tmp_path)
    chain = (tmp_path / "keys/server.pem").read_bytes()
    authority = (tmp_path / "keys/authority.pem").read_bytes()
    certificates.ensure(tmp_path, now=datetime.now(UTC) + certificates.SERVER_LIFE)
    (tmp_path / "keys/server.pem").write_bytes(chain)
    files = certificates.ensure(tmp_path)
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(files.chain, files.key)
    assert files.authority.read_bytes() == authority


def make(data: Path, host: str, ready: threading.Barrier) -> None:
    ready.wait()
    certificates.ensure(data, host)


def test_several_processes_at_once_leave_a_pair_that_fits(tmp_path: Path) -> None:
    """The supervisor and the pages hear of a new address in the same moment. From a box whose pages never came up again:
    "The part certificate could not be started (ValueError: Unable to load PEM file. [...] MalformedFraming)"."""
    context = multiprocessing.get_context("fork")
    for turn in range(5):
        ready = context.Barrier(3)
        makers = [
            context.Process(target=make, args=(tmp_path, f"198.51.100.{3 * turn + place}", ready)) for place in range(3)
        ]
        for maker in makers:
            maker.start()
        for maker in makers:
            maker.join()
        assert [maker.exitcode for maker in makers] == [0, 0, 0]
        files = certificates.Files(
            tmp_path / "keys/authority.pem", tmp_path / "keys/server.pem", tmp_path / "keys/server.key", b""
        )
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(files.chain, files.key)


@pytest.mark.parametrize("name", ["server.pem", "server.key"])
def test_a_damaged_server_certificate_is_made_anew(tmp_path: Path, name: str) -> None:
    before = certificates.ensure(tmp_path).authority.read_bytes()
    (tmp_path / "keys" / name).write_bytes(b"-----BEGIN PRIVATE KEY-----\n")
    files = certificates.ensure(tmp_path)
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(files.chain, files.key)
    assert files.authority.read_bytes() == before
