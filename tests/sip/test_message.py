"""Scanner, URIs, addresses and messages: canonical form, bounds, what is refused, what is written."""

from __future__ import annotations

import pytest

from appliance.sip.errors import PeerError
from appliance.sip.text.message import Malformed, Request, Via, answer_to, echo_of, parse
from appliance.sip.text.uri import NameAddr, Uri, parse_addresses, split_list
from media_core.sip_scan import HEADERS, IDS, ScanError, scan

GOOD = (
    b"INVITE sip:101@pbx SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bKa;rport\r\nFrom: <sip:100@pbx>;tag=1\r\n"
    b"To: <sip:101@pbx>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n"
)


def whole(extra: bytes = b"", body: bytes = b"") -> bytes:
    return GOOD + extra + b"\r\n" + body


def request(extra: bytes = b"", body: bytes = b"") -> Request:
    found = parse(whole(extra, body))
    assert isinstance(found, Request)
    return found


# ---- scanner
def test_names_are_known_in_any_case_and_compact() -> None:
    for name, short in HEADERS:
        for spelling in (name, name.upper(), name.lower(), *([short, short.upper()] if short else [])):
            found = scan(b"OPTIONS sip:x SIP/2.0\r\n" + spelling.encode() + b": v\r\n\r\n")
            assert found.first(IDS[name]) == "v"
            assert found.fields_list() == [(name, "v")]


@pytest.mark.parametrize("name", ["Vi", "Viaa", "Froma", "z", "Contact-", "X-Via", "Tp"])
def test_similar_names_are_not_known(name: str) -> None:
    found = scan(f"OPTIONS sip:x SIP/2.0\r\n{name}: v\r\n\r\n".encode())
    assert found.fields_list() == [(name, "v")]
    assert found.named(name.upper()) == ["v"]
    assert all(found.number_of(id) == 0 for id in IDS.values())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0",
        b"OPTIONS sip:x SIP/2.0\r\n",
        b"OPTIONS sip:x SIP/2.0\n\n",
        b"OPTIONS sip:x SIP/2.0\r\nA: b\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nA: b\nB: c\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nA: b\rB: c\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nA: b\x00\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nA\x00: b\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\n: b\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nno colon\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nA B: c\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nA\xc3: c\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\n folded: start\r\n\r\n",
        b"OPTIONS\r\n sip:x SIP/2.0\r\n\r\n",
        b"OPTIONS sip:x  SIP/2.0\r\n\r\n",
        b"OPTIONS  sip:x SIP/2.0\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0 \r\n\r\n",
        b" OPTIONS sip:x SIP/2.0\r\n\r\n",
        b"OPTIONS sip:x HTTP/1.1\r\n\r\n",
        b"OPT<>IONS sip:x SIP/2.0\r\n\r\n",
        b"SIP/2.0 20 OK\r\n\r\n",
        b"SIP/2.0 2000 OK\r\n\r\n",
        b"SIP/2.0 2x0 OK\r\n\r\n",
        b"SIP/2.0 200\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\n" + b"A: b\r\n" * 101 + b"\r\n",
        b"OPTIONS sip:x SIP/2.0\r\n" + b"A" * 257 + b": b\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nA: " + b"b" * 8190 + b"\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nA: b" + b"\r\n b" * 3000 + b"\r\n\r\n",
    ],
)
def test_no_message(data: bytes) -> None:
    with pytest.raises(ScanError) as caught:
        scan(data)
    assert caught.value.status == 400


def test_bounds_that_are_still_taken() -> None:
    assert len(scan(b"OPTIONS sip:x SIP/2.0\r\n" + b"A: b\r\n" * 100 + b"\r\n").fields_list()) == 100
    assert scan(b"OPTIONS sip:x SIP/2.0\r\nAb: " + b"b" * 8000 + b"\r\n\r\n").named("ab") == ["b" * 8000]
    head = b"OPTIONS sip:x SIP/2.0\r\n\r\n"
    assert scan(head + b"x" * (65535 - len(head))).body_start == len(head)
    with pytest.raises(ScanError) as caught:
        scan(head + b"x" * (65536 - len(head)))
    assert caught.value.status == 513


def test_blank_before_the_colon_is_not_part_of_the_name() -> None:
    """CVE-2020-28361: what looks like another header to one reader must not be this one to the next."""
    found = request(b"X-Trusted : yes\r\nMax-Forwards \t: 5\r\n")
    assert found.get("X-Trusted") == "yes"
    assert found.max_forwards == 5
    assert ("X-Trusted", "yes") in found.headers


def test_folding_is_one_space() -> None:
    found = request(b"Subject: one\r\n\t two\r\n  three\r\nX: \r\n y\r\n")
    assert found.get("Subject") == "one two three"
    assert found.get("X") == "y"


def test_empty_values_and_leading_lines() -> None:
    found = parse(b"\r\n\r\n" + whole(b"Subject:\r\nSupported: \r\n"))
    assert (found.get("Subject"), found.supported) == ("", [])


# ---- messages
@pytest.mark.parametrize(
    "extra",
    [
        b"From: <sip:x@y>;tag=2\r\n", b"f: <sip:x@y>;tag=2\r\n", b"To: <sip:x@y>\r\n", b"t: <sip:x@y>\r\n", b"Call-ID: d\r\n",
        b"i: d\r\n", b"CSeq: 2 INVITE\r\n", b"Max-Forwards: 1\r\nMax-Forwards: 2\r\n", b"Content-Length: 0\r\nl: 0\r\n",
        b"Content-Type: a/b\r\nc: a/c\r\n", b"Expires: 1\r\nExpires: 2\r\n", b"Session-Expires: 90\r\nx: 91\r\n",
        b"Refer-To: <sip:a>\r\nr: <sip:b>\r\n", b"Replaces: a\r\nReplaces: b\r\n", b"Max-Forwards: -1\r\n",
        b"Max-Forwards: 256\r\n", b"Content-Length: 1\r\n", b"Content-Length: +0\r\n", b"Content-Length: 0x0\r\n",
        b"Via: SIP/3.0/UDP x\r\n", b"Via: SIP/2.0/UDP\r\n", b"Via: ;\r\n",
    ],
)  # fmt: skip
def test_duplicates_and_malformed_fields(extra: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        parse(whole(extra))
    assert caught.value.status == 400


@pytest.mark.parametrize("name", [b"Via", b"From", b"To", b"Call-ID", b"CSeq"])
def test_mandatory(name: bytes) -> None:
    lines = [line for line in whole().split(b"\r\n") if not line.startswith(name + b":")]
    with pytest.raises(Malformed) as caught:
        parse(b"\r\n".join(lines))
    assert caught.value.status == 400
    assert (caught.value.request is None) == (name == b"Via"), "answered with what there is, if it says whose answer it is"


def test_body_is_cut_at_content_length() -> None:
    assert request(b"Content-Length: 3\r\n", b"abcdef").body == b"abc"
    assert request(b"", b"abcdef").body == b"abcdef"


@pytest.mark.parametrize("value", ["2147483648", "99999999999999999999", "-1", "1x", ""])
def test_cseq_bounds(value: str) -> None:
    with pytest.raises(Malformed):
        parse(whole().replace(b"CSeq: 1 ", f"CSeq: {value} ".encode()))


def test_long_tags_and_call_ids() -> None:
    for old, new in ((b"tag=1", b"tag=" + b"1" * 256), (b"Call-ID: c", b"Call-ID: " + b"c" * 256)):
        with pytest.raises(Malformed):
            parse(whole().replace(old, new))
        parse(whole().replace(old, new[:-1]))


def test_written_as_it_came() -> None:
    data = whole("X-Name: Jürgen \udcff\r\nSupported: a\r\nk: b\r\n".encode("utf-8", "surrogateescape"))
    again = request("X-Name: Jürgen \udcff\r\nSupported: a\r\nk: b\r\n".encode("utf-8", "surrogateescape"))
    written = again.to_bytes()
    assert "Jürgen ".encode() + b"\xff" in written
    assert parse(written).headers[:-1] == parse(data).headers
    assert again.supported == ["a", "b"]


def test_our_own_lines_cannot_be_broken() -> None:
    for value in ("a\r\nX: y", "a\nb", "a\rb", "a\0b"):
        with pytest.raises(ValueError, match="line break"):
            Request("OPTIONS", "sip:x", [("X", value)]).to_bytes()
        with pytest.raises(ValueError, match="line break"):
            answer_to(request(), 200, value)


def test_response_echoes_what_it_must() -> None:
    found = request(
        b"Via: SIP/2.0/TCP 10.0.0.2, SIP/2.0/TLS 10.0.0.3\r\nRecord-Route: <sip:p1;lr>, <sip:p2;lr>\r\nTimestamp: 54\r\n"
    )
    found.stamped("198.51.100.7", 40000)
    ringing = parse(answer_to(found, 180, to_tag="t"))
    assert [str(via) for via in ringing.vias] == [
        "SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bKa;rport=40000;received=198.51.100.7",
        "SIP/2.0/TCP 10.0.0.2",
        "SIP/2.0/TLS 10.0.0.3",
    ]
    assert ringing.get_all("Record-Route") == ["<sip:p1;lr>, <sip:p2;lr>"]
    assert (ringing.dialog_id, ringing.reason) == (("c", "1", "t"), "Ringing")
    trying = parse(answer_to(found, 100))
    assert (trying.get("Timestamp"), trying.to.tag, trying.get_all("Record-Route")) == ("54", "", [])
    assert parse(answer_to(found, 404)).get_all("Record-Route") == []


# ---- URIs
@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("sip:100@pbx", ("sip", "100", "pbx", 0, {})),
        (
            "SIPS:100@PBX.Example.COM:5061;transport=TLS;lr",
            ("sips", "100", "pbx.example.com", 5061, {"transport": "TLS", "lr": ""}),
        ),
        ("sip:pbx", ("sip", "", "pbx", 0, {})),
        ("sip:a%40b%3Bc@[2001:db8::1]:5060", ("sip", "a@b;c", "2001:db8::1", 5060, {})),
        ("sip:*60@pbx", ("sip", "*60", "pbx", 0, {})),
        ("sip:%23100@pbx;user=phone", ("sip", "#100", "pbx", 0, {"user": "phone"})),
        ("sip:1@pbx;;lr;", ("sip", "1", "pbx", 0, {"lr": ""})),
        ("sip:1@pbx;x=1;x=1", ("sip", "1", "pbx", 0, {"x": "1"})),
        ('sip:1@pbx;i="<urn:a@b>";y="c d;e?f"', ("sip", "1", "pbx", 0, {"i": '"<urn:a@b>"', "y": '"c d;e?f"'})),
        ("sip:1;phone-context=x@pbx", ("sip", "1;phone-context=x", "pbx", 0, {})),
        ("sip:a@[::ffff:192.0.2.1]:5060", ("sip", "a", "::ffff:192.0.2.1", 5060, {})),
        ("tel:+49-30-1234;phone-context=x", ("tel", "+49-30-1234", "", 0, {"phone-context": "x"})),
    ],
)
def test_uri(text: str, parts: tuple[str, str, str, int, dict[str, str]]) -> None:
    uri = Uri.parse(text)
    assert (uri.scheme, uri.user, uri.host, uri.port, dict(uri.params)) == parts
    again = Uri.parse(str(uri))
    assert again == uri
    assert again.same_as(uri)


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "sip:", "sip:@pbx", "sip:a@", "sip:a@b@c", "sip:a b@c", "sip:a@b:", "sip:a@b:0", "sip:a@b:65536", "sip:a@b:x",
        "sip:a@b;x=1;x=2", "sip:a@b;x=1;X=2", 'sip:a@b;x="1', 'sip:a"@b;x="', "sip:a@-b", "sip:a@[::1", "sip:%0@b", "sip:%zz@b", "sip:%00@b", "sip:%0a@b", "sip:a@b;x=%0d",
        "sip:ü@b", "sip:<a@b>", 'sip:"a"@b', "tel:", "tel:abc xyz", "sip:a@b_c!",
        "sip:a@2001:db8::1", "sip:a@[2001:db8::1", "sip:a@[1234]",
    ],
)  # fmt: skip
def test_malformed_uri(text: str) -> None:
    with pytest.raises(PeerError) as caught:
        Uri.parse(text)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("sip:101@x", "101"), ("sip:*60@x;user=phone", "*60"), ("tel:+49-30-(12)34", "+49301234"), ("sip:+49.30@x;user=phone", "+4930"),
        ("sip:101;phone-context=x@x", "101"), ("sip:a.b@x", "a.b"), ("sip:a.b@x;user=phone", "ab"), ("sip:anna-x@x;user=phone", "anna-x"),
        ("sip:a;b@x", "a"), ("sip:x;y@x", "x;y"),
    ],
)  # fmt: skip
def test_what_was_dialled(text: str, number: str) -> None:
    assert Uri.parse(text).dialled == number


def test_uri_status() -> None:
    for text, status in (("http://x", 416), ("mailto:a@b", 416), ("sip:" + "a" * 1025 + "@b", 414)):
        with pytest.raises(PeerError) as caught:
            Uri.parse(text)
        assert caught.value.status == status


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("sip:a@b;x=1", "sip:a@B;x=1", True), ("sip:a@b", "sip:A@b", False), ("sip:a@b;x=1", "sip:a@b", True),
        ("sip:a@b;transport=udp", "sip:a@b", False), ("sip:a@b;x=1", "sip:a@b;x=2", False), ("sip:a@b:5060", "sip:a@b", False),
        ("sip:%61@b", "sip:a@b", True), ("sip:a@b", "sips:a@b", False),
    ],
)  # fmt: skip
def test_equality(one: str, other: str, same: bool) -> None:
    assert Uri.parse(one).same_as(Uri.parse(other)) is same


@pytest.mark.parametrize(
    ("text", "display", "uri", "tag"),
    [
        ('"Anna \\"A\\" Öz" <sip:1@x>;tag=t', 'Anna "A" Öz', "sip:1@x", "t"),
        ("Anna  Maria <sip:1@x;p=1>;tag=t", "Anna  Maria", "sip:1@x;p=1", "t"),
        ("Jürgen Groß <sip:1@x>", "Jürgen Groß", "sip:1@x", ""),
        ("sip:1@x;tag=t", "", "sip:1@x", "t"),
        ('"a" sip:1@x;tag=t', "a", "sip:1@x", "t"),
        ("Doe, John <sip:1@x>;tag=t", "Doe, John", "sip:1@x", "t"),
        ("a:b [c] @ <sip:1@x>", "a:b [c] @", "sip:1@x", ""),
        ('"open <sip:1@x>;tag=t', '"open', "sip:1@x", "t"),
        ('"a\\" <sip:2@x>" <sip:1@x>;tag=t', 'a" <sip:2@x>', "sip:1@x", "t"),
        ("< sip:1@x >;;tag=t;", "", "sip:1@x", "t"),
        ("<sip:1@x>" + ";tag=t;x=" + '"\\""', "", "sip:1@x", "t"),
        ("<sip:1@x>", "", "sip:1@x", ""),
        ('"" <sip:1@x>', "", "sip:1@x", ""),
        ('"a\x07b\u202ec" <sip:1@x>', "abc", "sip:1@x", ""),
        ('"<sip:evil@x>" <sip:1@x>', "<sip:evil@x>", "sip:1@x", ""),
    ],
)
def test_address(text: str, display: str, uri: str, tag: str) -> None:
    address = NameAddr.parse(text)
    assert (address.display, str(address.uri), address.tag) == (display, uri, tag)
    assert NameAddr.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<>",
        "<sip:1@x",
        "sip:1@x>",
        'a" <sip:1@x> "',
        "a sip:1@x",
        "<sip:1@x> x",
        "<sip:1@x>;a=1;a=2",
        "sip:1@x?a=b",
    ],
)
def test_malformed_address(text: str) -> None:
    with pytest.raises(PeerError):
        NameAddr.parse(text)


def test_lists_are_split_outside_quotes_and_brackets() -> None:
    assert list(split_list('"a,b" <sip:x;y,z>;q=1, <sip:c,d> ,e')) == ['"a,b" <sip:x;y,z>;q=1', "<sip:c,d>", "e"]
    assert len(request(b'Contact: "x,y" <sip:a@b>, <sip:c@d>\r\nm: <sip:e@f>\r\n').contacts) == 3
    with pytest.raises(PeerError):
        list(split_list('"a, b'))


@pytest.mark.parametrize(
    ("value", "users"),
    [
        ("Doe, John <sip:1@x>, <sip:2@x>", ["1", "2"]), (", <sip:1@x>,,", ["1"]), ("a, b, c <sip:1@x>", ["1"]), ('"a, <sip:1@x>', ["1"]),
        ("sip:1@x, sip:2@x", ["1", "2"]), ('<sip:1@x;i="<urn:a>">, <sip:2@x>', ["1", "2"]),
    ],
)  # fmt: skip
def test_lists_of_addresses(value: str, users: list[str]) -> None:
    assert [each.uri.user for each in parse_addresses([value])] == users


@pytest.mark.parametrize("value", ["<sip:1@x>, nobody", "nobody", "<sip:1@x>, <sip:2@x", '"a, <sip:1@x>, <sip:2@x'])
def test_malformed_lists_of_addresses(value: str) -> None:
    with pytest.raises(PeerError):
        parse_addresses([value])


def test_a_malformed_request_is_echoed_as_far_as_it_can_be_read() -> None:
    """Lines ended in any way, a field over and over; only what is answered at all."""
    data = b"INVITE  sip:x SIP/2.0\nVia: SIP/2.0/UDP h;branch=z9\rv: SIP/2.0/UDP other\nf: <sip:a@b>;tag=1\nFrom: x\nCall-ID: c\n d\nCSeq: x\n\nTo: body\n"
    echo = echo_of(data)
    assert echo is not None
    answer = answer_to(echo.stamped("192.0.2.9", 5060), 400, "Bad", to_tag="t").split(b"\r\n")
    assert answer[1:5] == [b"Via: SIP/2.0/UDP h;branch=z9;received=192.0.2.9", b"From: <sip:a@b>;tag=1", b"Call-ID: c d", b"CSeq: x"]
    for silent in (b"", b"ACK" + data[6:], b"SIP/2.0 200 OK" + data[21:], b"INVITE sip:x SIP/2.0\r\nCSeq: 1 INVITE\r\n\r\n", b"\x00\x01"):
        assert echo_of(silent) is None
    folded = echo_of(b"OPTIONS sip:x\r\nVia: SIP/2.0/UDP h\r\nCall-ID: a" + b"\r\n b" * 20000 + b"\r\n\r\n")
    assert folded is not None
    assert len(folded.get("Call-ID") or "") < 8200


def test_contact_star() -> None:
    found = request(b"Contact: *\r\n")
    assert found.contact_star
    assert found.contacts == []


def test_via() -> None:
    via = Via.parse("SIP / 2.0 / tls [2001:DB8::1]:5061 ;branch=z;rport")
    assert (via.transport, via.host, via.port, via.rport, via.received) == ("TLS", "2001:db8::1", 5061, "", "")
    assert str(via) == "SIP/2.0/TLS [2001:db8::1]:5061;branch=z;rport"
    assert Via.parse("SIP/2.0/UDP x").sent_by == ("x", 5060)


def test_errors_show_no_repr_of_secrets() -> None:
    assert "secret" not in repr(request(b"Authorization: Digest response=secret\r\n"))


def test_expires() -> None:
    assert [request(f"Expires: {value}\r\n".encode()).expires for value in ("60", "0", "99999999999999", "soon", "-1")] == [
        60, 0, 2**32 - 1, None, None,
    ]  # fmt: skip
