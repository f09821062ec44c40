"""Timing loops for benchmarks/srtp.py: what one SRTP operation costs from C, over many streams so that nothing stays in the nearest
cache. The clock covers writing the sequence number and the whole operation; filling the packets again before it is not counted."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from media_core.relay.rtp cimport store16, store32
from media_core.srtp.srtp cimport (
    SRTP_AUTO,
    SRTP_BATCH,
    SRTP_CTX_SIZE,
    SRTP_IN,
    SRTP_IPSEC_MB,
    SRTP_OPENSSL,
    SRTP_OUT,
    srtp_ctx,
    srtp_engine,
    srtp_engine_create,
    srtp_engine_destroy,
    srtp_init,
    srtp_job,
    srtp_protect_batch,
    srtp_suite,
    srtp_unprotect_batch,
)

cdef enum:
    PACKET = 172              # 20 ms of G.711 with its RTP header
    ROOM = 256

ctypedef int (*foreign_protect)(void *session, void *packet, int *length) noexcept nogil

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)
    void free(void *)


cdef uint64_t now() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t>t.tv_sec * 1000000000 + <uint64_t>t.tv_nsec


cdef void refill(uint8_t *packet, uint32_t stream, uint16_t sequence) noexcept nogil:
    memset(packet, 0xD5, PACKET)
    packet[0] = 0x80
    packet[1] = 0
    store16(packet + 2, sequence)
    store32(packet + 4, 160 * <uint32_t>sequence)
    store32(packet + 8, stream + 1)


cdef class Load:
    """`streams` contexts of one suite, both directions, with a packet each."""

    cdef srtp_engine *engine
    cdef uint8_t *contexts    # out, in, out, in …
    cdef uint8_t *packets
    cdef uint32_t streams
    cdef uint16_t sequence

    def __init__(self, suite: str, key: bytes, salt: bytes, backend: str, streams: int):
        cdef uint32_t i
        cdef bytes name = suite.encode()
        self.streams = streams
        self.engine = srtp_engine_create({"auto": SRTP_AUTO, "ipsec-mb": SRTP_IPSEC_MB, "openssl": SRTP_OPENSSL}[backend])
        self.contexts = <uint8_t *>aligned_alloc(64, 2 * <size_t>SRTP_CTX_SIZE * self.streams)
        self.packets = <uint8_t *>aligned_alloc(64, <size_t>ROOM * self.streams)
        if self.engine == NULL or self.contexts == NULL or self.packets == NULL:
            raise NotImplementedError(f"{backend} is not available")
        for i in range(2 * self.streams):
            if srtp_init(self.engine, self.context(i), srtp_suite(name), key, len(key), salt, len(salt), SRTP_IN if i & 1 else SRTP_OUT) < 0:
                raise ValueError(f"bad keys for {suite}")

    def __dealloc__(self):
        srtp_engine_destroy(self.engine)
        free(self.contexts)
        free(self.packets)

    cdef inline srtp_ctx *context(self, uint32_t number) noexcept nogil:
        return <srtp_ctx *>(self.contexts + <size_t>SRTP_CTX_SIZE * number)

    cdef uint64_t pass_over(self, uint32_t batch, bint outgoing, int32_t length, int32_t expected) noexcept nogil:
        """All streams once, in batches; ns taken, 0 if any packet was refused."""
        cdef srtp_job jobs[SRTP_BATCH]
        cdef uint32_t first = 0, i, count
        cdef uint64_t started = now()
        while first < self.streams:
            count = min(batch, self.streams - first)
            for i in range(count):
                jobs[i].ctx = self.context(2 * (first + i) + (0 if outgoing else 1))
                jobs[i].buf = self.packets + <size_t>ROOM * (first + i)
                jobs[i].len = length
                jobs[i].cap = ROOM
                store16(jobs[i].buf + 2, self.sequence)
            if outgoing:
                srtp_protect_batch(self.engine, jobs, count)
            else:
                srtp_unprotect_batch(self.engine, jobs, count)
            for i in range(count):
                if jobs[i].len != expected:
                    return 0
            first += count
        return now() - started

    def run(self, batch: int, tag: int, seconds: float) -> tuple[float, float]:
        """ns per packet of (protect, unprotect) in batches of `batch`: the median of the passes made in `seconds`."""
        cdef uint64_t end = now() + <uint64_t>(seconds * 1e9)
        cdef uint64_t sealed, opened
        cdef uint32_t i
        cdef list protect = [], unprotect = []
        while now() < end or len(protect) < 5:
            self.sequence += 1
            for i in range(self.streams):
                refill(self.packets + <size_t>ROOM * i, i, self.sequence)
            sealed = self.pass_over(batch, True, PACKET, PACKET + tag)
            opened = self.pass_over(batch, False, PACKET + tag, PACKET)
            if sealed == 0 or opened == 0:
                raise AssertionError("a packet was refused")
            protect.append(sealed)
            unprotect.append(opened)
        protect.sort()
        unprotect.sort()
        return protect[len(protect) // 2] / self.streams, unprotect[len(unprotect) // 2] / self.streams


def run_foreign(function: int, sessions: list[int], seconds: float) -> float:
    """ns per packet of a C function (session *, packet *, int *length) -> 0, each session with its own packet; the median pass."""
    cdef uint64_t end = now() + <uint64_t>(seconds * 1e9)
    cdef foreign_protect protect = <foreign_protect><void *><uintptr_t>function
    cdef uint32_t i, count = len(sessions), bad = 0
    cdef uint16_t sequence = 0
    cdef uint64_t started
    cdef int length
    cdef list passes = []
    cdef uint8_t *packets = <uint8_t *>aligned_alloc(64, <size_t>ROOM * count)
    cdef uintptr_t *pointers = <uintptr_t *>aligned_alloc(64, (sizeof(uintptr_t) * <size_t>count + 63) & ~<size_t>63)
    if packets == NULL or pointers == NULL:
        raise MemoryError
    for i in range(count):
        pointers[i] = sessions[i]
    while now() < end or len(passes) < 5:
        sequence += 1
        for i in range(count):
            refill(packets + <size_t>ROOM * i, i, sequence)
        started = now()
        for i in range(count):
            length = PACKET
            bad += protect(<void *>pointers[i], packets + <size_t>ROOM * i, &length) != 0
        passes.append(now() - started)
    free(packets)
    free(pointers)
    if bad:
        raise AssertionError("a packet was refused")
    passes.sort()
    return passes[len(passes) // 2] / count
