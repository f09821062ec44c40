"""The cipher code of this machine held against libsrtp: it agrees; one that does not is found, whatever is wrong, and is not used."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from media_core import CoreView, Proof, proof
from media_core.srtp.srtp import SUITE_NAMES, backend_name
from tests.media_core.bench import Bench
from tests.media_core.srtp_sessions import BACKENDS_HERE

needs_two = pytest.mark.skipif(
    len(BACKENDS_HERE) < 2, reason="only OpenSSL is here, and there is nothing to fall back to"
)
FAULTS = {
    "a bit of the payload": lambda packet: packet[:20] + bytes((packet[20] ^ 1,)) + packet[21:],
    "the tag": lambda packet: packet[:-1] + bytes((packet[-1] ^ 1,)),
    "its length": lambda packet: packet[:-1],
    "nothing but zeros": lambda packet: bytes(len(packet)),
    "a refusal": lambda packet: -2,
}


def broken(
    monkeypatch: pytest.MonkeyPatch, fault: str, suites: tuple[str, ...], way: str, backends: tuple[str, ...]
) -> None:
    """From now on one packet in the middle of a batch is wrong, one way and with these suites and backends."""
    honest, made = proof.run_batch, proof.Session

    def session(suite: str, key: bytes, salt: bytes, direction: str, backend: str) -> Any:
        one = made(suite, key, salt, direction, backend)
        wrong[id(one)] = suite in suites and direction == way and backend in backends
        kept.append(one)
        return one

    def run_batch(sessions: list[Any], packets: list[bytes]) -> list[Any]:
        done: list[Any] = list(honest(sessions, packets))
        if wrong[id(sessions[0])]:
            done[17] = FAULTS[fault](done[17].ljust(40, b"\0"))
        return done

    wrong: dict[int, bool] = {}
    kept: list[Any] = []
    monkeypatch.setattr(proof, "Session", session)
    monkeypatch.setattr(proof, "run_batch", run_batch)


def test_this_machine_agrees_with_libsrtp() -> None:
    found = proof.prove()
    assert (found.backend, found.good) == ("auto", True)
    assert found.words.startswith(backend_name("auto"))
    assert "libsrtp" in found.words
    assert not proof.differing("openssl")


def test_every_suite_is_held_against_something() -> None:
    """Those that pylibsrtp does not have are held against OpenSSL whenever an engine is made."""
    assert {suite for suite in SUITE_NAMES if suite not in proof.PROFILES} == {
        "AES_256_CM_HMAC_SHA1_80",
        "AES_256_CM_HMAC_SHA1_32",
    }


@needs_two
@pytest.mark.parametrize("suite", proof.PROFILES)
@pytest.mark.parametrize("way", ["out", "in"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_openssl_taken(monkeypatch: pytest.MonkeyPatch, fault: str, way: str, suite: str) -> None:
    broken(monkeypatch, fault, (suite,), way, ("auto",))
    found = proof.prove()
    assert (found.backend, found.good) == ("openssl", False)
    assert found.words.startswith(f"{backend_name('openssl')}, because {backend_name('auto')} differs from libsrtp")
    assert f" in {suite}" in found.words


def test_openssl_differs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing better is there; it is said all the same."""
    broken(monkeypatch, "the tag", tuple(proof.PROFILES), "out", ("auto", "openssl"))
    found = proof.prove()
    assert (found.backend, found.good) == ("openssl", False)


@needs_two
def test_a_library_that_openssl_disproves_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "disproved", lambda: "ipsec-mb 1.3.0 avx512")
    assert proof.prove() == Proof(
        "openssl", f"{backend_name('openssl')}, because ipsec-mb 1.3.0 avx512 differs from OpenSSL", good=False
    )


@pytest.mark.parametrize(
    ("patch", "good"),
    [("", True), ("proof.differing = lambda backend: ['AEAD_AES_128_GCM'] * (backend == 'auto')", False)],
)
def test_what_the_core_found_stands_in_the_memory(monkeypatch: pytest.MonkeyPatch, patch: str, good: bool) -> None:
    """A core whose code is wrong carries calls all the same, with OpenSSL's."""
    program = (
        f"import sys; from media_core import proof; {patch}\nfrom media_core.__main__ import main; sys.exit(main())"
    )
    started = subprocess.Popen

    def popen(command: list[str], **options: Any) -> Any:
        return started([sys.executable, "-c", program], **options)

    monkeypatch.setattr(subprocess, "Popen", popen)
    bench = Bench(legs=2, datapath="epoll")
    try:
        assert CoreView(bench.memory).cipher() == ("", True)
        bench.start()
        words, fine = CoreView(bench.memory).cipher()
        assert fine == good
        assert words.startswith(backend_name("auto" if good or len(BACKENDS_HERE) < 2 else "openssl"))
        assert bench.stop() == 0
    finally:
        bench.close()
