"""Status ↔ cause, and the best answer of a fork."""

from __future__ import annotations

import pytest

from appliance.calls.api import Cause
from appliance.calls.history.causes import STATUS, best, cause_of, said
from appliance.words import english


def test_every_cause_has_a_status_and_words() -> None:
    assert set(STATUS) == set(Cause)
    assert all(english().say(said(cause)).isascii() for cause in Cause), "they go into header fields, too"
    assert all(400 <= status <= 699 for status in STATUS.values())


def test_every_final_status_has_a_cause() -> None:
    for status in range(300, 700):
        assert cause_of(status) in Cause


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([486], 486),
        ([408, 486], 486),
        ([404, 486], 486),
        ([480, 603], 603),
        ([503, 480], 480),
        ([408], 408),
        ([503, 408, 500], 500),
        ([488, 486], 486),
    ],
)
def test_the_best_of_a_fork(statuses: list[int], expected: int) -> None:
    assert best(statuses) == expected
