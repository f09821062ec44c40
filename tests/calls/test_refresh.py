"""A session refresh that the phone answers with another description (RFC 4028 §7.4): it is sent to where it is from then on."""

from __future__ import annotations

import pytest

from tests.box import Box, office
from tests.clock import run


@pytest.mark.parametrize("held", [False, True])
def test_a_phone_that_listens_elsewhere_after_a_refresh(held: bool) -> None:
    """`held`: the last offer before it was the phone's, so there is none of ours to answer but the refresh."""

    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            a.rewrite = lambda data: data.replace(b"UPDATE, ", b"")  # it knows re-INVITE only
            call = await a.call("102", headers=[("Session-Expires", "90;refresher=uas"), ("Supported", "timer")])
            there = await b.incoming.get()
            await box.seconds(1)
            if held:
                assert await call.offer("sendonly") == 200
                await box.seconds(1)
            leg, old, new = box.leg_of(a), a.rtp_port, a.rtp_port + 2
            a.rewrite = lambda data: data.replace(b"m=audio %d " % old, b"m=audio %d " % new).replace(b"UPDATE, ", b"")
            await box.seconds(60)
            assert leg.remote.port == new
            call.hang_up()
            await box.seconds(1)
            assert there.ended

    run(scene())
