"""The messages of RFC 5118 (IPv6), each with what our layers must make of it, as in `torture`."""

from __future__ import annotations

from tests.sip.torture import Torture, message, request

_SDP = """v=0
o=assistant 9717 0 IN IP6 2001:db8::20
s=-
c=IN IP6 2001:db8::20
t=0 0
m=audio 6000 RTP/AVP 97
a=rtpmap:97 L16/8000/1
m=video 6024 RTP/AVP 107
a=rtpmap:107 H263-1998/90000
"""
_TWO_FAMILIES = """v=0
o=bob 2808 2808 IN IP6 2001:db8::20
s=-
t=0 0
m=audio 22334 RTP/AVP 0
c=IN IP6 2001:db8::20
m=video 6024 RTP/AVP 107
c=IN IP4 192.0.2.100
a=rtpmap:107 H263-1998/90000
"""
_MAPPED = """v=0
o=user 1 1 IN IP6 ::ffff:192.0.2.2
s=-
c=IN IP6 ::ffff:192.0.2.2
t=0 0
m=audio 3456 RTP/AVP 0
"""

_VIA = "SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111"
_CONTACT = '"Caller" <sip:caller@[2001:db8::1]>'


def _ipv6(start: str, *, via: str = _VIA, contact: str = _CONTACT, **rest: str) -> bytes:
    return request(start, via=via, contact=contact, **rest)  # type: ignore[arg-type]


MESSAGES = [
    Torture("reference", "4.1", _ipv6("REGISTER sip:[2001:db8::10] SIP/2.0"), "ok", "Requested"),
    Torture("reference without brackets", "4.2", _ipv6("REGISTER sip:2001:db8::10 SIP/2.0"), 400, 400),
    Torture("port within the brackets", "4.3", _ipv6("REGISTER sip:[2001:db8::10:5070] SIP/2.0"), "ok", "Requested",
            "eight groups or fewer: 5070 is a part of the address"),
    Torture("port behind the brackets", "4.4", _ipv6("REGISTER sip:[2001:db8::10]:5070 SIP/2.0"), "ok", "Requested"),
    Torture("received with brackets", "4.5",
            _ipv6("OPTIONS sip:[2001:db8::10] SIP/2.0", via=f"{_VIA};received=[2001:db8::9:255]"), "ok", 200),
    Torture("received without brackets", "4.5",
            _ipv6("OPTIONS sip:[2001:db8::10] SIP/2.0", via=f"{_VIA};received=2001:db8::9:255"), "ok", 200),
    Torture("description with IPv6", "4.6", _ipv6("INVITE sip:user@[2001:db8::10] SIP/2.0", body=_SDP), "ok", "Invited"),
    Torture(
        "Vias of both families", "4.7",
        message(
            "BYE sip:user@host.example.net SIP/2.0\nVia: SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111\n"
            "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKjhja8781hjuaij65144\n"
            "Via: SIP/2.0/TCP [2001:db8::9:255];branch=z9hG4bK451jj;received=192.0.2.200\nCall-ID: 997077@lau.example.com\n"
            "Max-Forwards: 70\nCSeq: 89187 BYE\nTo: sip:user@example.net;tag=9817--94\nFrom: sip:user@example.com;tag=81x2\n"
            "Content-Length: 0"
        ),
        "ok", 481, "it has a To tag and no dialog",
    ),
    Torture("descriptions of both families", "4.8", _ipv6("INVITE sip:user@[2001:db8::10] SIP/2.0", body=_TWO_FAMILIES), "ok", "Invited"),
    Torture(
        "IPv4-mapped", "4.9",
        _ipv6(
            "INVITE sip:user@example.com SIP/2.0", via="SIP/2.0/UDP [::ffff:192.0.2.10]:19823;branch=z9hG4bKbh19",
            contact="<sip:t.watson@[::ffff:192.0.2.10]:19823>", body=_MAPPED,
        ),
        "ok", "Invited",
    ),
    Torture("three colons", "4.10", _ipv6("OPTIONS sip:user@[2001:db8:::192.0.2.1] SIP/2.0"), "ok", 200,
            "the grammar of RFC 3261 allows it and nobody sends anything to that address"),
    Torture("two colons", "4.10", _ipv6("OPTIONS sip:user@[2001:db8::192.0.2.1] SIP/2.0"), "ok", 200),
    Torture("a zone", "RFC 6874", _ipv6("OPTIONS sip:user@example.com SIP/2.0", contact="<sip:caller@[fe80::1%25eth0]:5060>"), "ok", 200),
    Torture("an open bracket", "4.2", _ipv6("OPTIONS sip:user@[2001:db8::10 SIP/2.0"), 400, 400),
    Torture("an open bracket in Via", "4.2", _ipv6("OPTIONS sip:user@[2001:db8::10] SIP/2.0", via="SIP/2.0/UDP [2001:db8::9:1;branch=z9hG4bKas3-111"), 400, 400),
]  # fmt: skip
