"""What the SRTP tests share: the backends of this machine, random keys and packets."""

import random

from media_core.srtp.srtp import BACKENDS, SUITE_NAMES, Session, backend_name, key_lengths

BACKENDS_HERE = [name for name in BACKENDS if name != "auto" and backend_name(name)]
SUITES = list(SUITE_NAMES)


def make_keys(suite: str, dice: random.Random) -> tuple[bytes, bytes]:
    key, salt = key_lengths(suite)
    return dice.randbytes(key), dice.randbytes(salt)


def pair(suite: str, dice: random.Random, backend: str = "auto", mki_length: int = 0) -> tuple[Session, Session]:
    key, salt = make_keys(suite, dice)
    return Session(suite, key, salt, "out", backend), Session(suite, key, salt, "in", backend, mki_length)


def rtp(sequence: int, dice: random.Random, payload: int = 160, ssrc: int = 0x01020304, plain: bool = False) -> bytes:
    """An RTP packet; unless `plain`, some have CSRCs and a header extension."""
    csrcs = 0 if plain else dice.choice((0, 0, 0, 1, 3, 15))
    extension = not plain and dice.random() < 0.3
    words = dice.randrange(5)
    header = bytes([0x80 | extension << 4 | csrcs, dice.choice((0, 8, 0x80, 101))])
    header += (sequence & 0xFFFF).to_bytes(2) + dice.randbytes(4) + ssrc.to_bytes(4) + dice.randbytes(4 * csrcs)
    if extension:
        header += b"\xbe\xde" + words.to_bytes(2) + dice.randbytes(4 * words)
    return header + dice.randbytes(payload)


def rtcp(dice: random.Random, words: int = 5, ssrc: int = 0x01020304) -> bytes:
    return bytes([0x80, 200]) + (words + 1).to_bytes(2) + ssrc.to_bytes(4) + dice.randbytes(4 * words)
