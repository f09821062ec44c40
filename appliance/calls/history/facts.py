"""A fact of a story: what it says, and how it stands in a slot."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec

PLACES = 3  # of a second: times are kept in milliseconds


class Kind(IntEnum):
    """What a fact says, and its values. Numbers and the order of values stay for ever; new values come at the end, and whoever reads takes a
    value that is missing as nothing said. `who` is 0 for the call itself, else the leg, numbered from 1 within the thread."""

    MORE = 0  # text: goes on where the text at the end of the fact before was cut. Told by `add` alone
    BEGAN = 1  # dialled, script, selftest. who 0
    LEG = 2  # side ("caller", "callee"), number, name: there is this leg now. The first fact of a leg
    FLOW = 3  # address (host:port of its signalling), transport, signalling_secure. The last one counts
    AGENT = 4  # its User-Agent
    LINE = 5  # line id
    RANG = 6
    ANSWERED = 7
    REFUSED = 8  # status: its final answer to our INVITE
    ELSEWHERE = 9  # it was stopped, for another one has answered
    HELD = 10  # by: "them" (the phone holds), "us"
    RESUMED = 11  # by, as in HELD
    MEDIA = 12  # codec, secure, why it is not encrypted: a key of the catalogue, or "". The last one counts
    BRIDGED = (
        13  # other: the leg it hears now; itself for an echo, 0 for more than one (a conference) or none (a source)
    )
    ALONE = 14  # it hears nobody any more
    SERVICE = 15  # name, and of old its title in words: the call is served by the system itself. who 0
    STEP = 16  # text: where the script has got to. who 0
    DIGITS = 17  # count of digits it has sent
    POOR = 18  # seconds, worst lost (0..1), worst jitter (ms): of the whole leg up to now, told when its sound has become poor or good
    COUNTED = 19  # group of final counters, then its figures: see `counted`
    ENDED = 20  # by ("peer", "system", "timeout", "fault"), cause (Q.850): the leg is over
    OVER = 21  # cause (Q.850), hung up by ("caller", "callee", "system", or who did it from the admin page). who 0
    WANTED = (
        22  # number, name: whom the call shall reach, told before any leg, for there may be no phone to ring. who 0
    )


PASSING = frozenset({
    Kind.HELD, Kind.RESUMED, Kind.BRIDGED, Kind.ALONE, Kind.STEP, Kind.DIGITS, Kind.POOR, Kind.MEDIA, Kind.FLOW, Kind.RANG, Kind.AGENT, Kind.LINE,
})  # fmt: skip


class Fact(msgspec.Struct, frozen=True, array_like=True):
    time: float
    kind: int  # of Kind; another one comes from a newer version, and is kept
    who: int
    values: tuple[Any, ...] = ()  # texts, numbers, truth values

    def get(self, place: int, default: Any) -> Any:
        """The value at this place; a version that did not know it has said `default`, and so has one that means something else by it."""
        if place < len(self.values):
            value, wanted = self.values[place], type(default)
            if isinstance(value, wanted) or (wanted is float and type(value) is int):
                return value
        return default


encode = msgspec.msgpack.Encoder().encode


class Packed(msgspec.Struct, array_like=True):
    id: str
    base: float
    left_out: int
    last: int
    facts: list[tuple[Any, ...]]


decode = msgspec.msgpack.Decoder(Packed).decode
