"""One row says what a user agent can do: every answer that promises something, and every refusal, agrees with it."""

from __future__ import annotations

import pytest

from appliance.calls.legs.abilities import SWITCHROOM
from appliance.sip.abilities import PHONE, Abilities
from appliance.sip.text.message import Request, Response
from tests.sip.net import ABLE, SDP
from tests.sip.test_stack import Bench, established, request, statuses

ROWS = {"the system": SWITCHROOM, "a phone": PHONE, "events": Abilities(events=("message-summary", "dialog"), info=("a/b",))}
ALL_METHODS = (
    "INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER", "SUBSCRIBE", "NOTIFY", "REFER", "INFO", "MESSAGE", "UPDATE", "PUBLISH", "PRACK",
    "DANCE",
)  # fmt: skip


def answers(can: Abilities, *, inside: bool) -> dict[str, Response]:
    """What each method gets at once, outside a dialog or inside one; those that are handed up or never answered are left out."""
    found: dict[str, Response] = {}
    for number, method in enumerate(ALL_METHODS):
        bench = Bench(can=can)
        tag = established(bench)[1] if inside else ""
        sent, _ = bench.receive(request(method, branch=f"z9hG4bKm{number}", to_tag=tag, number=9 + number, call_id="c" if inside else f"c{number}"))
        for each in sent:
            if isinstance(each, Response) and each.status >= 200:
                found[method] = each
    return found


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("can", ROWS.values(), ids=ROWS)
def test_what_is_promised_is_not_refused_and_the_other_way_round(can: Abilities, inside: bool) -> None:
    found = answers(can, inside=inside)
    assert {method for method in can.methods if method in found and found[method].status in (405, 489)} == set()
    for method in set(ALL_METHODS) - set(can.methods):
        status = found[method].status
        assert status == {"SUBSCRIBE": 489, "PUBLISH": 489, "NOTIFY": 481}.get(method, 405)
        if status == 405:
            assert found[method].get("Allow") == can.allow[1]
        if status == 489:
            assert found[method].tokens("Allow-Events") == list(can.events)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("can", ROWS.values(), ids=ROWS)
def test_options_say_what_is_true(can: Abilities, inside: bool) -> None:
    found = answers(can, inside=inside)["OPTIONS"]
    assert found.status == 200
    assert found.tokens("Allow") == [each.lower() for each in can.methods]
    assert found.supported == [*can.extensions, *can.registration]
    assert found.tokens("Accept") == [*can.bodies, *can.info]
    assert found.tokens("Allow-Events") == list(can.events)


@pytest.mark.parametrize("can", ROWS.values(), ids=ROWS)
def test_every_answer_in_a_call_promises_the_same(can: Abilities) -> None:
    bench = Bench(can=can)
    _, told = bench.receive(request(body=SDP))
    session = told[0].session  # type: ignore[union-attr]
    bench.stack.ring(session, bench.now)
    bench.stack.accept(session, SDP, bench.now)
    bench.receive(request("ACK", branch="z9hG4bKa", to_tag=bench.outputs()[0][0].to.tag))
    bench.stack.offer(session, SDP, bench.now)
    bench.stack.invite(1, "sip:9@x", bench.now, from_="<sip:1@x>", to="<sip:9@x>", offer=SDP)
    said = bench.outputs()[0]
    assert {each.get("Allow") for each in said if isinstance(each, Request) and each.method == "INVITE"} == {can.allow[1]}
    assert {each.get("Supported") for each in said if isinstance(each, Request) and each.method == "INVITE"} == {can.supported[1]}


@pytest.mark.parametrize("tag", ["replaces", "precondition", "timer, tdialog"])
@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "REGISTER"])
def test_an_extension_that_is_not_promised_is_refused_by_name(method: str, tag: str) -> None:
    sent, told = Bench(can=SWITCHROOM).receive(request(method, extra=f"Require: {tag}\r\n"))
    assert (statuses(sent), told, sent[0].get("Unsupported")) == ([420], [], tag.rpartition(" ")[2])


def test_outbound_belongs_to_a_registration() -> None:
    assert statuses(Bench(can=SWITCHROOM).receive(request("REGISTER", extra="Require: outbound\r\n"))[0]) == []
    assert statuses(Bench(can=SWITCHROOM).receive(request("INVITE", extra="Require: outbound\r\n"))[0]) == [420]


@pytest.mark.parametrize("required", ["", "Require: replaces\r\n"])
@pytest.mark.parametrize(
    ("replaces", "status"),
    [
        ("nobody;to-tag=a;from-tag=b", 481),
        ("c;to-tag={tag};from-tag=g", 481),
        ("c;to-tag=g;from-tag=f", 481),
        ("c;to-tag={tag}", 400),
        ("", 400),
    ],
)
def test_a_replaces_that_names_nobody(replaces: str, status: int, required: str) -> None:
    """Seen from a phone whose transfer target had hung up: it got a new call instead of 481 (RFC 3891 §3)."""
    bench = Bench(can=SWITCHROOM)
    _, tag = established(bench)
    sent, told = bench.receive(
        request(branch="z9hG4bKr", call_id="r", extra=f"Replaces: {replaces.format(tag=tag)}\r\n{required}", body=SDP)
    )
    assert (statuses(sent), told) == ([status], [])


def test_a_replaces_of_a_call_we_have_is_not_promised() -> None:
    bench = Bench(can=SWITCHROOM)
    _, tag = established(bench)
    extra = f"Replaces: c;to-tag={tag};from-tag=f\r\nRequire: replaces\r\n"
    sent, told = bench.receive(request(branch="z9hG4bKr", call_id="r", extra=extra, body=SDP))
    assert (statuses(sent), told, sent[0].get("Unsupported")) == ([420], [], "replaces")


def test_bodies() -> None:
    for method, kind, status in (
        ("INFO", "text/plain", 415), ("UPDATE", "text/plain", 415), ("INVITE", "text/plain", 415), ("OPTIONS", "text/plain", 200),
        ("BYE", "text/plain", 200),
    ):  # fmt: skip
        bench = Bench(can=SWITCHROOM)
        _, tag = established(bench)
        data = request(method, branch="z9hG4bKi", to_tag=tag, number=2, body=b"x").replace(b"application/sdp", kind.encode())
        sent, _ = bench.receive(data)
        assert statuses(sent) == [status], method
        if status == 415:
            assert sent[0].tokens("Accept") == list(SWITCHROOM.info if method == "INFO" else SWITCHROOM.bodies)


def test_the_row_of_the_tests_promises_what_its_methods_need() -> None:
    assert set(PHONE.methods) <= set(ABLE.methods)
