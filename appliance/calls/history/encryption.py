"""What of one telephone's side of a call was encrypted: from what was counted, not from what was agreed. Pure.

A leg is a mapping with the fields of `calls.history.record.LegRecord` or `cti.LegView`. A record of before the counting says only what was
agreed; then every packet that went over the leg counts as that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Leg = Mapping[str, Any]


def protection(leg: Leg) -> tuple[bool, str]:
    """Is the lock closed (TLS, and sound flowed, all of it as SRTP), and what was encrypted, in words."""
    ways = {"from the phone": _share(leg, "received"), "to the phone": _share(leg, "sent")}
    flowed = {way: share for way, share in ways.items() if share is not None}
    if not leg.get("signalling_secure"):
        return False, "Not encrypted" if flowed else "Not encrypted, no sound flowed"
    if not flowed:
        return False, "Signalling encrypted, no sound flowed"
    whole = [way for way, share in flowed.items() if share == 1.0]
    if len(whole) == 2:
        return True, "Encrypted: signalling, and sound both ways"
    if len(whole) == len(flowed):
        return True, f"Encrypted: signalling, and sound {whole[0]}; no sound the other way"
    if not any(flowed.values()):
        return False, "Signalling encrypted, sound not"
    if whole and not all(flowed.values()):
        return False, f"Signalling encrypted, sound only {whole[0]}"
    return False, "Signalling encrypted, sound not all the time"


def _share(leg: Leg, way: str) -> float | None:
    """Of the packets that went this way, how much was SRTP, 0..1; None: there were none."""
    packets, secured = leg.get(f"packets_{way}") or 0, leg.get(f"secured_{way}")
    if secured is None:
        secured = packets if leg.get("media_secure") else 0
    return float(min(1.0, secured / packets)) if packets else None


def protection_of_call(legs: Iterable[Leg]) -> tuple[bool, str]:
    """The same of a whole call: closed when the lock of every leg is that had agreed on sound."""
    talked = [leg for leg in legs if leg.get("codec")]
    if not any(_share(leg, way) is not None for leg in talked for way in ("received", "sent")):
        return False, "No sound flowed"
    locks = [protection(leg)[0] for leg in talked]
    if all(locks):
        return True, "Encrypted: signalling and sound"
    return False, "Not all of it encrypted" if any(locks) else "Not encrypted"
