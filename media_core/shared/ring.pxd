from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    RING_ALIGN = 64           # a ring starts on a cache line
    RING_MAX = 68 * 1024      # longest payload
    RING_PAD = 0xFFFFFFFF     # type of the filler up to the end of the buffer; never shown to a consumer

cdef enum:  # what the producer's calls return
    RING_OK = 0
    RING_WAKE = 1     # stored, and the ring was empty: signal the consumer's eventfd
    RING_FULL = -1    # nothing stored, the drop is counted
    RING_LONG = -2    # longer than RING_MAX: nothing stored

cdef struct Record:  # 16 bytes, 16-aligned, the payload follows
    uint32_t length
    uint32_t type
    uint64_t id

cdef struct Ring:
    # never changes after ring_init
    uint64_t magic
    uint64_t capacity          # bytes of data, a power of two
    uint64_t room1[6]
    # written by the producer
    uint64_t head              # bytes ever published
    uint64_t dropped           # records refused because the ring was full
    uint64_t reserved          # where the record being written starts (behind the padding)
    uint64_t room2[5]
    # written by the consumer
    uint64_t tail              # bytes ever consumed
    uint64_t corrupt           # times a record made no sense and the ring was emptied
    uint64_t room3[6]
    # capacity bytes of records follow

# ---- memory
cdef uint64_t ring_size(uint64_t capacity) noexcept nogil
cdef int ring_init(Ring *ring, uint64_t capacity) noexcept nogil
cdef bint ring_valid(const Ring *ring, uint64_t room) noexcept nogil
# ---- producer (one thread)
cdef uint8_t *ring_reserve(Ring *ring, uint32_t length) noexcept nogil
cdef int ring_commit(Ring *ring, uint32_t type, uint64_t id, uint32_t length) noexcept nogil
cdef int ring_push(Ring *ring, uint32_t type, uint64_t id, const void *payload, uint32_t length) noexcept nogil
cdef uint64_t ring_free(Ring *ring) noexcept nogil
# ---- consumer (one thread)
cdef Record *ring_peek(Ring *ring, uint64_t *at) noexcept nogil
cdef uint64_t ring_behind(const Record *record, uint64_t at) noexcept nogil
cdef bint ring_consume(Ring *ring, uint64_t at) noexcept nogil
cdef bint ring_within(Ring *ring, uint64_t at) noexcept nogil
cdef Record *ring_front(Ring *ring) noexcept nogil
cdef void ring_pop(Ring *ring) noexcept nogil
cdef bint ring_empty(Ring *ring) noexcept nogil

cdef inline uint8_t *ring_payload(Record *record) noexcept nogil:
    return <uint8_t *>(record + 1)


cdef class Bell:
    # what wakes the consumers of the rings that one process fills
    cdef int wake
    cdef bint corked
    cdef bint owed
    cdef void ring(self) noexcept
    cpdef void cork(self) noexcept
    cpdef void uncork(self) noexcept
