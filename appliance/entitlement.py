"""The licence of this box: its id, its licence file, and the use-cases opened with both.

The box id is derived from a random number made at first use and the machine's id, so that a licence copied with the data to another
machine is noticed and named. A licence that cannot be taken never stops anything: the limits are then those without a licence, with
the reason. Signatures are checked with the maker's public key, `maker.pem` beside this file (`switchroom licence new-key` makes a pair).
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from appliance import cti, licensing, on_disk
from appliance.admin import Admin
from appliance.store import Store

MAKER_KEY = Path(__file__).with_name("maker.pem")
MACHINE_ID = Path("/etc/machine-id")


def licence_file(data: Path) -> Path:
    return data / "licence.json"


def box_id(data: Path) -> str:
    """Four groups of four letters and digits, the same as long as data and machine are."""
    seed_file = data / "keys/box.id"
    if not seed_file.exists():
        on_disk.make(seed_file, secrets.token_hex(16).encode())
    machine = MACHINE_ID.read_bytes() if MACHINE_ID.exists() else b""
    digest = hashlib.sha256(seed_file.read_bytes() + machine).hexdigest()[:16].upper()
    return "-".join(digest[start : start + 4] for start in range(0, 16, 4))


def maker_key() -> Ed25519PublicKey:
    """BadLicence when this build has none."""
    if not MAKER_KEY.exists():
        raise licensing.BadLicence("This build holds no maker's key, so no licence file can be checked.")
    key = serialization.load_pem_public_key(MAKER_KEY.read_bytes())
    if not isinstance(key, Ed25519PublicKey):
        raise licensing.BadLicence("The maker's key of this build is not an Ed25519 key.")
    return key


def read_limits(data: Path) -> licensing.Limits:
    """What the licence file allows today; without one, or with a bad one, the free limits and why."""
    file = licence_file(data)
    if not file.exists():
        return licensing.Limits()
    try:
        return licensing.verify(file.read_text(errors="replace"), maker_key(), box_id(data), datetime.now(UTC).date())
    except (licensing.BadLicence, OSError) as error:
        return licensing.Limits(note=f"The licence file is not used: {error}")


def install(data: Path, text: str) -> licensing.Limits:
    """Check a licence file and use it from now on, whole or not at all; BadLicence: the one before stays."""
    limits = licensing.verify(text, maker_key(), box_id(data), datetime.now(UTC).date())
    on_disk.write(licence_file(data), text.encode())
    return limits


@contextlib.contextmanager
def open_admin(data: Path) -> Iterator[Admin]:
    """The use-cases on the configuration in `data`; a running system is told of each change."""
    store = Store(data)
    try:
        yield Admin(store, lambda revision: announce(data / "run", revision), lambda: read_limits(data))
    finally:
        store.close()


def announce(run: Path, revision: int) -> None:
    """Tell `calls` that there is a new revision; when it is not running it will read it at its start."""
    with contextlib.suppress(cti.Unavailable), cti.Client(str(run / "calls.sock"), seconds=2.0) as calls:
        calls.ask(cti.Applied(revision=revision))
