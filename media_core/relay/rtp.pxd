# RTP and RTCP framing (RFC 3550, 5761, 7983, 8285): bounds-checked readers over raw bytes, inlined into the packet loop.
# Nothing here allocates or trusts a length field before it is checked against the packet. Offsets and lengths are octets.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "<endian.h>" nogil:
    uint16_t be16toh(uint16_t)
    uint32_t be32toh(uint32_t)
    uint64_t be64toh(uint64_t)
    uint16_t htobe16(uint16_t)
    uint32_t htobe32(uint32_t)
    uint64_t htobe64(uint64_t)

cdef enum:
    RTP_HEADER = 12
    RTCP_HEADER = 8           # the part SRTCP leaves in clear: header word and sender SSRC
    RTP_MAX_DROPOUT = 3000    # RFC 3550 A.1
    RTP_MAX_MISORDER = 100
    RTP_SEQ_MOD = 65536

cdef enum packet_kind:        # what the first octets of a datagram on a media port say (RFC 7983, RFC 5761 sec. 4)
    KIND_UNKNOWN = 0
    KIND_STUN = 1
    KIND_DTLS = 2
    KIND_RTP = 3
    KIND_RTCP = 4
    KIND_TURN = 5             # ChannelData
    KIND_ZRTP = 6

cdef enum rtcp_type:
    RTCP_SR = 200
    RTCP_RR = 201
    RTCP_SDES = 202
    RTCP_BYE = 203
    RTCP_APP = 204
    RTCP_RTPFB = 205
    RTCP_PSFB = 206
    RTCP_XR = 207

cdef struct rtp_header:
    uint32_t ssrc
    uint32_t timestamp
    uint16_t sequence
    uint8_t payload_type
    uint8_t marker
    int32_t offset            # where the payload begins
    int32_t length            # of the payload, padding removed

cdef enum:
    SOURCE_SEQUENCE = 1
    SOURCE_TRANSIT = 2

cdef struct rtp_source:       # RFC 3550 A.1, A.3, A.8: what is known of one sender
    uint32_t ssrc
    uint32_t cycles           # sequence number cycles, already shifted by 16
    uint32_t base_seq
    uint32_t bad_seq          # the sequence that would confirm a restart; RTP_SEQ_MOD + 1: none
    uint16_t max_seq
    uint16_t started          # SOURCE_SEQUENCE, SOURCE_TRANSIT: what of this is known
    uint32_t received
    uint32_t expected_prior
    uint32_t received_prior
    uint32_t reordered
    uint32_t duplicates
    uint32_t transit
    uint32_t jitter           # in 1/16 of a timestamp unit, as A.8 keeps it
    int32_t lost_before       # under earlier SSRCs and sequences of this source
    uint64_t seen             # which of the 64 sequence numbers up to max_seq have come (bit 0: max_seq)

cdef enum rtp_arrival:        # what rtp_source_update made of a packet
    ARRIVED_BAD = -1          # a jump not yet confirmed: not counted
    ARRIVED_NEXT = 0
    ARRIVED_REORDERED = 1
    ARRIVED_DUPLICATE = 2
    ARRIVED_RESTART = 3       # first packet, or the sender began a new sequence

cdef struct rtcp_report:      # one report block (RFC 3550 6.4.1)
    uint32_t ssrc
    uint8_t fraction_lost
    int32_t lost              # cumulative, signed 24 bit
    uint32_t highest
    uint32_t jitter
    uint32_t last_sr
    uint32_t delay            # since last SR, 1/65536 s

cdef struct rtcp_sender:      # sender info of an SR
    uint32_t ssrc
    uint64_t ntp              # 32.32 seconds since 1900
    uint32_t rtp_time
    uint32_t packets
    uint32_t octets

cdef struct rtcp_walk:        # position in a compound packet
    const uint8_t *data
    int32_t size
    int32_t next
    int32_t offset            # of the present part
    int32_t length            # of the present part, header included, padding removed
    uint8_t type
    uint8_t count             # RC, SC or FMT

cdef inline uint16_t load16(const uint8_t *p) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, p, 2)
    return be16toh(value)

cdef inline uint32_t load32(const uint8_t *p) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, p, 4)
    return be32toh(value)

cdef inline void store16(uint8_t *p, uint16_t value) noexcept nogil:
    value = htobe16(value)
    memcpy(p, &value, 2)

cdef inline void store32(uint8_t *p, uint32_t value) noexcept nogil:
    value = htobe32(value)
    memcpy(p, &value, 4)

cdef inline packet_kind rtp_classify(const uint8_t *p, int32_t size) noexcept nogil:
    """What a datagram on a media port is, by its first two octets."""
    if size < 4:
        return KIND_UNKNOWN
    cdef uint8_t first = p[0]
    if 128 <= first <= 191:
        # RFC 5761: packet types 192-223 are RTCP (payload types 64-95 with the marker must not be used by RTP)
        if 192 <= p[1] <= 223:
            return KIND_RTCP if size >= RTCP_HEADER else KIND_UNKNOWN
        return KIND_RTP if size >= RTP_HEADER else KIND_UNKNOWN
    if first <= 3:
        return KIND_STUN
    if 16 <= first <= 19:
        return KIND_ZRTP
    if 20 <= first <= 63:
        return KIND_DTLS
    if 64 <= first <= 79:
        return KIND_TURN
    return KIND_UNKNOWN

cdef inline int32_t rtp_payload_offset(const uint8_t *p, int32_t size) noexcept nogil:
    """Where the payload begins after CSRCs and extension; -1 if it is no RTP packet. Valid on encrypted packets too."""
    if size < RTP_HEADER or (p[0] & 0xC0) != 0x80:
        return -1
    cdef int32_t offset = RTP_HEADER + 4 * (p[0] & 0x0F)
    if p[0] & 0x10:
        if offset + 4 > size:
            return -1
        offset += 4 + 4 * <int32_t>load16(p + offset + 2)
    return offset if offset <= size else -1

cdef inline int rtp_parse(const uint8_t *p, int32_t size, rtp_header *header) noexcept nogil:
    """Read a clear RTP packet, checking CSRC, extension and padding bounds. 0, or -1 if it is malformed."""
    cdef int32_t offset = rtp_payload_offset(p, size)
    if offset < 0:
        return -1
    header.length = size - offset
    if p[0] & 0x20:
        if header.length < 1 or p[size - 1] == 0 or p[size - 1] > header.length:
            return -1
        header.length -= p[size - 1]
    header.offset = offset
    header.marker = p[1] >> 7
    header.payload_type = p[1] & 0x7F
    header.sequence = load16(p + 2)
    header.timestamp = load32(p + 4)
    header.ssrc = load32(p + 8)
    return 0

cdef inline int32_t sequence_distance(uint16_t a, uint16_t b) noexcept nogil:
    """How far b is ahead of a, -32768..32767."""
    cdef int32_t distance = (<int32_t>b - <int32_t>a) & 0xFFFF
    return distance - RTP_SEQ_MOD if distance >= 32768 else distance

cdef inline uint32_t rtp_extended(const rtp_source *source) noexcept nogil:
    """Extended highest sequence number received."""
    return source.cycles + source.max_seq

cdef inline int32_t rtp_lost(const rtp_source *source) noexcept nogil:
    """Cumulative number of packets lost; negative with duplicates (RFC 3550 A.3), clamped to 24 bits signed."""
    if not source.started:
        return 0
    cdef int64_t lost = <int64_t>(rtp_extended(source) - source.base_seq + 1) - <int64_t>source.received
    return <int32_t>(0x7FFFFF if lost > 0x7FFFFF else -0x800000 if lost < -0x800000 else lost)

# A fresh rtp_source is all zero. start: after an SSRC change; counters of reordered, duplicates and lost_before go on.
cdef void rtp_source_start(rtp_source *source, uint32_t ssrc) noexcept nogil
cdef rtp_arrival rtp_source_update(rtp_source *source, uint16_t sequence) noexcept nogil
# arrival: the packet's arrival in the units of its timestamps; jitter >> 4 is what is reported
cdef void rtp_source_jitter(rtp_source *source, uint32_t timestamp, uint32_t arrival) noexcept nogil
cdef uint8_t rtp_fraction_lost(rtp_source *source) noexcept nogil             # since the last call, in 1/256

cdef void rtcp_begin(rtcp_walk *walk, const uint8_t *p, int32_t size) noexcept nogil
cdef int rtcp_next(rtcp_walk *walk) noexcept nogil                            # 1: a part, 0: the end, -1: malformed from here on
cdef int rtcp_read_sender(const rtcp_walk *walk, rtcp_sender *sender) noexcept nogil              # 0, -1: the part is no whole SR
cdef int rtcp_read_report(const rtcp_walk *walk, int number, rtcp_report *report) noexcept nogil  # 0, -1: no such block

# Builders: octets written, or -1 if `cap` is too small. A NULL sender writes an RR. A compound is one after the other.
cdef int32_t rtcp_write_report(uint8_t *out, int32_t cap, uint32_t ssrc, const rtcp_sender *sender,
                               const rtcp_report *reports, int count) noexcept nogil
cdef int32_t rtcp_write_cname(uint8_t *out, int32_t cap, uint32_t ssrc, const uint8_t *name, int length) noexcept nogil
cdef int32_t rtcp_write_bye(uint8_t *out, int32_t cap, uint32_t ssrc) noexcept nogil
