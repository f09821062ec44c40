"""The reader of what is written the plain way against the readers of the whole grammar: they must say the same of every message,
header and URI, refusals included."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from appliance.sip.errors import PeerError
from appliance.sip.text import digest, uri
from appliance.sip.text.message import Malformed, Request, Via, answer_to, parse
from appliance.sip.text.uri import NameAddr, Uri
from benchmarks import functions_sample as sample
from benchmarks.functions_sample import INVITE, SDP, request, response
from media_core import sip_plain
from tests.sip import torture, torture_ipv6
from tests.written import as_written

MESSAGES = [
    INVITE, request("BYE", 1, 2, to_tag="x"), request("REGISTER", 1, 1), response(INVITE, "200 OK", SDP), response(INVITE, "100 Trying"),
    *(each.data for each in (*torture.MESSAGES, *torture_ipv6.MESSAGES)),
]  # fmt: skip
ADDRESSES = [
    '"Anna" <sip:100@192.0.2.1>;tag=9f', "<sip:100@pbx>", "Anna B <sips:a.b@host.example:5061;transport=tls;lr>;expires=60;q=0.5",
    '"" <sip:pbx>', '"Jürgen" <sip:1@h>', '"a\\"b" <sip:1@h>', "sip:1@h;tag=x", "<sip:1@h>;tag=", "<sip:1@h>;tag=a;tag=b",
    "<sip:a%20b@h>", "<SIP:1@H>", "<sip:1@[2001:db8::1]:5060>", "<tel:+4930>", "<sip:1@h?a=b>", "<sip:1:secret@h;p=%41>",
    "<sip:+49(30)12-3;ext=4@h:65535;user=phone>", "<sip:1@h:0>", "<sip:1@h:05060>", "<sip:1@h-.>", "<sip:@h>", "<sip:1@h;lr=>", "<sip:1@h;lr;lr>",
]  # fmt: skip
VIAS = [
    "SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bK1;rport", "SIP/2.0/tls h;branch=x;received=192.0.2.9;rport=4", "SIP / 2.0 / UDP h;branch=x",
    "SIP/2.0/UDP h:5060 ;branch=x", "SIP/2.0/UDP [::1];branch=x", "SIP/2.0/UDP H;BRANCH=x;ttl=1", 'SIP/2.0/TCP h;branch=x;a="b;c"',
    "SIP/2.0/UDP h;rport=;branch=x", "SIP/2.0/UDP h;branch=a;branch=a",
]  # fmt: skip
CREDENTIALS = [
    sample.CREDENTIALS, 'Digest realm="a", nonce="b",algorithm=MD5, qop="auth", stale=true', 'Digest a="b\\"c"', "Digest uri=sip:a@b, nc=1", 'Digest a="1", a="1"',
    'Digest a.b="1"', 'Digest A="1"', "Digest", 'Digest a="1",', "Digest " + ", ".join(f"p{number}=1" for number in range(21)),
]  # fmt: skip
SIGNS = b" \t\r\n\"<>;=@:,%\\?/.-_*+~'()[]{}0129azAZ\x00\x01\x7f\xc3\xbc"
WORDS = [
    b";tag=",
    b"sip:",
    b"sips:",
    b";rport",
    b";received=1",
    b"branch=z9hG4bK",
    b"\r\nVia: SIP/2.0/UDP b",
    b"\r\n ",
    b"65536",
    b"00",
    b";lr",
    b"\r\nTo: <sip:b>",
]


@contextmanager
def whole_grammar() -> Iterator[None]:
    """Nothing is read the plain way."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("head", "split_via"):
            patch.setattr(sip_plain, name, lambda _: None)
        for name in ("split_uri", "split_address"):
            patch.setattr(uri, name, lambda _: None)
        patch.setattr(digest, "split_credentials", lambda _: None)
        yield


def said(function: Callable[[Any], Any], text: Any) -> Any:
    try:
        return function(text)
    except PeerError as error:
        return error.status, error.reason


def content(data: bytes) -> Any:
    """All that is read of a message by anybody, and an answer to it."""
    try:
        found = parse(data)
    except Malformed as error:
        return error.status, error.reason, error.request is not None
    kept = [said(lambda found, name=name: getattr(found, name), found) for name in (  # type: ignore[misc]
        "via", "vias", "is_single_hop", "from_", "to", "from_tag", "to_tag", "call_id", "cseq", "contacts", "max_forwards", "headers",
        "body", "sdp", "dialog_id", "uri", "method", "status", "reason",
    ) if hasattr(type(found), name) or name in vars(found)]  # fmt: skip
    if isinstance(found, Request):
        kept += [answer_to(found, 180, to_tag="t"), answer_to(found.stamped("198.51.100.7", 40000), 404, to_tag="t")]
        kept += [found.via, answer_to(found.stamped("192.0.2.7", 5062), 100)]
    return kept


def broken(data: bytes, dice: random.Random) -> bytes:
    """Changed in one to three places."""
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(data))
        new = dice.choice(WORDS) if dice.random() < 0.3 else bytes([dice.choice(SIGNS)]) * dice.choice((0, 1, 1, 2))
        data = data[:at] + new + data[at + dice.choice((0, 1, 1, len(new))) :]
    return data


def test_what_phones_send_is_plain() -> None:
    for data in MESSAGES[:5]:
        assert parse(data).is_plain
    assert not any(parse(each.data).is_plain for each in torture.MESSAGES if each.name in ("wsinv", "esc01"))


@as_written("compares all that stands in a message")
def test_whole_messages_and_broken_ones() -> None:
    dice = random.Random(12)
    cases = [
        *MESSAGES,
        *(broken(dice.choice(MESSAGES[:5]), dice) for _ in range(3000)),
        *(broken(dice.choice(MESSAGES), dice) for _ in range(1000)),
    ]
    plainly = [content(data) for data in cases]
    with whole_grammar():
        for data, found in zip(cases, plainly, strict=True):
            assert found == content(data), data


@pytest.mark.parametrize(
    ("kinds", "function"),
    [
        (ADDRESSES, NameAddr.parse),
        ([each.partition("<")[2].partition(">")[0] or each for each in ADDRESSES], Uri.parse),
        (VIAS, Via.parse),
        (CREDENTIALS, digest._parse),
    ],
    ids=["addresses", "URIs", "Vias", "credentials"],
)
def test_headers_and_broken_ones(kinds: list[str], function: Callable[[str], Any]) -> None:
    dice = random.Random(13)
    cases = [
        *kinds,
        *(broken(dice.choice(kinds).encode(), dice).decode("utf-8", "surrogateescape") for _ in range(6000)),
    ]
    plainly = [said(function, text) for text in cases]
    with whole_grammar():
        for text, found in zip(cases, plainly, strict=True):
            assert found == said(function, text), text


def test_a_plain_uri_is_written_as_it_came() -> None:
    """Its text may stand for it: in the target of a dialog, in a Contact."""
    dice = random.Random(14)
    plain = [
        text for text in (each.partition("<")[2].partition(">")[0] for each in ADDRESSES) if sip_plain.split_uri(text)
    ]
    texts = {*plain, *(broken(dice.choice(plain).encode(), dice).decode("latin-1") for _ in range(6000))}
    found = [text for text in texts if sip_plain.split_uri(text) is not None]
    assert len(found) > 300
    for text in found:
        assert str(Uri.parse(text)) == text


def test_bounds() -> None:
    for tag in ("a" * 255, "a" * 256):
        assert (sip_plain.split_address(f"<sip:1@h>;tag={tag}") is None) == (len(tag) > 255)
    assert sip_plain.split_uri("sip:" + "1" * 1018 + "@h") is not None
    assert sip_plain.split_uri("sip:" + "1" * 1019 + "@h") is None
    assert sip_plain.split_uri("sip:1@h" + "".join(f";p{number}" for number in range(9))) is None
    assert sip_plain.split_uri("sip:1@" + "h" * 256) is None
    assert sip_plain.split_uri("sip:1@" + "h" * 255) is not None
