"""A stage: phones in a box that is killed while they play a scene, and what has to hold when it is over.

    async with stage(office("101", "102"), at=17) as found:   # before effect 17
        a, b = await found.phone("101"), await found.phone("102")
        await found.begin()
        call = a.dial("102")
        ...
    found.wrong                                                # sentences

What has to hold, whatever is killed: nobody stands alone, nobody rings for nothing, no final answer is contradicted,
each call has one record, and nothing is left. The phones go on as real ones do: over UDP they repeat, over TLS nobody
does.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from appliance.calls.history.record import CallRecord
from appliance.config.model import Snapshot
from tests.box import Box
from tests.box_axe import Killed, axe
from tests.box_engine import FakeLeg
from tests.box_phone import Phone, PhoneCall

T = TypeVar("T")

SOON = 6.0  # seconds within which the other side of a call has heard that it is over, a kill in between
QUIET = 150.0  # longer than every timer of a call
FINAL = re.compile(rb"SIP/2\.0 ([2-6]\d\d) ")
CALL_ID = re.compile(rb"^(?:Call-ID|i)\s*: *(.*?)\r\n", re.IGNORECASE | re.MULTILINE)
CSEQ = re.compile(rb"^CSeq\s*: *(.*?)\r\n", re.IGNORECASE | re.MULTILINE)


class Stage:
    def __init__(self, box: Box, axe: Any) -> None:
        self.box, self.axe = box, axe
        self.phones: list[Phone] = []
        self.wrong: list[str] = []
        self._finals: dict[tuple[str, bytes, bytes], list[int]] = defaultdict(list)

    def failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """In a task or callback: of the killed that is all there is to hear."""
        if not isinstance(error := context.get("exception"), Killed):
            self.wrong.append(f"{context['message']}: {error!r}")

    def _watch(self, phone: Phone) -> None:
        """Which final answers reach it."""
        receive = phone.receive

        def watched(flow: int, data: bytes) -> None:
            status, call_id, cseq = FINAL.match(data), CALL_ID.search(data), CSEQ.search(data)
            if status and call_id and cseq and phone.on:
                self._finals[phone.user, call_id[1], cseq[1]].append(int(status[1]))
            receive(flow, data)

        phone.receive = watched  # type: ignore[method-assign]

    # ---- for scenes
    async def phone(self, user: str, **how: Any) -> Phone:
        phone = await self.box.phone(user, **how)
        self.phones.append(phone)
        self._watch(phone)
        return phone

    async def begin(self) -> None:
        """From here on `calls` may be killed."""
        await self.box.seconds(1)
        self.axe.armed = True

    def must(self, holds: object, otherwise: str) -> None:
        if not holds:
            self.wrong.append(otherwise)

    async def within(self, seconds: float, what: Awaitable[T]) -> T | None:
        try:
            async with asyncio.timeout(seconds):
                return await what
        except TimeoutError:
            return None

    async def final(self, call: PhoneCall) -> None:
        """It has one, or will have none."""
        await self.within(SOON, asyncio.shield(call.final))

    async def incoming(self, phone: Phone, seconds: float = SOON) -> PhoneCall | None:
        return await self.within(seconds, phone.incoming.get())

    def talking(self, *calls: PhoneCall | None) -> None:
        """Each of these was answered, and nobody has hung up."""
        for call in calls:
            if call is None:
                self.wrong.append("a phone was not rung")
            elif not call.final.done():
                self.wrong.append(f"{call.phone.user} is not in the call: no final answer")
            elif call.final.result() != 200:
                self.wrong.append(f"{call.phone.user} is not in the call: {call.final.result()}")
            elif call.ended:
                self.wrong.append(
                    f"the call of {call.phone.user} is over: {call.reason or call.cancelled or call.rejection}"
                )

    def leg(self, phone: Phone) -> FakeLeg:
        """The engine's leg that faces this phone's media; one that leads nowhere when there is none."""
        legs = [
            leg for leg in self.box.engine.media.values() if leg.remote is not None and leg.remote.address == phone.host
        ]
        return legs[0] if len(legs) == 1 else FakeLeg(0, 0)

    def hears(self, a: Phone, b: Phone) -> None:
        """They are connected in the media engine, both ways."""
        one, other = self.leg(a), self.leg(b)
        self.must(
            one.id and (one.peer, other.peer) == (other.id, one.id), f"{a.user} and {b.user} do not hear each other"
        )

    # ---- afterwards
    @property
    def calls(self) -> list[PhoneCall]:
        return [call for phone in self.phones for call in phone.calls.values()]

    @property
    def dials(self) -> list[PhoneCall]:
        """Attempts of people: an INVITE and its repetition with credentials are one."""
        return list(dict.fromkeys(call for call in self.calls if call.request is None))

    @property
    def records(self) -> list[CallRecord]:
        """As the archive keeps them: one per id."""
        return list({record.id: record for record in self.box.records}.values())

    async def close(self) -> None:
        await self.box.seconds(QUIET)
        self.axe.armed = False
        for call in dict.fromkeys(self.calls):
            if not call.ended:
                ringing = call.request is not None and not call.final.done()
                self.wrong.append(f"{call.phone.user} {'rings for nothing' if ringing else 'stands alone'}")
            if call.request is None and not call.final.done():
                self.wrong.append(f"{call.phone.user} never got a final answer")
        for (user, _, cseq), statuses in self._finals.items():
            later = set(statuses) - {statuses[0]}
            # the first answer to a BYE, CANCEL or INFO ends it (RFC 3261 section 17.1.2); its repetition may meet nobody
            if later and (cseq.endswith(b" INVITE") or any(status < 300 for status in later)):
                self.wrong.append(f"{cseq.decode()} of {user} was answered with {statuses}")
        self.wrong += self.box.left()

    def one_call(self, outcome: str | Sequence[str]) -> None:
        """One dial: nobody learns late that it is over, no phone was rung twice, and one record says how it went."""
        (dial,) = self.dials
        rung = [
            call for call in self.calls if call.request is not None and call.ended_at != call.began
        ]  # those not refused at once
        for call in rung:
            if sum(other.phone is call.phone for other in rung) > 1:
                self.wrong.append(f"{call.phone.user} was rung twice")
            if dial.ended and call.began > dial.ended_at + 1:
                self.wrong.append(f"{call.phone.user} rang after the call was over")
        ends = [call.ended_at for call in (dial, *(call for call in rung if call.final.done())) if call.ended]
        if ends and max(ends) - min(ends) > SOON:
            self.wrong.append(f"who was in the call learned {max(ends) - min(ends):.1f} s late that it is over")
        heard = min([call.accepted_at for call in rung if call.accepted_at] + [dial.ended_at or 1e9])
        for call in rung:
            if not call.accepted_at and call.ended_at - heard > SOON:
                self.wrong.append(f"{call.phone.user} rang on for {call.ended_at - heard:.1f} s")
        if len(self.records) != 1:
            self.wrong.append(f"{len(self.records)} records")
        elif self.records[0].outcome not in ([outcome] if isinstance(outcome, str) else outcome):
            self.wrong.append(f"the record says {self.records[0].outcome}")


@asynccontextmanager
async def stage(
    snapshot: Snapshot, at: int = 0, again: int = 0, down: float = 0.3, outbox: bool = True, **how: Any
) -> AsyncIterator[Stage]:
    box = Box(snapshot, **how)
    with axe(box, at, again, down, outbox) as made:
        found = Stage(box, made)
        asyncio.get_running_loop().set_exception_handler(found.failed)
        box.start()
        try:
            yield found
            await found.close()
        finally:
            made.dead = made.armed = False
            for phone in box.phones.values():
                phone.stop()
            box.kill()
            await asyncio.sleep(0)
            box.dispose()
