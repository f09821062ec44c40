"""Before the answer: reliable provisional responses and their PRACK (RFC 3262), offers by UPDATE (RFC 3311), both ways."""

from __future__ import annotations

import re

import pytest

from appliance.sip import events
from appliance.sip.errors import WrongState
from tests.sip.net import ABLE, RELIABLE, SDP, Net
from tests.sip.test_calls import ANSWER, call, names, only

OTHER = SDP.replace(b"4000", b"4400")


class ReliableNet(Net):
    can = RELIABLE

    def lines(self, name: str) -> list[str]:
        """First lines of what a side has sent."""
        return [data.partition(b"\r\n")[0].decode() for side, data in self.sent if side == name]

    def number(self, name: str, text: bytes) -> int:
        return sum(text in data for side, data in self.sent if side == name)

    def answered(self, name: str, method: bytes) -> list[bytes]:
        """The 200s to this method that a side has sent."""
        ours = [data for side, data in self.sent if side == name and data.startswith(b"SIP/2.0 200")]
        return [data for data in ours if re.search(rb"CSeq: [0-9]+ " + method, data)]


def rung(net: ReliableNet, *, offer: bytes = SDP, answer: bytes = ANSWER) -> tuple[str, str]:
    """A call that rings, with an answer in the 183."""
    caller = call(net, offer)
    net.run()
    callee = only(net.take("b"), events.Invited).session
    net.do("b", lambda stack, now: stack.ring(callee, now, status=183, body=answer))
    net.run()
    return caller, callee


def demanded(net: ReliableNet) -> str:
    """A call with Require: 100rel; the called session."""
    required = [("Require", "100rel")]
    net.do(
        "a",
        lambda stack, now: stack.invite(
            1,
            "sip:101@192.0.2.2",
            now,
            from_="<sip:100@192.0.2.1>",
            to="<sip:101@192.0.2.2>",
            offer=SDP,
            headers=required,
        ),
    )
    net.run()
    return only(net.take("b"), events.Invited).session


def taken_up(net: ReliableNet, caller: str, callee: str, *, answer: bytes | None = None) -> None:
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    net.run()
    accepted = only([each for each in net.take("a") if isinstance(each, events.Accepted)], events.Accepted)
    assert answer is None or accepted.response.body == answer
    assert "Confirmed" in names(net.take("b"))
    net.do("a", lambda stack, now: stack.hang_up(caller, now))
    net.run(70.0)
    assert names(net.take("b")) == ["Ended"]
    net.assert_empty()


@pytest.mark.parametrize("transport", ["UDP", "TLS"])
def test_an_answer_that_rings_is_acknowledged(transport: str) -> None:
    net = ReliableNet(transport)
    caller, callee = rung(net)
    progress = only(net.take("a"), events.Progress)
    assert (progress.response.sdp, progress.response.require) == (ANSWER, ["100rel"])
    assert [line for line in net.lines("a") if line.startswith("PRACK")] == [
        "PRACK sip:101@192.0.2.2:5060;transport=" + transport.lower() + " SIP/2.0"
    ]
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    net.run()
    accepted = only(net.take("a"), events.Accepted).response
    assert (accepted.body, accepted.sdp) == (ANSWER, b""), "the same again, for who looks for it there; we do not"
    assert names(net.take("b")) == ["Confirmed"]
    net.do("a", lambda stack, now: stack.hang_up(caller, now))
    net.run(70.0)
    assert only(net.take("b"), events.Ended).by == "peer"  # the BYE has a higher CSeq than the PRACK
    net.assert_empty()


def test_ringing_without_an_answer_is_as_it_was() -> None:
    net = ReliableNet()
    caller, callee = rung(net, answer=b"")
    assert net.number("a", b"PRACK sip") == 0
    taken_up(net, caller, callee)


def test_an_invite_without_an_offer_asks_for_nothing_reliable() -> None:
    net = ReliableNet()
    _, callee = rung(net, offer=b"")
    assert net.number("a", b"100rel") == 0
    assert net.number("b", b"RSeq") == 0
    assert only(net.take("a"), events.Progress).response.sdp == b"", "an offer there could not be answered"
    net.do("b", lambda stack, now: stack.reject(callee, 486, now))


def test_who_demands_it_has_every_response_reliably() -> None:
    net = ReliableNet()
    callee = demanded(net)
    for status in (180, 182, 183):  # faster than they are acknowledged
        net.do(
            "b",
            lambda stack, now, status=status: stack.ring(
                callee, now, status=status, body=ANSWER if status == 183 else b""
            ),
        )
    net.run()
    assert [each.response.status for each in net.take("a") if isinstance(each, events.Progress)] == [180, 182, 183]
    assert net.number("a", b"RAck: ") == 3
    for status in range(20):
        net.lose = lambda number, data: data.startswith(b"PRACK")
        net.do("b", lambda stack, now, status=status: stack.ring(callee, now, reason=f"again {status}"))
    net.lose = lambda number, data: False
    net.run(10.0)
    assert len(net.take("a")) == 9, "one under way and eight behind it"
    net.do("b", lambda stack, now: stack.hang_up(callee, now))


def test_who_does_not_know_it_has_none() -> None:
    net = ReliableNet()
    net.can = ABLE
    net.stacks["a"] = net.stack("a", 0)
    caller, callee = rung(net)
    assert net.number("b", b"RSeq") == 0
    taken_up(net, caller, callee)


@pytest.mark.parametrize("lost", range(10))
def test_each_message_lost_once(lost: int) -> None:
    net = ReliableNet("UDP", lose=lambda number, data: number == lost)
    call(net)
    net.run(40.0)
    callee = only(net.take("b"), events.Invited).session
    net.do("b", lambda stack, now: stack.ring(callee, now, status=183, body=ANSWER))
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))  # waits for the PRACK
    net.run(40.0)
    assert [name for name in names(net.take("a")) if name != "Progress"] == ["Accepted"]
    assert names(net.take("b")) == ["Confirmed"]
    net.do("b", lambda stack, now: stack.hang_up(callee, now))
    net.run(70.0)
    assert names(net.take("a")) == ["Ended"]
    net.assert_empty()


def test_the_200_waits_for_the_prack() -> None:
    net = ReliableNet("UDP", lose=lambda number, data: data.startswith(b"PRACK"))
    _, callee = rung(net)
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    with pytest.raises(WrongState):
        net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    net.run(3.0)
    assert not any(line.startswith("SIP/2.0 200") for line in net.lines("b"))
    net.lose = lambda number, data: False
    net.run(10.0)
    assert "Accepted" in names(net.take("a"))


def test_who_demands_it_and_acknowledges_nothing_is_refused() -> None:
    net = ReliableNet("UDP", lose=lambda number, data: data.startswith(b"PRACK"))
    callee = demanded(net)
    net.do("b", lambda stack, now: stack.ring(callee, now))
    net.run(40.0)
    assert only(net.take("b"), events.Cancelled).session == callee
    assert only([each for each in net.take("a") if isinstance(each, events.Rejected)], events.Rejected).status == 504
    net.run(70.0)
    net.assert_empty()


def test_who_supports_it_and_acknowledges_nothing_goes_on_without() -> None:
    """A phone that lists 100rel and does not know PRACK: it rings for longer than it may, and the 200 has the answer."""
    net = ReliableNet("UDP", lose=lambda number, data: data.startswith(b"PRACK"))
    caller, callee = rung(net)
    net.do("b", lambda stack, now: stack.ring(callee, now, status=183, body=ANSWER))  # waits behind the first
    net.run(40.0)
    net.do("b", lambda stack, now: stack.ring(callee, now, status=183, body=ANSWER))
    assert b"RSeq" not in net.sent[-1][1]
    taken_up(net, caller, callee, answer=ANSWER)


def test_who_is_answered_and_acknowledges_nothing_has_the_answer_in_the_end() -> None:
    net = ReliableNet("UDP", lose=lambda number, data: data.startswith(b"PRACK"))
    caller, callee = rung(net)
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    net.run(40.0)
    assert "Accepted" in names(net.take("a"))
    net.do("a", lambda stack, now: stack.hang_up(caller, now))
    net.run(70.0)
    net.assert_empty()


def test_repeated_and_out_of_order() -> None:
    net = ReliableNet()
    caller, callee = rung(net)
    net.take("a")
    ringing = next(data for side, data in net.sent if side == "b" and b"RSeq" in data)
    number = int(ringing.partition(b"RSeq: ")[2].partition(b"\r\n")[0])

    def comes(rseq: bytes) -> list[str]:
        net.do("a", lambda stack, now: stack.receive(1, ringing.replace(b"RSeq: %d" % number, b"RSeq: " + rseq), now))
        return names(net.take("a"))

    assert comes(b"%d" % number) == []
    assert comes(b"%d" % (number + 2)) == []
    assert comes(b"0") == comes(b"nonsense") == comes(b"99999999999999") == []
    assert net.number("a", b"PRACK sip") == 1
    assert comes(b"%d" % (number + 1)) == ["Progress"]
    assert net.number("a", b"RAck: %d 1 INVITE" % (number + 1)) == 1
    net.run()
    assert any(line.startswith("SIP/2.0 481") for line in net.lines("b"))  # nothing of ours waits for that one
    taken_up(net, caller, callee)


@pytest.mark.parametrize(
    ("rack", "status"), [("1 1 INVITE", 481), ("", 400), ("x 1 INVITE", 400), ("99999999999 1 INVITE", 400)]
)
def test_a_prack_that_fits_nothing(rack: str, status: int) -> None:
    net = ReliableNet("UDP", lose=lambda number, data: data.startswith(b"PRACK"))
    rung(net)
    prack = next(data for side, data in net.sent if side == "a" and data.startswith(b"PRACK"))
    old = prack.partition(b"RAck: ")[2].partition(b"\r\n")[0]
    net.do("b", lambda stack, now: stack.receive(1, prack.replace(b"RAck: " + old, b"RAck: " + rack.encode()), now))
    assert net.lines("b")[-1].startswith(f"SIP/2.0 {status} ")


def test_a_prack_behind_the_answer() -> None:
    net = ReliableNet("UDP", lose=lambda number, data: data.startswith(b"PRACK"))
    callee = demanded(net)
    net.do("b", lambda stack, now: stack.ring(callee, now))
    net.run(0.1)
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))  # no answer waits in the 180
    net.run(0.1)
    assert "Accepted" in names(net.take("a"))
    net.lose = lambda number, data: False
    net.run(10.0)
    assert len(net.answered("b", b"PRACK")) == 1


def test_an_offer_in_the_prack() -> None:
    net = ReliableNet("UDP", lose=lambda number, data: data.startswith(b"PRACK"))
    caller, callee = rung(net)
    prack = next(data for side, data in net.sent if side == "a" and data.startswith(b"PRACK"))
    head = prack.partition(b"Content-Length")[0]
    offer = head + b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n" % len(OTHER) + OTHER
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    net.do("b", lambda stack, now: stack.receive(1, offer, now))
    offered = only(net.take("b"), events.Offered)
    assert (offered.request.method, offered.request.sdp) == ("PRACK", OTHER)
    assert [len(net.answered("b", method)) for method in (b"PRACK", b"INVITE")] == [0, 0]
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    assert [len(net.answered("b", method)) for method in (b"PRACK", b"INVITE")] == [1, 1]
    net.lose = lambda number, data: False
    net.run(40.0)
    net.do("a", lambda stack, now: stack.hang_up(caller, now))
    net.run(70.0)
    net.assert_empty()


# ---- UPDATE
@pytest.mark.parametrize("transport", ["UDP", "TLS"])
@pytest.mark.parametrize("who", ["a", "b"])
def test_an_offer_before_the_answer(who: str, transport: str) -> None:
    net = ReliableNet(transport)
    sessions = dict(zip("ab", rung(net), strict=True))
    net.take("a")
    other = "b" if who == "a" else "a"
    net.do(who, lambda stack, now: stack.offer(sessions[who], OTHER, now))
    net.run()
    offered = only(net.take(other), events.Offered)
    assert (offered.request.method, offered.request.sdp) == ("UPDATE", OTHER)
    net.do(other, lambda stack, now: stack.accept(sessions[other], ANSWER, now))
    net.run()
    answered = only(net.take(who), events.OfferAnswered)
    assert (answered.status, answered.response and answered.response.sdp) == (200, ANSWER)
    net.do(who, lambda stack, now: stack.offer(sessions[who], SDP, now))
    net.run()
    net.take(other)
    net.do(other, lambda stack, now: stack.reject(sessions[other], 488, now))
    net.run()
    assert only(net.take(who), events.OfferAnswered).status == 488
    taken_up(net, sessions["a"], sessions["b"], answer=ANSWER if who == "a" else b"")  # what was agreed since counts


def test_offers_that_meet_before_the_answer() -> None:
    net = ReliableNet()
    sessions = dict(zip("ab", rung(net), strict=True))
    net.take("a")
    for name in "ab":
        net.do(name, lambda stack, now, name=name: stack.offer(sessions[name], OTHER, now))
    for _ in range(60):
        net.run(0.1)
        for name in "ab":
            if any(isinstance(each, events.Offered) for each in net.events[name]):
                net.events[name] = [each for each in net.events[name] if not isinstance(each, events.Offered)]
                net.do(name, lambda stack, now, name=name: stack.accept(sessions[name], ANSWER, now))
    answers = [each.status for name in "ab" for each in net.take(name) if isinstance(each, events.OfferAnswered)]
    assert sorted(answers) in ([200, 200], [200, 491])
    net.do("b", lambda stack, now: stack.hang_up(sessions["b"], now))
    net.run(70.0)
    net.assert_empty()


def test_an_offer_before_the_first_one_is_answered() -> None:
    """RFC 3311 §5.2: 500 with Retry-After when theirs is open, 491 when ours is."""
    net = ReliableNet()
    caller, callee = rung(net, answer=b"")
    for name, session in (("a", caller), ("b", callee)):
        with pytest.raises(WrongState):
            net.do(name, lambda stack, now, session=session: stack.offer(session, OTHER, now))
    ringing = next(data for side, data in net.sent if side == "b" and b" 183 " in data[:14])
    tag = ringing.partition(b"To: ")[2].partition(b"tag=")[2].partition(b"\r\n")[0].decode()
    invite = next(data for side, data in net.sent if side == "a").decode()
    fields = dict(line.split(": ", 1) for line in invite.partition("\r\n\r\n")[0].split("\r\n")[1:])

    def update(to: str, from_: str, branch: str, seq: int) -> bytes:
        lines = ["UPDATE sip:x@y SIP/2.0", f"Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK{branch};rport", f"From: {from_}", f"To: {to}",
                 f"Call-ID: {fields['Call-ID']}", f"CSeq: {seq} UPDATE", "Contact: <sip:x@192.0.2.9>", "Content-Type: application/sdp"]  # fmt: skip
        return ("\r\n".join(lines) + f"\r\nContent-Length: {len(OTHER)}\r\n\r\n").encode() + OTHER

    remote = f"{fields['To']};tag={tag}"
    net.do("b", lambda stack, now: stack.receive(1, update(remote, fields["From"], "u1", 2), now))
    assert net.lines("b")[-1].startswith("SIP/2.0 500 ")
    net.do("a", lambda stack, now: stack.receive(1, update(fields["From"], remote, "u2", 1), now))
    assert net.lines("a")[-1].startswith("SIP/2.0 491 ")
    net.do("a", lambda stack, now: stack.hang_up(caller, now))
    net.run(70.0)
    net.assert_empty()


@pytest.mark.parametrize("who", ["a", "b"])
def test_hung_up_during_an_early_offer(who: str) -> None:
    net = ReliableNet()
    sessions = dict(zip("ab", rung(net), strict=True))
    net.do("a", lambda stack, now: stack.offer(sessions["a"], OTHER, now))
    net.run()
    net.do(who, lambda stack, now: stack.hang_up(sessions[who], now))
    net.run(80.0)
    assert "OfferAnswered" not in names(net.take("a"))[2:]
    net.assert_empty()


def test_another_fork_answers() -> None:
    """What was said in the early dialog of one branch counts for nothing in the other's."""
    net = ReliableNet()
    caller, callee = rung(net)
    net.take("a")
    ringing = next(data for side, data in net.sent if side == "b" and b"RSeq" in data)
    tag = ringing.partition(b"To: ")[2].partition(b"tag=")[2].partition(b"\r\n")[0]
    other = ringing.replace(tag, b"othertag")
    net.do("a", lambda stack, now: stack.receive(1, other, now))
    assert net.number("a", b"PRACK sip") == 2
    with pytest.raises(WrongState):  # two early dialogs: neither is meant
        net.do("a", lambda stack, now: stack.offer(caller, OTHER, now))
    net.do("a", lambda stack, now: stack.receive(1, other.replace(b"183 Session Progress", b"200 OK"), now))
    accepted = [each for each in net.take("a") if isinstance(each, events.Accepted)]
    assert [each.response.to_tag for each in accepted] == ["othertag"]
    net.do("a", lambda stack, now: stack.hang_up(caller, now))
    net.do("b", lambda stack, now: stack.hang_up(callee, now))
    net.run(120.0)
    net.assert_empty()


# ---- refreshes
@pytest.mark.parametrize(("answer", "told"), [(ANSWER, 0), (OTHER, 1)])
def test_a_refresh_that_is_answered_with_another_description_is_told(answer: bytes, told: int) -> None:
    net = ReliableNet()
    net.do("a", lambda stack, now: stack.invite(1, "sip:101@192.0.2.2", now, from_="<sip:100@192.0.2.1>", to="<sip:101@192.0.2.2>", offer=SDP,
                                                headers=[("Session-Expires", "90;refresher=uac"), ("Supported", "timer")]))  # fmt: skip
    net.run()
    callee = only(net.take("b"), events.Invited).session
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now, headers=[("Allow", "INVITE, ACK, BYE")]))
    net.run(46.0)
    assert (
        only([each for each in net.take("b") if not isinstance(each, events.Confirmed)], events.Offered).request.method
        == "INVITE"
    )
    net.do("b", lambda stack, now: stack.accept(callee, answer, now))
    net.run(1.0)
    found = [each for each in net.take("a") if isinstance(each, events.OfferAnswered)]
    assert [each.response.sdp for each in found if each.response] == [OTHER] * told
