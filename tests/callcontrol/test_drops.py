"""Phones that dropped, and why: until they are back."""

from __future__ import annotations

from typing import Any

import media_core
from appliance.calls.registrar.drops import MOST, Drops
from appliance.calls.registrar.registrar import Binding
from tests.box import Box, office
from tests.clock import run


def binding(**changes: Any) -> Binding:
    values = {
        "line": "l1", "contact": "sip:a@192.0.2.1", "flow": 1, "transport": "UDP", "host": "192.0.2.1", "port": 5060, "user_agent": "Phone/1",
        "instance": "", "reg_id": 0, "call_id": "c", "cseq": 1, "since": 0.0, "expires": 60.0, "refreshed": 0.0,
    }  # fmt: skip
    return Binding(**(values | changes))


def test_a_drop_is_over_when_the_phone_is_back_and_only_then() -> None:
    drops = Drops()
    drops.add(binding(), "closed", 10.0)
    drops.add(binding(), "expired", 70.0)  # still the same phone, still since then
    drops.add(binding(host="192.0.2.2", user_agent="Phone/2"), "expired", 20.0)
    assert sorted((drop.time, drop.why) for drop in drops) == [(10.0, "closed"), (20.0, "expired")]
    drops.back(binding(host="192.0.2.9", user_agent="Phone/3"))
    assert len(list(drops)) == 2
    drops.back(binding(host="192.0.2.9"))  # another address, the same program
    assert [drop.binding.host for drop in drops] == ["192.0.2.2"]
    drops.back(binding(line="l2", host="192.0.2.2"))
    assert len(list(drops)) == 1
    drops.keep({"l2"})
    assert list(drops) == []


def test_instances_tell_phones_apart_and_drops_are_bounded() -> None:
    drops = Drops()
    drops.add(binding(instance="one"), "expired", 1.0)
    drops.back(binding(instance="two"))
    assert len(list(drops)) == 1
    for number in range(50):
        drops.add(binding(host=f"198.51.100.{number}", user_agent=f"{number}"), "expired", 2.0)
    assert len(list(drops)) == MOST


def test_an_expired_registration_and_a_closed_connection_are_drops_a_goodbye_is_none() -> None:
    async def scene() -> None:
        async with Box(office("101", "102", "103")) as box:
            requests = box.controller
            a, b, c = await box.phone("101", transport="TLS"), await box.phone("102"), await box.phone("103")
            box.engine.tell(media_core.FlowClosed(a.flow.id, "peer"))
            await c.register(expires=0)
            await box.seconds(1)
            assert [drop.why for drop in requests.drops] == ["closed"]
            b.on = False
            await box.seconds(4000)
            assert sorted(drop.why for drop in requests.drops) == ["closed", "expired"]
            b.on = True
            await b.register()
            assert [drop.why for drop in requests.drops] == ["closed"]

    run(scene())
