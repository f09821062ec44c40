"""The messages of a call as phones send them, and a whole call of two legs through one Stack, to be played again as often as wanted.

A Stack is pure: with the same tokens it does the same. So one run against far ends that answer is written down as inputs, step by
step for all of CALLS calls, and what is measured afterwards plays inputs alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import count

from appliance.sip.abilities import Abilities
from appliance.sip.events import Event, Send
from appliance.sip.stack import FlowFacts, Stack

CALLS = 10
CALLER, CALLEE = 1, 2  # flows
FLOWS = {
    CALLER: FlowFacts("UDP", ("192.0.2.1", 5060), ("192.0.2.7", 5062)),
    CALLEE: FlowFacts("UDP", ("192.0.2.1", 5060), ("192.0.2.8", 5064)),
}
CAN = Abilities(
    methods=("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO", "UPDATE", "PRACK", "REGISTER"), registration=("outbound",)
)

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\nm=audio 40000 RTP/AVP 9 8 0 101\r\n"
    b"a=rtpmap:9 G722/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
    b"a=ptime:20\r\na=sendrecv\r\n"
)
SECURE_SDP = SDP.replace(b"RTP/AVP", b"RTP/SAVP").replace(
    b"a=ptime", b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\na=ptime"
)
CREDENTIALS = (
    'Digest username="100", realm="switchroom", nonce="QdppNkZ9K-TIdPhPuZZ6zhPGFPrDWwFTQxVvhcMIjfM", uri="sip:101@192.0.2.1", '
    'response="7418d0a08445cd2f6263331e21cce3dd", cnonce="ad6252f21e9f16e5", qop=auth, nc=00000001, algorithm=MD5'
)


def request(
    method: str, call: int, number: int, *, to_tag: str = "", credentials: str = "", body: bytes = b""
) -> bytes:
    """What the calling phone sends."""
    lines = [
        f"{method} sip:101@192.0.2.1 SIP/2.0",
        f"Via: SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bK{call:08x}{number}{method if method == 'BYE' else ''};rport",
        "Max-Forwards: 70",
        f'From: "Anna" <sip:100@192.0.2.1>;tag=9fxced76{call}',
        f"To: <sip:101@192.0.2.1>{f';tag={to_tag}' if to_tag else ''}",
        f"Call-ID: 3848276298220188511-{call}@192.0.2.7",
        f"CSeq: {number} {method}",
    ]
    if method == "INVITE":
        lines += [
            "Contact: <sip:100@192.0.2.7:5062;transport=udp>", "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE",
            "Supported: replaces, timer, outbound",
        ]  # fmt: skip
    if credentials:
        lines.append(f"Proxy-Authorization: {credentials}")
    lines.append("User-Agent: Phone/1.0")
    if body:
        lines.append("Content-Type: application/sdp")
    return ("\r\n".join(lines) + f"\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


INVITE = request("INVITE", 1, 1, credentials=CREDENTIALS, body=SDP)


def response(to: bytes, status: str, body: bytes = b"") -> bytes:
    """What the called phone answers to a request of ours."""
    kept, tag = [f"SIP/2.0 {status}"], ""
    for line in to.partition(b"\r\n\r\n")[0].decode().split("\r\n"):
        name, _, value = line.partition(": ")
        if name == "To" and ";tag=" not in value and not status.startswith("100"):
            tag = ";tag=8321234356"
        if name in ("Via", "From", "To", "Call-ID", "CSeq", "Record-Route"):
            kept.append(line.replace(";rport", ";rport=5060;received=192.0.2.1") + (tag if name == "To" else ""))
    kept += [
        "Contact: <sip:101@192.0.2.8:5064>",
        "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE",
        "User-Agent: Phone/2.0",
    ]
    if body:
        kept.append("Content-Type: application/sdp")
    return ("\r\n".join(kept) + f"\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


# One input of a Stack: with the time, which is always the same.
Input = Callable[[Stack], object]
STEPS = (
    "INVITE", "407", "ACK of 407", "INVITE again", "INVITE out", "100", "180", "180 out", "200", "200 out", "ACK", "BYE", "BYE out",
    "200 of BYE",
)  # fmt: skip


def stack() -> Stack:
    numbers = count()
    return Stack(tokens=lambda: f"{next(numbers):024x}", user_agent="Switchroom/1.0", facts=FLOWS.get, can=CAN)


def drain(of: Stack) -> list[Send | Event]:
    found = []
    while (output := of.next_output()) is not None:
        found.append(output)
    return found


def play(of: Stack, inputs: list[Input]) -> None:
    for each in inputs:
        each(of)
        while of.next_output() is not None:
            pass


def _received(flow: int, data: bytes) -> Input:
    return lambda of: of.receive(flow, data, 1.0)


@cache
def recorded() -> dict[str, list[Input]]:
    """The inputs of CALLS calls, of every step those of all calls."""
    made = stack()
    steps: dict[str, list[Input]] = {name: [] for name in STEPS}
    caller = [""] * CALLS  # sessions
    callee = [""] * CALLS
    sent = [b""] * CALLS  # to the callee: what is to be answered
    tag = [""] * CALLS  # of ours towards the caller

    def step(name: str, make: Callable[[int], Input], flow: int = 0) -> None:
        for call in range(CALLS):
            steps[name].append(each := make(call))
            result = each(made)
            if name == "INVITE out":
                callee[call] = str(result)
            for output in drain(made):
                if isinstance(output, Send) and output.flow == CALLEE and not output.data.startswith(b"ACK"):
                    sent[call] = output.data
                elif isinstance(output, Send) and output.flow == CALLER and b"To: " in output.data:
                    _, found, rest = output.data.partition(b"To: ")[2].partition(b"\r\n")[0].decode().partition(";tag=")
                    tag[call] = rest if found else tag[call]
                elif hasattr(output, "session") and name.startswith("INVITE") and name != "INVITE out":
                    caller[call] = output.session

    step("INVITE", lambda call: _received(CALLER, request("INVITE", call, 1, body=SDP)))
    challenge = (
        (
            "Proxy-Authenticate",
            'Digest realm="switchroom", nonce="abcdefghijklmnopqrstuvwxyz", algorithm=MD5, qop="auth"',
        ),
    )
    step("407", lambda call: lambda of, session=caller[call]: of.reject(session, 407, 1.0, headers=challenge))  # type: ignore[misc]
    step("ACK of 407", lambda call: _received(CALLER, request("ACK", call, 1, to_tag=tag[call])))
    step("INVITE again", lambda call: _received(CALLER, request("INVITE", call, 2, credentials=CREDENTIALS, body=SDP)))
    identity = (("P-Asserted-Identity", '"Anna" <sip:100@192.0.2.1>'),)
    step("INVITE out", lambda call: lambda of: of.invite(
        CALLEE, "sip:101@192.0.2.8:5064", 1.0, from_='"Anna" <sip:100@192.0.2.1>', to="<sip:101@192.0.2.1>", offer=SDP, headers=identity
    ))  # fmt: skip
    step("100", lambda call: _received(CALLEE, response(sent[call], "100 Trying")))
    step("180", lambda call: _received(CALLEE, response(sent[call], "180 Ringing")))
    step("180 out", lambda call: lambda of, session=caller[call]: of.ring(session, 1.0))  # type: ignore[misc]
    step("200", lambda call: _received(CALLEE, response(sent[call], "200 OK", SDP)))
    step("200 out", lambda call: lambda of, session=caller[call]: of.accept(session, SDP, 1.0))  # type: ignore[misc]
    step("ACK", lambda call: _received(CALLER, request("ACK", call, 2, to_tag=tag[call])))
    step("BYE", lambda call: _received(CALLER, request("BYE", call, 3, to_tag=tag[call])))
    step("BYE out", lambda call: lambda of, session=callee[call]: of.hang_up(session, 1.0))  # type: ignore[misc]
    step("200 of BYE", lambda call: _received(CALLEE, response(sent[call], "200 OK")))
    assert made.counters()["sessions"] == made.counters()["stray"] == made.counters()["malformed"] == 0, made.counters()
    return steps


def played_up_to(name: str) -> Stack:
    """A new Stack with CALLS calls, just before this step."""
    made = stack()
    for step, inputs in recorded().items():
        if step == name:
            break
        play(made, inputs)
    return made
