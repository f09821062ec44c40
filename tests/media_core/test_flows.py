"""SIP flows over real sockets: TCP, and what is the same whatever the transport; UDP has its own file."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from media_core.flows.flows import Limits
from media_core.records import OutOfService, StaleHandle, Transport
from tests.media_core.flowbox import PATIENCE, Box, message, running, udp_socket


@pytest.fixture
def box() -> Iterator[Box]:
    with running(Box()) as it:
        yield it


OK = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"


def at_end(s: socket.socket) -> bool:
    try:
        return s.recv(65536) == b""
    except ConnectionResetError:
        return True


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
        box.until(lambda: box.received() == [message(b"good")])
        box.client.send(box.opened()[0].id, OK)
        box.until(lambda: len(box.closed()) == 1)
        assert box.closed()[0].reason == reason
        assert phone.recv(100) == OK
        assert at_end(phone)
    box.until(lambda: box.client.flows() == [])  # FlowClosed is told before the entry is free
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


def test_a_request_is_answered_although_the_phone_sends_no_more(box: Box) -> None:
    """A phone that shuts its sending side after the request: its half of the connection ends, ours when all is answered."""
    with box.connect() as phone:
        phone.sendall(message(b"1") + message(b"2") + b"half of")
        phone.shutdown(socket.SHUT_WR)
        flow = box.one_open()
        box.until(lambda: len(box.received()) == 2)
        for answer in (b"SIP/2.0 100 Trying\r\n\r\n", OK, b"BYE sip:a SIP/2.0\r\n\r\n"):
            box.client.send(flow.id, answer)
        box.until(lambda: box.commands_ring.free == box.commands_bytes)
        assert box.closed() == []
        box.client.send(flow.id, OK)
        box.until(lambda: [c.reason for c in box.closed()] == ["closed by the other side"])
        got = b""
        while part := phone.recv(1000):
            got += part
        assert got == b"SIP/2.0 100 Trying\r\n\r\n" + OK + b"BYE sip:a SIP/2.0\r\n\r\n" + OK


@pytest.mark.parametrize("sent", [b"", message(b"?"), b"ACK sip:a SIP/2.0\r\nl: 0\r\n\r\n"])
def test_a_connection_whose_phone_has_gone_does_not_wait_for_ever(sent: bytes) -> None:
    """With nothing to be answered it is closed at once, otherwise when there is no answer in time, or when the answer finds nobody."""
    with running(Box(limits=Limits(tick=10, answer=50))) as box:
        with box.connect() as phone:
            phone.sendall(sent)
        box.until(lambda: [c.reason for c in box.closed()] == ["closed by the other side"])
        assert box.count("timeouts") == (sent == message(b"?"))


def test_an_answer_reaches_the_phone_before_the_rubbish_it_sent(box: Box) -> None:
    """What is left unread when a socket is closed makes the kernel send a reset, which may take the answer away."""
    with box.connect() as phone:
        phone.sendall(message(b"good") + b"\0" * 200_000)
        flow = box.one_open()
        box.until(lambda: box.received() == [message(b"good")])
        box.client.send(flow.id, OK)
        box.until(lambda: [c.reason for c in box.closed()] == ["not SIP"])
        assert phone.recv(100) == OK
    assert box.count("messages_in") == 1


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
    box.until(lambda: box.client.flows() == [])  # FlowClosed is told before the entry is free
    assert {c.flow for c in box.closed()} == {f.id for f in box.opened()}


# ---- room for those who come


def tcp_from(box: Box, host: str) -> socket.socket:
    return socket.create_connection(box.address(Transport.TCP), PATIENCE, source_address=(host, 0))


def test_nine_hosts_hold_every_connection_and_a_phone_still_gets_one() -> None:
    """Nine addresses with 250 connections each kept every phone out for two hours. Here 16 places are for streams."""
    with running(Box(flows=32)) as box, contextlib.ExitStack() as stack:
        registered = stack.enter_context(tcp_from(box, "127.0.0.1"))
        kept = box.one_open()
        box.client.keep(kept.id)
        box.until(lambda: box.commands_ring.free == box.commands_bytes)
        for n in range(45):
            stack.enter_context(tcp_from(box, f"127.9.{n % 9}.9"))
        box.until(lambda: box.count("opened") == 46)
        phones = [stack.enter_context(tcp_from(box, f"127.0.{n}.1")) for n in range(1, 4)]
        box.until(lambda: box.count("opened") == 49)
        there = {flow.remote for flow in box.client.flows()}
        assert {phone.getsockname() for phone in (registered, *phones)} <= there
        assert len(there) == 16
        assert (box.count("evicted"), box.count("refused")) == (49 - 16, 0)


def test_a_connection_over_which_nobody_registers_lives_seconds() -> None:
    """What it says does not prolong it; one that is kept stays, and has its time again when it is not kept any more."""
    with running(Box(limits=Limits(tick=10, unproved=100))) as box, box.connect() as phone, box.connect() as stranger:
        phone.sendall(message(b"phone"))
        flow = box.one_open()
        box.client.keep(flow.id)
        while not box.closed():
            with contextlib.suppress(OSError):
                stranger.sendall(message(b"stranger"))
            box.until(lambda: True)
        assert [c.reason for c in box.closed()] == ["nobody has registered over it"]
        assert [f.id for f in box.client.flows()] == [flow.id]
        box.client.keep(flow.id, False)
        box.until(lambda: [c.flow for c in box.closed()][1:] == [flow.id])


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
