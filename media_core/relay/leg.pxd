# The leg table from the worker's side: bringing a leg up to its Config, and the small questions asked of one for every packet.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from media_core.shared.abi cimport Config, ConfigBlock, Endpoint, Leg
from media_core.relay.relay cimport Worker

cdef extern from "<sys/socket.h>" nogil:
    enum: AF_INET

cdef bint read_config(ConfigBlock *block, Config *into, uint32_t *version) noexcept nogil
cdef void apply_config(Worker *worker, uint32_t index) noexcept nogil
cdef void adopt_legs(Worker *worker) noexcept nogil
cdef void take_commands(Worker *worker) noexcept nogil
cdef void leg_connect(Worker *worker, uint32_t index, Leg *leg) noexcept nogil
cdef void leg_release(Worker *worker, uint32_t index, Leg *leg, uint8_t then) noexcept nogil


cdef inline uint64_t leg_id(const Leg *leg, uint32_t index) noexcept nogil:
    return <uint64_t>leg.generation << 32 | index

cdef inline uint16_t family(const uint8_t *address) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, address, 2)
    return value

cdef inline bint same_host(const Endpoint *known, const uint8_t *source) noexcept nogil:
    if known.length == 0 or family(known.address) != family(source):
        return False
    if family(source) == AF_INET:
        return memcmp(known.address + 4, source + 4, 4) == 0
    return memcmp(known.address + 8, source + 8, 16) == 0

cdef inline bint same_endpoint(const Endpoint *known, const uint8_t *source) noexcept nogil:
    cdef uint64_t a, b
    if known.length == 16:  # sockaddr_in: family, port and address are its first eight bytes
        memcpy(&a, known.address, 8)
        memcpy(&b, source, 8)
        return a == b
    return same_host(known, source) and memcmp(known.address + 2, source + 2, 2) == 0

cdef inline bint known_host(const Leg *leg, const uint8_t *source) noexcept nogil:
    return same_host(&leg.source, source) or same_host(&leg.announced, source) or same_host(&leg.signalling, source)

cdef inline void take_endpoint(Endpoint *known, const uint8_t *source) noexcept nogil:
    memset(known.address, 0, 28)
    if family(source) == AF_INET:
        memcpy(known.address, source, 8)
        known.length = 16
    else:
        memcpy(known.address, source, 28)
        known.length = 28
