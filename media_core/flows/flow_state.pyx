"""What the parts of the flows thread share: writing entries of the flow table, and telling events.

FlowOpened and FlowClosed are never lost: when the event ring is full a closed entry stays FLOW_OWED, and taken, until its event is
told. Messages are held back on streams and dropped on UDP before that, because `full` keeps a reserve.
"""

from libc.string cimport memcpy, memset, strlen
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport write

from media_core.shared.atomic cimport RELAXED, RELEASE, SEQ_CST, fence, store32
from media_core.flows.flow_table cimport (
    FLOW_CLOSED, FLOW_FREE, FLOW_OPEN, FLOW_OPENED, FLOW_OPENING, FLOW_OWED, FLOW_TEXT, flow_at, hash_place,
)
from media_core.shared.ring cimport RING_WAKE, ring_free, ring_push


cdef uint64_t clock_ms() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000 + <uint64_t>now.tv_nsec // 1000000


cdef uint64_t id_of(Loop *loop, uint32_t index) noexcept nogil:
    return index | <uint64_t>flow_at(loop.area, index).generation << 32


cdef bint full(Loop *loop, uint64_t reserve) noexcept nogil:
    """Less than `reserve` bytes free in the event ring? Then the client signals core_wake once it has read."""
    if ring_free(loop.events) >= reserve:
        return False
    store32(&loop.area.starved, 1, RELEASE)
    fence(SEQ_CST)
    return ring_free(loop.events) < reserve


cdef int emit(Loop *loop, uint32_t type, uint32_t index, const void *payload, uint32_t length) noexcept nogil:
    cdef int result = ring_push(loop.events, type, id_of(loop, index), payload, length)
    cdef uint64_t one = 1
    if result == RING_WAKE and write(loop.calls_wake, &one, 8) != 8:
        return 0  # its counter is at the limit: readable anyway
    return result


cdef void entry_fill(Loop *loop, uint32_t index, uint32_t generation, uint32_t state, uint32_t listener,
                     const FlowBody *body) noexcept nogil:
    cdef FlowEntry *entry = flow_at(loop.area, index)
    store32(&entry.sequence, entry.sequence + 1, RELAXED)
    fence(RELEASE)
    entry.generation = generation
    entry.state = state
    entry.listener = listener
    entry.kept = 0
    entry.seen = loop.now
    memcpy(&entry.body, body, sizeof(FlowBody))
    store32(&entry.sequence, entry.sequence + 1, RELEASE)


cdef void entry_state(Loop *loop, uint32_t index, uint32_t state, const char *text) noexcept nogil:
    cdef FlowEntry *entry = flow_at(loop.area, index)
    cdef size_t length
    store32(&entry.sequence, entry.sequence + 1, RELAXED)
    fence(RELEASE)
    entry.state = state
    if text != NULL:
        length = min(strlen(text), <size_t>(FLOW_TEXT - 1))
        memset(entry.body.text, 0, FLOW_TEXT)
        memcpy(entry.body.text, text, length)
    store32(&entry.sequence, entry.sequence + 1, RELEASE)


cdef void entry_opened(Loop *loop, uint32_t index, const char *text) noexcept nogil:
    """The entry becomes open and FlowOpened is told. The callers have made sure of room in the ring."""
    entry_state(loop, index, FLOW_OPEN, text)
    loop.count.opened += 1
    emit(loop, FLOW_OPENED, index, &flow_at(loop.area, index).body, sizeof(FlowBody))


cdef void entry_closed(Loop *loop, uint32_t index, const char *reason) noexcept nogil:
    """The entry becomes free, after FlowClosed if anybody knows the flow. Everything else of it is gone already."""
    cdef FlowEntry *entry = flow_at(loop.area, index)
    cdef bint known = entry.state == FLOW_OPEN or index < loop.area.dial_end
    loop.count.closed += entry.state == FLOW_OPEN
    if known and emit(loop, FLOW_CLOSED, index, reason, <uint32_t>strlen(reason)) < 0:
        entry_state(loop, index, FLOW_OWED, reason)
        loop.owed += 1
        return
    give_back(loop, index)


cdef void give_back(Loop *loop, uint32_t index) noexcept nogil:
    entry_state(loop, index, FLOW_FREE, NULL)
    if index >= loop.area.udp_end:
        loop.free_stream[loop.free_stream_count] = index
        loop.free_stream_count += 1
    elif index >= loop.area.dial_end:
        loop.free_udp[loop.free_udp_count] = index
        loop.free_udp_count += 1


cdef void pay_owed(Loop *loop) noexcept nogil:
    """Tell the closings that did not fit."""
    cdef uint32_t index
    cdef FlowEntry *entry
    for index in range(loop.area.count):
        if loop.owed == 0:
            return
        entry = flow_at(loop.area, index)
        if entry.state == FLOW_OWED:
            if emit(loop, FLOW_CLOSED, index, entry.body.text, <uint32_t>strlen(entry.body.text)) < 0:
                return
            loop.owed -= 1
            give_back(loop, index)


cdef void enqueue(Loop *loop, uint32_t index) noexcept nogil:
    """A stream has something to do. Each is in the queue at most once."""
    if not loop.conn[index].queued:
        loop.conn[index].queued = 1
        loop.run[(loop.run_first + loop.run_count) % loop.area.count] = index
        loop.run_count += 1


cdef uint32_t take_free(Loop *loop, bint udp) noexcept nogil:
    """A free entry for a source or a connection, or NONE."""
    cdef uint32_t *count = &loop.free_udp_count if udp else &loop.free_stream_count
    if count[0] == 0:
        return NONE
    count[0] -= 1
    return loop.free_udp[count[0]] if udp else loop.free_stream[count[0]]


cdef bint within(uint64_t *until, uint64_t now, uint64_t every, uint64_t burst) noexcept nogil:
    """Is it time for another one, at one in `every` ms and `burst` at once? A leaky bucket: `until` is when it will be empty."""
    if until[0] < now:
        until[0] = now
    if until[0] - now > every * (burst - 1):
        return False
    until[0] += every
    return True


cdef bint allowed(Loop *loop, Rate *rate, const Endpoint *source, uint64_t every, uint64_t burst) noexcept nogil:
    """within(), for the host of `source`."""
    return within(&rate.until[hash_place(loop.seed, 0, source, False) % SOURCES], loop.now, every, burst)
