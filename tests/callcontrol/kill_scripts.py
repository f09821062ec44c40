"""Calls to scripts that use the verbs of the whole promise, as a table like that of `kill_scenes`. The scripts are
dialled at the number of the echo test; what a phone has heard and sent says what was done, in which order, and how often.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

import media_core
from appliance.calls.api import Call, Cause, Clear, Destination, Left, NoState, Script, Service, Tone, Unanswered
from appliance.config.claims import EXTENSION
from appliance.services.scripts import SCRIPTS
from tests.box import office
from tests.box_phone import Phone, PhoneCall
from tests.box_stage import Stage
from tests.callcontrol.kill_scenes import SAVED, Scene

NUMBER = "*60"
PROMPT = 400  # Hz


def tone(hertz: float, milliseconds: int = 500) -> tuple[Tone, ...]:
    return ((hertz, 0, milliseconds),)


def extension(number: str) -> Destination:
    return Destination(EXTENSION, f"e{number}")


# ---- the scripts
class Tries(msgspec.Struct):
    tries: int = 0
    heard: str = ""


async def menu(call: Call, state: Tries) -> None:
    """Three digits, one after the other; each is said back. Then what was dialled rings."""
    await call.answered(call.caller)
    while state.tries < 3:
        state.heard += await call.collect(call.caller, prompt=tone(PROMPT, 2000), most=1, seconds=5)
        state.tries += 1
        call.keep(state)
    for digit in state.heard:
        await call.play(call.caller, tone(1000 + int(digit)))
    await call.go(extension(state.heard))


async def number(call: Call, state: NoState) -> None:
    """Several digits, which # ends; nothing is kept."""
    await call.answered(call.caller)
    found = await call.collect(call.caller, prompt=tone(PROMPT, 2000), most=8, seconds=6, until="#")
    await call.play(call.caller, tone(1000 + int(found or "0")))
    await call.looped(call.caller)


async def plays(call: Call, state: NoState) -> None:
    await call.answered(call.caller)
    for hertz in (1001, 1002, 1003):
        await call.play(call.caller, tone(hertz))
    await call.looped(call.caller)


async def records(call: Call, state: NoState) -> None:
    await call.answered(call.caller)
    seconds = await call.record(call.caller, "/nowhere/message.opus", seconds=4)
    await call.play(call.caller, tone(1000 + round(seconds)))
    await call.looped(call.caller)


async def records_until(call: Call, state: NoState) -> None:
    await call.answered(call.caller)
    seconds = await call.record(call.caller, "/nowhere/message.opus", seconds=60, until="#")
    await call.play(call.caller, tone(1000 + round(seconds)))
    await call.looped(call.caller)


async def dials(call: Call, state: NoState) -> None:
    await call.answered(call.caller)
    await call.send_digits(call.caller, "42#")
    await call.play(call.caller, tone(1001))
    await call.looped(call.caller)


async def hangs_up(call: Call, state: NoState) -> None:
    await call.answered(call.caller)
    await call.play(call.caller, tone(1001))


async def conference(call: Call, state: NoState) -> None:
    await call.answered(call.caller)
    await call.mixed(call.caller, 7)


async def consults(call: Call, state: NoState) -> None:
    """The callee hears something before both are put together; the caller is held meanwhile."""
    await call.answered(call.caller)
    leg = await call.ringing(extension("102"))
    await call.hold(call.caller)
    await call.play(leg, tone(1001, 3000))
    await call.retrieve(call.caller)
    await call.bridged(call.caller, leg)


async def one_after_the_other(call: Call, state: NoState) -> None:
    for each in ("102", "103"):
        try:
            leg = await call.ringing(extension(each), seconds=6)
        except Unanswered:
            continue
        await call.bridged(call.caller, leg)
    raise Clear(Cause.NO_ANSWER)


async def sends_on(call: Call, state: NoState) -> None:
    """The caller is sent on to another call while it talks; the callee is told so."""
    leg = await call.ringing(extension("102"))
    await call.answered(call.caller)
    call.transfer(call.caller, extension("103"))
    try:
        await call.bridged(call.caller, leg)
    except Left:
        await call.play(leg, tone(1002))


async def loop_then_pair(call: Call, state: Tries) -> None:
    """The caller hears itself until it has pressed a digit or waited, then it talks with the callee."""
    await call.answered(call.caller)
    if not state.tries:
        await call.collect(call.caller, prompt=tone(PROMPT, 1000), most=1, seconds=4)
        state.tries = 1
        call.keep(state)
    leg = await call.ringing(extension("102"))
    await call.bridged(call.caller, leg)


# ---- what phones do
Then = Callable[[Stage, Phone, PhoneCall], Awaitable[None]]


def heard(stage: Stage, phone: Phone) -> list[int]:
    """The tones that were played to it, in order, in Hz."""
    return [round(each[0]) for each in stage.leg(phone).played]


def press(stage: Stage, phone: Phone, digit: str) -> None:
    """As an RFC 4733 event, which the media core reports."""
    if (leg := stage.leg(phone)).id:
        stage.box.engine.tell(media_core.Digit(leg.id, digit, 160))


def served(
    script: Script,
    then: Then,
    *others: str,
    state: type[msgspec.Struct] = NoState,
    outcome: str | Sequence[str] = "answered",
) -> Scene:
    """101 dials the script's number, and in the end it hangs up. The `others` are there, to be rung."""

    async def play(stage: Stage, how: dict[str, Any]) -> None:
        for each in others:
            await stage.phone(each, **how)
        a = await stage.phone("101", **how)
        await stage.begin()
        call = a.dial(NUMBER)
        await then(stage, a, call)
        if not call.ended:
            call.hang_up()

    services: Mapping[str, Service] = {**SCRIPTS, "echo": Service("echo", script, state)}
    return Scene(play, outcome, office=office("101", "102", "103"), services=services)


def hears(seconds: float, *expected: int, keys: Sequence[tuple[float, str]] = ()) -> Then:
    """It presses these keys after so many seconds each; in the end it has heard exactly these tones."""

    async def then(stage: Stage, a: Phone, call: PhoneCall) -> None:
        await stage.final(call)
        for pause, key in keys:
            await stage.box.seconds(pause)
            press(stage, a, key)
        await stage.box.seconds(seconds)
        stage.talking(call)
        stage.must(heard(stage, a) == list(expected), f"the caller heard {heard(stage, a)}")

    return then


async def chooses(stage: Stage, a: Phone, call: PhoneCall) -> None:
    """In the prompt, after it, and by SIP INFO."""
    b = stage.phones[0]
    await stage.final(call)
    await stage.box.seconds(1)
    press(stage, a, "1")
    await stage.box.seconds(SAVED)
    press(stage, a, "0")
    await stage.box.seconds(SAVED)
    body = b"Signal=2\r\nDuration=160\r\n"
    if not call.ended:
        await stage.within(
            SAVED, a.request("INFO", "", session=call.session, body=body, content_type="application/dtmf-relay")
        )
    there = await stage.incoming(b, 2 * SAVED)
    await stage.box.seconds(SAVED)
    expected = [PROMPT, PROMPT, PROMPT, 1001, 1000, 1002]
    stage.must(heard(stage, a) == expected, f"the caller heard {heard(stage, a)}")
    stage.talking(call, there)
    stage.hears(a, b)


async def digits_arrive(stage: Stage, a: Phone, call: PhoneCall) -> None:
    await stage.box.seconds(2 * SAVED)
    stage.must(stage.leg(a).digits == "42#", f"the caller was sent {stage.leg(a).digits}")
    stage.must(heard(stage, a) == [1001], f"the caller heard {heard(stage, a)}")
    stage.talking(call)


async def ends_recording(stage: Stage, a: Phone, call: PhoneCall) -> None:
    """By a key; what is recorded goes on while the process is down."""
    while stage.leg(a).recording is None and not call.ended:
        await stage.box.seconds(0.01)
    await stage.box.seconds(3.6)
    press(stage, a, "#")
    await stage.box.seconds(SAVED)
    stage.talking(call)
    stage.must(heard(stage, a) in ([1004], [1005]), f"the caller heard {heard(stage, a)}")


async def is_hung_up(stage: Stage, a: Phone, call: PhoneCall) -> None:
    await stage.box.seconds(2 * SAVED)
    stage.must(
        call.final.done() and call.final.result() == 200 and call.ended, "the caller was not answered and hung up"
    )


async def confers(stage: Stage, a: Phone, call: PhoneCall) -> None:
    await stage.box.seconds(SAVED)
    stage.must(stage.leg(a).room != 0, "the caller is in no conference")
    stage.talking(call)


async def is_put_through(stage: Stage, a: Phone, call: PhoneCall) -> None:
    b = stage.phones[0]
    there = await stage.incoming(b, 3 * SAVED)
    await stage.box.seconds(3 * SAVED)
    stage.talking(call, there)
    stage.hears(a, b)
    stage.must(call.remote is not None and call.direction == "sendrecv", "the caller is held")


async def hunts(stage: Stage, a: Phone, call: PhoneCall) -> None:
    b, c = stage.phones[:2]
    b.answer = "ring"
    await stage.incoming(b, SAVED)
    there = await stage.incoming(c, 3 * SAVED)
    await stage.box.seconds(SAVED)
    stage.talking(call, there)
    stage.hears(a, c)


async def is_sent_on(stage: Stage, a: Phone, call: PhoneCall) -> None:
    c = stage.phones[1]
    there = await stage.incoming(c, 3 * SAVED)
    await stage.box.seconds(SAVED)
    stage.talking(call, there)
    stage.hears(a, c)


SCENES: Mapping[str, Scene] = {
    "menu": served(menu, chooses, "102", state=Tries),
    "number": served(number, hears(SAVED, PROMPT, 1321, keys=[(1.5, "3"), (1, "2"), (2, "1"), (2, "#")])),
    "number in vain": served(number, hears(5 * SAVED, PROMPT, 1000)),
    "play": served(plays, hears(SAVED, 1001, 1002, 1003)),
    "record": served(records, hears(2 * SAVED, 1004)),
    "record until a key": served(records_until, ends_recording),
    "send digits": served(dials, digits_arrive),
    "script hangs up": served(hangs_up, is_hung_up),
    "conference": served(conference, confers),
    "consult": served(consults, is_put_through, "102"),
    "one after the other": served(one_after_the_other, hunts, "102", "103"),
    "sent on": served(sends_on, is_sent_on, "102", "103"),
    "loop, then pair": served(loop_then_pair, is_put_through, "102", state=Tries),
}
