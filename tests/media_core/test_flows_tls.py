"""SIP flows over TLS, with Python's ssl module at the other end."""

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from media_core.flows import Limits
from media_core.records import TlsFiles, Transport
from tests.media_core.flowbox import PATIENCE, Box, make_certificate, message, running

TICKET_KEYS = bytes(range(80))
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return replace(make_certificate(tmp_path_factory.mktemp("tls")), ticket_keys=TICKET_KEYS)


def tls_box(files: TlsFiles, **options: object) -> Box:
    return Box(transports=(Transport.TLS, Transport.UDP), tls=files, **options)  # type: ignore[arg-type]


@pytest.fixture
def box(files: TlsFiles) -> Iterator[Box]:
    with running(tls_box(files)) as it:
        yield it


def client_context(files: TlsFiles, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.certificate)
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def secure(box: Box, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    raw = socket.create_connection(box.address(Transport.TLS), PATIENCE)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(raw, server_hostname="box.test", session=session)


def read_whole(s: ssl.SSLSocket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        part = s.recv(65536)
        assert part, "closed early"
        got += part
    return got


@pytest.mark.parametrize("version", VERSIONS)
def test_both_ways(box: Box, files: TlsFiles, version: ssl.TLSVersion) -> None:
    with secure(box, client_context(files, version)) as phone:
        flow = box.one_open()
        assert flow.transport is Transport.TLS
        assert flow.remote == phone.getsockname()
        assert flow.cipher.split() == [phone.version(), phone.cipher()[0]]  # type: ignore[index]
        phone.sendall(b"\r\n\r\n" + message(b"one") + message(b"x" * 60_000))
        box.until(lambda: len(box.received()) == 2)
        assert box.received(flow.id) == [message(b"one"), message(b"x" * 60_000)]
        assert read_whole(phone, 2) == b"\r\n"
        for n in range(20):
            box.client.send(flow.id, bytes([n]) * 10_000)
        assert read_whole(phone, 200_000) == b"".join(bytes([n]) * 10_000 for n in range(20))
        box.client.shut(flow.id)
        assert phone.recv(10) == b""
    box.until(lambda: [c.reason for c in box.closed()] == ["shut"])


def test_message_in_many_records(box: Box, files: TlsFiles) -> None:
    with secure(box, client_context(files)) as phone:
        for byte in message(b"slow"):
            phone.send(bytes([byte]))
        box.until(lambda: box.received() == [message(b"slow")])
        phone.unwrap().close()
        box.until(lambda: [c.reason for c in box.closed()] == ["closed by the other side"])


@pytest.mark.parametrize("version", VERSIONS)
def test_tickets_survive_a_killed_core(files: TlsFiles, version: ssl.TLSVersion) -> None:
    box = tls_box(files)
    try:
        context = client_context(files, version)
        session: ssl.SSLSession | None = None
        for resumed in (False, True):
            box.start_child()
            with secure(box, context, session) as phone:
                assert phone.session_reused is resumed
                phone.sendall(message(b"hello") + b"\r\n\r\n")
                assert read_whole(phone, 2) == b"\r\n"  # TLS 1.3: the ticket came before this
                session = phone.session
            box.kill_child()
        box.tls = replace(files, ticket_keys=bytes(80))
        box.start_child()
        with secure(box, context, session) as phone:
            assert not phone.session_reused
    finally:
        box.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("suites", ["ECDHE+AES:!AESGCM:!AESCCM", "AES128-GCM-SHA256", "TLSv1.1"])
def test_weak_tls_is_refused(box: Box, files: TlsFiles, suites: str) -> None:
    context = client_context(files, ssl.TLSVersion.TLSv1_2)
    if suites == "TLSv1.1":
        context = client_context(files, ssl.TLSVersion.TLSv1_1)
        suites = "ALL:@SECLEVEL=0"
    context.set_ciphers(suites)
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        secure(box, context)
    box.until(lambda: box.count("handshakes_failed") == 1)
    assert box.seen == []
    assert box.client.flows() == []


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
def test_handshake_has_a_limit_of_time(files: TlsFiles, sent: bytes) -> None:
    with (
        running(tls_box(files, limits=Limits(tick=10, handshake=50))) as box,
        socket.create_connection(box.address(Transport.TLS), PATIENCE) as phone,
    ):
        phone.sendall(sent)
        assert phone.recv(100) == b""
        box.until(lambda: (box.count("timeouts"), box.count("handshakes_failed")) == (1, 1))
        assert box.seen == []


def test_plain_text_on_the_tls_port(box: Box) -> None:
    with socket.create_connection(box.address(Transport.TLS), PATIENCE) as phone:
        phone.sendall(message(b"hello"))
        box.until(lambda: box.count("handshakes_failed") == 1)
    assert box.seen == []


def test_first_message_limit_counts_from_the_handshake(files: TlsFiles) -> None:
    with (
        running(tls_box(files, limits=Limits(tick=10, first_message=50))) as box,
        secure(box, client_context(files)) as phone,
    ):
        assert phone.recv(10) == b""
        box.until(lambda: [c.reason for c in box.closed()] == ["no message"])


def test_churn_leaves_nothing(box: Box, files: TlsFiles) -> None:
    context = client_context(files)
    for n in range(60):
        with contextlib.closing(secure(box, context)) as phone:
            phone.sendall(message() if n % 2 else b"INVITE half of")
        box.until(lambda n=n: box.count("closed") == n + 1)  # type: ignore[misc]
    box.until(lambda: len(box.closed()) == 60)
    assert box.client.flows() == []


def test_wrong_files_are_told_at_once(files: TlsFiles, tmp_path: Path) -> None:
    other = make_certificate(tmp_path)
    for tls, reason in (
        (None, "needs a certificate"),
        (replace(files, certificate=str(tmp_path / "none.pem")), "certificate .*none.pem"),
        (replace(files, key=files.certificate), "private key"),
        (replace(files, key=other.key), "does not belong|mismatch"),
        (replace(files, ticket_keys=b"short"), "ticket keys are 80 bytes"),
    ):
        box = tls_box(files)
        box.tls = tls
        with pytest.raises(ValueError, match=reason):
            box.make_loop()
        box.close()


# ---- as client


class Server(threading.Thread):
    """Accepts one TLS connection, echoes what it reads first, and remembers the name asked for."""

    def __init__(self, files: TlsFiles) -> None:
        super().__init__()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(files.certificate, files.key)
        self.context.sni_callback = lambda _socket, name, _context: setattr(self, "asked", name)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE)
        self.asked: str | None = ""

    def run(self) -> None:
        raw, _ = self.listener.accept()
        raw.settimeout(PATIENCE)
        with contextlib.suppress(ssl.SSLError, OSError), self.context.wrap_socket(raw, server_side=True) as s:
            s.sendall(s.recv(65536))
            s.recv(1)
        raw.close()

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.join(PATIENCE)
        self.listener.close()


def test_dial_without_a_name_takes_any_certificate(box: Box, files: TlsFiles) -> None:
    with Server(files) as server:
        flow = box.client.dial(Transport.TLS, *server.listener.getsockname())
        box.client.send(flow, message(b"early"))
        box.until(lambda: box.received(flow) == [message(b"early")])
        assert box.opened()[0].cipher.startswith("TLSv1.3 ")
        assert server.asked is None
        box.client.shut(flow)
    box.until(lambda: len(box.closed()) == 1)


@pytest.mark.parametrize(
    ("name", "trusted", "reason"),
    [
        ("box.test", True, ""),
        ("127.0.0.1", True, ""),
        ("other.test", True, "TLS: hostname mismatch"),
        ("127.0.0.2", True, "TLS: IP address mismatch"),
        ("box.test", False, "TLS: self-signed certificate"),
    ],
)
def test_dial_with_a_name_verifies(
    files: TlsFiles, monkeypatch: pytest.MonkeyPatch, name: str, trusted: bool, reason: str
) -> None:
    monkeypatch.setitem(os.environ, "SSL_CERT_FILE", files.certificate if trusted else os.devnull)
    with running(tls_box(files)) as box, Server(files) as server:
        flow = box.client.dial(Transport.TLS, *server.listener.getsockname(), server_name=name)
        box.client.send(flow, message(b"secret"))
        if reason:
            box.until(lambda: [c.reason for c in box.closed()] == [reason])
            assert box.opened() == []
        else:
            box.until(lambda: box.received(flow) == [message(b"secret")])
            assert server.asked == (name if name == "box.test" else None)
            box.client.shut(flow)
