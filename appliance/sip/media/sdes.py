"""SRTP with keys in the description (SDES, RFC 4568): the keys of one leg.

A key of ours is one for the leg's life, so that SRTP state goes on over new offers; a far end that shows another key is perhaps another
device, which cannot know our rollover counter, and gets a new one. Our key lines are known again by their suite, of which each is offered
once: phones that renumber the tags mean the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import replace

from appliance.sip.errors import PeerError
from appliance.sip.text.sdp import SUITES, CryptoLine, Media

PROFILES = ("RTP/SAVP", "RTP/SAVPF")

# in order of preference; AES_256_CM is not offered, and taken from who has nothing else
PREFERENCE = ("AEAD_AES_128_GCM", "AEAD_AES_256_GCM", "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32")

# which every phone with SDES has (RFC 4568 §6.2): for one that dislikes the full list
ALONE = ("AES_CM_128_HMAC_SHA1_80",)


def chosen(media: Media) -> CryptoLine | None:
    """Their key line to use, by our preference."""
    suites = [*PREFERENCE, *SUITES]
    return min(media.crypto, key=lambda line: suites.index(line.suite), default=None)


def answered(offer: Media, answer: Media) -> tuple[CryptoLine, CryptoLine]:
    """Their key and ours, by an answer with keys to an offer of ours with keys."""
    for theirs in answer.crypto:
        ours = next((line for line in offer.crypto if line.suite == theirs.suite), None)
        if ours is not None:
            return theirs, ours
    raise PeerError(488, "The answer chose a key that was not offered")


class Keys:
    """Ours, by suite. `random(n)` gives n random bytes."""

    def __init__(self, random: Callable[[int], bytes], known: Iterable[CryptoLine] = ()) -> None:
        self._random = random
        self._known = {line.suite: line for line in known}

    def __iter__(self) -> Iterator[CryptoLine]:
        return iter(self._known.values())

    def offer(self, suites: Iterable[str], used: CryptoLine | None) -> tuple[CryptoLine, ...]:
        """What is in use first: a phone that looks at the first key line only keeps it."""
        ordered = sorted(suites, key=lambda suite: used is None or suite != used.suite)
        return tuple(self._key(suite, tag) for tag, suite in enumerate(ordered, 1))

    def answer(self, line: CryptoLine, used: CryptoLine | None) -> CryptoLine:
        """Ours for their key line; `used` is their key until now."""
        if used is not None and used.key != line.key:
            self._known.pop(line.suite, None)
        return self._key(line.suite, line.tag)

    def _key(self, suite: str, tag: int) -> CryptoLine:
        if suite not in self._known:
            key_size, salt_size = SUITES[suite]
            self._known[suite] = CryptoLine(tag, suite, self._random(key_size), self._random(salt_size))
        return replace(self._known[suite], tag=tag)
