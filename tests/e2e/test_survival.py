"""A process is killed with -9 during an encrypted call: the sound goes on, and hold and hang-up work afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.baresip import Phone
from tests.e2e.running import Credentials, System
from tests.e2e.test_calls import HIGH, LOW, establish, expect_nothing_left, hold_and_resume

Extensions = Callable[..., Credentials]
Phones = Callable[..., Phone]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("process", "transport"), [("web", "tls"), ("calls", "udp"), ("calls", "tcp"), ("calls", "tls"), ("core", "udp")]
)
def test_call_survives_the_death_of_a_process(system: System, extension: Extensions, phone: Phones, process: str, transport: str) -> None:
    encryption = "srtp-mand" if transport == "tls" else ""
    caller = phone(extension(), transport=transport, encryption=encryption, tone=LOW)
    called = phone(extension(), transport=transport, encryption=encryption, tone=HIGH)
    establish(caller, called)
    called.expect_tone(LOW)
    caller.expect_tone(HIGH)

    restarts = system.view(process)["restarts"]
    system.kill(process)
    assert system.view(process)["restarts"] == restarts + 1
    called.expect_tone(LOW)
    caller.expect_tone(HIGH)
    assert system.counters()["calls"] == 1

    hold_and_resume(caller, called)
    caller.hang_up()
    called.wait_for("CALL_CLOSED")
    expect_nothing_left(system)
