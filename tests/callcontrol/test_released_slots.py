"""Slots that earlier code has left, byte for byte (see `slots`): its calls go on, or end politely: every phone is
told, and the call written down."""

from __future__ import annotations

import asyncio
import json
import lzma
import os
import random
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import media_core
from appliance.calls.survival.before import HEAD
from appliance.sip.text.message import Request, Response, parse
from media_core import FlowInfo
from tests.box import Box, office
from tests.box_engine import FakeLeg
from tests.clock import run

HALF = struct.Struct("<QII")  # of the shape before turns: generation, length, CRC-32, before each payload
SLOTS = Path(__file__).parent / "slots"


class Remembered:
    """A phone of the fixture at its address: it keeps what it is sent, and agrees to whatever ends something."""

    def __init__(self, box: Box, flow: FlowInfo) -> None:
        self.box, self.flow = box, flow
        self.received: list[Request | Response] = []

    def receive(self, flow: int, data: bytes) -> None:
        message = parse(data)
        self.received.append(message)
        if isinstance(message, Request) and message.method in ("BYE", "CANCEL"):
            names = ("Via", "From", "To", "Call-ID", "CSeq")
            lines = [f"{name}: {message.get(name)}" for name in names]
            self.box.from_phone(
                self.flow, "\r\n".join(["SIP/2.0 200 OK", *lines, "Content-Length: 0", "", ""]).encode()
            )

    def stop(self) -> None:
        pass

    def told(self, known: dict[str, Any]) -> bool:
        """Whether it has heard that this call of its is over."""
        return any(self._ends(message, known) for message in self.received)

    @staticmethod
    def _ends(message: Request | Response, known: dict[str, Any]) -> bool:
        if message.call_id != known["call_id"]:
            return False
        if known["state"] == "calling":  # RFC 3261 section 17.1.3: an answer belongs to the INVITE with this branch
            return isinstance(message, Response) and message.status >= 400 and message.via.branch == known["branch"]
        if not isinstance(message, Request) or message.from_.tag != known["our_tag"]:
            return False
        if known["state"] == "ringing":
            return message.method == "CANCEL" and message.via.branch == known["branch"]
        in_dialog = (
            message.to.tag == known["tag"]
            and message.uri_text == known["contact"]
            and message.cseq[0] > known["our_seq"]
        )
        return message.method == "BYE" and in_dialog


def memory_of(name: str) -> bytearray:
    return bytearray(lzma.decompress((SLOTS / f"{name}.xz").read_bytes()))


@asynccontextmanager
async def successor(name: str, memory: bytes) -> AsyncIterator[tuple[Box, dict[str, Any], dict[int, Remembered]]]:
    """A box on what the fixture's process has left, started; with its facts and its phones by flow."""
    facts = json.loads((SLOTS / f"{name}.json").read_text())
    box = Box(office(*(str(number) for number in range(101, 119)), lines=3))
    os.pwrite(box._fd, memory, 0)
    await box.seconds(facts["unix"] + 5 - box.unix())
    phones = {}
    for id, transport, local, remote, cipher in facts["flows"]:
        flow = FlowInfo(id, media_core.Transport[transport], tuple(local), tuple(remote), cipher)
        box.engine.open_flows[id] = flow
        phones[id] = box.phones[flow.remote] = Remembered(box, flow)  # type: ignore[assignment]
    for id, port in facts["media"]:
        box.engine.media[id] = FakeLeg(id, port)
    box.start()
    try:
        yield box, facts, phones
    finally:
        box.kill()
        await asyncio.sleep(0)
        box.engine.dispose()


def ends_politely(memory: bytes, *states: str) -> None:
    """All calls of the shape before turns: phones that have come so far are told, and one record each says so."""

    async def scene() -> None:
        async with successor("journal", memory) as (box, facts, phones):
            await box.seconds(40)
            deaf = {
                f"{kind}: {known['user']}": phones[known["flow"]].received
                for kind, call in facts["calls"].items()
                for known in call["phones"]
                if known["state"] in states and not phones[known["flow"]].told(known)
            }
            assert deaf == {}, "who has not heard that the call is over"
            records = {record.caller_number: record for record in box.records}
            assert len(records) == len(box.records) == len(facts["calls"])
            for call in facts["calls"].values():
                record = records[call["caller"]]
                assert record.dialled == call["dialled"]
                assert (record.outcome == "answered") == call["answered"]
                assert record.started <= record.ended
            box.phones.clear()
            assert box.left() == []

    run(scene())


def test_calls_of_the_shape_before_turns_end_politely() -> None:
    ends_politely(memory_of("journal"), "confirmed", "ringing", "calling")


def test_the_head_of_a_slot_is_enough_to_end_its_call() -> None:
    """What comes behind the heads cannot be read; the phones that were connected hear of it all the same."""
    memory = memory_of("journal")
    half, found = 16 * 1024, 0
    for start in range(0, len(memory), half):
        generation, length, _ = HALF.unpack_from(memory, start)
        payload = memory[start + HALF.size : start + HALF.size + length]
        if payload.startswith(HEAD):
            behind = len(HEAD) + 2 + int.from_bytes(payload[len(HEAD) : len(HEAD) + 2], "big")
            if b"answered" in payload[behind:]:  # a finished call's record, which has nobody to tell
                continue
            payload[behind:] = b"\xc1" * (length - behind)
            check = zlib.crc32(payload, zlib.crc32(struct.pack("<QI", generation, length)))
            memory[start : start + HALF.size + length] = HALF.pack(generation, length, check) + payload
            found += 1
    assert found >= 9
    ends_politely(memory, "confirmed")


def test_rubbish_is_no_call() -> None:
    """The memory of something else: nobody is told anything, and calls work."""

    async def scene() -> None:
        rubbish = random.Random(1).randbytes(len(memory_of("journal")))
        async with successor("journal", rubbish) as (box, _, phones):
            await box.seconds(40)
            assert [phone.received for phone in phones.values() if phone.received] == []
            assert box.records == []
            box.phones.clear()
            a = await box.phone("101")
            await box.phone("102")
            call = await a.call("102")
            assert call.final.result() == 200
            call.hang_up()
            await box.seconds(70)
            assert len(box.records) == 1
            assert box.left() == []

    run(scene())
