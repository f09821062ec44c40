"""Where the session description is in a body (RFC 5621, RFC 2046)."""

from __future__ import annotations

import random

import pytest

from appliance.sip.text.body import DEPTH, PARTS, may_be_ignored, media_type, session_description

SDP = b"v=0\r\nm=audio 1 RTP/AVP 0"
TEXT = "Content-Type: text/plain"
OURS = "Content-Type: application/sdp"


def multipart(*parts: tuple[str, bytes], boundary: str = "b", end: str = "--", line: bytes = b"\r\n") -> bytes:
    """(head, content) each; `end` closes the last delimiter."""
    delimiter = b"--" + boundary.encode()
    found = [delimiter + line + head.encode() + line + line + content + line for head, content in parts]
    return b"".join(found) + delimiter + end.encode() + line


@pytest.mark.parametrize(
    ("content_type", "body", "found"),
    [
        ("application/sdp", SDP, SDP),
        ("Application/SDP ; charset=utf-8", SDP, SDP),
        ("application/sdp", b"", b""),
        ("application/sdp", b" \r\n", b""),
        ("", SDP, SDP),
        ("", b"\r\n" + SDP, b"\r\n" + SDP),
        ("", b"hello", b""),
        ("text/plain", SDP, b""),
        ("multipart/mixed;boundary=b", multipart((OURS, SDP)), SDP),
        ("multipart/mixed;boundary=b", multipart((TEXT, b"x"), (OURS, SDP)), SDP),
        ("multipart/mixed;boundary=b", multipart((OURS, SDP), (OURS, b"v=0 other")), SDP),
        ("multipart/alternative;boundary=b", multipart((OURS, b"v=0 other"), (OURS, SDP), (TEXT, b"x")), SDP),
        ("multipart/related; type=x; boundary=b", multipart((OURS, SDP)), SDP),
        ("multipart/mixed", multipart((OURS, SDP)), b""),
        ("multipart/mixed;boundary=c", multipart((OURS, SDP)), b""),
        ("multipart/mixed;boundary=", multipart((OURS, SDP), boundary=""), b""),
        ("multipart/mixed;boundary=" + "b" * 71, multipart((OURS, SDP), boundary="b" * 71), b""),
        ('multipart/mixed;boundary="b', multipart((OURS, SDP)), b""),
        ('multipart/mixed; boundary="a (b)"', multipart((OURS, SDP), boundary="a (b)"), SDP),
        ("multipart/mixed;boundary=b.?", multipart((OURS, SDP), boundary="b.?"), SDP),
        ("multipart/mixed;boundary=b", b"preamble\r\n" + multipart((OURS, SDP)) + b"epilogue", SDP),
        ("multipart/mixed;boundary=b", multipart((OURS, SDP), line=b"\n"), SDP),
        ("multipart/mixed;boundary=b", b"--b\r\n" + OURS.encode() + b"\r\n\r\n" + SDP, SDP),
        ("multipart/mixed;boundary=b", multipart((OURS, SDP + b"\r\n--bc")), SDP + b"\r\n--bc"),
        ("multipart/mixed;boundary=b", multipart((TEXT, b"x")) + multipart((OURS, SDP)), b""),
        ("multipart/mixed;boundary=b", multipart(("c : application/SDP;x=y", SDP)), SDP),
        ("multipart/mixed;boundary=b", multipart(("X: y\r\nContent-Type:\r\n application/sdp", SDP)), SDP),
        ("multipart/mixed;boundary=b", multipart((OURS + "\r\nContent-Disposition: session;handling=required", SDP)), SDP),
        ("multipart/mixed;boundary=b", multipart((OURS + "\r\nContent-Disposition: early-session", b"v=0 x"), (OURS, SDP)), SDP),
        ("multipart/mixed;boundary=b", multipart((OURS + "\r\nContent-Transfer-Encoding: base64", b"dj0w"), (OURS, SDP)), SDP),
        ("multipart/mixed;boundary=b", multipart((OURS + "\r\nContent-Transfer-Encoding: 8BIT", SDP)), SDP),
        ("multipart/mixed;boundary=b", b"--b\r\n--b\r\n" + multipart((OURS, SDP)), SDP),
        ("multipart/mixed;boundary=b", b"", b""),
    ],
)
def test_the_description(content_type: str, body: bytes, found: bytes) -> None:
    assert session_description(content_type, body) == found


def test_bounds() -> None:
    for count, found in ((PARTS - 1, SDP), (PARTS, b"")):
        assert session_description("multipart/mixed;boundary=b", multipart(*[(TEXT, b"x")] * count, (OURS, SDP))) == found
    for depth, found in ((DEPTH, SDP), (DEPTH + 1, b"")):
        kind, body = "application/sdp", SDP
        for level in range(depth):
            kind, body = f"multipart/mixed;boundary=b{level}", multipart((f"Content-Type: {kind}", body), boundary=f"b{level}")
        assert session_description(kind, body) == found


def test_any_damage_is_read_without_an_error() -> None:
    rng = random.Random(5621)
    whole = multipart((TEXT, b"x"), ("Content-Type: multipart/alternative;boundary=c", multipart((OURS, SDP), boundary="c")))
    for _ in range(3000):
        body = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(body) + 1)
            body[at : at + rng.randint(0, 9)] = rng.choice([b"", b"\r\n", b"--b", b"--c--", b"\x00", b":", bytes([rng.randrange(256)])])
        session_description("multipart/mixed;boundary=b", bytes(body))


def test_types_and_dispositions() -> None:
    assert (media_type(" Text/Plain ;x"), media_type("")) == ("text/plain", "")
    assert may_be_ignored("render; handling=Optional")
    assert not any(may_be_ignored(value) for value in ("", "render", "render;handling=required", 'x;handling="optional'))
