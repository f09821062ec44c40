"""RFC 4475 and RFC 5118, with a verdict for scanner, parser and stack; and the same messages broken at random.

What they lead to in the whole system, with and without credentials, is in tests/callcontrol/test_torture.py."""

from __future__ import annotations

import random

import pytest

from appliance.sip.errors import PeerError
from appliance.sip.events import Send
from appliance.sip.text.message import Malformed, Request, Via, answer_to, parse
from media_core.sip_scan import ScanError, scan
from tests.sip import torture, torture_ipv6
from tests.sip.net import Net
from tests.sip.torture import Torture

MESSAGES = [*torture.MESSAGES, *torture_ipv6.MESSAGES]

# Those that are no SIP message at all for the scanner, and why.
NO_MESSAGE = {
    "intmeth": "NUL in the header section",
    "lwsruri": "malformed start line",
    "lwsstart": "malformed start line",
    "trws": "malformed start line",
    "bigcode": "malformed start line",
}


def test_all_messages_are_there() -> None:
    sections = [each.section for each in torture.MESSAGES]
    assert set(sections) == {
        *(f"3.1.1.{n}" for n in range(1, 14)), *(f"3.1.2.{n}" for n in range(1, 20)), "3.2.1", *(f"3.3.{n}" for n in range(1, 16)), "3.4.1",
    }  # fmt: skip
    assert len(set(sections)) == 49
    assert {f"4.{n}" for n in range(1, 11)} <= {each.section for each in torture_ipv6.MESSAGES}
    assert len({each.name for each in MESSAGES}) == len(MESSAGES)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
def test_scanner(message: Torture) -> None:
    if message.name not in NO_MESSAGE:
        scan(message.data)
        return
    with pytest.raises(ScanError, match=NO_MESSAGE[message.name]):
        scan(message.data)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
def test_parser(message: Torture) -> None:
    if message.parse == "ok":
        parse(message.data)
    else:
        with pytest.raises(Malformed) as caught:
            parse(message.data)
        assert caught.value.status == message.parse


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
def test_stack(message: Torture) -> None:
    net = Net("UDP")
    net.b.receive(1, message.data, net.now)
    outputs = []
    while (output := net.b.next_output()) is not None:
        outputs.append(output)
    told = [type(each).__name__ for each in outputs if not isinstance(each, Send)]
    sent = [int(each.data.split()[1]) for each in outputs if isinstance(each, Send)]
    if message.stack == "dropped":
        assert (told, sent) == ([], [])
    elif isinstance(message.stack, int):
        assert (told, sent) == ([], [message.stack])
    else:
        assert told == [message.stack]
        assert sent in ([], [100])


def test_what_the_short_torture_says() -> None:
    request = parse(next(each.data for each in MESSAGES if each.name == "wsinv"))
    assert isinstance(request, Request)
    assert request.from_.display == 'J Rosenberg \\"'
    assert request.from_.tag == "98asjd8"
    assert request.to.tag == "1918181833n"
    assert [Via.parse(via).branch for via in request.vias] == ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"]
    assert request.cseq == (9, "INVITE")
    assert request.max_forwards == 68
    assert request.get("newfangledheader") == "newfangled value continued newfangled value"
    assert request.contacts[0].params == {"newparam": "newvalue", "secondparam": "", "q": "0.33"}


def test_escaped_user_is_not_taken_apart() -> None:
    request = parse(next(each.data for each in MESSAGES if each.name == "esc01"))
    assert isinstance(request, Request)
    assert (request.uri.user, request.uri.host) == ("sips:user@example.com", "example.net")


def read_all(data: bytes) -> None:
    """Every property of the message; only PeerError may come out."""
    try:
        message = parse(data)
    except Malformed as error:
        if error.request is not None:  # an answer can be written, whatever is wrong
            answer = answer_to(error.request.stamped("192.0.2.9", 5060), error.status, error.reason, to_tag="t")
            assert answer.startswith(b"SIP/2.0 ")
        return
    for name in (
        "via",
        "vias",
        "sdp",
        "dialog_id",
        "content_type",
        "from_",
        "to",
        "call_id",
        "cseq",
        "contacts",
        "expires",
        "max_forwards",
        "require",
        "supported",
    ):
        try:
            getattr(message, name)
        except PeerError:
            continue
    # what we took we can write and take again
    written = message.to_bytes() if isinstance(message, Request) else Request("OPTIONS", "sip:x", message.headers).to_bytes()
    assert scan(written).fields_list()


def test_every_truncation() -> None:
    for message in MESSAGES:
        for end in range(len(message.data)):
            read_all(message.data[:end])


INTERESTING = [
    b"\x00",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n ",
    b":",
    b";",
    b",",
    b"<",
    b">",
    b'"',
    b"\\",
    b"@",
    b"%",
    b"%00",
    b"=",
    b"\xff",
    b"9" * 30,
    b"[",
    b"[::1]",
]


def mutate(data: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + rng.choice(INTERESTING) + data[at:]
            case 2:
                data = data[:at] + data[at + rng.randint(1, 20) :]
            case _:
                start = rng.randrange(len(data))
                data = data[:at] + data[start : start + rng.randint(1, 200)] + data[at:]
        if not data:
            return b"\x00"
    return data


def test_random_mutation() -> None:
    rng = random.Random(4475)
    for _ in range(4000):
        read_all(mutate(rng.choice(MESSAGES).data, rng))


def test_random_mutation_through_the_stack() -> None:
    """Nothing escapes from receive, and what was begun ends by itself."""
    rng = random.Random(3261)
    net = Net("UDP", lose=lambda number, data: True)
    for _ in range(1500):
        net.b.receive(1, mutate(rng.choice(MESSAGES).data, rng), net.now)
        net.drain("b")
        for event in net.take("b"):
            match type(event).__name__:
                case "Invited":
                    net.do("b", lambda stack, now, event=event: stack.reject(event.session, 486, now))
                case "Requested":
                    net.do("b", lambda stack, now, event=event: stack.respond(event.transaction, 200, now))
        net.run(0.01)
    net.run(200.0)
    net.assert_empty()
