"""The licence: what is counted, what it allows, and why. Pure: the file, the box id and the date are arguments.

A licence is a JSON object {"licence": {…}, "signature": hex} signed with Ed25519 over the canonical form of its inner object.
No call is ever refused because of a licence; only adding is. Service extensions, registrations, groups and trunks do not count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from appliance.model import Problem, Refused, Snapshot

FREE_USERS = 5
EXTENSIONS_PER_USER = 3
LARGEST_FILE = 16_384


class BadLicence(Exception):
    """The file cannot be taken; the message says why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be added. `note` is a sentence for the licence page."""

    users: int = FREE_USERS
    edition: str = "free"
    expires: date | None = None
    maintenance_until: date | None = None
    adding_refused: str = ""  # why nothing may be added at all, in a sentence
    note: str = "No licence file: the whole product for 5 users."

    @property
    def extensions(self) -> int:
        return self.users * EXTENSIONS_PER_USER


@dataclass(frozen=True, slots=True)
class Usage:
    """What counts, how many, what remains, and the words for it."""

    users: int
    extensions: int
    limits: Limits

    @property
    def extensions_left(self) -> int:
        return max(0, self.limits.extensions - self.extensions)

    @property
    def words(self) -> str:
        return (
            f"{self.limits.users} licensed users allow {self.limits.extensions} extensions ({EXTENSIONS_PER_USER} for each user). "
            f"{self.extensions} are in use, {self.extensions_left} can be added. "
            "Not counted: service extensions, lines and registrations."
        )


def canonical(licence: Mapping[str, Any]) -> bytes:
    return json.dumps(licence, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def issue(
    private: Ed25519PrivateKey,
    *,
    box: str,
    users: int,
    edition: str,
    expires: date | None,
    maintenance_until: date | None,
) -> str:
    """The maker's side: a licence file as text."""
    licence = {
        "box": box, "users": users, "edition": edition,
        "expires": expires.isoformat() if expires else None, "maintenance_until": maintenance_until.isoformat() if maintenance_until else None,
    }  # fmt: skip
    return json.dumps({"licence": licence, "signature": private.sign(canonical(licence)).hex()}, indent=1)


def verify(text: str, public: Ed25519PublicKey, box: str, today: date) -> Limits:
    """Limits of a licence file; BadLicence says what is wrong with it. An expired one keeps its users but refuses adding."""
    if len(text) > LARGEST_FILE:
        raise BadLicence("This is not a licence file: it is too large.")
    try:
        outer = json.loads(text)
        licence, signature = outer["licence"], bytes.fromhex(outer["signature"])
        public.verify(signature, canonical(licence))
        owner, users, edition = str(licence["box"]), int(licence["users"]), str(licence["edition"])
        expires, maintenance = (
            date.fromisoformat(licence[name]) if licence[name] else None for name in ("expires", "maintenance_until")
        )
    except InvalidSignature:
        raise BadLicence("The licence file was changed after it was signed, or is not ours.") from None
    except (ValueError, KeyError, TypeError, RecursionError):  # RecursionError: json of a thousand brackets
        raise BadLicence("This is not a licence file.") from None
    if users < 1:
        raise BadLicence("This licence is for no users at all.")
    if owner != box:
        raise BadLicence(f"This licence belongs to the box {owner}; this box is {box}.")
    expired = expires is not None and today > expires
    refusal = (
        f"The licence expired on {expires}. Everything that is set up goes on working; renew it to add more."
        if expired
        else ""
    )
    return Limits(
        users, edition, expires, maintenance, refusal, refusal or f"{edition.capitalize()} licence for {users} users."
    )


def usage(snapshot: Snapshot, limits: Limits) -> Usage:
    return Usage(len(snapshot.users), len(snapshot.extensions), limits)


def check_adding(kind: str, snapshot: Snapshot, limits: Limits) -> None:
    """Refused when one more record of the kind is not covered."""
    if kind != "extension":
        return
    if limits.adding_refused:
        raise Refused(Problem("", limits.adding_refused))
    count = len(snapshot.extensions)
    if count >= limits.extensions:
        raise Refused(
            Problem(
                "",
                f"This box is licensed for {limits.users} users, which allows {limits.extensions} extensions; {count} are in use. "
                "Remove one or add a licence for more users.",
            )
        )
