"""The few SIP messages that benchmarks write by hand."""

from __future__ import annotations

import contextlib
import secrets
import socket

from appliance.sip.errors import PeerError
from appliance.sip.text import digest
from appliance.sip.text.message import Response, parse
from benchmarks.system import Credentials, System


def request(method: str, here: tuple[str, int], box: str, user: str, *, uri: str = "", extra: str = "") -> bytes:
    """A request over UDP outside a dialog, from `here`. extra: a whole header line."""
    lines = [
        f"{method} {uri or f'sip:{box}'} SIP/2.0",
        f"Via: SIP/2.0/UDP {here[0]}:{here[1]};rport;branch=z9hG4bK{secrets.token_hex(8)}",
        "Max-Forwards: 70",
        f"From: <sip:{user}@{box}>;tag={secrets.token_hex(6)}",
        f"To: <sip:{user}@{box}>",
        f"Call-ID: {secrets.token_hex(10)}",
        f"CSeq: 1 {method}",
        f"Contact: <sip:{user}@{here[0]}:{here[1]}>",
        *([extra] if extra else []),
        "Content-Length: 0",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def authorisation(data: bytes, method: str, uri: str, username: str, password: str) -> str:
    """The Authorization line for the challenge in `data`; "" when it is none."""
    with contextlib.suppress(PeerError):
        found = parse(data)
        if isinstance(found, Response) and found.status == 401:
            challenge = digest.strongest(found.get_all("WWW-Authenticate"))
            if challenge is not None:
                answer = digest.answer(
                    challenge, method=method, uri=uri, username=username, password=password, cnonce=secrets.token_hex(8)
                )
                return f"Authorization: {answer}"
    return ""


def register(system: System, who: Credentials, here: tuple[str, int]) -> None:
    """Register the address `here`, where another program will listen afterwards."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(here)
        sock.settimeout(5.0)
        sock.connect((system.host, system.sip_port))
        extra, data = "", b""
        for _ in range(2):
            sock.send(request("REGISTER", here, system.host, who.username, extra=extra))
            data = sock.recv(65535)
            extra = authorisation(data, "REGISTER", f"sip:{system.host}", who.username, who.password)
        if not data.startswith(b"SIP/2.0 200"):
            raise RuntimeError(f"the phone of {who.number} could not register: {data[:40]!r}")
