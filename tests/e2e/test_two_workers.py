"""Calls whose legs are on two workers of the media core, through the whole system: a box with two legs has one on each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.baresip import Phone
from tests.e2e.running import Credentials, System
from tests.e2e.test_calls import HIGH, LOW, establish, expect_nothing_left, hold_and_resume

Extensions = Callable[..., Credentials]
Phones = Callable[..., Phone]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    running = System(tmp_path_factory.mktemp("box") / "var", "--workers", "2", calls=1)
    running.start()
    try:
        yield running
    finally:
        code = running.stop()
        print(running.output.read_text())  # shown by pytest when a test failed  # noqa: T201
    assert code == 0


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("encryption", "codecs"), [("srtp-mand", "pcma"), ("srtp-mand", "opus/48000/2"), ("", "pcma")])
def test_a_call_across_is_heard_held_and_outlives_the_core(
    system: System, extension: Extensions, phone: Phones, encryption: str, codecs: str
) -> None:
    """Relayed, and transcoded."""
    before = system.counters()
    transport = "tls" if encryption else "udp"
    caller = phone(extension(), transport=transport, encryption=encryption, tone=LOW, codecs="pcma")
    called = phone(extension(), transport=transport, encryption=encryption, tone=HIGH, codecs=codecs)
    establish(caller, called)
    called.expect_tone(LOW)
    caller.expect_tone(HIGH)
    if not encryption:  # connections end with the core, and come back when their phones want it
        system.kill("core")
        called.expect_tone(LOW)
        caller.expect_tone(HIGH)
    hold_and_resume(caller, called)
    counters = system.counters()
    assert counters["workers"] == 2
    assert counters["crossing_lost"] == 0
    if codecs == "pcma":
        assert counters["crossed"] > before["crossed"] + 100
    caller.hang_up()
    called.wait_for("CALL_CLOSED")
    expect_nothing_left(system)


@pytest.mark.timeout(60)
def test_the_number_of_workers_is_the_operators(tmp_path: Path) -> None:
    system = System(tmp_path / "var", "--workers", "1")
    system.start()
    try:
        assert system.counters()["workers"] == 1
    finally:
        assert system.stop() == 0
