# The jitter buffer: packets in as they come, out as they are due.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    JITTER_SLOTS = 64
    JITTER_BYTES = 640          # longest payload kept: 80 ms of G.711
    JITTER_BINS = 64            # of 5 ms each

cdef enum:  # what jitter_take gives
    JITTER_IDLE = 0             # nothing is being said
    JITTER_PACKET = 1           # slot: the next packet
    JITTER_LOST = 2             # it is missing; slot: the packet right after it, or NULL
    JITTER_LATE = 3             # nothing is there yet: fill in, the stream does not move on

cdef struct Slot:
    uint8_t full
    uint8_t payload_type
    uint16_t sequence
    uint16_t length
    uint16_t event
    uint32_t timestamp
    uint8_t data[JITTER_BYTES]

cdef struct Jitter:
    uint32_t clock              # Hz of the timestamps
    uint32_t ssrc
    uint32_t count              # slots full
    uint16_t following          # sequence number due next
    uint8_t begun               # a packet has come since jitter_begin
    uint8_t playing
    uint32_t empty              # times in a row that nothing was there
    uint32_t anchor             # a timestamp, and what it is in microseconds
    int64_t anchor_time
    int64_t least               # smallest transit (arrival - timestamp) lately, microseconds
    int64_t least_now           # of the window being filled
    uint32_t window             # packets in it
    uint32_t weights[JITTER_BINS]
    uint32_t target             # microseconds of delay aimed at
    uint32_t lost
    uint32_t late
    uint32_t thrown             # too long, or no room
    Slot slots[JITTER_SLOTS]

cdef void jitter_begin(Jitter *j, uint32_t clock) noexcept nogil
cdef void jitter_put(Jitter *j, const uint8_t *packet, uint32_t length, uint64_t arrival, bint event) noexcept nogil
cdef int jitter_take(Jitter *j, uint64_t now, Slot **slot) noexcept nogil
cdef int64_t jitter_excess(const Jitter *j, uint64_t now) noexcept nogil
cdef void jitter_skip(Jitter *j) noexcept nogil
