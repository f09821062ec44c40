"""The licence of this box: its id, its licence file, and the use-cases opened with both.

The box id is derived from a random number made at first use and the machine's id, so that a licence copied with the data to another
machine is noticed and named. A licence that cannot be taken never stops anything: the limits are then those without a licence, with
the reason.

Whoever builds is the maker: `switchroom licence new-key` makes a pair once. Its public half is `maker.pem` beside this file in the checkout,
which wheel and image take in; a system that runs from a checkout takes the one in its data directory before that. The key that a build
holds no data directory changes. Without any, nobody can tell a true licence file from another one, and none is taken.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from appliance import cti
from appliance.config import licensing
from appliance.config.admin import Admin
from appliance.config.rights.acting import Acting
from appliance.config.store import Store
from appliance.host import privileges
from appliance.storage import on_disk
from appliance.words import Fact, Said

PUBLIC_HALF = "maker.pem"
MAKER_KEY = Path(__file__).with_name(PUBLIC_HALF)
CHECKOUT = Path(__file__).parents[2]
MACHINE_ID = Path("/etc/machine-id")
LICENCE_ROW = "licence"  # key of the journal's rows that say that another one was installed


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


def from_checkout() -> bool:
    """Whether this system runs from the files it is built from."""
    return (CHECKOUT / "setup.py").exists()


def maker_key(data: Path) -> Ed25519PublicKey | None:
    """None when there is none here; BadLicence when what is there is no such key."""
    of_data = data / PUBLIC_HALF
    file = of_data if from_checkout() and of_data.exists() else MAKER_KEY
    if not file.exists():
        return None
    try:
        key = serialization.load_pem_public_key(file.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm):
        raise licensing.BadLicence(Said.of("licence.bad-key", file=str(file))) from None
    if not isinstance(key, Ed25519PublicKey):
        raise licensing.BadLicence(Said.of("licence.other-key", file=str(file)))
    return key


def read_limits(data: Path, seen: float = 0.0) -> licensing.Limits:
    """What the licence file allows today; without one, or with a bad one, the free limits and why. seen: the latest time (unix) at which
    something was changed here."""
    file = licence_file(data)
    if not file.exists():
        return licensing.Limits()
    try:
        with file.open("rb") as opened:
            text = opened.read(licensing.LARGEST_FILE + 1).decode(errors="replace")
        return _verified(data, text, _day(seen))
    except licensing.BadLicence as error:
        why: Fact = error.said
    except OSError as error:
        why = f"{error.strerror}."
    return licensing.Limits(note=Said.of("licence.not-used", why=why, note=licensing.Limits().note))


def install(data: Path, text: str, acting: Acting) -> licensing.Limits:
    """Check a licence file and use it from now on, whole or not at all; BadLicence: the one before stays. Another licence than the one that
    is there counts from its own day: a clock that was ahead once does not shorten it."""
    acting.actor.demand("change", "licence")
    limits = _verified(data, text, date.min)
    if not licence_file(data).exists() or licence_file(data).read_text(errors="replace") != text:
        on_disk.write(licence_file(data), text.encode())
        acting.note("settings", LICENCE_ROW, Said("journal.licence"))
    return limits


def _verified(data: Path, text: str, seen: date) -> licensing.Limits:
    key = maker_key(data)
    if key is None:
        raise licensing.BadLicence(Said("licence.no-key"))
    return licensing.verify(text, key, box_id(data), datetime.now(UTC).date(), seen)


def _day(seen: float) -> date:
    try:
        return datetime.fromtimestamp(seen, UTC).date()
    except (ValueError, OverflowError, OSError):  # a clock that was out of its mind
        return date.min


def use_cases(store: Store, data: Path, announce: Callable[[int], None]) -> Admin:
    """The use-cases on a store, within what the licence in `data` allows."""
    return Admin(store, announce, lambda: read_limits(data, store.latest(since=LICENCE_ROW)))


@contextlib.contextmanager
def open_admin(data: Path) -> Iterator[Admin]:
    """The use-cases on the configuration in `data`; a running system is told of each change."""
    with privileges.as_owner(data), contextlib.closing(Store(data)) as store:
        yield use_cases(store, data, lambda revision: announce(data / "run", revision))


def announce(run: Path, revision: int) -> None:
    """Tell `calls` that there is a new revision; when it is not running it will read it at its start."""
    with contextlib.suppress(cti.Unavailable), cti.Client(str(run / "calls.sock"), seconds=2.0) as calls:
        calls.ask(cti.Applied(revision=revision))
