"""Hostile packets: nothing crashes, nothing is taken, nothing changes, and the call goes on.

The build SWITCHROOM_BUILD=sanitize runs the same loop under the address and undefined-behaviour sanitizers;
SWITCHROOM_FUZZ multiplies its length."""

import os
import random

import pytest

from media_core.errors import PacketRefused
from media_core.srtp.srtp import run_batch

from .srtp_sessions import BACKENDS_HERE, SUITES, pair, rtcp, rtp

ROUNDS = 300 * int(os.environ.get("SWITCHROOM_FUZZ", "1"))


def hostile(good: bytes, dice: random.Random) -> bytes:
    """Noise, or a good packet cut, stretched, spliced or with bits flipped, its header fields likeliest."""
    packet = bytearray(good)
    for _ in range(dice.randrange(1, 4)):
        match dice.randrange(6):
            case 0:
                packet = bytearray(dice.randbytes(dice.randrange(80)))
            case 1:
                del packet[dice.randrange(len(packet) + 1) :]
            case 2:
                packet += dice.randbytes(dice.randrange(1, 40))
            case 3 | 4 if packet:
                packet[dice.randrange(min(len(packet), 20))] ^= 1 << dice.randrange(8)
            case _ if packet:
                packet[dice.randrange(len(packet))] = dice.randrange(256)
    return bytes(packet)


@pytest.mark.parametrize("backend", BACKENDS_HERE)
@pytest.mark.parametrize("suite", SUITES)
def test_hostile_packets(suite: str, backend: str) -> None:
    dice = random.Random(f"{suite}{backend}")
    out, into = pair(suite, dice, backend)
    sequence = 65000
    for _ in range(ROUNDS):
        sequence += 3
        clear, control = rtp(sequence, dice, dice.randrange(200)), rtcp(dice, dice.randrange(20))
        sealed, controls = out.protect(clear), out.protect_rtcp(control)
        before = into.index(0x01020304)
        bad = [packet for packet in (hostile(sealed, dice) for _ in range(8)) if packet != sealed]
        for packet in bad:
            with pytest.raises(PacketRefused):
                into.unprotect(packet)
        assert all(isinstance(result, int) and result < 0 for result in run_batch([into] * len(bad), bad))
        for packet in (hostile(controls, dice) for _ in range(4)):
            if packet != controls:
                with pytest.raises(PacketRefused):
                    into.unprotect_rtcp(packet)
        assert into.index(0x01020304) == before
        assert into.unprotect(sealed) == clear
        assert into.unprotect_rtcp(controls) == control


@pytest.mark.parametrize("suite", SUITES)
def test_hostile_packets_to_protect(suite: str) -> None:
    """What comes in plain may be anything too."""
    dice = random.Random(suite)
    for n in range(ROUNDS):
        out, into = pair(suite, dice)
        packet = hostile(rtp(n, dice, dice.randrange(60)), dice)
        try:
            sealed = out.protect(packet)
        except PacketRefused:
            continue
        assert into.unprotect(sealed) == packet
