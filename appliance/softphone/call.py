"""One call of the softphone, its RTP socket with it.

Every wait has a limit and ends in PhoneError with a sentence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from appliance.sip import events
from appliance.sip.errors import PeerError, WrongState
from appliance.sip.media.negotiation import LegMedia
from appliance.sip.stack import Stack
from appliance.sip.text.message import Request
from appliance.sip.text.sdp import Format
from appliance.softphone.sound import LOUD_ENOUGH, RATE, Audio, share_of


class Run(Protocol):
    """The phone's: a command to its stack, at its time, and then whatever the stack wants to send."""

    def __call__(self, command: Callable[[Stack, float], Any]) -> Any: ...


class PhoneError(Exception):
    """What the phone wanted did not come about, in a sentence."""


class PhoneCall:
    """One call. `ended` is set with `reason` when it is over, whoever ended it."""

    def __init__(self, run: Run, formats: Sequence[Format], leg: LegMedia, audio: Audio) -> None:
        self._run, self._formats = run, formats
        self.leg = leg
        self.audio = audio
        self.session = ""
        self.ringing = asyncio.Event()
        self.answered = asyncio.Event()
        self.begun = asyncio.Event()  # the far end has said something to our INVITE
        self.target = ""  # of a call that we make, with
        self.offer = b""
        self.ended = asyncio.Event()
        self.challenges = 0  # that were answered
        self.status = 0
        self.reason = ""
        self._offer_done: asyncio.Future[int] | None = None
        self.invite: Request | None = None

    # ---- what a person does
    async def wait(self, event: asyncio.Event, seconds: float, wanted: str) -> None:
        """Until `event`, or PhoneError when the call ends before it or time is up."""
        over = asyncio.ensure_future(self.ended.wait())
        there = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait((over, there), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            there.cancel()
        if not event.is_set():
            why = (
                f"the call ended with {self.status} {self.reason}"
                if self.ended.is_set()
                else f"nothing in {seconds:g} s"
            )
            raise PhoneError(f"{wanted}: {why}.")

    def answer(self, direction: str = "sendrecv") -> None:
        body = self.leg.make_answer(self._formats, direction)
        self._run(lambda stack, now: stack.accept(self.session, body, now))
        self.audio.apply(self.leg)

    async def hold(self, seconds: float = 8.0) -> None:
        await self._offer("sendonly", seconds)
        self.audio.target = None  # a person who holds says nothing

    async def resume(self, seconds: float = 8.0) -> None:
        await self._offer("sendrecv", seconds)

    async def _offer(self, direction: str, seconds: float) -> None:
        body = self.leg.make_offer(self._formats, direction)
        self._offer_done = asyncio.get_running_loop().create_future()
        try:
            self._run(lambda stack, now: stack.offer(self.session, body, now))
            async with asyncio.timeout(seconds):
                status = await self._offer_done
        except WrongState as error:
            raise PhoneError(f"The change could not be offered: {error}.") from None
        except TimeoutError:
            raise PhoneError(f"The change was not answered in {seconds:g} s.") from None
        finally:
            self._offer_done = None
        if status != 200:
            raise PhoneError(f"The change was refused with {status}.")

    async def hears(self, frequency: float, seconds: float) -> bool:
        """Whether that tone comes in within `seconds`; what was heard before does not count."""
        self.audio.heard.clear()
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until:
            samples = list(self.audio.heard)[-RATE // 4 :]
            if len(samples) >= RATE // 4 and share_of(frequency, samples) > LOUD_ENOUGH:
                return True
            await asyncio.sleep(0.05)
        return False

    async def hears_nothing(self, seconds: float, within: float) -> bool:
        """Whether no sound comes for `seconds`, beginning some time in the next `within`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        while loop.time() < until:
            before = self.audio.packets
            await asyncio.sleep(seconds)
            if self.audio.packets == before:
                return True
        return False

    def hang_up(self) -> None:
        self._run(lambda stack, now: stack.hang_up(self.session, now))
        self.over(0, "hung up here")

    # ---- what the stack tells
    def take_answer(self, body: bytes) -> None:
        self.leg.take_answer(body)
        self.audio.apply(self.leg)

    def take_offer(self, request: Request) -> None:
        def reject(status: int) -> None:
            self._run(lambda stack, now: stack.reject(self.session, status, now))

        if not request.body:
            body = self.leg.make_offer(self._formats)
        else:
            try:
                self.leg.take_offer(request.body)
                body = self.leg.make_answer(self._formats)
            except (PeerError, WrongState):
                reject(488)
                return
            self.audio.apply(self.leg)
        self._run(lambda stack, now: stack.accept(self.session, body, now))

    def offer_answered(self, event: events.OfferAnswered) -> None:
        if event.status == 200 and event.response is not None:
            self.take_answer(event.response.body)
        else:
            self.leg.forget()
        if self._offer_done is not None and not self._offer_done.done():
            self._offer_done.set_result(event.status)

    def over(self, status: int, reason: str) -> None:
        if not self.ended.is_set():
            self.status, self.reason = status, reason
            self.ended.set()
            self.begun.set()
            self.audio.close()
            if self._offer_done is not None and not self._offer_done.done():
                self._offer_done.set_result(status or 487)
