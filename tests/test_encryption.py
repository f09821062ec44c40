"""The lock of a leg and of a call: what was counted, in words; records of before the counting."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.calls.history.encryption import protection, protection_of_call
from appliance.words import Said, english


def told(what: tuple[bool, Said]) -> tuple[bool, str]:
    return what[0], english().say(what[1])


def leg(
    transport: str = "TLS", *, received: tuple[int, int], sent: tuple[int, int], agreed: bool = True
) -> dict[str, Any]:
    """received, sent: packets, and those of them that were SRTP."""
    return {
        "signalling_secure": transport == "TLS", "media_secure": agreed, "codec": "PCMA",
        "packets_received": received[0], "secured_received": received[1], "packets_sent": sent[0], "secured_sent": sent[1],
    }  # fmt: skip


TALKED, HEARD = (500, 500), (480, 480)


@pytest.mark.parametrize(
    ("side", "lock", "words"),
    [
        (leg(received=TALKED, sent=HEARD), True, "Encrypted: signalling, and sound both ways"),
        (leg(received=TALKED, sent=(0, 0)), True, "Encrypted: signalling, and sound from the phone; no sound the other way"),
        (leg(received=(0, 0), sent=HEARD), True, "Encrypted: signalling, and sound to the phone; no sound the other way"),
        (leg(received=(0, 0), sent=(0, 0)), False, "Signalling encrypted, no sound flowed"),
        (leg(received=(500, 0), sent=(480, 0), agreed=False), False, "Signalling encrypted, sound not"),
        (leg(received=(500, 0), sent=(480, 0)), False, "Signalling encrypted, sound not"),
        (leg(received=(500, 20), sent=HEARD), False, "Signalling encrypted, sound not all the time"),
        (leg(received=(500, 0), sent=HEARD), False, "Signalling encrypted, sound only to the phone"),
        (leg(received=(500, 20), sent=(480, 0)), False, "Signalling encrypted, sound not all the time"),
        (leg("UDP", received=(500, 0), sent=(480, 0), agreed=False), False, "Not encrypted"),
        (leg("UDP", received=(0, 0), sent=(0, 0), agreed=False), False, "Not encrypted, no sound flowed"),
    ],
)  # fmt: skip
def test_the_lock_says_what_was_encrypted(side: dict[str, Any], lock: bool, words: str) -> None:
    assert told(protection(side)) == (lock, words)
    assert protection_of_call([side])[0] == lock
    assert protection_of_call([side, leg(received=TALKED, sent=HEARD)])[0] == lock


@pytest.mark.parametrize(
    ("agreed", "packets", "words"),
    [
        (True, 500, "Encrypted: signalling, and sound both ways"),
        (True, 0, "Signalling encrypted, no sound flowed"),
        (False, 500, "Signalling encrypted, sound not"),
    ],
)
def test_a_record_of_before_the_counting(agreed: bool, packets: int, words: str) -> None:
    side = {"signalling_secure": True, "media_secure": agreed, "packets_received": packets, "packets_sent": packets}
    assert told(protection(side))[1] == words


def test_a_call_without_sound_has_no_lock() -> None:
    refused = {"signalling_secure": True, "media_secure": False, "codec": "", "packets_received": 0}
    silent = leg(received=(0, 0), sent=(0, 0))
    plain = leg("UDP", received=(9, 0), sent=(9, 0), agreed=False)
    for legs in ([], [refused], [silent, silent]):
        assert told(protection_of_call(legs)) == (False, "No sound flowed")
    talked = leg(received=TALKED, sent=HEARD)
    assert told(protection_of_call([talked, refused])) == (True, "Encrypted: signalling and sound"), "who refused had no part"
    assert told(protection_of_call([talked, plain])) == (False, "Not all of it encrypted")
    assert told(protection_of_call([plain, plain])) == (False, "Not encrypted")
