"""The private certificate authority of the box and its server certificates, made at first start; session ticket keys beside.

ECDSA P-256, and RSA 2048 for SIP phones that know no other. The authority lives 10 years, a server certificate 825 days; what has
30 days left is renewed, a server certificate also for another name or address. The authority keeps its key: what phones have installed
goes on being of use. A server certificate keeps its key too: who reads both files while one is renewed (a core that starts just when the
box gets its address) finds a pair that fits, before and after the one file is renamed. An RSA key takes up to seconds of a slow processor: `python -m appliance.host.certificates DATA` makes it, when there is time.

Clocks are wrong, and are set. One that says a time before this software was written was never set, and nothing is judged by it; what is
made meanwhile is valid from that time on. Time is an argument.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.storage import on_disk

AUTHORITY_LIFE = timedelta(days=3652)
SERVER_LIFE = timedelta(days=825)
RENEW_BEFORE = timedelta(days=30)
WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)  # no clock that is set says an earlier time

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Files:
    """Where things are: PEM files; `chain` is server certificate plus authority."""

    authority: Path
    chain: Path
    key: Path
    ticket_keys: bytes  # 80 bytes
    rsa_chain: Path  # the same for phones that know RSA only; there once their key has been made
    rsa_key: Path


@dataclass(frozen=True, slots=True)
class Facts:
    """What people compare and install."""

    authority_file: Path
    authority_fingerprint: str  # SHA-256, AA:BB:…
    server_fingerprint: str
    valid_until: float
    names: tuple[str, ...]
    rsa_fingerprint: str  # "": there is none yet
    good: tuple[float, float]  # Unix times from which and until which none has to be renewed

    def due(self, now: float) -> bool:
        """Whether `ensure` would renew one for its time."""
        return now >= WRITTEN.timestamp() and not self.good[0] <= now < self.good[1]


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
        folder / "authority.pem",
        folder / "server.pem",
        folder / "server.key",
        _ticket_keys(folder / "tickets.key"),
        folder / "rsa.pem",
        folder / "rsa.key",
    )
    names = wanted_names(host)
    if not _still_good(files.chain, files.key, authority, names, now):
        key = _key(files.key)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            key = ec.generate_private_key(ec.SECP256R1())
            on_disk.write(files.key, _pem(key))
        _sign(files.chain, key, authority, authority_key, names, now)
    rsa_key = _key(files.rsa_key)
    if not isinstance(rsa_key, rsa.RSAPrivateKey):
        files.rsa_chain.unlink(missing_ok=True)  # nobody can show it, and a core that tried would not start
    elif not _still_good(files.rsa_chain, files.rsa_key, authority, names, now):
        _sign(files.rsa_chain, rsa_key, authority, authority_key, names, now)
    return files


def make_rsa_key(data: Path) -> None:
    """The key of the RSA certificate, unless it is there; `ensure` makes the certificate. Takes long, so what is made is kept."""
    folder = data / "keys"
    if not isinstance(_key(folder / "rsa.key"), rsa.RSAPrivateKey):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        with _alone(folder):
            on_disk.write(folder / "rsa.key", _pem(key))


def _key(path: Path) -> object:
    """A private key; None: not there, or damaged."""
    try:
        return serialization.load_pem_private_key(path.read_bytes(), None)
    except (FileNotFoundError, ValueError):
        return None


def _sign(
    chain: Path,
    key: PrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    names: tuple[str, ...],
    now: datetime,
) -> None:
    begin = max(now, WRITTEN) - timedelta(days=1)  # phones' clocks are often behind
    certificate = (
        _builder(socket.gethostname() or "switchroom", key.public_key(), authority.subject, begin, begin + SERVER_LIFE)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    on_disk.write(
        chain,
        certificate.public_bytes(serialization.Encoding.PEM) + authority.public_bytes(serialization.Encoding.PEM),
    )


def facts(data: Path) -> Facts | None:
    """None before the first start."""
    folder = data / "keys"
    if not (folder / "server.pem").exists() or not (folder / "authority.pem").exists():
        return None
    server = x509.load_pem_x509_certificates((folder / "server.pem").read_bytes())[0]
    authority = x509.load_pem_x509_certificate((folder / "authority.pem").read_bytes())
    others = [x509.load_pem_x509_certificates(path.read_bytes())[0] for path in folder.glob("rsa.pem")]
    spans = [_good(certificate) for certificate in (server, authority, *others)]
    return Facts(
        folder / "authority.pem",
        _fingerprint(authority),
        _fingerprint(server),
        server.not_valid_after_utc.timestamp(),
        _names_of(server),
        _fingerprint(others[0]) if others else "",
        (max(begin.timestamp() for begin, _ in spans), min(end.timestamp() for _, end in spans)),
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
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Switchroom authority {os.urandom(4).hex()}")])
        on_disk.write(key_file, _pem(key))
        _sign_authority(certificate_file, key, name, now)
    loaded = serialization.load_pem_private_key(key_file.read_bytes(), None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{key_file.name} is not the key this box made")
    certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    if not _in_time(certificate, now):
        _sign_authority(certificate_file, loaded, certificate.subject, now)
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    return certificate, loaded


def _sign_authority(path: Path, key: ec.EllipticCurvePrivateKey, name: x509.Name, now: datetime) -> None:
    end = max(now, WRITTEN) + AUTHORITY_LIFE
    certificate = (
        _builder(name.rfc4514_string().removeprefix("CN="), key.public_key(), name, WRITTEN - timedelta(days=1), end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    on_disk.write(path, certificate.public_bytes(serialization.Encoding.PEM))


def _builder(
    common_name: str,
    public: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    issuer: x509.Name,
    begin: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])]))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _good(certificate: x509.Certificate) -> tuple[datetime, datetime]:
    """From when and until when it need not be renewed."""
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc - RENEW_BEFORE


def _in_time(certificate: x509.Certificate, now: datetime) -> bool:
    begin, end = _good(certificate)
    return now < WRITTEN or begin <= now < end


def _still_good(
    chain: Path, key_file: Path, authority: x509.Certificate, names: tuple[str, ...], now: datetime
) -> bool:
    if not chain.exists() or not key_file.exists():
        return False
    try:
        certificates = x509.load_pem_x509_certificates(chain.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except ValueError:  # damaged: the authority signs another one
        return False
    return (
        key.public_key() == certificates[0].public_key()  # the power may have gone between the two
        and certificates[1:] == [authority]
        and _in_time(certificates[0], now)
        and set(names) <= set(_names_of(certificates[0]))
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


def _pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


if __name__ == "__main__":
    make_rsa_key(Path(sys.argv[1]))
