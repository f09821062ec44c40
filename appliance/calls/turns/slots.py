"""What stands in the slots: one struct per leg and one per call, in MessagePack. Bytes ↔ structs; pure.

Fields keep their places for ever; new ones come at the end with a default. So a slot that was written by code that knew a field less, or a
field more, is taken over; whatever cannot be read at all ends politely (`recovery`).
"""

from __future__ import annotations

from typing import Any

import msgspec


class LegSlot(msgspec.Struct, frozen=True, array_like=True):
    call: str  # who owns it; "": its call is over, only its goodbye is still on the way
    side: str
    who: int  # its number in the story
    party: tuple[str, str, tuple[tuple[str, str], ...]]
    line: str
    encrypt: str
    flow: int
    transport: int
    local: tuple[str, int]
    remote: tuple[str, int]
    cipher: str
    target: str
    user_agent: str
    incoming: bool
    state: str
    session: str
    dialog: Any  # Stack.dump; None: the session is over
    stream: Any  # Stream.dump
    digits: str = ""
    bridge: tuple[str, int, bool] | None = None  # kind, number, muted
    poor: tuple[float, float, float] = (0.0, 0.0, 0.0)  # Quality: seconds, worst loss, worst jitter
    status: int = 0
    early_media: bool = False
    wish: Any = None  # formats that are to be offered, (payload type, name, rate, channels, parameters) each
    offering: bool = False
    played: int = 0  # serials that have ended
    sent: int = 0
    recorded: tuple[int, int, bool] = (0, 0, False)  # serial, milliseconds, failed
    progress: int = 0
    relay: str = ""
    relayed: int = 0


class CallSlot(msgspec.Struct, frozen=True, array_like=True):
    id: str
    script: str = ""
    state: bytes = b""  # of the script, as it was kept
    dialled: str = ""
    argument: str = ""
    target: tuple[str, str] = ("", "")  # Destination
    started: float = 0.0
    selftest: bool = False
    callee: tuple[str, str] = ("", "")
    caller: int = 0  # its number in the story, 0: the call has none
    story: bytes = b""
    epoch: int = 0  # how often the state was kept
    finished: tuple[Any, ...] = ()  # what the verbs since then have returned
    ring_from: int = 0  # number of the first leg that rings; 0: nothing does
    ring_until: float = 0.0  # monotonic
    refused: tuple[int, ...] = ()
    rang: bool = False
    answered: float | None = None
    record: bytes = b""  # of a call that is over and waits to be written down


def pack(slot: LegSlot | CallSlot) -> bytes:
    return msgspec.msgpack.encode(slot)


def leg(payload: bytes) -> LegSlot:
    """msgspec.DecodeError for what is none."""
    return msgspec.msgpack.decode(payload, type=LegSlot)


def call(payload: bytes) -> CallSlot:
    """msgspec.DecodeError for what is none."""
    return msgspec.msgpack.decode(payload, type=CallSlot)
