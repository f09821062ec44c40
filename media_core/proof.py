"""Does the cipher code that this core has chosen do what SRTP says? It is asked at each start, against libsrtp, before it carries a call.

Random packets of every suite that libsrtp has go both ways: what ours seals libsrtp opens, what libsrtp seals ours opens, in batches wide
enough for every lane of the multi-buffer library, and RTCP. (AES_256_CM, which pylibsrtp does not offer, is held against OpenSSL when
an engine is made.) Where something differs, OpenSSL's code is taken, and the supervisor shows an alarm.
"""

from __future__ import annotations

import os
import random

import pylibsrtp

from media_core.records import Proof
from media_core.srtp.srtp import Session, backend_name, disproved, key_lengths, run_batch

PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    "AEAD_AES_128_GCM": pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}
PACKETS = 24  # of each suite and way; more than the widest batch has lanes
SSRC = 0x53575243


def prove() -> Proof:
    """Try the code of this machine; some ten milliseconds."""
    libsrtp = f"libsrtp (pylibsrtp {pylibsrtp.__version__})"
    chosen, plain = backend_name("auto"), backend_name("openssl")
    wrong = disproved()
    if wrong:
        return Proof("openssl", f"{plain}, because {wrong} differs from OpenSSL", good=False)
    suites = differing("auto")
    if not suites:
        return Proof("auto", f"{chosen}, the same as {libsrtp}")
    what = f"{chosen} differs from {libsrtp} in {', '.join(suites)}"
    if chosen == plain or (suites := differing("openssl")):
        return Proof(
            "openssl",
            f"{what}, and nothing else is there" if chosen == plain else f"{what}, and so does {plain}",
            good=False,
        )
    return Proof("openssl", f"{plain}, because {what}", good=False)


def differing(backend: str) -> list[str]:
    """The suites in which this code of ours and libsrtp do not understand each other."""
    dice = random.Random(os.urandom(16))
    return [suite for suite in PROFILES if not _agree(suite, backend, dice)]


def _agree(suite: str, backend: str, dice: random.Random) -> bool:
    key_length, salt_length = key_lengths(suite)
    key, salt = os.urandom(key_length), os.urandom(salt_length)
    policy = pylibsrtp.Policy(key + salt, pylibsrtp.Policy.SSRC_ANY_OUTBOUND, srtp_profile=PROFILES[suite])
    their_out = pylibsrtp.Session(policy)
    policy.ssrc_type = pylibsrtp.Policy.SSRC_ANY_INBOUND
    their_in = pylibsrtp.Session(policy)
    our_out, our_in = (Session(suite, key, salt, way, backend) for way in ("out", "in"))
    first = dice.randrange(0x10000)
    clear = [_rtp(first + n, dice) for n in range(PACKETS)]
    report = bytes((0x80, 201, 0, 1)) + SSRC.to_bytes(4)
    try:
        ours = run_batch([our_out] * PACKETS, clear)
        return (
            [bytes(their_in.unprotect(packet)) if isinstance(packet, bytes) else b"" for packet in ours] == clear
            and run_batch([our_in] * PACKETS, [bytes(their_out.protect(packet)) for packet in clear]) == clear
            and bytes(their_in.unprotect_rtcp(our_out.protect_rtcp(report))) == report
            and our_in.unprotect_rtcp(bytes(their_out.protect_rtcp(report))) == report
        )
    except (pylibsrtp.Error, ValueError):
        return False


def _rtp(sequence: int, dice: random.Random) -> bytes:
    head = bytes((0x80, 8)) + (sequence & 0xFFFF).to_bytes(2) + dice.randbytes(4) + SSRC.to_bytes(4)
    return head + dice.randbytes(dice.randrange(1, 400))
