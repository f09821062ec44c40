"""Every kind of call that the system carries, as a table: what the phones do, and how the call record has it,
wherever `calls` is killed.

A scene is told with pauses that are longer than a kill and what is repeated after it. It never looks at the system,
only at the phones and at what the media engine was told; what has to hold for every call is checked by the stage.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from appliance.calls.api import Service
from appliance.config.model import Snapshot
from appliance.services.scripts import SCRIPTS
from tests.box import office
from tests.box_phone import EVENT, G722, PCMA, PCMU, Phone, PhoneCall
from tests.box_stage import Stage

SAVED = 4.0  # seconds after which a kill and what was repeated because of it are over
SUITE = "AES_CM_128_HMAC_SHA1_80"
TALKS = Callable[[Stage, Phone, Phone, PhoneCall, PhoneCall], Awaitable[None]]


@dataclass(frozen=True)
class Scene:
    play: Callable[[Stage, dict[str, Any]], Awaitable[None]]
    outcome: str | Sequence[str] = "answered"
    transports: Sequence[str] = ("UDP", "TLS")
    office: Snapshot = field(default_factory=lambda: office("101", "102"))
    services: Mapping[str, Service] = field(default_factory=lambda: SCRIPTS)


def how(transport: str) -> dict[str, Any]:
    return {"transport": transport, "srtp": "offer" if transport == "TLS" else "off"}


# ---- calls that are answered
def talk(
    then: TALKS, caller: Mapping[str, Any] = {}, callee: Mapping[str, Any] = {}, **dialled: Any
) -> Callable[[Stage, dict[str, Any]], Awaitable[None]]:
    """101 dials 102, who answers after a second; when they have talked for a while, `then`."""

    async def play(stage: Stage, how: dict[str, Any]) -> None:
        a, b = await stage.phone("101", **how | caller), await stage.phone("102", **how | callee)
        await stage.begin()
        call = a.dial("102", **dialled)
        there = await stage.incoming(b)
        await stage.box.seconds(SAVED)
        stage.talking(call, there)
        stage.hears(a, b)
        if there is not None and not call.ended:
            await then(stage, a, b, call, there)

    return play


async def caller_leaves(stage: Stage, a: Phone, b: Phone, call: PhoneCall, there: PhoneCall) -> None:
    stage.talking(call, there)
    call.hang_up()


async def callee_leaves(stage: Stage, a: Phone, b: Phone, call: PhoneCall, there: PhoneCall) -> None:
    stage.talking(call, there)
    there.hang_up()


async def both_leave(stage: Stage, a: Phone, b: Phone, call: PhoneCall, there: PhoneCall) -> None:
    call.hang_up()
    there.hang_up()


async def offered(
    stage: Stage, call: PhoneCall, direction: str, *, seconds: float = 2 * SAVED, **how: Any
) -> int | None:
    """The answer to a re-INVITE of the phone; None when there was none, or no call any more."""
    return None if call.ended else await stage.within(seconds, call.offer(direction, **how))


async def agreed(stage: Stage, call: PhoneCall, direction: str, **how: Any) -> None:
    status = await offered(stage, call, direction, **how)
    stage.must(status == 200, f"{direction} of {call.phone.user} was answered with {status}")
    await stage.box.seconds(1)


def holds(by_callee: bool) -> TALKS:
    async def then(stage: Stage, a: Phone, b: Phone, call: PhoneCall, there: PhoneCall) -> None:
        await agreed(stage, there if by_callee else call, "sendonly")
        await stage.box.seconds(SAVED)
        await agreed(stage, there if by_callee else call, "sendrecv")
        stage.hears(a, b)
        await callee_leaves(stage, a, b, call, there)

    return then


async def leaves_on_hold(stage: Stage, a: Phone, b: Phone, call: PhoneCall, there: PhoneCall) -> None:
    await agreed(stage, call, "sendonly")
    await callee_leaves(stage, a, b, call, there)


async def both_hold(stage: Stage, a: Phone, b: Phone, call: PhoneCall, there: PhoneCall) -> None:
    """At the same time: whoever is told 491 or 500 tries no more."""
    await offered(stage, call, "sendonly", seconds=0)
    await offered(stage, there, "sendonly")
    await stage.box.seconds(SAVED)
    await callee_leaves(stage, a, b, call, there)


async def new_key(stage: Stage, a: Phone, b: Phone, call: PhoneCall, there: PhoneCall) -> None:
    key = call.key(SUITE, seed=77)
    await agreed(stage, call, "sendrecv", crypto=(key,))
    remote = stage.leg(a).remote
    stage.must(
        remote is not None and remote.crypto_in.key[:1] == key.key[:1], "the engine has not the caller's new key"
    )
    stage.hears(a, b)
    await callee_leaves(stage, a, b, call, there)


async def other_codec(stage: Stage, a: Phone, b: Phone, call: PhoneCall, there: PhoneCall) -> None:
    await agreed(stage, call, "sendrecv", codecs=(PCMU, EVENT))
    remote = stage.leg(a).remote
    stage.must(
        remote is not None and [codec.name for codec in remote.codecs] == ["PCMU"],
        "the engine has not the caller's new codec",
    )
    stage.hears(a, b)
    await caller_leaves(stage, a, b, call, there)


async def refused_offer(stage: Stage, a: Phone, b: Phone, call: PhoneCall, there: PhoneCall) -> None:
    """Neither the system nor the other phone has any of these codecs: the offer is refused, the call goes on as it was."""
    status = await offered(stage, call, "sendrecv", codecs=(EVENT,))
    stage.must(status == 488, f"the offer was answered with {status}")
    await stage.box.seconds(SAVED)
    stage.hears(a, b)


async def offer_is_refused(stage: Stage, a: Phone, b: Phone, call: PhoneCall, there: PhoneCall) -> None:
    await refused_offer(stage, a, b, call, there)
    await caller_leaves(stage, a, b, call, there)


async def only_the_refusal(stage: Stage, how: dict[str, Any]) -> None:
    """The same, and only while the offer is refused may `calls` be killed."""
    a, b = await stage.phone("101", **how), await stage.phone("102", **how)
    call = await a.call("102")
    there = await stage.incoming(b)
    await stage.begin()
    assert there is not None
    await refused_offer(stage, a, b, call, there)
    stage.axe.armed = False
    await caller_leaves(stage, a, b, call, there)


async def digits(stage: Stage, a: Phone, b: Phone, call: PhoneCall, there: PhoneCall) -> None:
    """By SIP INFO, from a phone that agreed on no telephone events."""
    for digit in "12":
        asked = a.request(
            "INFO",
            "",
            session=call.session,
            body=f"Signal={digit}\r\nDuration=160\r\n".encode(),
            content_type="application/dtmf-relay",
        )
        response = await stage.within(2 * SAVED, asked) if not call.ended else None
        stage.must(
            response is not None and response.status == 200, f"INFO was answered with {response and response.status}"
        )
        await stage.box.seconds(1)
    stage.must(stage.leg(b).digits == "12", "the digits are not sent on once and in order")
    await caller_leaves(stage, a, b, call, there)


async def refreshed(stage: Stage, a: Phone, b: Phone, call: PhoneCall, there: PhoneCall) -> None:
    """The caller has asked us for a session timer (RFC 4028)."""
    await stage.box.seconds(100)
    await caller_leaves(stage, a, b, call, there)


async def moves(stage: Stage, a: Phone, b: Phone, call: PhoneCall, there: PhoneCall) -> None:
    """The callee's connection breaks; it registers over another, and hangs up there."""
    b.reconnect()
    await stage.within(2 * SAVED, b.register())
    await stage.box.seconds(1)
    await callee_leaves(stage, a, b, call, there)


# ---- several phones
def ring_all(count: int) -> Callable[[Stage, dict[str, Any]], Awaitable[None]]:
    """All lines of 102 ring, the second phone answers after some seconds."""

    async def play(stage: Stage, how: dict[str, Any]) -> None:
        a = await stage.phone("101", **how)
        phones = [await stage.phone("102" if n == 1 else f"102-{n}", answer="ring", **how) for n in range(1, count + 1)]
        await stage.begin()
        call = a.dial("102")
        rung = [await stage.incoming(phone) for phone in phones]
        await stage.box.seconds(SAVED)
        stage.must(all(each is not None and not each.ended for each in rung), "not all phones ring")
        there = rung[1]
        if there is None or there.ended:
            return
        there.accept()
        await stage.box.seconds(SAVED)
        stage.talking(call, there)
        stage.hears(a, phones[1])
        stage.must(all(each is there or each is None or each.ended for each in rung), "others ring on")
        call.hang_up()

    return play


async def one_refuses(stage: Stage, how: dict[str, Any]) -> None:
    """Of three phones one is busy, one is turned off without a word, one answers."""
    a = await stage.phone("101", **how)
    await stage.phone("102", answer=486, **how)
    deaf = await stage.phone("102-2", answer="ring", **how)
    b = await stage.phone("102-3", answer="ring", **how)
    await stage.begin()
    deaf.on = False
    call = a.dial("102")
    there = await stage.incoming(b)
    await stage.box.seconds(SAVED)
    if there is not None and not there.ended:
        there.accept()
    await stage.box.seconds(SAVED)
    stage.talking(call, there)
    call.hang_up()


async def early_media(stage: Stage, how: dict[str, Any]) -> None:
    """The caller hears the callee's announcement before it answers."""
    a, b = await stage.phone("101", **how), await stage.phone("102", answer="ring", early=True, **how)
    await stage.begin()
    call = a.dial("102")
    there = await stage.incoming(b)
    await stage.box.seconds(SAVED)
    stage.must(
        any(response.status == 183 and response.body for response in call.progress), "the caller got no 183 with SDP"
    )
    stage.hears(a, b)
    if there is None or there.ended:
        return
    there.accept()
    await stage.box.seconds(SAVED)
    stage.talking(call, there)
    stage.hears(a, b)
    there.hang_up()


# ---- calls that are not
async def cancelled(stage: Stage, how: dict[str, Any]) -> None:
    a = await stage.phone("101", **how)
    phones = [await stage.phone(user, answer="ring", **how) for user in ("102", "102-2")]
    await stage.begin()
    call = a.dial("102")
    rung = [await stage.incoming(phone) for phone in phones]
    await stage.box.seconds(SAVED)
    stage.must(not call.final.done(), "the caller got a final answer")
    call.hang_up()
    await stage.box.seconds(SAVED)
    stage.must(all(each is not None and each.cancelled for each in rung), "the phones were not told to stop")


def crossing(pause: float) -> Callable[[Stage, dict[str, Any]], Awaitable[None]]:
    """The caller hangs up so soon after the callee has answered that his CANCEL crosses our 200."""

    async def play(stage: Stage, how: dict[str, Any]) -> None:
        a, b = await stage.phone("101", **how), await stage.phone("102", answer="ring", **how)
        await stage.begin()
        call = a.dial("102")
        there = await stage.incoming(b)
        await stage.box.seconds(SAVED)
        if there is not None and not there.ended:
            there.accept()
        await stage.box.seconds(pause)
        call.hang_up()

    return play


def refused(status: int) -> Callable[[Stage, dict[str, Any]], Awaitable[None]]:
    async def play(stage: Stage, how: dict[str, Any]) -> None:
        a = await stage.phone("101", **how)
        for user in ("102", "102-2"):
            await stage.phone(user, answer=status, **how)
        await fails(stage, a, "102", status)

    return play


async def fails(stage: Stage, a: Phone, number: str, *statuses: int, seconds: float = SAVED) -> None:
    await stage.begin()
    call = a.dial(number)
    await stage.box.seconds(seconds)
    got = call.final.result() if call.final.done() else None
    stage.must(got in statuses, f"the caller got {got}")


async def no_answer(stage: Stage, how: dict[str, Any]) -> None:
    a, _ = await stage.phone("101", **how), await stage.phone("102", answer="ring", **how)
    await fails(stage, a, "102", 480, 408, seconds=15)


async def unregistered(stage: Stage, how: dict[str, Any]) -> None:
    await fails(stage, await stage.phone("101", **how), "102", 480)


async def unknown(stage: Stage, how: dict[str, Any]) -> None:
    await fails(stage, await stage.phone("101", **how), "199", 404)


async def no_codec(stage: Stage, how: dict[str, Any]) -> None:
    """The phone has none that the system can do."""
    a, _ = await stage.phone("101", **how), await stage.phone("102", codecs=(EVENT,), **how)
    await fails(stage, a, "102", 488)


# ---- services
def echo(pause: float) -> Callable[[Stage, dict[str, Any]], Awaitable[None]]:
    """The caller hangs up after so long: in the prompt, or when it hears itself."""

    async def play(stage: Stage, how: dict[str, Any]) -> None:
        a = await stage.phone("101", **how)
        await stage.begin()
        call = a.dial("*60")
        await stage.final(call)
        await stage.box.seconds(pause)
        stage.talking(call)
        if pause >= SAVED:
            leg = stage.leg(a)
            stage.must(leg.id and leg.peer == leg.id, "the caller does not hear itself")
        if not call.ended:
            call.hang_up()

    return play


SCENES: Mapping[str, Scene] = {
    "callee hangs up": Scene(talk(callee_leaves)),
    "caller hangs up": Scene(talk(caller_leaves)),
    "both hang up": Scene(talk(both_leave)),
    "hold and resume": Scene(talk(holds(by_callee=False))),
    "hold and resume by the callee": Scene(talk(holds(by_callee=True))),
    "hang up on hold": Scene(talk(leaves_on_hold)),
    "both hold": Scene(talk(both_hold)),
    "re-key": Scene(talk(new_key), transports=("TLS",)),
    "another codec": Scene(talk(other_codec)),
    "offer refused": Scene(talk(offer_is_refused)),
    "transcoded": Scene(talk(holds(by_callee=False), {"codecs": (G722, EVENT)}, {"codecs": (PCMA, EVENT)})),
    "digits by INFO": Scene(talk(digits)),
    "late offer": Scene(talk(callee_leaves, late=True)),
    "session timer": Scene(talk(refreshed, headers=[("Session-Expires", "90;refresher=uas"), ("Supported", "timer")])),
    "phone moves": Scene(talk(moves), transports=("TLS",)),
    "ring three": Scene(ring_all(3), office=office("101", "102", lines=3)),
    "ring ten": Scene(ring_all(10), transports=("TLS",), office=office("101", "102", lines=10)),
    "one refuses, one is silent": Scene(one_refuses, office=office("101", "102", lines=3)),
    "early media": Scene(early_media),
    "cancelled": Scene(cancelled, "cancelled", office=office("101", "102", lines=2)),
    "cancel crosses answer": Scene(crossing(0.015), ("answered", "cancelled")),
    "cancel crosses answer later": Scene(crossing(0.025), ("answered", "cancelled")),
    "busy": Scene(refused(486), "busy", office=office("101", "102", lines=2)),
    "declined": Scene(refused(603), "refused", office=office("101", "102", lines=2)),
    "no answer": Scene(no_answer, "no answer", office=office("101", "102", ring_seconds=8)),
    "unregistered": Scene(unregistered, "failed"),
    "unknown number": Scene(unknown, "failed"),
    "no common codec": Scene(no_codec, "failed"),
    "echo": Scene(echo(SAVED)),
    "echo, prompt": Scene(echo(0.6)),
}
