"""SRTP against pylibsrtp byte for byte and against the written-out RFCs, on every backend; batches too."""

import random

import pytest
from pylibsrtp import Policy
from pylibsrtp import Session as Libsrtp

from media_core.srtp.srtp import Session, backend_name, run_batch

from .srtp_reference import Reference
from .srtp_sessions import BACKENDS_HERE, SUITES, make_keys, pair, rtcp, rtp

PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}
SSRC = 0x01020304
on_backends = pytest.mark.parametrize("backend", BACKENDS_HERE)
on_suites = pytest.mark.parametrize("suite", SUITES)
on_profiles = pytest.mark.parametrize("suite", PROFILES)


def oracles(suite: str, key: bytes, salt: bytes) -> tuple[Libsrtp, Libsrtp]:
    return tuple(  # type: ignore[return-value]
        Libsrtp(policy=Policy(key=key + salt, ssrc_type=kind, srtp_profile=PROFILES[suite]))
        for kind in (Policy.SSRC_ANY_OUTBOUND, Policy.SSRC_ANY_INBOUND)
    )


@on_backends
@on_profiles
def test_equal_to_libsrtp_over_two_wraps(suite: str, backend: str) -> None:
    """Random sizes, CSRCs, extensions, losses and reordering; sequence numbers wrap twice."""
    dice = random.Random(1)
    key, salt = make_keys(suite, dice)
    their_out, their_in = oracles(suite, key, salt)
    our_out, our_in = Session(suite, key, salt, "out", backend), Session(suite, key, salt, "in", backend)
    first = rtp(65000, dice)  # in order: libsrtp never takes a stream it hears only after a wrap
    assert our_in.unprotect(our_out.protect(first)) == their_in.unprotect(their_out.protect(first)) == first
    sequence = 65001
    flight: list[tuple[bytes, bytes]] = []
    while sequence < 65000 + 2 * 65536:
        clear = rtp(sequence, dice, dice.randrange(0, 1250))
        sealed = our_out.protect(clear)
        assert their_out.protect(clear) == sealed
        flight.append((clear, sealed))
        sequence += dice.choice((1, 1, 1, 2, 30, 2000))
        if len(flight) == 12:
            dice.shuffle(flight)
            flight.sort(key=lambda pair: len(pair[0]) % 2)
            for clear, sealed in flight[2:]:
                opened = outcome(our_in.unprotect, sealed)
                assert opened == outcome(their_in.unprotect, sealed)
                assert opened in (clear, None)
            flight.clear()
    assert our_out.roc(SSRC) == our_in.roc(SSRC) == 2


def outcome(operation: object, packet: bytes) -> bytes | None:
    try:
        return operation(packet)  # type: ignore[operator,no-any-return]
    except Exception:  # each library has its own; what counts is that both refuse
        return None


@on_backends
@on_profiles
def test_every_size(suite: str, backend: str) -> None:
    dice = random.Random(2)
    key, salt = make_keys(suite, dice)
    their_out, _ = oracles(suite, key, salt)
    our_out, our_in = Session(suite, key, salt, "out", backend), Session(suite, key, salt, "in", backend)
    for size in range(12, 1401):
        clear = rtp(size, dice, size - 12, plain=True)
        sealed = our_out.protect(clear)
        if size <= 1356:  # pylibsrtp refuses longer ones
            assert their_out.protect(clear) == sealed
        assert our_in.unprotect(sealed) == clear


@on_backends
@on_profiles
def test_rtcp_equal_to_libsrtp(suite: str, backend: str) -> None:
    dice = random.Random(3)
    key, salt = make_keys(suite, dice)
    their_out, their_in = oracles(suite, key, salt)
    our_out, our_in = Session(suite, key, salt, "out", backend), Session(suite, key, salt, "in", backend)
    our_out.protect_rtcp(rtcp(dice))  # RFC 3711 3.4 begins at index 0, libsrtp at 1
    for words in range(1, 200):
        clear = rtcp(dice, words)
        sealed = our_out.protect_rtcp(clear)
        assert their_out.protect_rtcp(clear) == sealed
        assert our_in.unprotect_rtcp(sealed) == clear
        assert their_in.unprotect_rtcp(sealed) == clear


@on_backends
@on_suites
def test_equal_to_the_rfcs(suite: str, backend: str) -> None:
    dice = random.Random(4)
    key, salt = make_keys(suite, dice)
    reference = Reference(suite, key, salt)
    out, into = Session(suite, key, salt, "out", backend), Session(suite, key, salt, "in", backend)
    for index in range(65400, 65700):
        clear = rtp(index, dice, dice.randrange(400))
        sealed = reference.protect(clear, index >> 16)
        assert out.protect(clear) == sealed
        assert into.unprotect(sealed) == clear
    for index in range(30):
        clear = rtcp(dice, index)
        sealed = reference.protect_rtcp(clear, index)
        assert out.protect_rtcp(clear) == sealed
        assert into.unprotect_rtcp(sealed) == clear


@on_backends
@on_suites
def test_unencrypted_rtcp_is_taken_if_authentic(suite: str, backend: str) -> None:
    dice = random.Random(5)
    key, salt = make_keys(suite, dice)
    clear = rtcp(dice)
    sealed = Reference(suite, key, salt).protect_rtcp(clear, 7, encrypt=False)
    assert Session(suite, key, salt, "in", backend).unprotect_rtcp(sealed) == clear


@on_backends
def test_batches_equal_single_packets(backend: str) -> None:
    """Any mix of suites, sizes and streams; wraps, copies, forgeries and packets that are none."""
    dice = random.Random(6)
    calls = [(suite, *make_keys(suite, dice)) for suite in SUITES for _ in range(3)]
    starts = [dice.randrange(65536) for _ in calls]
    singles = {way: [Session(*call, way, backend) for call in calls] for way in ("out", "in")}
    grouped = {way: [Session(*call, way, backend) for call in calls] for way in ("out", "in")}
    for turn in range(40):
        chosen = [dice.randrange(len(calls)) for _ in range(dice.choice((1, 3, 5, 16, 64, 150)))]
        clear = []
        for place in chosen:
            starts[place] += dice.choice((0, 1, 1, 1, 1, 5, 700))
            clear.append(rtp(starts[place], dice, dice.randrange(200), ssrc=1 + turn // 15))
        clear[dice.randrange(len(clear))] = dice.randbytes(dice.randrange(30))
        sealed = run_batch([grouped["out"][place] for place in chosen], clear)
        assert sealed == [status(singles["out"][p].protect, packet) for p, packet in zip(chosen, clear, strict=True)]
        arriving = [
            (p, damaged(packet, dice)) for p, packet in zip(chosen, sealed, strict=True) if isinstance(packet, bytes)
        ]
        dice.shuffle(arriving)
        opened = run_batch([grouped["in"][place] for place, _ in arriving], [packet for _, packet in arriving])
        # of a packet both stale and forged either may be said
        assert list(map(taken, opened)) == [
            outcome(singles["in"][place].unprotect, packet) for place, packet in arriving
        ]


def status(operation: object, packet: bytes) -> bytes | int:
    try:
        return operation(packet)  # type: ignore[operator,no-any-return]
    except ValueError as refused:
        return int(refused.status)  # type: ignore[attr-defined]


def taken(result: bytes | int) -> bytes | None:
    return result if isinstance(result, bytes) else None


def damaged(packet: bytes, dice: random.Random) -> bytes:
    if dice.random() > 0.1 or not packet:
        return packet
    place = dice.randrange(len(packet))
    return packet[:place] + bytes([packet[place] ^ 1 << dice.randrange(8)]) + packet[place + 1 :]


def test_backends_read_each_other() -> None:
    dice = random.Random(7)
    for suite in SUITES:
        key, salt = make_keys(suite, dice)
        for ours in BACKENDS_HERE:
            for theirs in BACKENDS_HERE:
                out, into = Session(suite, key, salt, "out", ours), Session(suite, key, salt, "in", theirs)
                clear = [rtp(n, dice) for n in range(40)]
                assert run_batch([into] * 40, run_batch([out] * 40, clear)) == clear  # type: ignore[arg-type]


def test_openssl_is_always_there_and_names_itself() -> None:
    assert backend_name("openssl").startswith("openssl 3.")
    assert backend_name() in {backend_name(name) for name in BACKENDS_HERE}
    with pytest.raises(ValueError, match="no backend"):
        Session(SUITES[0], bytes(16), bytes(14), "out", "nss")


@on_suites
def test_wrong_key_lengths_are_refused(suite: str) -> None:
    key, salt = make_keys(suite, random.Random(8))
    for bad in ((key[:-1], salt), (key, salt[:-1]), (key + b"x", salt), (b"", b"")):
        with pytest.raises(ValueError, match="bad-suite"):
            Session(suite, *bad, "out")
    with pytest.raises(ValueError, match="bad-suite"):
        Session("NULL_HMAC_SHA1_80", key, salt, "out")


@on_suites
def test_same_and_wipe(suite: str) -> None:
    dice = random.Random(9)
    key, salt = make_keys(suite, dice)
    session = Session(suite, key, salt, "out")
    assert session.same(suite, key, salt)
    assert not session.same(suite, dice.randbytes(len(key)), salt)
    assert not session.same(suite, key, dice.randbytes(len(salt)))
    assert not any(session.same(other, key, salt) for other in SUITES if other != suite)
    session.wipe()
    assert not any(session.memory())
    with pytest.raises(ValueError, match="bad-packet"):
        session.protect(rtp(1, dice))


def test_directions_do_not_mix() -> None:
    dice = random.Random(10)
    out, into = pair(SUITES[0], dice)
    for operation in (into.protect, into.protect_rtcp, out.unprotect, out.unprotect_rtcp):
        with pytest.raises(ValueError, match="bad-packet"):
            operation(rtp(1, dice))
