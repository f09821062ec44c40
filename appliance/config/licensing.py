"""The licence: what is counted, what it allows, and why. Pure: the file, the box id and the date are arguments.

A licence is a JSON object {"licence": {…}, "signature": hex} signed with Ed25519 over the canonical form of its inner object.
No call is ever refused because of a licence; only adding users and extensions is. Service extensions, registrations, groups and trunks do not count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from appliance.config.model import Extension, Problem, Record, Snapshot, User
from appliance.words import Day, Explained, Said

FREE_USERS = 5
EXTENSIONS_PER_USER = 3
LARGEST_FILE = 16_384
CLOCK_SLACK = timedelta(days=1)  # a clock that is behind by less was not set back
REMEDY = Said("licence.remedy")
UNLICENSED = Said.of("licence.none", users=FREE_USERS)


class BadLicence(Explained):
    """The file cannot be taken."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be added. `note` is a sentence for the licence page."""

    users: int = FREE_USERS
    edition: str = "free"
    expires: date | None = None
    maintenance_until: date | None = None
    adding_refused: Said | None = None  # why nothing may be added at all
    note: Said = UNLICENSED

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
    def users_left(self) -> int:
        return 0 if self.limits.adding_refused else max(0, self.limits.users - self.users)

    @property
    def extensions_left(self) -> int:
        return 0 if self.limits.adding_refused else max(0, self.limits.extensions - self.extensions)

    @property
    def words(self) -> Said:
        return Said.of(
            "licence.usage",
            allowed=self.limits.users, users=self.users, users_left=self.users_left, each=EXTENSIONS_PER_USER,
            extensions_allowed=self.limits.extensions, extensions=self.extensions, extensions_left=self.extensions_left,
        )  # fmt: skip


def canonical(licence: Mapping[str, Any]) -> bytes:
    return json.dumps(licence, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def issue(
    private: Ed25519PrivateKey,
    *,
    box: str,
    users: int,
    edition: str,
    issued: date,
    expires: date | None,
    maintenance_until: date | None,
) -> str:
    """The maker's side: a licence file as text."""
    licence = {
        "box": box, "users": users, "edition": edition, "issued": issued.isoformat(),
        "expires": expires.isoformat() if expires else None, "maintenance_until": maintenance_until.isoformat() if maintenance_until else None,
    }  # fmt: skip
    return json.dumps({"licence": licence, "signature": private.sign(canonical(licence)).hex()}, indent=1)


def verify(text: str, public: Ed25519PublicKey, box: str, today: date, seen: date = date.min) -> Limits:
    """Limits of a licence file; BadLicence says what is wrong with it. An expired one keeps its users but refuses adding. `seen` is the
    latest day that this box has known: where the clock is behind that, or behind the day of the licence, it was set back, and the later
    day decides."""
    if len(text) > LARGEST_FILE:
        raise BadLicence(Said("licence.too-large"))
    try:
        outer = json.loads(text)
        licence, signature = outer["licence"], bytes.fromhex(outer["signature"])
        public.verify(signature, canonical(licence))
        owner, users, edition = str(licence["box"]), int(licence["users"]), str(licence["edition"])
        issued = date.fromisoformat(licence["issued"])
        expires, maintenance = (
            date.fromisoformat(licence[name]) if licence[name] else None for name in ("expires", "maintenance_until")
        )
    except InvalidSignature:
        raise BadLicence(Said("licence.not-signed")) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # RecursionError: json of a thousand brackets
        raise BadLicence(Said("licence.no-file")) from None
    if users < 1:
        raise BadLicence(Said("licence.no-users"))
    if owner != box:
        raise BadLicence(Said.of("licence.of-another-box", owner=owner, box=box))
    known = Limits(users, edition, expires, maintenance, note=Said.of("licence.what", edition=edition.capitalize(), users=users))
    return _judged(known, today, max(seen, issued))


def _judged(limits: Limits, today: date, seen: date) -> Limits:
    """With what the day makes of them."""
    day = max(today, seen)
    if limits.expires is not None and day > limits.expires:
        refusal = Said.of("licence.expired", day=Day(limits.expires.isoformat()))
        limits = replace(limits, adding_refused=refusal, note=refusal)
    if seen - today > CLOCK_SLACK:
        back = Said.of("licence.clock-back", today=Day(today.isoformat()), seen=Day(seen.isoformat()))
        limits = replace(limits, note=Said.of("licence.both", note=limits.note, more=back))
    return limits


def usage(snapshot: Snapshot, limits: Limits) -> Usage:
    return Usage(len(snapshot.users), len(snapshot.extensions), limits)


def check_adding(records: Sequence[Record], before: Snapshot, limits: Limits) -> list[Problem | None]:
    """For each of these new records, in their order, why it is not covered; None: it is. Somebody who can administrate is never one too
    many while there is nobody: the box would stay locked. `before` is without them."""
    users, extensions = len(before.users), len(before.extensions)
    found: list[Problem | None] = []
    for record in records:
        problem = None
        if isinstance(record, User | Extension):
            rescue = isinstance(record, User) and record.role == "full" and not before.has_administrator
            said = None if rescue else _one_more(record, users, extensions, limits)
            problem = Problem("", said) if said else None
            users, extensions = users + isinstance(record, User), extensions + isinstance(record, Extension)
        found.append(problem)
    return found


def _one_more(record: Record, users: int, extensions: int, limits: Limits) -> Said | None:
    """Why there may not be one more beside so many; None when there may."""
    if limits.adding_refused:
        return limits.adding_refused
    if isinstance(record, User) and users >= limits.users:
        return Said.of("licence.users-full", allowed=limits.users, used=users, remedy=REMEDY)
    if isinstance(record, Extension) and extensions >= limits.extensions:
        allowed = limits.extensions
        return Said.of("licence.extensions-full", allowed=limits.users, extensions=allowed, used=extensions, remedy=REMEDY)
    return None
