"""The verbs of a call script (`api.Call`) on a real call. One object per running script."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from appliance import cti
from appliance.callcontrol import api, audit
from appliance.callcontrol.api import Cause, Clear, Party, Tone
from appliance.callcontrol.exchange import Exchange
from appliance.callcontrol.leg import PhoneLeg
from appliance.callcontrol.ringing import Fork
from appliance.callcontrol.terms import bridges
from appliance.config.model import Extension, Snapshot
from appliance.sip.errors import PeerError, WrongState

if TYPE_CHECKING:
    from appliance.callcontrol.call import Call

ACK_WAIT = 40.0  # the stack gives up a 2xx without ACK after 64*T1 and says so


class Verbs:
    def __init__(self, call: Call, exchange: Exchange) -> None:
        self._call = call
        self._exchange = exchange

    @property
    def id(self) -> str:
        return self._call.id

    @property
    def dialled(self) -> str:
        return self._call.dialled

    @property
    def caller(self) -> PhoneLeg:
        return self._call.caller

    @property
    def snapshot(self) -> Snapshot:
        return self._call.snapshot

    @property
    def step(self) -> str:
        return self._call.step

    def reached(self, step: str) -> None:
        self._call.step = step
        self._call.save()

    async def answer(self) -> None:
        if not self.caller.answered:
            await self._answer(None)

    async def ring(self, extension: Extension) -> PhoneLeg:
        call = self._call
        call.callee = Party(extension.number, extension.name)
        fork = call.fork = Fork(call, self._exchange, extension)
        try:
            leg = await fork.winner()
        finally:
            if fork.answer is not None:
                call.legs.append(fork.answer)
                fork.answer.answered = True
            fork.drop(answered=fork.answer is not None)
            call.refusals = fork.refused
            call.fork = None
        return leg

    async def answer_with(self, leg: PhoneLeg) -> None:
        """Answer the caller with what the phone that answered can do, and connect both."""
        caller = self.caller
        if not caller.answered:
            await self._answer(leg)
        # the early answer of another phone may have bound the caller to codecs that this one did not choose
        if not caller.terms.shares(leg.terms) and not leg.terms.wide:
            await self._call.renegotiation.offer(leg, caller.terms.formats())
        if not bridges(caller.terms, leg.terms):
            raise Clear(Cause.INCOMPATIBLE)
        self.connect(caller, leg)
        self.reached("talking")

    async def play(self, leg: api.Leg, tones: Sequence[Tone]) -> None:
        """Nothing when no codec of ours was agreed; at most as long as the tones take, should their end not be reported."""
        payload_type = _phone(leg).terms.tone_payload_type()
        if payload_type is None:
            return
        self._call.played.clear()
        self._exchange.media.play(_phone(leg).port.id, tones, payload_type)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(sum(tone[2] for tone in tones) / 1000 + 1):
                await self._call.played.wait()

    def connect(self, a: api.Leg, b: api.Leg) -> None:
        self._call.bridge = _phone(a), _phone(b)
        self._call.connect_media()
        self._call.save()

    async def talk(self) -> None:
        for leg in self._call.legs:
            self._call.renegotiation.align(leg)
        while True:
            await asyncio.sleep(audit.EVERY)  # whoever hangs up cancels the script
            self._call.look()

    async def _answer(self, other: PhoneLeg | None) -> None:
        call, leg, sip = self._call, self.caller, self._exchange.sip
        headers = leg.connected_line(self._exchange.host, call.callee)
        try:
            body = leg.answer(other)
        except PeerError as error:
            raise Clear(Cause.INCOMPATIBLE, status=488, warning=error.reason) from error
        try:
            sip(lambda stack, now: stack.accept(leg.session, body, now, headers=headers))
        except WrongState as error:  # cancelled in this very moment; the event is on its way
            raise Clear(Cause.NORMAL) from error
        leg.answered = True
        call.answered = self._exchange.unix()
        if leg.terms.owed:  # late offer: the ACK brings the answer
            async with asyncio.timeout(ACK_WAIT):
                await call.confirmed.wait()
        call.describe(leg)
        self._exchange.news.put_nowait(cti.CallsChanged())


def _phone(leg: api.Leg) -> PhoneLeg:
    assert isinstance(leg, PhoneLeg)
    return leg
