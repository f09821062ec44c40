"""Session timers (RFC 4028) with far ends of every kind, as a table: who called, who refreshes, what it says it allows, how it answers a
refresh by UPDATE and by re-INVITE, what it leaves out. A call ends for its timer only when the far end is really gone.

Seen from a phone that lists UPDATE and answers it with 405: its calls were cut at the interval.
"""

from __future__ import annotations

import itertools
import re

import pytest

from appliance.sip import events
from appliance.sip.events import Send
from appliance.sip.media.negotiation import LegMedia
from appliance.sip.text.message import Request, Response, answer_to, parse
from tests.sip.net import SDP
from tests.sip.test_stack import Bench, request, statuses

GONE = 0  # no answer at all
ANSWERS = (200, 405, 501, 488, 491, 500, 503, 408, 481, GONE)
INTERVAL = 90


class FarEnd(Bench):
    """The other side of one call, by script."""

    def __init__(self, update: int, reinvite: int, allow: str, expires: str) -> None:
        super().__init__()
        self.answers = {"UPDATE": update, "INVITE": reinvite, "BYE": 200}
        self.allow, self.expires = allow, expires
        self.asked: list[tuple[float, str]] = []
        self.told: list[events.Event] = []

    def call_us(self, session_expires: str) -> None:
        extra = f"Allow: {self.allow}\r\n" * bool(self.allow) + session_expires
        _, told = self.receive(request(body=SDP, extra=extra))
        self.session = told[0].session  # type: ignore[union-attr]
        self.stack.accept(self.session, SDP, self.now)
        (answer,) = self.outputs()[0]
        assert isinstance(answer, Response)
        self.answer = answer
        self.receive(request("ACK", branch="z9hG4bKack", to_tag=answer.to.tag))

    def be_called(self) -> None:
        self.session = self.stack.invite(1, "sip:101@x", self.now, from_="<sip:1@x>", to="<sip:101@x>", offer=SDP)
        (invite,) = self.outputs()[0]
        assert isinstance(invite, Request)
        self.receive(self.response(invite, 200))
        self.outputs()

    def response(self, asked: Request, status: int) -> bytes:
        headers = [("Contact", "<sip:101@phone>"), *([("Allow", self.allow)] if self.allow else [])]
        if status == 200 and self.expires:
            headers.append(("Session-Expires", self.expires))
        body = SDP if status == 200 and asked.method == "INVITE" else b""
        if body:
            headers.append(("Content-Type", "application/sdp"))
        return answer_to(asked, status, to_tag="theirs", headers=headers, body=body)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while True:
            while (output := self.stack.next_output()) is not None:
                if isinstance(output, Send):
                    self.hear(parse(output.data))
                else:
                    self.told.append(output)
            deadline = self.stack.deadline()
            if deadline is None or deadline > until:
                self.now = until
                return
            self.now = max(self.now, deadline)
            self.stack.wake(self.now)

    def hear(self, message: Request | Response) -> None:
        if not isinstance(message, Request) or message.method not in self.answers:
            return
        self.asked.append((self.now, message.method))
        if status := self.answers[message.method]:
            self.stack.receive(1, self.response(message, status), self.now)

    @property
    def ended(self) -> bool:
        return any(isinstance(each, events.Ended) for each in self.told)


ALLOWS = {"UPDATE": "INVITE, ACK, BYE, UPDATE", "no UPDATE": "INVITE, ACK, BYE", "nothing": ""}


def is_gone(update: int, reinvite: int, allow: str) -> bool:
    """By UPDATE where it is allowed; when that is refused, by re-INVITE."""
    dead = (408, 481, GONE)
    if "UPDATE" not in allow:
        return reinvite in dead
    return update == 481 or (update != 200 and reinvite in dead)


@pytest.mark.parametrize("allow", ALLOWS.values(), ids=ALLOWS)
@pytest.mark.parametrize("refresher", ["uac", "uas", ""])
@pytest.mark.parametrize("side", ["calls us", "is called"])
def test_only_a_far_end_that_is_gone_ends_the_call(side: str, refresher: str, allow: str) -> None:
    """Who should refresh and does not is asked, too: here none ever refreshes by itself."""
    wanted = f"{INTERVAL};refresher={refresher}" if refresher else str(INTERVAL)
    for update, reinvite in itertools.product(ANSWERS, ANSWERS):
        far = FarEnd(update, reinvite, allow, wanted)
        if side == "is called":
            far.be_called()
        else:
            far.call_us(f"Session-Expires: {wanted}\r\nSupported: timer\r\n")
        far.run(10 * INTERVAL)
        assert far.ended == is_gone(update, reinvite, allow), (update, reinvite, far.asked, far.told)
        assert far.asked, "nobody was asked"
        refreshes = [when for when, method in far.asked if method != "BYE"]
        if not far.ended:
            assert max(b - a for a, b in itertools.pairwise([0.0, *refreshes])) <= INTERVAL
            assert len(refreshes) <= 12 * 20, "no faster than it need be"
        else:
            assert far.asked[-1][1] == "BYE"
            assert isinstance(far.told[-1], events.Ended)
            assert far.told[-1].by == "timeout"


@pytest.mark.parametrize(
    ("asked", "supported", "answered", "requires"),
    [
        ("1800;refresher=uac", "timer", "1800;refresher=uac", True),
        ("1800;refresher=uas", "timer", "1800;refresher=uas", False),
        ("1800", "timer", "1800;refresher=uac", True),
        ("1800;refresher", "timer", "1800;refresher=uac", True),
        ("1800 ; x=y ; Refresher = UAS", "timer", "1800;refresher=uas", False),
        ('1800;refresher="uas"', "timer", "1800;refresher=uas", False),
        ("1800;refresher=uac", "", "1800;refresher=uas", False),
        ("1800", "", "1800;refresher=uas", False),
        ("60", "", "60;refresher=uas", False),
        ("1", "", "40;refresher=uas", False),
        ("", "timer", None, False),
        ("soon", "timer", None, False),
        ("0", "timer", None, False),
        (None, "timer", None, False),
    ],
)  # fmt: skip
def test_what_we_grant(asked: str | None, supported: str, answered: str | None, requires: bool) -> None:
    """RFC 4028 §9, table 2, and what phones leave out."""
    far = FarEnd(200, 200, "UPDATE", "")
    extra = "" if asked is None else f"Session-Expires: {asked}\r\n"
    far.call_us(extra + f"Supported: {supported}\r\n" * bool(supported))
    assert far.answer.get("Session-Expires") == answered
    assert ("timer" in far.answer.require) == requires


def test_too_small_is_said_only_to_who_knows_session_timers() -> None:
    for supported, status in (("timer", 422), ("x", 100)):
        bench = Bench()
        sent, _ = bench.receive(request(body=SDP, extra=f"Session-Expires: 60\r\nSupported: {supported}\r\n"))
        assert statuses(sent) == [status]


@pytest.mark.parametrize("left_out", ["", "Supported: timer\r\n", "Session-Expires: nonsense\r\n"])
def test_a_reinvite_that_leaves_it_out_cuts_nothing(left_out: str) -> None:
    """A hold without Session-Expires: the timer of before ran on, was not refreshed and cut the call."""
    far = FarEnd(200, 200, "INVITE, UPDATE", "")
    far.call_us(f"Session-Expires: {INTERVAL};refresher=uac\r\nSupported: timer\r\n")
    tag = far.answer.to.tag
    for number in range(2, 40):
        far.receive(request(branch=f"z9hG4bK{number}", to_tag=tag, number=number, extra=left_out, body=SDP))
        far.stack.accept(far.session, SDP, far.now)
        far.receive(request("ACK", branch=f"z9hG4bKa{number}", to_tag=tag, number=number))
        far.run(20.0)
    far.run(1000.0)
    assert not far.ended


def test_a_larger_interval_that_it_wants_is_taken() -> None:
    far = FarEnd(200, 422, "", "90;refresher=uac")
    far.be_called()
    response = far.response

    def with_least(asked: Request, status: int) -> bytes:
        return response(asked, status).replace(b"Contact:", b"Min-SE: 1800\r\nContact:") if status == 422 else response(asked, status)

    far.response = with_least  # type: ignore[method-assign]
    far.run(50.0)
    far.answers["INVITE"] = 200
    sent: list[Request | Response] = []
    hear = far.hear
    far.hear = lambda message: (sent.append(message), hear(message))[1]  # type: ignore[method-assign, func-returns-value]
    far.run(1000.0)
    assert {each.get("Session-Expires") for each in sent if isinstance(each, Request) and each.method == "INVITE"} >= {"1800;refresher=uac"}
    assert not far.ended


def test_a_refresh_repeats_the_sdp_as_it_was() -> None:
    """Same o= version: it is not a new offer (RFC 4028 §7.4)."""
    far = FarEnd(405, 200, "INVITE, UPDATE", "90;refresher=uac")
    far.be_called()
    bodies: list[bytes] = []
    hear = far.hear
    far.hear = lambda message: (bodies.append(message.body) if isinstance(message, Request) and message.method == "INVITE" else None, hear(message))[1]  # type: ignore[method-assign, func-returns-value]
    far.run(500.0)
    assert set(bodies) == {SDP}
    assert [method for _, method in far.asked].count("UPDATE") == 1, "it is not asked again for what it refuses"


def test_a_connection_that_is_gone_may_come_back_until_the_interval_ends() -> None:
    far = FarEnd(200, 200, "", "90;refresher=uac")
    far.be_called()
    far.answers["INVITE"] = GONE
    far.run(46.0)
    far.stack.closed(1, far.now)
    far.run(1.0)
    assert not far.ended
    far.answers["INVITE"] = 200
    far.run(500.0)
    assert not far.ended
    assert re.fullmatch(r"(INVITE )+", " ".join(method for _, method in far.asked) + " ")


def _leg(address: str) -> LegMedia:
    return LegMedia(address, 4000, session_id=1, keys=bytes, signalling_secure=True)


def test_a_refresh_offers_what_was_said_last() -> None:
    """The stack repeats our description as an offer; the phone answers with another port, also when the last offer was its own."""
    ours, phone = _leg("192.0.2.1"), _leg("192.0.2.9")
    ours.take_offer(phone.make_offer())
    phone.take_answer(ours.make_answer())
    phone.take_offer(ours.local_sdp)
    agreed = ours.take_answer(phone.make_answer().replace(b"m=audio 4000", b"m=audio 4600"))
    assert (agreed.port, agreed.secure, ours.state) == (4600, True, "stable")
    assert ours.agreed is agreed
