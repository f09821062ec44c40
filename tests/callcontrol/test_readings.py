"""What a phone may write and still be understood, end to end: each row is an INVITE or a REGISTER as it came from a device, and what
the whole system has to make of it. The control is the same message without the peculiarity."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from appliance.sip.text import sdp
from appliance.sip.text.sdp import Format
from tests.box import HOST, Box, office
from tests.box_phone import EVENT, PCMA
from tests.box_wire import Wire
from tests.clock import run

SDP = """v=0
o=- 77 1 IN IP4 {host}
s=-
c=IN IP4 {host}
t=0 0
m=audio 40000 RTP/AVP 8 0 101
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=sendrecv
"""
INVITE = f"""INVITE sip:*60@{HOST} SIP/2.0
Via: SIP/2.0/UDP {{host}}:{{port}};branch=z9hG4bK{{number}};rport
Max-Forwards: 70
From: <sip:101@{HOST}>;tag=here
To: <sip:*60@{HOST}>
Call-ID: readings
CSeq: {{number}} INVITE
Contact: <sip:101@{{host}}:{{port}}>
Content-Type: application/sdp

{SDP}"""
REGISTER = f"""REGISTER sip:{HOST} SIP/2.0
Via: SIP/2.0/UDP {{host}}:{{port}};branch=z9hG4bK{{number}};rport
Max-Forwards: 70
From: <sip:101@{HOST}>;tag=here
To: <sip:101@{HOST}>
Call-ID: readings
CSeq: {{number}} REGISTER
Contact: <sip:101@{{host}}:{{port}}>;expires=600

"""


@dataclass(frozen=True)
class Row:
    name: str
    old: str
    new: str
    right: int = 200


TAIL = "a=sendrecv\n"
PART = "--b1\nContent-Type: application/pidf+xml\n\n<presence/>\n"
MULTIPART = "Content-Type: multipart/mixed;boundary=b1\n\n--b1\nContent-Type: application/sdp\n\n" + SDP + "\n" + PART + "--b1--\n"
PLAIN = "Content-Type: application/sdp\n\n" + SDP
UNKNOWN = "m=audio 40010 RTP/AVP 96\na=rtpmap:96 X-UNKNOWN/8000\n"

INVITES = (
    Row("the control", "", ""),
    # ---- session description
    Row("a payload type over 127 in a video line that is off", TAIL, TAIL + "m=video 0 RTP/AVP 255\nc=IN IP4 {host}\n"),
    Row("a video line without formats", TAIL, TAIL + "m=video 5000\n"),
    Row("an rtpmap without a value for a format that is not needed", "8 0 101\n", "8 0 101 96\na=rtpmap:96\n"),
    Row("NUL after the last line", TAIL, TAIL + "\x00"),
    Row("an empty line", "a=rtpmap:0", "\na=rtpmap:0"),
    Row("an unknown attribute of 1,100 characters", TAIL, TAIL + "a=x-info:" + "y" * 1100 + "\n"),
    Row("an o= line with a word too few", "o=- 77 1 IN IP4 {host}", "o=- 77 1 IN"),
    Row("an o= line with a number that is none", "o=- 77 1", "o=phone 0x1F -1"),
    Row("bandwidth without a value", "t=0 0", "b=\nb=AS\nt=0 0"),
    Row("an IPv4-mapped loopback address from elsewhere", "c=IN IP4 {host}", "c=IN IP6 ::ffff:127.0.0.1", 488),
    Row("an IPv4-mapped address", "c=IN IP4 {host}", "c=IN IP6 ::ffff:198.51.100.9"),
    Row("IPv6, where there is none", "c=IN IP4 {host}", "c=IN IP6 2001:db8::9", 488),
    Row("no c= line", "c=IN IP4 {host}\n", "", 488),
    Row("a c= line with a word too few", "c=IN IP4 {host}", "c=IN IP4", 400),
    Row("no description", SDP, "hello", 400),
    Row("an audio line with a port that is none", "m=audio 40000", "m=audio port", 400),
    # ---- two audio lines (RFC 3264 section 6)
    Row("a first audio line with an unknown codec", "m=audio 40000", UNKNOWN + "m=audio 40000"),
    Row("a second audio line with an unknown codec", TAIL, TAIL + UNKNOWN),
    # ---- bodies (RFC 5621)
    Row("multipart/mixed", PLAIN, MULTIPART),
    Row("multipart with the description last", PLAIN, MULTIPART.replace("--b1\n", PART + "--b1\n", 1)),
    Row("multipart in multipart", PLAIN, "Content-Type: multipart/mixed; boundary=\"o u\"\n\nx\n--o u\n" + MULTIPART + "\n--o u--\n"),
    Row("multipart that is never closed", PLAIN, MULTIPART.removesuffix("--b1--\n")),
    Row("multipart without a description", PLAIN, MULTIPART.replace("application/sdp", "text/plain"), 415),
    Row("another body", "application/sdp", "text/plain", 415),
    Row("a description that does not say so", "Content-Type: application/sdp\n", ""),
    # ---- addresses
    Row("a comma in a display name without quotes", "From: ", "From: Doe, John "),
    Row("a comma in the display name of the Contact", "Contact: ", "Contact: Doe, John "),
    Row("a quote that is never closed", "From: ", 'From: "Doe '),
    Row("any signs in a display name", "From: ", "From: Room [3]; a:b @ #1 "),
    Row("blanks within the brackets", "From: <sip:101@192.0.2.1>", "From: < sip:101@192.0.2.1 >"),
    Row("an empty URI parameter", "*60@192.0.2.1 SIP", "*60@192.0.2.1;transport=udp;;line=1 SIP"),
    Row("a quoted URI parameter", "{port}>\n", '{port};line="ab c";+sip.instance="<urn:uuid:1>">\n'),
    Row("a phone-context", "*60@192.0.2.1 SIP", "*60;phone-context=example.com@192.0.2.1;user=phone SIP"),
    Row("a tel URI", "INVITE sip:*60@192.0.2.1 SIP", "INVITE tel:*6-0;phone-context=example.com SIP"),
    Row("a URI parameter that has two values", "*60@192.0.2.1 SIP", "*60@192.0.2.1;transport=udp;transport=tcp SIP", 400),
    # ---- header parameters and lists
    Row("semicolons without parameters", ">;tag=here", ">;;tag=here;;"),
    Row("rport with a sign of equality", ";rport", ";rport="),
    Row("a semicolon at the end of the Via", ";rport", ";rport;"),
    Row("a comma at the end of a list", "Contact: ", "Supported: timer, , replaces,\nAllow: INVITE, \"ACK\nContact: "),
    Row("a second field that says the same", "Max-Forwards: 70", "Max-Forwards: 70\nMax-Forwards: 70"),
    # ---- where two readers could disagree
    Row("two Call-IDs", "Call-ID: readings", "Call-ID: readings\nCall-ID: readings", 400),
    Row("two tags", ">;tag=here", ">;tag=here;tag=there", 400),
    Row("no tag", ">;tag=here", ">;tag=", 400),
    Row("a Max-Forwards that is none", "Max-Forwards: 70", "Max-Forwards: many", 400),
    Row("a line that is no header field", "Max-Forwards: 70", "Max-Forwards: 70\nno colon", 400),
    Row("blanks in the start line", "INVITE sip:*60@192.0.2.1 SIP", "INVITE  sip:*60@192.0.2.1 SIP", 400),
    Row("a Via whose address cannot be read", "UDP {host}:{port};", "UDP [{host};", 400),
)  # fmt: skip

REGISTERS = (
    Row("the control", "", ""),
    Row("a semicolon at the end of the Via", ";rport", ";rport;"),
    Row("a semicolon at the end of the Contact", ";expires=600", ";expires=600;"),
    Row("an expires without a value", ";expires=600", ";expires="),
    Row("semicolons without parameters", ";expires=600", ";;;expires=600;;"),
    Row("Require: outbound", "Contact:", "Require: outbound\nSupported: path, outbound\nContact:"),
    Row("an instance within the URI", "{port}>", '{port};+sip.instance="<urn:uuid:1>">'),
    Row("an instance in the wrong quotes", ";expires=600", ";expires=600;+sip.instance=\"<urn:uuid:1>", 400),
    Row("a comma in the display name of the Contact", "Contact: ", "Contact: Doe, John "),
    Row("a phone-context", "To: <sip:101@", "To: <sip:101;phone-context=example.com@"),
    Row("two Contacts, one with a comma in its name", "Contact: ", "Contact: <sip:101@198.51.100.9>;expires=600, Doe, John "),
)  # fmt: skip


def ids(row: Row) -> str:
    return row.name


@pytest.mark.parametrize("row", INVITES, ids=ids)
def test_an_invite(row: Row) -> None:
    async def scene() -> None:
        async with Box(office("101")) as box:
            phone = await box.phone("101")
            wire = Wire(box, phone)
            text = INVITE.replace(row.old, row.new, 1)
            answer = await wire.send(text)
            assert answer.status == row.right
            if answer.status != 200:
                return
            await box.seconds(1)
            (remote,) = [leg.remote for leg in box.engine.media.values()]
            assert remote is not None
            assert remote.port == 40000
            lines = sdp.parse(answer.sdp).media
            assert len(lines) == text.count("\nm="), "an answer has the lines of the offer"
            (chosen,) = [line for line in lines if line.port]
            assert [each.name for each in chosen.formats] == ["PCMA", "PCMU", "TELEPHONE-EVENT"]
            await wire.hang_up(text, answer)
            await box.seconds(1)
            assert not box.calls

    run(scene())


@pytest.mark.parametrize("row", REGISTERS, ids=ids)
def test_a_register(row: Row) -> None:
    async def scene() -> None:
        async with Box(office("101")) as box:
            phone = await box.phone("101", register=False)
            answer = await Wire(box, phone).send(REGISTER.replace(row.old, row.new, 1))
            assert answer.status == row.right
            assert row.right != 200 or any(f":{phone.flow.remote[1]}" in value for value in answer.get_all("Contact"))

    run(scene())


# ---- where media must not go
NOWHERE = ("240.1.2.3", "0.1.2.3", "127.0.0.1", "239.1.2.3", "255.255.255.255", HOST)  # the last with one of our own media ports


@pytest.mark.parametrize("address", NOWHERE)
@pytest.mark.parametrize("early", [False, True], ids=["answer", "early media"])
def test_an_answer_with_an_address_that_media_must_not_go_to(address: str, early: bool) -> None:
    """The call with this phone ends where its answer is read; the caller is told 488, and another phone goes on ringing."""

    async def scene() -> None:
        async with Box(office("101", "102", lines=2)) as box:
            a = await box.phone("101")
            b = await box.phone("102", early=early, answer="ring" if early else "auto")
            b.host, b.rtp_port = address, 20000 if address == HOST else 40000
            call = await a.call("102")
            assert call.final.result() == 488
            (answered,) = b.calls.values()
            assert answered.ended or answered.cancelled
            await box.seconds(1)
            assert box.records[0].said.facts["status"] == 488

            good = await box.phone("102-2", answer="ring")
            call = a.dial("102")
            ringing = await good.incoming.get()
            await box.seconds(2)
            assert not call.final.done()
            ringing.accept()
            await box.seconds(1)
            assert call.final.result() == 200
            call.hang_up()

    run(scene())


@pytest.mark.parametrize("address", NOWHERE)
def test_an_offer_with_an_address_that_media_must_not_go_to(address: str) -> None:
    """The first one and a later one: this leaves the call as it was."""

    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            host = a.host
            a.host, a.rtp_port = address, 20001 if address == HOST else 40000
            call = await a.call("102")
            assert call.final.result() == 488
            assert call.rejection is not None
            assert "address" in (call.rejection.get("Warning") or "")
            assert not b.calls

            a.host, a.rtp_port = host, 40000
            call = await a.call("102")
            assert call.final.result() == 200
            before = box.leg_of(a).remote
            a.host, a.rtp_port = address, 20001 if address == HOST else 40000
            assert await call.offer("sendrecv") == 488
            (talking,) = b.calls.values()
            assert (call.ended, talking.ended) == (False, False)
            a.host, a.rtp_port = host, 40000
            assert box.leg_of(a).remote == before
            call.hang_up()

    run(scene())


@pytest.mark.parametrize("address", NOWHERE)
def test_an_answer_in_an_ack_with_an_address_that_media_must_not_go_to(address: str) -> None:
    """The answer to an offer that we made: the call cannot begin, so it ends, on both sides."""

    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            a.host, a.rtp_port = address, 20000 if address == HOST else 40000
            call = await a.call("102", late=True)
            await box.seconds(3)
            (answered,) = b.calls.values()
            assert (call.ended, answered.ended) == (True, True)
            assert not list(box.exchange.faults)

    run(scene())


@pytest.mark.parametrize("address", NOWHERE)
def test_a_phone_that_is_asked_again_and_answers_with_such_an_address_keeps_its_call(address: str) -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            call = await a.call("102")
            await box.seconds(2)
            before = box.leg_of(b).remote
            b.host, b.rtp_port = address, 20000 if address == HOST else 40000
            box.exchange.turn.run(lambda: box.calls[0].legs[1].hold(True))
            await box.seconds(2)
            (talking,) = b.calls.values()
            assert talking.offers, "it was asked to be held"
            assert (call.ended, talking.ended) == (False, False)
            assert before in [leg.remote for leg in box.engine.media.values()]
            call.hang_up()

    run(scene())


def test_an_address_of_nowhere_is_hold() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102")
            call = await a.call("102")
            await box.seconds(2)
            a.host = "0.0.0.0"
            assert await call.offer("sendrecv") == 200
            await box.seconds(1)
            assert box.views[0].caller.state == "held"
            assert box.leg_of(b).played, "the other one is told"
            call.hang_up()

    run(scene())


# ---- what the other side writes
def test_a_callee_s_answer_in_multipart_is_read() -> None:
    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102", answer="ring")
            call = a.dial("102")
            ringing = await b.incoming.get()
            assert ringing.request is not None
            body = b"--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x\r\nContent-Type: application/sdp\r\n\r\n" + ringing.local + b"\r\n--x--\r\n"
            headers = [("Content-Type", "multipart/mixed; boundary=x"), ("Allow", 'INVITE, "ACK'), ("Supported", ",,timer,")]
            b.stack.accept(ringing.session, body, b.now, headers=headers)
            b.drain()
            await box.seconds(2)
            assert call.final.result() == 200
            assert box.leg_of(b).peer == box.leg_of(a).id
            call.hang_up()

    run(scene())


def test_the_second_audio_line_reaches_the_other_phone() -> None:
    """What a phone can do in any of its lines is what the other one is offered."""

    async def scene() -> None:
        async with Box(office("101", "102")) as box:
            a, b = await box.phone("101"), await box.phone("102", codecs=(PCMA, EVENT))
            unknown = Format(96, "X-UNKNOWN", 8000)
            call = a.dial("102")
            call.describe()
            assert unknown not in b.codecs
            await call.final
            call.hang_up()
            await box.seconds(1)
            wire = Wire(box, a)
            text = INVITE.replace("*60", "102").replace("m=audio 40000", UNKNOWN + "m=audio 40000")
            answer = await wire.send(text)
            assert answer.status == 200
            assert [bool(line.port) for line in sdp.parse(answer.sdp).media] == [False, True]
            await box.seconds(1)
            assert box.leg_of(a).peer == box.leg_of(b).id
            await wire.hang_up(text, answer)

    run(scene())
