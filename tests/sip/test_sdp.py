"""SDP: what is read, what is written, what is refused, and random damage."""

from __future__ import annotations

import base64
import random

import pytest
from msgspec.structs import replace

from appliance.sip.errors import PeerError
from appliance.sip.text import sdp
from appliance.sip.text.sdp import CryptoLine

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
    assert (video.port, video.other_formats, image.port, image.other_formats) == (0, ("34",), 5000, ("t38",))


def test_written_and_read_again() -> None:
    session = sdp.parse(PHONE)
    again = sdp.parse(session.to_bytes())
    plain = [replace(line, session_parameters="") for line in session.media[0].crypto]
    assert again.media[0] == replace(session.media[0], crypto=tuple(plain))
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
AUDIO = "m=audio 4000 RTP/AVP 0 8\na=rtpmap:0 PCMU/8000\na=sendonly\n"


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"hello", 400), (b"\r\n\r\n", 400), ((HEAD + "m=audio 4000 RTP/AVP 0\n" * 9).encode(), 488), (b"v=0\n" * 20000, 413)],
)
def test_no_description(body: bytes, status: int) -> None:
    with pytest.raises(PeerError) as caught:
        sdp.parse(body)
    assert caught.value.status == status


DEAF = {
    "NUL at the end": (HEAD + AUDIO + "\x00", 0),
    "NUL after every line": ((HEAD + AUDIO).replace("\n", "\x00\r\n"), 0),
    "blank lines": ((HEAD + AUDIO).replace("\n", "\r\n\r\n \r\n"), 0),
    "lines of CR": ((HEAD + AUDIO).replace("\n", "\r"), 0),
    "blanks around": ((HEAD + AUDIO).replace("\n", " \t\r\n").replace("a=", "a= "), 0),
    "no o= line": (HEAD.replace("o=- 1 1 IN IP4 192.0.2.1\n", "") + AUDIO, 0),
    "an o= line with too few words": (HEAD.replace("o=- 1 1 IN IP4 192.0.2.1", "o=- 1 1 IN IP4") + AUDIO, 1),
    "an o= line with a number too long": (HEAD.replace("o=- 1", "o=- " + "9" * 40) + AUDIO, 1),
    "bandwidth": (HEAD + "b=\nb=AS\nb=:\nb=TIAS:x\n" + AUDIO, 0),
    "no s= and t= lines": (HEAD.replace("s=-\n", "").replace("t=0 0\n", "") + AUDIO, 0),
    "a line over 1,024 characters": (HEAD + AUDIO + "a=x-info:" + "y" * 1100 + "\n", 1),
    "no line at all": (HEAD + "hello\n" + AUDIO + "x\n=\n", 3),
    "attributes without sense": (HEAD + AUDIO + "a=\na=:\na=rtpmap\na=fmtp:\na=rtcp:\na=rtcp:99999\na=ptime:soon\na=crypto:\n", 0),
    "an rtpmap that is not needed": (HEAD + AUDIO + "a=rtpmap:96\na=rtpmap:97 opus/0\na=rtpmap:x y/z\n", 0),
    "names of attributes in capitals": ((HEAD + AUDIO).replace("a=rtpmap", "a=RTPMAP").replace("sendonly", "SendOnly"), 0),
    "300 unknown attributes": (HEAD + "a=x\n" * 300 + AUDIO, 0),
    "IN and IP4 in small letters": ((HEAD + AUDIO).replace("IN IP4", "in ip4"), 0),
    "a c= line for the line alone": (HEAD.replace("c=IN IP4 192.0.2.1\n", "c=?\n") + "m=audio 4000 RTP/AVP 0 8\nc=IN IP4 192.0.2.1/127\na=sendonly\n", 0),
}  # fmt: skip


@pytest.mark.parametrize("name", DEAF)
def test_what_nobody_reads_does_no_harm(name: str) -> None:
    text, skipped = DEAF[name]
    session = sdp.parse(text.encode())
    assert session.media == sdp.parse((HEAD + AUDIO).encode()).media
    assert session.skipped == skipped


@pytest.mark.parametrize(
    "line",
    [
        "m=video 0 RTP/AVP 255", "m=video 5000 RTP/AVP zero\nc=IN\na=rtpmap:x", "m=audio 0 RTP/AVP 300", "m=image 5002 udptl t38",
        "m=application x y", "m=video", "m=", "m=audio 0 RTP/AVP " + "0 " * 200, "m=x\x00y 1 2 3",
    ],
)  # fmt: skip
def test_a_line_that_is_not_used_is_kept_as_it_is(line: str) -> None:
    before, after = (sdp.parse((HEAD + text).encode()).media for text in (line + "\n" + AUDIO, AUDIO + line + "\n"))
    (audio,) = sdp.parse((HEAD + AUDIO).encode()).media
    assert before[1] == after[0] == audio
    assert before[0].formats == after[1].formats == ()


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("m=audio", "m= line"), ("m=audio 4000", "m= line"), ("m=audio 4000 RTP/AVP", "m= line"), ("m=audio 99999 RTP/AVP 0", "m= line"),
        ("m=audio -1 RTP/AVP 0", "m= line"), ("m=audio x RTP/AVP 0", "m= line"), ("m=audio 4000 RTP/AVP 300", "payload type"),
        ("m=audio 4000 RTP/AVP zero", "payload type"), ("m=audio 4000 RTP/AVP 0\nc=IN IP4", "c= line"),
        ("m=audio 4000 RTP/AVP 0\nc=IN IP4 192.0.2.1\x00.2", "c= line"), ("m=audio 4000 RTP/AVP 0\nc=IN IP9 x", "c= line"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_an_audio_line_is_its_own_fault(line: str, fault: str) -> None:
    wrong, right = sdp.parse((HEAD + line + "\n" + AUDIO).encode()).media
    assert wrong.fault == f"Malformed {fault}"
    assert right == sdp.parse((HEAD + AUDIO).encode()).media[0]


def test_a_codec_that_nothing_names_is_no_codec() -> None:
    (media,) = sdp.parse((HEAD + "m=audio 4000 RTP/AVP 96 97 98\na=rtpmap:96 opus\na=rtpmap:97 opus/0\n").encode()).media
    assert [each.name for each in media.formats] == ["", "", ""]


def test_of_too_many_formats_the_first_are_taken() -> None:
    (media,) = sdp.parse((HEAD + "m=audio 4000 RTP/AVP " + " ".join(map(str, range(100))) + "\n").encode()).media
    assert [each.payload_type for each in media.formats] == list(range(64))


@pytest.mark.parametrize(
    ("rest", "length"),
    [
        ("", 0), ("|2^31", 0), ("|2^31|1:1", 1), ("|1:4", 4), ("|1:4|2^20", 4), ("|4294967296|66051:128", 128), (" KDR=0", 0),
        (" WSH=64 -X=1", 0), (" kdr=0 wsh=128", 0),
    ],
)  # fmt: skip
def test_what_a_key_line_may_say_beside_the_key(rest: str, length: int) -> None:
    line = CryptoLine.parse(f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY30}{rest}")
    assert line is not None
    assert line.mki_length == length
    again = CryptoLine.parse(str(line))
    assert again is not None
    assert (again.key, again.salt, again.mki_length) == (line.key, line.salt, length)


@pytest.mark.parametrize("rest", ["|1:0", "|1:129", "|x", " KDR=1", " KDR=24", " UNENCRYPTED_SRTP", " UNAUTHENTICATED_SRTP", " FEC_KEY=x", " WSH"])
def test_a_key_line_that_would_end_in_silence_is_none(rest: str) -> None:
    assert CryptoLine.parse(f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY30}{rest}") is None


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
