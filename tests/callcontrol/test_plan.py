"""Number + snapshot → what happens, and why."""

from __future__ import annotations

import pytest

from appliance.calls.api import Cause
from appliance.calls.plan.plan import Action, Refuse, Ring, Serve, explained, plan
from appliance.config.model import Extension, Service
from appliance.services.scripts import SERVICES
from appliance.words import english
from tests.box import office

SNAPSHOT = office("101", "102")
CALLER = SNAPSHOT.extensions["e101"]


def said(dialled: str) -> list[str]:
    return ["  " * depth + english().say(each) for depth, each in explained(plan(dialled, CALLER, SNAPSHOT))]


@pytest.mark.parametrize(
    ("dialled", "action"),
    [
        ("102", Ring(SNAPSHOT.extensions["e102"])),
        ("101", Refuse(Cause.BUSY)),
        ("*60", Serve("echo")),
        ("103", Refuse(Cause.UNALLOCATED)),
        ("112", Refuse(Cause.NO_ROUTE, warning="No line to the outside: use another telephone")),
        ("", Refuse(Cause.INVALID_NUMBER)),
        ("102; drop table", Refuse(Cause.INVALID_NUMBER)),
        ("1" * 65, Refuse(Cause.INVALID_NUMBER)),
        ("102\n", Refuse(Cause.INVALID_NUMBER)),
        ("１０２", Refuse(Cause.INVALID_NUMBER)),
    ],
)
def test_what_is_done_first(dialled: str, action: Action) -> None:
    assert plan(dialled, CALLER, SNAPSHOT).action == action


def test_a_call_to_an_extension_says_what_follows_each_outcome() -> None:
    assert said("102") == [
        "102 is extension 102 (Phone 102).",
        "All phones of Phone 102 (102) that are registered then ring, for 1 min 0 s at most.",
        "Nobody answers",
        "  The caller is told: nobody answered.",
        "All phones are busy, or somebody refuses",
        "  The caller is told: busy.",
        "No phone is registered",
        "  The caller is told: no phone registered.",
    ]


@pytest.mark.parametrize("dialled", ["101", "102", "103", "*60", "112", "", "x y"])
def test_every_number_has_a_reason(dialled: str) -> None:
    assert said(dialled)


def test_an_extension_without_a_line_rings_nothing() -> None:
    snapshot = SNAPSHOT.with_record("extension", Extension(id="e103", number="103"))
    assert plan("103", CALLER, snapshot).action == Refuse(Cause.ABSENT)


def test_a_service_that_is_off_cannot_be_dialled() -> None:
    snapshot = SNAPSHOT.with_record("service", Service(id="echo", on=False, number="*60"))
    for dialled in ("*60", ""):
        assert isinstance(plan(dialled, CALLER, snapshot).action, Refuse)


def test_every_service_has_a_number() -> None:
    """A claim names its service; one that nobody claims could not be dialled."""
    claimed = {claim.target.id for claim in SNAPSHOT.claims if claim.target.kind == "service"}
    assert claimed == set(SERVICES)
