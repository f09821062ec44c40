"""Telephones that live through anything: calls of all kinds, one after the other, and what was wrong with each.

A Seat is two phones (at an echo: one) that telephone with each other again and again, each call with a fate of its own: talked, given up while
it rings, refused, left to ring. Only they end their calls, so whatever ends otherwise was lost, and what goes on without them is a ghost.
Sound is light: packets are 20 ms apart and mean nothing; each arrival is stamped by the kernel, and what our own clock was late is
subtracted, so that a gap is the system's.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from appliance.sip import events
from appliance.sip.errors import WrongState
from appliance.sip.media.agreed import Encrypt
from appliance.sip.media.negotiation import EVENT, LegMedia
from appliance.sip.text.sdp import Format
from appliance.softphone import Account, PhoneCall, PhoneError, Softphone
from appliance.softphone.phone import FORMATS
from appliance.softphone.sound import FRAME, Audio, Route, direct

PACKET = 0.02  # seconds
PATIENCE = 15.0  # seconds that a phone waits for what must come: SIP repeats what a restart has swallowed
SOUND_WITHIN = 6.0  # seconds after the answer
FINAL_WITHIN = 40.0  # seconds after CANCEL: its phone itself waits 32
REASONS = 100  # kept
STAMP = getattr(socket, "SO_TIMESTAMPNS", 35)
SOUND = random.Random("sound").randbytes(FRAME)


class Clock:
    """Sends a packet of every stream each 20 ms, and knows when it was late."""

    def __init__(self) -> None:
        self.streams: set[Stream] = set()
        self.late: deque[tuple[float, float]] = deque(maxlen=20_000)  # (unix time, seconds since the tick before)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due, before = loop.time(), time.time()
        while True:
            due = max(due + PACKET, loop.time() - 0.1)
            await asyncio.sleep(due - loop.time())
            now = time.time()
            if now - before > 1.25 * PACKET:
                self.late.append((now, now - before))
            before = now
            for stream in list(self.streams):
                stream.send()

    def usual(self, begin: float, end: float) -> float:
        """The longest time between two packets that we sent then."""
        late = (gap for at, gap in self.late if at >= begin - 0.1 and at - gap <= end)
        return max(late, default=PACKET)


class Stream(Audio):
    """RTP of one call without a sound. While it is expected, `gaps` collects (unix time of the end, seconds beyond the usual, where)."""

    clock: ClassVar[Clock]
    gaps: ClassVar[deque[tuple[float, float, str]]] = deque(maxlen=200_000)

    def __init__(self, frequency: float, route: Route = direct) -> None:
        super().__init__(frequency, route)
        self._socket: socket.socket | None = None
        self._since: float | None = None  # expected
        self._last: float | None = None
        self.where = ""
        self.own = False  # what is expected is our own sound: an echo says something else first

    async def open(self, address: str) -> int:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, STAMP, 1)
        self._socket.bind((address, 0))
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)
        return int(self._socket.getsockname()[1])

    def apply(self, leg: LegMedia) -> None:
        super().apply(leg)
        if leg.agreed is not None and leg.agreed.codec is not None:
            self.payload_type = leg.agreed.codec.payload_type

    async def _play(self) -> None:
        self.clock.streams.add(self)
        try:
            await asyncio.Event().wait()
        finally:
            self.clock.streams.discard(self)

    def send(self) -> None:
        if self.target is None or self._socket is None:
            return
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._time = (self._time + FRAME) & 0xFFFFFFFF
        packet = struct.pack(">BBHII", 0x80, self.payload_type, self._sequence, self._time, self._ssrc) + SOUND
        with contextlib.suppress(OSError):
            self._socket.sendto(self._out.protect(packet) if self._out is not None else packet, self.target)
        self.sent += 1

    def _readable(self) -> None:
        assert self._socket is not None
        with contextlib.suppress(OSError):
            while True:
                data, ancillary, _, _ = self._socket.recvmsg(2048, 64)
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
                self._arrived(data, seconds + nanoseconds / 1e9)

    def _arrived(self, data: bytes, at: float) -> None:
        if len(data) < 12 or 64 <= data[1] & 0x7F < 96:  # RTCP (RFC 5761 §4)
            return
        if self._in is not None:
            try:
                data = self._in.unprotect(data)
            except Exception:  # of the media core, whatever it says: this packet was not for us
                self.refused += 1
                return
        self.packets += 1
        if self._since is not None and (self._last is not None or not self.own or data[12:] == SOUND):
            if self._last is not None and at - self._last > 1.5 * PACKET:
                self._gap(self._last, at)
            self._last = at

    def _gap(self, begin: float, end: float) -> None:
        beyond = end - begin - self.clock.usual(begin, end)
        if beyond > 0:
            self.gaps.append((end, beyond, self.where))

    def expect(self, wanted: bool) -> None:
        """From now on packets come without a gap, or need not."""
        if not wanted and self._last is not None:
            self._gap(self._last, time.time())
        self._last = None
        self._since = time.time() if wanted else None

    @property
    def began(self) -> bool:
        return self._last is not None

    def close(self) -> None:
        super().close()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None


class Telephone(Softphone):
    """A softphone that refuses, and remembers the final answer to each INVITE."""

    audio = Stream

    def __init__(self, account: Account) -> None:
        super().__init__(account, user_agent="Desk phone/1.0")
        self.finals: dict[str, int] = {}  # session -> status; 0: none came

    def _tell_call(self, call: PhoneCall, event: Any) -> None:
        match event:
            case events.Accepted():
                self.finals[event.session] = 200
            case events.Rejected(status=status, response=response):
                self.finals[event.session] = status if response is not None else 0
        super()._tell_call(call, event)

    def refuse(self, call: PhoneCall, status: int = 486) -> None:
        self.run(lambda stack, now: stack.reject(call.session, status, now))
        call.over(status, "refused here")

    def forget(self, call: PhoneCall) -> None:
        self._calls.pop(call.session, None)

    async def stray(self) -> PhoneCall | None:
        """A call that came in and nobody expected."""
        return None if self._incoming.empty() else self._incoming.get_nowait()


# ---- what is telephoned ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Fate:
    """What becomes of a call. Seconds are drawn between the two."""

    name: str
    rings: tuple[float, float]
    talks: tuple[float, float] = (0.0, 0.0)


TALKED = Fate("talked", (0.3, 4.0), (3.0, 15.0))
ANSWERED_LATE = Fate("answered late", (4.0, 10.0), (2.0, 5.0))
GIVEN_UP = Fate("given up", (0.2, 9.0))
REFUSED = Fate("refused", (0.2, 9.0))
UNANSWERED = Fate("unanswered", (0.0, 0.0))
RING_SECONDS = 20  # of the extensions, then the system gives up: longer than any phone here rings with a restart or two in between

Fates = tuple[tuple[Fate, int], ...]
MIXED: Fates = ((TALKED, 7), (GIVEN_UP, 1), (REFUSED, 1), (ANSWERED_LATE, 1))
RINGING: Fates = ((ANSWERED_LATE, 4), (GIVEN_UP, 3), (UNANSWERED, 2), (REFUSED, 2))


@dataclass(frozen=True)
class Kind:
    name: str
    share: int  # of 100 calls
    fates: Fates
    transport: Any = "UDP"
    encrypt: Encrypt = "off"
    formats: tuple[tuple[Format, ...], tuple[Format, ...]] = (FORMATS, FORMATS)
    echo: bool = False


G722 = (Format(9, "G722", 8000), EVENT)
PCMA = (Format(8, "PCMA", 8000), EVENT)
KINDS = (
    Kind("talking", 35, MIXED),
    Kind("ringing", 20, RINGING),
    Kind("echo", 10, ((TALKED, 1),), echo=True),
    Kind("transcoded", 10, MIXED, formats=(PCMA, G722)),
    Kind("TLS and SRTP", 15, MIXED, "TLS", "required"),
    Kind("ringing over TLS", 5, RINGING, "TLS", "required"),
    Kind("echo over TLS", 5, ((TALKED, 1),), "TLS", "required", echo=True),
)


@dataclass
class Seen:
    """What was telephoned and what went wrong."""

    calls: int = 0
    talked: int = 0
    holds: int = 0
    lost: int = 0
    refused: int = 0  # calls that did not come about though the phone was there, with a final answer
    holds_refused: int = 0
    ghosts: int = 0
    stray: int = 0  # second calls of one call at a phone
    reasons: dict[str, int] = field(default_factory=dict)  # how often what was wrong


class Wrong(Exception):
    """One call went wrong: the name of a figure, and a sentence."""

    def __init__(self, figure: str, why: str) -> None:
        super().__init__(why)
        self.figure = figure


async def within(seconds: float, *what: asyncio.Event) -> bool:
    """Whether one of them is set in time."""
    waiting = [asyncio.ensure_future(each.wait()) for each in what]
    try:
        return bool((await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED))[0])
    finally:
        for each in waiting:
            each.cancel()


class Seat:
    def __init__(self, kind: Kind, caller: Telephone, called: Telephone | None, seen: Seen) -> None:
        self.kind = kind
        self.caller, self.called = caller, called
        self.dialled = 0
        self._seen = seen
        self._chance = random.Random(f"{kind.name} {caller.account.number}")

    async def live(self, over: asyncio.Event) -> None:
        """Call after call until `over`."""
        await asyncio.sleep(self._chance.uniform(0.0, 4.0))
        while not over.is_set():
            fate = self._chance.choices([each for each, _ in self.kind.fates], [n for _, n in self.kind.fates])[0]
            try:
                self._seen.calls += 1
                await (self._echo(fate) if self.called is None else self._call(fate, self.called))
            except Wrong as wrong:
                self._note(wrong.figure, f"{fate.name}: {wrong}")
            await self._strays()
            await asyncio.sleep(self._chance.uniform(0.1, 1.0))

    def _note(self, figure: str, why: str) -> None:
        seen = self._seen
        setattr(seen, figure, getattr(seen, figure) + 1)
        reason = f"{figure}, {self.kind.name}, {why}"
        if reason in seen.reasons or len(seen.reasons) < REASONS:
            seen.reasons[reason] = seen.reasons.get(reason, 0) + 1

    async def _strays(self) -> None:
        while self.called is not None and (call := await self.called.stray()) is not None:
            if not await within(PATIENCE, call.ended):
                self._note("ghosts", "a phone was called twice and rings on")
                self.called.refuse(call)
            else:
                self._seen.stray += 1
            self.called.forget(call)

    def _draw(self, row: tuple[float, float]) -> float:
        return self._chance.uniform(*row)

    # ---- one call
    async def _dial(self, number: str) -> PhoneCall:
        self.dialled += 1
        return await self.caller.dial(number)

    async def _echo(self, fate: Fate) -> None:
        call = await self._dial("*60")
        try:
            if not await within(FINAL_WITHIN, call.answered, call.ended):
                raise Wrong("lost", "no final answer from the echo")
            self._expect_alive(call, "the echo")
            await self._talk(fate, [call])
            self._stop([call])
            call.hang_up()
        finally:
            self._end(self.caller, call)

    async def _call(self, fate: Fate, called: Telephone) -> None:
        call = await self._dial(called.account.number)
        taken = await self._rung(call, called)
        try:
            if await within(self._draw(fate.rings), call.ended, taken.ended) and fate is not UNANSWERED:
                raise Wrong("lost", f"it stopped ringing by itself: {call.status} {call.reason}, {taken.reason}")
            await {
                GIVEN_UP: self._give_up,
                REFUSED: self._refuse,
                UNANSWERED: self._wait_on,
            }.get(fate, self._answer)(fate, call, taken)  # fmt: skip
        finally:
            self._end(self.caller, call)
            self._end(called, taken)

    async def _rung(self, call: PhoneCall, called: Telephone) -> PhoneCall:
        """The call as it rings at the other phone."""
        coming = asyncio.ensure_future(called.incoming(FINAL_WITHIN))
        ended = asyncio.ensure_future(call.ended.wait())
        await asyncio.wait((coming, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if coming.done() and coming.exception() is None:
            return coming.result()
        coming.cancel()
        answered = call.ended.is_set() and self.caller.finals.get(call.session, 0)
        reason = f"{call.status} {call.reason}"
        self._end(self.caller, call)
        if answered:
            raise Wrong("refused", f"{reason} before it rang")
        raise Wrong("lost", f"it neither rang nor was it refused: {reason}")

    async def _give_up(self, fate: Fate, call: PhoneCall, taken: PhoneCall) -> None:
        call.hang_up()
        await self._quiet(taken, "the caller gave up")
        end = time.monotonic() + FINAL_WITHIN
        while call.session not in self.caller.finals and time.monotonic() < end:
            await asyncio.sleep(0.1)
        if not self.caller.finals.get(call.session):
            raise Wrong("lost", "no final answer to a call that was given up")

    async def _refuse(self, fate: Fate, call: PhoneCall, taken: PhoneCall) -> None:
        assert self.called is not None
        self.called.refuse(taken)
        if not await within(PATIENCE, call.ended, call.answered):
            raise Wrong("lost", "no final answer to a call that was refused")
        if call.status != 486:
            raise Wrong("lost", f"{call.status} {call.reason} to a call that was refused with 486")

    async def _wait_on(self, fate: Fate, call: PhoneCall, taken: PhoneCall) -> None:
        if not await within(RING_SECONDS + PATIENCE, call.ended):
            raise Wrong("lost", "no final answer to a call that nobody answered")
        await self._quiet(taken, f"the caller was told {call.status}")
        if not 400 <= call.status < 500:
            raise Wrong("refused", f"{call.status} {call.reason} to a call that nobody answered")

    async def _answer(self, fate: Fate, call: PhoneCall, taken: PhoneCall) -> None:
        with contextlib.suppress(WrongState):
            taken.answer()
        if not await within(PATIENCE, call.answered, call.ended):
            raise Wrong("lost", "answered there, no final answer here")
        self._expect_alive(call, "the caller's side")
        await self._talk(fate, [call, taken])
        first, second = self._chance.sample([call, taken], 2)
        self._stop([call, taken])
        first.hang_up()
        await self._quiet(second, "the other hung up")

    async def _quiet(self, call: PhoneCall, why: str) -> None:
        if not await within(PATIENCE, call.ended):
            raise Wrong("ghosts", f"{why}, and the other phone goes on")

    # ---- talking
    @staticmethod
    def _expect_alive(call: PhoneCall, side: str) -> None:
        if call.ended.is_set():
            raise Wrong("lost", f"{side} ended by itself: {call.status} {call.reason}")

    @staticmethod
    def _streams(calls: list[PhoneCall]) -> list[Stream]:
        return [call.audio for call in calls if isinstance(call.audio, Stream)]

    def _stop(self, calls: list[PhoneCall]) -> None:
        for stream in self._streams(calls):
            stream.expect(False)

    async def _talk(self, fate: Fate, calls: list[PhoneCall]) -> None:
        self._seen.talked += 1
        ended = [call.ended for call in calls]
        try:
            await self._heard(calls)
            seconds = self._draw(fate.talks)
            if self._chance.random() < 0.4:
                await within(seconds / 3, *ended)
                await self._hold(calls)
            await within(seconds, *ended)
            for call in calls:
                self._expect_alive(call, "a call that was talked")
        finally:
            self._stop(calls)

    async def _heard(self, calls: list[PhoneCall]) -> None:
        """Until there is sound on each side."""
        streams = self._streams(calls)
        for side, stream in enumerate(streams):
            stream.where = f"{self.kind.name}, {'called' if side else 'caller'}"
            stream.own = self.kind.echo
            stream.expect(True)
        end = time.monotonic() + SOUND_WITHIN
        while not all(stream.began for stream in streams):
            for call in calls:
                self._expect_alive(call, "a call without sound yet")
            if time.monotonic() > end:
                raise Wrong("lost", f"no sound: {[stream.packets for stream in streams]} packets")
            await asyncio.sleep(PACKET)

    async def _hold(self, calls: list[PhoneCall]) -> None:
        call = self._chance.choice(calls)
        if any(each.ended.is_set() for each in calls):
            return
        self._stop(calls)
        self._seen.holds += 1
        try:
            await self._once_more(lambda: call.hold(FINAL_WITHIN))
            await within(self._draw((0.3, 2.0)), *(each.ended for each in calls))
            if not call.ended.is_set():
                await self._once_more(lambda: call.resume(FINAL_WITHIN))
        except PhoneError as error:
            if not call.ended.is_set():
                self._note("holds_refused", str(error))
                return
        if not any(each.ended.is_set() for each in calls):
            await self._heard(calls)

    @staticmethod
    async def _once_more(change: Callable[[], Awaitable[None]]) -> None:
        """Glare is nobody's fault (RFC 3261 §14.1)."""
        try:
            await change()
        except PhoneError as error:
            if "491" not in str(error):
                raise
            await asyncio.sleep(random.uniform(2.1, 4.0))
            await change()

    def _end(self, phone: Telephone, call: PhoneCall) -> None:
        if not call.ended.is_set():
            with contextlib.suppress(WrongState):
                call.hang_up()
        asyncio.get_running_loop().call_later(FINAL_WITHIN, phone.forget, call)
