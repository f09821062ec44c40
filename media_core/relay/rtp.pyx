"""RTP and RTCP framing and reception statistics (RFC 3550, RFC 5761, RFC 7983).

The readers of single packets are inline in rtp.pxd; here are the parts that keep state or write: sequence accounting (appendix A.1,
A.3), integer jitter (A.8), the walk through a compound RTCP packet, SR, RR, SDES and BYE. No length field is believed before it is
checked against the packet. A source needs no probation (A.1): the relay has locked its address before it counts here.

The Python functions below are the same code behind dataclass-like tuples, for the test phones and the tests.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from collections.abc import Sequence
from typing import NamedTuple

cdef enum:
    NO_BAD_SEQ = RTP_SEQ_MOD + 1
    REPORT_BLOCK = 24
    SENDER_INFO = 20
    MAX_REPORTS = 31


cdef void rtp_source_start(rtp_source *source, uint32_t ssrc) noexcept nogil:
    cdef int32_t lost = rtp_lost(source)
    if lost > 0 and source.lost_before < 0x7FFFFF:
        source.lost_before += lost
    source.ssrc = ssrc
    source.started = 0
    source.cycles = 0
    source.expected_prior = 0
    source.received_prior = 0
    source.received = 0
    source.jitter = 0


cdef inline rtp_arrival first_packet(rtp_source *source, uint16_t sequence) noexcept nogil:
    source.base_seq = source.max_seq = sequence
    source.bad_seq = NO_BAD_SEQ
    source.received = 1
    source.seen = 1
    source.started = SOURCE_SEQUENCE
    return ARRIVED_RESTART


cdef rtp_arrival rtp_source_update(rtp_source *source, uint16_t sequence) noexcept nogil:
    """Count a packet (A.1), telling late ones from copies as far as the last 64 sequence numbers are remembered."""
    cdef uint16_t ahead = sequence - source.max_seq
    cdef uint16_t behind = source.max_seq - sequence
    if not source.started & SOURCE_SEQUENCE:
        return first_packet(source, sequence)
    if ahead == 0:
        source.received += 1
        source.duplicates += 1
        return ARRIVED_DUPLICATE
    if ahead < RTP_MAX_DROPOUT:
        if sequence < source.max_seq:
            source.cycles += RTP_SEQ_MOD
        source.max_seq = sequence
        source.seen = (source.seen << ahead if ahead < 64 else 0) | 1
        source.received += 1
        return ARRIVED_NEXT
    if behind >= RTP_MAX_MISORDER:
        if sequence != source.bad_seq:
            source.bad_seq = (sequence + 1) & 0xFFFF
            return ARRIVED_BAD
        rtp_source_start(source, source.ssrc)  # two in a row: the other side restarted without telling us
        return first_packet(source, sequence)
    source.received += 1
    if behind < 64 and source.seen >> behind & 1:
        source.duplicates += 1
        return ARRIVED_DUPLICATE
    if behind < 64:
        source.seen |= <uint64_t>1 << behind
    source.reordered += 1
    return ARRIVED_REORDERED


cdef void rtp_source_jitter(rtp_source *source, uint32_t timestamp, uint32_t arrival) noexcept nogil:
    cdef uint32_t transit = arrival - timestamp
    cdef uint32_t difference = transit - source.transit
    source.transit = transit
    if not source.started & SOURCE_TRANSIT:
        source.started |= SOURCE_TRANSIT
        return
    if <int32_t>difference < 0:
        difference = 0 - difference
    if difference > 0x0FFFFFFF:  # a new timestamp base, no jitter of any network
        return
    source.jitter += difference - ((source.jitter + 8) >> 4)


cdef uint8_t rtp_fraction_lost(rtp_source *source) noexcept nogil:
    if not source.started & SOURCE_SEQUENCE:
        return 0
    cdef uint32_t expected = rtp_extended(source) - source.base_seq + 1
    cdef uint32_t expected_now = expected - source.expected_prior
    cdef int64_t lost = <int64_t>expected_now - <int64_t>(<uint32_t>(source.received - source.received_prior))
    source.expected_prior = expected
    source.received_prior = source.received
    return 0 if expected_now == 0 or lost <= 0 else <uint8_t>min((lost << 8) // expected_now, <int64_t>255)


# ---- RTCP --------------------------------------------------------------------------------------------------------------------

cdef void rtcp_begin(rtcp_walk *walk, const uint8_t *p, int32_t size) noexcept nogil:
    memset(walk, 0, sizeof(rtcp_walk))
    walk.data = p
    walk.size = size


cdef int rtcp_next(rtcp_walk *walk) noexcept nogil:
    cdef const uint8_t *p = walk.data + walk.next
    cdef int32_t left = walk.size - walk.next
    cdef int32_t length, padding
    if left == 0 and walk.size:
        return 0
    if left < 4 or (p[0] & 0xC0) != 0x80:
        return -1
    length = 4 * (<int32_t>load16(p + 2) + 1)
    if length > left:
        return -1
    walk.offset = walk.next
    walk.next += length
    walk.length = length
    walk.count = p[0] & 0x1F
    walk.type = p[1]
    if p[0] & 0x20:
        padding = p[length - 1]
        # only the last part may be padded, by whole words (6.4.1)
        if padding == 0 or padding & 3 or padding > length - 4 or walk.next != walk.size:
            return -1
        walk.length -= padding
    return 1


cdef int rtcp_read_sender(const rtcp_walk *walk, rtcp_sender *sender) noexcept nogil:
    cdef const uint8_t *p = walk.data + walk.offset
    if walk.type != RTCP_SR or walk.length < RTCP_HEADER + SENDER_INFO:
        return -1
    sender.ssrc = load32(p + 4)
    sender.ntp = <uint64_t>load32(p + 8) << 32 | load32(p + 12)
    sender.rtp_time = load32(p + 16)
    sender.packets = load32(p + 20)
    sender.octets = load32(p + 24)
    return 0


cdef int rtcp_read_report(const rtcp_walk *walk, int number, rtcp_report *report) noexcept nogil:
    cdef int32_t at = RTCP_HEADER + (SENDER_INFO if walk.type == RTCP_SR else 0) + REPORT_BLOCK * number
    cdef const uint8_t *p = walk.data + walk.offset + at
    if walk.type != RTCP_SR and walk.type != RTCP_RR:
        return -1
    if number < 0 or number >= walk.count or at + REPORT_BLOCK > walk.length:
        return -1
    report.ssrc = load32(p)
    report.fraction_lost = p[4]
    report.lost = load32(p + 4) & 0xFFFFFF
    if report.lost & 0x800000:
        report.lost -= 0x1000000
    report.highest = load32(p + 8)
    report.jitter = load32(p + 12)
    report.last_sr = load32(p + 16)
    report.delay = load32(p + 20)
    return 0


cdef inline void write_header(uint8_t *out, int count, uint8_t kind, int32_t length, uint32_t ssrc) noexcept nogil:
    out[0] = 0x80 | count
    out[1] = kind
    store16(out + 2, length // 4 - 1)
    store32(out + 4, ssrc)


cdef int32_t rtcp_write_report(uint8_t *out, int32_t cap, uint32_t ssrc, const rtcp_sender *sender,
                               const rtcp_report *reports, int count) noexcept nogil:
    cdef int32_t at = RTCP_HEADER + (SENDER_INFO if sender != NULL else 0)
    cdef int32_t length
    cdef int i
    if not 0 <= count <= MAX_REPORTS:
        return -1
    length = at + REPORT_BLOCK * count
    if length > cap:
        return -1
    write_header(out, count, RTCP_SR if sender != NULL else RTCP_RR, length, ssrc)
    if sender != NULL:
        store32(out + 8, <uint32_t>(sender.ntp >> 32))
        store32(out + 12, <uint32_t>sender.ntp)
        store32(out + 16, sender.rtp_time)
        store32(out + 20, sender.packets)
        store32(out + 24, sender.octets)
    for i in range(count):
        store32(out + at, reports[i].ssrc)
        store32(out + at + 4, <uint32_t>reports[i].fraction_lost << 24 | (<uint32_t>reports[i].lost & 0xFFFFFF))
        store32(out + at + 8, reports[i].highest)
        store32(out + at + 12, reports[i].jitter)
        store32(out + at + 16, reports[i].last_sr)
        store32(out + at + 20, reports[i].delay)
        at += REPORT_BLOCK
    return length


cdef int32_t rtcp_write_cname(uint8_t *out, int32_t cap, uint32_t ssrc, const uint8_t *name, int length) noexcept nogil:
    """An SDES packet with the one item that is mandatory (6.5.1)."""
    if not 1 <= length <= 255:
        return -1
    cdef int32_t total = (RTCP_HEADER + 2 + length + 1 + 3) & ~3  # at least one null ends the items
    if total > cap:
        return -1
    write_header(out, 1, RTCP_SDES, total, ssrc)
    memset(out + RTCP_HEADER, 0, total - RTCP_HEADER)
    out[RTCP_HEADER] = 1
    out[RTCP_HEADER + 1] = length
    memcpy(out + RTCP_HEADER + 2, name, length)
    return total


cdef int32_t rtcp_write_bye(uint8_t *out, int32_t cap, uint32_t ssrc) noexcept nogil:
    if cap < RTCP_HEADER:
        return -1
    write_header(out, 1, RTCP_BYE, RTCP_HEADER, ssrc)
    return RTCP_HEADER


# ---- the Python face ---------------------------------------------------------------------------------------------------------

class Header(NamedTuple):
    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


class Sender(NamedTuple):
    ssrc: int
    ntp: int
    rtp_time: int
    packets: int
    octets: int


class Report(NamedTuple):
    ssrc: int
    fraction_lost: int
    lost: int
    highest: int
    jitter: int
    last_sr: int
    delay: int


class Part(NamedTuple):
    type: int
    items: int  # RC, SC or FMT of the header
    data: bytes
    sender: Sender | None
    reports: tuple[Report, ...]


KINDS = {KIND_UNKNOWN: "unknown", KIND_STUN: "stun", KIND_DTLS: "dtls", KIND_RTP: "rtp", KIND_RTCP: "rtcp", KIND_TURN: "turn", KIND_ZRTP: "zrtp"}
ARRIVALS = {
    ARRIVED_BAD: "bad", ARRIVED_NEXT: "next", ARRIVED_REORDERED: "reordered", ARRIVED_DUPLICATE: "duplicate", ARRIVED_RESTART: "restart",
}


def classify(packet: bytes) -> str:
    return KINDS[rtp_classify(packet, len(packet))]


def payload_offset(packet: bytes) -> int:
    return rtp_payload_offset(packet, len(packet))


def parse(packet: bytes) -> Header:
    cdef rtp_header header
    if rtp_parse(packet, len(packet), &header) < 0:
        raise ValueError("malformed RTP packet")
    return Header(header.payload_type, bool(header.marker), header.sequence, header.timestamp, header.ssrc,
                  packet[header.offset : header.offset + header.length])


def distance(a: int, b: int) -> int:
    return sequence_distance(a, b)


def parse_rtcp(packet: bytes) -> list[Part]:
    cdef rtcp_walk walk
    cdef rtcp_sender sender
    cdef rtcp_report report
    cdef int more, i
    cdef list parts = []
    rtcp_begin(&walk, packet, len(packet))
    while True:
        more = rtcp_next(&walk)
        if more < 0:
            raise ValueError("malformed RTCP packet")
        if more == 0:
            return parts
        info = Sender(sender.ssrc, sender.ntp, sender.rtp_time, sender.packets, sender.octets) if rtcp_read_sender(&walk, &sender) == 0 else None
        reports = []
        for i in range(walk.count):
            if rtcp_read_report(&walk, i, &report) < 0:
                break
            reports.append(Report(report.ssrc, report.fraction_lost, report.lost, report.highest, report.jitter, report.last_sr, report.delay))
        parts.append(Part(walk.type, walk.count, packet[walk.offset : walk.offset + walk.length], info, tuple(reports)))


def build_report(ssrc: int, sender: Sender | None = None, reports: Sequence[Report] = ()) -> bytes:
    cdef uint8_t out[1024]
    cdef rtcp_sender info
    cdef rtcp_report blocks[MAX_REPORTS]
    cdef int i, count = len(reports)
    if count > MAX_REPORTS:
        raise ValueError("at most 31 report blocks")
    if sender is not None:
        info.ssrc, info.ntp, info.rtp_time, info.packets, info.octets = sender
    for i in range(count):
        (blocks[i].ssrc, blocks[i].fraction_lost, blocks[i].lost, blocks[i].highest, blocks[i].jitter, blocks[i].last_sr,
         blocks[i].delay) = reports[i]
    cdef int32_t size = rtcp_write_report(out, sizeof(out), ssrc, &info if sender is not None else NULL, blocks, count)
    return out[:size]


def build_cname(ssrc: int, name: bytes) -> bytes:
    cdef uint8_t out[272]
    cdef int32_t size = rtcp_write_cname(out, sizeof(out), ssrc, name, len(name))
    if size < 0:
        raise ValueError("a CNAME has 1 to 255 octets")
    return out[:size]


def build_bye(ssrc: int) -> bytes:
    cdef uint8_t out[RTCP_HEADER]
    return out[: rtcp_write_bye(out, sizeof(out), ssrc)]


cdef class Source:
    """Reception statistics of one sender."""

    cdef rtp_source source

    def __init__(self, ssrc: int = 0):
        memset(&self.source, 0, sizeof(self.source))
        self.source.ssrc = ssrc

    def update(self, sequence: int) -> str:
        return ARRIVALS[rtp_source_update(&self.source, sequence)]

    def jitter_update(self, timestamp: int, arrival: int) -> None:
        rtp_source_jitter(&self.source, timestamp, arrival)

    def start(self, ssrc: int) -> None:
        """The SSRC changed."""
        rtp_source_start(&self.source, ssrc)

    def fraction_lost(self) -> int:
        return rtp_fraction_lost(&self.source)

    @property
    def lost(self) -> int:
        return rtp_lost(&self.source)

    @property
    def lost_before(self) -> int:
        return self.source.lost_before

    @property
    def received(self) -> int:
        return self.source.received

    @property
    def reordered(self) -> int:
        return self.source.reordered

    @property
    def duplicates(self) -> int:
        return self.source.duplicates

    @property
    def jitter(self) -> int:
        """In timestamp units."""
        return self.source.jitter >> 4

    @property
    def extended(self) -> int:
        return rtp_extended(&self.source)
