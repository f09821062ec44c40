"""SIP flows over real sockets: UDP and TCP."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from media_core.flows import Limits
from media_core.records import FlowUnreachable, OutOfService, StaleHandle, Transport
from tests.media_core.flowbox import PATIENCE, Box, message, running


@pytest.fixture
def box() -> Iterator[Box]:
    with running(Box()) as it:
        yield it


def udp_socket(box: Box, host: str = "127.0.0.1") -> socket.socket:
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((host, 0))
    s.connect(box.address(Transport.UDP))
    s.settimeout(PATIENCE)
    return s


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def at_end(s: socket.socket) -> bool:
    try:
        return s.recv(65536) == b""
    except ConnectionResetError:
        return True


# ---- UDP


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
        assert box.count("dropped_noise") == 6
        phone.send(b"\r\n\r\n")
        assert phone.recv(10) == b"\r\n"
        assert box.client.flows() == [flow]
        assert len(box.received()) == 1


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


def test_flood_from_many_sources_is_bounded_and_spares_the_others() -> None:
    with running(Box(flows=64)) as box, contextlib.ExitStack() as stack:
        tcp = stack.enter_context(box.connect())
        tcp.sendall(message(b"tcp"))
        stream = box.one_open()
        kept, known = (stack.enter_context(udp_socket(box)) for _ in range(2))
        kept.send(message())
        kept_flow = box.one_open()
        box.client.keep(kept_flow.id)
        known.send(message())
        known_flow = box.one_open()
        known.send(message())
        box.until(lambda: len(box.received(known_flow.id)) == 2)
        for n in range(200):
            with udp_socket(box) as source:
                source.send(message(str(n).encode()))
            box.until(lambda n=n: box.count("messages_in") >= 4 + n + 1)  # type: ignore[misc]
        ids = {f.id for f in box.client.flows()}
        assert {stream.id, kept_flow.id, known_flow.id} <= ids
        assert len(ids) == 1 + 24  # three eighths of 64 are for UDP
        assert box.count("evicted") == len(box.opened()) - 25 > 100  # the kernel may give a port out twice
        assert len(box.received()) == 204
        assert len(box.closed()) == box.count("evicted")


def test_flood_is_dropped_when_every_entry_is_kept() -> None:
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


# ---- TCP


def test_tcp_every_split(box: Box) -> None:
    whole = message(b"body\r\n\r\nof it", name=b"l", extra=b"Via: SIP/2.0/TCP x\r\n")
    for cut in range(1, len(whole)):
        with box.connect() as phone:
            phone.sendall(whole[:cut])
            flow = box.one_open()
            phone.sendall(whole[cut:] + message(b"next"))
            box.until(lambda flow=flow: len(box.received(flow.id)) == 2)  # type: ignore[misc]
            assert box.received(flow.id) == [whole, message(b"next")]
    box.until(lambda: len(box.closed()) == len(whole) - 1)


def test_tcp_byte_by_byte_and_pipelined(box: Box) -> None:
    with box.connect() as phone:
        for byte in message(b"slow"):
            phone.send(bytes([byte]))
        many = [message(b"%d" % n * (n % 50)) for n in range(500)]
        phone.sendall(b"".join(many))
        box.until(lambda: len(box.received()) == 501)
        assert box.received() == [message(b"slow"), *many]


def test_tcp_largest_message(box: Box) -> None:
    with box.connect() as phone:
        big = message(b"x" * 65_000)
        phone.sendall(big + message(b"x" * 65_536))
        box.until(lambda: len(box.received()) == 2)
        assert box.received()[0] == big


def test_tcp_ping_pong(box: Box) -> None:
    with box.connect() as phone:
        phone.sendall(b"\r\n\r\n")
        assert phone.recv(10) == b"\r\n"
        phone.sendall(b"\r\n" + message(b"1") + b"\r\n")
        phone.sendall(b"\r\n")
        assert phone.recv(10) == b"\r\n"
        box.until(lambda: box.received() == [message(b"1")])


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (message(b"x" * 65_537), "message too long"),
        (b"MESSAGE sip:a SIP/2.0\r\nX: " + b"y" * 17_000, "head of a message longer than 16 kB"),
        (b"MESSAGE sip:a SIP/2.0\r\nContent-Length: -1\r\n\r\n", "bad Content-Length"),
        (b"MESSAGE sip:a SIP/2.0\r\nContent-Length: 99999999999999999999\r\n\r\n", "bad Content-Length"),
        (b"MESSAGE sip:a SIP/2.0\r\nContent-Length: 1\r\nl: 2\r\n\r\nab", "bad Content-Length"),
        (b"MESSAGE sip:a SIP/2.0\r\nX: y\r\n\r\n", "message without Content-Length"),
        (b"\x16\x03\x01\x02\x00\x01", "not SIP"),
    ],
)
def test_tcp_bad_framing_closes(box: Box, sent: bytes, reason: str) -> None:
    with box.connect() as phone:
        phone.sendall(message(b"good") + sent)
        box.until(lambda: len(box.closed()) == 1)
        assert box.closed()[0].reason == reason
        assert box.received() == [message(b"good")]
        assert at_end(phone)
    assert box.client.flows() == []
    assert box.count("framing") == 1


def test_tcp_sends_everything_before_it_closes() -> None:
    with running(Box(limits=Limits(tick=20, write_bytes=4 << 20))) as box, box.connect() as phone:
        flow = box.one_open()
        sent = [bytes([n]) * 60_000 for n in range(30)]
        for part in sent:
            while True:
                try:
                    box.client.send(flow.id, part)
                    break
                except OutOfService:
                    box.until(lambda: box.commands_ring.free > 200_000)
        box.client.shut(flow.id)
        got = b""
        while part := phone.recv(1 << 16):
            got += part
        assert got == b"".join(sent)
        box.until(lambda: [c.reason for c in box.closed()] == ["shut"])


def test_tcp_slow_reader_is_closed(box: Box) -> None:
    with box.connect() as phone:
        phone.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        flow = box.one_open()
        with contextlib.suppress(StaleHandle):
            while True:
                with contextlib.suppress(OutOfService):  # the loop has not taken the last ones yet
                    box.client.send(flow.id, b"x" * 60_000)
        box.until(lambda: len(box.closed()) == 1)
        assert box.closed()[0].reason == "the other side does not read"


@pytest.mark.parametrize(
    ("limits", "sent", "reason"),
    [
        (Limits(tick=10, first_message=50), b"", "no message"),
        (Limits(tick=10, first_message=50), b"\r\n\r\n", "no message"),
        (Limits(tick=10, message=50), b"INVITE sip:a SIP", "message took too long"),
        (Limits(tick=10, idle=50), message(), "silent for too long"),
    ],
)
def test_tcp_limits_of_time(limits: Limits, sent: bytes, reason: str) -> None:
    with running(Box(limits=limits)) as box, box.connect() as phone:
        phone.sendall(sent)
        box.until(lambda: len(box.closed()) == 1)
        assert box.closed()[0].reason == reason
        assert box.count("timeouts") == 1


def test_connections_per_source_and_in_all() -> None:
    with running(Box(limits=Limits(tick=20, per_source=3))) as box, contextlib.ExitStack() as stack:
        phones = [stack.enter_context(box.connect()) for _ in range(4)]
        box.until(lambda: box.count("refused") == 1)
        assert len(box.client.flows()) == 3
        other = socket.create_connection(box.address(Transport.TCP), PATIENCE, source_address=("127.0.0.9", 0))
        stack.enter_context(other)
        box.until(lambda: len(box.client.flows()) == 4)
        refused = [p for p in phones if p.getsockname() not in {f.remote for f in box.client.flows()}]
        assert len(refused) == 1
        assert at_end(refused[0])
    with running(Box(flows=32)) as box, contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(box.connect())
        box.until(lambda: box.count("refused") == 4)
        assert len(box.client.flows()) == 16


def test_tcp_dial_refused_and_accepted(box: Box) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(PATIENCE)
        flow = box.client.dial(Transport.TCP, *server.getsockname())
        box.until(lambda: len(box.closed()) == 1)
        assert (box.closed()[0].flow, box.closed()[0].reason) == (flow, "Connection refused")
        server.listen()
        flow = box.client.dial(Transport.TCP, *server.getsockname())
        box.client.send(flow, message(b"early"))
        other, address = server.accept()
        with other:
            other.settimeout(PATIENCE)
            assert other.recv(1000) == message(b"early")
            box.until(lambda: len(box.opened()) == 1)
            assert (box.opened()[0].id, box.opened()[0].local) == (flow, address)
            other.sendall(message(b"back"))
            box.until(lambda: box.received(flow) == [message(b"back")])
        box.until(lambda: len(box.closed()) == 2)


def test_dial_is_checked(box: Box) -> None:
    with pytest.raises(ValueError, match="not a numeric address"):
        box.client.dial(Transport.TCP, "example.com", 5060)
    with pytest.raises(ValueError, match="port"):
        box.client.dial(Transport.TCP, "127.0.0.1", 0)
    flow = box.client.dial(Transport.UDP, "::1", 5060)
    box.until(lambda: [c.flow for c in box.closed()] == [flow])
    assert box.closed()[0].reason == "no UDP socket of this address family"


def test_backpressure_loses_no_message_of_a_stream() -> None:
    with running(Box(events_bytes=1 << 19)) as box, box.connect() as phone, udp_socket(box) as other:
        sent = [message(b"%d " % n + b"x" * 5000) for n in range(1000)]
        phone.settimeout(PATIENCE)
        phone.setblocking(False)
        todo = memoryview(b"".join(sent))
        while todo:  # until the loop does not read any more and the kernel's buffers are full
            try:
                todo = todo[phone.send(todo) :]
            except BlockingIOError:
                if box.events_ring.free < 200_000:
                    break
        other.send(message(b"udp"))
        while box.count("dropped_full") == 0:
            other.send(message(b"udp"))
        phone.settimeout(PATIENCE)
        while todo:
            with contextlib.suppress(BlockingIOError):
                phone.setblocking(False)
                todo = todo[phone.send(todo) :]
            box.until(lambda: True)
        box.until(lambda: len([m for m in box.received() if m != message(b"udp")]) == len(sent))
        assert [m for m in box.received() if m != message(b"udp")] == sent
        assert box.events_ring.corrupt == 0


def test_churn_leaves_nothing(box: Box) -> None:
    for round_ in range(10):
        with contextlib.ExitStack() as stack:
            for n in range(50):
                phone = stack.enter_context(box.connect())
                phone.sendall(message() if n % 2 else b"INVITE half of")
            box.until(lambda r=round_: box.count("opened") == 50 * (r + 1))  # type: ignore[misc]
        box.until(lambda r=round_: len(box.closed()) == 50 * (r + 1))  # type: ignore[misc]
    assert box.client.flows() == []
    assert {c.flow for c in box.closed()} == {f.id for f in box.opened()}


# ---- restarts


def test_new_client_finds_flows_and_unread_events(box: Box) -> None:
    with box.connect() as phone:
        phone.sendall(message(b"1"))
        flow = box.one_open()
        box.until(lambda: len(box.received()) == 1)
        phone.sendall(message(b"2"))
        while box.count("messages_in") < 2:
            pass
        box.client = box.attach()
        assert box.client.flows() == [flow]
        box.until(lambda: box.received() == [message(b"1"), message(b"2")])
        box.client.send(flow.id, b"answer")
        assert phone.recv(100) == b"answer"
        assert [f.transport for f in box.client.listeners()] == [Transport.UDP, Transport.TCP]


def test_killed_core_closes_streams_and_keeps_udp_flows() -> None:
    box = Box()
    try:
        box.start_child()
        with box.connect() as tcp, udp_socket(box) as udp:
            tcp.sendall(message(b"tcp"))
            stream = box.one_open()
            udp.send(message(b"udp"))
            datagram = box.one_open()
            box.until(lambda: len(box.received()) == 2)
            box.kill_child()
            assert at_end(tcp)
            udp.send(message(b"meanwhile"))
            box.client.send(datagram.id, b"queued")
            box.start_child()
            box.until(lambda: len(box.closed()) == 1)
            assert (box.closed()[0].flow, box.closed()[0].reason) == (stream.id, "core restarted")
            box.until(lambda: box.received(datagram.id) == [message(b"udp"), message(b"meanwhile")])
            assert udp.recv(100) == b"queued"
            assert box.client.flows() == [datagram]
            with box.connect() as again:
                again.sendall(message(b"again"))
                flow = box.one_open()
                assert flow.id != stream.id
                box.until(lambda: box.received(flow.id) == [message(b"again")])
        box.until(lambda: len(box.closed()) == 2)
    finally:
        box.close()


def test_stop_closes_what_is_open(box: Box) -> None:
    with box.connect() as phone:
        box.one_open()
        box.stop()
        assert at_end(phone)
        box.until(lambda: [c.reason for c in box.closed()] == ["core stopped"])
        box.start()
        with box.connect():
            box.one_open()
