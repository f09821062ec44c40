"""How telephones of many makers write an INVITE and a REGISTER: the shape of what public traces and the makers' manuals show, in our
own words and with our own numbers. The source stands beside each.

HOST and PORT are the phone's, BOX is the system; the body follows the empty line. `tests/callcontrol/test_makers.py` uses them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Maker:
    name: str
    source: str
    invite: str
    register: str
    secure: bool = False  # over TLS


def _register(contact: str, *more: str, via: str = "SIP/2.0/UDP HOST:PORT;branch=z9hG4bKr;rport", display: str = "") -> str:
    lines = [
        "REGISTER sip:BOX SIP/2.0", f"Via: {via}", f"From: {display}<sip:101@BOX>;tag=r1", f"To: {display}<sip:101@BOX>", "Call-ID: r@HOST",
        "CSeq: 2 REGISTER", f"Contact: {contact}", "Max-Forwards: 70", *more, "Content-Length: 0", "", "",
    ]  # fmt: skip
    return "\n".join(lines)


_DESK = """v=0
o=- 20047 20047 IN IP4 HOST
s=SDP data
c=IN IP4 HOST
t=0 0
m=audio 11796 RTP/AVP 9 0 8 18 101
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:18 G729/8000
a=fmtp:18 annexb=no
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
a=sendrecv
"""

MAKERS = (
    Maker(
        "Yealink",
        "SIP-T46G Administrator's Guide, appendix SIP: header fields, call flows and SDP lines that the phone supports",
        """INVITE sip:102@BOX SIP/2.0
Via: SIP/2.0/UDP HOST:PORT;branch=z9hG4bK1234567890
From: "Anna" <sip:101@BOX>;tag=1838301183
To: <sip:102@BOX>
Call-ID: 0_1650221437@HOST
CSeq: 1 INVITE
Contact: <sip:101@HOST:PORT>
Content-Type: application/sdp
Allow: INVITE, INFO, PRACK, ACK, BYE, CANCEL, OPTIONS, NOTIFY, REGISTER, SUBSCRIBE, REFER, PUBLISH, UPDATE, MESSAGE
Max-Forwards: 70
User-Agent: Yealink SIP-T46G 28.83.0.130
Supported: replaces
Allow-Events: talk,hold,conference,refer,check-sync

""" + _DESK,
        _register("<sip:101@HOST:PORT>", "Expires: 3600", "Allow-Events: talk,hold,conference,refer,check-sync", display='"Anna" '),
    ),
    Maker(
        "Snom",
        "wiki.snom.com, Category:HowTo:SIP: traces of a registration with and without authentication",
        """INVITE sip:102@BOX;user=phone SIP/2.0
Via: SIP/2.0/TLS HOST:PORT;branch=z9hG4bK-b12m9r9qvqh3;rport
From: "Ext 101" <sip:101@BOX>;tag=3xq79cc9he
To: <sip:102@BOX;user=phone>
Call-ID: 3c268399b04e-b2e3tpb6b9eb
CSeq: 1 INVITE
Max-Forwards: 70
Contact: <sip:101@HOST:PORT;transport=tls;line=h4mxbqgo>;reg-id=1
X-Serialnumber: 000413000000
P-Key-Flags: resolution="31x13", keys="4"
User-Agent: snom370/8.7.5.35
Accept: application/sdp
Allow: INVITE, ACK, CANCEL, BYE, REFER, OPTIONS, NOTIFY, SUBSCRIBE, PRACK, MESSAGE, INFO, UPDATE
Allow-Events: talk, hold, refer, call-info
Supported: timer, 100rel, replaces, from-change
Session-Expires: 3600
Min-SE: 90
Content-Type: application/sdp

v=0
o=root 1821109898 1821109898 IN IP4 HOST
s=call
c=IN IP4 HOST
t=0 0
m=audio 59628 RTP/SAVP 9 8 0 3 99 112 18 101
a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB|2^31|1:4
a=rtpmap:9 G722/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:3 GSM/8000
a=rtpmap:99 G726-32/8000
a=rtpmap:112 AAL2-G726-32/8000
a=rtpmap:18 G729/8000
a=fmtp:18 annexb=no
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
a=sendrecv
""",
        _register(
            '<sip:101@HOST:PORT;transport=tls;line=h4mxbqgo>;reg-id=1;q=1.0;+sip.instance="<urn:uuid:e960df68-8f5d-4fec-aab4-1678c7bd76a0>"',
            "Supported: gruu", "Allow-Events: dialog", "X-Real-IP: HOST", "Expires: 3600",
            via="SIP/2.0/TLS HOST:PORT;branch=z9hG4bK-kq2;rport", display='"Ext 101" ',
        ),
        secure=True,
    ),
    Maker(
        "Polycom",
        "SIP 2.2.2 Administrator's Guide, appendix B: delayed offers, 100rel, both kinds of hold",
        """INVITE sip:102@BOX:5060;user=phone SIP/2.0
Via: SIP/2.0/UDP HOST:PORT;branch=z9hG4bK7ea4d0c7C3A1F6B3
From: "Anna" <sip:101@BOX>;tag=9B6F0C63-2B4B6A6C
To: <sip:102@BOX;user=phone>
CSeq: 1 INVITE
Call-ID: 4f6f3b1f-9f3a6b21-61b8c1a2@HOST
Contact: <sip:101@HOST:PORT>
Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, MESSAGE, SUBSCRIBE, NOTIFY, PRACK, UPDATE, REFER
User-Agent: PolycomVVX-VVX_400-UA/5.4.0.10182
Accept-Language: en
Supported: 100rel,replaces
Allow-Events: conference,talk,hold
Max-Forwards: 70
Content-Type: application/sdp

v=0
o=- 1426170217 1426170217 IN IP4 HOST
s=Polycom IP Phone
c=IN IP4 HOST
b=AS:64
t=0 0
a=sendrecv
m=audio 2226 RTP/AVP 9 0 8 18 127
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:18 G729/8000
a=fmtp:18 annexb=no
a=rtpmap:127 telephone-event/8000
""",
        _register('<sip:101@HOST:PORT>;methods="INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, MESSAGE, SUBSCRIBE, NOTIFY, PRACK, UPDATE, REFER"',
                  "User-Agent: PolycomVVX-VVX_400-UA/5.4.0.10182", "Accept-Language: en", "Expires: 3600", display='"Anna" '),
    ),
    Maker(
        "Cisco",
        "github.com/sipcapture/captagent, issue 4: the description of a 7960 with the c= line behind the m= line",
        """INVITE sip:102@BOX;user=phone SIP/2.0
Via: SIP/2.0/UDP HOST:PORT;branch=z9hG4bK4b2f6b1e
From: "101" <sip:101@BOX>;tag=00156247d4c90e3c0d7a5b4e-6b6f3d41
To: <sip:102@BOX;user=phone>
Call-ID: 00156247-d4c9000c-1bd2a4f6-5d2c5ae4@HOST
Max-Forwards: 70
Date: Fri, 09 Jan 2015 18:12:20 GMT
CSeq: 101 INVITE
User-Agent: Cisco-CP7965G/8.5.3
Contact: <sip:101@HOST:PORT;transport=udp>
Expires: 180
Accept: application/sdp
Allow: ACK,BYE,CANCEL,INVITE,NOTIFY,OPTIONS,REFER,REGISTER,UPDATE,SUBSCRIBE
Remote-Party-ID: "101" <sip:101@BOX>;party=calling;id-type=subscriber;privacy=off;screen=yes
Supported: replaces,join,norefersub
Content-Disposition: session;handling=optional
Content-Type: application/sdp

v=0
o=Cisco-SIPUA 7221 0 IN IP4 HOST
s=SIP Call
t=0 0
m=audio 20096 RTP/AVP 0 8 18 9 116 101
c=IN IP4 HOST
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:18 G729/8000
a=fmtp:18 annexb=no
a=rtpmap:9 G722/8000
a=rtpmap:116 iLBC/8000
a=fmtp:116 mode=20
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=sendrecv
""",
        _register('<sip:101@HOST:PORT;transport=udp>;+sip.instance="<urn:uuid:00000000-0000-0000-0000-00156247d4c9>";+u.sip!model.ccm.cisco.com="436"',
                  "User-Agent: Cisco-CP7965G/8.5.3", "Supported: (null),X-cisco-xsi-7.0.1", "Expires: 3600"),
    ),
    Maker(
        "Grandstream",
        "GXV3240D Administration Guide 1.0.1.54, SIP settings: session timer, 100rel, Privacy and P-Preferred-Identity",
        """INVITE sip:102@BOX SIP/2.0
Via: SIP/2.0/UDP HOST:PORT;branch=z9hG4bK1606442351;rport
From: "Anna" <sip:101@BOX>;tag=1178386371
To: <sip:102@BOX>
Call-ID: 1537283361-5060-3@BJC.BGI.B.BBA
CSeq: 30 INVITE
Contact: "Anna" <sip:101@HOST:PORT>
Max-Forwards: 70
User-Agent: Grandstream GXV3240 1.0.1.54
Privacy: none
P-Preferred-Identity: "Anna" <sip:101@BOX>
Supported: replaces, path, timer, eventlist
Session-Expires: 180;refresher=uac
Min-SE: 90
Allow: INVITE, ACK, OPTIONS, CANCEL, BYE, SUBSCRIBE, NOTIFY, INFO, REFER, UPDATE, MESSAGE
Content-Type: application/sdp
Accept: application/sdp, application/dtmf-relay

v=0
o=101 8000 8000 IN IP4 HOST
s=SIP Call
c=IN IP4 HOST
t=0 0
m=audio 5004 RTP/AVP 0 8 9 2 98 18 101
a=sendrecv
a=rtpmap:0 PCMU/8000
a=ptime:20
a=rtpmap:8 PCMA/8000
a=rtpmap:9 G722/8000
a=rtpmap:2 G726-32/8000
a=rtpmap:98 iLBC/8000
a=fmtp:98 mode=30
a=rtpmap:18 G729/8000
a=fmtp:18 annexb=no
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
m=video 5006 RTP/AVP 99
b=AS:1024
a=sendrecv
a=rtpmap:99 H264/90000
a=fmtp:99 profile-level-id=428014; packetization-mode=0
""",
        _register('<sip:101@HOST:PORT>;reg-id=1;+sip.instance="<urn:uuid:00000000-0000-1000-8000-000B82000000>"', "X-Grandstream-PBX: true",
                  "User-Agent: Grandstream GXV3240 1.0.1.54", "Supported: path", "Expires: 3600"),
    ),
    Maker(
        "Gigaset",
        "N670 IP PRO, Installation, configuration and operation, 18.04.2019, telephony settings: session timer 1800 s, PRACK",
        """INVITE sip:102@BOX:5060 SIP/2.0
Via: SIP/2.0/UDP HOST:PORT;branch=z9hG4bKc5e9ac4c0e24f5f9;rport
Max-Forwards: 70
From: "101" <sip:101@BOX:5060>;tag=2407353271
To: <sip:102@BOX:5060>
Call-ID: 2863219857@192_168_178_30
CSeq: 1 INVITE
Contact: <sip:101@HOST:PORT>
Content-Type: application/sdp
Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, REFER, SUBSCRIBE, NOTIFY, UPDATE
Supported: replaces, timer
Session-Expires: 1800
Allow-Events: message-summary, refer, ua-profile
User-Agent: N670 IP PRO/42.243

v=0
o=101 4711 1 IN IP4 HOST
s=-
c=IN IP4 HOST
t=0 0
m=audio 5020 RTP/AVP 9 8 0 2 101
a=rtpmap:9 G722/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:2 G726-32/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=rtcp:5021
a=ptime:20
a=maxptime:60
a=sendrecv
""",
        _register("<sip:101@HOST:PORT>", "User-Agent: N670 IP PRO/42.243", "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS", "Expires: 180"),
    ),
    Maker(
        "AudioCodes",
        "MP-11x & MP-124 SIP User's Manual LTRT-65412, page 392: an INVITE of an MP-118",
        """INVITE sip:102@BOX;user=phone SIP/2.0
Via: SIP/2.0/UDP HOST:PORT;branch=z9hG4bKac771627168
Max-Forwards: 70
From: "101" <sip:101@BOX>;tag=1c771623824
To: <sip:102@BOX;user=phone>
Call-ID: 77162335841200014153@HOST
CSeq: 1 INVITE
Contact: <sip:101@HOST:PORT>
Supported: em,100rel,timer,replaces,path
Allow: REGISTER,OPTIONS,INVITE,ACK,CANCEL,BYE,NOTIFY,PRACK,REFER,INFO,SUBSCRIBE,UPDATE
User-Agent: Audiocodes-Sip-Gateway-MP-118 FXS_FXO/v.4.70A.020.077
Privacy: none
P-Asserted-Identity: "101" <sip:101@BOX>
Content-Type: application/sdp

v=0
o=AudiocodesGW 771609035 771608915 IN IP4 HOST
s=Phone-Call
c=IN IP4 HOST
t=0 0
m=audio 4000 RTP/AVP 8 0 101
a=rtpmap:8 pcma/8000
a=rtpmap:0 pcmu/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
a=sendrecv
""",
        _register("<sip:101@HOST:PORT>", "User-Agent: Audiocodes-Sip-Gateway-MP-118 FXS_FXO/v.4.70A.020.077", "Expires: 180"),
    ),
    Maker(
        "Linphone",
        "topic.alibabacloud.com, SIP INVITE instance reference: a call of Linphone 3.2.1",
        """INVITE sip:102@BOX SIP/2.0
Via: SIP/2.0/UDP HOST:PORT;rport;branch=z9hG4bK2195
From: <sip:101@BOX>;tag=29244
To: <sip:102@BOX>
Call-ID: 8103
CSeq: 20 INVITE
Contact: <sip:101@HOST:PORT>
Content-Type: application/sdp
Max-Forwards: 70
User-Agent: Linphone/3.2.1 (eXosip2/3.3.0)
Subject: Phone call

v=0
o=101 123456 654321 IN IP4 HOST
s=A conversation
c=IN IP4 HOST
t=0 0
m=audio 7078 RTP/AVP 111 110 0 3 8 101
a=rtpmap:111 speex/16000/1
a=rtpmap:110 speex/8000/1
a=rtpmap:0 PCMU/8000/1
a=rtpmap:3 GSM/8000/1
a=rtpmap:8 PCMA/8000/1
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-11
""",
        _register("<sip:101@HOST:PORT;line=bd4ab9e9ee1cf1e>", "User-Agent: Linphone/3.2.1 (eXosip2/3.3.0)", "Expires: 900"),
    ),
    Maker(
        "PJSIP, as in MicroSIP",
        "github.com/pjsip/pjproject, issue 2823, and github.com/VoIPGRID/VialerSIPLib, issue 151: calls over UDP and TLS",
        """INVITE sip:102@BOX;transport=TLS SIP/2.0
Via: SIP/2.0/TLS HOST:PORT;rport;branch=z9hG4bKPj9GwzgBEgCQZQwY.BHYBEVtmUs18n-2lR;alias
Max-Forwards: 70
From: <sip:101@BOX>;tag=Jc0qquhM8V2x5IrXbMVjBvfHQrqkyFab
To: sip:102@BOX
Contact: <sip:101@HOST:PORT;transport=TLS;ob>
Call-ID: cOQ5avv8SkUwPHv.KO0ufjWg6YnCtxrh
CSeq: 22858 INVITE
Allow: PRACK, INVITE, ACK, BYE, CANCEL, UPDATE, INFO, SUBSCRIBE, NOTIFY, REFER, MESSAGE, OPTIONS
Supported: replaces, 100rel, timer, norefersub
Session-Expires: 1800
Min-SE: 90
User-Agent: MicroSIP/3.21.3
Content-Type: application/sdp

v=0
o=- 3840276558 3840276559 IN IP4 HOST
s=pjmedia
b=AS:84
t=0 0
a=X-nat:0
m=audio 4010 RTP/SAVP 8 0 104 101
c=IN IP4 HOST
b=TIAS:64000
a=rtcp:4011 IN IP4 HOST
a=sendrecv
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:104 iLBC/8000
a=fmtp:104 mode=30
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=ssrc:446422725 cname:3f9808500542d1dc
a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==
a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC
m=video 0 RTP/SAVP 96
c=IN IP4 127.0.0.1
""",
        _register("<sip:101@HOST:PORT;transport=TLS;ob>", "User-Agent: MicroSIP/3.21.3", "Supported: outbound, path", "Expires: 300",
                  via="SIP/2.0/TLS HOST:PORT;rport;branch=z9hG4bKPjr1;alias"),
        secure=True,
    ),
    Maker(
        "baresip",
        "github.com/baresip/baresip, issues 184 (an INVITE) and 1131 (a Contact with -0x in its user)",
        """INVITE sip:102@BOX SIP/2.0
Via: SIP/2.0/UDP HOST:PORT;branch=z9hG4bKplvydmti;rport
Max-Forwards: 70
To: <sip:102@BOX>
From: "Anna" <sip:101@BOX>;tag=dxwfd
Call-ID: ofrhqndyrxigrpv
CSeq: 975 INVITE
Contact: <sip:101-0x10be123@HOST:PORT>
Content-Type: application/sdp
Privacy: id
P-Preferred-Identity: "Anna" <sip:101@BOX>
Allow: INVITE,ACK,BYE,CANCEL,OPTIONS,NOTIFY,SUBSCRIBE,INFO,MESSAGE,UPDATE,REFER
Supported: gruu
User-Agent: baresip v1.0.0 (x86_64/linux)

v=0
o=- 1606562000 18411 IN IP4 HOST
s=-
c=IN IP4 HOST
t=0 0
a=tool:baresip 1.0.0
m=audio 25840 RTP/AVP 96 0 8 101
b=AS:128
a=rtpmap:96 opus/48000/2
a=fmtp:96 stereo=1;sprop-stereo=1
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=rtcp:25841
a=sendrecv
a=label:1
a=rtcp-rsize
a=ssrc:2363419821 cname:sip:101@BOX
a=ptime:20
""",
        _register('<sip:101-0x10be123@HOST:PORT>;expires=3600;+sip.instance="<urn:uuid:1f7b3f2e-0000-4000-8000-000000000001>"',
                  "User-Agent: baresip v1.0.0 (x86_64/linux)", "Supported: gruu,path,outbound"),
    ),
    Maker(
        "CounterPath X-Lite",
        "learn.saylor.org, SIP and RTP: Overview of a VoIP Communication: a registration and a call",
        """INVITE sip:102@BOX SIP/2.0
Via: SIP/2.0/UDP HOST:PORT;rport;branch=z9hG4bK240C2422F5DFEF700B859D9BAD8F9063
From: anna <sip:101@BOX>;tag=1847976374
To: <sip:102@BOX>
Contact: "anna" <sip:101@HOST:PORT>
Call-ID: 7B6E5CF1-3B4D-4A1B-8D2A-2C1E8F0B9A11@HOST
CSeq: 21406 INVITE
Max-Forwards: 70
Content-Type: application/sdp
User-Agent: X-Lite release 1105x

v=0
o=101 88302 88302 IN IP4 HOST
s=X-Lite
c=IN IP4 HOST
t=0 0
m=audio 8000 RTP/AVP 0 8 3 98 97 101
a=rtpmap:0 pcmu/8000
a=rtpmap:8 pcma/8000
a=rtpmap:3 gsm/8000
a=rtpmap:98 iLBC/8000
a=rtpmap:97 speex/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
""",
        _register('"anna" <sip:101@HOST:PORT>', "User-Agent: X-Lite release 1105x", "Expires: 1800",
                  via="SIP/2.0/UDP HOST:PORT;rport;branch=z9hG4bK240C2422F5DFEF700B859D9BAD8F9064", display="anna "),
    ),
)  # fmt: skip
