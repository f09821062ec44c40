"""What a call slot holds: enough to go on with the call, or at least to clear it and write its record. Bytes ↔ structs; pure.

A slot is a head and the rest. The rest is for the same version of the product. The head is for every version: its fields keep their places for
ever, new ones come at the end, so that a version that cannot read the rest still says BYE to the phones and writes the call down.

`record` is set when the call has ended and only its record waits to be written; everything else is then empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

import media_core
from appliance.callcontrol.api import Cause, Party
from appliance.calls.history.record import CallRecord, LegRecord, Side
from appliance.config.model import Encrypt
from appliance.sip.dialog import Dialog
from appliance.words import Said

if TYPE_CHECKING:
    from appliance.callcontrol.call import Call
    from appliance.callcontrol.exchange import Exchange
    from appliance.callcontrol.leg import PhoneLeg

VERSION = 2
HEAD = b"switchroom call 1\n"
LENGTH = 2  # octets that say how long the head is
LATER = 1000  # how far its BYE is ahead of the last request that the head knows: others may have followed


class Way(msgspec.Struct, frozen=True, array_like=True):
    """A phone that has to be told that its call is over: where it is, and the dialog with it (RFC 3261 section 12)."""

    flow: int
    transport: str
    host: str
    port: int
    call_id: str
    local: str
    remote: str
    target: str
    routes: tuple[str, ...]
    seq: int

    @staticmethod
    def to(leg: PhoneLeg, dialog: Dialog) -> Way:
        host, port = leg.flow.remote
        transport = media_core.Transport(leg.flow.transport).name
        at = (dialog.call_id, dialog.local, dialog.remote, dialog.target, tuple(dialog.routes), dialog.local_seq)
        return Way(leg.flow.id, transport, host, port, *at)

    def dialog(self) -> Dialog:
        return Dialog(
            self.call_id, self.local, self.remote, "", "", self.target, list(self.routes), self.seq + LATER, confirmed=True
        )


class Head(msgspec.Struct, frozen=True, array_like=True):
    id: str
    started: float
    answered: float | None
    caller_number: str
    caller_name: str
    dialled: str
    callee_number: str
    callee_name: str
    selftest: bool
    ways: tuple[Way, ...] = ()

    def before(self, rest: bytes) -> bytes:
        head = msgspec.msgpack.encode(self)
        return HEAD + len(head).to_bytes(LENGTH, "big") + head + rest

    @staticmethod
    def read(payload: bytes) -> Head | None:
        """Whichever version wrote it; None when there is none."""
        try:
            return msgspec.msgpack.decode(_split(payload)[0], type=Head)
        except msgspec.DecodeError:
            return None

    def record(self, ended: float) -> CallRecord:
        """Of a call that nobody can go on with."""
        return CallRecord(
            id=self.id,
            started=self.started,
            answered=self.answered,
            ended=ended,
            caller_number=self.caller_number,
            caller_name=self.caller_name,
            dialled=self.dialled,
            callee_number=self.callee_number,
            callee_name=self.callee_name,
            outcome="answered" if self.answered is not None else "failed",
            cause=Cause.TEMPORARY_FAILURE,
            hung_up_by="system",
            said=Said.of("call.another-version"),
            selftest=self.selftest,
        )


def _split(payload: bytes) -> tuple[bytes, bytes]:
    """Head and rest; nothing of what is no slot."""
    if not payload.startswith(HEAD):
        return b"", b""
    begin = len(HEAD) + LENGTH
    end = begin + int.from_bytes(payload[len(HEAD) : begin], "big")
    return payload[begin:end], payload[end:]


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
        callee = call.callee or Party("", "")
        ways = [Way.to(leg, dialog) for leg in legs if (dialog := leg.dialog(exchange.sip)) is not None]
        head = Head(
            call.id, call.started, call.answered, *((legs[0].party.number, legs[0].party.name) if legs else ("", "")), call.dialled, callee.number, callee.name,
            call.selftest, tuple(ways),
        )  # fmt: skip
        rest = msgspec.msgpack.encode(
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
        return head.before(rest)

    @staticmethod
    def of_record(record: CallRecord) -> bytes:
        head = Head(
            record.id, record.started, record.answered, record.caller_number, record.caller_name, record.dialled,
            record.callee_number, record.callee_name, record.selftest,
        )  # fmt: skip
        return head.before(msgspec.msgpack.encode(CallSlot(version=VERSION, record=record)))

    @staticmethod
    def read(payload: bytes) -> CallSlot | None:
        """None for one of another version of the product, or none at all."""
        try:
            slot = msgspec.msgpack.decode(_split(payload)[1], type=CallSlot)
        except msgspec.DecodeError:
            return None
        return slot if slot.version == VERSION else None


def _bridge(call: Call) -> tuple[int, int] | None:
    if call.bridge is None or not all(leg in call.legs for leg in call.bridge):
        return None
    return call.legs.index(call.bridge[0]), call.legs.index(call.bridge[1])
