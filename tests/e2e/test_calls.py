"""Calls between two real phones through the whole system: every transport, plain and SRTP, sound judged at the far end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.baresip import Phone
from tests.e2e.running import Credentials, System, wait_until

Extensions = Callable[..., Credentials]
Phones = Callable[..., Phone]

LOW, HIGH = 440, 1000


def establish(caller: Phone, called: Phone) -> None:
    caller.dial(called.number)
    caller.wait_for("CALL_ESTABLISHED")
    called.wait_for("CALL_ESTABLISHED")


def hold_and_resume(holder: Phone, held: Phone) -> None:
    """A hold stays on its leg: the phone that holds is sent nothing, the other one is not asked for anything; then both talk again."""
    holder.hold()
    holder.expect_rates(receives=False)
    held.expect_rates(sends=True)
    holder.resume()
    held.expect_rates(sends=True, receives=True)
    holder.expect_rates(sends=True, receives=True)


def expect_nothing_left(system: System) -> None:
    """No call, dialog or leg stays behind."""
    left: dict[str, int] = {}

    def cleared() -> bool:
        counters = system.counters()
        left.clear()
        left.update({name: counters[name] for name in ("calls", "legs", "dialogs") if counters[name]})
        return not left

    try:
        wait_until(cleared, "the call to be cleared")
    except AssertionError as error:
        raise AssertionError(f"{error}; left: {left}") from None


@pytest.mark.parametrize(
    ("transport", "encryption", "peer_transport", "peer_encryption"),
    [
        ("udp", "", "udp", ""),
        ("tcp", "", "tcp", ""),
        ("tls", "", "tls", ""),
        ("tls", "srtp-mand", "tls", "srtp-mand"),
        ("tls", "srtp-mand", "udp", ""),
        ("tcp", "", "tls", "srtp-mand"),
        ("tls", "srtp", "tls", ""),
    ],
)
def test_call_with_sound_hold_and_hang_up(
    system: System,
    extension: Extensions,
    phone: Phones,
    transport: str,
    encryption: str,
    peer_transport: str,
    peer_encryption: str,
) -> None:
    caller = phone(extension(), transport=transport, encryption=encryption, tone=LOW)
    called = phone(extension(), transport=peer_transport, encryption=peer_encryption, tone=HIGH)
    establish(caller, called)
    called.expect_tone(LOW)
    caller.expect_tone(HIGH)
    assert system.counters()["calls"] == 1

    hold_and_resume(caller, called)
    caller.hang_up()
    called.wait_for("CALL_CLOSED")
    expect_nothing_left(system)


def test_called_phone_hangs_up(system: System, extension: Extensions, phone: Phones) -> None:
    caller, called = phone(extension(), tone=LOW), phone(extension(), tone=HIGH)
    establish(caller, called)
    called.hang_up()
    caller.wait_for("CALL_CLOSED")
    expect_nothing_left(system)


def test_echo(system: System, extension: Extensions, phone: Phones) -> None:
    caller = phone(extension(), transport="tls", encryption="srtp-mand", tone=HIGH)
    caller.dial("*60")
    caller.wait_for("CALL_ESTABLISHED")
    caller.expect_tone(HIGH, seconds=20)
    caller.hang_up()
    expect_nothing_left(system)


def test_caller_gives_up(system: System, extension: Extensions, phone: Phones) -> None:
    caller, called = phone(extension()), phone(extension(), answer="manual")
    caller.dial(called.number)
    called.wait_for("CALL_INCOMING")
    caller.wait_for("CALL_RINGING")
    caller.hang_up()
    called.wait_for("CALL_CLOSED")
    expect_nothing_left(system)


def test_all_lines_of_an_extension_ring_and_one_answers(system: System, extension: Extensions, phone: Phones) -> None:
    target = extension()
    caller, first, second = (
        phone(extension(), tone=LOW),
        phone(target, answer="manual", tone=HIGH),
        phone(target, answer="manual"),
    )
    caller.dial(target.number)
    first.wait_for("CALL_INCOMING")
    second.wait_for("CALL_INCOMING")
    first.accept()
    caller.wait_for("CALL_ESTABLISHED")
    second.wait_for("CALL_CLOSED")
    caller.expect_tone(HIGH)
    caller.hang_up()
    first.wait_for("CALL_CLOSED")
    expect_nothing_left(system)


def test_required_encryption_refuses_registration_over_udp(
    system: System, extension: Extensions, phone: Phones
) -> None:
    strict = extension(encrypt="required")
    plain = phone(strict, register=False)
    plain.register()
    plain.wait_for("REGISTER_FAIL")
    answer = next(part for part in plain.log().split("SIP/2.0 ") if part.startswith("403"))
    assert "TLS" in answer


def test_required_encryption_refuses_plain_rtp(system: System, extension: Extensions, phone: Phones) -> None:
    caller, called = phone(extension(encrypt="required"), transport="tls"), phone(extension())
    caller.dial(called.number)
    assert "488" in caller.wait_for("CALL_CLOSED")["param"]


def test_wrong_password_is_refused(system: System, extension: Extensions, phone: Phones) -> None:
    given = extension(number="777")
    stranger = phone(Credentials(given.number, given.username, "guessed", ""), register=False)
    stranger.register()
    stranger.wait_for("REGISTER_FAIL")
