"""What a story amounts to: the call record, an outcome per person, parts that add up, the live view."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import media_core
from appliance.calls.history.causes import Cause
from appliance.calls.history.facts import Kind
from appliance.calls.history.quality import Quality
from appliance.calls.history.record import CallRecord
from appliance.calls.history.story import Story
from appliance.calls.history.summary import counters, live, record
from appliance.words import english, words_of

BEGIN = 1.75e9
BOB = ("102", "Bob")


class Told:
    """A story written by hand: each fact with the second at which it happens."""

    def __init__(self, dialled: str = "102") -> None:
        self.story = Story("t")
        self.at(0, Kind.BEGAN, 0, dialled, "extension", False)

    def at(self, second: float, kind: Kind, who: int, *values: Any) -> Told:
        self.story.add(BEGIN + second, kind, who, *values)
        return self

    def caller(self, second: float = 0) -> Told:
        return self.at(second, Kind.LEG, 1, "caller", "101", "Ann").at(
            second, Kind.FLOW, 1, "192.0.2.1:5060", "UDP", False
        )

    def phone(self, who: int, second: float = 0, person: tuple[str, str] = BOB) -> Told:
        return self.at(second, Kind.LEG, who, "callee", *person)

    def over(self, second: float, cause: Cause, by: str) -> CallRecord:
        for leg in range(1, self.story.last + 1):
            self.at(second, Kind.ENDED, leg, "system", cause)
        return record(self.at(second, Kind.OVER, 0, cause, by).story)


def fates(made: CallRecord) -> list[tuple[str, str]]:
    return [(person.number, person.fate) for person in made.people]


def parts(made: CallRecord) -> dict[tuple[int, str], float]:
    return {(part.who, part.kind): part.seconds for part in made.parts}


def test_a_call_from_beginning_to_end() -> None:
    told = (
        Told().at(0, Kind.WANTED, 0, *BOB).caller().phone(2, 0.5).at(0.5, Kind.FLOW, 2, "192.0.2.2:5061", "TLS", True)
    )
    told.at(0.5, Kind.AGENT, 2, "Phone/1").at(1, Kind.RANG, 2).at(4, Kind.ANSWERED, 2).at(4, Kind.ANSWERED, 1)
    for leg, other in ((1, 2), (2, 1)):
        told.at(4, Kind.MEDIA, leg, "PCMA", leg == 2, "").at(4, Kind.BRIDGED, leg, other)
    told.at(10, Kind.HELD, 2, "them").at(13, Kind.RESUMED, 2, "them")
    received = media_core.Direction(900, 0, 3, 0, 0, 2.126, 0, 0, 1, 2, 0, burst_lost=2, burst_longest=2, secured=900)
    sent = media_core.Direction(800, 0, 0, 0, 0, 0.0, 0, 0, 0, 0, 0, secured=800)
    stats = media_core.LegStats(
        received, sent, True, True, ("192.0.2.2", 4000), media_core.FarReport(0, 7, 0.1, 3.333, 20.04)
    )
    told.story.counted(BEGIN + 20, 2, stats, Quality(10.0, 0.25, 80.0), True)
    told.at(20, Kind.ENDED, 1, "peer", 16)
    made = told.over(20, Cause.NORMAL, "caller")
    assert (made.started, made.answered, made.ended) == (BEGIN, BEGIN + 4, BEGIN + 20)
    assert (made.caller_number, made.caller_name, made.dialled, made.callee_number, made.callee_name) == (
        "101",
        "Ann",
        "102",
        *BOB,
    )
    assert (made.outcome, made.cause, made.hung_up_by, made.selftest) == ("answered", 16, "caller", False)
    assert fates(made) == [("102", "answered")]
    assert parts(made) == {
        (1, "calling"): 4.0, (1, "talking"): 13.0, (1, "on hold"): 3.0,
        (2, "ringing"): 3.5, (2, "talking"): 13.0, (2, "holding"): 3.0,
    }  # fmt: skip
    ann, bob = made.legs
    assert (ann.side, ann.address, ann.transport, ann.codec, ann.receives) == (
        "caller",
        "192.0.2.1:5060",
        "UDP",
        "PCMA",
        False,
    )
    assert (bob.address, bob.signalling_secure, bob.media_secure, bob.user_agent) == (
        "192.0.2.2:5061",
        True,
        True,
        "Phone/1",
    )
    assert (bob.packets_received, bob.secured_received, bob.lost, bob.jitter_ms) == (900, 900, 3, 2.13)
    assert (bob.dropped_source, bob.dropped_auth, bob.burst_lost, bob.burst_longest) == (1, 2, 2, 2)
    assert (bob.packets_sent, bob.secured_sent, bob.far_lost, bob.far_jitter_ms, bob.round_trip_ms) == (
        800,
        800,
        7,
        3.33,
        20.0,
    )
    assert (bob.poor_seconds, bob.worst_lost, bob.worst_jitter_ms, bob.receives) == (10.0, 0.25, 80.0, True)


def test_of_two_phones_one_answered_and_the_other_one_knows_it() -> None:
    told = Told().caller().phone(2).phone(3).at(1, Kind.RANG, 2).at(1, Kind.RANG, 3)
    told.at(3, Kind.ANSWERED, 3).at(3, Kind.ELSEWHERE, 2).at(3, Kind.ENDED, 2, "system", 16).at(3, Kind.ANSWERED, 1)
    made = told.over(9, Cause.NORMAL, "callee")
    assert [leg.fate for leg in made.legs] == ["", "answered elsewhere", "answered"]
    assert fates(made) == [("102", "answered")]
    assert parts(made)[2, "ringing"] == 3.0


def test_of_two_people_one_answered_and_the_other_one_missed_nothing() -> None:
    told = (
        Told("200")
        .at(0, Kind.WANTED, 0, *BOB)
        .at(0, Kind.WANTED, 0, "103", "Eve")
        .at(0, Kind.WANTED, 0, "104", "Jim")
        .caller()
    )
    told.phone(2).phone(3, person=("103", "Eve")).at(1, Kind.RANG, 2).at(2, Kind.ANSWERED, 3).at(
        2, Kind.ELSEWHERE, 2
    ).at(2, Kind.ANSWERED, 1)
    made = told.over(9, Cause.NORMAL, "callee")
    assert fates(made) == [("102", "answered elsewhere"), ("103", "answered"), ("104", "failed")]
    assert (made.callee_number, made.callee_name, made.dialled) == ("103", "Eve", "200")
    assert english().say(made.said) == "Ann (101) and Eve (103) were connected for 7 s; Eve (103) hung up."


@pytest.mark.parametrize(
    ("facts", "cause", "by", "fate", "outcome"),
    [
        ([(Kind.RANG,)], Cause.NO_ANSWER, "system", "missed", "no answer"),
        ([(Kind.RANG,)], Cause.NORMAL, "caller", "missed", "cancelled"),
        ([], Cause.NORMAL, "caller", "cancelled", "cancelled"),
        ([], Cause.NORMAL, "Anna (admin page)", "cancelled", "cancelled"),
        ([(Kind.RANG,), (Kind.REFUSED, 486)], Cause.BUSY, "system", "busy", "busy"),
        ([(Kind.REFUSED, 600)], Cause.BUSY, "system", "busy", "busy"),
        ([(Kind.RANG,), (Kind.REFUSED, 603)], Cause.REJECTED, "system", "refused", "refused"),
        ([(Kind.REFUSED, 408)], Cause.NO_RESPONSE, "system", "failed", "no answer"),
        ([(Kind.REFUSED, 480)], Cause.NO_RESPONSE, "system", "missed", "no answer"),
        ([(Kind.RANG,), (Kind.REFUSED, 408)], Cause.NO_RESPONSE, "system", "missed", "no answer"),
        ([(Kind.REFUSED, 488)], Cause.INCOMPATIBLE, "system", "failed", "failed"),
        ([], Cause.TEMPORARY_FAILURE, "system", "failed", "failed"),
    ],
)
def test_what_became_of_somebody(facts: list[tuple[Any, ...]], cause: Cause, by: str, fate: str, outcome: str) -> None:
    told = Told().caller().phone(2)
    for kind, *values in facts:
        told.at(1, kind, 2, *values)
    made = told.over(20, cause, by)
    assert fates(made) == [("102", fate)]
    assert (made.outcome, made.answered) == (outcome, None)


def test_a_phone_whose_first_offer_was_refused_has_answered() -> None:
    made = (
        Told()
        .caller()
        .phone(2)
        .at(1, Kind.REFUSED, 2, 488)
        .at(2, Kind.ANSWERED, 2)
        .at(2, Kind.ANSWERED, 1)
        .over(3, Cause.NORMAL, "caller")
    )
    assert fates(made) == [("102", "answered")]
    assert made.legs[1].status == 0


def test_nobody_to_ring_and_a_service() -> None:
    nobody = Told().caller().at(0, Kind.WANTED, 0, *BOB).over(0, Cause.ABSENT, "system")
    assert (nobody.callee_name, fates(nobody), nobody.parts) == ("Bob", [("102", "failed")], ())
    echo = (
        Told("*60")
        .caller()
        .at(0, Kind.SERVICE, 0, "echo")
        .at(1, Kind.ANSWERED, 1)
        .at(2, Kind.BRIDGED, 1, 1)
    )
    made = echo.over(9, Cause.NORMAL, "caller")
    assert (made.callee_number, made.callee_name, made.people) == ("*60", "Echo test", ())
    assert "Echo test (*60)" in words_of("en").say(made.said)
    assert "Echotest (*60)" in words_of("de").say(made.said)
    assert parts(made) == {(1, "calling"): 1.0, (1, "alone"): 1.0, (1, "talking"): 7.0}


@pytest.mark.parametrize(("service", "told"), [("echo", "Echo"), ("gone", "")])
def test_a_service_of_before_or_that_is_gone(service: str, told: str) -> None:
    """The story of an older version has its title in words; of one that this version has not, the name is all there is."""
    values = (service, told) if told else (service,)
    made = Told("*60").caller().at(0, Kind.SERVICE, 0, *values).at(1, Kind.ANSWERED, 1).over(9, Cause.NORMAL, "caller")
    assert made.callee_name == (told or service)
    assert f"{told or service} (*60)" in words_of("en").say(made.said)


def test_a_story_that_breaks_off_was_cut_off() -> None:
    made = record(Told().caller().at(5, Kind.ANSWERED, 1).at(9, Kind.STEP, 0, "menu").story)
    assert (made.outcome, made.cause, made.hung_up_by, made.ended) == ("answered", 41, "system", BEGIN + 9)
    assert parts(made) == {(1, "calling"): 5.0, (1, "alone"): 4.0}


def test_a_call_that_nobody_made() -> None:
    told = Told("").phone(1).at(3, Kind.RANG, 1).at(5, Kind.ANSWERED, 1)
    assert live(told.story, {}, {}).caller.number == ""
    made = told.over(9, Cause.NORMAL, "callee")
    assert (made.answered, made.caller_number, made.callee_name) == (BEGIN + 5, "", "Bob")


@given(
    st.lists(
        st.tuples(
            st.floats(-5, 60),
            st.sampled_from(sorted(Kind)) | st.integers(50, 60),
            st.integers(0, 5),
            st.lists(st.sampled_from(["caller", "callee", "them", "us", "", 0, 1, 2, 486, 16, True, 3.5]), max_size=4),
        ),
        max_size=300,
    ),
    st.integers(0, 300),
)
def test_parts_add_up(facts: list[tuple[float, int, int, list[Any]]], half: int) -> None:
    """Whatever is told, in whatever order, by a clock that is set, in one thread or two."""
    told = []
    for some in (facts[:half], facts[half:]):
        story, now = Story("t"), BEGIN
        for leg in (1, 2, 3):
            story.add(now, Kind.LEG, leg, "caller" if leg == 1 else "callee", str(leg), "")
        for step, kind, who, values in some:
            if kind != Kind.MORE:
                story.add(now := now + step, kind, who, *values)
                if kind % 3 == 0:
                    live(story, {}, {})
        told.append(story)
    for story in (*told, Story.merged(*told)):
        made = record(Story.unpack(story.pack()))
        assert made == record(story), "read in pieces while it was told, or at once"
        sums: dict[int, float] = defaultdict(float)
        for part in made.parts:
            assert part.seconds > 0
            sums[part.who] += part.seconds
        assert len(made.legs) >= 3
        for leg in made.legs:
            assert sums[leg.who] == pytest.approx(leg.ended - leg.began, abs=1e-5)
            assert made.started <= leg.began <= leg.ended <= made.ended
        assert set(sums) <= {leg.who for leg in made.legs}
        assert made.answered is None or made.started <= made.answered <= made.ended
        assert {person.number for person in made.people} >= {leg.number for leg in made.legs if leg.side == "callee"}
        live(story, {}, {})


def test_the_live_view() -> None:
    told = Told().caller().phone(2).phone(3).at(1, Kind.RANG, 2)
    view = live(told.story, {}, {})
    assert (view.caller.state, [leg.state for leg in view.callees], view.answered) == ("ringing", ["ringing"] * 2, None)
    assert counters([told.story, told.story]) == {"calls": 2, "calls_answered": 0}
    told.at(2, Kind.ANSWERED, 2).at(2, Kind.ELSEWHERE, 3).at(2, Kind.ENDED, 3, "system", 16).at(2, Kind.ANSWERED, 1)
    told.at(2, Kind.BRIDGED, 1, 2).at(2, Kind.BRIDGED, 2, 1).at(3, Kind.HELD, 1, "them")
    stats = media_core.LegStats(
        media_core.Direction(9, 0, 1, 0, 0, 1.234, 0, 0, 0, 0, 0, secured=8), media_core.Direction(7, 0, 0, 0, 0, 0.0, 0, 0, 0, 0, 0, secured=6),
        True, False, ("192.0.2.1", 4000),
    )  # fmt: skip
    view = live(told.story, {1: stats}, {1: Quality(forged=5)})
    assert (view.id, view.started, view.answered, view.dialled) == ("t", BEGIN, BEGIN + 2, "102")
    assert [(leg.number, leg.state) for leg in (view.caller, *view.callees)] == [("101", "held"), ("102", "on-hold")]
    assert (view.caller.packets_received, view.caller.packets_sent, view.caller.lost, view.caller.jitter_ms) == (
        9,
        7,
        1,
        1.23,
    )
    assert (view.caller.secured_received, view.caller.secured_sent, view.caller.forged) == (8, 6, 5)
    assert counters([told.story]) == {"calls": 1, "calls_answered": 1}


def test_the_live_view_when_who_began_it_has_left_and_of_one_call_of_a_thread() -> None:
    told = Told().caller().phone(2).at(2, Kind.ANSWERED, 2).at(2, Kind.ANSWERED, 1)
    told.phone(3, 5, ("103", "Eve")).at(9, Kind.ENDED, 1, "peer", 16)
    view = live(told.story, {}, {})
    assert [leg.number for leg in (view.caller, *view.callees)] == ["102", "103"]
    view = live(told.story, {}, {}, id="c2", legs=[3])
    assert (view.id, [leg.number for leg in (view.caller, *view.callees)]) == ("c2", ["103"])
    picked_up = (
        Told()
        .caller()
        .phone(2)
        .at(4, Kind.LEG, 3, "caller", "104", "Jim")
        .at(4, Kind.ANSWERED, 3)
        .at(4, Kind.ENDED, 2, "system", 16)
    )
    view = live(picked_up.story, {}, {})
    assert [leg.number for leg in (view.caller, *view.callees)] == ["101", "104"]
