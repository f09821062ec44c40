"""What people may choose as a password, and why not. Not for SIP passwords, which are generated.

A password is refused when somebody who tries the common ones would find it: when it is one of them, or one with a few digits or signs
around it, with letters written as digits or signs, or repeated. The list (`common_passwords.xz`, one a line, sorted, small letters) holds
those with at least five characters of the list in zxcvbn-ts (@zxcvbn-ts/language-common 4.1.3), whose licence lies beside it. It is read
when the first password is chosen.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from appliance.words import Said

SHORTEST = 10
LONGEST = 256
ADVICE = Said("password.advice")
TOO_SHORT = Said.of("password.too-short", least=SHORTEST, advice=ADVICE)
COMMON = Path(__file__).with_name("common_passwords.xz")
AROUND = 4  # digits and signs at either end that make no other password out of a common one
RUNS = ("01234567890", "abcdefghijklmnopqrstuvwxyz", "qwertzuiopü", "azertyuiopq", "yxcvbnm,.-")  # and backwards
SHORTEST_NAME = 3  # that a password must not be made of: a shorter one is in many words
LETTERS = str.maketrans("@4301!$57", "aaeoiisst")  # what stands for a letter


@cache
def common() -> frozenset[str]:
    """The common passwords, in small letters."""
    return frozenset(lzma.decompress(COMMON.read_bytes()).decode().split("\n"))


def weakness(password: str, *names: str) -> Said | None:
    """Why this password may not be chosen by a person with these names; None when it may."""
    if len(password) < SHORTEST:
        return TOO_SHORT
    if len(password) > LONGEST:
        return Said.of("password.too-long", most=LONGEST)
    plain = password.casefold()
    for name in (name.casefold() for name in names):
        if len(name) >= SHORTEST_NAME and name in plain and len(password) < len(name) + SHORTEST:
            return Said.of("password.a-name", advice=ADVICE)
    if len(set(password)) < 4:
        return Said.of("password.few", advice=ADVICE)
    if any(plain in run or plain in run[::-1] for run in RUNS):
        return Said.of("password.in-order", advice=ADVICE)
    if any(map(_tried_first, _cores(plain))):
        return Said.of("password.common", advice=ADVICE)
    return None


def _cores(plain: str) -> Iterator[str]:
    """What is left of a password without what people put around a common one."""
    ahead, behind = (1 + _signs(text) for text in (plain, plain[::-1]))
    for start in range(ahead):
        for end in range(behind):
            core = plain[start : len(plain) - end]
            yield core
            yield core.translate(LETTERS)


def _tried_first(text: str) -> bool:
    """A common one, or one that is repeated; likewise a few letters of any kind, repeated."""
    part = _repeated(text)
    return text in common() or part in common() or (len(part) < 5 and len(text) >= 2 * len(part))


def _signs(text: str) -> int:
    """How many digits and signs it begins with, up to AROUND."""
    return next((place for place, letter in enumerate(text[:AROUND]) if letter.isalpha()), min(AROUND, len(text)))


def _repeated(text: str) -> str:
    """What the text repeats from its beginning to its end (passpasspa: pass); the text itself when it does not."""
    return text[: (text + text).find(text, 1)]
