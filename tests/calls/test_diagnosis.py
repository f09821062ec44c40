"""One plain sentence for everything that can happen."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.calls.history.causes import Cause
from appliance.calls.history.diagnosis import diagnose
from appliance.calls.history.record import CallRecord, LegRecord, outcome_of
from appliance.calls.history.records import CallRow
from appliance.words import english
from webui import wording


def sentence(record: CallRecord) -> str:
    return english().say(diagnose(record))


def record(**changes: Any) -> CallRecord:
    values: dict[str, Any] = {
        "id": "1", "started": 100.0, "answered": 105.0, "ended": 165.0, "caller_number": "101", "caller_name": "Ann", "dialled": "102",
        "callee_number": "102", "callee_name": "Bob", "outcome": "answered", "cause": 16, "hung_up_by": "callee",
        "legs": (leg("caller", "101", "Ann"), leg("callee", "102", "Bob")),
    }  # fmt: skip
    return CallRecord(**(values | changes))


def leg(side: str, number: str, name: str, **changes: Any) -> LegRecord:
    values: dict[str, Any] = {
        "side": side,
        "number": number,
        "name": name,
        "address": "192.0.2.9:5060",
        "packets_received": 3000,
        "packets_sent": 3000,
    }
    return LegRecord(**(values | changes))


def unanswered(cause: Cause, outcome: str, **changes: Any) -> CallRecord:
    return record(
        **(
            {
                "answered": None,
                "cause": int(cause),
                "outcome": outcome,
                "hung_up_by": "system",
                "legs": (leg("caller", "101", "Ann"),),
            }
            | changes
        )
    )


BOB = "Bob (102)"


@pytest.mark.parametrize(
    "seconds", [0.0, 0.4, 0.9, 7.5, 59.5, 59.99, 60.0, 119.7, 3599.9, 3600.0, 3661.2, 86399.6, 90000.0]
)
def test_a_duration_is_the_same_in_sentence_and_column(seconds: float) -> None:
    """The column is what the pages make of the stored record."""
    made = record(answered=105.0, ended=105.0 + seconds)
    row = CallRow(**{name: getattr(made, name) for name in CallRow.__dataclass_fields__})
    assert f"connected for {wording.span(row.seconds)};" in sentence(made)


BY_ANNA = "Anna Berger (admin page)"


def test_who_hangs_up_from_the_page_is_named() -> None:
    assert sentence(record(hung_up_by=BY_ANNA)).endswith(f"; {BY_ANNA} hung up.")
    before = unanswered(Cause.NORMAL, "cancelled", hung_up_by=BY_ANNA)
    assert sentence(before) == f"{BY_ANNA} ended the call from Ann (101) before Bob (102) answered."
    assert outcome_of(Cause.NORMAL, BY_ANNA, answered=False) == "cancelled"


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (
            unanswered(Cause.NO_ROUTE, "failed", dialled="112", callee_number="", callee_name=""),
            "112 could not be reached: this telephone system has no line to the outside.",
        ),
        (record(), "Ann (101) and Bob (102) were connected for 1 min 0 s; Bob (102) hung up."),
        (unanswered(Cause.NORMAL, "cancelled", hung_up_by="caller"), "Ann (101) hung up before Bob (102) answered."),
        (unanswered(Cause.UNALLOCATED, "failed", callee_number="", dialled="999"), "Nobody has the number 999."),
        (unanswered(Cause.INVALID_NUMBER, "failed", dialled=""), "An empty number cannot be dialled."),
        (unanswered(Cause.ABSENT, "failed"), "No phone of Bob (102) is registered"),
        (unanswered(Cause.BUSY, "busy"), "Bob (102) was busy."),
        (unanswered(Cause.NO_ANSWER, "no answer"), "did not answer in time"),
        (unanswered(Cause.NO_RESPONSE, "no answer"), "registered but did not respond"),
        (unanswered(Cause.REJECTED, "refused"), "refused the call"),
        (unanswered(Cause.INCOMPATIBLE, "failed"), "offered no codec or encryption that fits"),
        (unanswered(Cause.INCOMPATIBLE, "failed", legs=(leg("callee", "102", "Bob", status=488),)), "answered 488"),
        (unanswered(Cause.CONGESTION, "failed"), "no capacity"),
        (unanswered(Cause.TEMPORARY_FAILURE, "failed"), "internal fault"),
        (
            unanswered(Cause.TEMPORARY_FAILURE, "failed", legs=(leg("callee", "102", "Bob", status=500),)),
            "its phone answered 500",
        ),
        (
            record(legs=(leg("caller", "101", "Ann"), leg("callee", "102", "Bob", packets_received=0))),
            "Nobody heard Bob (102): no audio arrived from the phone at 192.0.2.9:5060; a firewall",
        ),
        (
            record(legs=(leg("caller", "101", "", packets_received=0, address=""),)),
            "Nobody heard 101: no audio arrived from the phone at an unknown address;",
        ),
        (
            unanswered(
                Cause.TIMER,
                "failed",
                legs=(leg("callee", "102", "Bob", status=500), leg("callee", "102", "Bob", status=504)),
            ),
            "The call from Ann (101) to Bob (102) failed: timed out (its phone answered 500 and 504).",
        ),
        (record(legs=(leg("caller", "101", "Ann", packets_received=0, dropped_auth=90),)), "encryption did not fit"),
        (record(legs=(leg("caller", "101", "Ann", packets_received=0, dropped_source=90),)), "not announced"),
        (record(legs=(leg("caller", "101", "Ann", packets_received=0, receives=False),)), "were connected"),
        (record(ended=106.0, legs=(leg("caller", "101", "Ann", packets_received=0),)), "were connected"),
        (
            record(legs=(leg("caller", "101", "Ann", packets_received=900, lost=100),)),
            "10 % of the audio from the phone was lost",
        ),
        (
            record(legs=(leg("caller", "101", "Ann", packets_received=900, lost=100, burst_lost=90),)),
            "10 % of the audio from the phone was lost on the way, mostly in bursts",
        ),
        (record(legs=(leg("caller", "101", "Ann", jitter_ms=90.0),)), "90 ms of jitter"),
        (
            record(legs=(leg("caller", "101", "Ann", poor_seconds=20.0, worst_lost=0.3),)),
            "bad for 20 s of 1 min 0 s: up to 30 % of the audio",
        ),
        (
            record(legs=(leg("caller", "101", "Ann", poor_seconds=10.0, worst_jitter_ms=80.0),)),
            "bad for 10 s of 1 min 0 s: audio from the phone came with up to 80 ms",
        ),
        (record(legs=(leg("callee", "102", "Bob", far_lost=300),)), "Bob (102) heard gaps: its phone says that 10 %"),
        (record(cause=int(Cause.TIMER), hung_up_by="system"), "a phone stopped answering"),
        (record(cause=int(Cause.TEMPORARY_FAILURE), hung_up_by="system"), "ended after 1 min 0 s by a fault"),
        (record(cause=int(Cause.NORMAL), hung_up_by="system"), "the system hung up"),
    ],
)
def test_sentences(what: CallRecord, words: str) -> None:
    said = sentence(what)
    assert words in said
    assert said.endswith(".")
    assert "\n" not in said


def test_every_cause_has_a_sentence() -> None:
    for cause in Cause:
        for answered in (None, 105.0):
            assert len(sentence(record(answered=answered, cause=int(cause), hung_up_by="system"))) > 15


def test_outcomes() -> None:
    assert outcome_of(Cause.NORMAL, "caller", answered=True) == "answered"
    assert outcome_of(Cause.NORMAL, "caller", answered=False) == "cancelled"
    assert outcome_of(Cause.BUSY, "system", answered=False) == "busy"
    assert outcome_of(Cause.ABSENT, "system", answered=False) == "failed"
