"""What the media core tells of a call's streams becomes what the admin sees: live, in the call record, as a security event."""

from __future__ import annotations

import pytest

from appliance.words import Said, english
from media_core import AuthenticationFailed, MediaQuality, SsrcChanged
from tests.box import Box, office
from tests.clock import run


def test_a_bad_spell_is_shown_while_it_lasts_and_kept_over_a_restart() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, _ = await box.phone("101"), await box.phone("102")
            call = await a.call("102")
            await box.seconds(5)
            for each in box.engine.media.values():
                each.packets = 2000
            leg = box.leg_of(a).id
            for lost in (0.1, 0.25):
                box.engine.tell(MediaQuality(leg, lost, 12.0, True))
                await box.seconds(10)
            (view,) = box.views
            assert view.caller.poor == Said.of("quality.poor", lost=25, jitter=12, seconds=10)
            assert view.callees[0].poor is None
            box.engine.tell(MediaQuality(leg, 0.0, 3.0, False))
            await box.seconds(1)
            (view,) = box.views
            assert view.caller.poor is None
            box.kill()
            box.start()
            await box.seconds(20)
            call.hang_up()
            await box.seconds(1)
            (record,) = box.records
            assert [(each.poor_seconds, each.worst_lost) for each in record.legs] == [(20.0, 0.25), (0.0, 0.0)]
            assert "Phone 101 (101) was bad for 20 s of 4" in english().say(record.said)
            assert "25 %" in english().say(record.said)

    run(scene())


@pytest.mark.parametrize("encrypted", [True, False])
def test_what_fails_authentication_is_a_security_event_that_counts(encrypted: bool) -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            transport = "TLS" if encrypted else "UDP"
            a, _ = await box.phone("101", transport=transport), await box.phone("102", transport=transport)
            call = await a.call("102")
            await box.seconds(5)
            leg = box.leg_of(a).id
            box.engine.tell(
                AuthenticationFailed(leg, 3, 3, ("198.51.100.66", 4000))
            )  # in flight while the keys changed
            await box.seconds(10)
            assert not list(box.controller.security)
            for total in (5000, 90_000):
                box.engine.tell(AuthenticationFailed(leg, 5000, total, ("198.51.100.66", 4000)))
                await box.seconds(10)
            (event,) = box.controller.security
            assert (event.kind, event.source, event.account, event.count) == (
                "forged media",
                "198.51.100.66",
                "101",
                2,
            )
            assert (
                "Packets from 198.51.100.66 to the call of Phone 101 (101) fail authentication (90000" in english().say(event.message)
            )
            (view,) = box.views
            assert view.caller.forged == 90_000
            call.hang_up()

    run(scene())


@pytest.mark.parametrize(("changes", "secure", "events"), [(1, False, 0), (400, False, 1), (400, True, 0)])
def test_two_streams_in_one_are_told_where_they_can_be_a_strangers(changes: int, secure: bool, events: int) -> None:
    async def scene() -> None:
        async with Box(office("101", "102", encrypt="preferred")) as box:
            transport = "TLS" if secure else "UDP"
            srtp = {"srtp": "offer"} if secure else {}
            a = await box.phone("101", transport=transport, **srtp)
            await box.phone("102", transport=transport, srtp="optional")
            call = await a.call("102")
            await box.seconds(5)
            assert all(leg.stream.terms.secure == secure for each in box.exchange.calls.values() for leg in each.legs)
            box.engine.tell(SsrcChanged(box.leg_of(a).id, 1, changes))
            await box.seconds(1)
            told = list(box.controller.security)
            assert len(told) == events
            assert all("Two streams are mixed in the sound from Phone 101 (101)" in english().say(event.message) for event in told)
            call.hang_up()

    run(scene())
