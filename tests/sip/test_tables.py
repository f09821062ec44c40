"""Every row of the two tables is reached by a call: of the transactions (RFC 3261 §17) and of a session's phases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from appliance.sip import events, transaction
from appliance.sip.stack import Stack
from appliance.sip.usage import session
from tests.sip.net import SDP
from tests.sip.test_calls import only
from tests.sip.test_survival import SCENES, Mortal, accept, dial, up
from tests.written import as_written

Row = tuple[str, ...]


def nothing_comes(net: Mortal, name: str) -> None:
    """From here on nothing that this side says arrives."""
    net.lose = lambda number, data: net.sent[number][0] == name


def again(net: Mortal, name: str, beginning: bytes) -> None:
    """The last message of a side that begins so arrives once more."""
    data = next(data for side, data in reversed(net.sent) if side == name and data.startswith(beginning))
    other = "b" if name == "a" else "a"
    net.do(other, lambda stack, now: stack.receive(1, data, now))


def repeated_invite(net: Mortal) -> None:
    dial(net)
    again(net, "a", b"INVITE")
    net.do("b", lambda stack, now: stack.closed(1, now))


def refusal_without_ack(net: Mortal) -> None:
    dial(net)
    net.lose = lambda number, data: data.startswith(b"ACK")
    net.user("b", "reject", 486)
    again(net, "a", b"INVITE")
    net.run(40.0)


def refusal_that_nobody_acknowledges(net: Mortal) -> None:
    dial(net)
    net.lose = lambda number, data: data.startswith(b"ACK")
    net.user("b", "reject", 486)
    net.reborn()
    net.run(40.0)


def answer_that_cannot_be_made(net: Mortal) -> None:
    dial(net)

    def accept_and_fail(stack: Stack, now: float) -> None:
        try:
            stack.accept(net.session("b"), SDP, now, headers=[("X-Broken", "a\r\nb")])
        except ValueError as error:
            stack.failed(error, now)

    net.do("b", accept_and_fail)
    net.run(1.0)


def refusal_and_gone(net: Mortal) -> None:
    dial(net)
    nothing_comes(net, "b")
    net.user("b", "reject", 486)
    net.do("b", lambda stack, now: stack.closed(1, now))
    net.user("a", "hang_up")


def info(net: Mortal, *statuses: int) -> None:
    """In a call, answered with these."""
    up(net)
    net.do("a", lambda stack, now: stack.request("INFO", now, session=net.session("a")))
    net.run(0.1)
    found = only([each for each in net.events["b"] if isinstance(each, events.InDialog)], events.InDialog)
    for status in statuses:
        net.do("b", lambda stack, now, status=status: stack.respond(found.transaction, status, now))  # type: ignore[misc]
        net.run(1.5)  # longer than T1: what has no final answer is asked again
    again(net, "a", b"INFO")


def info_answered(net: Mortal) -> None:
    info(net, 100, 180, 200)
    net.user("a", "hang_up")


def info_refused(net: Mortal) -> None:
    info(net, 100, 488)
    net.user("a", "hang_up")


def info_forgotten(net: Mortal) -> None:
    info(net)
    net.run(45.0)
    net.user("a", "hang_up")


def info_forgotten_later(net: Mortal) -> None:
    info(net, 100)
    net.run(45.0)
    net.user("a", "hang_up")


def lost_flows(net: Mortal, *statuses: int) -> None:
    info(net, *statuses)
    for name in "ab":
        net.do(name, lambda stack, now: stack.closed(1, now))
    net.user("a", "hang_up")


def lost_flows_later(net: Mortal) -> None:
    lost_flows(net, 100)


def nobody_there(net: Mortal) -> None:
    nothing_comes(net, "a")
    dial(net)
    net.run(40.0)


def gone_while_calling(net: Mortal) -> None:
    nothing_comes(net, "a")
    dial(net)
    net.do("a", lambda stack, now: stack.closed(1, now))


def gone_while_it_rings(net: Mortal) -> None:
    dial(net)
    net.do("a", lambda stack, now: stack.closed(1, now))
    net.user("b", "reject", 480)


def answered_at_once(net: Mortal) -> None:
    net.lose = lambda number, data: data.startswith(b"SIP/2.0 100")
    net.do(
        "a", lambda stack, now: stack.invite(1, "sip:101@192.0.2.2", now, from_="<sip:a@b>", to="<sip:b@b>", offer=SDP)
    )
    net.run(0.1)
    accept(net)
    net.user("a", "hang_up")


def refused_at_once(net: Mortal) -> None:
    net.lose = lambda number, data: data.startswith(b"SIP/2.0 100")
    net.do(
        "a", lambda stack, now: stack.invite(1, "sip:101@192.0.2.2", now, from_="<sip:a@b>", to="<sip:b@b>", offer=SDP)
    )
    net.run(0.1)
    net.user("b", "reject", 486)
    again(net, "b", b"SIP/2.0 486")


def offer_abandoned(net: Mortal) -> None:
    up(net)
    nothing_comes(net, "b")
    net.user("a", "offer", SDP)
    net.user("a", "hang_up")
    net.run(40.0)


def offer_abandoned_later(net: Mortal) -> None:
    up(net)
    net.user("a", "offer", SDP)
    nothing_comes(net, "b")
    net.user("a", "hang_up")
    net.run(40.0)


def never_confirmed(net: Mortal) -> None:
    dial(net)
    net.lose = lambda number, data: data.startswith(b"ACK")
    accept(net)
    net.run(40.0)


def bye_before_the_ack(net: Mortal) -> None:
    dial(net)
    net.lose = lambda number, data: data.startswith(b"ACK")
    accept(net)
    net.user("a", "hang_up")


def answer_owed_for_too_long(net: Mortal) -> None:
    dial(net, b"")
    net.user("b", "accept", SDP)
    net.run(40.0)


CALLS: tuple[Callable[[Mortal], None], ...] = (
    *SCENES, repeated_invite, refusal_without_ack, refusal_that_nobody_acknowledges, refusal_and_gone,
    answer_that_cannot_be_made, info_answered, info_refused, info_forgotten, info_forgotten_later, lost_flows,
    lost_flows_later, nobody_there, gone_while_calling, gone_while_it_rings, answered_at_once, refused_at_once, offer_abandoned,
    offer_abandoned_later, never_confirmed, bye_before_the_ack, answer_owed_for_too_long,
)  # fmt: skip


@pytest.fixture(scope="module")
def reached() -> tuple[set[Row], set[Row]]:
    """Rows of the transactions' table, and moves of a session, in all these calls; nothing is left of any."""
    rows: set[Row] = set()
    moves: set[Row] = set()
    step, move = transaction.Transactions._step, session.Session.move

    def _step(layer: Any, each: transaction.Transaction, event: str, *arguments: Any, **named: Any) -> None:
        rows.add((each.kind, each.state, event))
        step(layer, each, event, *arguments, **named)

    def _move(each: session.Session, phase: str) -> None:
        moves.add((each.phase, phase))
        move(each, phase)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transaction.Transactions, "_step", _step)
        patch.setattr(session.Session, "move", _move)
        for call in CALLS:
            net = Mortal("UDP", "b")
            call(net)
            net.lose = lambda number, data: False
            for name in "ab":
                net.user(name, "hang_up")
            net.run(130.0)
            net.assert_empty()
    return rows, moves


@as_written("listens in the place of functions")
def test_every_row_of_the_transactions_is_reached(reached: tuple[set[Row], set[Row]]) -> None:
    assert [row for row in transaction.TABLE if row not in reached[0]] == []


@as_written("listens in the place of functions")
def test_every_move_of_a_session_is_reached(reached: tuple[set[Row], set[Row]]) -> None:
    assert {(phase, after) for phase, following in session.MOVES.items() for after in following} == reached[1]
