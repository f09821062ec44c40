"""Slots that earlier code has left, byte for byte (see `slots`): its calls go on, or end politely: every phone is
told, and the call written down."""

from __future__ import annotations

import asyncio
import contextlib
import json
import lzma
import os
import random
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

import media_core
from appliance.calls.survival.before import HEAD
from appliance.calls.turns.slots import CallSlot, LegSlot
from appliance.sip.text.message import Request, Response, parse
from media_core import FlowInfo, Slots, SlotsMissing
from tests.box import CALLS, Box, office
from tests.box_axe import Killed, axe
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

    def leaves(self, known: dict[str, Any], dialled: str) -> None:
        """The caller hangs up: BYE, or CANCEL while it is not answered."""
        (host, port), name = self.flow.remote, self.flow.transport.name
        me, uri = f"<sip:{known['user']}@192.0.2.1>;tag={known['tag']}", f"sip:{dialled}@192.0.2.1"
        if known["state"] == "confirmed":
            method, branch, seq, to = "BYE", f"z9hG4bKbye{known['user']}", 1000, f"<{uri}>;tag={known['our_tag']}"
        else:
            method, branch, seq, to = "CANCEL", known["branch"], known["seq"], f"<{uri}>"
        lines = [
            f"Via: SIP/2.0/{name} {host}:{port};branch={branch};rport",
            f"From: {me}",
            f"To: {to}",
            f"Call-ID: {known['call_id']}",
        ]
        lines += [f"CSeq: {seq} {method}", "Max-Forwards: 70", "Content-Length: 0", "", ""]
        self.box.from_phone(self.flow, "\r\n".join([f"{method} {uri} SIP/2.0", *lines]).encode())

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
async def successor(
    name: str, memory: bytes, at: int = 0
) -> AsyncIterator[tuple[Box, dict[str, Any], dict[int, Remembered]]]:
    """A box on what the fixture's process has left, started; with its facts and its phones by flow. `at`: before which effect of its start
    it is killed, so that another one takes over; the fact `effects` is how many those were."""
    facts = json.loads((SLOTS / f"{name}.json").read_text())
    box = Box(office(*(str(number) for number in range(101, 119)), lines=3))
    os.pwrite(box._fd, memory, 0)
    await box.seconds(facts["unix"] + 5 - box.unix())
    phones = {}
    for id, transport, local, remote, cipher in facts["flows"]:
        flow = FlowInfo(id, media_core.Transport[transport], tuple(local), tuple(remote), cipher)
        box.engine.open_flows[id] = flow
        phones[id] = box.phones[flow.remote] = Remembered(box, flow)  # type: ignore[assignment]
    with contextlib.suppress(SlotsMissing):  # how far the rings were read: the shape before turns did not say
        slots = Slots(box._fd)
        box.engine._gone = slots.positions[0]
        slots.close()
    for id, port in facts["media"]:
        box.engine.media[id] = FakeLeg(id, port)
    with axe(box, at) as made, contextlib.suppress(Killed):
        made.armed = True
        box.start()
    made.armed = False
    try:
        yield box, facts | {"effects": made.count}, phones
    finally:
        box.kill()
        await asyncio.sleep(0)
        box.dispose()


def ends_politely(memory: bytes, *states: str, at: int = 0) -> int:
    """All calls of the shape before turns: phones that have come so far are told, and one record each says so."""

    async def scene() -> int:
        async with successor("journal", memory, at) as (box, facts, phones):
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
            return int(facts["effects"])

    return run(scene())


def test_calls_of_the_shape_before_turns_end_politely() -> None:
    ends_politely(memory_of("journal"), "confirmed", "ringing", "calling")


def test_a_kill_in_the_middle_of_the_goodbyes_leaves_them_to_the_next() -> None:
    """Before each effect of the process that has found them: what was there is gone only when the goodbyes count."""
    memory = memory_of("journal")
    effects = ends_politely(memory, "confirmed")
    assert effects > 20
    for at in range(1, effects + 1):
        ends_politely(memory, "confirmed", "ringing", "calling", at=at)


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


# ---- the shape since turns: calls go on
def goes_on(memory: bytes) -> None:
    """Each call is as it was: nobody is told that it is over until the callers say so. Then all others are told, and
    one record each says how it went."""

    async def scene() -> None:
        async with successor("turns", memory) as (box, facts, phones):
            known = [each for call in facts["calls"].values() for each in call["phones"]]
            alive = [call for call in facts["calls"].values() if call["phones"]]
            assert box.resumed == len(alive)
            await box.seconds(3)
            assert [each["user"] for each in known if phones[each["flow"]].told(each)] == []
            assert len(box.engine.media) == len(known), "a leg for each phone that talks or rings"
            talking = [leg for leg in box.engine.media.values() if leg.peer is not None]
            assert len(talking) >= 11
            for call in alive:
                phones[call["phones"][0]["flow"]].leaves(call["phones"][0], call["dialled"])
            await box.seconds(40)
            callees = [each for call in alive for each in call["phones"][1:]]
            assert [each["user"] for each in callees if not phones[each["flow"]].told(each)] == []
            outcomes = {record.caller_number: record.outcome for record in box.records}
            assert len(outcomes) == len(box.records)
            assert outcomes == {
                call["caller"]: "answered" if call["answered"] else "cancelled" for call in facts["calls"].values()
            }
            box.phones.clear()
            assert box.left() == []

    run(scene())


def rewritten(change: Callable[[list[Any]], list[Any]], area: str) -> bytes:
    """The memory of the fixture, with another list of values in each slot of this kind."""
    fd = os.memfd_create("slots")
    os.pwrite(fd, memory_of("turns"), 0)
    slots = Slots(fd)
    for slot, payload in getattr(slots, area):
        assert getattr(slots, area).write(slot, msgspec.msgpack.encode(change(msgspec.msgpack.decode(payload))))
    slots.commit(slots.positions, [])
    slots.close()
    memory = os.pread(fd, os.fstat(fd).st_size, 0)
    os.close(fd)
    return memory


def test_calls_go_on() -> None:
    goes_on(bytes(memory_of("turns")))


def resized() -> bytes:
    """The memory of the fixture as code with smaller slots, and fewer of them, has written it."""
    made = os.memfd_create("slots")
    os.pwrite(made, memory_of("turns"), 0)
    slots = Slots(made)
    largest = {
        name: max(len(payload) for _, payload in area) for name, area in (("leg", slots.legs), ("call", slots.calls))
    }
    pages = {f"{name}_bytes": -(-octets // 4096) * 4096 for name, octets in largest.items()}
    fd = os.memfd_create("smaller slots")
    Slots.make(fd, len(slots.calls), **pages)
    smaller = Slots(fd)
    for held, into in ((slots.legs, smaller.legs), (slots.calls, smaller.calls)):
        assert into.slots < held.slots
        assert into.capacity <= held.capacity
        for _, payload in held:
            slot = into.claim()
            assert slot is not None
            assert into.write(slot, payload)
    assert smaller.calls.capacity < slots.calls.capacity
    assert not smaller.suffice(CALLS)
    smaller.commit(slots.positions, slots.unsent)
    memory = os.pread(fd, os.fstat(fd).st_size, 0)
    for each in (made, fd):
        os.close(each)
    return memory


@pytest.mark.parametrize("died_enlarging", [False, True])
def test_slots_of_other_sizes_are_taken_over(died_enlarging: bool) -> None:
    """All calls go on in larger slots; also when a process has died on the way there."""
    memory = resized()
    if died_enlarging:
        fd = os.memfd_create("slots")
        os.pwrite(fd, memory, 0)
        Slots.beside(fd, CALLS).commit((99,), [(1, b"nothing that counts")])
        memory = os.pread(fd, os.fstat(fd).st_size, 0)
        os.close(fd)
    goes_on(memory)


@pytest.mark.parametrize("area", ["legs", "calls"])
def test_slots_with_a_field_more_are_taken_over(area: str) -> None:
    goes_on(rewritten(lambda values: [*values, "what a later version keeps"], area))


@pytest.mark.parametrize(("area", "fields"), [("legs", LegSlot), ("calls", CallSlot)])
def test_slots_with_a_field_less_are_taken_over(area: str, fields: type[msgspec.Struct]) -> None:
    """As code wrote them that did not know the field that came last, and so had nothing to say in it."""
    cut = []

    def without_the_last(values: list[Any]) -> list[Any]:
        last = len(fields.__struct_fields__) - 1
        if values[last]:
            return values
        cut.append(values)
        return values[:last]

    goes_on(rewritten(without_the_last, area))
    assert len(cut) >= 9


@pytest.mark.parametrize("area", ["legs", "calls"])
def test_slots_that_cannot_be_read_end_politely(area: str) -> None:
    async def scene() -> None:
        async with successor("turns", rewritten(lambda values: [None] * 3 + values[3:], area)) as (box, facts, phones):
            await box.seconds(40)
            known = [each for call in facts["calls"].values() for each in call["phones"]]
            deaf = [each["user"] for each in known if not phones[each["flow"]].told(each)]
            assert deaf == []
            assert len({record.id for record in box.records}) == len(box.records) == len(facts["calls"])
            assert box.engine.media == {}
            box.phones.clear()
            assert box.left() == []

    run(scene())
