"""Back-off delays, never locks; tables are bounded."""

from __future__ import annotations

from appliance.callcontrol import security
from appliance.callcontrol.security import SecurityEvent, SecurityLog, Throttle


def test_the_first_mistakes_are_free_then_it_doubles_up_to_a_minute() -> None:
    throttle, now = Throttle(), 1000.0
    for _ in range(security.FREE):
        throttle.failed("h", "101", now)
        assert throttle.delay("h", "101", now) == 0
    delays = []
    for _ in range(10):
        throttle.failed("h", "101", now)
        delays.append(throttle.delay("h", "101", now))
    assert delays[:3] == [2.0, 4.0, 8.0]
    assert max(delays) == security.DELAY_MAX
    assert throttle.delay("h", "other", now) > 0, "the source waits whatever it tries"
    assert throttle.delay("elsewhere", "101", now) > 0, "the account waits from wherever it is tried"
    assert throttle.delay("elsewhere", "other", now) == 0
    assert throttle.delay("h", "101", now + 61) == 0


def test_who_knows_the_password_is_not_locked_out_by_strangers() -> None:
    throttle, now = Throttle(), 1000.0
    throttle.succeeded("desk", "101", now)
    for number in range(100):
        throttle.failed(f"bot{number}", "101", now)
    assert throttle.delay("desk", "101", now) == 0
    assert throttle.delay("new", "101", now) > 0


def test_old_failures_are_forgotten() -> None:
    throttle = Throttle()
    for _ in range(security.FREE):
        throttle.failed("h", "101", 0.0)
    throttle.failed("h", "101", security.FORGET + 1)
    assert throttle.delay("h", "101", security.FORGET + 1) == 0


def test_tables_are_bounded() -> None:
    throttle = Throttle()
    for number in range(security.ENTRIES):
        throttle.failed(f"h{number}", f"a{number}", 0.0)
        throttle.succeeded(f"h{number}", f"a{number}", 0.0)
    assert len(throttle._failures) <= security.ENTRIES
    assert len(throttle._good) <= security.ENTRIES


def test_repetitions_are_counted() -> None:
    log = SecurityLog()
    news = [log.add(SecurityEvent(float(n), "wrong password", "h", "101", "…")) for n in range(50)]
    assert news == [True] + [False] * 49
    assert log.add(SecurityEvent(50.0, "wrong password", "other", "101", "…"))
    assert [event.count for event in log] == [50, 1]
    assert log.add(SecurityEvent(1000.0, "wrong password", "h", "101", "…")), "much later it is news again"
