"""Scenes of what phones do and networks do to them, which together reach nearly every function of the SIP stack, the driver and call control.

A scene has two registered phones, 101 and 102, in an office that has more; it may leave calls standing.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import media_core
from appliance.sip.text.sdp import Format
from tests.box import Box, office
from tests.box_phone import G722, PCMU, Phone

SPEEX = Format(120, "SPEEX", 8000)


async def registrations(box: Box, a: Phone, b: Phone) -> None:
    a.send("GARBAGE\n\n")
    a.send("OPTIONS sip:x SIP/2.0\nVia: SIP/2.0/UDP x;branch=z9hG4bKo\nFrom: <sip:a@x>;tag=1\nTo: <sip:x>\nCall-ID: o\nCSeq: x OPTIONS\n\n")
    a.send("OPTIONS sip:x SIP/2.0\nVia: SIP/2.0/UDP x;branch=z9hG4bKo\nFrom: <sip:a@x>;tag=1\nTo: <sip:x>\nCall-ID: o\nCSeq: 1 INVITE\n\n")
    await (await box.phone("nobody", register=False)).register()
    await a.register(expires=0)
    await a.register(headers=[("User-Agent", "baresip v3.14.0 (x86_64/Linux)"), ("Require", "outbound")])
    await a.register(contacts=["*"], expires=0)
    await a.register(to_user="999")
    await a.register(expires=60)
    stranger = await box.phone("101", register=False, password="wrong")
    for _ in range(10):
        await stranger.register()
    again = await box.phone("102", transport="TLS", register=False, instance="<urn:uuid:1>")
    await again.register()
    again.reconnect()
    await again.register()
    await box.seconds(70)  # a's registration runs out
    soon(box.exchange.turn.run, functools.partial(box.controller.apply, office("101")))
    box.snapshot = office("101")
    await box.seconds(1)


def soon(what: Callable[..., object], *arguments: Any) -> None:
    """Called by the event loop, as the control socket does it."""
    asyncio.get_running_loop().call_soon(what, *arguments)


async def conversation(box: Box, a: Phone, b: Phone) -> None:
    call = await a.call("102")
    there = await b.incoming.get()
    await box.seconds(1)
    leg = box.leg_of(b)
    for event in (
        media_core.MediaStarted(leg.id), media_core.MediaQuality(leg.id, 0.5, 80.0, True), media_core.MediaSilent(leg.id, 5),
        media_core.AuthenticationFailed(leg.id, 50, 50, ("192.0.2.9", 9)), media_core.SsrcChanged(leg.id, 1, 9), media_core.CoreStarted(2, "x"),
    ):  # fmt: skip
        box.engine.tell(event)
    await call.offer("sendonly")
    await box.seconds(1)
    await call.offer("sendrecv", codecs=(PCMU,))
    await a.request("INFO", "", session=call.session, body=b"Signal=5", content_type="application/dtmf-relay")
    await a.request("UPDATE", "", session=call.session, headers=[("Supported", "timer")])
    for one in box.engine.media.values():
        one.packets = 500
    await box.seconds(1)
    there.hang_up()


async def other_ways(box: Box, a: Phone, b: Phone) -> None:
    c, d = await box.phone("101-2", transport="TLS", srtp="offer"), await box.phone("102-2", transport="TLS", srtp="offer", early=True)
    box.apply(office("101", "102", encrypt="required", lines=2))
    assert await a.register() == 403
    call = await c.call("102")
    there = await d.incoming.get()
    await box.seconds(1)
    assert await there.offer("sendrecv", codecs=(PCMU,)) == 200
    there.refuse_offers = 1
    assert await call.offer("sendonly") == 200
    await box.seconds(3)
    box.engine.close_flow(d.flow.id)
    await box.seconds(1)
    await call.offer("sendrecv")
    d.reconnect(close=False)
    await d.register()
    call.hang_up()
    await box.seconds(1)


async def glare(box: Box, a: Phone, b: Phone) -> None:
    call = await a.call("102")
    there = await b.incoming.get()
    await box.seconds(1)
    asking = asyncio.gather(call.offer("sendonly"), there.offer("sendonly"))
    await asking
    await box.seconds(10)
    leg = box.calls[-1].legs[1]
    for held in (True, False):  # ours meets theirs
        soon(box.exchange.turn.run, functools.partial(leg.hold, held))
        await there.offer("sendrecv")
        await box.seconds(10)
    b.on = False
    soon(box.exchange.turn.run, functools.partial(leg.hold, True))
    await box.seconds(1)
    call.hang_up()
    await box.seconds(40)
    b.on = True
    there.hang_up()
    call = await a.call("102", late=True)
    there = await b.incoming.get()
    await box.seconds(1)
    await call.ask_for_offer()
    offering = asyncio.get_running_loop().create_task(call.offer("sendonly"))
    await box.seconds(0.015)
    await there.offer("sendonly")
    await offering
    await box.seconds(10)
    await call.offer("sendrecv", codecs=(SPEEX,))
    a.codecs = (*a.codecs, G722)
    await call.offer("sendrecv", codecs=(G722,))
    b.on = False
    soon(box.exchange.turn.run, functools.partial(box.calls[-1].legs[1].hold, True))
    await box.seconds(40)  # nobody answers: the call is over
    b.on = True
    call.hang_up()


async def bad_lines(box: Box, a: Phone, b: Phone) -> None:
    kept: list[bytes] = []

    def fork(data: bytes) -> bytes:
        if data.startswith(b"SIP/2.0 200") and b" INVITE\r\n" in data:
            kept.append(data)
            if len(kept) == 1:
                box.from_phone(b.flow, data.replace(b";tag=", b";tag=other", 2).replace(b";tag=other", b";tag=", 1))
        return data

    b.rewrite = fork
    b.answer = "ring"
    call = a.dial("102")
    there = await b.incoming.get()
    await box.seconds(70)  # ringing is repeated
    a.on = False
    there.accept()
    await box.seconds(45)  # no ACK
    a.on = True
    call.hang_up()
    box.from_phone(b.flow, kept[0])
    await box.seconds(1)
    b.rewrite = lambda data: data
    b.answer = "auto"
    box.engine.close_flow(b.flow.id)
    await box.seconds(1)
    call = await a.call("102")
    await box.seconds(1)
    send, box.engine.send = box.engine.send, full  # type: ignore[method-assign]
    a.send("OPTIONS sip:x SIP/2.0\nVia: SIP/2.0/UDP x;branch=z9hG4bKp\nFrom: <sip:a@x>;tag=1\nTo: <sip:x>\nCall-ID: p\nCSeq: 1 OPTIONS\n\n")
    await box.seconds(0.1)
    box.engine.send = send  # type: ignore[method-assign]
    await box.seconds(1)
    box.engine.open_flows.pop(b.flow.id)  # gone, and nobody has said so yet
    await call.offer("sendonly")
    await box.seconds(1)
    call.hang_up()
    b.reconnect(close=False)
    await b.register()
    kept.clear()
    b.rewrite = fork
    call = await a.call("102")
    for leg in box.engine.media.values():
        leg.packets, leg.last_seen_ms = 5000, 20
    await box.seconds(100)
    box.from_phone(b.flow, kept[0])
    await box.seconds(1)
    call.hang_up()
    await box.seconds(1)


def full(flow: int, data: bytes) -> None:
    raise media_core.OutOfService


async def strange_bodies(box: Box, a: Phone, b: Phone) -> None:
    def multipart(data: bytes) -> bytes:
        head, end, body = data.partition(b"\r\n\r\n")
        if not head.startswith(b"INVITE") or not body:
            return data
        body = b"--x\r\nContent-Type: application/sdp\r\n\r\n" + body + b"\r\n--x--\r\n"
        head = head.replace(b"Content-Type: application/sdp", b"Content-Type: multipart/mixed;boundary=x")
        return head.rpartition(b"Content-Length:")[0] + b"Content-Length: %d" % len(body) + end + body

    def other(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
        return lambda data: data.replace(old, new)

    a.rewrite = multipart
    call = await a.call("102")
    call.hang_up()
    a.rewrite = other(b"Content-Type: application/sdp", b"Content-Disposition: x;handling=optional\r\nContent-Type: text/plain")
    call = await a.call("102")
    call.hang_up()
    a.rewrite = lambda data: data
    for address in (b"c=IN IP4 240.0.0.1", b"c=IN IP4 127.0.0.1"):
        b.rewrite = other(b"c=IN IP4 " + b.host.encode(), address.ljust(len(b"c=IN IP4 " + b.host.encode())))
        call = await a.call("102")
        call.hang_up()
        await box.seconds(1)


async def other_spellings(box: Box, a: Phone, b: Phone) -> None:
    """Of what everybody writes in one way."""

    def spelt(data: bytes) -> bytes:
        data = data.replace(b"Via: SIP/2.0/UDP ", b"Via: SIP / 2.0 / UDP ").replace(b"From: <sip:", b"From: <SIP:")
        data = data.replace(b"\r\nFrom", b"\r\nRecord-Route: <sip:192.0.2.200;lr>\r\nFrom")
        return data.replace(b"@192.0.2.1>\r\nCall-ID", b"@192.0.2.1:5060;a=%41>\r\nCall-ID")

    a.rewrite = b.rewrite = spelt
    call = await a.call("102")
    await (await b.incoming.get()).offer("sendonly")
    await box.seconds(1)
    call.hang_up()
    await box.seconds(40)  # nothing lingers any more


async def other_hosts(box: Box, a: Phone, b: Phone) -> None:
    """What one phone of a line, or a stranger, sends in the dialog of another."""
    again, stranger = await box.phone("101"), await box.phone("301", register=False)
    for phone in (stranger, again):
        call = await a.call("102")
        kept: list[bytes] = []
        a.rewrite = lambda data, kept=kept: kept.append(data) or b""  # type: ignore[misc, func-returns-value]
        call.hang_up()
        box.from_phone(phone.flow, kept[0])
        await box.seconds(1)
        a.rewrite = lambda data: data
        await box.seconds(40)
        for each in list(b.calls.values()):
            each.hang_up()
        await box.seconds(1)
    for number in range(12):
        await a.register(contacts=[f"<sip:101@{a.host}:{2000 + number}>"])
    await a.register(contacts=[f"<sip:101@{a.host}:{3000 + number}>" for number in range(12)])


async def refused_refreshes(box: Box, a: Phone, b: Phone) -> None:
    """The phone lists UPDATE and refuses it, and then wants another interval."""

    def refuse(data: bytes) -> bytes:
        if data.startswith(b"SIP/2.0 200") and b" UPDATE\r\n" in data:
            return data.replace(b"200 OK", b"405 No")
        if data.startswith(b"SIP/2.0 200") and b" INVITE\r\n" in data:
            return data.replace(b"200 OK\r\n", b"422 No\r\nMin-SE: 200\r\n")
        return data

    call = await a.call("102", headers=[("Session-Expires", "90;refresher=uas"), ("Supported", "timer")])
    a.rewrite = refuse
    await box.seconds(100)
    a.rewrite = lambda data: data
    call.hang_up()
    await box.seconds(1)


async def refusals(box: Box, a: Phone, b: Phone) -> None:
    await a.call("999")
    b.answer = 486
    await a.call("102")
    b.answer = "ring"
    call = a.dial("102")
    await box.seconds(2)
    call.hang_up()
    await box.seconds(1)
    call = a.dial("102")
    await box.seconds(2)
    b.on = False
    call.hang_up()
    box.engine.tell(media_core.FlowUnreachable(b.flow.id))
    await box.seconds(40)
    b.on = True
    for each in list(b.calls.values()):
        each.hang_up()
    b.codecs = (SPEEX,)
    b.answer = "auto"
    await a.call("102", headers=[("Session-Expires", "10")])
    await a.call("102")


async def late_offers(box: Box, a: Phone, b: Phone) -> None:
    echo = await a.call("*60")
    await box.seconds(3)
    await echo.ask_for_offer()
    echo.hang_up()
    b.early = True
    call = await a.call("102", late=True, headers=[("Session-Expires", "90;refresher=uas"), ("Supported", "timer")])
    there = await b.incoming.get()
    await box.seconds(1)
    b.reconnect()
    await b.register()
    await there.offer("sendonly")
    there.refuse_offers = 2
    await box.seconds(100)  # our refresh
    call.hang_up()


async def early_offers(box: Box, a: Phone, b: Phone) -> None:
    """Both phones want something else while it still rings, and the caller hears it already."""
    b.answer, b.early = "ring", True
    call = a.dial("102")
    there = await b.incoming.get()
    await box.seconds(1)
    await call.offer("sendonly")
    await box.seconds(1)
    await there.offer("sendonly")
    await box.seconds(1)
    call.hang_up()
    await box.seconds(1)


async def lost_phones(box: Box, a: Phone, b: Phone) -> None:
    c = await box.phone("101-2", transport="TLS")
    call = await c.call("102")
    there = await b.incoming.get()
    await box.seconds(1)
    c.reconnect()
    await c.register()
    await box.seconds(40)
    c.on = False
    there.hang_up()
    await box.seconds(40)
    c.on = True
    call.hang_up()
    call = await a.call("102")
    await box.seconds(1)
    b.on = False
    await box.seconds(150)  # the audit finds it
    b.on = True
    for each in list(b.calls.values()):
        each.hang_up()
    call = c.dial("102")
    await box.seconds(1.5)
    box.engine.close_flow(c.flow.id)
    await box.seconds(1)


SCENES: tuple[Callable[[Box, Phone, Phone], Awaitable[None]], ...] = (registrations, conversation, refusals, glare, bad_lines, strange_bodies, other_spellings, other_hosts, refused_refreshes, other_ways, late_offers, early_offers, lost_phones)
