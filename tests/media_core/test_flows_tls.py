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

from media_core.flows.flows import Limits
from media_core.records import HandshakeFailed, TlsFiles, Transport
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


def failures(box: Box) -> list[tuple[str, str, str]]:
    return [(e.host, e.reason, e.detail) for e in box.seen if isinstance(e, HandshakeFailed)]


def shake(box: Box, context: ssl.SSLContext, host: str = "127.0.0.1") -> None:
    """A handshake that comes to nothing."""
    with (
        contextlib.suppress(ssl.SSLError, ConnectionResetError),
        socket.create_connection(box.address(Transport.TLS), PATIENCE, source_address=(host, 0)) as raw,
        context.wrap_socket(raw, server_hostname="box.test") as s,
    ):
        s.recv(1)  # TLS 1.3: the server's alert comes after our side is through


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize(
    ("suites", "reason", "detail"),
    [
        ("ECDHE+AES:!AESGCM:!AESCCM", "no common cipher", "no shared cipher"),
        ("AES128-GCM-SHA256", "no common cipher", "no shared cipher"),
        ("ECDHE-RSA-AES128-GCM-SHA256", "no common cipher", "no shared cipher"),
        ("TLSv1.1", "old version", "TLS 1.1"),
        ("TLSv1", "old version", "TLS 1.0"),
    ],
)
def test_weak_tls_is_refused_and_named(box: Box, files: TlsFiles, suites: str, reason: str, detail: str) -> None:
    context = client_context(files, ssl.TLSVersion.TLSv1_2)
    if suites.startswith("TLSv1"):
        context = client_context(files, {"TLSv1": ssl.TLSVersion.TLSv1, "TLSv1.1": ssl.TLSVersion.TLSv1_1}[suites])
        suites = "ALL:@SECLEVEL=0"
    context.set_ciphers(suites)
    shake(box, context)
    box.until(lambda: failures(box) == [("127.0.0.1", reason, detail)])
    assert box.count("handshakes_failed") == len(box.seen) == 1
    assert box.client.flows() == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_phone_that_refuses_our_certificate_is_named(box: Box, files: TlsFiles, version: ssl.TLSVersion) -> None:
    unknown = ssl.create_default_context()
    unknown.minimum_version = unknown.maximum_version = version
    shake(box, unknown, "127.0.0.2")
    named = client_context(files, version)
    with (
        socket.create_connection(box.address(Transport.TLS), PATIENCE, source_address=("127.0.0.3", 0)) as raw,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        named.wrap_socket(raw, server_hostname="another.test")
    box.until(lambda: len(failures(box)) == 2)
    assert failures(box) == [
        ("127.0.0.2", "certificate refused", "unknown CA"),
        ("127.0.0.3", "certificate refused", "bad certificate"),
    ]


@pytest.mark.parametrize("sent", [message(b"hello"), b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100])
def test_what_speaks_no_tls_to_the_tls_port_is_named(box: Box, sent: bytes) -> None:
    with socket.create_connection(box.address(Transport.TLS), PATIENCE) as phone:
        phone.sendall(sent)
        box.until(lambda: failures(box) == [("127.0.0.1", "not TLS", "")])
    assert len(box.seen) == 1


def hello(files: TlsFiles) -> bytes:
    out = ssl.MemoryBIO()
    client = client_context(files).wrap_bio(ssl.MemoryBIO(), out, server_hostname="box.test")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def test_a_handshake_broken_off_is_named_and_silence_is_not(files: TlsFiles) -> None:
    """Who connects and says nothing, a monitor or a port scan, is no phone."""
    with running(tls_box(files, limits=Limits(tick=10, handshake=100))) as box:
        for host, sent in (
            ("127.0.0.4", b""),
            ("127.0.0.5", hello(files)),
            ("127.0.0.6", b""),
            ("127.0.0.7", hello(files)),
        ):
            with socket.create_connection(box.address(Transport.TLS), PATIENCE, source_address=(host, 0)) as phone:
                phone.sendall(sent)
                if host >= "127.0.0.6":
                    while phone.recv(10_000):
                        pass
        box.until(lambda: box.count("handshakes_failed") == 4)
        box.until(lambda: len(box.seen) == 2)
        assert failures(box) == [
            ("127.0.0.5", "broken off", "after our certificate"),
            ("127.0.0.7", "broken off", "took too long"),
        ]


def test_handshakes_in_progress_make_room_for_a_phone(files: TlsFiles) -> None:
    """One host that connects and says nothing, or only half a ClientHello, holds every place; here there are 16."""
    with running(tls_box(files, flows=32)) as box, contextlib.ExitStack() as stack:
        for sent in [b"", hello(files)[:100]] * 20:
            stranger = socket.create_connection(box.address(Transport.TLS), PATIENCE, source_address=("127.9.9.9", 0))
            stack.enter_context(stranger)
            stranger.sendall(sent)
        with secure(box, client_context(files)) as phone:
            flow = box.one_open()
            assert flow.remote == phone.getsockname()
            for _ in range(40):
                stack.enter_context(
                    socket.create_connection(box.address(Transport.TLS), PATIENCE, source_address=("127.9.9.9", 0))
                )
            phone.sendall(message(b"still here"))
            box.until(lambda: box.received(flow.id) == [message(b"still here")])
        assert box.count("refused") == 0


def test_a_flood_of_failures_is_told_at_a_rate(box: Box) -> None:
    """One a host; of many hosts ten at once and then five a second."""
    for n in range(60):
        with socket.create_connection(
            box.address(Transport.TLS), PATIENCE, source_address=(f"127.0.{n % 30}.9", 0)
        ) as phone:
            phone.sendall(message())
            box.until(lambda n=n: box.count("handshakes_failed") == n + 1)  # type: ignore[misc]
    told = [host for host, _, _ in failures(box)]
    assert 10 <= len(told) <= 30
    assert len(set(told)) == len(told)


@pytest.fixture(scope="session")
def both(files: TlsFiles, tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    rsa = make_certificate(tmp_path_factory.mktemp("rsa"), rsa=True)
    return replace(files, rsa_certificate=rsa.certificate, rsa_key=rsa.key)


@pytest.mark.parametrize(
    ("suites", "rsa"),
    [
        ("ECDHE-RSA-AES128-GCM-SHA256", True),
        ("ECDHE+aRSA+AESGCM:ECDHE+aRSA+CHACHA20", True),
        ("ECDHE-ECDSA-AES128-GCM-SHA256", False),
        ("ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES256-GCM-SHA384", False),
    ],
)
def test_a_phone_that_knows_rsa_only_is_shown_that_certificate(both: TlsFiles, suites: str, rsa: bool) -> None:
    """Older desk phones offer TLS 1.2 with ECDHE-RSA suites alone; who takes both is shown the ECDSA one."""
    context = client_context(both, ssl.TLSVersion.TLSv1_2)
    context.load_verify_locations(both.rsa_certificate)
    context.set_ciphers(suites)
    with running(tls_box(both)) as box, secure(box, context) as phone:
        assert phone.cipher()[0].startswith("ECDHE-RSA" if rsa else "ECDHE-ECDSA")  # type: ignore[index]
        shown = Path(both.rsa_certificate if rsa else both.certificate).read_text()
        assert phone.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(shown)


def test_the_rsa_certificate_may_come_later(both: TlsFiles, tmp_path: Path) -> None:
    """Its key takes long to make: the first start does not wait for it."""
    late = replace(both, rsa_certificate=str(tmp_path / "rsa.pem"), rsa_key=str(tmp_path / "rsa.key"))
    context = client_context(both, ssl.TLSVersion.TLSv1_2)
    context.load_verify_locations(both.rsa_certificate)
    context.set_ciphers("ECDHE+aRSA")
    with running(tls_box(late)) as box:
        shake(box, context)
        box.until(lambda: box.count("handshakes_failed") == 1)
        for source, target in ((both.rsa_certificate, late.rsa_certificate), (both.rsa_key, late.rsa_key)):
            Path(target).write_bytes(Path(source).read_bytes())
        assert box.loop is not None
        box.loop.renew(late)
        with secure(box, context):
            box.one_open()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_renewed_certificate_is_shown_from_then_on_and_no_connection_is_lost(
    files: TlsFiles, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    fresh = replace(make_certificate(tmp_path), ticket_keys=TICKET_KEYS)
    with running(tls_box(files)) as box, secure(box, client_context(files, version)) as old:
        flow = box.one_open()
        assert box.loop is not None
        with pytest.raises(ValueError, match=r"does not belong|mismatch"):
            box.loop.renew(replace(fresh, key=files.key))
        for certificate in (files, fresh):
            with secure(box, client_context(certificate, version)):
                box.one_open()
            if certificate is files:
                box.loop.renew(fresh)
        old.sendall(message(b"still here"))
        box.until(lambda: box.received(flow.id) == [message(b"still here")])
        box.client.send(flow.id, b"yes")
        assert read_whole(old, 3) == b"yes"


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
    box.until(lambda: not box.client.flows())  # the last entry is free just after its event


def test_the_memory_of_a_crowd_is_given_back(files: TlsFiles) -> None:
    """1,125 TLS connections of strangers took 15 MB, and the process kept them when all had gone."""

    def resident() -> int:
        return int(Path(f"/proc/{box.child}/statm").read_text().split()[1])

    box = tls_box(files, flows=1024)
    context = client_context(files)
    try:
        box.start_child()
        with contextlib.ExitStack() as stack:
            stack.enter_context(secure(box, context))
            box.one_open()
            idle = resident()
            for _ in range(400):
                stack.enter_context(secure(box, context))
            box.until(lambda: len(box.opened()) == 401)
            crowded = resident()
        box.until(lambda: len(box.closed()) == 401)
        box.until(lambda: resident() - idle < (crowded - idle) // 2)
    finally:
        box.close()


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
