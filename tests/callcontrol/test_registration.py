"""REGISTER and everything else outside calls, through the whole of call control."""

from __future__ import annotations

import pytest

from appliance.calls.legs.abilities import SWITCHROOM
from appliance.sip.text import digest
from appliance.sip.text.message import Response
from appliance.words import english
from tests.box import Box, office
from tests.box_phone import Phone
from tests.clock import run


def bindings(box: Box, line: str = "l101") -> list[str]:
    return [binding.contact for binding in box.exchange.registrar.bindings(line)]


def test_register_refresh_fetch_and_leave() -> None:
    async def scene() -> None:
        async with Box(office("101")) as box:
            phone = await box.phone("101")
            assert len(bindings(box)) == 1
            response = await phone.registered(contacts=[])
            assert response.status == 200
            assert int(response.contacts[0].params["expires"]) <= 600
            assert await phone.register() == 200
            assert len(bindings(box)) == 1
            assert box.engine.kept == {phone.flow.id}
            assert await phone.register(expires=0) == 200
            assert bindings(box) == []
            assert box.engine.kept == set()
            await box.seconds(1)
            assert box.rows == {}

    run(scene())


def test_the_star_removes_all_and_only_with_expires_0() -> None:
    async def scene() -> None:
        async with Box(office("101")) as box:
            first, second = await box.phone("101"), await box.phone("101")
            assert len(bindings(box)) == 2
            assert await second.register(contacts=["*"], expires=60) == 400
            assert len(bindings(box)) == 2
            assert await second.register(contacts=["*"], expires=0) == 200
            assert bindings(box) == []
            assert first.user == "101"

    run(scene())


def test_expiry_bounds() -> None:
    async def scene() -> None:
        async with Box(office("101")) as box:
            phone = await box.phone("101", register=False)
            response = await phone.registered(expires=10)
            assert response.status == 423
            assert response.get("Min-Expires") == "60"
            response = await phone.registered(expires=10**8)
            assert int(response.contacts[0].params["expires"]) <= 3600
            await box.seconds(3601)
            assert bindings(box) == []
            await box.seconds(1)
            assert box.rows == {}

    run(scene())


def test_at_most_ten_contacts() -> None:
    async def scene() -> None:
        async with Box(office("101")) as box:
            phone = await box.phone("101", register=False)
            contacts = [f"<sip:101@198.51.100.9:{5000 + n}>" for n in range(11)]
            response = await phone.registered(contacts=contacts)
            assert response.status == 403
            assert "At most 10 contacts" in (response.get("Reason") or "")
            assert bindings(box) == []
            assert await phone.register(contacts=contacts[:10]) == 200
            assert await phone.register(contacts=contacts[10:]) == 200
            assert len(bindings(box)) == 10
            assert "5010" in bindings(box)[-1]

    run(scene())


@pytest.mark.parametrize("transport", ["UDP", "TLS"])
def test_a_phone_that_comes_back_each_time_from_another_port_is_never_one_too_many(transport: str) -> None:
    """Its router restarts, or its connection closes: a new port, a new Call-ID and no instance (RFC 3261 §10.3 knows no limit)."""

    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, steady = await box.phone("101"), await box.phone("102", host="198.51.100.99")
            b = await box.phone("102", transport=transport)
            for number in range(25):
                await box.seconds(20)
                b.reconnect(close=transport != "UDP")
                b.call_id = f"after-restart-{number}"
                assert await b.register() == 200
                if number % 5 == 0:
                    assert await steady.register() == 200
                await box.seconds(1)
            assert len(bindings(box, "l102")) == len(box.rows) - 1 <= 10
            assert any("198.51.100.99" in contact for contact in bindings(box, "l102")), "who refreshes stays"
            call = await a.call("102")
            assert call.final.result() == 200
            assert not b.incoming.empty()
            call.hang_up()

    run(scene())


def test_away_makes_room_first_and_who_is_in_a_call_never() -> None:
    async def scene() -> None:
        async with Box(office("101", "102", lines=1)) as box:
            caller = await box.phone("102")
            oldest = await box.phone("101")
            call = await oldest.call("102")
            phones = [await box.phone("101", transport="TCP") for _ in range(9)]
            box.engine.close_flow(phones[5].flow.id)
            await box.seconds(1)
            assert len(bindings(box)) == 10
            before = set(bindings(box))
            await box.phone("101")
            assert (before - set(bindings(box))) == {phones[5].contact.strip("<>")}
            before = set(bindings(box))
            await box.phone("101")
            assert (before - set(bindings(box))) == {phones[0].contact.strip("<>")}, (
                "the oldest is in a call: the next goes"
            )
            call.hang_up()
            assert caller.user == "102"

    run(scene())


def test_a_phone_that_has_started_again_may_count_from_one() -> None:
    """The same Call-ID, CSeq 700, then 1, the right password over a fresh nonce."""

    async def scene() -> None:
        async with Box(office("101")) as box:
            phone = await box.phone("101", register=False)
            phone.count_from(700)
            assert await phone.register() == 200
            await box.seconds(30)
            phone.count_from(1)
            assert await phone.register() == 200
            assert await phone.register(contacts=["*"], expires=0) == 200

    run(scene())


def test_what_comes_late_or_once_more_undoes_nothing() -> None:
    async def scene() -> None:
        async with Box(office("101")) as box:
            phone = await box.phone("101", register=False)
            to, uri = "<sip:101@192.0.2.1>", "sip:192.0.2.1"
            asked = [await challenged(phone) for _ in range(2)]
            contact = ("Contact", "<sip:101@198.51.100.9:5000>")

            async def register(number: int, question: Response, expires: int) -> int:
                fields = [("Call-ID", "one"), ("CSeq", f"{number} REGISTER"), contact, ("Expires", str(expires))]
                fields.append(phone.credentials(question, "REGISTER", uri))
                return (await phone.request("REGISTER", uri, to=to, headers=fields)).status

            assert await register(7, asked[0], 600) == 200
            assert await register(6, asked[1], 0) == 500, "asked before the last change, so it is late"
            assert await register(8, asked[0], 0) == 401, "a spent nonce"
            assert len(bindings(box)) == 1

    run(scene())


def test_an_instance_that_comes_back_replaces_its_old_binding() -> None:
    async def scene() -> None:
        async with Box(office("101")) as box:
            phone = await box.phone("101", transport="TLS", instance="<urn:uuid:0001>")
            first = bindings(box)
            phone.reconnect(close=False)
            phone.call_id = "another"
            response = await phone.registered()
            assert response.get("Flow-Timer")
            assert len(bindings(box)) == 1
            assert bindings(box) != first

    run(scene())


def test_a_closed_connection_makes_the_phone_unreachable_until_it_comes_back() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102", transport="TCP")
            box.engine.close_flow(b.flow.id)
            await box.seconds(1)
            assert (await a.call("102")).final.result() == 480
            b.reconnect()
            assert await b.register() == 200
            assert len(bindings(box, "l102")) == 1
            call = await a.call("102")
            assert call.final.result() == 200
            call.hang_up()

    run(scene())


def test_a_udp_phone_is_dialled_when_its_flow_was_forgotten() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            box.engine.close_flow(b.flow.id)
            await box.seconds(1)
            call = await a.call("102")
            assert call.final.result() == 200
            call.hang_up()

    run(scene())


@pytest.mark.parametrize("method", ["REGISTER", "INVITE"])
def test_the_answer_does_not_tell_which_names_exist(method: str) -> None:
    async def scene() -> None:
        async with Box(office("101")) as box:
            seen = []
            for user, password in (("101", "wrong"), ("777", "wrong")):
                phone = await box.phone(user, register=False, password=password)
                if method == "REGISTER":
                    response: Response | None = await phone.registered()
                else:
                    response = (await phone.call("101")).rejection
                assert response is not None
                names = [name for name, _ in response.headers]
                values = [len(response.get(name) or "") for name in names if name.endswith("Authenticate")]
                seen.append((response.status, names, values))
            assert seen[0] == seen[1]
            assert not box.exchange.registrar.bindings("l101")

    run(scene())


def test_nobody_registers_as_somebody_else() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            phone = await box.phone("101", register=False)
            assert await phone.register(to_user="102") == 403
            assert bindings(box, "l102") == []
            refusal = box.controller.refusals.last_of("l101")
            assert refusal is not None
            assert refusal.kind == "another line"
            assert "'102'" in english().say(refusal.message)

    run(scene())


async def challenged(phone: Phone) -> Response:
    response = await phone.request("REGISTER", "sip:192.0.2.1", to=f"<sip:{phone.user}@192.0.2.1>")
    assert response.status == 401
    return response


def test_credentials_are_good_once_per_count() -> None:
    async def scene() -> None:
        async with Box(office("101")) as box:
            phone = await box.phone("101", register=False)
            response = await challenged(phone)
            to = "<sip:101@192.0.2.1>"

            async def again(nc: int) -> Response:
                return await phone.request(
                    "REGISTER",
                    "sip:192.0.2.1",
                    to=to,
                    headers=[phone.credentials(response, "REGISTER", "sip:192.0.2.1", nc)],
                )

            assert (await again(1)).status == 200
            assert (await again(2)).status == 200, "a phone may keep its nonce"
            replayed = await again(2)
            assert replayed.status == 401
            challenge = digest.Challenge.parse(replayed.get("WWW-Authenticate") or "")
            assert challenge is not None
            assert challenge.stale, "the password was right"
            await box.seconds(400)
            old = await again(3)
            assert old.status == 401

    run(scene())


def test_credentials_are_bound_to_method_uri_and_source() -> None:
    async def scene() -> None:
        async with Box(office("101")) as box:
            phone, thief = (
                await box.phone("101", register=False),
                await box.phone("101", register=False, password="unknown"),
            )
            to = "<sip:101@192.0.2.1>"
            for who, method, uri, status in (
                (phone, "OPTIONS", "sip:192.0.2.1", 401),
                (phone, "REGISTER", "sip:203.0.113.9", 401),
                (thief, "REGISTER", "sip:192.0.2.1", 401),
                (phone, "REGISTER", "sip:192.0.2.1", 200),
            ):
                header = phone.credentials(await challenged(phone), method, uri)
                assert (await who.request("REGISTER", "sip:192.0.2.1", to=to, headers=[header])).status == status

    run(scene())


def test_guessing_is_held_back_but_no_owner_is() -> None:
    """Four messages a second for an hour; the owner behind another address, neighbours and the owner behind the very same one."""

    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            phone = await box.phone("101")
            thief = await box.phone("101", register=False, password="guess", host="203.0.113.9")
            statuses = []
            for number in range(600):
                statuses.append(await thief.register())
                await box.seconds(6)
                if number % 60 == 0:
                    assert await phone.register() == 200, "a stranger cannot lock the phone out"
                    for user in ("101", "102"):
                        neighbour = await box.phone(user, host="203.0.113.9", register=False)
                        assert await neighbour.register() == 200
            assert statuses[:8] == [401] * 8
            assert statuses.count(503) > 400
            assert {one.kind for one in box.controller.refusals.last()} <= {"wrong password", "held back"}
            for contact in box.exchange.registrar.bindings("l101"):
                assert contact.port != thief.flow.remote[1]

    run(scene())


@pytest.mark.parametrize(
    ("method", "status"),
    [
        ("OPTIONS", 200),
        ("SUBSCRIBE", 489),
        ("PUBLISH", 489),
        ("MESSAGE", 405),
        ("REFER", 405),
        ("NOTIFY", 481),
        ("INFO", 481),
        ("UPDATE", 481),
    ],
)
def test_other_requests_never_reach_anybody(method: str, status: int) -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            b = await box.phone("102")
            stranger = await box.phone("nobody", register=False)
            for user in ("102", "999"):
                response = await stranger.request(method, f"sip:{user}@192.0.2.1", headers=[("Event", "presence")])
                assert response.status == status
            if method in ("OPTIONS", "MESSAGE", "REFER"):
                assert response.tokens("Allow") == [each.lower() for each in SWITCHROOM.methods]
            assert b.log == [event for event in b.log if type(event).__name__ == "Answered"]

    run(scene())


def test_an_invite_without_a_password_goes_nowhere() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            b = await box.phone("102")
            stranger = await box.phone("101", register=False, password="unknown")
            assert (await stranger.call("102")).final.result() == 407
            assert b.incoming.empty()
            assert box.engine.history == [], "nothing was allocated"
            assert box.records == []

    run(scene())


def test_the_tls_connection_of_a_registered_line_is_proof_for_that_line_only() -> None:
    async def scene() -> None:
        async with Box(office("101", "102", "103")) as box:
            a, b = await box.phone("101", transport="TLS"), await box.phone("102")
            call = await a.call("102")
            assert call.final.result() == 200
            assert not any(getattr(event, "status", 0) == 407 for event in a.log), "no second challenge"
            call.hang_up()
            a.password = "unknown"
            other = await a.call("102", from_="<sip:103@192.0.2.1>")
            assert other.final.result() == 407, "it is no proof for another line"
            assert b.incoming.qsize() == 1

    run(scene())


def test_a_new_configuration_takes_phones_out() -> None:
    async def scene() -> None:
        before = office("101", "102", "103")
        async with Box(before) as box:
            a, b, c = await box.phone("101"), await box.phone("102"), await box.phone("103", transport="TLS")
            call = await a.call("102")
            line = before.lines["l103"].model_copy(update={"sip_password": "another-password"})
            extension = before.extensions["e102"].model_copy(update={"encrypt": "required"})
            box.apply(before.without("line", "l101").with_record("line", line).with_record("extension", extension))
            assert len(box.exchange.registrar) == 0
            await box.seconds(5)
            assert not call.ended, "calls keep what they began with"
            call.hang_up()
            await box.seconds(1)
            assert (await b.incoming.get()).ended
            assert (await c.call("102")).final.result() == 407
            assert (await c.register()) == 401

    run(scene())


def test_a_flood_from_one_host_is_dropped_before_it_is_parsed() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a = await box.phone("101")
            stranger = await box.phone("x", register=False)
            for _ in range(3000):
                stranger.send("OPTIONS sip:192.0.2.1 SIP/2.0\n\n")
            await box.seconds(0.5)
            assert box.exchange.turn.driver.dropped > 1500
            assert (await a.request("OPTIONS", "sip:192.0.2.1")).status == 200
            await box.seconds(60)

    run(scene())
