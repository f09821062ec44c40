"""SDP: what is read, what is written, what is refused, and random damage."""

from __future__ import annotations

import base64
import random

import pytest

from appliance.sip import sdp
from appliance.sip.errors import PeerError
from appliance.sip.sdp import CryptoLine

KEY30 = base64.b64encode(bytes(range(30))).decode()
KEY28 = base64.b64encode(bytes(range(28))).decode()

PHONE = f"""v=0
o=100 8000 8001 IN IP4 192.168.1.20
s=Talk
c=IN IP4 192.168.1.20
b=AS:84
t=0 0
a=sendonly
m=audio 11780 RTP/SAVP 9 8 0 96 101
a=rtpmap:96 opus/48000/2
a=fmtp:96 useinbandfec=1
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY30}|2^31|1:4
a=crypto:2 AEAD_AES_128_GCM inline:{KEY28}
a=crypto:3 NULL_HMAC_SHA1_80 inline:{KEY30}
a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:{KEY30} UNENCRYPTED_SRTP
a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:AAAA
a=ptime:20
a=rtcp:11790 IN IP4 192.168.1.20
a=rtcp-mux
m=video 0 RTP/AVP 34
m=image 5000 udptl t38
c=IN IP6 2001:db8::1
""".replace("\n", "\r\n").encode()


def test_phone() -> None:
    session = sdp.parse(PHONE)
    assert session.origin == ("100", 8000, 8001, "192.168.1.20")
    audio, video, image = session.media
    assert (audio.kind, audio.port, audio.protocol, audio.address) == ("audio", 11780, "RTP/SAVP", "192.168.1.20")
    assert [(each.payload_type, each.name, each.rate, each.channels) for each in audio.formats] == [
        (9, "G722", 8000, 1),
        (8, "PCMA", 8000, 1),
        (0, "PCMU", 8000, 1),
        (96, "OPUS", 48000, 2),
        (101, "TELEPHONE-EVENT", 8000, 1),
    ]
    assert audio.formats[3].parameters == "useinbandfec=1"
    assert audio.direction == "sendonly"
    assert (audio.rtcp_port, audio.rtcp_mux, audio.ptime) == (11790, True, 20)
    assert [(line.tag, line.suite, line.mki) for line in audio.crypto] == [
        (1, "AES_CM_128_HMAC_SHA1_80", "1:4"),
        (2, "AEAD_AES_128_GCM", ""),
    ]
    assert audio.crypto[0].key == bytes(range(16))
    assert audio.crypto[0].salt == bytes(range(16, 30))
    assert (video.port, image.other_formats, image.address) == (0, ("t38",), "2001:db8::1")


def test_written_and_read_again() -> None:
    session = sdp.parse(PHONE)
    again = sdp.parse(session.to_bytes())
    assert again.media[0] == session.media[0].__class__(
        **{name: getattr(session.media[0], name) for name in session.media[0].__slots__ if name != "crypto"},
        crypto=tuple(CryptoLine(line.tag, line.suite, line.key, line.salt) for line in session.media[0].crypto),
    )
    assert [media.kind for media in again.media] == ["audio", "video", "image"]


def test_keys_are_not_shown() -> None:
    assert KEY30 not in repr(sdp.parse(PHONE))
    assert repr(bytes(range(16))) not in repr(sdp.parse(PHONE))


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_old_hold(address: str) -> None:
    family = "IP6" if ":" in address else "IP4"
    body = f"v=0\no=- 1 1 IN IP4 1.2.3.4\ns=-\nc=IN {family} {address}\nt=0 0\nm=audio 4000 RTP/AVP 0\n"
    assert sdp.parse(body.encode()).media[0].held_by_address


HEAD = "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"hello", 400),
        (b"v=0\x00", 400),
        (b"v=0\no=- 1 1 IN IP4\n", 400),
        (b"v=0\no=- " + b"9" * 40 + b" 1 IN IP4 1.2.3.4\n", 400),
        ((HEAD + "m=audio\n").encode(), 400),
        ((HEAD + "m=audio 99999 RTP/AVP 0\n").encode(), 400),
        ((HEAD + "m=audio -1 RTP/AVP 0\n").encode(), 400),
        ((HEAD + "m=audio 4000 RTP/AVP 300\n").encode(), 400),
        ((HEAD + "m=audio 4000 RTP/AVP zero\n").encode(), 400),
        ((HEAD + "m=audio 4000 RTP/AVP 96\na=rtpmap:96 opus\n").encode(), 400),
        ((HEAD + "m=audio 4000 RTP/AVP 96\na=rtpmap:96 opus/0\n").encode(), 400),
        ((HEAD + "x" * 5000 + "\n").encode(), 400),
        ((HEAD + "m=audio 4000 RTP/AVP 0\n" * 9).encode(), 488),
        ((HEAD + "m=audio 4000 RTP/AVP " + "0 " * 65 + "\n").encode(), 488),
        ((HEAD + "a=x\n" * 300).encode(), 488),
        (b"v=0\n" * 20000, 413),
    ],
)
def test_refused(body: bytes, status: int) -> None:
    with pytest.raises(PeerError) as caught:
        sdp.parse(body)
    assert caught.value.status == status


def test_eight_lines_and_64_formats_are_taken() -> None:
    formats = " ".join(str(number) for number in range(64))
    session = sdp.parse((HEAD + f"m=audio 4000 RTP/AVP {formats}\n" * 8).encode())
    assert [len(media.formats) for media in session.media] == [64] * 8


def read(body: bytes) -> None:
    try:
        session = sdp.parse(body)
    except PeerError:
        return
    sdp.parse(session.to_bytes())


def test_every_truncation() -> None:
    for end in range(len(PHONE)):
        read(PHONE[:end])


def test_random_mutation() -> None:
    rng = random.Random(8866)
    for _ in range(5000):
        body = bytearray(PHONE)
        for _ in range(rng.randint(1, 5)):
            at = rng.randrange(len(body))
            if rng.random() < 0.5:
                body[at] = rng.randrange(256)
            else:
                body[at : at + rng.randint(0, 9)] = rng.choice(
                    [b"", b"\r\n", b"\n", b"=", b"/", b":", b"99999999999", b"\xff\xfe", b"a=", b"m="]
                )
        read(bytes(body))
