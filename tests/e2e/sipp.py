"""SIPp (sip-tester) as the second voice: scenarios said as lists of steps, written as its XML, over UDP and TCP.

A step is a message to send or one to wait for; anything else that arrives makes SIPp fail, which is the test.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.sax.saxutils import quoteattr

from tests.e2e.running import Credentials, System, free_port

SDP = """\
v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio [media_port] RTP/AVP {codec}
a=rtpmap:{codec} {name}/8000
"""


def send(text: str, *, retransmit: bool = True) -> str:
    """A message as it goes out, with the line ends and lengths that SIPp puts in."""
    attributes = ' retrans="500"' if retransmit else ""
    return f"<send{attributes}><![CDATA[\n{text}\n]]></send>"


def expect(status: int, *, optional: bool = False, challenge: bool = False, containing: str = "") -> str:
    """A response. `containing`: a regular expression some part of the message must match."""
    attributes = (
        f'response="{status}"' + (' optional="true"' if optional else "") + (' auth="true"' if challenge else "")
    )
    if not containing:
        return f"<recv {attributes}/>"
    check = f'<ereg regexp={quoteattr(containing)} search_in="msg" check_it="true" assign_to="found"/><log message="[$found]"/>'
    return f"<recv {attributes}><action>{check}</action></recv>"


def expect_request(method: str) -> str:
    return f'<recv request="{method}"/>'


def pause(milliseconds: int) -> str:
    return f'<pause milliseconds="{milliseconds}"/>'


def request(
    method: str,
    to: str,
    sequence: int,
    who: Credentials,
    *,
    headers: str = "",
    body: str = "",
    to_tag: bool = False,
    branch: str = "[branch]",
) -> str:
    """A request from `who`; headers are whole lines."""
    contact = (
        f"Contact: <sip:{who.username}@[local_ip]:[local_port];transport=[transport]>\n"
        if method in ("INVITE", "REGISTER")
        else ""
    )
    kind = "Content-Type: application/sdp\n" if body else ""
    return f"""\
{method} sip:{to}[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch={branch}
From: <sip:{who.username}@[remote_ip]>;tag=[call_number]
To: <sip:{to or who.username + "@"}[remote_ip]>{"[peer_tag_param]" if to_tag else ""}
Call-ID: [call_id]
CSeq: {sequence} {method}
Max-Forwards: 70
{contact}{headers}{kind}Content-Length: [len]

{body}"""


def response(status: int, reason: str, *, body: str = "", contact: str = "", in_dialog: bool = False) -> str:
    """An answer to the last request; in a dialog its To has our tag already."""
    kind = "Content-Type: application/sdp\n" if body else ""
    return f"""\
SIP/2.0 {status} {reason}
[last_Via:]
[last_From:]
[last_To:]{"" if in_dialog else ";tag=callee[call_number]"}
[last_Call-ID:]
[last_CSeq:]
{f"Contact: <sip:{contact}@[local_ip]:[local_port]>" if contact else "User-Agent: SIPp"}
{kind}Content-Length: [len]

{body}"""


def login(who: Credentials) -> str:
    return f"[authentication username={who.username} password={who.password}]\n"


@contextmanager
def running(
    system: System, home: Path, name: str, steps: list[str], *, transport: str = "udp", port: int = 0
) -> Iterator[None]:
    """SIPp at work while the block runs; it must then end well by itself."""
    file = home / f"{name}.xml"
    file.write_text(
        f'<?xml version="1.0" encoding="us-ascii"?>\n<scenario name="{name}">\n' + "\n".join(steps) + "\n</scenario>\n"
    )
    command = [
        "sipp",
        f"127.0.0.1:{system.sip_port}",
        "-sf",
        str(file),
        "-i",
        "127.0.0.1",
        "-p",
        str(port or free_port()),
    ]
    command += [
        "-mp",
        str(free_port(socket.SOCK_DGRAM, neighbours=4)),
        "-m",
        "1",
        "-t",
        f"{transport[0]}1",
        "-timeout",
        "20",
        "-timeout_error",
        "-nostdin",
    ]
    command += [
        "-trace_err",
        "-error_file",
        str(home / f"{name}.errors"),
        "-trace_msg",
        "-message_file",
        str(home / f"{name}.messages"),
    ]
    process = subprocess.Popen(command, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield
        _, errors = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    said = "\n".join(part.read_text(errors="replace")[-4000:] for part in sorted(home.glob(f"{name}.[em]*")))
    assert process.returncode == 0, f"SIPp {name}: {errors}\n{said}"


def play(system: System, home: Path, name: str, steps: list[str], *, transport: str = "udp", port: int = 0) -> None:
    with running(system, home, name, steps, transport=transport, port=port):
        pass
