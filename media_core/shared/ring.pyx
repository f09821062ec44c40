"""A ring of variable-length records between one producer and one consumer, in shared memory.

Pointer-free (positions are byte counts since the beginning), so it may be mapped anywhere and outlives both sides: the positions
live in the ring, and a restarted producer or consumer goes on where the old one stopped. Nothing is visible before ring_commit
stores `head`; a producer killed in the middle of a record leaves nothing behind. A consumer killed between looking at a record
and ring_pop sees that record again: at least once, in order. Records are contiguous; one that does not fit before the end of the
buffer is preceded by padding.

A consumer may also look at many records with a position of its own (ring_peek, ring_behind) and drop all of them at once
(ring_consume), when what they led to is safe. Whoever keeps that position where it outlives him, and stores it before he drops, lets his
successor begin there: exactly once.

Sleeping. The consumer waits on an eventfd, which the producer signals only when a call returns RING_WAKE (the ring was empty).
No wake-up is lost as long as the consumer (1) clears the eventfd *before* it drains, (2) drains until ring_front gives NULL, or
signals its own eventfd when it stops earlier, (3) drains once when it attaches. A producer that attaches signals once, because
its predecessor may have died between publishing and signalling. Both sides have a full fence between their own store and the
look at the other's position, so one of them always sees the other. The ring is not empty for the producer before ring_consume: who
peeks calls that before he sleeps, and does not sleep when it says that more has come.
"""

from libc.string cimport memcpy, memset

from media_core.shared.atomic cimport ACQUIRE, RELAXED, RELEASE, SEQ_CST, fence, load64, store64

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd_write(int fd, uint64_t value)

cdef enum:
    HEADER = sizeof(Record)
    LARGEST = 1 << 30

cdef uint64_t MAGIC = 0x31474E4952574853  # the layout's version is its last digit


cdef inline uint64_t footprint(uint64_t length) noexcept nogil:
    return (HEADER + length + 15) & ~<uint64_t>15


cdef inline uint8_t *data_of(Ring *ring) noexcept nogil:
    return <uint8_t *>(ring + 1)


# ---- memory ---------------------------------------------------------------------------------------------------------

cdef uint64_t ring_size(uint64_t capacity) noexcept nogil:
    """Bytes of memory a ring of `capacity` data bytes takes."""
    return sizeof(Ring) + capacity


cdef int ring_init(Ring *ring, uint64_t capacity) noexcept nogil:
    """capacity: a power of two, 4 KiB to 1 GiB; to be sure of room for the longest record give 256 KiB. -1: not such a number."""
    if capacity < 4096 or capacity > LARGEST or capacity & (capacity - 1):
        return -1
    memset(ring, 0, sizeof(Ring))
    ring.capacity = capacity
    store64(&ring.magic, MAGIC, RELEASE)
    return 0


cdef bint ring_valid(const Ring *ring, uint64_t room) noexcept nogil:
    """Is this an initialised ring that fits into `room` bytes? Asked once by whoever attaches."""
    cdef uint64_t capacity
    if room < sizeof(Ring) or ring.magic != MAGIC:
        return False
    capacity = ring.capacity
    return (4096 <= capacity <= LARGEST and not capacity & (capacity - 1) and ring_size(capacity) <= room
            and ring.head - ring.tail <= capacity and not (ring.head | ring.tail) & 15)


# ---- waking

cdef class Bell:
    """The eventfd that consumers wait on. What is pushed while it is corked signals once, when it is uncorked."""

    def __init__(self, int wake):
        self.wake = wake
        self.corked = self.owed = False

    cdef void ring(self) noexcept:
        if self.corked:
            self.owed = True
        else:
            eventfd_write(self.wake, 1)

    cpdef void cork(self) noexcept:
        self.corked = True

    cpdef void uncork(self) noexcept:
        cdef bint owed = self.owed
        self.corked = self.owed = False
        if owed:
            eventfd_write(self.wake, 1)


# ---- producer -------------------------------------------------------------------------------------------------------

cdef uint8_t *ring_reserve(Ring *ring, uint32_t length) noexcept nogil:
    """Room for a payload of up to `length` bytes, or NULL (full; the caller counts or waits). Nothing is published."""
    cdef uint64_t head = ring.head, at, left, need
    cdef Record *pad
    if length > RING_MAX:
        return NULL
    need = footprint(length)
    at = head & (ring.capacity - 1)
    left = ring.capacity - at
    if left < need:
        need += left
    else:
        left = 0
    if head + need - load64(&ring.tail, ACQUIRE) > ring.capacity:
        return NULL
    if left:
        pad = <Record *>(data_of(ring) + at)
        pad.length = <uint32_t>(left - HEADER)
        pad.type = RING_PAD
        pad.id = 0
    ring.reserved = head + left
    return data_of(ring) + ((head + left) & (ring.capacity - 1)) + HEADER


cdef int ring_commit(Ring *ring, uint32_t type, uint64_t id, uint32_t length) noexcept nogil:
    """Publish what was written into the last ring_reserve; length may be shorter than reserved. RING_OK or RING_WAKE."""
    cdef uint64_t before = ring.head, start = ring.reserved
    cdef Record *record = <Record *>(data_of(ring) + (start & (ring.capacity - 1)))
    record.length = length
    record.type = type
    record.id = id
    store64(&ring.head, start + footprint(length), RELEASE)
    fence(SEQ_CST)
    return RING_WAKE if load64(&ring.tail, RELAXED) == before else RING_OK


cdef int ring_push(Ring *ring, uint32_t type, uint64_t id, const void *payload, uint32_t length) noexcept nogil:
    """Append one record: RING_OK, RING_WAKE, RING_FULL (counted) or RING_LONG."""
    cdef uint8_t *place
    if length > RING_MAX:
        return RING_LONG
    place = ring_reserve(ring, length)
    if place == NULL:
        store64(&ring.dropped, ring.dropped + 1, RELAXED)
        return RING_FULL
    if length:
        memcpy(place, payload, length)
    return ring_commit(ring, type, id, length)


cdef uint64_t ring_free(Ring *ring) noexcept nogil:
    """Bytes free now (headers and padding count). A record of RING_MAX surely fits when 2 * (RING_MAX + 32) are free."""
    return ring.capacity - (ring.head - load64(&ring.tail, ACQUIRE))


# ---- consumer -------------------------------------------------------------------------------------------------------

cdef Record *ring_peek(Ring *ring, uint64_t *at) noexcept nogil:
    """The record at a position from ring.tail on, or NULL: none yet. Padding there is stepped over. It stays valid until ring_consume."""
    cdef uint64_t head = load64(&ring.head, ACQUIRE), place, used
    cdef Record *record
    while at[0] != head:
        place = at[0] & (ring.capacity - 1)
        record = <Record *>(data_of(ring) + place)
        used = footprint(record.length)
        if used > head - at[0] or used > ring.capacity - place or (record.length > RING_MAX and record.type != RING_PAD):
            # Only a bug or a foreign writer gets here. Empty the ring rather than read outside of it.
            ring.corrupt += 1
            at[0] = head
        elif record.type == RING_PAD:
            at[0] += used
        else:
            return record
    return NULL


cdef uint64_t ring_behind(const Record *record, uint64_t at) noexcept nogil:
    """The position behind a record that ring_peek has given at `at`."""
    return at + footprint(record.length)


cdef bint ring_consume(Ring *ring, uint64_t at) noexcept nogil:
    """Drop what is before `at`. True: more has come behind it, perhaps without a signal."""
    store64(&ring.tail, at, RELEASE)
    fence(SEQ_CST)
    return load64(&ring.head, ACQUIRE) != at


cdef bint ring_within(Ring *ring, uint64_t at) noexcept nogil:
    """Is this a position from tail to head?"""
    return at - ring.tail <= load64(&ring.head, ACQUIRE) - ring.tail


cdef Record *ring_front(Ring *ring) noexcept nogil:
    """The oldest record, or NULL when the ring is empty. It stays valid and first until ring_pop."""
    cdef uint64_t at = ring.tail
    cdef Record *record = ring_peek(ring, &at)
    while at != ring.tail:  # padding
        store64(&ring.tail, at, RELEASE)
        fence(SEQ_CST)
        record = ring_peek(ring, &at)
    return record


cdef void ring_pop(Ring *ring) noexcept nogil:
    """Drop the record that ring_front has just given."""
    cdef Record *record = <Record *>(data_of(ring) + (ring.tail & (ring.capacity - 1)))
    store64(&ring.tail, ring.tail + footprint(record.length), RELEASE)
    fence(SEQ_CST)


cdef bint ring_empty(Ring *ring) noexcept nogil:
    return ring.tail == load64(&ring.head, ACQUIRE)


# ---- Python ---------------------------------------------------------------------------------------------------------

cdef class RingView:
    """A ring inside a writable buffer (an mmap, say), for tests and for looking at one from outside."""

    cdef Ring *ring
    cdef object buffer
    cdef unsigned char[::1] view

    def __init__(self, buffer, uint64_t capacity=0):
        """With `capacity` the ring is initialised, without it must be one already. ValueError: it is not, or does not fit."""
        self.buffer = buffer
        self.view = buffer
        if self.view.shape[0] < <Py_ssize_t>sizeof(Ring):
            raise ValueError("buffer too small for a ring")
        self.ring = <Ring *>&self.view[0]
        if <size_t>self.ring & (RING_ALIGN - 1):
            raise ValueError("a ring starts on a cache line (64 bytes)")
        if capacity:
            if ring_size(capacity) > <uint64_t>self.view.shape[0]:
                raise ValueError("buffer too small for this capacity")
            if ring_init(self.ring, capacity) != 0:
                raise ValueError("capacity must be a power of two from 4 KiB to 1 GiB")
        elif not ring_valid(self.ring, self.view.shape[0]):
            raise ValueError("no ring here")

    def push(self, uint32_t type, uint64_t id, const unsigned char[::1] payload):
        """RING_OK 0, RING_WAKE 1, RING_FULL -1, RING_LONG -2."""
        cdef Py_ssize_t length = payload.shape[0]
        if length > RING_MAX:
            return RING_LONG
        return ring_push(self.ring, type, id, &payload[0] if length else NULL, <uint32_t>length)

    def begin(self, const unsigned char[::1] payload):
        """Write a record without publishing it: what a producer killed in the middle leaves."""
        cdef uint8_t *place = ring_reserve(self.ring, <uint32_t>payload.shape[0])
        if place == NULL:
            return False
        memcpy(place, &payload[0], payload.shape[0])
        return True

    def front(self):
        """The oldest record as (type, id, payload), or None."""
        cdef Record *record = ring_front(self.ring)
        if record == NULL:
            return None
        return record.type, record.id, (<char *>ring_payload(record))[:record.length]

    def pop(self):
        """Take the oldest record: (type, id, payload), or None."""
        record = self.front()
        if record is not None:
            ring_pop(self.ring)
        return record

    def peek(self, uint64_t at):
        """The record at this position as (type, id, payload) and the position behind it, or None."""
        cdef Record *record = ring_peek(self.ring, &at)
        if record == NULL:
            return None
        return (record.type, record.id, (<char *>ring_payload(record))[:record.length]), ring_behind(record, at)

    def consume(self, uint64_t at):
        """Drop what is before this position; whether more has come behind it."""
        return ring_consume(self.ring, at)

    @property
    def tail(self):
        return self.ring.tail

    @property
    def free(self):
        return ring_free(self.ring)

    @property
    def dropped(self):
        return self.ring.dropped

    @property
    def corrupt(self):
        return self.ring.corrupt
