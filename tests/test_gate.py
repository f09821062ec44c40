"""The health gate's call: one that met the rest of the start is not the end of a version, three are."""

from __future__ import annotations

import pytest

from appliance.box import gate
from appliance.softphone.selftest import Report, Step

GOOD = Report(True, [Step("call", True, "rang and was answered", 40)])
BAD = Report(False, [Step("call", False, "The step “call” was not done within 16 s.", 16000)], "The step “call” was not done within 16 s.")


def gate_of(*reports: Report) -> tuple[list[str], list[float]]:
    """What the gate said and how long it paused, given what its self-tests find; it may not ask for more of them."""
    left = list(reports)
    said: list[str] = []
    paused: list[float] = []
    gate.call_is_good(lambda: left.pop(0), said.append, paused.append)
    assert not left
    return said, paused


def test_a_call_that_works_is_made_once() -> None:
    said, paused = gate_of(GOOD)
    assert said == ["self-test, call: rang and was answered"]
    assert paused == []


def test_a_call_that_failed_is_tried_again() -> None:
    said, paused = gate_of(BAD, BAD, GOOD)
    assert paused == [gate.BETWEEN_TESTS] * 2
    assert said[1] == f"The self-test failed: {BAD.problem} It is tried again in 10 s."
    assert said[-1] == "self-test, call: rang and was answered"


def test_the_third_failure_is_the_end() -> None:
    with pytest.raises(gate.Unhealthy, match="The self-test failed: The step “call” was not done within 16 s"):
        gate_of(BAD, BAD, BAD, GOOD)
