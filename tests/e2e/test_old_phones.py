"""Phones of older habits against the whole system, by their messages."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from appliance.sip.text import digest
from appliance.sip.text.message import Request, Response, answer_to, parse
from tests.e2e.baresip import Phone
from tests.e2e.running import Credentials, System


def register(system: System, line: Credentials, via: str, number: int, *more: str) -> bytes:
    name = f"sip:{line.username}@{system.host}"
    lines = (
        f"REGISTER sip:{system.host} SIP/2.0", f"Via: SIP/2.0/UDP {via};branch=z9hG4bKold{number}", "Max-Forwards: 70", f"From: <{name}>;tag=1",
        f"To: <{name}>", "Call-ID: old", f"CSeq: {number} REGISTER", f"Contact: <sip:{line.username}@{via}>", *more, "Content-Length: 0", "", "",
    )  # fmt: skip
    return "\r\n".join(lines).encode()


def answered(hearing: socket.socket) -> Response:
    response = parse(hearing.recv(4096))
    assert isinstance(response, Response)
    return response


def test_a_phone_without_rport_is_answered_and_called_where_it_listens(
    system: System, extension: Callable[..., Credentials], phone: Callable[..., Phone]
) -> None:
    line = extension()
    with socket.socket(type=socket.SOCK_DGRAM) as speaking, socket.socket(type=socket.SOCK_DGRAM) as hearing:
        speaking.bind((system.host, 0))
        hearing.bind((system.host, 0))
        hearing.settimeout(3)
        speaking.settimeout(0.1)
        via = f"{system.host}:{hearing.getsockname()[1]}"

        def say(number: int, *more: str) -> Response:
            speaking.sendto(register(system, line, via, number, *more), (system.host, system.sip_port))
            return answered(hearing)

        challenge = say(1)
        assert challenge.status == 401
        given = digest.strongest(challenge.get_all("WWW-Authenticate"))
        assert given is not None
        credentials = digest.answer(
            given,
            method="REGISTER",
            uri=f"sip:{system.host}",
            username=line.username,
            password=line.password,
            cnonce="c",
        )
        assert say(2, f"Authorization: {credentials}").status == 200
        with pytest.raises(TimeoutError):
            speaking.recv(4096)
        phone(extension()).dial(line.number)
        invite = parse(hearing.recv(4096))
        assert isinstance(invite, Request)
        assert (invite.method, invite.via.sent_by) == ("INVITE", (system.host, system.sip_port))
        speaking.sendto(answer_to(invite, 486, to_tag="2"), (system.host, system.sip_port))
        assert hearing.recv(4096).startswith(b"ACK ")
