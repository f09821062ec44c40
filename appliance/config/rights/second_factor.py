"""The second factor of a login: six digits from an app, another six every 30 seconds (TOTP, RFC 6238), and recovery codes for who has lost it. Pure.

The secret that both sides know is the seed. A code counts in its own 30 seconds and in those beside them, for clocks differ; which step of time it
belongs to is told, so that whoever checks refuses one that was used already. Recovery codes have 60 bits each, so that a plain hash
keeps them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable

import pyotp

STEP = 30  # seconds
BESIDE = 1  # steps before and after this one that count too
DIGITS = 6
RECOVERY_CODES = 10
_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"  # those of Crockford's base 32: none that look alike
_SEED_BITS = 160  # RFC 4226 section 4, R6


def new_seed() -> str:
    """Base32, as it is typed into an app by hand."""
    return pyotp.random_base32(_SEED_BITS // 5)


def address(seed: str, user: str, box: str) -> str:
    """What the QR code holds: otpauth://totp/…"""
    return pyotp.TOTP(seed, name=user, issuer=box).provisioning_uri()


def step_of(seed: str, code: str, now: float) -> int | None:
    """The step of time that a code belongs to; None when it is none of those that count at `now` (unix time)."""
    typed, clock, found = "".join(code.split()), pyotp.TOTP(seed), None
    if len(typed) != DIGITS or not (typed.isascii() and typed.isdecimal()):
        return None
    for step in range(int(now) // STEP - BESIDE, int(now) // STEP + BESIDE + 1):
        if hmac.compare_digest(clock.generate_otp(step), typed):
            found = step
    return found


def new_recovery_codes() -> list[str]:
    """Each can be used once: abcd-efgh-jkmn."""
    return ["-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(3)) for _ in range(RECOVERY_CODES)]


def kept(codes: Iterable[str]) -> str:
    """The form in which recovery codes are stored: their hashes."""
    return " ".join(map(_hash, codes))


def without(stored: str, code: str) -> str | None:
    """What is stored when this recovery code has been used; None when it is none of them."""
    hashes, used = stored.split(), _hash(code)
    return " ".join(each for each in hashes if each != used) if used in hashes else None


def _hash(code: str) -> str:
    plain = "".join(letter for letter in code.lower() if letter.isalnum())
    return hashlib.sha256(plain.translate(str.maketrans("oil", "011")).encode()).hexdigest()
