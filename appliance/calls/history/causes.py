"""Why a call or a leg ended (Q.850), and SIP status ↔ cause: two tables (RFC 3398 §7.2.4.1 and §8.2.6.1, adapted to an office). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from appliance.words import Said


class Cause(IntEnum):
    """Q.850 §2.2.7, as far as an office telephone system meets them."""

    UNALLOCATED = 1
    NO_ROUTE = 3
    NORMAL = 16
    BUSY = 17
    NO_RESPONSE = 18
    NO_ANSWER = 19
    ABSENT = 20
    REJECTED = 21
    NUMBER_CHANGED = 22
    OUT_OF_ORDER = 27
    INVALID_NUMBER = 28
    NORMAL_UNSPECIFIED = 31
    NO_CHANNEL = 34
    TEMPORARY_FAILURE = 41
    CONGESTION = 42
    NOT_AUTHORISED = 57
    NOT_IMPLEMENTED = 79
    INCOMPATIBLE = 88
    TIMER = 102
    INTERWORKING = 127


# What the caller's phone is answered when a call fails with a cause.
STATUS: Mapping[Cause, int] = {
    Cause.UNALLOCATED: 404,
    Cause.NO_ROUTE: 404,
    Cause.NORMAL: 480,
    Cause.BUSY: 486,
    Cause.NO_RESPONSE: 480,
    Cause.NO_ANSWER: 480,
    Cause.ABSENT: 480,
    Cause.REJECTED: 603,
    Cause.NUMBER_CHANGED: 410,
    Cause.OUT_OF_ORDER: 502,
    Cause.INVALID_NUMBER: 484,
    Cause.NORMAL_UNSPECIFIED: 480,
    Cause.NO_CHANNEL: 503,
    Cause.TEMPORARY_FAILURE: 500,
    Cause.CONGESTION: 503,
    Cause.NOT_AUTHORISED: 403,
    Cause.NOT_IMPLEMENTED: 501,
    Cause.INCOMPATIBLE: 488,
    Cause.TIMER: 504,
    Cause.INTERWORKING: 500,
}

# What a phone's refusal means.
CAUSE: Mapping[int, Cause] = {
    400: Cause.TEMPORARY_FAILURE,
    401: Cause.NOT_AUTHORISED,
    403: Cause.REJECTED,
    404: Cause.UNALLOCATED,
    405: Cause.INTERWORKING,
    406: Cause.INCOMPATIBLE,
    407: Cause.NOT_AUTHORISED,
    408: Cause.NO_RESPONSE,
    410: Cause.NUMBER_CHANGED,
    413: Cause.INTERWORKING,
    415: Cause.INCOMPATIBLE,
    420: Cause.INTERWORKING,
    480: Cause.NO_RESPONSE,
    481: Cause.TEMPORARY_FAILURE,
    482: Cause.OUT_OF_ORDER,
    483: Cause.OUT_OF_ORDER,
    484: Cause.INVALID_NUMBER,
    486: Cause.BUSY,
    487: Cause.NORMAL,
    488: Cause.INCOMPATIBLE,
    500: Cause.TEMPORARY_FAILURE,
    501: Cause.NOT_IMPLEMENTED,
    502: Cause.OUT_OF_ORDER,
    503: Cause.TEMPORARY_FAILURE,
    504: Cause.TIMER,
    600: Cause.BUSY,
    603: Cause.REJECTED,
    604: Cause.UNALLOCATED,
    606: Cause.INCOMPATIBLE,
}


def said(cause: Cause) -> Said:
    """In a few words, within a sentence."""
    return Said(f"cause.{cause.name.lower().replace('_', '-')}")


def cause_of(status: int) -> Cause:
    """The cause of a final response; unknown codes fall to their class (RFC 3261 §8.1.3.2)."""
    if status in CAUSE:
        return CAUSE[status]
    if 300 <= status < 400:  # the phone forwards by itself; where to is not for a phone to decide (toll fraud by 302)
        return Cause.NORMAL_UNSPECIFIED
    if 400 <= status < 500:
        return Cause.INTERWORKING
    return Cause.REJECTED if status >= 600 else Cause.TEMPORARY_FAILURE


# RFC 3261 §16.7 step 6: the best of a fork's failures: 6xx first, then the lowest class, and within 4xx what tells the caller
# most: a busy or refusing person before an absent phone.
_TELLING = (486, 600, 603, 480, 408, 404, 488, 606)


def best(statuses: list[int]) -> int:
    """The one final response of a fork whose branches have all failed. 408 of a dead phone loses against any other answer."""

    def rank(status: int) -> tuple[int, int]:
        if status >= 600:
            return (0, status)
        if status in _TELLING and status != 408:
            return (1, _TELLING.index(status))
        return (3, status) if status in (408, 503) else (2, status)

    return min(statuses, key=rank)
