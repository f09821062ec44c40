"""The last refused attempts: kept per line and for the box, correlated by address, over when a phone has registered. Pure."""

from __future__ import annotations

import pytest

from appliance.calls.registrar import refusals
from appliance.calls.registrar.refusals import KINDS, Refusals
from appliance.words import Fact, Said, english
from appliance.words.catalogue import PLACE
from media_core.flows.flow_table import REFUSALS

PHONE, STRANGER = ("198.51.100.7", 5060), ("203.0.113.9", 40000)
REGISTER = Said("refused.to-register")
FACTS: dict[str, Fact] = {"seconds": 4, "number": "101", "transport": "UDP", "wanted": "102", "detail": "no cipher"}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_says_what_happened_and_what_to_do(kind: str) -> None:
    last = Refusals()
    assert last.add(kind, PHONE, 1.0, line="l1", account="101", doing=REGISTER, **FACTS)
    refusal = last.last_of("l1")
    assert refusal is not None
    message = english().say(refusal.message)
    assert message.endswith(".")
    assert english().say(refusal.repair).endswith(".")
    for name, _ in PLACE.findall(english().patterns[refusal.message.key]):
        assert str({"account": "101", "doing": "register", **FACTS}[name]) in message


def test_the_last_of_a_line_is_over_when_a_phone_registers() -> None:
    last = Refusals()
    last.add("wrong password", PHONE, 10.0, line="l1", account="101", doing=REGISTER)
    last.registered("l1", PHONE[0], 20.0)
    refusal = last.last_of("l1")
    assert refusal is not None
    assert (refusal.time, refusal.over) == (10.0, 20.0)
    assert last.add("wrong password", PHONE, 30.0, line="l1", account="101", doing=REGISTER), "it is news again"
    refusal = last.last_of("l1")
    assert refusal is not None
    assert (refusal.count, refusal.over) == (1, None)


def test_repetitions_are_counted_and_are_no_news() -> None:
    last = Refusals()
    news = [last.add("unknown user", STRANGER, float(n), account=f"u{n}", doing=REGISTER) for n in range(50)]
    assert news == [True] + [False] * 49
    assert [(one.count, one.account) for one in last.last()] == [(50, "u49")], "a scanner is one entry"
    assert last.add("unknown user", STRANGER, 1000.0, account="u", doing=REGISTER), "much later it is news again"


def test_a_failed_handshake_counts_for_the_only_line_of_that_address() -> None:
    last = Refusals()
    last.registered("l1", PHONE[0], 1.0)
    last.add("no common cipher", PHONE, 2.0, detail="no shared cipher")
    assert last.last_of("l1") is not None
    last.registered("l2", PHONE[0], 3.0)
    last.add("old version", PHONE, 4.0, detail="TLS 1.1")
    assert last.last_of("l2") is None, "two lines are behind that address: it is neither's"
    last.registered("l1", "198.51.100.99", 5.0)
    last.add("certificate refused", PHONE, 6.0, detail="unknown ca")
    refusal = last.last_of("l2")
    assert refusal is not None
    assert refusal.kind == "certificate refused"


def test_every_reason_a_handshake_fails_for_has_its_row() -> None:
    assert set(REFUSALS) <= set(KINDS)


def test_strangers_fill_no_memory_and_push_no_line_out() -> None:
    last = Refusals()
    last.add("must use TLS", PHONE, 0.0, line="l1", account="101", number="101", transport="UDP")
    for number in range(10 * refusals.OTHERS):
        last.add("unknown user", (f"h{number}", 1), 1.0 + number, account="x" * 1000, doing=REGISTER)
    assert len(last.last()) == refusals.OTHERS + 1
    assert max(len(one.account) for one in last.last()) == refusals.NAME
    assert last.last_of("l1") is not None
    last.keep(["l2"])
    assert last.last_of("l1") is None
