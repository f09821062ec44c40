"""Framing of SIP on a stream, against a plain reader of whole streams: every split gives the same."""

import random
import re

import pytest

from media_core.flows.framing import Framer

HEAD = b"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP c;l=9\r\n"


def whole(stream: bytes) -> list[bytes | None] | str:
    """Reads a complete stream at once; None is a ping, a string the reason to close."""
    found: list[bytes | None] = []
    crlf = 0
    while stream:
        if stream.startswith(b"\r"):
            if len(stream) > 1 and stream[1:2] != b"\n":
                return "not SIP"
            if len(stream) == 1:
                break
            stream, crlf = stream[2:], crlf ^ 1
            if not crlf:
                found.append(None)
            continue
        crlf = 0
        if not re.match(rb"[A-Za-z0-9.!%*_+`'~-]", stream):
            return "not SIP"
        head, end, body = stream.partition(b"\r\n\r\n")
        if 0 in (head + end)[: len(head + end) - (0 if end else 3)]:
            return "not SIP"
        if not end:
            break
        lines = re.sub(rb"\r\n(?=[ \t])", b"", head).split(b"\r\n")[1:]
        values = [
            v
            for n, c, v in (line.partition(b":") for line in lines)
            if n.strip(b" \t").lower() in (b"content-length", b"l") and c
        ]
        if (
            any(not re.fullmatch(rb"[ \t\r\n]*[0-9]{1,9}[ \t\r\n]*", v) for v in values)
            or len({int(v) for v in values}) > 1
        ):
            return "bad Content-Length"
        if not values:
            return "message without Content-Length"
        length = int(values[0])
        if length > 65536:
            return "message too long"
        if len(body) < length:
            break
        found.append(head + end + body[:length])
        stream = body[length:]
    return found


def feed(framer: Framer, *parts: bytes) -> list[bytes | None] | str:
    found: list[bytes | None] = []
    for part in parts:
        try:
            found += framer.feed(part)
        except ValueError as error:
            return str(error)
    return found


STREAM = (
    HEAD + b"Content-Length: 4\r\n\r\na\r\nb"
    b"\r\n\r\n\r\n"
    + HEAD
    + b"l:0\r\nX: y\r\n\r\n"
    + b"\r\n\r\n"
    + HEAD
    + b"CONTENT-LENGTH \t:\r\n 3 \r\nl: 3\r\n\r\nxyz"
    b"SIP/2.0 200 OK\r\nContent-Length: 00\r\n\r\n"
)


def test_every_split() -> None:
    expected = whole(STREAM)
    assert isinstance(expected, list)
    assert [m is None for m in expected] == [False, True, False, True, False, False]
    for cut in range(len(STREAM) + 1):
        for second in range(cut, len(STREAM) + 1, 7):
            assert feed(Framer(), STREAM[:cut], STREAM[cut:second], STREAM[second:]) == expected
    assert feed(Framer(), *(STREAM[n : n + 1] for n in range(len(STREAM)))) == expected


@pytest.mark.parametrize(
    ("header", "result"),
    [
        (b"Content-Length: -1", "bad Content-Length"),
        (b"Content-Length: +1", "bad Content-Length"),
        (b"Content-Length: 0x1", "bad Content-Length"),
        (b"Content-Length:", "bad Content-Length"),
        (b"Content-Length: 1 1", "bad Content-Length"),
        (b"Content-Length: 4294967297", "bad Content-Length"),
        (b"Content-Length: 999999999", "message too long"),
        (b"Content-Length: 65537", "message too long"),
        (b"Content-Length: 1\r\nl: 2", "bad Content-Length"),
        (b"X-Content-Length: 1", "message without Content-Length"),
        (b"X: y\r\n Content-Length: 1", "message without Content-Length"),
        (b"Content-Length 1", "message without Content-Length"),
        (b"X: \0", "not SIP"),
    ],
)
def test_bad_lengths(header: bytes, result: str) -> None:
    assert feed(Framer(), HEAD + header + b"\r\n\r\nabc") == result


def test_head_limit_is_exact() -> None:
    room = 16384 - len(HEAD + b"l: 0\r\n" + b"X: \r\n\r\n")
    fits = HEAD + b"l: 0\r\nX: " + b"y" * room + b"\r\n\r\n"
    assert len(fits) == 16384
    assert feed(Framer(), fits) == [fits]
    too_long = HEAD + b"l: 0\r\nX: " + b"y" * (room + 1) + b"\r\n\r\n"
    assert feed(Framer(), too_long) == "head of a message longer than 16 kB"
    assert feed(Framer(), b"y" * 16384) == "head of a message longer than 16 kB"


def test_random_mutation_agrees_with_the_plain_reader() -> None:
    chance = random.Random(11)
    closed = 0
    for _ in range(4000):
        stream = bytearray(STREAM)
        for _ in range(chance.randint(0, 4)):
            at = chance.randrange(len(stream))
            what = chance.random()
            if what < 0.4:
                stream[at] = chance.choice(b"\r\n :lL019-\0\xff a")
            elif what < 0.7:
                del stream[at : at + chance.randint(1, 6)]
            else:
                stream[at:at] = chance.choice((b"\r\n", b"\r", b"\n", b"l: 1\r\n", b" ", b"9", b"\r\n\r\n"))
        data = bytes(stream)
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randint(0, 5)))
        parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        expected = whole(data)
        closed += isinstance(expected, str)
        assert feed(Framer(), *parts) == expected, (data, parts)
    assert 500 < closed < 3500
