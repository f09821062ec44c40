"""A side of a call dies at any of its turns and goes on from what it had kept: both ends see what they would have seen without it.

The law is the one of the process that drives the stack: an input is worked off, what has changed is kept, then the messages leave. A kill
before it is kept has the input read again; one behind it has the messages of that turn leave once more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from appliance.sip import events
from appliance.sip.errors import WrongState
from appliance.sip.events import Event, Send
from appliance.sip.stack import Stack
from appliance.sip.survival import Kept
from tests.sip.net import RELIABLE, SDP, Net
from tests.sip.test_calls import ANSWER, names

KILLS = ("before it is kept", "before anything leaves", "before it is known to have left", "after it")
LOST = "what it said is lost as well"
Command = Callable[[Stack, float], object]


class Mortal(Net):
    """`victim` dies at its turn number `at` (0: never); `old` is what is kept of an older version, `new` of a newer one."""

    can = RELIABLE

    def __init__(
        self,
        transport: str,
        victim: str,
        at: int = 0,
        kill: str = "",
        aged: Callable[[Sequence[Any]], Sequence[Any]] = tuple,
    ) -> None:
        super().__init__(transport)
        self.victim, self.at, self.kill, self.aged = victim, at, kill, aged
        self.turns = 0
        self.kept: dict[str, bytes] = {}

    def do(self, name: str, command: Command) -> object:
        if name != self.victim:
            return super().do(name, command)
        self.turns += 1
        kill = self.kill if self.turns == self.at else ""
        if kill == KILLS[0]:
            command(self.stacks[name], self.now)
            self.reborn()
        result = command(self.stacks[name], self.now)
        outputs = list(iter(self.stacks[name].next_output, None))
        self.keep()
        for output in outputs:
            if not isinstance(output, Send) or not (kill == KILLS[1] or (kill == LOST and self.is_lost(output.data))):
                self.out(name, output)
        if kill in KILLS[1:3]:
            for output in outputs:
                if isinstance(output, Send):
                    self.out(name, output)
        if kill in (*KILLS[1:], LOST):
            self.reborn()
        return result

    def is_lost(self, data: bytes) -> bool:
        """Over UDP whatever it is, else what waits for an answer or an ACK: the far end repeats nothing there."""
        refuses = self.victim == "b" and data[8:9] > b"2" and b"CSeq: 1 INVITE\r\n" in data
        return (
            self.transport == "UDP"
            or not data.startswith((b"SIP", b"ACK"))
            or (data[:11] == b"SIP/2.0 200" and b" INVITE\r\n" in data)
            or (data.startswith(b"SIP") and refuses)
        )

    def keep(self) -> None:
        """What the stack says has changed, and only that."""
        stack = self.stacks[self.victim]
        for session in stack.touched:
            self.kept[session] = msgspec.msgpack.encode(stack.dump(session))
        stack.touched.clear()
        for session in list(self.kept):
            try:
                now = msgspec.msgpack.encode(stack.dump(session))
            except WrongState:
                del self.kept[session]
            else:
                assert self.kept[session] == now, "it has changed and is not touched"

    def reborn(self) -> None:
        stack = self.stacks[self.victim] = self.stack(self.victim, 500_000 + 1000 * self.turns)
        for session, data in self.kept.items():
            assert stack.restore(self.aged(msgspec.msgpack.decode(data)), self.now) == session
        outputs = list(iter(stack.next_output, None))
        self.keep()
        for output in outputs:
            self.out(self.victim, output)

    # ---- what the users do
    def session(self, name: str) -> str:
        """Of its one call."""
        return next(iter(self.stacks[name]._sessions), "")

    def user(self, name: str, method: str, *arguments: Any, **named: Any) -> None:
        """A command to the one session of a side, if there still is one."""
        if self.session(name):
            self.do(name, lambda stack, now: getattr(stack, method)(self.session(name), *arguments, now, **named))
        self.run(1.0)


def dial(net: Mortal, offer: bytes = SDP) -> None:
    net.do(
        "a",
        lambda stack, now: stack.invite(
            1, "sip:101@192.0.2.2", now, from_='"Ann\udcff" <sip:100@192.0.2.1>', to="<sip:101@192.0.2.2>", offer=offer
        ),
    )
    net.run(1.0)


def accept(net: Mortal, name: str = "b") -> None:
    net.user(name, "accept", ANSWER)


def up(net: Mortal) -> None:
    dial(net)
    net.user("b", "ring")
    accept(net)


def hung_up_by_caller(net: Mortal) -> None:
    up(net)
    net.user("a", "hang_up", headers=[("Reason", "Q.850;cause=16")])


def hung_up_by_callee(net: Mortal) -> None:
    up(net)
    net.user("b", "hang_up")


def cancelled(net: Mortal) -> None:
    dial(net)
    net.user("b", "ring")
    net.user("a", "hang_up")


def cancelled_at_once(net: Mortal) -> None:
    net.do(
        "a",
        lambda stack, now: stack.invite(
            1, "sip:101@192.0.2.2", now, from_="<sip:100@192.0.2.1>", to="<sip:101@192.0.2.2>", offer=SDP
        ),
    )
    net.user("a", "hang_up")


def cancel_crosses_the_answer(net: Mortal) -> None:
    dial(net)
    net.do("b", lambda stack, now: stack.accept(net.session("b"), ANSWER, now))
    net.user("a", "hang_up")


def refused(net: Mortal) -> None:
    dial(net)
    net.user("b", "reject", 486)


def late_offer(net: Mortal) -> None:
    dial(net, b"")
    net.user("b", "accept", SDP)
    net.user("a", "acknowledge", ANSWER)
    net.user("b", "hang_up")


def late_offer_hung_up(net: Mortal) -> None:
    dial(net, b"")
    net.user("b", "accept", SDP)
    net.user("a", "hang_up")


def held(net: Mortal) -> None:
    up(net)
    for one, other in ("ab", "ba"):
        net.user(one, "offer", SDP)
        accept(net, other)
    net.user("b", "offer", SDP)
    net.user("a", "reject", 488)
    net.user("a", "hang_up")


def asked_for_an_offer(net: Mortal) -> None:
    up(net)
    for one, other in ("ab", "ba"):
        net.user(one, "offer", b"")
        net.user(other, "accept", SDP)
        net.user(one, "acknowledge", ANSWER)
    net.user("a", "hang_up")


def glare(net: Mortal) -> None:
    up(net)
    net.do("a", lambda stack, now: stack.offer(net.session("a"), SDP, now))
    net.do("b", lambda stack, now: stack.offer(net.session("b"), SDP, now))
    answered = {"a": 0, "b": 0}
    for _ in range(60):
        net.run(0.1)
        for name in "ab":
            if answered[name] < len([each for each in net.events[name] if isinstance(each, events.Offered)]):
                answered[name] += 1
                net.do(name, lambda stack, now, name=name: stack.accept(net.session(name), ANSWER, now))  # type: ignore[misc]
    net.user("a", "hang_up")


def hung_up_before_the_ack(net: Mortal) -> None:
    dial(net)
    net.do("b", lambda stack, now: stack.accept(net.session("b"), ANSWER, now))
    net.do("b", lambda stack, now: stack.hang_up(net.session("b"), now))
    net.run(1.0)


def hung_up_during_an_offer(net: Mortal) -> None:
    up(net)
    net.user("a", "offer", SDP)
    net.user("b", "hang_up")


def refreshed(net: Mortal) -> None:
    net.do("a", lambda stack, now: stack.invite(1, "sip:101@192.0.2.2", now, from_="<sip:100@192.0.2.1>", to="<sip:101@192.0.2.2>", offer=SDP,
                                                headers=[("Session-Expires", "90;refresher=uas"), ("Supported", "timer")]))  # fmt: skip
    net.run(1.0)
    accept(net)
    net.run(200.0)
    net.user("a", "hang_up")


def rings_with_an_answer(net: Mortal) -> None:
    dial(net)
    net.user("b", "ring", status=183, body=ANSWER)


def answered_early(net: Mortal) -> None:
    rings_with_an_answer(net)
    accept(net)
    net.user("b", "hang_up")


def answered_before_the_prack(net: Mortal) -> None:
    dial(net)
    for command in ("ring", "accept"):
        named = {"status": 183, "body": ANSWER} if command == "ring" else {"body": ANSWER}
        net.do(
            "b",
            lambda stack, now, command=command, named=named: getattr(stack, command)(
                net.session("b"), now=now, **named
            ),
        )  # type: ignore[misc]
    net.run(1.0)
    net.user("a", "hang_up")


def offers_before_the_answer(net: Mortal) -> None:
    rings_with_an_answer(net)
    for one, other in ("ab", "ba"):
        net.user(one, "offer", SDP)
        accept(net, other)
    net.user("b", "offer", SDP)
    net.user("a", "reject", 488)
    accept(net)
    net.user("b", "hang_up")


def cancelled_during_an_early_offer(net: Mortal) -> None:
    rings_with_an_answer(net)
    net.user("b", "offer", SDP)
    net.user("a", "hang_up")


SCENES: tuple[Callable[[Mortal], None], ...] = (
    hung_up_by_caller, hung_up_by_callee, cancelled, cancelled_at_once, cancel_crosses_the_answer, refused, late_offer, late_offer_hung_up,
    held, asked_for_an_offer, glare, hung_up_before_the_ack, hung_up_during_an_offer, refreshed, answered_early,
    answered_before_the_prack, offers_before_the_answer, cancelled_during_an_early_offer,
)  # fmt: skip


def told(found: Sequence[Event]) -> list[tuple[str, Any]]:
    """What a user acts upon; a provisional response may come again."""
    return [
        (type(each).__name__, getattr(each, "status", getattr(each, "body", None)))
        for each in found
        if not isinstance(each, events.Progress)
    ]


def played(scene: Callable[[Mortal], None], net: Mortal) -> dict[str, list[tuple[str, Any]]]:
    scene(net)
    net.run(70.0)
    assert net.kept == {}
    net.assert_empty()
    return {name: told(net.events[name]) for name in "ab"}


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: str(scene.__name__))
@pytest.mark.parametrize("transport", ["UDP", "TLS"])
@pytest.mark.parametrize("victim", ["a", "b"])
def test_killed_at_every_turn(victim: str, transport: str, scene: Callable[[Mortal], None]) -> None:
    whole = Mortal(transport, victim)
    expected = played(scene, whole)
    assert whole.turns >= 3
    for kill in KILLS:
        for at in range(1, whole.turns + 1):
            assert played(scene, Mortal(transport, victim, at, kill)) == expected, (kill, at)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: str(scene.__name__))
@pytest.mark.parametrize("transport", ["UDP", "TLS"])
@pytest.mark.parametrize("victim", ["a", "b"])
def test_killed_and_the_network_loses_what_it_said(
    victim: str, transport: str, scene: Callable[[Mortal], None]
) -> None:
    """Somebody repeats what was lost, and the call comes up and ends as it would have. An offer may be refused that would have been taken."""

    def course(net: Mortal) -> dict[str, str]:
        told = {
            name: [
                event + (" with" if isinstance(value, bytes) and value else "")
                for event, value in found
                if not event.startswith("Offer")
            ]
            for name, found in played(scene, net).items()
        }
        return {
            name: ", ".join(found).replace("Confirmed, Ended", "Ended") for name, found in told.items()
        }  # its BYE overtook its ACK

    whole = Mortal(transport, victim)
    expected = course(whole)
    for at in range(1, whole.turns + 1):
        assert course(Mortal(transport, victim, at, LOST)) == expected, at


def test_one_that_rings_goes_on_ringing() -> None:
    net = Mortal("UDP", "b")
    dial(net)
    net.user("b", "ring")
    net.reborn()
    net.run(61.0)
    assert names(net.take("a")) == ["Progress", "Progress"]
    invite = next(data for name, data in net.sent if name == "a")
    net.do("b", lambda stack, now: stack.receive(1, invite.replace(b"branch=z9hG4bK", b"branch=z9hG4bKother"), now))
    assert net.sent[-1][1].startswith(b"SIP/2.0 482 ")


def test_an_answer_that_nobody_confirms_is_given_up() -> None:
    net = Mortal("UDP", "b")
    dial(net)
    net.lose = lambda number, data: data.startswith(b"ACK")
    accept(net)
    net.reborn()
    net.run(70.0)
    assert told(net.events["b"]) == [("Invited", None), ("Ended", None)]
    net.assert_empty()


def longer(values: Any) -> Any:
    """As a later version may keep it: everything has more at its end, but for texts and lists of one kind."""
    nested = (Kept._fields.index(name) for name in ("dialog", "offers", "timer", "early"))
    found = list(values)
    for at in nested:
        found[at] = (*found[at], "later", None) if found[at] else found[at]
    return (*found, b"later", 7, None)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: str(scene.__name__))
def test_values_of_a_later_version_are_taken_over(scene: Callable[[Mortal], None]) -> None:
    whole = Mortal("UDP", "b")
    expected = played(scene, whole)
    for at in range(1, whole.turns + 1):
        assert played(scene, Mortal("UDP", "b", at, KILLS[3], aged=longer)) == expected, at


# As the first version with this layout wrote it: a call that we answered. A field that is added later is not in it.
FIRST = (
    "b000001",
    1,
    "confirmed",
    True,
    "b000002",
    b"a000003",
    b"101",
    False,
    True,
    (
        b"a000003",
        b"<sip:101@192.0.2.2>;tag=b000002",
        b'"Ann" <sip:100@192.0.2.1>;tag=a000001',
        b"b000002",
        b"a000001",
        b"sip:100@192.0.2.1:5060;transport=udp",
        (),
        0,
        1,
        True,
    ),
    (),
    True,
    b"",
    True,
    b"",
    None,
    0,
    False,
    None,
    b"",
    (),
    (0, False, b"", False),
    None,
    (),
    b"",
    3665378750,
)


def test_values_of_the_first_version_are_taken_over() -> None:
    net = Mortal("UDP", "b")
    up(net)
    net.kept = {net.session("b"): msgspec.msgpack.encode(FIRST)}
    net.reborn()
    net.user("b", "offer", SDP)
    accept(net, "a")
    net.user("a", "hang_up")
    net.run(70.0)
    assert told(net.events["b"])[-2:] == [("OfferAnswered", 200), ("Ended", None)]
    net.assert_empty()


def test_a_refusal_is_the_successors_until_its_ack() -> None:
    """Its caller's repeated INVITE became a second call: two entries in the history."""
    net = Mortal("UDP", "b")
    dial(net)
    invite = next(data for name, data in net.sent if name == "a")
    net.lose = lambda number, data: net.sent[number][0] == "b" or data.startswith(b"ACK")
    net.user("b", "reject", 486)
    session = net.session("b")
    assert net.b.alive(session)
    assert len(net.kept[session]) < 500, "the refusal and no more"
    net.reborn()
    net.do("b", lambda stack, now: stack.receive(1, invite, now))
    net.do("b", lambda stack, now: stack.receive(1, invite.replace(b"branch=z9hG4bK", b"branch=z9hG4bKother"), now))
    answers = [data[:12] for name, data in net.sent if name == "b"]
    assert answers[-3:] == [b"SIP/2.0 486 ", b"SIP/2.0 486 ", b"SIP/2.0 482 "]
    net.do("b", lambda stack, now: stack.hang_up(session, now))
    assert told(net.events["b"]) == [("Invited", None)]
    net.lose = lambda number, data: False
    net.run(5.0)  # until it is repeated once more
    assert names(net.take("a")) == ["Rejected"]
    assert (net.b.alive(session), net.kept) == (False, {})
    net.run(40.0)
    net.assert_empty()


def test_a_refusal_ends_with_its_connection() -> None:
    net = Mortal("TLS", "b")
    dial(net)
    net.lose = lambda number, data: data.startswith(b"ACK")
    net.user("b", "reject", 486)
    net.reborn()
    assert net.b.alive(net.session("b"))
    net.do("b", lambda stack, now: stack.closed(1, now))
    assert (net.session("b"), net.kept) == ("", {})
