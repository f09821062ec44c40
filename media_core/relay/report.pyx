"""RTCP where a stream begins or ends here: transcoded, mixed (RFC 3550 section 6.4). What is only relayed is translated instead.

The far end's reports about our stream are kept for the statistics and for forward error correction; every REPORT_SECONDS it gets
a sender report about what we make for it, with a report block about what it sends, and a CNAME that says nothing (RFC 7022).
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from media_core.shared.abi cimport Leg
from media_core.relay.relay cimport Packet
from media_core.relay.rtp cimport (
    RTCP_RR, RTCP_SR, rtcp_begin, rtcp_next, rtcp_read_report, rtcp_read_sender, rtcp_report, rtcp_sender, rtcp_walk, rtcp_write_cname,
    rtcp_write_report,
)

cdef extern from "<time.h>" nogil:
    struct timespec:
        int64_t tv_sec
        int64_t tv_nsec
    enum: CLOCK_REALTIME
    int clock_gettime(int clock, timespec *time)

cdef enum:
    REPORT_SECONDS = 5
    HEADER = 12                 # octets of a packet that are not counted as payload

cdef uint64_t SECOND = 1000000000
cdef uint64_t NTP_SINCE_1970 = 2208988800
cdef const char *HEX = "0123456789abcdef"


cdef void report_taken(Leg *leg, uint64_t now, uint32_t loss, uint32_t jitter, uint32_t last_sr, uint32_t delay) noexcept nogil:
    """A report block about what we send to the leg's far end, as it stands there (RFC 3550 section 6.4.1)."""
    cdef int64_t away
    leg.reported_fraction = loss >> 24
    leg.reported_lost = 0 if loss & 0x800000 else loss & 0xFFFFFF  # negative: duplicates arrived
    leg.reported_jitter = jitter
    leg.reported = now
    if last_sr and last_sr == leg.sender_sr:
        away = <int64_t>((now - leg.sender_time) // 1000) - <int64_t>((<uint64_t>delay * 1000000) >> 16)
        leg.round_trip = <uint32_t>away if away > 0 else 0


cdef void report_read(const Packet *packet, Leg *leg, uint64_t now) noexcept nogil:
    """What the far end says of the stream that we make for it, and when it says that it was."""
    cdef rtcp_walk walk
    cdef rtcp_report report
    cdef rtcp_sender sender
    cdef int number
    rtcp_begin(&walk, packet.data, <int32_t>packet.length)
    while rtcp_next(&walk) == 1:
        if walk.type == RTCP_SR and rtcp_read_sender(&walk, &sender) == 0 and sender.ssrc == leg.received.ssrc:
            leg.reporter_sr = <uint32_t>(sender.ntp >> 16)
            leg.reporter_time = now
        if walk.type != RTCP_SR and walk.type != RTCP_RR:
            continue
        for number in range(walk.count):
            if rtcp_read_report(&walk, number, &report) == 0 and report.ssrc == leg.sent.ssrc:
                report_taken(leg, now, <uint32_t>report.fraction_lost << 24 | (<uint32_t>report.lost & 0xFFFFFF), report.jitter, report.last_sr,
                             report.delay)


cdef uint64_t ntp_at(uint64_t ago) noexcept nogil:
    """The wall clock `ago` nanoseconds before now, as NTP writes it."""
    cdef timespec time
    cdef uint64_t nanoseconds
    clock_gettime(CLOCK_REALTIME, &time)
    nanoseconds = <uint64_t>time.tv_sec * SECOND + <uint64_t>time.tv_nsec - ago
    return (nanoseconds // SECOND + NTP_SINCE_1970) << 32 | (nanoseconds % SECOND << 32) // SECOND


cdef int32_t report_write(Leg *leg, uint64_t now, uint8_t *into, int32_t room) noexcept nogil:
    """A compound packet about the leg's streams, when one is due: its length, or 0."""
    cdef rtcp_sender sender
    cdef rtcp_report report
    cdef uint8_t name[8]
    cdef uint32_t expected, gone, shift
    cdef int32_t length, more
    cdef bint sends = leg.sent.last != 0 and now - leg.sent.last < REPORT_SECONDS * SECOND
    cdef bint receives = leg.received.packets != 0
    if now - leg.report_time < REPORT_SECONDS * SECOND or not (sends or receives):
        return 0
    leg.report_time = now
    if sends:
        sender.ssrc = leg.sent.ssrc
        sender.ntp = ntp_at(now - leg.sent.last)  # of the last packet: its timestamp stands for that time
        leg.sender_sr, leg.sender_time = <uint32_t>(sender.ntp >> 16), now
        sender.rtp_time = leg.sent.timestamp
        sender.packets = <uint32_t>leg.sent.packets
        sender.octets = <uint32_t>(leg.sent.bytes - HEADER * leg.sent.packets)
    if receives:
        expected = <uint32_t>leg.received.packets + leg.received.lost
        gone = leg.received.lost - leg.report_lost if leg.received.lost > leg.report_lost else 0
        shift = expected - leg.report_expected
        report.ssrc = leg.received.ssrc
        report.fraction_lost = <uint8_t>((<uint64_t>gone << 8) // shift if shift and gone < shift else 0)
        report.lost = <int32_t>leg.received.lost
        report.highest = leg.received.highest
        report.jitter = leg.received.jitter >> 4
        report.last_sr = leg.reporter_sr
        report.delay = <uint32_t>(((now - leg.reporter_time) << 16) // SECOND) if leg.reporter_sr else 0
        leg.report_lost, leg.report_expected = leg.received.lost, expected
    length = rtcp_write_report(into, room, leg.sent.ssrc, &sender if sends else NULL, &report if receives else NULL, 1 if receives else 0)
    for shift in range(8):
        name[shift] = <uint8_t>HEX[leg.sent.ssrc >> (4 * shift) & 15]
    more = rtcp_write_cname(into + length, room - length, leg.sent.ssrc, name, 8) if length > 0 else -1
    return length + more if more > 0 else 0
