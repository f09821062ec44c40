"""An adaptive jitter buffer: 64 packets by sequence number, played out when a high percentile of them would have arrived.

Each packet's transit (arrival minus timestamp) is compared with the smallest of the last seconds; the lateness found goes into a
histogram that forgets (about 250 packets), and the delay aimed at is what 97 % of the packets need. A missing packet with later
ones behind it is lost: the caller conceals it and the stream moves on. With nothing behind it the network is late: the caller
fills in and the stream waits, so delay grows where it has to. Delay above what is aimed at (jitter_excess) is given back by the
caller, who shortens the sound, or by jitter_skip. Time is an argument, in microseconds: no clock here.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from media_core.relay.rtp cimport rtp_header, rtp_parse

cdef enum:
    BIN = 5000                  # microseconds
    FORGET = 8                  # a weight loses 1/256 with each packet
    PERCENTILE = 97
    LEAST_TARGET = 10000
    FIRST_TARGET = 40000
    WINDOW = 250                # packets over which the smallest transit is looked for
    GIVE_UP = 10                # takes in a row with nothing there: the talk-spurt is over
    JUMP = 2000000              # microseconds of timestamp between neighbours that make a new stream


cdef void jitter_begin(Jitter *j, uint32_t clock) noexcept nogil:
    memset(j, 0, sizeof(Jitter))
    j.clock = clock
    j.target = FIRST_TARGET


cdef inline int64_t media_time(const Jitter *j, uint32_t timestamp) noexcept nogil:
    """Microseconds that a timestamp stands for, by the anchor."""
    return j.anchor_time + <int64_t><int32_t>(timestamp - j.anchor) * 1000000 // <int64_t>j.clock


cdef void restart(Jitter *j, uint32_t ssrc, uint16_t sequence, uint32_t timestamp, uint64_t arrival) noexcept nogil:
    """A new stream: what was waiting is gone, what was learned of the network stays."""
    cdef int at
    for at in range(JITTER_SLOTS):
        j.slots[at].full = 0
    j.count = j.playing = j.empty = 0
    j.ssrc = ssrc
    j.following = sequence
    j.anchor = timestamp
    j.anchor_time = 0
    j.least = j.least_now = <int64_t>arrival
    j.window = 0
    j.begun = 1


cdef void learn(Jitter *j, int64_t transit) noexcept nogil:
    """One more transit: the histogram and the delay that follows from it."""
    cdef int64_t lateness
    cdef uint32_t at, total = 0, upto = 0
    if transit < j.least_now or j.window == 0:
        j.least_now = transit
    if transit < j.least:
        j.least = transit
    j.window += 1
    if j.window >= WINDOW:
        j.least = j.least_now
        j.window = 0
    lateness = (transit - j.least) // BIN
    if lateness < 0:
        lateness = 0
    if lateness >= JITTER_BINS:
        lateness = JITTER_BINS - 1
    for at in range(JITTER_BINS):
        j.weights[at] -= j.weights[at] >> FORGET
        total += j.weights[at]
    j.weights[lateness] += 1 << 16
    total += 1 << 16
    for at in range(JITTER_BINS):
        upto += j.weights[at]
        if upto >= total // 100 * PERCENTILE:
            break
    j.target = (at + 1) * BIN
    if j.target < LEAST_TARGET:
        j.target = LEAST_TARGET
    if total < 20 << 16 and j.target < FIRST_TARGET:  # little is known yet
        j.target = FIRST_TARGET


cdef void jitter_put(Jitter *j, const uint8_t *packet, uint32_t length, uint64_t arrival, bint event) noexcept nogil:
    """An RTP packet that came at `arrival`. event: it is of a key press (RFC 4733), whose timestamp stands still."""
    cdef rtp_header header
    cdef uint16_t sequence
    cdef uint32_t timestamp
    cdef int16_t ahead
    cdef int64_t passed
    cdef Slot *slot
    if rtp_parse(packet, <int32_t>length, &header) < 0 or header.length > JITTER_BYTES:
        j.thrown += 1
        return
    sequence, timestamp = header.sequence, header.timestamp
    ahead = <int16_t>(sequence - j.following)
    passed = media_time(j, timestamp) - j.anchor_time
    if not j.begun or header.ssrc != j.ssrc or ahead >= JITTER_SLOTS or ahead < -JITTER_SLOTS or passed > JUMP * 8 or passed < -JUMP:
        restart(j, header.ssrc, sequence, timestamp, arrival)
        ahead = 0
    if not event:
        learn(j, <int64_t>arrival - media_time(j, timestamp))
    if ahead < 0:
        if j.playing or j.count == 0:
            j.late += 1
            return
        j.following = sequence  # not begun yet: it begins earlier
    slot = &j.slots[sequence % JITTER_SLOTS]
    if slot.full:
        if slot.sequence == sequence:
            return
        j.thrown += 1
        j.count -= 1
    slot.full = 1
    slot.sequence = sequence
    slot.timestamp = timestamp
    slot.event = event
    slot.payload_type = header.payload_type
    slot.length = <uint16_t>header.length
    memcpy(slot.data, packet + header.offset, slot.length)
    j.count += 1
    if ahead >= 0 and not event and <int32_t>(timestamp - j.anchor) > 0:  # the anchor follows, so that timestamps may wrap
        j.anchor_time = media_time(j, timestamp)
        j.anchor = timestamp


cdef Slot *oldest(Jitter *j) noexcept nogil:
    cdef int step
    cdef Slot *slot
    for step in range(JITTER_SLOTS):
        slot = &j.slots[<uint16_t>(j.following + step) % JITTER_SLOTS]
        if slot.full and slot.sequence == <uint16_t>(j.following + step):
            return slot
    return NULL


cdef int64_t jitter_excess(const Jitter *j, uint64_t now) noexcept nogil:
    """Microseconds by which the next packet is played later than it has to be; negative: it is not due yet; 0: nobody knows."""
    cdef const Slot *slot = &j.slots[j.following % JITTER_SLOTS]
    if not j.playing or not slot.full or slot.event or slot.sequence != j.following:
        return 0
    return <int64_t>now - media_time(j, slot.timestamp) - j.least - j.target


cdef int jitter_take(Jitter *j, uint64_t now, Slot **slot) noexcept nogil:
    """What is due: JITTER_*. A slot given stays as it is until the next jitter_put."""
    cdef Slot *first
    slot[0] = NULL
    if not j.playing:
        first = oldest(j) if j.count else NULL
        if first == NULL:
            return JITTER_IDLE
        if <int64_t>now - media_time(j, first.timestamp) - j.least < <int64_t>j.target:
            return JITTER_IDLE
        j.following = first.sequence
        j.playing = 1
    first = &j.slots[j.following % JITTER_SLOTS]
    if first.full and first.sequence == j.following:
        first.full = 0
        j.count -= 1
        j.following += 1
        j.empty = 0
        slot[0] = first
        return JITTER_PACKET
    if j.count:
        j.following += 1
        j.lost += 1
        j.empty = 0
        first = &j.slots[j.following % JITTER_SLOTS]
        if first.full and first.sequence == j.following:
            slot[0] = first
        return JITTER_LOST
    j.empty += 1
    if j.empty >= GIVE_UP:
        j.playing = 0
        j.empty = 0
        return JITTER_IDLE
    return JITTER_LATE


cdef void jitter_skip(Jitter *j) noexcept nogil:
    """Throw the next packet away: far too much delay has come together."""
    cdef Slot *slot = &j.slots[j.following % JITTER_SLOTS]
    if slot.full and slot.sequence == j.following:
        slot.full = 0
        j.count -= 1
        j.thrown += 1
    j.following += 1


cdef class Buffer:
    """A jitter buffer for the tests; times in milliseconds."""

    cdef Jitter state

    def __init__(self, uint32_t clock):
        jitter_begin(&self.state, clock)

    def put(self, bytes packet, double now, bint event=False):
        jitter_put(&self.state, packet, <uint32_t>len(packet), <uint64_t>(now * 1000), event)

    def take(self, double now):
        """(kind, sequence and payload of the packet, or of the one after the lost one, or None)"""
        cdef Slot *slot = NULL
        cdef int kind = jitter_take(&self.state, <uint64_t>(now * 1000), &slot)
        name = ("idle", "packet", "lost", "late")[kind]
        return name, None if slot == NULL else (slot.sequence, bytes(slot.data[:slot.length]))

    def skip(self):
        jitter_skip(&self.state)

    def excess(self, double now):
        return jitter_excess(&self.state, <uint64_t>(now * 1000)) / 1000

    @property
    def target(self):
        return self.state.target / 1000

    @property
    def counts(self):
        return {"waiting": self.state.count, "lost": self.state.lost, "late": self.state.late, "thrown": self.state.thrown}
