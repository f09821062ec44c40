"""Guessing is slowed, nobody is locked out; tables are bounded."""

from __future__ import annotations

from appliance.calls.registrar import security
from appliance.calls.registrar.security import SecurityEvent, SecurityLog, Throttle
from appliance.words import Said

HERE, NEXT = ("192.0.2.7", 5060), ("192.0.2.7", 5061)


def test_the_first_mistakes_are_free_then_it_doubles_up_to_a_minute() -> None:
    throttle, now = Throttle(), 1000.0
    assert [throttle.wrong({HERE}, "101", now) for _ in range(security.FREE)] == [0.0] * security.FREE
    assert throttle.held_until(HERE, "101") == 0.0
    delays = [throttle.wrong({HERE}, "101", now) for _ in range(10)]
    assert delays[:3] == [2.0, 4.0, 8.0]
    assert max(delays) == security.DELAY_MAX
    assert throttle.held_until(HERE, "101") == now + security.DELAY_MAX


def test_only_the_port_that_guesses_waits_and_only_for_that_account() -> None:
    throttle, now = Throttle(), 1000.0
    for _ in range(100):
        throttle.wrong({HERE}, "101", now)
    assert throttle.held_until(HERE, "102") == 0.0
    assert throttle.held_until(NEXT, "101") == 0.0
    assert throttle.wrong({NEXT}, "101", now) > 0, "the same host guessing from another port has used up its free ones"
    assert throttle.wrong({("198.51.100.1", 5060)}, "101", now) == 0.0, "another host has not"
    throttle.right(HERE, "101")
    assert throttle.held_until(HERE, "101") == 0.0


def test_old_mistakes_are_forgotten() -> None:
    throttle = Throttle()
    for _ in range(security.FREE):
        throttle.wrong({HERE}, "101", 0.0)
    assert throttle.wrong({HERE}, "101", security.FORGET + 1) == 0.0


def test_tables_are_bounded_and_what_is_forgotten_is_forgiven() -> None:
    throttle = Throttle()
    for _ in range(20):
        throttle.wrong({HERE}, "101", 0.0)
    for number in range(security.ENTRIES + 1):
        for _ in range(security.FREE + 1):
            throttle.wrong({(f"h{number}", 1)}, "101", 0.0)
    assert len(throttle._wrong) == len(throttle._held) == security.ENTRIES
    assert throttle.held_until(HERE, "101") == 0.0


def test_repetitions_are_counted() -> None:
    log = SecurityLog()
    news = [log.add(SecurityEvent(float(n), "forged media", "h", "101", Said("security.mixed"))) for n in range(50)]
    assert news == [True] + [False] * 49
    assert log.add(SecurityEvent(50.0, "forged media", "other", "101", Said("security.mixed")))
    assert [event.count for event in log] == [50, 1]
    assert log.add(SecurityEvent(1000.0, "forged media", "h", "101", Said("security.mixed"))), "much later it is news again"
