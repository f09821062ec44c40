"""Whole calls between two stacks over a simulated network, in virtual time."""

from __future__ import annotations

import re
from typing import TypeVar

import pytest

from appliance.sip import events
from appliance.sip.errors import WrongState
from tests.sip.net import SDP, Net

E = TypeVar("E")
ANSWER = SDP.replace(b"4000", b"5000")
TRANSPORTS = ("UDP", "TCP", "TLS")


def only(found: list[events.Event], kind: type[E]) -> E:
    matching = [each for each in found if isinstance(each, kind)]
    assert len(matching) == 1, found
    return matching[0]


def names(found: list[events.Event]) -> list[str]:
    return [type(each).__name__ for each in found]


def call(net: Net, offer: bytes = SDP) -> str:
    return str(
        net.do(
            "a",
            lambda stack, now: stack.invite(
                1, "sip:101@192.0.2.2", now, from_='"Anna" <sip:100@192.0.2.1>', to="<sip:101@192.0.2.2>", offer=offer
            ),
        )
    )


def set_up(net: Net) -> tuple[str, str]:
    caller = call(net)
    net.run(40.0)
    callee = only(net.take("b"), events.Invited).session
    net.do("b", lambda stack, now: stack.ring(callee, now))
    net.run(40.0)
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    net.run(40.0)
    assert names(net.take("a")) == ["Progress", "Accepted"]
    assert names(net.take("b")) == ["Confirmed"]
    return caller, callee


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("who", ["a", "b"])
def test_call_and_hang_up(transport: str, who: str) -> None:
    net = Net(transport)
    sessions = dict(zip("ab", set_up(net), strict=True))
    net.do(who, lambda stack, now: stack.hang_up(sessions[who], now, headers=[("Reason", "Q.850;cause=16")]))
    net.do(who, lambda stack, now: stack.hang_up(sessions[who], now))
    net.run(40.0)
    other = "b" if who == "a" else "a"
    ended = only(net.take(other), events.Ended)
    assert (ended.by, ended.reason) == ("peer", "Q.850;cause=16")
    assert net.take(who) == []
    net.assert_empty()


@pytest.mark.parametrize("lost", range(12))
def test_each_message_lost_once(lost: int) -> None:
    """Over UDP every single lost message is made good by somebody's retransmission."""
    net = Net("UDP", lose=lambda number, data: number == lost)
    caller = call(net)
    net.run(40.0)
    callee = only(net.take("b"), events.Invited).session
    net.do("b", lambda stack, now: stack.ring(callee, now))
    net.run(1.0)
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    net.run(40.0)
    assert "Accepted" in names(net.take("a"))
    assert names(net.take("b")) == ["Confirmed"]
    net.do("a", lambda stack, now: stack.offer(caller, SDP, now))
    net.run(20.0)
    assert names(net.take("b")) == ["Offered"]
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    net.run(40.0)
    assert only(net.take("a"), events.OfferAnswered).status == 200
    net.do("a", lambda stack, now: stack.hang_up(caller, now))
    net.run(40.0)
    assert names(net.take("b")) == ["Ended"]
    assert net.take("a") == []
    net.run(100.0)
    net.assert_empty()


def test_a_network_that_loses_a_third() -> None:
    for seed in range(20):
        net = Net("UDP", lose=lambda number, data, seed=seed: (number * 2654435761 + seed * 40503) % 97 < 32)
        caller = call(net)
        net.run(40.0)
        invited = [each for each in net.take("b") if isinstance(each, events.Invited)]
        if invited:
            net.do("b", lambda stack, now, s=invited[0].session: stack.accept(s, ANSWER, now))
            net.run(40.0)
            net.do("b", lambda stack, now, s=invited[0].session: stack.hang_up(s, now))
        net.do("a", lambda stack, now, s=caller: stack.hang_up(s, now))
        net.run(300.0)
        net.assert_empty()


def test_nobody_there() -> None:
    net = Net("UDP", lose=lambda number, data: True)
    call(net)
    net.run(40.0)
    rejected = only(net.take("a"), events.Rejected)
    assert (rejected.status, rejected.response) == (408, None)
    assert len(net.sent) == 7  # RFC 3261 §17.1.1.2: 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s
    net.assert_empty()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_refusal(transport: str) -> None:
    net = Net(transport)
    call(net)
    net.run()
    callee = only(net.take("b"), events.Invited).session
    net.do("b", lambda stack, now: stack.reject(callee, 486, now))
    net.run(40.0)
    assert only(net.take("a"), events.Rejected).status == 486
    with pytest.raises(WrongState):
        net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    net.assert_empty()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_cancel(transport: str) -> None:
    net = Net(transport)
    caller = call(net)
    net.run()
    callee = only(net.take("b"), events.Invited).session
    net.do("b", lambda stack, now: stack.ring(callee, now))
    net.run()
    reason = 'SIP;cause=200;text="Call completed elsewhere"'
    net.do("a", lambda stack, now: stack.hang_up(caller, now, headers=[("Reason", reason)]))
    net.run(40.0)
    assert only(net.take("b"), events.Cancelled).reason == reason
    assert [each.status for each in net.take("a") if isinstance(each, events.Rejected)] == [487]
    net.assert_empty()


def test_cancel_waits_for_a_provisional_response() -> None:
    net = Net("UDP")
    caller = call(net)
    net.do("a", lambda stack, now: stack.hang_up(caller, now))
    assert [data.split()[0] for _, data in net.sent] == [b"INVITE"]
    net.run(40.0)
    assert names(net.take("b")) == ["Invited", "Cancelled"]
    net.assert_empty()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_cancel_crosses_the_answer(transport: str) -> None:
    net = Net(transport)
    caller = call(net)
    net.run()
    callee = only(net.take("b"), events.Invited).session
    net.do("a", lambda stack, now: stack.hang_up(caller, now))
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    net.run(40.0)
    assert names(net.take("a")) == ["Rejected"]
    assert names(net.take("b")) == ["Confirmed", "Ended"]
    net.run(40.0)
    net.assert_empty()


def test_cancel_ignored() -> None:
    net = Net("UDP", lose=lambda number, data: data.startswith(b"CANCEL") or b" 487 " in data[:12])
    caller = call(net)
    net.run()
    net.take("b")
    net.do("a", lambda stack, now: stack.hang_up(caller, now))
    net.run(64 * 0.5 + 1)
    assert only(net.take("a"), events.Rejected).status == 487


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_answer_never_acknowledged(transport: str) -> None:
    """13.3.1.4: repeated on every transport, then given up with a BYE."""
    net = Net(transport, lose=lambda number, data: data.startswith(b"ACK"))
    call(net)
    net.run()
    callee = only(net.take("b"), events.Invited).session
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    net.run(100.0)
    assert (
        len(
            [
                data
                for name, data in net.sent
                if name == "b" and data.startswith(b"SIP/2.0 200 OK") and b"1 INVITE" in data
            ]
        )
        == 11
    )
    assert only(net.take("b"), events.Ended).by == "timeout"
    assert only([each for each in net.take("a") if isinstance(each, events.Ended)], events.Ended).by == "peer"
    net.assert_empty()


def test_hang_up_before_the_ack_waits_for_it() -> None:
    net = Net("UDP")
    call(net)
    net.run()
    callee = only(net.take("b"), events.Invited).session
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    net.do("b", lambda stack, now: stack.hang_up(callee, now))
    assert not any(data.startswith(b"BYE") for _, data in net.sent)
    net.run(40.0)
    assert names(net.take("a")) == ["Accepted", "Ended"]
    assert net.take("b") == []
    net.run(40.0)
    net.assert_empty()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_late_offer(transport: str) -> None:
    net = Net(transport)
    caller = call(net, b"")
    net.run()
    invited = only(net.take("b"), events.Invited)
    assert invited.request.body == b""
    net.do("b", lambda stack, now: stack.accept(invited.session, SDP, now))
    net.run(1.2)  # the 200 is repeated meanwhile and must not be acknowledged without the answer
    assert only(net.take("a"), events.Accepted).response.body == SDP
    net.do("a", lambda stack, now: stack.acknowledge(caller, ANSWER, now))
    net.run()
    assert only(net.take("b"), events.Confirmed).body == ANSWER
    with pytest.raises(WrongState):
        net.do("a", lambda stack, now: stack.acknowledge(caller, ANSWER, now))
    # and the same inside the dialog
    net.do("a", lambda stack, now: stack.offer(caller, b"", now))
    net.run()
    assert only(net.take("b"), events.Offered).request.body == b""
    net.do("b", lambda stack, now: stack.accept(invited.session, SDP, now))
    net.run(1.2)
    answered = only(net.take("a"), events.OfferAnswered)
    assert answered.response is not None
    assert answered.response.body == SDP
    net.do("a", lambda stack, now: stack.acknowledge(caller, ANSWER, now))
    net.run()
    assert only(net.take("b"), events.Confirmed).body == ANSWER
    net.do("b", lambda stack, now: stack.hang_up(invited.session, now))
    net.run(40.0)
    net.assert_empty()


def test_late_offer_hung_up_instead_of_answered() -> None:
    net = Net("TLS")
    caller = call(net, b"")
    net.run()
    callee = only(net.take("b"), events.Invited).session
    net.do("b", lambda stack, now: stack.accept(callee, SDP, now))
    net.run()
    net.do("a", lambda stack, now: stack.hang_up(caller, now))
    net.run(40.0)
    assert "Ended" in names(net.take("b"))
    net.assert_empty()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_glare(transport: str) -> None:
    """Both re-INVITE at once: 491 for both, who made the Call-ID waits longer. When the other's comes first, its own is out of date: its user
    hears 491 and offers anew. Seen when two phones held each other: the offer that waited met theirs, and the call ended by a fault."""
    net = Net(transport)
    caller, callee = set_up(net)
    net.do("a", lambda stack, now: stack.offer(caller, SDP, now))
    net.do("b", lambda stack, now: stack.offer(callee, SDP, now))
    net.run(0.2)
    assert net.take("a") == net.take("b") == []
    assert sum(b" 491 " in data[:12] for _, data in net.sent) == 2
    for _ in range(60):
        net.run(0.1)
        for name, session in (("a", caller), ("b", callee)):
            for event in list(net.events[name]):
                if isinstance(event, events.Offered):
                    net.events[name].remove(event)
                    net.do(name, lambda stack, now, session=session: stack.accept(session, ANSWER, now))
    assert [each.status for each in net.take("a") if isinstance(each, events.OfferAnswered)] == [491]
    assert [each.status for each in net.take("b") if isinstance(each, events.OfferAnswered)] == [200]
    net.do("a", lambda stack, now: stack.offer(caller, SDP, now))
    net.run(0.2)
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    net.run(0.2)
    assert only(net.take("a"), events.OfferAnswered).status == 200
    net.do("a", lambda stack, now: stack.hang_up(caller, now))
    net.run(60.0)
    net.assert_empty()


def test_offer_refused_leaves_the_call() -> None:
    net = Net("UDP")
    caller, callee = set_up(net)
    net.do("a", lambda stack, now: stack.offer(caller, SDP, now))
    with pytest.raises(WrongState):
        net.do("a", lambda stack, now: stack.offer(caller, SDP, now))
    net.run()
    net.take("b")
    net.do("b", lambda stack, now: stack.reject(callee, 488, now))
    net.run()
    assert only(net.take("a"), events.OfferAnswered).status == 488
    net.do("a", lambda stack, now: stack.hang_up(caller, now))
    net.run(40.0)
    net.assert_empty()


def test_offer_before_the_ack_waits() -> None:
    net = Net("UDP")
    call(net)
    net.run()
    callee = only(net.take("b"), events.Invited).session
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    net.do("b", lambda stack, now: stack.offer(callee, SDP, now))
    assert not any(data.startswith(b"INVITE") for name, data in net.sent if name == "b")
    net.run()
    assert names(net.take("a")) == ["Accepted", "Offered"]


def test_hang_up_during_an_offer() -> None:
    for who in "ab":
        net = Net("UDP")
        sessions = dict(zip("ab", set_up(net), strict=True))
        net.do("a", lambda stack, now, s=sessions["a"]: stack.offer(s, SDP, now))
        net.run()
        net.do(who, lambda stack, now, s=sessions[who]: stack.hang_up(s, now))
        net.run(80.0)
        assert "Ended" in names(net.take("b" if who == "a" else "a"))
        net.assert_empty()


def test_both_hang_up_at_once() -> None:
    net = Net("UDP")
    caller, callee = set_up(net)
    net.do("a", lambda stack, now: stack.hang_up(caller, now))
    net.do("b", lambda stack, now: stack.hang_up(callee, now))
    net.run(60.0)
    assert net.take("a") == net.take("b") == []
    net.assert_empty()


def test_bye_to_the_dead() -> None:
    net = Net("UDP")
    caller, _ = set_up(net)
    net.lose = lambda number, data: True
    net.do("a", lambda stack, now: stack.hang_up(caller, now))
    net.run(40.0)
    assert only(net.take("a"), events.Ended).by == "timeout"
    assert net.a.counters()["sessions"] == net.a.counters()["transactions"] == 0


def test_info_and_options_inside() -> None:
    net = Net("TLS")
    caller, callee = set_up(net)
    sent = net.do(
        "a",
        lambda stack, now: stack.request(
            "INFO", now, session=caller, body=b"Signal=1", content_type="application/dtmf-relay"
        ),
    )
    net.run()
    told = only(net.take("b"), events.InDialog)
    assert (told.session, told.request.body, told.request.content_type) == (
        callee,
        b"Signal=1",
        "application/dtmf-relay",
    )
    net.do("b", lambda stack, now: stack.respond(told.transaction, 200, now))
    with pytest.raises(WrongState):
        net.do("b", lambda stack, now: stack.respond(told.transaction, 200, now))
    net.run()
    answered = only(net.take("a"), events.Answered)
    assert (answered.transaction, answered.status) == (sent, 200)
    net.do("a", lambda stack, now: stack.request("OPTIONS", now, session=caller))
    net.run()
    assert only(net.take("a"), events.Answered).status == 200


def test_request_outside() -> None:
    net = Net("UDP")
    net.do(
        "a",
        lambda stack, now: stack.request("REGISTER", now, flow=1, target="sip:192.0.2.2", from_="<sip:ping@192.0.2.1>"),
    )
    net.run()
    asked = only(net.take("b"), events.Requested)
    assert asked.request.via.received == "192.0.2.1"
    assert asked.request.via.rport == "5060"
    net.do("b", lambda stack, now: stack.respond(asked.transaction, 200, now))
    net.run()
    assert only(net.take("a"), events.Answered).status == 200
    net.run(40.0)
    net.assert_empty()


def test_request_nobody_answers() -> None:
    net = Net("UDP")
    net.do(
        "a",
        lambda stack, now: stack.request("REGISTER", now, flow=1, target="sip:192.0.2.2", from_="<sip:ping@192.0.2.1>"),
    )
    net.run(60.0)
    assert only(net.take("a"), events.Answered).status == 408
    assert len([1 for name, _ in net.sent if name == "a"]) == 11
    net.take("b")
    net.assert_empty()


# ---- flows
def test_flow_closed_while_ringing() -> None:
    net = Net("TLS")
    call(net)
    net.run()
    net.take("b")
    net.dead.add(1)
    net.do("b", lambda stack, now: stack.closed(1, now))
    net.do("a", lambda stack, now: stack.closed(1, now))
    assert only(net.take("b"), events.Cancelled).reason
    assert only(net.take("a"), events.Rejected).status == 503
    net.assert_empty()


def test_flow_closed_in_a_call_and_rebound() -> None:
    net = Net("TLS")
    caller, callee = set_up(net)
    net.dead.add(1)
    for name in "ab":
        net.do(name, lambda stack, now: stack.closed(1, now))
    assert net.take("a") == net.take("b") == []
    net.do("b", lambda stack, now: stack.offer(callee, SDP, now))
    assert only(net.take("b"), events.OfferAnswered).status == 503
    net.do("a", lambda stack, now: stack.rebind(caller, 2, now))
    net.do("b", lambda stack, now: stack.rebind(callee, 2, now))
    net.do("b", lambda stack, now: stack.hang_up(callee, now))
    net.run(40.0)
    assert only(net.take("a"), events.Ended).by == "peer"
    net.assert_empty()


def test_hang_up_over_a_dead_flow() -> None:
    net = Net("TLS")
    caller, _ = set_up(net)
    net.dead.add(1)
    net.do("a", lambda stack, now: stack.closed(1, now))
    net.do("a", lambda stack, now: stack.hang_up(caller, now))
    assert only(net.take("a"), events.Ended).by == "timeout"
    assert net.a.counters()["sessions"] == 0


# ---- forks: b is replaced by responses we write
def respond(net: Net, status: str, tag: str, body: bytes = b"", extra: str = "") -> None:
    invite = next(data for name, data in net.sent if name == "a" and data.startswith(b"INVITE"))
    keep = [
        line
        for line in invite.split(b"\r\n\r\n")[0].split(b"\r\n")
        if line.split(b":")[0] in (b"Via", b"From", b"Call-ID", b"CSeq")
    ]
    head = b"\r\n".join([f"SIP/2.0 {status}".encode(), *keep, f"To: <sip:101@192.0.2.2>;tag={tag}".encode()])
    head += f"\r\nContact: <sip:{tag}@192.0.2.9>{extra}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    net.a.receive(1, head + body, net.now)
    net.drain("a")


def test_forked_early_dialogs_and_a_second_answer() -> None:
    net = Net("UDP", lose=lambda number, data: True)
    call(net)
    respond(net, "180 Ringing", "one")
    respond(net, "183 Session Progress", "two", SDP)
    assert [(each.early, each.response.status) for each in net.take("a") if isinstance(each, events.Progress)] == [
        ("one", 180),
        ("two", 183),
    ]
    assert net.a.counters()["dialogs"] == 2
    respond(net, "200 OK", "two", SDP)
    assert only(net.take("a"), events.Accepted).response.to.tag == "two"
    before = len(net.sent)
    respond(net, "200 OK", "one", SDP)
    assert [data.split()[0] for _, data in net.sent[before:]] == [b"ACK", b"BYE"]
    assert b"BYE sip:one@192.0.2.9" in net.sent[-1][1]
    respond(net, "200 OK", "one", SDP)
    respond(net, "200 OK", "two", SDP)
    assert [re.match(rb"(\w+) sip:(\w+)", data).groups() for _, data in net.sent[before + 2 :]] == [  # type: ignore[union-attr]
        (b"ACK", b"one"),
        (b"ACK", b"two"),
    ]
    assert net.take("a") == []
    assert net.a.counters()["dialogs"] == 1


def test_more_forks_than_the_bound() -> None:
    net = Net("UDP", lose=lambda number, data: True)
    call(net)
    for number in range(50):
        respond(net, "180 Ringing", f"t{number}")
    assert net.a.counters()["dialogs"] == 16


# ---- session timer
def test_the_far_end_refreshes() -> None:
    net = Net("UDP", lose=lambda number, data: True)
    net.do(
        "a",
        lambda stack, now: stack.invite(
            1, "sip:101@192.0.2.2", now, from_="<sip:100@192.0.2.1>", to="<sip:101@192.0.2.2>", offer=SDP
        ),
    )
    respond(net, "200 OK", "x", SDP, "\r\nSession-Expires: 90;refresher=uas")
    net.take("a")
    net.run(59.0)
    assert net.take("a") == []
    net.run(2.0)
    assert net.take("a") == [], "it is asked before it is given up"
    assert sum(b" INVITE\r\n" in data for _, data in net.sent) >= 2
    net.run(32.0)
    assert only(net.take("a"), events.Ended).by == "timeout"


def test_we_refresh_when_we_must() -> None:
    net = Net("UDP")
    caller = net.do(
        "a",
        lambda stack, now: stack.invite(
            1, "sip:101@192.0.2.2", now, from_="<sip:100@192.0.2.1>", to="<sip:101@192.0.2.2>", offer=SDP,
            headers=[("Session-Expires", "120;refresher=uas"), ("Supported", "timer")],
        ),
    )  # fmt: skip
    net.run()
    callee = only(net.take("b"), events.Invited).session
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    net.run(1000.0)
    assert names(net.take("a")) == ["Accepted"]
    assert names(net.take("b")) == ["Confirmed"]
    assert sum(data.startswith(b"UPDATE") for _, data in net.sent) == 16
    net.do("a", lambda stack, now: stack.hang_up(str(caller), now))
    net.run(60.0)
    net.assert_empty()


def test_too_small_an_interval() -> None:
    net = Net("UDP")
    net.do(
        "a",
        lambda stack, now: stack.invite(
            1, "sip:101@192.0.2.2", now, from_="<sip:100@192.0.2.1>", to="<sip:101@192.0.2.2>", offer=SDP,
            headers=[("Session-Expires", "60"), ("Supported", "timer")],
        ),
    )  # fmt: skip
    net.run(40.0)
    rejected = only(net.take("a"), events.Rejected)
    assert rejected.status == 422
    assert rejected.response is not None
    assert rejected.response.get("Min-SE") == "90"
    net.assert_empty()
