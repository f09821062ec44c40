"""The differential test: whatever is optional in a message of a telephone may be dropped, moved, emptied, padded, said twice or written
in another case, and the call, or the registration, stays the same."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest

from appliance.calls.legs.abilities import SWITCHROOM
from appliance.calls.legs.terms import OWN
from appliance.calls.registrar.registrar import Registrar
from appliance.config.model import Line
from appliance.sip.events import Invited, Requested
from appliance.sip.media.negotiation import LegMedia
from appliance.sip.stack import FlowFacts, Stack
from appliance.sip.text import sdp
from appliance.sip.text.message import Request
from appliance.sip.text.uri import Uri
from media_core import FlowInfo, Transport
from media_core.sip_scan import HEADERS
from tests.box import HOST, Box, office
from tests.box_wire import Wire
from tests.clock import run
from tests.sip.makers import MAKERS, Maker

PHONE = ("198.51.100.7", 5062)
COMPACT = {name: short for name, short in HEADERS if short}

# Header fields that say what is wanted: they stay. All others may come or not.
NEEDED = {"Via", "From", "To", "Call-ID", "CSeq", "Contact", "Content-Type", "Content-Length", "Expires", "Max-Forwards"}
# Parameters that say something to us.
MEANT = {"tag", "branch", "expires", "reg-id", "+sip.instance", "boundary"}
# Attributes that say something to us; an rtpmap of a payload type that needs none does not.
ATTRIBUTES = ("rtpmap", "fmtp", "crypto", "rtcp", "rtcp-mux", "ptime", "sendrecv")
STATIC = ("a=rtpmap:0 ", "a=rtpmap:8 ", "a=rtpmap:9 ", "a=rtpmap:18 ", "a=rtpmap:3 ")


def filled(text: str) -> str:
    return text.replace("HOST", PHONE[0]).replace("PORT", str(PHONE[1])).replace("BOX", HOST)


def placed(text: str) -> str:
    """For `Wire`, which knows the phone's address and counts."""
    text = text.replace("HOST", "{host}").replace("PORT", "{port}").replace("BOX", HOST)
    text = re.sub(r"(\nCSeq: )\d+", r"\1{number}", text)
    return re.sub(r"(branch=[^;\n]+)", r"\1{number}", text).replace("Content-Length: 0\n", "")


def to_bytes(text: str) -> bytes:
    """With the right Content-Length, lines ended by CRLF."""
    head, _, body = text.partition("\n\n")
    data = body.replace("\n", "\r\n").encode()
    lines = [line for line in head.split("\n") if not line.startswith("Content-Length")]
    return "\r\n".join([*lines, f"Content-Length: {len(data)}", "", ""]).encode() + data


# ---- what a message means
def received(data: bytes, transport: str) -> Request:
    stack = Stack(tokens=lambda: "t", user_agent="x", facts=lambda flow: FlowFacts(transport, (HOST, 5060), PHONE), can=SWITCHROOM)
    stack.receive(1, data, 0.0)
    told = []
    while (output := stack.next_output()) is not None:
        told.append(output)
    (event,) = [each for each in told if isinstance(each, Invited | Requested)] or [pytest.fail(str(told))]
    return event.request


def call_of(data: bytes, *, secure: bool) -> tuple[object, ...]:
    """Who calls whom from where, and what was negotiated for the sound."""
    request = received(data, "TLS" if secure else "UDP")
    contact = request.contacts[0].uri
    keys = iter(range(1, 99))
    leg = LegMedia(HOST, 20000, session_id=1, keys=lambda size: bytes([next(keys)]) * size, signalling_secure=secure, signalling=PHONE[0])
    leg.take_offer(request.sdp)
    leg.make_answer(OWN)
    agreed = leg.agreed
    assert agreed is not None
    return (
        request.uri.dialled, request.from_.uri.user, request.dialog_id, request.cseq, request.via.branch, request.via.sent_by,
        (contact.scheme, contact.user, contact.host, contact.port), agreed, agreed.crypto_in and agreed.crypto_in.key,
    )  # fmt: skip


def registration_of(data: bytes, *, secure: bool) -> tuple[object, ...]:
    """Where the phone can be reached and for how long. The parameters of its Contact are its own business."""
    request = received(data, "TLS" if secure else "UDP")
    line = Line(id="l", extension="e", sip_username="101", sip_password="x")
    flow = FlowInfo(1, Transport.TLS if secure else Transport.UDP, (HOST, 5060), PHONE, "")
    (binding,) = Registrar().register(request, line, flow, 0.0, asked=0.0).stored
    contact = Uri.parse(binding.contact)
    return (
        (contact.scheme, contact.user, contact.host, contact.port), binding.expires, binding.instance, binding.reg_id,
        binding.call_id, binding.cseq, request.to.uri.user, request.from_.tag, request.via.branch,
    )  # fmt: skip


# ---- mutations
def of_fields(text: str) -> Iterator[tuple[str, str]]:
    """One header field changed; (what, message)."""
    head, _, body = text.partition("\n\n")
    start, *lines = head.split("\n")

    def whole(changed: list[str]) -> str:
        return "\n".join([start, *changed]) + "\n\n" + body

    for at, line in enumerate(lines):
        name, _, value = line.partition(":")
        before, after = lines[:at], lines[at + 1 :]
        spellings = [name.upper(), name.lower(), *([COMPACT[name]] if name in COMPACT else [])]
        if name == "Content-Length":  # written last, see to_bytes
            continue
        yield f"{name} padded", whole([*before, f"{name} \t:\t {value} \t", *after])
        yield f"{name} folded", whole([*before, f"{name}:\n {value}", *after])
        yield f"{name} last", whole([*before, *after, line])
        for spelling in spellings:
            yield f"{name} as {spelling}", whole([*before, f"{spelling}:{value}", *after])
        if name not in NEEDED:
            yield f"no {name}", whole([*before, *after])
            yield f"{name} twice", whole([*before, line, line, *after])
            yield f"{name} empty", whole([*before, f"{name}:", *after])
            yield f"{name} with an open quote", whole([*before, f'{line}, "x', *after]) if name not in TIMERS else whole(lines)
        yield f"unknown before {name}", whole([*before, 'X-Unknown: ;;,,="', line, *after])


TIMERS = {"Session-Expires", "Min-SE"}


def of_parameters(text: str) -> Iterator[tuple[str, str]]:
    """One parameter of an address or a Via changed."""
    head, _, body = text.partition("\n\n")
    lines = head.split("\n")
    for at, line in enumerate(lines):
        name, _, value = line.partition(": ")
        if name not in ("Via", "From", "To", "Contact"):
            continue
        before, after = lines[:at], lines[at + 1 :]

        def whole(changed: str, before: list[str] = before, after: list[str] = after) -> str:
            return "\n".join([*before, changed, *after]) + "\n\n" + body

        bracketed = name == "Via" or "<" in value
        if bracketed:
            for tail in (";", ";;", "; ;", ";unknown", ";unknown=", ';unknown="a;b,c"'):
                yield f"{name} with {tail}", whole(line + tail)
        for found in re.finditer(r';([^;=<>"]+)(=(?:"[^"]*"|[^;>]*))?', value):
            parameter, key = found[0], found[1].strip().lower()
            start, end = found.span()
            rest = value[:start], value[end:]
            yield f"{name} {key} padded", whole(f"{name}: {rest[0]} ; {parameter[1:]} {rest[1]}") if "<" not in rest[1] and ">" not in rest[1] else whole(line)
            yield f"{name} {key} behind nothing", whole(f"{name}: {rest[0]};{parameter}{rest[1]}")
            yield f"{name} {key} twice", whole(f"{name}: {rest[0]}{parameter}{parameter}{rest[1]}")
            yield f"{name} {key} in capitals", whole(f"{name}: {rest[0]};{found[1].upper()}{found[2] or ''}{rest[1]}")
            if key not in MEANT:
                yield f"{name} without {key}", whole(f"{name}: {rest[0]}{rest[1]}")
                yield f"{name} {key} empty", whole(f"{name}: {rest[0]};{found[1]}={rest[1]}")
        if name != "Via" and bracketed:
            uri = value[value.index("<") :]
            for display in DISPLAYS if '"' not in uri else DISPLAYS[1:]:
                yield f"{name} of {display!r}", whole(f"{name}: {display}{uri}")


# The first is left out where the quote would be closed by one that opens something else.
DISPLAYS = ('"open ', "", '"" ', "Doe, John ", '"Doe, John" ', "a:b [c] @ ", "Zoë\u202e ", '"q\\"q" ')


def of_description(text: str) -> Iterator[tuple[str, str]]:
    """One line of the session description changed, or something put between."""
    head, _, body = text.partition("\n\n")
    lines = body.rstrip("\n").split("\n")

    def whole(changed: list[str]) -> str:
        return head + "\n\n" + "\n".join(changed) + "\n"

    first = next(at for at, line in enumerate(lines) if line.startswith("m="))
    for at, line in enumerate(lines):
        before, after = lines[:at], lines[at + 1 :]
        name = line[2:].partition(":")[0]
        if at:
            for between in ("", "\t", "b=", "a=", "a=:", "a=rtpmap", "a=fmtp:", "a=crypto:", "a=ptime:", "a=x:" + "y" * 1100, "x", "k=", "z=0 0", "o=", "a=\x00"):
                yield f"{between[:9]!r} before {line[:9]}", whole([*before, between, line, *after])
            yield f"{line[:9]} padded", whole([*before, f" {line[:2]} {line[2:]} \t", *after])
        if line[:2] in ("o=", "s=", "t=", "b=", "i="):
            yield f"no {line[:2]}", whole([*before, *after])
            yield f"{line[:2]} empty", whole([*before, line[:2], *after])
            yield f"{line[:2]} odd", whole([*before, line[:2] + "?", *after])
            yield f"{line[:2]} twice", whole([*before, line, line, *after])
        if line[:2] == "a=":
            yield f"{line[:12]} twice", whole([*before, line, line, *after])
            yield f"{name} in capitals", whole([*before, f"a={name.upper()}{line[2 + len(name) :]}", *after])
            if name not in ATTRIBUTES or line.startswith(STATIC) or name == "sendrecv":
                yield f"no {line[:12]}", whole([*before, *after])
                yield f"{line[:12]} empty", whole([*before, f"a={name}:", *after]) if name != "rtpmap" else whole([*before, "a=rtpmap:", *after])
    yield "NUL behind it", whole(lines)[:-1] + "\x00\n"
    yield "blank lines behind it", whole(lines) + "\n\n\n"
    yield "LF only", whole(lines)
    sections = "\n".join(lines[first:]).split("\nm=")
    for seed in range(5):
        shuffled = []
        for section in sections:
            m_line, *rest = section.split("\n")
            random.Random(seed).shuffle(rest)
            shuffled.append("\n".join([m_line, *rest]))
        yield f"lines in another order ({seed})", whole([*lines[:first], *"\nm=".join(shuffled).split("\n")])
    for line in ("m=video 0 RTP/AVP 255", "m=image 0 udptl t38", "m=video 5000", "m=audio 0 RTP/AVP 8"):
        yield f"{line} behind it", whole([*lines, line])


def mutated(text: str) -> Iterator[tuple[str, str]]:
    yield from of_fields(text)
    yield from of_parameters(text)
    if "\nm=" in text:
        yield from of_description(text)


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.name)
def test_the_call_stays_the_same(maker: Maker) -> None:
    text = filled(maker.invite)
    expected = call_of(to_bytes(text), secure=maker.secure)
    count = 0
    for what, changed in mutated(text):
        assert call_of(to_bytes(changed), secure=maker.secure) == expected, what
        count += 1
    assert count > 300


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.name)
def test_the_registration_stays_the_same(maker: Maker) -> None:
    text = filled(maker.register)
    expected = registration_of(to_bytes(text), secure=maker.secure)

    count = 0
    for what, changed in mutated(text):
        assert registration_of(to_bytes(changed), secure=maker.secure) == expected, what
        count += 1
    assert count > 100


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.name)
def test_the_phone_registers_and_calls(maker: Maker) -> None:
    """As it came, through the whole system."""

    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            phone = await box.phone("101", transport="TLS" if maker.secure else "UDP", register=False)
            called = await box.phone("102", answer="auto")
            wire = Wire(box, phone)
            assert (await wire.send(placed(maker.register))).status == 200
            text = placed(maker.invite)
            answer = await wire.send(text)
            assert answer.status == 200
            await box.seconds(1)
            (at_callee,) = called.calls.values()
            assert box.leg_of(called).peer is not None
            assert sdp.parse(answer.sdp).media[0].crypto == () if not maker.secure else box.calls[0].caller.stream.terms.secure
            await wire.hang_up(text, answer)
            await box.seconds(1)
            assert at_callee.ended

    run(scene())
