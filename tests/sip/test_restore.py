"""Sessions survive a restart of the process: dump, a new stack, restore."""

from __future__ import annotations

import msgspec
import pytest

from appliance.sip import events
from tests.sip.net import SDP, Net
from tests.sip.test_calls import ANSWER, call, names, only, set_up


def reborn(net: Net, name: str, sessions: list[str]) -> None:
    """Replace one side by a new stack that knows only the dumps."""
    dumps = [net.stacks[name].dump(session) for session in sessions]
    new = net.stacks[name] = net.stack(name, 500_000)
    for session, data in zip(sessions, dumps, strict=True):
        assert new.restore(data, net.now) == session
    net.drain(name)


@pytest.mark.parametrize("transport", ["UDP", "TLS"])
@pytest.mark.parametrize("who", ["a", "b"])
def test_confirmed(transport: str, who: str) -> None:
    net = Net(transport)
    sessions = dict(zip("ab", set_up(net), strict=True))
    other = "b" if who == "a" else "a"
    reborn(net, who, [sessions[who]])
    net.do(who, lambda stack, now: stack.offer(sessions[who], SDP, now))
    net.run()
    net.do(other, lambda stack, now: stack.accept(only(net.take(other), events.Offered).session, ANSWER, now))
    net.run()
    assert only(net.take(who), events.OfferAnswered).status == 200
    net.do(other, lambda stack, now: stack.hang_up(sessions[other], now))
    net.run(60.0)
    assert names(net.take(who)) == ["Ended"]
    net.assert_empty()


@pytest.mark.parametrize("transport", ["UDP", "TLS"])
def test_callee_was_ringing(transport: str) -> None:
    net = Net(transport)
    call(net)
    net.run()
    callee = only(net.take("b"), events.Invited).session
    net.do("b", lambda stack, now: stack.ring(callee, now))
    net.run()
    reborn(net, "b", [callee])
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    net.run()
    assert names(net.take("a")) == ["Progress", "Accepted"]
    assert names(net.take("b")) == ["Confirmed"]
    net.do("b", lambda stack, now: stack.hang_up(callee, now))
    net.run(60.0)
    net.assert_empty()


@pytest.mark.parametrize("transport", ["UDP", "TLS"])
def test_caller_was_waiting(transport: str) -> None:
    net = Net(transport)
    caller = call(net)
    net.run()
    callee = only(net.take("b"), events.Invited).session
    net.do("b", lambda stack, now: stack.ring(callee, now))
    net.run()
    reborn(net, "a", [caller])
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    net.run()
    assert "Accepted" in names(net.take("a"))
    assert names(net.take("b")) == ["Confirmed"]
    net.do("a", lambda stack, now: stack.hang_up(caller, now))
    net.run(60.0)
    net.assert_empty()


def test_cancelled_after_the_restart() -> None:
    for who in "ab":
        net = Net("UDP")
        caller = call(net)
        net.run()
        callee = only(net.take("b"), events.Invited).session
        net.do("b", lambda stack, now, s=callee: stack.ring(s, now))
        net.run()
        reborn(net, who, [caller if who == "a" else callee])
        net.do("a", lambda stack, now, s=caller: stack.hang_up(s, now))
        net.run(60.0)
        assert names(net.take("b")) == ["Cancelled"]
        assert (
            only([each for each in net.take("a") if isinstance(each, events.Rejected)], events.Rejected).status == 487
        )
        net.assert_empty()


def test_answer_repeated_to_the_reborn_caller_is_acknowledged() -> None:
    """The ACK was lost and the caller restarted: the repeated 200 matches no transaction any more."""
    net = Net("UDP", lose=lambda number, data: data.startswith(b"ACK"))
    caller = call(net)
    net.run()
    callee = only(net.take("b"), events.Invited).session
    net.do("b", lambda stack, now: stack.accept(callee, ANSWER, now))
    net.run(0.3)
    reborn(net, "a", [caller])
    net.lose = lambda number, data: False
    net.run(3.0)
    assert names(net.take("b")) == ["Confirmed"]
    assert net.b.counters()["sessions"] == 1


def test_dump_is_small() -> None:
    net = Net("TLS")
    caller, callee = set_up(net)
    assert len(msgspec.msgpack.encode(net.a.dump(caller))) < 500
    assert len(msgspec.msgpack.encode(net.b.dump(callee))) < 500
