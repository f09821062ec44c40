"""Index, replay windows, SSRCs, MKI, the end of a key, and what another process finds after ours was killed."""

import random

import pytest

from media_core.errors import PacketRefused
from media_core.srtp.srtp import Session, run_batch

from .srtp_reference import Reference
from .srtp_sessions import BACKENDS_HERE, SUITES, make_keys, pair, rtcp, rtp

SSRC = 0x01020304
on_suites = pytest.mark.parametrize("suite", SUITES)
on_backends = pytest.mark.parametrize("backend", BACKENDS_HERE)
KINDS = [SUITES[0], SUITES[4]]  # one CM, one GCM
on_kinds = pytest.mark.parametrize("suite", KINDS)


def refused(reason: str) -> pytest.RaisesExc[ValueError]:
    return pytest.raises(ValueError, match=f"^{reason}$")


@on_backends
@on_suites
def test_a_packet_is_taken_once(suite: str, backend: str) -> None:
    dice = random.Random(1)
    out, into = pair(suite, dice, backend)
    sealed = [out.protect(rtp(n, dice)) for n in range(300)]
    for n in (0, 299, 200, 172):  # 172 is 127 behind: the window's last place
        into.unprotect(sealed[n])
        with refused("replayed"):
            into.unprotect(sealed[n])
    with refused("replayed"):  # 128 behind
        into.unprotect(sealed[171])
    into.unprotect(sealed[173])


@on_kinds
def test_copies_in_one_batch(suite: str) -> None:
    dice = random.Random(2)
    out, into = pair(suite, dice)
    clear = [rtp(n, dice) for n in range(20)]
    sealed = [out.protect(packet) for packet in clear]
    into.unprotect(sealed[0])
    opened = run_batch([into] * 38, sealed[1:] + sealed[1:])
    assert opened == clear[1:] + [-3] * 19


@on_suites
def test_rtcp_replay(suite: str) -> None:
    dice = random.Random(3)
    out, into = pair(suite, dice)
    sealed = [out.protect_rtcp(rtcp(dice)) for _ in range(200)]
    for n in (0, 199, 72):
        into.unprotect_rtcp(sealed[n])
        with refused("replayed"):
            into.unprotect_rtcp(sealed[n])
    with refused("replayed"):
        into.unprotect_rtcp(sealed[71])


@on_suites
def test_an_outgoing_index_is_used_once(suite: str) -> None:
    """Another content under the same sequence number would repeat the keystream."""
    dice = random.Random(4)
    out, _ = pair(suite, dice)
    for n in (100, 102, 101):
        out.protect(rtp(n, dice))
    for n in (100, 101, 102):
        with refused("replayed"):
            out.protect(rtp(n, dice))
    out.protect(rtp(400, dice))
    with refused("replayed"):
        out.protect(rtp(200, dice))


@on_backends
@on_suites
def test_any_change_is_noticed(suite: str, backend: str) -> None:
    dice = random.Random(5)
    out, into = pair(suite, dice, backend)
    sealed, control = out.protect(rtp(7, dice, 20, plain=True)), out.protect_rtcp(rtcp(dice))
    for operation, packet in ((into.unprotect, sealed), (into.unprotect_rtcp, control)):
        for place in range(len(packet)):
            for bit in range(8):
                with pytest.raises(PacketRefused):
                    operation(packet[:place] + bytes([packet[place] ^ 1 << bit]) + packet[place + 1 :])
        for size in range(len(packet)):
            with pytest.raises(PacketRefused):
                operation(packet[:size])
        with pytest.raises(PacketRefused):
            operation(packet + b"\0")
        operation(packet)  # nothing of it spoiled the state


@on_kinds
def test_stream_first_heard_after_a_wrap(suite: str) -> None:
    dice = random.Random(6)
    out, into = pair(suite, dice)
    sealed = [out.protect(rtp(65530 + n, dice)) for n in range(12)]
    into.unprotect(sealed[8])
    assert into.index(SSRC) == 65538
    into.unprotect(sealed[3])  # late, from before the wrap
    into.unprotect(sealed[11])
    assert into.roc(SSRC) == 1


@on_kinds
def test_long_silence_across_half_the_space(suite: str) -> None:
    dice = random.Random(7)
    out, into = pair(suite, dice)
    for n in (40000, 65535, 65536 + 30000, 65536 + 62000, 2 * 65536 + 20000):
        into.unprotect(out.protect(rtp(n, dice)))
        assert out.index(SSRC) == into.index(SSRC) == n


@on_suites
def test_ssrcs_have_their_own_state(suite: str) -> None:
    dice = random.Random(8)
    out, into = pair(suite, dice)
    clear = [rtp(65500 + n // 3, dice, ssrc=10 + n % 3) for n in range(300)]
    assert [into.unprotect(out.protect(packet)) for packet in clear] == clear
    assert [into.roc(ssrc) for ssrc in (10, 11, 12)] == [1, 1, 1]


@on_kinds
def test_an_ssrc_that_made_room_never_comes_back(suite: str) -> None:
    dice = random.Random(9)
    out, into = pair(suite, dice)
    sealed = [out.protect(rtp(1, dice, ssrc=ssrc)) for ssrc in range(1, 7)]
    for packet in sealed:
        into.unprotect(packet)
    with refused("replayed"):
        into.unprotect(sealed[0])
    for sequence in (1, 2):
        with refused("replayed"):
            out.protect(rtp(sequence, dice, ssrc=1))
    out.protect(rtp(2, dice, ssrc=6))


@on_kinds
def test_outgoing_ssrcs_end_with_the_key_and_incoming_go_on(suite: str) -> None:
    dice = random.Random(10)
    key, salt = make_keys(suite, dice)
    out, into, reference = (
        Session(suite, key, salt, "out"),
        Session(suite, key, salt, "in"),
        Reference(suite, key, salt),
    )
    allowed = 4 + 93
    for ssrc in range(1, allowed + 1):
        out.protect(rtp(1, dice, ssrc=ssrc))
    with refused("index-exhausted"):
        out.protect(rtp(1, dice, ssrc=allowed + 1))
    out.protect(rtp(2, dice, ssrc=allowed))
    for ssrc in range(1, 400):
        clear = rtp(1, dice, ssrc=ssrc)
        assert into.unprotect(reference.protect(clear, 0)) == clear


@on_suites
def test_the_key_ends(suite: str) -> None:
    dice = random.Random(11)
    out, into = pair(suite, dice)
    for session in (out, into):
        session.set_index(SSRC, (1 << 48) - 2)
    into.unprotect(out.protect(rtp(0xFFFF, dice)))
    with refused("index-exhausted"):
        out.protect(rtp(0, dice))
    out.set_rtcp_index(SSRC, (1 << 31) - 2)
    into.unprotect_rtcp(out.protect_rtcp(rtcp(dice)))
    with refused("index-exhausted"):
        out.protect_rtcp(rtcp(dice))


@on_suites
def test_mki_is_skipped(suite: str) -> None:
    dice = random.Random(12)
    key, salt = make_keys(suite, dice)
    out, into = Session(suite, key, salt, "out"), Session(suite, key, salt, "in", mki_length=4)
    gcm = "GCM" in suite
    for n in range(20):
        clear, control = rtp(n, dice), rtcp(dice)
        sealed, controls = out.protect(clear), out.protect_rtcp(control)
        tag = len(sealed) - len(clear)
        # AEAD: behind everything (RFC 7714 figures 1, 2); CM: before the tag (RFC 3711 figures 1, 2)
        sealed = sealed + b"MKI!" if gcm else sealed[:-tag] + b"MKI!" + sealed[-tag:]
        controls = controls + b"MKI!" if gcm else controls[:-10] + b"MKI!" + controls[-10:]
        assert into.unprotect(sealed) == clear
        assert into.unprotect_rtcp(controls) == control


@on_suites
@pytest.mark.parametrize("successor", BACKENDS_HERE)
@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_adopted_by_another_process(suite: str, backend: str, successor: str) -> None:
    dice = random.Random(13)
    key, salt = make_keys(suite, dice)
    out, into = Session(suite, key, salt, "out", backend), Session(suite, key, salt, "in", backend)
    for n in range(65500, 65600):
        into.unprotect(out.protect(rtp(n, dice)))
    new_out, new_in = (Session(suite, bytes(len(key)), bytes(len(salt)), way, successor) for way in ("out", "in"))
    new_out.adopt(out.memory())
    new_in.adopt(into.memory())
    with refused("replayed"):
        new_out.protect(rtp(65599, dice))
    clear = [rtp(n, dice) for n in range(65600, 65650)]
    assert run_batch([new_in] * 50, run_batch([new_out] * 50, clear)) == clear  # type: ignore[arg-type]
    assert new_out.same(suite, key, salt)
    control = rtcp(dice)
    assert new_in.unprotect_rtcp(new_out.protect_rtcp(control)) == control


@on_suites
def test_killed_while_sealing(suite: str) -> None:
    """The window may be half written, so nothing up to the stored index is used again; the next index is."""
    dice = random.Random(14)
    key, salt = make_keys(suite, dice)
    out = Session(suite, key, salt, "out")
    out.protect(rtp(10, dice))
    out.protect(rtp(20, dice))
    first = out.protect_rtcp(rtcp(dice))
    successor = Session(suite, key, salt, "out")
    successor.adopt(out.memory(), sealing=True)
    for n in (10, 15, 20):
        with refused("replayed"):
            successor.protect(rtp(n, dice))
    into = Session(suite, key, salt, "in")
    clear = rtp(21, dice)
    assert into.unprotect(successor.protect(clear)) == clear
    into.unprotect_rtcp(first)
    into.unprotect_rtcp(successor.protect_rtcp(rtcp(dice)))
    assert successor.memory()[6] == 0  # no longer sealing


@on_suites
def test_killed_while_taking_a_packet(suite: str) -> None:
    """Nothing that came before is taken again, all that comes after is."""
    dice = random.Random(15)
    key, salt = make_keys(suite, dice)
    out, into = Session(suite, key, salt, "out"), Session(suite, key, salt, "in")
    sealed, controls = [out.protect(rtp(n, dice)) for n in range(9)], [out.protect_rtcp(rtcp(dice)) for _ in range(9)]
    for n in (0, 2, 5):
        into.unprotect(sealed[n])
        into.unprotect_rtcp(controls[n])
    successor = Session(suite, key, salt, "in")
    successor.adopt(into.memory(), sealing=True)
    for n in range(6):
        with refused("replayed"):
            successor.unprotect(sealed[n])
        with refused("replayed"):
            successor.unprotect_rtcp(controls[n])
    for n in range(6, 9):
        successor.unprotect(sealed[n])
        successor.unprotect_rtcp(controls[n])
