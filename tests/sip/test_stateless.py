"""What needs no state gets none (RFC 3261 §8.2.7), what has its answer only lingers, and what is cancelled holds nothing."""

from __future__ import annotations

import gc
import weakref

import pytest

from appliance.sip import events
from appliance.sip.stack import MAX_REFUSED
from appliance.sip.text.message import Response
from appliance.sip.timers import SWEEP, Timers
from appliance.sip.transaction import Transaction
from tests.sip.net import SDP
from tests.sip.test_stack import Bench, established, request, statuses
from tests.written import as_written

STRANGER = 5  # a UDP flow that nobody has registered over


@pytest.mark.parametrize(
    "data",
    [
        request("OPTIONS"),
        request("DANCE"),
        request("SUBSCRIBE"),
        request("BYE"),
        request("BYE", to_tag="guess"),
        request("OPTIONS", extra="Require: 100rel\r\n"),
        request("OPTIONS", extra="Content-Length: 7\r\n"),
        request("CANCEL"),
        request(body=SDP, max_forwards=0),
        request(body=SDP, extra="Require: 100rel\r\n"),
        request(body=SDP).replace(b"Contact: <sip:100@phone>\r\n", b""),
    ],
    ids=lambda data: data.split(b" ")[0].decode() + str(len(data)),
)
def test_a_stranger_leaves_nothing_behind(data: bytes) -> None:
    bench = Bench()
    first, told = bench.receive(data, flow=STRANGER)
    again, _ = bench.receive(data, flow=STRANGER)
    assert told == []
    assert [each.headers for each in again] == [each.headers for each in first], "the same question has the same answer"
    assert len(first) == 1
    assert bench.stack.counters()["transactions"] == bench.stack.counters()["timers"] == 0
    assert bench.pass_time(120.0) == ([], [])


@pytest.mark.parametrize("status", [401, 403, 407, 415, 488, 503, 603])
def test_an_invite_from_an_address_that_may_be_forged_gets_one_answer(status: int) -> None:
    """An INVITE of 400 octets, never acknowledged, brought whom it named as its source twelve messages: 100 and eleven times 407."""
    bench = Bench()
    sent, told = bench.receive(request(body=SDP), flow=STRANGER)
    assert sent == []
    session = told[0].session  # type: ignore[union-attr]
    bench.stack.reject(session, status, bench.now)
    answer, _ = bench.outputs()
    assert statuses(answer) == [status]
    assert bench.pass_time(120.0) == ([], [])
    assert {name: bench.stack.counters()[name] for name in ("sessions", "transactions", "timers")} == {
        "sessions": 0, "transactions": 0, "timers": 0,
    }  # fmt: skip
    assert bench.receive(request("ACK", to_tag=answer[0].to.tag), flow=STRANGER) == ([], [])
    _, told = bench.receive(request(body=SDP), flow=STRANGER)
    bench.stack.reject(told[0].session, status, bench.now)  # type: ignore[union-attr]
    assert bench.outputs()[0][0].to.tag == answer[0].to.tag, "the tag is the same when the answer was lost"


def test_who_has_been_told_100_is_no_stranger_any_more() -> None:
    bench = Bench()
    _, told = bench.receive(request(body=SDP), flow=STRANGER)
    session = told[0].session  # type: ignore[union-attr]
    for _ in range(2):
        bench.stack.ring(session, bench.now, status=100)
    assert statuses(bench.outputs()[0]) == [100]
    bench.stack.reject(session, 486, bench.now)
    assert statuses(bench.pass_time(40.0)[0]) == [486] * 11


@pytest.mark.parametrize("status", [401, 407])
def test_a_challenge_is_not_repeated_to_anybody(status: int) -> None:
    bench = Bench()
    _, told = bench.receive(request(body=SDP))
    bench.stack.reject(told[0].session, status, bench.now)  # type: ignore[union-attr]
    assert statuses(bench.pass_time(40.0)[0]) == [status]
    assert bench.stack.counters()["transactions"] == 0


def test_a_registration_is_repeated_and_its_challenge_is_not() -> None:
    for status, handed_up in ((200, 0), (401, 1), (423, 1)):
        bench = Bench()
        _, told = bench.receive(request("REGISTER"))
        bench.stack.respond(told[0].transaction, status, bench.now)  # type: ignore[union-attr]
        first = bench.outputs()[0]
        again, told = bench.receive(request("REGISTER"))
        assert len(told) == handed_up
        assert again == [] if handed_up else [each.headers for each in again] == [each.headers for each in first]


def test_finished_transactions_never_refuse_a_new_one() -> None:
    """At 120 calls/s for 45 s a fifth was refused: finished transactions lingered 32 s and counted against the bound."""
    bench = Bench(max_transactions=10)
    for number in range(200):
        sent, told = bench.receive(request("REGISTER", branch=f"z9hG4bK{number}", call_id=str(number)))
        assert isinstance(told[0], events.Requested), statuses(sent)
        bench.stack.respond(told[0].transaction, 200, bench.now)
        bench.outputs()
    assert statuses(bench.receive(request("REGISTER", branch="z9hG4bK7", call_id="7"))[0]) == [200]
    assert bench.stack.counters()["transactions"] == 200
    bench.pass_time(33.0)
    assert bench.stack.counters()["transactions"] == 0


def test_the_oldest_finished_one_makes_room() -> None:
    bench = Bench(max_lingering=10)
    for number in range(25):
        _, told = bench.receive(request("REGISTER", branch=f"z9hG4bK{number}", call_id=str(number)))
        bench.stack.respond(told[0].transaction, 200, bench.now)  # type: ignore[union-attr]
        bench.outputs()
    assert (bench.stack.counters()["transactions"], bench.stack.counters()["timers"]) == (10, 1)
    assert statuses(bench.receive(request("REGISTER", branch="z9hG4bK24", call_id="24"))[0]) == [200]
    assert isinstance(bench.receive(request("REGISTER", branch="z9hG4bK1", call_id="1"))[1][0], events.Requested)


def unacknowledged(bench: Bench, number: int) -> str:
    """A session that has refused; nobody acknowledges it."""
    _, told = bench.receive(request(branch=f"z9hG4bK{number}", call_id=str(number), body=SDP), flow=3)
    assert isinstance(told[0], events.Invited)
    bench.stack.reject(told[0].session, 403, bench.now)
    bench.outputs()
    return told[0].session


def test_refusals_that_nobody_acknowledges_refuse_no_new_call() -> None:
    bench = Bench(max_sessions=10)
    sessions = [unacknowledged(bench, number) for number in range(200)]
    alive = [each for each in sessions if bench.stack.alive(each)]
    assert alive == sessions[-MAX_REFUSED:], "the oldest make room"
    assert {name: bench.stack.counters()[name] for name in ("sessions", "dialogs")} == {
        "sessions": MAX_REFUSED,
        "dialogs": 0,
    }
    bench.pass_time(40.0)
    assert bench.stack.counters()["sessions"] == bench.stack.counters()["transactions"] == 0


def test_a_refusal_that_has_to_make_room_leaves_no_session() -> None:
    bench = Bench(max_lingering=10)
    first = unacknowledged(bench, 0)
    assert bench.stack.alive(first)
    for number in range(1, 11):
        _, told = bench.receive(request("REGISTER", branch=f"z9hG4bK{number}", call_id=str(number)))
        bench.stack.respond(told[0].transaction, 200, bench.now)  # type: ignore[union-attr]
        bench.outputs()
    assert not bench.stack.alive(first)
    assert bench.stack.counters()["transactions"] == 10


@as_written("a compiled object takes no weak reference")
def test_a_finished_transaction_does_not_hold_its_request() -> None:
    bench = Bench()
    established(bench)
    _, told = bench.receive(request("REGISTER", branch="z9hG4bKr", call_id="r"))
    asked = weakref.ref(told[0].request)  # type: ignore[union-attr]
    bench.stack.respond(told[0].transaction, 200, bench.now)  # type: ignore[union-attr]
    bench.outputs()
    del told
    gc.collect()
    assert asked() is None
    assert all(each._request is None for _, _, each in bench.stack._layer._long)
    assert len(bench.stack._layer._long) == bench.stack.counters()["transactions"] == 2


def test_what_lingers_is_met_in_its_time() -> None:
    """Its places in the rings count nothing when it has moved on, and one timer does for all."""
    bench = Bench()
    for number in range(3):
        _, told = bench.receive(request(branch=f"z9hG4bK{number}", call_id=str(number), body=SDP))
        bench.stack.reject(told[0].session, 486, bench.now)  # type: ignore[union-attr]
        refusal = bench.outputs()[0][-1]
        bench.pass_time(1.0)
        if number:
            bench.receive(request("ACK", branch=f"z9hG4bK{number}", call_id=str(number), to_tag=refusal.to.tag))
    counters = bench.stack.counters
    assert (counters()["transactions"], counters()["timers"]) == (3, 2), "the refusal without ACK is still repeated"
    for seconds, left in ((5.0, 1), (23.9, 1), (3.0, 0)):
        bench.pass_time(seconds)
        assert counters()["transactions"] == left
    assert (counters()["timers"], bench.stack.deadline()) == (0, None)


def test_a_cancelled_timer_holds_nothing() -> None:
    """A flood of 4,300 requests/s left a gigabyte: the entries of cleared timers held their transactions for 40 s."""

    class Owner:
        pass

    timers = Timers()
    owners = [Owner() for _ in range(1000)]
    gone = [weakref.ref(owner) for owner in owners]
    for number, owner in enumerate(owners):
        for name in "JNJ":
            timers.set(owner, name, 40.0 + number)
    for owner in owners[10:]:
        timers.clear(owner, "J", "N", "K")
    del owners[10:], owner
    assert sum(each() is not None for each in gone) == 10
    assert len(timers) == 20
    assert len(timers._heap) <= max(SWEEP, 2 * len(timers)) + 1
    assert [timers.due(1000.0)[1] for _ in range(20)] == ["N", "J"] * 10 or len(timers) == 0  # type: ignore[index]
    assert timers.due(1000.0) is None


def test_answers_of_the_layer_are_found_by_their_flow_only() -> None:
    bench = Bench()
    for number in range(20):
        bench.receive(request("REGISTER", branch=f"z9hG4bK{number}", call_id=str(number)), flow=1 + number % 2)
    layer = bench.stack._layer
    assert [isinstance(each, Transaction) and each.flow for each in layer.on(2)] == [2] * 10
    bench.stack.closed(2, bench.now)
    assert layer.on(2) == []
    assert len(layer.on(1)) == 10
    assert all(isinstance(each, Response) for each in bench.outputs()[0])
