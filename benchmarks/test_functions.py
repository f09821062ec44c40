"""The functions that run for every message, under pytest-benchmark: `make bench ARGS=functions`, which compares with what is stored.

In the ordinary test run each is called once and its result checked; nothing is timed there. A test that works on several things in
one go says so by `each`: its figure is for one of them.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable
from itertools import count
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from appliance.calls.plan.plan import Ring, plan
from appliance.calls.registrar.authentication import Authenticated, Authenticator, Denied
from appliance.config.model import Extension, Line, Snapshot
from appliance.sip.events import Send
from appliance.sip.media.negotiation import STANDARD, LegMedia
from appliance.sip.text import digest, message, sdp
from appliance.sip.timers import Timers
from benchmarks.functions_sample import (
    CALLER,
    CALLS,
    INVITE,
    SDP,
    SECURE_SDP,
    STEPS,
    drain,
    play,
    played_up_to,
    recorded,
    request,
    stack,
)
from media_core import Slots, create_slots, sip_scan

WORDS = re.compile(r"([a-z]+)=([0-9]+)")


class Measure:
    """The least time of ROUNDS: whatever else the machine does can only add to it."""

    def __init__(self, benchmark: BenchmarkFixture) -> None:
        self._benchmark = benchmark

    def often(self, function: Callable[[], Any], times: int = 50) -> Any:
        return self._benchmark.pedantic(function, rounds=300, iterations=times, warmup_rounds=1)  # type: ignore[no-untyped-call]

    def once(self, prepare: Callable[[], Any], function: Callable[[Any], Any], each: int) -> Any:
        """With something new every time, which `prepare` makes; `each` things are worked on."""
        self._benchmark.extra_info["each"] = each
        return self._benchmark.pedantic(  # type: ignore[no-untyped-call]
            function, setup=lambda: ((prepare(),), {}), rounds=300, iterations=1, warmup_rounds=1
        )


@pytest.fixture
def measure(benchmark: BenchmarkFixture) -> Any:
    """The collector runs when it likes; here it would count against whoever comes first."""
    gc.collect()
    gc.freeze()
    gc.disable()
    yield Measure(benchmark)
    gc.enable()
    gc.unfreeze()


class Point:
    def __init__(self, name: str, value: int) -> None:
        self.name = name
        self.value = value


def yardstick() -> dict[str, Point]:
    """What every figure is compared with: the same kinds of work in parts that do not change with the product."""
    text = ";".join(f"abc={number}" for number in range(20))
    found = {}
    for part in text.split(";"):
        match = WORDS.fullmatch(part)
        assert match is not None
        point = Point(match[1], int(match[2]))
        found[f"{point.name}{point.value}".lower()] = point
    return found


@pytest.mark.parametrize("time", ["first", "last"])
def test_yardstick(measure: Measure, time: str) -> None:
    assert len(measure.often(yardstick)) == 20


# ---- messages
def test_scan_an_invite(measure: Measure) -> None:
    assert measure.often(lambda: sip_scan.scan(INVITE)).start_line()[0] == "INVITE"


def test_parse_an_invite(measure: Measure) -> None:
    """To a routed decision: checked, and what a call needs read."""

    def read() -> tuple[str, str, int, str]:
        found = message.parse(INVITE)
        assert isinstance(found, message.Request)
        return found.uri.user, found.from_.uri.user, found.cseq[0], found.via.branch

    assert measure.often(read) == ("101", "100", 1, "z9hG4bK000000011")


def test_answer_an_invite(measure: Measure) -> None:
    found = message.parse(INVITE)
    assert isinstance(found, message.Request)
    found.stamped("192.0.2.7", 5062)
    headers = [
        ("Server", "Switchroom/1.0"), ("Contact", "<sip:101@192.0.2.1:5060;transport=udp>"), ("Allow", "INVITE, ACK, CANCEL, BYE"),
        ("Supported", "timer"), ("Content-Type", "application/sdp"),
    ]  # fmt: skip
    data = measure.often(lambda: message.answer_to(found, 200, to_tag="a1b2c3", headers=headers, body=SDP))
    assert message.parse(data).to.tag == "a1b2c3"


# ---- a call of two legs
@pytest.mark.parametrize("step", ["INVITE again", "180", "200", "BYE"])
def test_a_message_through_the_stack(measure: Measure, step: str) -> None:
    inputs = recorded()[step]
    assert measure.once(lambda: played_up_to(step), lambda made: play(made, inputs), CALLS) is None


def test_a_call_through_the_stack(measure: Measure) -> None:
    inputs = [each for step in STEPS for each in recorded()[step]]

    def run(made: Any) -> dict[str, int]:
        play(made, inputs)
        counters: dict[str, int] = made.counters()
        return counters

    assert measure.once(stack, run, CALLS)["sessions"] == 0


def test_a_transaction(measure: Measure) -> None:
    """A REGISTER from its first octet to where it lingers."""
    data = [request("REGISTER", call, 1) for call in range(CALLS)]

    def run(made: Any) -> int:
        for each in data:
            made.receive(CALLER, each, 1.0)
            made.respond(made.next_output().transaction, 200, 1.0)
            made.next_output()
        lingering: int = made.counters()["transactions"]
        return lingering

    assert measure.once(stack, run, CALLS) == CALLS


def test_timers_that_are_set_and_cleared(measure: Measure) -> None:
    """As every INVITE that is answered does."""
    owners = [Point("", number) for number in range(200)]

    def run(timers: Timers) -> int:
        for number, owner in enumerate(owners):
            timers.set(owner, "A", number + 0.5)
            timers.set(owner, "B", number + 32.0)
            timers.clear(owner, "A", "B")
        return len(timers)

    assert measure.once(Timers, run, len(owners)) == 0


# ---- session descriptions and slots
def test_read_an_offer(measure: Measure) -> None:
    assert measure.often(lambda: sdp.parse(SECURE_SDP)).media[0].port == 40000


def test_write_an_offer(measure: Measure) -> None:
    session = sdp.parse(SECURE_SDP)
    assert measure.often(session.to_bytes).startswith(b"v=0")


def test_negotiate_a_leg(measure: Measure) -> None:
    def run() -> bytes:
        leg = _media()
        leg.take_offer(SDP)
        return leg.make_answer(STANDARD)

    assert b"m=audio 5000" in measure.often(run, 10)


def _media() -> LegMedia:
    return LegMedia("192.0.2.1", 5000, session_id=1, keys=lambda size: b"k" * size, signalling="192.0.2.7")


def test_a_slot_is_written(measure: Measure) -> None:
    """A session and the sound of its leg, in the middle of a call."""
    made = stack()
    sessions = []
    for each in recorded()["INVITE"]:
        each(made)
        sessions += [output.session for output in drain(made) if not isinstance(output, Send)]  # type: ignore[union-attr]
    made.accept(sessions[0], SDP, 1.0)
    leg = _media()
    leg.take_offer(SDP)
    leg.make_answer(STANDARD)
    assert measure.often(lambda: msgspec.msgpack.encode((made.dump(sessions[0]), leg.dump())))


# ---- decisions
def snapshot() -> Snapshot:
    extensions = {str(number): Extension(id=str(number), number=str(number)) for number in range(1000, 2000)}
    lines = {key: Line(id=key, extension=key, sip_username=key, sip_password="x" * 12) for key in extensions}
    return Snapshot(1, MappingProxyType({"extension": extensions, "line": lines}))


def test_plan_a_number_among_a_thousand(measure: Measure) -> None:
    known = snapshot()
    caller = known.extensions["1000"]
    assert isinstance(measure.often(lambda: plan("1999", caller, known)).action, Ring)


def test_check_a_digest(measure: Measure) -> None:
    found = message.parse(INVITE)

    def check() -> bool:
        credentials = digest.Credentials.parse(found.get("Proxy-Authorization") or "")
        assert credentials is not None
        return digest.verify(credentials, "INVITE", "password")

    assert measure.often(check) is False


def test_ask_for_a_password_and_check_it(measure: Measure) -> None:
    """INVITE, 407, INVITE as the authenticator sees them."""
    known, tokens, numbers = snapshot(), count(), count()
    authenticator = Authenticator(b"key", lambda: f"{next(tokens):024x}")
    asking = message.parse(request("INVITE", 1, 1).replace(b"sip:100@", b"sip:1000@"))
    assert isinstance(asking, message.Request)

    def ask() -> Denied:
        denied = authenticator.verify(asking, ("192.0.2.7", 5062), known, 1.0)
        assert isinstance(denied, Denied)
        return denied

    def answered() -> message.Request:
        challenge = digest.Challenge.parse(ask().headers[0][1])
        assert challenge is not None
        credentials = digest.answer(
            challenge,
            method="INVITE",
            uri="sip:101@192.0.2.1",
            username="1000",
            password="x" * 12,
            cnonce="ad6252f21e9f16e5",
        )
        found = message.parse(request("INVITE", next(numbers), 2, credentials=str(credentials)))
        assert isinstance(found, message.Request)
        return found

    def run(answers: list[message.Request]) -> int:
        right = 0
        for answer in answers:
            ask()
            right += isinstance(authenticator.verify(answer, ("192.0.2.7", 5062), known, 1.0), Authenticated)
        return right

    assert measure.once(lambda: [answered() for _ in range(CALLS)], run, CALLS) == CALLS


def test_a_turn_into_the_slots(measure: Measure) -> None:
    """One leg has changed, one message waits to be sent: written, committed, and told that it has left."""
    fd = create_slots(100)
    slots = Slots(fd)
    slot = slots.legs.claim()
    assert slot is not None
    states = [b"%d" % number + bytes(1500) for number in range(2)]

    def turn() -> int:
        states.reverse()
        slots.legs.write(slot, states[0])
        slots.commit((1, 2, 3), [(7, INVITE)])
        slots.left()
        return slots.turn

    assert measure.often(turn) > 0
    os.close(fd)
