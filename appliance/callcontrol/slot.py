"""What a call slot holds: enough to go on with the call, or at least to clear it and write its record. Bytes ↔ structs; pure.

`record` is set when the call has ended and only its record waits to be written; everything else is then empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from appliance.callcontrol.cdr import CallRecord, LegRecord, Side
from appliance.model import Encrypt

if TYPE_CHECKING:
    from appliance.callcontrol.call import Call
    from appliance.callcontrol.exchange import Exchange

VERSION = 1


class LegSlot(msgspec.Struct, frozen=True, array_like=True):
    side: Side
    number: str
    name: str
    line: str
    encrypt: Encrypt
    id: str  # of the session
    session: bytes  # Stack.dump, b"": it is over
    flow: int
    transport: int
    local: tuple[str, int]
    remote: tuple[str, int]
    cipher: str
    leg: int  # media leg
    port: int
    answered: bool
    user_agent: str
    wants_send: bool
    wants_receive: bool
    local_direction: str
    negotiated: bytes  # LegMedia.dump
    poor: tuple[float, float, float] = (0.0, 0.0, 0.0)  # Quality: seconds, worst loss, worst jitter


class CallSlot(msgspec.Struct, frozen=True, array_like=True):
    version: int
    id: str = ""
    dialled: str = ""
    script: str = ""
    step: str = ""
    started: float = 0.0
    answered: float | None = None
    selftest: bool = False
    callee: tuple[str, str] | None = None
    legs: tuple[LegSlot, ...] = ()
    ringing: tuple[LegSlot, ...] = ()
    bridge: tuple[int, int] | None = None  # indices into legs
    refusals: tuple[LegRecord, ...] = ()
    record: CallRecord | None = None

    @staticmethod
    def of(call: Call, exchange: Exchange) -> bytes:
        legs = call.legs
        return msgspec.msgpack.encode(
            CallSlot(
                version=VERSION,
                id=call.id,
                dialled=call.dialled,
                script=call.script_name,
                step=call.step,
                started=call.started,
                answered=call.answered,
                selftest=call.selftest,
                callee=(call.callee.number, call.callee.name) if call.callee is not None else None,
                legs=tuple(leg.slot(exchange.sip) for leg in legs),
                ringing=tuple(leg.slot(exchange.sip) for leg in call.fork.branches) if call.fork is not None else (),
                bridge=_bridge(call),
                refusals=tuple(call.refusals),
            )
        )

    @staticmethod
    def of_record(record: CallRecord) -> bytes:
        return msgspec.msgpack.encode(CallSlot(version=VERSION, record=record))

    @staticmethod
    def read(payload: bytes) -> CallSlot | None:
        """None for one of another version of the product, or none at all."""
        try:
            slot = msgspec.msgpack.decode(payload, type=CallSlot)
        except msgspec.DecodeError:
            return None
        return slot if slot.version == VERSION else None


def _bridge(call: Call) -> tuple[int, int] | None:
    if call.bridge is None or not all(leg in call.legs for leg in call.bridge):
        return None
    return call.legs.index(call.bridge[0]), call.legs.index(call.bridge[1])
