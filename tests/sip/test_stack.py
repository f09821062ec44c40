"""What the stack does with single messages: retransmissions, bounds, foreigners, things that fit nowhere."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from appliance.sip import events, transaction
from appliance.sip.abilities import Abilities
from appliance.sip.errors import WrongState
from appliance.sip.events import Send
from appliance.sip.stack import FlowFacts, Stack
from appliance.sip.text.message import Request, Response, parse
from tests.sip.net import ABLE, SDP, Net

FLOWS = {
    1: FlowFacts("UDP", ("192.0.2.1", 5060), ("198.51.100.1", 5060)),
    2: FlowFacts("UDP", ("192.0.2.1", 5060), ("198.51.100.2", 5060)),
    3: FlowFacts("TLS", ("192.0.2.1", 5061), ("198.51.100.1", 40000)),
    4: FlowFacts("UDP", ("192.0.2.1", 5060), ("198.51.100.1", 9999)),
    5: FlowFacts("UDP", ("192.0.2.1", 5060), ("203.0.113.5", 5060), proven=False),
}


class Bench:
    def __init__(self, can: Abilities = ABLE, **bounds: int) -> None:
        numbers = count()
        self.stack = Stack(tokens=lambda: f"ours{next(numbers)}", user_agent="test", facts=FLOWS.get, can=can, **bounds)
        self.now = 0.0

    def receive(self, data: bytes, flow: int = 1) -> tuple[list[Request | Response], list[events.Event]]:
        self.stack.receive(flow, data, self.now)
        return self.outputs()

    def outputs(self) -> tuple[list[Request | Response], list[events.Event]]:
        sent: list[Request | Response] = []
        told: list[events.Event] = []
        while (output := self.stack.next_output()) is not None:
            if isinstance(output, Send):
                sent.append(parse(output.data))
            else:
                told.append(output)
        return sent, told

    def pass_time(self, seconds: float) -> tuple[list[Request | Response], list[events.Event]]:
        until = self.now + seconds
        while (deadline := self.stack.deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.stack.wake(self.now)
        self.now = until
        return self.outputs()


def request(
    method: str = "INVITE", *, branch: str = "z9hG4bKx", to_tag: str = "", number: int = 1, call_id: str = "c", extra: str = "",
    body: bytes = b"", from_tag: str = "f", max_forwards: int = 70,
) -> bytes:  # fmt: skip
    tag = f";tag={to_tag}" if to_tag else ""
    kind = "Content-Type: application/sdp\r\n" if body else ""
    return (
        f"{method} sip:101@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP phone:5060;branch={branch}\r\nFrom: <sip:100@x>;tag={from_tag}\r\n"
        f"To: <sip:101@x>{tag}\r\nCall-ID: {call_id}\r\nCSeq: {number} {method}\r\nMax-Forwards: {max_forwards}\r\n"
        f"Contact: <sip:100@phone>\r\n{extra}{kind}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def statuses(sent: list[Request | Response]) -> list[int]:
    return [each.status for each in sent if isinstance(each, Response)]


def established(bench: Bench, flow: int = 1) -> tuple[str, str]:
    """Session and our tag of a call that we have answered and they have acknowledged."""
    _, told = bench.receive(request(body=SDP), flow)
    session = told[0].session  # type: ignore[union-attr]
    bench.stack.accept(session, SDP, bench.now)
    sent, _ = bench.outputs()
    tag = sent[0].to.tag
    _, told = bench.receive(request("ACK", branch="z9hG4bKack", to_tag=tag), flow)
    assert isinstance(told[0], events.Confirmed)
    return session, tag


def test_repeated_request_gets_the_stored_answer() -> None:
    bench = Bench()
    sent, told = bench.receive(request(body=SDP))
    assert statuses(sent) == [100]
    assert statuses(bench.receive(request(body=SDP))[0]) == [100]
    bench.stack.ring(told[0].session, bench.now)  # type: ignore[union-attr]
    first, _ = bench.outputs()
    again, told_again = bench.receive(request(body=SDP))
    assert [each.headers for each in again] == [each.headers for each in first]
    assert told_again == []


def test_refusal_is_repeated_until_the_ack() -> None:
    bench = Bench()
    _, told = bench.receive(request(body=SDP))
    bench.stack.reject(told[0].session, 404, bench.now)  # type: ignore[union-attr]
    sent, _ = bench.pass_time(3.6)  # G: 0.5, 1.5, 3.5
    assert statuses(sent) == [404] * 4
    bench.receive(request("ACK", to_tag=sent[0].to.tag))
    assert statuses(bench.pass_time(60.0)[0]) == []
    assert bench.stack.counters()["transactions"] == 0


def test_merged_request() -> None:
    bench = Bench()
    bench.receive(request(body=SDP))
    sent, told = bench.receive(request(branch="z9hG4bKother", body=SDP))
    assert (statuses(sent), told) == ([482], [])


def test_the_same_branch_of_two_phones() -> None:
    """Two routers hide the same private address, and both phones count their branches from one."""
    bench = Bench()
    bench.receive(request(body=SDP))
    _, told = bench.receive(request(call_id="other", body=SDP), flow=2)
    assert isinstance(told[0], events.Invited)


@pytest.mark.parametrize(
    "method", ["BYE", "UPDATE", "INFO", "PRACK", "INVITE", "NOTIFY", "REFER", "MESSAGE", "OPTIONS"]
)
def test_no_such_dialog(method: str) -> None:
    bench = Bench()
    sent, told = bench.receive(request(method, to_tag="guess"))
    assert (statuses(sent), told) == ([481], [])


@pytest.mark.parametrize("method", ["BYE", "UPDATE", "INFO", "NOTIFY"])
def test_only_inside_a_dialog(method: str) -> None:
    assert statuses(Bench().receive(request(method))[0]) == [481]


@pytest.mark.parametrize("method", ["REGISTER", "REFER", "MESSAGE"])
def test_handed_up(method: str) -> None:
    bench = Bench()
    sent, told = bench.receive(request(method))
    assert sent == []
    assert isinstance(told[0], events.Requested)


def test_unknown_method() -> None:
    sent, _ = Bench().receive(request("DANCE"))
    assert statuses(sent) == [405]
    assert "INVITE" in (sent[0].get("Allow") or "")


def test_unsupported_extension() -> None:
    for method, header in (("INVITE", "Require"), ("REGISTER", "Require"), ("INVITE", "Proxy-Require"), ("OPTIONS", "Require")):
        sent, told = Bench().receive(request(method, extra=f"{header}: 100rel, timer\r\n"))
        assert (statuses(sent), told, sent[0].get("Unsupported")) == ([420], [], "100rel")


def test_no_contact() -> None:
    for data in (
        request(body=SDP).replace(b"Contact: <sip:100@phone>\r\n", b""),
        request(body=SDP, extra="Contact: <sip:other@phone>\r\n"),
        request(body=SDP).replace(b"Contact: <sip:100@phone>", b"Contact: *"),
    ):
        assert statuses(Bench().receive(data)[0]) == [400]


def test_cancel_of_nothing_and_of_a_stranger() -> None:
    bench = Bench()
    assert statuses(bench.receive(request("CANCEL"))[0]) == [481]
    bench.receive(request(branch="z9hG4bKy", call_id="d", body=SDP))
    sent, told = bench.receive(request("CANCEL", branch="z9hG4bKy", call_id="d"), flow=2)
    assert (statuses(sent), told) == ([481], [])


def test_cancel_from_another_port_of_the_same_host() -> None:
    bench = Bench()
    bench.receive(request(body=SDP))
    sent, told = bench.receive(request("CANCEL"), flow=4)
    assert sorted(statuses(sent)) == [200, 487]
    assert isinstance(told[0], events.Cancelled)


def test_cancel_after_the_answer() -> None:
    bench = Bench()
    _, told = bench.receive(request(body=SDP))
    bench.stack.accept(told[0].session, SDP, bench.now)  # type: ignore[union-attr]
    bench.outputs()
    sent, told = bench.receive(request("CANCEL"))
    assert (statuses(sent), told) == ([200], [])


def test_order_of_cseq() -> None:
    bench = Bench()
    _, tag = established(bench)
    for number, expected in ((5, 200), (5, 500), (4, 500), (6, 200)):
        sent, _ = bench.receive(request("OPTIONS", branch=f"z9hG4bK{number}{expected}", to_tag=tag, number=number))
        assert statuses(sent) == [expected]


def test_tags_must_fit_both() -> None:
    bench = Bench()
    _, tag = established(bench)
    assert statuses(bench.receive(request("BYE", branch="z9hG4bKb", to_tag=tag, number=2, from_tag="g"))[0]) == [481]
    assert statuses(bench.receive(request("BYE", branch="z9hG4bKc", to_tag=tag, number=2, call_id="d"))[0]) == [481]
    assert statuses(bench.receive(request("BYE", branch="z9hG4bKd", to_tag=tag, number=2))[0]) == [200]


def test_a_dialog_of_tls_takes_nothing_in_clear() -> None:
    bench = Bench()
    _, tag = established(bench, flow=3)
    assert statuses(bench.receive(request("BYE", branch="z9hG4bKb", to_tag=tag, number=2), flow=1)[0]) == [481]
    assert statuses(bench.receive(request("BYE", branch="z9hG4bKc", to_tag=tag, number=2), flow=3)[0]) == [200]


def test_reinvite_upon_reinvite() -> None:
    bench = Bench()
    session, tag = established(bench)
    bench.receive(request(branch="z9hG4bK2", to_tag=tag, number=2, body=SDP))
    sent, told = bench.receive(request(branch="z9hG4bK3", to_tag=tag, number=3, body=SDP))
    assert (statuses(sent), told) == ([500], [])
    assert sent[0].get("Retry-After") is not None
    bench.stack.accept(session, SDP, bench.now)
    assert statuses(bench.outputs()[0]) == [200]


def test_update_with_and_without_sdp() -> None:
    bench = Bench()
    session, tag = established(bench)
    sent, told = bench.receive(request("UPDATE", branch="z9hG4bK2", to_tag=tag, number=2))
    assert (statuses(sent), told) == ([200], [])
    sent, told = bench.receive(request("UPDATE", branch="z9hG4bK3", to_tag=tag, number=3, body=SDP))
    assert (sent, type(told[0])) == ([], events.Offered)
    bench.stack.accept(session, SDP, bench.now)
    sent, _ = bench.outputs()
    assert (statuses(sent), sent[0].body) == ([200], SDP)
    assert bench.pass_time(40.0)[0] == []  # no ACK is awaited


def test_early_bye_and_bye_of_a_stranger() -> None:
    bench = Bench()
    _, told = bench.receive(request(body=SDP))
    bench.stack.ring(told[0].session, bench.now)  # type: ignore[union-attr]
    tag = bench.outputs()[0][0].to.tag
    sent, told = bench.receive(request("BYE", branch="z9hG4bKb", to_tag=tag, number=2))
    assert sorted(statuses(sent)) == [200, 487]
    assert isinstance(told[0], events.Cancelled)


def test_ringing_is_repeated_every_minute() -> None:
    bench = Bench()
    _, told = bench.receive(request(body=SDP))
    bench.stack.ring(told[0].session, bench.now)  # type: ignore[union-attr]
    bench.outputs()
    assert statuses(bench.pass_time(181.0)[0]) == [180] * 3


def test_commands_that_do_not_fit() -> None:
    bench = Bench()
    session, _ = established(bench)
    tries: list[Callable[[], object]] = [
        lambda: bench.stack.ring(session, 0.0),
        lambda: bench.stack.accept(session, SDP, 0.0),
        lambda: bench.stack.reject(session, 486, 0.0),
        lambda: bench.stack.acknowledge(session, SDP, 0.0),
        lambda: bench.stack.accept("nobody", SDP, 0.0),
        lambda: bench.stack.dump("nobody"),
        lambda: bench.stack.respond("t99", 200, 0.0),
        lambda: bench.stack.request("OPTIONS", 0.0, flow=1),
        lambda: bench.stack.request("INFO", 0.0, session="nobody"),
    ]
    for each in tries:
        with pytest.raises(WrongState):
            each()
    bench.stack.hang_up("nobody", 0.0)


def test_transactions_are_bounded() -> None:
    bench = Bench(max_transactions=10)
    for number in range(10):
        bench.receive(request("REGISTER", branch=f"z9hG4bK{number}", call_id=str(number)))
    sent, told = bench.receive(request("REGISTER", branch="z9hG4bKlast", call_id="last"))
    assert (statuses(sent), told) == ([503], [])
    assert sent[0].get("Retry-After")
    assert bench.stack.counters()["transactions"] == 10


def test_sessions_are_bounded() -> None:
    bench = Bench(max_sessions=3)
    outcome = [
        statuses(bench.receive(request(branch=f"z9hG4bK{number}", call_id=str(number), body=SDP))[0])
        for number in range(4)
    ]
    assert outcome == [[100], [100], [100], [503]]


def test_a_request_the_user_never_answers_is_forgotten() -> None:
    bench = Bench()
    bench.receive(request("REGISTER"))
    bench.pass_time(50.0)
    assert bench.stack.counters()["transactions"] == bench.stack.counters()["timers"] == 0


def test_unknown_flow() -> None:
    bench = Bench()
    assert bench.receive(request("OPTIONS"), flow=77) == ([], [])


def test_stray_responses_and_acks() -> None:
    bench = Bench()
    answer = b"SIP/2.0 200 OK\r\n" + request("INVITE", to_tag="t").split(b"\r\n", 1)[1]
    assert bench.receive(answer) == ([], [])
    assert bench.receive(request("ACK", to_tag="t")) == ([], [])
    assert bench.stack.counters()["stray"] == 1


def test_malformed_is_counted_and_answered_briefly() -> None:
    bench = Bench()
    data = request("OPTIONS", extra="Content-Length: 7\r\n")
    bench.stack.receive(1, data, bench.now)
    answer = bench.stack.next_output()
    assert isinstance(answer, Send)
    assert answer.data.startswith(b"SIP/2.0 400 ")
    assert len(answer.data) <= len(data) + 100
    assert bench.stack.counters()["malformed"] == 1


# ---- the table itself
def test_table_is_closed() -> None:
    """Each state can be reached from the first one and ends; each action is known; each timer that is started is handled."""
    for kind, first in transaction._FIRST_STATE.items():
        rows = {(state, event): row for (each, state, event), row in transaction.TABLE.items() if each == kind}
        reached, todo = {first}, [first]
        while todo:
            state = todo.pop()
            for (begin, _), (_, end) in rows.items():
                if begin == state and end not in reached:
                    reached.add(end)
                    todo.append(end)
        assert reached == {state for state, _ in rows} | {"terminated"}
        for (state, _), (actions, end) in rows.items():
            for action in actions:
                if action in transaction._TIMERS:
                    assert (end, action) in rows, f"{kind} {state}: timer {action} runs out unheard in {end}"
                else:
                    assert action in ("send", "send again", "ack", "up", "acked", "timeout", "error") or action[0] == "-"


def test_a_parameter_given_twice_in_to_is_answered() -> None:
    """Seen from baresip when the transport stood in the account and in the dialled address: it waited 32 s for nothing."""
    net = Net("UDP")
    head = b"INVITE sip:101@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKtwice;rport\r\nMax-Forwards: 70\r\n"
    names = b"From: <sip:100@192.0.2.1>;tag=a\r\nTo: <sip:101@192.0.2.1;transport=udp;transport=udp>\r\nCall-ID: twice\r\nCSeq: 1 INVITE\r\n\r\n"
    net.b.receive(1, head + names, net.now)
    output = net.b.next_output()
    assert isinstance(output, Send)
    assert output.data.startswith(b"SIP/2.0 400 ")
    assert b"transport=udp;transport=udp>;tag=" in output.data
