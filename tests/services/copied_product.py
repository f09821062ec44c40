"""Runs with a copy of the product that has one service more: what it is called, who has its number, what it does when it is dialled.

Started by test_new_service.py where the copy is; what was seen goes out as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import appliance
from appliance.calls.plan.plan import asked
from appliance.config.admin import Admin
from appliance.config.model import Refused, service_number
from appliance.config.store import Store
from appliance.words import Said, english
from tests.box import Box, office
from tests.clock import run
from tests.web.made import Clock, FakeBox, Visitor, make_desk
from webui.app import create_app


def configured(data: Path) -> dict[str, Any]:
    """Its number is changed, given to others, switched off."""
    admin = Admin(Store(data))
    told = {"first": service_number(admin.snapshot, "count")}
    for name, key, values in (
        ("its number for another", "echo", {"number": "*701"}),
        ("changed", "count", {"number": "*71"}),
        ("off", "count", {"on": "no"}),
    ):
        try:
            admin.update("service", key, values, "anna")
            told[name] = service_number(admin.snapshot, "count")
        except Refused as refused:
            told[name] = str(refused)
    return told


def dialled() -> dict[str, Any]:
    told: dict[str, Any] = {}

    async def scene() -> None:
        async with Box(office("101")) as box:
            phone = await box.phone("101")
            call = await phone.call("*703")
            told["answer"] = call.final.result()
            await box.seconds(0.7)
            leg = box.leg_of(phone)
            box.kill()
            box.start()
            await box.seconds(3)
            told["tones"] = sum(tone[0] > 0 for tone in leg.played)
            (record,) = box.records
            told["record"] = [record.outcome, record.callee_number, record.callee_name, call.ended_at > 0]
            told["without"] = (await phone.call("*70")).final.result()
            caller = box.snapshot.extensions["e101"]
            told["plan"] = [english().say(said) for _, said in asked("*703", caller, box.snapshot)]

    run(scene())
    return told


def shown(data: Path) -> str:
    """The page of the PBX services."""
    clock = Clock()
    desk = make_desk(data, clock, FakeBox())
    desk.admin.complete_setup(
        username="anna", full_name="", password="correct horse battery", first_extension="100", country="DE"
    )
    visitor = Visitor(create_app(desk).test_client())
    visitor.log_in("anna")
    return visitor.get("/services").get_data(as_text=True)


if __name__ == "__main__":
    data = Path(sys.argv[1])
    found = {"appliance": appliance.__file__, "words": english().say(Said("count.welcome")), **dialled()}
    sys.stdout.write(json.dumps({**found, "numbers": configured(data / "one"), "page": shown(data / "two")}))
