"""The private certificate authority of the box and its server certificate, made at first start; session ticket keys beside.

ECDSA P-256. The authority lives 10 years, the server certificate 825 days; it is renewed when 30 days are left or the box has
another name or address. Time is an argument.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance import on_disk

AUTHORITY_LIFE = timedelta(days=3652)
SERVER_LIFE = timedelta(days=825)
RENEW_BEFORE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Files:
    """Where things are: PEM files; `chain` is server certificate plus authority."""

    authority: Path
    chain: Path
    key: Path
    ticket_keys: bytes  # 80 bytes


@dataclass(frozen=True, slots=True)
class Facts:
    """What people compare and install."""

    authority_file: Path
    authority_fingerprint: str  # SHA-256, AA:BB:…
    server_fingerprint: str
    valid_until: float
    names: tuple[str, ...]


def ensure(data: Path, host: str = "127.0.0.1", now: datetime | None = None) -> Files:
    """Make what is missing, damaged or about to end; returns the files. A damaged authority, which phones trust, raises ValueError."""
    folder = data / "keys"
    on_disk.make_folder(folder)
    with _alone(folder):
        return _ensure(folder, host, now or datetime.now(UTC))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The supervisor and the pages come here at the same moment when the box gets an address: key and certificate of two makers fit
    together as little as halves of two files."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _ensure(folder: Path, host: str, now: datetime) -> Files:
    authority, authority_key = _authority(folder, now)
    files = Files(
        folder / "authority.pem", folder / "server.pem", folder / "server.key", _ticket_keys(folder / "tickets.key")
    )
    names = wanted_names(host)
    if not _still_good(files, authority, names, now):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(socket.gethostname() or "switchroom", key.public_key(), authority.subject, now, SERVER_LIFE)
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
            )
            .sign(authority_key, hashes.SHA256())
        )
        on_disk.write(files.key, _pem(key))
        on_disk.write(
            files.chain,
            certificate.public_bytes(serialization.Encoding.PEM) + authority.public_bytes(serialization.Encoding.PEM),
        )
    return files


def facts(data: Path) -> Facts | None:
    """None before the first start."""
    folder = data / "keys"
    if not (folder / "server.pem").exists() or not (folder / "authority.pem").exists():
        return None
    server = x509.load_pem_x509_certificates((folder / "server.pem").read_bytes())[0]
    authority = x509.load_pem_x509_certificate((folder / "authority.pem").read_bytes())
    return Facts(
        folder / "authority.pem",
        _fingerprint(authority),
        _fingerprint(server),
        server.not_valid_after_utc.timestamp(),
        _names_of(server),
    )


def wanted_names(host: str) -> tuple[str, ...]:
    """The names and addresses under which phones and browsers may reach this box."""
    names = ["localhost", "127.0.0.1", "::1", socket.gethostname(), f"{socket.gethostname().split('.')[0]}.local"]
    if host not in ("0.0.0.0", "::"):
        names.append(host)
    for probe in (
        "192.0.2.1",
        "2001:db8::1",
    ):  # documentation addresses: nothing is sent, the kernel only picks our address
        family = socket.AF_INET6 if ":" in probe else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect((probe, 9))
                names.append(sock.getsockname()[0])
        except OSError:
            pass  # no network of this kind
    return tuple(dict.fromkeys(name for name in names if name))


def _authority(folder: Path, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate_file, key_file = folder / "authority.pem", folder / "authority.key"
    if not certificate_file.exists() or not key_file.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        name = f"Switchroom authority {os.urandom(4).hex()}"
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(name, key.public_key(), subject, now, AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        on_disk.write(key_file, _pem(key))
        on_disk.write(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))
    loaded = serialization.load_pem_private_key(key_file.read_bytes(), None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{key_file.name} is not the key this box made")
    return x509.load_pem_x509_certificate(certificate_file.read_bytes()), loaded


def _builder(
    common_name: str, public: ec.EllipticCurvePublicKey, issuer: x509.Name, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])]))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # phones' clocks are often behind
        .not_valid_after(now + life)
    )


def _still_good(files: Files, authority: x509.Certificate, names: tuple[str, ...], now: datetime) -> bool:
    if not files.chain.exists() or not files.key.exists():
        return False
    try:
        certificate = x509.load_pem_x509_certificates(files.chain.read_bytes())[0]
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    except ValueError:  # damaged: the authority signs another one
        return False
    return (
        key.public_key() == certificate.public_key()  # the power may have gone between the two
        and certificate.issuer == authority.subject
        and certificate.not_valid_after_utc - now > RENEW_BEFORE
        and set(names) <= set(_names_of(certificate))
    )


def _names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return tuple(str(name.value) for name in names)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _ticket_keys(path: Path) -> bytes:
    if not path.exists():
        on_disk.write(path, os.urandom(80))
    return path.read_bytes()


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
