"""Two phones that have no codec in common hear each other: the core transcodes. Also while they hold, and over the death of the core."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.baresip import Phone
from tests.e2e.running import Credentials, System
from tests.e2e.test_calls import HIGH, LOW, establish, expect_nothing_left, hold_and_resume

Extensions = Callable[..., Credentials]
Phones = Callable[..., Phone]
OPUS, G722, G711 = "opus/48000/2", "g722", "pcma"


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("ours", "theirs", "transport"),
    [(OPUS, G711, "udp"), (G711, OPUS, "udp"), (G711, OPUS, "tls"), (G722, OPUS, "udp")],
)
def test_phones_of_different_codecs_hear_each_other(
    system: System, extension: Extensions, phone: Phones, ours: str, theirs: str, transport: str
) -> None:
    encryption = "srtp-mand" if transport == "tls" else ""
    caller = phone(extension(), transport=transport, encryption=encryption, tone=LOW, codecs=ours)
    called = phone(extension(), transport=transport, encryption=encryption, tone=HIGH, codecs=theirs)
    establish(caller, called)
    called.expect_tone(LOW)
    caller.expect_tone(HIGH)
    if (ours, transport) == (G711, "udp"):
        system.kill("core")
        called.expect_tone(LOW)
        caller.expect_tone(HIGH)
    hold_and_resume(caller, called)
    caller.hang_up()
    called.wait_for("CALL_CLOSED")
    expect_nothing_left(system)
