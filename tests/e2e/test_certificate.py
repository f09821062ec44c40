"""Certificates renewed and added while the whole system runs, as a phone and a browser see it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from appliance.host import certificates
from appliance.softphone.phone import Account, Softphone
from tests.e2e.running import System, wait_until

LEAD = 25  # seconds until the certificate is due: the start of a system on a busy machine


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    """A system whose certificate becomes due soon after the start."""
    data = tmp_path / "var"
    monkeypatch.setattr(certificates, "SERVER_LIFE", certificates.RENEW_BEFORE + timedelta(days=1, seconds=LEAD))
    certificates.ensure(data)
    system = System(data)
    system.start()
    yield system
    assert system.stop() == 0


def shown(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port))


def rsa_only(system: System) -> ssl.SSLSocket | None:
    """An older desk phone: TLS 1.2 with ECDHE-RSA suites alone. None: its handshake fails."""
    context = ssl.create_default_context(cafile=str(system.authority))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256")
    try:
        raw = socket.create_connection(("127.0.0.1", system.sips_port), 10)
        return context.wrap_socket(raw, server_hostname="127.0.0.1")
    except (ssl.SSLError, ConnectionResetError):
        return None


async def test_certificates_are_renewed_and_added_and_no_connection_ends(own: System) -> None:
    credentials = own.add_extension(encrypt="required")
    account = Account(
        "127.0.0.1", own.sips_port, "TLS", credentials.number, credentials.username, credentials.password, str(own.authority)
    )  # fmt: skip
    pids = {name: own.pid(name) for name in ("core", "calls", "web")}
    ports = own.sips_port, own.admin_port, own.user_port
    before = {port: shown(port) for port in ports}
    assert len(set(before.values())) == 1
    assert rsa_only(own) is None
    async with Softphone(account) as phone:
        wait_until(lambda: all(shown(port) != before[port] for port in ports), "other certificates", 60)
        assert len({shown(port) for port in ports}) == 1
        fresh = x509.load_pem_x509_certificate(shown(own.sips_port).encode())
        assert fresh.not_valid_after_utc - fresh.not_valid_before_utc == timedelta(days=825)
        wait_until(lambda: (own.data / "keys/rsa.pem").exists(), "the RSA certificate", 60)
        wait_until(lambda: (found := rsa_only(own)) is not None and found.close() is None, "RSA to be shown", 20)
        (other,) = x509.load_pem_x509_certificates((own.data / "keys/rsa.pem").read_bytes())[:1]
        assert isinstance(other.public_key(), rsa.RSAPublicKey)
        assert phone.connected, "the connection of before"
        await phone.register()
    assert {name: own.pid(name) for name in pids} == pids
