"""G.711 by its tables of decision values (ITU-T G.711, tables 1a and 2a), one comparison after the other."""

from bisect import bisect_right
from itertools import accumulate

A_STEPS = [2] * 32 + [4] * 16 + [8] * 16 + [16] * 16 + [32] * 16 + [64] * 16 + [128] * 16  # of 4096
MU_STEPS = [1] + [2] * 15 + [4] * 16 + [8] * 16 + [16] * 16 + [32] * 16 + [64] * 16 + [128] * 16 + [256] * 16  # of 8159
A_DECISIONS = [0, *accumulate(A_STEPS)]
MU_DECISIONS = [0, *accumulate(MU_STEPS)]


def encode_a(sample: int) -> int:
    """A 16-bit sample."""
    value = sample >> 3
    code = bisect_right(A_DECISIONS, value if value >= 0 else -value - 1) - 1
    return (code | (0x80 if value >= 0 else 0)) ^ 0x55


def decode_a(octet: int) -> int:
    code = (octet ^ 0x55) & 0x7F
    middle = (A_DECISIONS[code] + A_DECISIONS[code + 1]) * 8 // 2
    return middle if octet & 0x80 else -middle


def encode_mu(sample: int) -> int:
    value = sample >> 2
    code = min(bisect_right(MU_DECISIONS, abs(value)) - 1, 127)
    return ~(code | (0 if value >= 0 else 0x80)) & 0xFF


def decode_mu(octet: int) -> int:
    code = ~octet & 0x7F
    middle = (MU_DECISIONS[code] + MU_DECISIONS[code + 1]) * 4 // 2 if code else 0
    return middle if octet & 0x80 else -middle
