"""What of one telephone's side of a call was encrypted: from what was counted, not from what was agreed. Pure.

A leg is a mapping with the fields of `calls.history.record.LegRecord` or `cti.LegView`. A record of before the counting says only what was
agreed; then every packet that went over the leg counts as that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from appliance.words import Said

Leg = Mapping[str, Any]


ONE_WAY = {"received": Said.of("protection.from-phone-alone"), "sent": Said.of("protection.to-phone-alone")}
IN_PART = {"received": Said.of("protection.only-from-phone"), "sent": Said.of("protection.only-to-phone")}


def protection(leg: Leg) -> tuple[bool, Said]:
    """Is the lock closed (TLS, and sound flowed, all of it as SRTP), and what was encrypted."""
    ways = {way: _share(leg, way) for way in ("received", "sent")}
    flowed = {way: share for way, share in ways.items() if share is not None}
    if not leg.get("signalling_secure"):
        return False, Said.of("protection.nothing") if flowed else Said.of("protection.nothing-silent")
    if not flowed:
        return False, Said.of("protection.signalling-silent")
    whole = [way for way, share in flowed.items() if share == 1.0]
    if len(whole) == 2:
        return True, Said.of("protection.both-ways")
    if len(whole) == len(flowed):
        return True, ONE_WAY[whole[0]]
    if not any(flowed.values()):
        return False, Said.of("protection.signalling")
    if whole and not all(flowed.values()):
        return False, IN_PART[whole[0]]
    return False, Said.of("protection.not-always")


def _share(leg: Leg, way: str) -> float | None:
    """Of the packets that went this way, how much was SRTP, 0..1; None: there were none."""
    packets, secured = leg.get(f"packets_{way}") or 0, leg.get(f"secured_{way}")
    if secured is None:
        secured = packets if leg.get("media_secure") else 0
    return float(min(1.0, secured / packets)) if packets else None


def protection_of_call(legs: Iterable[Leg]) -> tuple[bool, Said]:
    """The same of a whole call: closed when the lock of every leg is that had agreed on sound."""
    talked = [leg for leg in legs if leg.get("codec")]
    if not any(_share(leg, way) is not None for leg in talked for way in ("received", "sent")):
        return False, Said.of("protection.no-sound")
    locks = [protection(leg)[0] for leg in talked]
    if all(locks):
        return True, Said.of("protection.whole")
    return False, Said.of("protection.in-part") if any(locks) else Said.of("protection.nothing")
