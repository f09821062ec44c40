"""Number + snapshot → target."""

from __future__ import annotations

import pytest

from appliance.callcontrol.api import Cause
from appliance.callcontrol.routing import Refuse, Ring, Serve, Target, route
from appliance.model import Settings
from tests.box import office

SNAPSHOT = office("101", "102")
SERVICES = {"echo": "echo_number"}


@pytest.mark.parametrize(
    ("dialled", "target"),
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
def test_targets(dialled: str, target: Target) -> None:
    assert route(dialled, SNAPSHOT.extensions["e101"], SNAPSHOT, SERVICES) == target


def test_a_service_without_a_number_is_switched_off() -> None:
    snapshot = SNAPSHOT.with_record("settings", Settings(id="settings", echo_number=""))
    for dialled in ("*60", ""):
        assert isinstance(route(dialled, SNAPSHOT.extensions["e101"], snapshot, SERVICES), Refuse)
