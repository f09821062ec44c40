"""The private authority and server certificate: made once, renewed in time, checked by a real TLS handshake."""

import multiprocessing
import socket
import ssl
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from media_core.flows.tls import TlsContext

from appliance.host import certificates
from appliance.storage import on_disk
from media_core import TlsFiles


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
    """Where the key was lost two files are made; when only the first is there, the next start makes the other and keeps the authority."""
    certificates.ensure(tmp_path)
    chain = (tmp_path / "keys/server.pem").read_bytes()
    authority = (tmp_path / "keys/authority.pem").read_bytes()
    (tmp_path / "keys/server.key").unlink()
    certificates.ensure(tmp_path)
    (tmp_path / "keys/server.pem").write_bytes(chain)
    files = certificates.ensure(tmp_path)
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(files.chain, files.key)
    assert files.authority.read_bytes() == authority


def test_who_reads_during_a_renewal_finds_a_pair_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The core may start just when the box gets its address. Between the two files of a new pair it ended with "media_core: ValueError:
    private key /state/switchroom/keys/server.key: key values mismatch"."""
    files = certificates.ensure(tmp_path)
    certificates.make_rsa_key(tmp_path)
    certificates.ensure(tmp_path)
    tls = TlsFiles(
        str(files.chain),
        str(files.key),
        files.ticket_keys,
        rsa_certificate=str(files.rsa_chain),
        rsa_key=str(files.rsa_key),
    )
    written, write = [], on_disk.write

    def and_read(path: Path, *content: Any) -> None:
        write(path, *content)
        written.append(path.name)
        TlsContext(True, tls)

    monkeypatch.setattr(on_disk, "write", and_read)
    certificates.ensure(tmp_path, "198.51.100.7")
    certificates.ensure(tmp_path, "198.51.100.7", datetime.now(UTC) + certificates.SERVER_LIFE)
    assert written == ["server.pem", "rsa.pem"] * 2


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
        keys = tmp_path / "keys"
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(keys / "server.pem", keys / "server.key")


@pytest.mark.parametrize("name", ["server.pem", "server.key"])
def test_a_damaged_server_certificate_is_made_anew(tmp_path: Path, name: str) -> None:
    before = certificates.ensure(tmp_path).authority.read_bytes()
    (tmp_path / "keys" / name).write_bytes(b"-----BEGIN PRIVATE KEY-----\n")
    files = certificates.ensure(tmp_path)
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(files.chain, files.key)
    assert files.authority.read_bytes() == before


NOW = datetime(2027, 6, 1, tzinfo=UTC)
UNSET = datetime(2000, 1, 1, tzinfo=UTC)  # a clock without a battery


def loaded(data: Path) -> dict[str, x509.Certificate]:
    return {
        name: x509.load_pem_x509_certificates((data / f"keys/{name}.pem").read_bytes())[0]
        for name in ("authority", "server", "rsa")
        if (data / f"keys/{name}.pem").exists()
    }


@pytest.mark.parametrize("with_rsa", [False, True])
@pytest.mark.parametrize(
    "clock",
    [
        (NOW, NOW + timedelta(days=796)),
        (NOW, NOW + timedelta(days=3700)),
        (UNSET, NOW),
        (UNSET, NOW + timedelta(days=3000)),
        (UNSET, UNSET + timedelta(days=1), NOW + timedelta(days=5000)),
        (NOW + timedelta(days=3000), NOW),
        (NOW + timedelta(days=5000), UNSET, NOW),
        (NOW, UNSET, NOW + timedelta(days=1)),
        (NOW, NOW - timedelta(days=400), NOW),
    ],
)
def test_after_every_step_of_the_clock_all_are_valid(
    tmp_path: Path, clock: tuple[datetime, ...], with_rsa: bool
) -> None:
    """A box starts with a wrong clock, which is then set: what it shows is valid by the clock that is set, and what phones have
    installed, the authority's name and key, stays."""
    installed = set()
    for now in clock:
        facts = certificates.facts(tmp_path)
        due = facts is None or facts.due(now.timestamp())
        before = loaded(tmp_path)
        certificates.ensure(tmp_path, now=now)
        if with_rsa:
            certificates.make_rsa_key(tmp_path)
            certificates.ensure(tmp_path, now=now)
        after = loaded(tmp_path)
        assert set(after) == {"authority", "server", *(["rsa"] if with_rsa else [])}
        assert due == any(after[name] != certificate for name, certificate in before.items()) or not before
        for certificate in after.values():
            if now > certificates.WRITTEN:
                assert certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - timedelta(days=29)
            certificate.verify_directly_issued_by(after["authority"])
        renewed = certificates.facts(tmp_path)
        assert renewed is not None
        assert not renewed.due(now.timestamp())
        key = after["authority"].extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        installed.add((after["authority"].subject, key.digest))
    assert len(installed) == 1


def test_a_clock_that_was_never_set_renews_nothing(tmp_path: Path) -> None:
    """At each start without a battery the box would show another certificate until its clock is set."""
    certificates.ensure(tmp_path, now=NOW)
    before = loaded(tmp_path)
    certificates.ensure(tmp_path, now=UNSET)
    assert loaded(tmp_path) == before


def test_the_rsa_certificate_comes_when_its_key_is_made_and_keeps_it(tmp_path: Path) -> None:
    certificates.ensure(tmp_path, now=NOW)
    subprocess.run([sys.executable, "-m", "appliance.host.certificates", str(tmp_path)], check=True)
    key = (tmp_path / "keys/rsa.key").read_bytes()
    files = certificates.ensure(tmp_path, now=NOW)
    first = loaded(tmp_path)["rsa"]
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(files.rsa_chain, files.rsa_key)
    certificates.make_rsa_key(tmp_path)
    certificates.ensure(tmp_path, "198.51.100.7", NOW)
    assert files.rsa_key.read_bytes() == key
    assert loaded(tmp_path)["rsa"] != first
    assert "198.51.100.7" in str(loaded(tmp_path)["rsa"].extensions)
    files.rsa_key.write_bytes(b"-----BEGIN PRIVATE KEY-----\n")
    certificates.ensure(tmp_path, now=NOW)
    assert not files.rsa_chain.exists()
    damaged = certificates.facts(tmp_path)
    assert damaged is not None
    assert damaged.rsa_fingerprint == "", "so that the key is made anew"
    certificates.make_rsa_key(tmp_path)
    certificates.ensure(tmp_path, now=NOW)
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(files.rsa_chain, files.rsa_key)
