"""SIP flows over UDP, with real sockets: keepalives, ICMP, and who makes room for whom."""

import contextlib
import resource
import socket
from collections.abc import Iterator

import pytest

from media_core.flows.flows import Limits
from media_core.records import FlowUnreachable, Layout, OutOfService, StaleHandle, Transport
from tests.media_core.flowbox import PATIENCE, Box, message, running, udp_socket


@pytest.fixture
def box() -> Iterator[Box]:
    with running(Box()) as it:
        yield it


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def test_udp_both_ways(box: Box) -> None:
    with udp_socket(box) as phone:
        phone.send(message(b"hello"))
        flow = box.one_open()
        assert (flow.transport, flow.local, flow.remote, flow.cipher) == (
            Transport.UDP,
            box.address(Transport.UDP),
            phone.getsockname(),
            "",
        )
        box.until(lambda: box.received(flow.id) == [message(b"hello")])
        box.client.send(flow.id, b"SIP/2.0 200 OK\r\n\r\n")
        assert phone.recv(100) == b"SIP/2.0 200 OK\r\n\r\n"
        phone.send(message(b"again"))
        box.until(lambda: len(box.received(flow.id)) == 2)
        assert box.client.flow(flow.id) == flow
        assert box.client.flows() == [flow]
        box.client.shut(flow.id)
        box.until(lambda: [c.flow for c in box.closed()] == [flow.id])
        with pytest.raises(StaleHandle):
            box.client.send(flow.id, b"x")
        box.client.shut(flow.id)
        phone.send(message())
        assert box.one_open().id != flow.id


def test_udp_keepalives_make_no_flow(box: Box) -> None:
    with udp_socket(box) as phone:
        binding = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
        for noise in (b"\r\n", b"\r\n\r\n", b"\0\0\0\0", binding, b"", b"x"):
            phone.send(noise)
        phone.send(message())
        flow = box.one_open()
        assert box.count("dropped_noise") == 5
        assert phone.recv(100)[:2] == b"\x01\x01"
        assert box.count("keepalives") == 1
        phone.send(b"\r\n\r\n")
        assert phone.recv(10) == b"\r\n"
        assert box.client.flows() == [flow]
        box.until(lambda: len(box.received()) == 1)


def test_udp_largest_datagram(box: Box) -> None:
    with udp_socket(box) as phone:
        big = message(b"x" * 60_000)
        phone.send(big)
        box.until(lambda: box.received() == [big])


def test_udp_wildcard_tells_and_uses_the_local_address() -> None:
    with running(Box(host="0.0.0.0", transports=(Transport.UDP,))) as box:
        port = box.address(Transport.UDP)[1]
        assert [f.local for f in box.client.listeners()] == [("0.0.0.0", port)]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
            phone.bind(("127.0.0.1", 0))
            phone.settimeout(PATIENCE)
            phone.connect(("127.0.0.2", port))  # takes answers from there only
            phone.send(message())
            flow = box.one_open()
            assert flow.local == ("127.0.0.2", port)
            box.client.send(flow.id, b"answer")
            assert phone.recv(100) == b"answer"


def test_udp_over_ipv6() -> None:
    with running(Box(host="::", transports=(Transport.UDP,))) as box:
        port = box.address(Transport.UDP)[1]
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as phone:
            phone.settimeout(PATIENCE)
            phone.connect(("::1", port))
            phone.send(message())
            flow = box.one_open()
            assert (flow.local, flow.remote) == (("::1", port), phone.getsockname()[:2])
            box.client.send(flow.id, b"answer")
            assert phone.recv(100) == b"answer"


def test_udp_dial(box: Box) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trunk:
        trunk.bind(("127.0.0.1", 0))
        trunk.settimeout(PATIENCE)
        flow = box.client.dial(Transport.UDP, *trunk.getsockname())
        box.client.send(flow, message(b"out"))
        data, source = trunk.recvfrom(1000)
        assert (data, source) == (message(b"out"), box.address(Transport.UDP))
        trunk.sendto(message(b"back"), source)
        box.until(lambda: box.received(flow) == [message(b"back")])
        assert box.opened()[0].local == box.address(Transport.UDP)


@pytest.mark.parametrize("blank", [b"\r\n", b"\r\n\r\n", b"\n\r\n"])
def test_udp_blank_lines_before_a_message_are_left_out(box: Box, blank: bytes) -> None:
    """RFC 3261 §7.5: what a phone sent that keeps its NAT open with CRLF and puts it before the next request."""
    with udp_socket(box) as phone:
        phone.send(blank + message(b"late"))
        box.until(lambda: box.received() == [message(b"late")])


def binding(number: int = 0) -> bytes:
    return b"\x00\x01\x00\x00\x21\x12\xa4\x42" + number.to_bytes(12)


@pytest.mark.parametrize(("host", "near"), [("0.0.0.0", "127.0.0.2"), ("::", "::1")])
def test_stun_is_answered_from_the_address_it_came_to(host: str, near: str) -> None:
    with running(Box(host=host, transports=(Transport.UDP,))) as box:
        port = box.address(Transport.UDP)[1]
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as phone:
            phone.settimeout(PATIENCE)
            phone.connect((near, port))
            phone.send(binding(7))
            answer = phone.recv(100)
            assert answer[:2] + answer[4:20] == b"\x01\x01" + binding(7)[4:]
            assert int.from_bytes(answer[26:28]) ^ 0x2112 == phone.getsockname()[1]
        assert box.seen == []


def test_stun_is_answered_at_a_rate_and_to_a_registered_phone_always(box: Box) -> None:
    """At 20 a second a source would be answered 1,000 times in 48 s."""
    with udp_socket(box) as stranger, udp_socket(box) as phone:
        for number in range(1000):
            stranger.send(binding(number))
            if number % 50 == 49:  # no more than its buffer holds
                box.until(lambda n=number: box.count("keepalives") + box.count("dropped_noise") == n + 1)  # type: ignore[misc]
        phone.send(message())
        flow = box.one_open()
        assert 0 < box.count("keepalives") < 900
        box.client.keep(flow.id)
        box.client.send(flow.id, b"kept")
        assert phone.recv(100) == b"kept"
        for number in range(200):
            phone.send(binding(number))
            assert phone.recv(100)[8:20] == binding(number)[8:20]


# ---- room for those who come


def udp_from(box: Box, host: str) -> socket.socket:
    s = udp_socket(box, host)
    s.send(message())
    return s


def test_one_host_with_many_ports_makes_room_for_phones_with_its_own() -> None:
    """From a box at whose UDP port one host spoke from 1,700 source ports: no new phone got an answer any more. Here 24 entries are for UDP."""
    with running(Box(flows=64)) as box, contextlib.ExitStack() as stack:
        tcp = stack.enter_context(box.connect())
        tcp.sendall(message(b"tcp"))
        stream = box.one_open()
        registered = stack.enter_context(udp_from(box, "127.0.0.1"))
        kept = box.one_open()
        box.client.keep(kept.id)
        box.until(lambda: box.commands_ring.free == box.commands_bytes)
        for _ in range(100):
            stack.enter_context(udp_from(box, "127.9.9.9"))
        box.until(lambda: box.count("messages_in") == 102)
        phones = [stack.enter_context(udp_from(box, f"127.0.{n}.1")) for n in range(12)]
        box.until(lambda: box.count("messages_in") == 114)
        for _ in range(100):
            stack.enter_context(udp_from(box, "127.9.9.9"))
        box.until(lambda: box.count("messages_in") == 214)
        there = {flow.remote for flow in box.client.flows()}
        assert {phone.getsockname() for phone in (registered, *phones)} <= there
        assert stream in box.client.flows()
        assert len(there) == 1 + 24
        assert box.count("dropped_table") == 0
        assert len(box.closed()) == box.count("evicted") == 213 - 24
        registered.send(message(b"still here"))
        box.until(lambda: box.received(kept.id)[-1] == message(b"still here"))


def test_when_every_place_is_kept_a_stranger_is_dropped() -> None:
    with running(Box(flows=16)) as box, contextlib.ExitStack() as stack:
        for _ in range(6):
            phone = stack.enter_context(udp_socket(box))
            phone.send(message())
            box.client.keep(box.one_open().id)
        with udp_socket(box) as stranger:
            stranger.send(message())
            box.until(lambda: box.count("dropped_table") == 1)
        phone.send(message(b"still here"))
        box.until(lambda: box.received()[-1] == message(b"still here"))
        box.client.keep(box.opened()[0].id, False)
        with udp_socket(box) as stranger:
            stranger.send(message(b"now"))
            box.until(lambda: box.received()[-1] == message(b"now"))
        assert [c.flow for c in box.closed()] == [box.opened()[0].id]


def test_a_flow_that_speaks_and_is_kept_by_nobody_is_forgotten() -> None:
    with running(Box(limits=Limits(tick=10, unproved=60))) as box, udp_from(box, "127.0.0.1"):
        box.until(lambda: [c.reason for c in box.closed()] == ["silent for too long"])


def test_two_thousand_phones_behind_one_address_come_back_at_once() -> None:
    """After a power cut: all register within a moment, beside a stranger with 1,700 ports; nobody is refused, and nobody has to go."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    with running(Box(flows=Layout().flows)) as box, contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for n in range(1700):
            stack.enter_context(udp_from(box, "127.9.9.9"))
            box.until(lambda n=n: box.count("messages_in") == n + 1)  # type: ignore[misc]
        phones = []
        for _ in range(2000):
            phones.append(stack.enter_context(udp_from(box, "127.0.0.1")))
            box.client.keep(box.one_open().id)
        assert {phone.getsockname() for phone in phones} <= {flow.remote for flow in box.client.flows()}
        assert box.count("dropped_table") == 0
        assert {c.flow for c in box.closed()} <= {flow.id for flow in box.opened()[:1700]}


# ---- ICMP


def unreachable(box: Box) -> list[int]:
    return [e.flow for e in box.seen if isinstance(e, FlowUnreachable)]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
@pytest.mark.parametrize("dialled", [False, True])
def test_a_port_that_nobody_has_any_more_is_told(host: str, dialled: bool) -> None:
    """An unplugged phone: the kernel answers for it with ICMP port unreachable (RFC 792), and the flow is named within the round."""
    with running(Box(host=host, transports=(Transport.UDP,))) as box:
        port = box.address(Transport.UDP)[1]
        with socket.socket(socket.AF_INET6 if host == "::" else socket.AF_INET, socket.SOCK_DGRAM) as phone:
            phone.connect(("::1" if host == "::" else "127.0.0.1", port))
            if dialled:
                flow = box.client.dial(Transport.UDP, *phone.getsockname()[:2])
            else:
                phone.send(message())
                flow = box.one_open().id
        for told in (1, 2):  # each sending that nobody takes is told, and the flow stays open
            box.client.send(flow, message(b"are you there?"))
            box.until(lambda told=told: len(unreachable(box)) == told)  # type: ignore[misc]
        assert unreachable(box) == [flow, flow]
        assert [f.id for f in box.client.flows()] == [flow]


def test_what_icmp_says_of_one_phone_costs_no_other_a_datagram(box: Box) -> None:
    """The kernel reports an error at the next call on the socket, whoever that one was for."""
    with contextlib.ExitStack() as stack:
        gone = [box.client.dial(Transport.UDP, "127.0.0.1", free_port()) for _ in range(20)]
        phone = stack.enter_context(udp_socket(box))
        phone.send(message())
        box.until(lambda: len(box.received()) == 1)
        here = next(f.id for f in box.opened() if f.remote == phone.getsockname())
        for n, flow in enumerate(gone):
            box.client.send(flow, message())
            box.client.send(here, b"%d" % n)
        assert [phone.recv(100) for _ in gone] == [b"%d" % n for n in range(20)]
        box.until(lambda: set(unreachable(box)) == set(gone))
        assert box.count("dropped_send") == 0


def test_icmp_nobody_asked_for_is_not_told_and_floods_are_cut_off(box: Box) -> None:
    """An error is taken for what was sent lately, once. Here every datagram provokes one, and so many that the kernel keeps them."""
    flow = box.client.dial(Transport.UDP, "127.0.0.1", free_port())
    sent = 0
    while box.count("unreachable") == 0 or sent < 5000:
        with contextlib.suppress(OutOfService):
            box.client.send(flow, message())
            sent += 1
    with udp_socket(box) as phone:
        phone.send(message())
        box.until(lambda: len(box.received()) == 1)
    box.until(lambda: box.count("messages_out") == sent)
    assert 0 < box.count("unreachable") <= sent
    assert box.count("dropped_send") == 0
    before = box.count("unreachable")
    while box.count("unreachable") == before:  # it listens again when the tick is over
        with contextlib.suppress(OutOfService):
            box.client.send(flow, message())
