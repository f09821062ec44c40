"""What one SRTP packet costs: python -m benchmarks.srtp [--seconds N] [--streams N] [--batch N].

A 172-byte packet (20 ms of G.711), 2,000 streams with their own keys and state, the whole operation: header check,
index, replay window, cipher, tag. Beside ours: our OpenSSL path, libsrtp's C function out of pylibsrtp's wheel, and
pylibsrtp from Python. Every figure is the median pass over all streams, so a neighbour on the machine moves it little.
The last line is one JSON object; cm80_ns and gcm128_ns are protect in batches with the best backend of this machine.
"""

import argparse
import ctypes
import json
import os
import platform
import statistics
import time

import pylibsrtp
from pylibsrtp import Policy

from media_core.srtp import srtp
from media_core.srtp.srtp_bench import Load, run_foreign

SUITES = {  # short name: SDES name, tag octets, pylibsrtp profile (None: it has none)
    "cm80": ("AES_CM_128_HMAC_SHA1_80", 10, Policy.SRTP_PROFILE_AES128_CM_SHA1_80),
    "cm32": ("AES_CM_128_HMAC_SHA1_32", 4, Policy.SRTP_PROFILE_AES128_CM_SHA1_32),
    "cm256": ("AES_256_CM_HMAC_SHA1_80", 10, None),
    "gcm128": ("AEAD_AES_128_GCM", 16, Policy.SRTP_PROFILE_AEAD_AES_128_GCM),
    "gcm256": ("AEAD_AES_256_GCM", 16, Policy.SRTP_PROFILE_AEAD_AES_256_GCM),
}
PACKET = bytes.fromhex("80000000000000000000000a") + b"\xd5" * 160


def keys(suite: str) -> tuple[bytes, bytes]:
    key, salt = srtp.key_lengths(suite)
    return os.urandom(key), os.urandom(salt)


def ours(name: str, backend: str, streams: int, batch: int, seconds: float) -> dict[str, float]:
    suite, tag, _ = SUITES[name]
    load = Load(suite, *keys(suite), backend, streams)
    protect, unprotect = load.run(batch, tag, seconds)
    return {"protect": round(protect, 1), "unprotect": round(unprotect, 1)}


def sessions(name: str, streams: int) -> list[pylibsrtp.Session]:
    suite, _, profile = SUITES[name]
    return [
        pylibsrtp.Session(
            Policy(key=b"".join(keys(suite)), ssrc_type=Policy.SSRC_ANY_OUTBOUND, ssrc_value=0, srtp_profile=profile)
        )
        for _ in range(streams)
    ]


def libsrtp_from_python(name: str, streams: int, seconds: float) -> float:
    loads = sessions(name, streams)
    passes: list[float] = []
    sequence = 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(passes) < 3:
        sequence = sequence % 30000 + 1
        packet = PACKET[:2] + sequence.to_bytes(2) + PACKET[4:]
        started = time.perf_counter_ns()
        for session in loads:
            session.protect(packet)
        passes.append((time.perf_counter_ns() - started) / streams)
    return round(statistics.median(passes), 1)


def libsrtp_c(name: str, streams: int, seconds: float) -> float | str:
    """Its C function, called in the same kind of loop as ours; a sentence if the wheel does not give it out."""
    try:
        library = ctypes.CDLL(pylibsrtp._binding.__file__)
        function = ctypes.cast(library.srtp_protect, ctypes.c_void_p).value
        library.srtp_get_version.restype = ctypes.c_uint
        if function is None or library.srtp_get_version() >> 24 != 2:
            return "left out: another interface than that of libsrtp 2"
    except (OSError, AttributeError) as problem:
        return f"left out: {problem}"
    loads = sessions(name, streams)
    addresses = [int(pylibsrtp.ffi.cast("uintptr_t", session._srtp[0])) for session in loads]  # type: ignore[attr-defined]
    return round(run_foreign(function, addresses, seconds), 1)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--seconds", type=float, default=0.5, help="per figure")
    arguments.add_argument("--streams", type=int, default=2000)
    arguments.add_argument("--batch", type=int, default=32)
    options = arguments.parse_args()
    result: dict[str, object] = {}
    for backend in ("ipsec-mb", "openssl"):
        if not srtp.backend_name(backend):
            print(f"{backend}: not on this machine")
            continue
        print(f"{srtp.backend_name(backend)}: ns per packet, {options.streams} streams, batches of {options.batch}")
        table = {name: ours(name, backend, options.streams, options.batch, options.seconds) for name in SUITES}
        for name, figures in table.items():
            print(f"  {name:8} protect {figures['protect']:7.1f}   unprotect {figures['unprotect']:7.1f}")
        result[backend] = table
        result.setdefault("cm80_ns", table["cm80"]["protect"])
        result.setdefault("gcm128_ns", table["gcm128"]["protect"])
    by_batch = {}
    for batch in (1, 4, 8, 16, 64):
        by_batch[batch] = {
            name: ours(name, "auto", options.streams, batch, options.seconds / 2) for name in ("cm80", "gcm128")
        }
        shown = {name: f"{figures['protect']} / {figures['unprotect']}" for name, figures in by_batch[batch].items()}
        print(f"  batches of {batch:2}, protect / unprotect: {shown}")
    for label, measure in (("libsrtp_c", libsrtp_c), ("pylibsrtp", libsrtp_from_python)):
        peers = {name: measure(name, options.streams, options.seconds) for name in ("cm80", "gcm128")}
        print(f"{label}: protect {peers}")
        result[label] = peers
    result["by_batch"] = by_batch
    result["conditions"] = {
        "packet": len(PACKET),
        "streams": options.streams,
        "batch": options.batch,
        "backend": srtp.backend_name(),
        "libsrtp": "2, of pylibsrtp " + pylibsrtp.__version__,
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
