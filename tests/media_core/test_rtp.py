"""RTP and RTCP framing, statistics by RFC 3550 appendix A, and every length field lying."""

import random

import pytest

from media_core.relay import rtp
from media_core.relay.rtp import Report, Sender, Source


def packet(
    sequence: int = 1,
    payload: bytes = b"\xd5" * 160,
    *,
    csrcs: int = 0,
    extension: bytes | None = None,
    padding: int = 0,
) -> bytes:
    header = bytes([0x80 | bool(padding) << 5 | (extension is not None) << 4 | csrcs, 0x80 | 8])
    header += sequence.to_bytes(2) + (160 * sequence).to_bytes(4) + b"\0\0\0\x07" + bytes(4 * csrcs)
    if extension is not None:
        header += b"\xbe\xde" + (len(extension) // 4).to_bytes(2) + extension
    return header + payload + (bytes(padding - 1) + bytes([padding]) if padding else b"")


@pytest.mark.parametrize("csrcs", [0, 1, 15])
@pytest.mark.parametrize("extension", [None, b"", bytes(8)])
@pytest.mark.parametrize("padding", [0, 1, 4, 255])
@pytest.mark.parametrize("payload", [b"", b"x", b"\xd5" * 160])
def test_parse(csrcs: int, extension: bytes | None, padding: int, payload: bytes) -> None:
    whole = packet(65535, payload, csrcs=csrcs, extension=extension, padding=padding)
    assert rtp.parse(whole) == (8, True, 65535, 160 * 65535, 7, payload)
    header = len(whole) - len(payload) - padding
    assert rtp.payload_offset(whole) == header
    for size in range(header):
        assert rtp.payload_offset(whole[:size]) == -1
        with pytest.raises(ValueError, match="malformed"):
            rtp.parse(whole[:size])


@pytest.mark.parametrize(
    "bad",
    [
        b"\x40" + packet()[1:],  # version 1
        b"\xa0" + packet(payload=b"")[1:],  # padding announced, none there
        b"\xa0" + packet(payload=b"\0")[1:],  # padding of length 0
        b"\xa0" + packet(payload=b"abc\x05")[1:],  # more padding than payload
        b"\x90" + packet(payload=b"\0\0\xff\xff" + bytes(100))[1:],  # extension longer than the packet
    ],
)
def test_lying_headers(bad: bytes) -> None:
    with pytest.raises(ValueError, match="malformed"):
        rtp.parse(bad)


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (0x80, 0, "rtp"),
        (0x80, 0x80, "rtp"),
        (0x80, 127, "rtp"),
        (0x80, 191, "rtp"),
        (0xBF, 224, "rtp"),
        (0x80, 192, "rtcp"),
        (0x81, 200, "rtcp"),
        (0x80, 223, "rtcp"),
        (0x00, 1, "stun"),
        (0x01, 1, "stun"),
        (4, 0, "unknown"),
        (16, 0, "zrtp"),
        (20, 254, "dtls"),
        (63, 254, "dtls"),
        (64, 0, "turn"),
        (80, 0, "unknown"),
        (192, 0, "unknown"),
        (255, 200, "unknown"),
    ],
)
def test_classify(first: int, second: int, kind: str) -> None:
    assert rtp.classify(bytes([first, second]) + bytes(10)) == kind
    for size in range(4):
        assert rtp.classify((bytes([first, second]) + bytes(10))[:size]) == "unknown"


PAIRS = ((1, 2), (2, 1), (65535, 0), (0, 65535), (0, 32767), (0, 32768), (9, 9))


def test_distance() -> None:
    assert [rtp.distance(a, b) for a, b in PAIRS] == [
        1, -1, 1, -1, 32767, -32768, 0,
    ]  # fmt: skip


def test_loss_reordering_and_copies() -> None:
    source = Source()
    arrivals = [(n, source.update(n & 0xFFFF)) for n in (65533, 65534, 65536, 65535, 65536, 65540, 65534, 65538, 65538)]
    assert [arrival for _, arrival in arrivals] == [
        "restart", "next", "next", "reordered", "duplicate", "next", "duplicate", "reordered", "duplicate",
    ]  # fmt: skip
    assert (source.received, source.reordered, source.duplicates) == (9, 2, 3)
    assert source.extended == 65540
    assert source.lost == 8 - 9  # A.3: copies count as received, so that loss can be negative


def test_sequence_counts_cycles() -> None:
    source = Source()
    for n in range(60000, 60000 + 3 * 65536, 100):
        assert source.update(n & 0xFFFF) in ("restart", "next")
    assert source.extended == 60000 + (3 * 65536 - 1) // 100 * 100
    assert source.lost == (source.extended - 60000 + 1) - source.received


def test_restart_of_the_sender() -> None:
    source = Source()
    for n in (1, 2, 5):
        source.update(n)
    assert source.update(30000) == "bad"
    assert source.update(6) == "next"
    assert [source.update(n) for n in (40000, 40001, 40002)] == ["bad", "restart", "next"]
    assert (source.lost, source.lost_before, source.received) == (0, 2, 2)
    source.start(99)
    assert source.update(7) == "restart"
    assert (source.lost, source.received, source.lost_before) == (0, 1, 2)


def test_fraction_lost() -> None:
    source = Source()
    assert source.fraction_lost() == 0
    for n in range(100):
        if n % 4:
            source.update(n)
    source.update(100)
    assert source.fraction_lost() == 256 * 24 // 100
    assert source.fraction_lost() == 0
    for n in range(101, 111):
        source.update(n)
    assert source.fraction_lost() == 0


def test_jitter_is_that_of_rfc3550() -> None:
    """The integer form of A.8 follows the real one of section 6.4.1."""
    dice, source, jitter, last = random.Random(1), Source(), 0.0, None
    base = 0xFFFFF000  # timestamps wrap
    for n in range(500):
        late = dice.randrange(200)
        source.jitter_update((base + 160 * n) & 0xFFFFFFFF, (12345 + 160 * n + late) & 0xFFFFFFFF)
        if last is not None:
            jitter += (abs(late - last) - jitter) / 16
        last = late
    assert abs(source.jitter - jitter) <= 1
    source.jitter_update(0x70000000, 5)  # a new timestamp base
    assert abs(source.jitter - jitter) <= 1


REPORT = Report(0xAABBCCDD, 17, -3, 0x10005, 80, 0x11223344, 65536)


@pytest.mark.parametrize("sender", [None, Sender(5, 0xE0000000_80000000, 160, 10, 1600)])
@pytest.mark.parametrize("count", [0, 1, 31])
def test_report_round_trip(sender: Sender | None, count: int) -> None:
    reports = tuple(REPORT._replace(ssrc=n, lost=n - 3) for n in range(count))
    whole = rtp.build_report(5, sender, reports) + rtp.build_cname(5, b"a@b") + rtp.build_bye(5)
    first, cname, bye = rtp.parse_rtcp(whole)
    assert (first.type, first.items, first.sender, first.reports) == (
        201 if sender is None else 200,
        count,
        sender,
        reports,
    )
    assert (cname.type, cname.items, cname.data[8:13]) == (202, 1, b"\x01\x03a@b")
    assert (bye.type, bye.data) == (203, b"\x81\xcb\x00\x01\x00\x00\x00\x05")
    assert rtp.classify(whole) == "rtcp"
    edges = {0, len(first.data), len(first.data) + len(cname.data), len(whole)}
    for size in range(len(whole)):
        if size in edges and size:
            rtp.parse_rtcp(whole[:size])
            continue
        with pytest.raises(ValueError, match="malformed"):
            rtp.parse_rtcp(whole[:size])


@pytest.mark.parametrize("length", range(1, 12))
def test_cname_ends_with_a_null(length: int) -> None:
    data = rtp.build_cname(1, b"n" * length)
    assert len(data) % 4 == 0
    assert data[10 + length :] in {b"\0" * n for n in range(1, 5)}


def test_builders_refuse_too_much() -> None:
    with pytest.raises(ValueError, match="31"):
        rtp.build_report(1, None, [REPORT] * 32)
    for name in (b"", b"n" * 256):
        with pytest.raises(ValueError, match="CNAME"):
            rtp.build_cname(1, name)


def test_padding_only_at_the_end() -> None:
    padded = bytes([0xA0, 201, 0, 2]) + bytes(4) + b"\0\0\0\x04"
    assert rtp.parse_rtcp(padded)[0].data == padded[:8]
    for bad in (padded + rtp.build_bye(1), padded[:-1] + b"\0", padded[:-1] + b"\x05", padded[:-1] + b"\x0c"):
        with pytest.raises(ValueError, match="malformed"):
            rtp.parse_rtcp(bad)


def test_random_bytes_do_no_harm() -> None:
    dice = random.Random(2)
    whole = rtp.build_report(5, Sender(5, 1, 2, 3, 4), [REPORT] * 3) + rtp.build_cname(5, b"name")
    for _ in range(5000):
        noise = bytearray(whole if dice.random() < 0.7 else dice.randbytes(dice.randrange(120)))
        for _ in range(dice.randrange(4)):
            if noise:
                noise[dice.randrange(len(noise))] = dice.randrange(256)
        data = bytes(noise[: dice.randrange(len(noise) + 1)])
        for reader in (rtp.parse_rtcp, rtp.parse):
            try:
                reader(data)
            except ValueError:
                continue
        rtp.classify(data)
