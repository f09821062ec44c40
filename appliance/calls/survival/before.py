"""Call slots of the shape before legs had slots of their own: read once, so that their calls end politely. Bytes in, structs out; pure.

A slot had two halves of HALF_BYTES: generation u64, length u32, CRC-32 of both and the payload u32, payload. A payload began with HEAD and a
struct of fixed layout, which is all that is read here: whom to tell and what to write down.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import msgspec

from appliance.calls.history.facts import Kind
from appliance.calls.history.story import Story
from appliance.sip.dialog import Dialog
from appliance.sip.text.message import Malformed, Request, answer_to, parse
from appliance.sip.transaction import cancel_for

HEAD = b"switchroom call 1\n"
LENGTH = 2  # octets that say how long the head is
HALF_BYTES = 16 * 1024
LEGS, RINGING = 9, 10  # places in what follows the head
SESSION, FLOW = 6, 7  # places in a leg of it
LATER = 1000  # how far its BYE is ahead of the last request that the head knows: others may have followed
_HALF = struct.Struct("<QII")


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

    def dialog(self) -> Dialog:
        return Dialog(
            self.call_id,
            self.local,
            self.remote,
            "",
            "",
            self.target,
            list(self.routes),
            self.seq + LATER,
            confirmed=True,
        )


class Before(msgspec.Struct, frozen=True, array_like=True):
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
    partings: tuple[tuple[int, bytes], ...] = ()  # of legs without a dialog yet: flow, and what ends it

    def story(self) -> Story:
        """What is known of it."""
        story = Story(self.id)
        story.add(self.started, Kind.BEGAN, 0, self.dialled, "", self.selftest)
        story.add(self.started, Kind.WANTED, 0, self.callee_number, self.callee_name)
        story.add(self.started, Kind.LEG, 1, "caller", self.caller_number, self.caller_name)
        if self.answered is not None:
            story.add(self.answered, Kind.ANSWERED, 1)
        return story


def read(memory: bytes) -> Iterator[Before]:
    """The calls of a journal memory of that shape, as far as they can be read."""
    for start in range(0, len(memory) - 2 * HALF_BYTES + 1, 2 * HALF_BYTES):
        payload = _newest(memory[start : start + 2 * HALF_BYTES])
        if payload.startswith(HEAD):
            begin = len(HEAD) + LENGTH
            end = begin + int.from_bytes(payload[len(HEAD) : begin], "big")
            try:
                head = msgspec.msgpack.decode(payload[begin:end], type=Before)
            except msgspec.DecodeError:
                continue
            yield msgspec.structs.replace(head, partings=tuple(_partings(payload[end:])))


def _partings(rest: bytes) -> Iterator[tuple[int, bytes]]:
    """A caller that has no answer yet gets 500, a phone that rings a CANCEL. Nothing of what cannot be read."""
    try:
        values = msgspec.msgpack.decode(rest)
        legs = [*values[LEGS], *values[RINGING]]
        sessions = [(leg[FLOW], msgspec.json.decode(leg[SESSION])) for leg in legs if leg[SESSION]]
        for flow, session in sessions:
            invite = parse(session["invite"].encode("utf-8", "surrogateescape"))
            if not isinstance(invite, Request):
                continue
            if session["phase"] == "incoming":
                yield flow, answer_to(invite, 500, to_tag=session["tag"])
            elif session["phase"] == "calling":
                yield flow, cancel_for(invite).to_bytes()
    except (msgspec.DecodeError, Malformed, LookupError, TypeError, AttributeError):
        return


def _newest(halves: bytes) -> bytes:
    newest = (0, b"")
    for start in (0, HALF_BYTES):
        generation, length, check = _HALF.unpack_from(halves, start)
        if generation <= newest[0] or length > HALF_BYTES - _HALF.size:
            continue
        payload = halves[start + _HALF.size : start + _HALF.size + length]
        if zlib.crc32(payload, zlib.crc32(struct.pack("<QI", generation, length))) == check:
            newest = (generation, payload)
    return newest[1]
