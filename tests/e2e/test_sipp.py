"""SIPp over UDP and TCP: registration, a call, CANCEL, and the right refusal for what must be refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import sipp
from tests.e2e.running import Credentials, System, free_port
from tests.e2e.sipp import SDP, expect, expect_request, login, pause, play, request, response, send
from tests.e2e.test_calls import expect_nothing_left

Extensions = Callable[..., Credentials]
TRANSPORTS = pytest.mark.parametrize("transport", ["udp", "tcp"])
PCMA = SDP.format(codec=8, name="PCMA")
UNKNOWN = SDP.format(codec=96, name="NOSUCH")


def register(who: Credentials, expires: int = 300, sequence: int = 1) -> list[str]:
    header = f"Expires: {expires}\n"
    return [
        send(request("REGISTER", "", sequence, who, headers=header)),
        expect(401, challenge=True),
        send(request("REGISTER", "", sequence + 1, who, headers=login(who) + header)),
        expect(200),
    ]


def invite(who: Credentials, to: str, sdp: str = PCMA) -> list[str]:
    """Up to the answer to the INVITE with credentials."""
    return [
        send(request("INVITE", f"{to}@", 1, who, body=sdp)),
        expect(100, optional=True),
        expect(407, challenge=True),
        send(request("ACK", f"{to}@", 1, who, to_tag=True), retransmit=False),
        send(request("INVITE", f"{to}@", 2, who, headers=login(who), body=sdp, branch="z9hG4bK-second-[call_number]")),
        expect(100, optional=True),
    ]


def acknowledge_refusal(who: Credentials, to: str) -> str:
    return send(request("ACK", f"{to}@", 2, who, to_tag=True, branch="z9hG4bK-second-[call_number]"), retransmit=False)


@TRANSPORTS
def test_register_and_unregister(system: System, extension: Extensions, tmp_path: Path, transport: str) -> None:
    who = extension()
    play(system, tmp_path, "register", [*register(who), pause(200), *register(who, 0, sequence=3)], transport=transport)
    assert system.counters()["registrations"] == 0


def test_wrong_password(system: System, extension: Extensions, tmp_path: Path) -> None:
    given = extension(number="778")  # the name is held back for a while afterwards
    play(
        system, tmp_path, "wrong", [*register(Credentials(given.number, given.username, "wrong", ""))[:3], expect(401)]
    )


def test_administrator_cannot_register(system: System, tmp_path: Path) -> None:
    arguments = ("user", "add", "boss", "--data", str(system.data), "--role", "full", "--password")
    done = system.run(*arguments, typed="correct horse battery\n")
    assert done.returncode == 0, done.stderr
    play(system, tmp_path, "boss", [*register(Credentials("boss", "boss", "anything", ""))[:3], expect(401)])


@TRANSPORTS
def test_call(system: System, extension: Extensions, tmp_path: Path, transport: str) -> None:
    caller, called, port = extension(), extension(), free_port()
    play(system, tmp_path, "register", register(called), port=port)
    answering = [
        expect_request("INVITE"),
        send(response(180, "Ringing", contact=called.username), retransmit=False),
        pause(100),
        send(response(200, "OK", contact=called.username, body=PCMA)),
        expect_request("ACK"),
        expect_request("BYE"),
        send(response(200, "OK", in_dialog=True), retransmit=False),
    ]
    calling = [
        *invite(caller, called.number),
        expect(180, optional=True),
        expect(200),
        send(
            request("ACK", f"{called.number}@", 2, caller, to_tag=True, branch="z9hG4bK-ack-[call_number]"),
            retransmit=False,
        ),
        pause(300),
        send(request("BYE", f"{called.number}@", 3, caller, to_tag=True, branch="z9hG4bK-bye-[call_number]")),
        expect(200),
    ]
    with sipp.running(system, tmp_path, "answer", answering, port=port):
        play(system, tmp_path, "call", calling, transport=transport)
    expect_nothing_left(system)


@TRANSPORTS
def test_cancel(system: System, extension: Extensions, tmp_path: Path, transport: str) -> None:
    caller, called, port = extension(), extension(), free_port()
    play(system, tmp_path, "register", register(called), port=port)
    ringing = [
        expect_request("INVITE"),
        send(response(180, "Ringing", contact=called.username), retransmit=False),
        expect_request("CANCEL"),
        send(response(200, "OK"), retransmit=False),
        send(response(487, "Request Terminated").replace("[last_CSeq:]", "CSeq: 1 INVITE"), retransmit=False),
        expect_request("ACK"),
    ]
    giving_up = [
        *invite(caller, called.number),
        expect(180),
        send(request("CANCEL", f"{called.number}@", 2, caller, branch="z9hG4bK-second-[call_number]")),
        expect(200),
        expect(487),
        acknowledge_refusal(caller, called.number),
    ]
    with sipp.running(system, tmp_path, "ring", ringing, port=port):
        play(system, tmp_path, "cancel", giving_up, transport=transport)
    expect_nothing_left(system)


def test_nobody_there(system: System, extension: Extensions, tmp_path: Path) -> None:
    caller, away = extension(), extension()
    for number, status in ((away.number, 480), ("99999", 404)):
        play(
            system,
            tmp_path,
            f"to-{status}",
            [*invite(caller, number), expect(status), acknowledge_refusal(caller, number)],
        )


def test_no_common_codec_is_488(system: System, extension: Extensions, tmp_path: Path) -> None:
    caller = extension()
    play(system, tmp_path, "codec", [*invite(caller, "*60", UNKNOWN), expect(488), acknowledge_refusal(caller, "*60")])


@TRANSPORTS
def test_required_encryption_refuses_registration_in_clear(
    system: System, extension: Extensions, tmp_path: Path, transport: str
) -> None:
    strict = extension(encrypt="required")
    steps = [*register(strict)[:3], expect(403, containing="(Warning|Reason): .*TLS")]
    play(system, tmp_path, "strict", steps, transport=transport)
    assert system.counters()["registrations"] == 0


@TRANSPORTS
@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [("OPTIONS", "", 200), ("NOSUCH", "", 405), ("OPTIONS", "Require: nosuchthing\n", 420), ("BYE", "", 481)],
)
def test_answers_outside_a_dialog(
    system: System, extension: Extensions, tmp_path: Path, transport: str, method: str, headers: str, status: int
) -> None:
    who = Credentials("100", "100", "", "")
    text = request(method, "", 1, who, headers=headers).replace(
        "To: <sip:100@[remote_ip]>", "To: <sip:100@[remote_ip]>" + (";tag=none" if status == 481 else "")
    )
    play(system, tmp_path, method.lower(), [send(text), expect(status)], transport=transport)
