"""Calls between simulated phones through the whole of call control, in virtual time. Leaving a Box asserts that nothing is left."""

from __future__ import annotations

import pytest

from appliance.calls import api
from appliance.calls.history.faults import Faults
from appliance.calls.legs.sound import HOLD_TONE, HOLD_TONE_EVERY
from appliance.services.scripts import SCRIPTS
from appliance.sip import events
from appliance.sip.text.sdp import Format
from tests.box import Box, office
from tests.box_phone import EVENT, G722, OPUS, PCMA, PCMU
from tests.clock import run

SPEEX = Format(120, "SPEEX", 8000)


@pytest.mark.parametrize("transport", ["UDP", "TCP", "TLS"])
@pytest.mark.parametrize("who", ["caller", "callee"])
def test_two_phones_talk(transport: str, who: str) -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101", transport=transport), await box.phone("102", transport=transport)
            call = await a.call("102")
            assert call.final.result() == 200
            await box.seconds(5)
            assert box.leg_of(a).peer == box.leg_of(b).id
            there = await b.incoming.get()
            (call if who == "caller" else there).hang_up()
            await box.seconds(1)
            assert there.ended
            assert call.ended
            (record,) = box.records
            assert (record.outcome, record.hung_up_by, record.cause) == ("answered", who, 16)
            assert (record.caller_number, record.callee_number) == ("101", "102")
            assert 4 < record.seconds < 7

    run(scene())


def test_the_callee_sees_the_line_and_not_what_the_phone_claims() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            headers = [("P-Asserted-Identity", "<sip:chief@192.0.2.1>"), ("Remote-Party-ID", "<sip:chief@192.0.2.1>")]
            call = await a.call("102", from_='"The Chief" <sip:100@192.0.2.1>', headers=headers)
            request = (await b.incoming.get()).request
            assert request is not None
            assert (request.from_.uri.user, request.from_.display) == ("101", "Phone 101")
            assert [each.uri.user for each in request.addresses("P-Asserted-Identity")] == ["101"]
            assert request.get("Remote-Party-ID") is None
            assert "198.51.100" not in (request.get("Contact") or "")
            accepted = next(event for event in a.log if isinstance(event, events.Accepted))
            assert [each.uri.user for each in accepted.response.addresses("P-Asserted-Identity")] == ["102"]
            call.hang_up()

    run(scene())


def test_all_phones_of_an_extension_ring_and_the_first_answer_wins() -> None:
    async def scene() -> None:
        async with Box(office("101", "102", lines=3)) as box:
            a = await box.phone("101")
            desk = await box.phone("102", answer="ring")
            mobile = await box.phone("102-2", transport="TLS", answer="ring")
            soft = await box.phone("102-3", transport="TCP", answer="ring")
            call = a.dial("102")
            at_desk, at_mobile, at_soft = [await phone.incoming.get() for phone in (desk, mobile, soft)]
            await box.seconds(1)
            assert [response.status for response in call.progress] == [180]
            at_mobile.accept()
            await box.seconds(1)
            assert call.final.result() == 200
            for loser in (at_desk, at_soft):
                assert loser.ended
                assert "Call completed elsewhere" in loser.cancelled
            assert len(box.engine.media) == 2, "the losers' ports are free"
            call.hang_up()
            await box.seconds(1)
            assert at_mobile.ended

    run(scene())


def test_the_caller_gives_up() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102", answer="ring")
            call = a.dial("102")
            there = await b.incoming.get()
            await box.seconds(3)
            call.hang_up()
            await box.seconds(1)
            assert there.ended
            assert there.cancelled
            assert await call.final == 487
            (record,) = box.records
            assert (record.outcome, record.cause) == ("cancelled", 16)
            assert record.said.key == "call.given-up"

    run(scene())


def test_nobody_answers_in_time() -> None:
    async def scene() -> None:
        async with Box(office("101", "102", ring_seconds=20)) as box:
            a, b = await box.phone("101"), await box.phone("102", answer="ring")
            call = await a.call("102")
            assert call.final.result() == 480
            assert call.rejection is not None
            assert "Q.850;cause=19" in (call.rejection.get("Reason") or "")
            assert (await b.incoming.get()).ended
            assert box.records[0].outcome == "no answer"

    run(scene())


@pytest.mark.parametrize(
    ("answers", "status", "cause", "outcome"),
    [
        ([486], 486, 17, "busy"),
        ([603], 603, 21, "refused"),
        ([486, 480], 486, 17, "busy"),
        ([404], 404, 1, "failed"),
        ([302], 480, 31, "failed"),
        ([401], 403, 57, "refused"),
        ([500], 500, 41, "failed"),
        ([488], 488, 88, "failed"),
    ],
)
def test_refusals(answers: list[int], status: int, cause: int, outcome: str) -> None:
    async def scene() -> None:
        async with Box(office("101", "102", lines=2)) as box:
            a = await box.phone("101")
            for number, answer in enumerate(answers):
                await box.phone("102" if number == 0 else "102-2", answer=answer)
            call = await a.call("102")
            assert call.final.result() == status
            await box.seconds(1)
            (record,) = box.records
            assert (record.cause, record.outcome) == (cause, outcome)
            assert sorted(leg.status for leg in record.legs if leg.side == "callee") == sorted(answers)

    run(scene())


def test_a_busy_phone_does_not_silence_the_others_but_a_declining_person_does() -> None:
    async def scene() -> None:
        async with Box(office("101", "102", lines=2)) as box:
            a = await box.phone("101")
            await box.phone("102", answer=486)
            other = await box.phone("102-2", answer="auto")
            call = await a.call("102")
            assert call.final.result() == 200
            call.hang_up()
            await box.seconds(2)
            other.answer = "ring"
            call = a.dial("102")
            await other.incoming.get()
            there = await other.incoming.get()
            await box.seconds(1)
            there.refuse(603)
            assert await call.final == 603

    run(scene())


@pytest.mark.parametrize(
    ("number", "status", "cause"), [("999", 404, 1), ("102", 480, 20), ("101", 486, 17), ("1%7C2", 484, 28)]
)
def test_numbers_that_lead_nowhere(number: str, status: int, cause: int) -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a = await box.phone("101")
            call = await a.call(number)
            assert call.final.result() == status
            assert call.rejection is not None
            assert f"Q.850;cause={cause}" in (call.rejection.get("Reason") or "")
            await box.seconds(1)
            assert box.records[0].cause == cause

    run(scene())


def test_early_media_of_one_phone_reaches_the_caller() -> None:
    async def scene() -> None:
        async with Box(office("101", "102", lines=2)) as box:
            a = await box.phone("101")
            gateway = await box.phone("102", answer="ring", early=True)
            desk = await box.phone("102-2", answer="ring", codecs=(PCMU, EVENT))
            call = a.dial("102")
            await gateway.incoming.get()
            at_desk = await desk.incoming.get()
            await box.seconds(1)
            assert 183 in [response.status for response in call.progress]
            assert box.leg_of(a).peer == box.leg_of(gateway).id
            at_desk.accept()
            await box.seconds(1)
            assert call.final.result() == 200
            assert box.leg_of(a).peer == box.leg_of(desk).id
            call.hang_up()

    run(scene())


def test_late_offer() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101", codecs=(PCMA, EVENT)), await box.phone("102", codecs=(PCMU, PCMA, EVENT))
            call = await a.call("102", late=True)
            assert call.final.result() == 200
            await box.seconds(1)
            assert box.leg_of(a).peer == box.leg_of(b).id
            call.hang_up()

    run(scene())


def test_payload_types_are_translated() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a = await box.phone("101", codecs=(OPUS, Format(96, "TELEPHONE-EVENT", 8000)))
            b = await box.phone("102", codecs=(OPUS, Format(96, "TELEPHONE-EVENT", 8000)))
            call = await a.call("102")
            await box.seconds(1)
            assert box.leg_of(a).payload_map == {111: 111, 96: 96}
            assert box.leg_of(a).remote.telephone_event == 96
            assert b.incoming.qsize() == 1
            call.hang_up()

    run(scene())


def test_hold_and_resume_from_both_sides() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            call = await a.call("102")
            there = await b.incoming.get()
            await box.seconds(1)

            assert await call.offer("sendonly") == 200
            assert call.direction == "recvonly"
            await box.seconds(2)
            assert there.offers == [], "a hold stays on its leg"
            assert not box.leg_of(a).remote.send
            assert box.leg_of(b).played == [*HOLD_TONE]
            await box.seconds(HOLD_TONE_EVERY)
            assert box.leg_of(b).played == [*HOLD_TONE, *HOLD_TONE], "now and then it hears that the call is still there"
            (view,) = (each for each in box.views)
            assert (view.caller.state, view.callees[0].state) == ("held", "on-hold")

            assert await there.offer("inactive") == 200  # the other holds, too
            await box.seconds(2)
            assert await call.offer("sendrecv") == 200  # the first resumes: the second still holds
            assert (call.direction, there.direction) == ("sendrecv", "inactive")
            played = len(box.leg_of(b).played)
            await box.seconds(20)
            assert len(box.leg_of(b).played) == played, "and is not told of a hold that is over"
            assert len(box.leg_of(a).played) > 0, "which the first hears"
            assert await there.offer("sendrecv") == 200
            await box.seconds(5)
            assert (call.direction, there.direction) == ("sendrecv", "sendrecv")
            for phone in (a, b):
                assert box.leg_of(phone).remote.send
                assert box.leg_of(phone).remote.receive
            call.hang_up()
            await box.seconds(1)
            assert there.ended

    run(scene())


def test_resume_by_an_offer_that_we_must_make() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            call = await a.call("102")
            there = await b.incoming.get()
            await box.seconds(1)
            assert await call.offer("sendonly") == 200
            await box.seconds(2)
            assert box.leg_of(b).played
            assert await call.ask_for_offer() == 200
            await box.seconds(2)
            assert (call.direction, there.offers) == ("sendrecv", [])
            played = len(box.leg_of(b).played)
            await box.seconds(20)
            assert len(box.leg_of(b).played) == played
            assert box.leg_of(a).remote.send
            call.hang_up()

    run(scene())


def test_both_hold_at_once() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            call = await a.call("102")
            there = await b.incoming.get()
            await box.seconds(1)
            import asyncio

            statuses = await asyncio.gather(call.offer("sendonly"), there.offer("sendonly"))
            assert statuses == [200, 200]
            await box.seconds(10)
            call.hang_up()
            await box.seconds(1)
            assert there.ended

    run(scene())


def test_a_codec_change_asks_the_other_phone() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101", codecs=(PCMA, PCMU, G722)), await box.phone("102", codecs=(PCMA, G722))
            call = await a.call("102")
            there = await b.incoming.get()
            await box.seconds(1)
            b.codecs = (G722,)  # its answer to the next offer; agreed so far were PCMA and G722
            assert await there.offer("sendrecv", codecs=(G722,)) == 200
            assert await call.offer("sendrecv", codecs=(SPEEX,)) == 488
            assert await call.offer("sendrecv", codecs=(PCMU,)) == 200  # b has only G722: transcoded
            assert [codec.name for codec in box.leg_of(a).remote.codecs] == ["PCMU"]
            assert await call.offer("sendrecv", codecs=(G722,)) == 200
            await box.seconds(1)
            assert box.leg_of(a).payload_map == {9: 9}
            call.hang_up()

    run(scene())


def test_a_new_offer_that_is_refused_leaves_the_call_as_it_was() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            call = await a.call("102")
            await box.seconds(1)
            before = box.leg_of(a).remote
            assert await call.offer("sendrecv", codecs=(SPEEX,)) == 488
            assert box.leg_of(a).remote == before
            assert not call.ended
            call.hang_up()
            await box.seconds(1)
            assert (await b.incoming.get()).ended

    run(scene())


def test_a_phone_that_refuses_to_be_held_keeps_the_call() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            call = await a.call("102")
            there = await b.incoming.get()
            there.refuse_offers = 100
            await box.seconds(1)
            assert await call.offer("sendonly") == 200
            await box.seconds(60)
            assert not call.ended
            assert not there.ended
            call.hang_up()

    run(scene())


def test_digits_by_info_become_events_and_unknown_requests_are_refused() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            call = await a.call("102")
            await box.seconds(1)
            response = await a.request(
                "INFO",
                "",
                session=call.session,
                body=b"Signal=5\r\nDuration=160\r\n",
                content_type="application/dtmf-relay",
            )
            assert response.status == 200
            assert box.leg_of(b).digits == "5"
            assert (await a.request("INFO", "", session=call.session)).status == 200  # asks whether the call is there
            assert (
                await a.request("INFO", "", session=call.session, body=b"x", content_type="text/plain")
            ).status == 415
            assert (
                await a.request("REFER", "", session=call.session, headers=[("Refer-To", "<sip:900@evil>")])
            ).status == 405
            assert (
                await a.request("MESSAGE", "", session=call.session, body=b"hi", content_type="text/plain")
            ).status == 405
            call.hang_up()

    run(scene())


def test_a_lost_phone_is_found_and_the_call_ends() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            call = await a.call("102")
            await box.seconds(1)
            b.on = False
            await box.seconds(180)
            assert call.ended
            assert box.records[0].cause == 102
            for session in list(b.calls.values()):
                session.hang_up()
            b.on = True

    run(scene())


@pytest.mark.parametrize("seed", range(4))
def test_calls_over_a_lossy_network(seed: int) -> None:
    async def scene() -> None:
        async with Box(office("101", "102"), loss=0.15, seed=seed) as box:
            a, b = await box.phone("101"), await box.phone("102")
            for _ in range(3):
                call = await a.call("102")
                assert call.final.result() == 200
                there = await b.incoming.get()
                await box.seconds(10)
                assert await call.offer("sendonly") == 200
                await box.seconds(10)
                there.hang_up()
                await box.seconds(60)
                assert call.ended
            assert len(box.records) == 3

    run(scene())


def test_capacity() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            box.engine.capacity = 3
            call = await a.call("102")
            again = await b.call("101")
            assert again.final.result() == 503
            assert again.rejection is not None
            assert again.rejection.get("Retry-After")
            call.hang_up()

    run(scene())


def test_a_bug_in_a_script_costs_one_call() -> None:
    async def broken(call: api.Call, state: api.NoState) -> None:
        await call.answered(call.caller)
        raise ZeroDivisionError

    async def scene() -> None:
        services = {**SCRIPTS, "echo": api.Service("echo", broken)}
        async with Box(office("101", "102"), services=services) as box:
            a, b = await box.phone("101"), await box.phone("102")
            good = await a.call("102")
            bad = await b.call("*60")
            await box.seconds(1)
            assert bad.ended
            assert not good.ended
            (record,) = box.records
            assert (record.cause, record.hung_up_by) == (41, "system")
            assert len(box.exchange.faults) == 1
            box.exchange.faults = Faults()
            good.hang_up()

    run(scene())
