"""Whatever phones send in whatever order, and whenever `calls` is killed: in the end nothing is left, and each call
has one record that holds together. Phones dial, cancel, answer, refuse, hang up, hold, resume, re-key, send digits
and rubbish, vanish, come back, and register again."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.calls.history.record import CallRecord
from appliance.services.scripts import SCRIPTS
from appliance.sip.errors import WrongState
from tests.box import office
from tests.box_phone import PCMU, Phone, PhoneCall
from tests.box_stage import Stage, stage
from tests.callcontrol import kill_scripts
from tests.clock import run

NUMBERS = ("101", "102", "103", "*60", "199")
PHONES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("101", {}),
    ("102", {"transport": "TLS", "srtp": "optional", "answer": "ring"}),
    ("102-2", {"answer": "ring"}),
    ("103", {"transport": "TLS", "early": True}),
)


class Play:
    """One name per kind of step: `phone` does it, `value` says with what."""

    def __init__(self, found: Stage) -> None:
        self.stage = found
        self.unreachable: set[Phone] = set()  # what was sent to them may be lost for good
        self._asked: list[asyncio.Future[Any]] = []

    async def end(self) -> None:
        """Everybody is there again, and who has dialled, or was away, hangs up. The others have to hear of it."""
        for phone in self.stage.phones:
            phone.on = True
        await self.stage.box.seconds(self.stage.axe.down + 1)
        for call in self.stage.calls:
            if not call.ended and (call.request is None or call.phone in self.unreachable):
                call.hang_up()
        await self.stage.box.seconds(1)
        for asked in self._asked:
            asked.cancel()

    def _later(self, what: Coroutine[Any, Any, Any]) -> None:
        self._asked.append(asyncio.ensure_future(what))

    @staticmethod
    def _talks(phone: Phone, value: int) -> PhoneCall | None:
        calls = [call for call in dict.fromkeys(phone.calls.values()) if not call.ended and call.final.done()]
        return calls[value % len(calls)] if calls else None

    def _offer(self, phone: Phone, value: int, direction: str, **how: Any) -> None:
        call = self._talks(phone, value)
        if call is not None and (call.offer_status is None or call.offer_status.done()):
            self._later(call.offer(direction, **how))

    # ---- the steps
    def dial(self, phone: Phone, value: int) -> None:
        phone.dial(NUMBERS[value % len(NUMBERS)])

    def hang_up(self, phone: Phone, value: int) -> None:
        calls = [call for call in dict.fromkeys(phone.calls.values()) if not call.ended]
        if calls:
            calls[value % len(calls)].hang_up()

    def answer(self, phone: Phone, value: int) -> None:
        for call in phone.calls.values():
            if call.request is not None and not call.accepted_at and not call.ended:
                return call.accept() if value % 4 else call.refuse(486)
        return None

    def hold(self, phone: Phone, value: int) -> None:
        self._offer(phone, value, "sendonly")

    def resume(self, phone: Phone, value: int) -> None:
        self._offer(phone, value, "sendrecv")

    def other_codec(self, phone: Phone, value: int) -> None:
        self._offer(phone, value, "sendrecv", codecs=(PCMU,))

    def re_key(self, phone: Phone, value: int) -> None:
        call = self._talks(phone, value)
        if call is not None and phone.srtp != "off":
            self._offer(phone, value, "sendrecv", crypto=(call.key("AES_CM_128_HMAC_SHA1_80", seed=value % 200),))

    def digit(self, phone: Phone, value: int) -> None:
        call = self._talks(phone, value)
        if call is not None:
            body = f"Signal={value % 10}\r\nDuration=160\r\n".encode()
            self._later(
                phone.request("INFO", "", session=call.session, body=body, content_type="application/dtmf-relay")
            )

    def event(self, phone: Phone, value: int) -> None:
        """A digit as an RFC 4733 event."""
        kill_scripts.press(self.stage, phone, "0123456789#*"[value % 12])

    def vanish(self, phone: Phone, value: int) -> None:
        phone.on = False
        self.unreachable.add(phone)

    def come_back(self, phone: Phone, value: int) -> None:
        phone.on = True

    def move(self, phone: Phone, value: int) -> None:
        self.unreachable.add(phone)
        phone.reconnect(close=phone.transport == "TLS")
        self._later(phone.register())

    def register(self, phone: Phone, value: int) -> None:
        self._later(phone.register(expires=600 if value % 3 else 0))

    def rubbish(self, phone: Phone, value: int) -> None:
        if phone.transport == "UDP":  # over TLS it would end the connection
            phone.box.from_phone(phone.flow, random.Random(value).randbytes(value % 300 + 1))

    def half_a_message(self, phone: Phone, value: int) -> None:
        if phone.transport == "UDP":
            phone.rewrite = lambda data: data[: len(data) * (value % 100) // 100]
            self.hang_up(phone, value) if value % 2 else self.dial(phone, value)
            phone.rewrite = lambda data: data

    def kill(self, phone: Phone, value: int) -> None:
        """Now, or before one of the next effects."""
        axe = self.stage.axe
        if not axe.dead:
            axe.at = axe.count + value % 30
            if value % 30 == 0:
                axe.fall("now")


STEPS: tuple[Callable[[Play, Phone, int], None], ...] = (
    Play.dial, Play.dial, Play.dial, Play.hang_up, Play.answer, Play.answer, Play.answer,
    Play.hold, Play.resume, Play.other_codec, Play.re_key, Play.digit, Play.event,
    Play.vanish, Play.come_back, Play.move, Play.register, Play.rubbish, Play.half_a_message,
)  # fmt: skip
PAUSES = (0.0, 0.005, 0.02, 0.3, 1.0, 3.0, 40.0)

Sequence = list[tuple[Callable[[Play, Phone, int], None], int, int, float]]


def sequences(*more: Callable[[Play, Phone, int], None]) -> st.SearchStrategy[Sequence]:
    step = st.tuples(
        st.sampled_from((*STEPS, *more)),
        st.integers(0, len(PHONES) - 1),
        st.integers(0, 2**16),
        st.sampled_from(PAUSES),
    )
    return st.lists(step, min_size=6, max_size=30)


def reached(dial: PhoneCall) -> bool:
    """Whether the system has taken it for a call, by what the phone has heard."""
    return bool(dial.progress) or (dial.final.done() and dial.final.result() == 200)


def holds_together(record: CallRecord) -> bool:
    if not record.started <= (record.answered or record.started) <= record.ended:
        return False
    for leg in record.legs:
        parts = sum(part.seconds for part in record.parts if part.who == leg.who)
        if not record.started <= leg.began <= leg.ended <= record.ended or abs(parts - (leg.ended - leg.began)) > 0.01:
            return False
    return (record.outcome == "answered") == (record.answered is not None)


async def play(sequence: Sequence, script: str = "echo", loss: float = 0.0) -> list[str]:
    """`script`: what answers at the echo test's number; `loss`: of datagrams."""
    services = kill_scripts.SCENES[script].services if script in kill_scripts.SCENES else SCRIPTS
    async with stage(office("101", "102", "103", lines=2), services=services, loss=loss) as found:
        phones = [await found.phone(user, **how) for user, how in PHONES]
        await found.begin()
        playing = Play(found)
        for step, phone, value, pause in sequence:
            with contextlib.suppress(WrongState):  # not now, says the phone
                step(playing, phones[phone], value)
            await found.box.seconds(pause)
        await playing.end()
    dials = found.dials
    for number in NUMBERS:
        mine = [record for record in found.records if record.dialled == number]
        least, most = (
            sum(dial.number == number and (every or reached(dial)) for dial in dials) for every in (False, True)
        )
        found.must(least <= len(mine) <= most, f"{len(mine)} records of {least} to {most} calls to {number}")
    found.wrong += [f"does not hold together: {record}" for record in found.records if not holds_together(record)]
    return found.wrong


scripts = st.sampled_from(["echo", *kill_scripts.SCENES])
losses = st.sampled_from([0.0, 0.0, 0.1])


@settings(max_examples=300)
@given(sequences(), scripts, losses)
def test_nothing_is_left_of_any_sequence(sequence: Sequence, script: str, loss: float) -> None:
    assert run(play(sequence, script, loss)) == []


@settings(max_examples=300)
@given(sequences(Play.kill, Play.kill), scripts, losses)
def test_nothing_is_left_of_any_sequence_with_kills(sequence: Sequence, script: str, loss: float) -> None:
    assert run(play(sequence, script, loss)) == []
