"""Timing loops of benchmarks/srtp.py, in C."""

class Load:
    """`streams` contexts of one suite in both directions, with a packet each."""

    def __init__(self, suite: str, key: bytes, salt: bytes, backend: str, streams: int) -> None: ...
    def run(self, batch: int, tag: int, seconds: float) -> tuple[float, float]:
        """ns per packet of (protect, unprotect) in batches of `batch`: the median of the passes made in `seconds`."""

def run_foreign(function: int, sessions: list[int], seconds: float) -> float:
    """ns per packet of the C function at an address, (session *, packet *, int *length) -> 0; the median pass."""
