# RTCP of streams that begin or end here.
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from media_core.shared.abi cimport Leg
from media_core.relay.relay cimport Packet

cdef void report_read(const Packet *packet, Leg *leg, uint64_t now) noexcept nogil
cdef int32_t report_write(Leg *leg, uint64_t now, uint8_t *into, int32_t room) noexcept nogil
cdef void report_taken(Leg *leg, uint64_t now, uint32_t loss, uint32_t jitter, uint32_t last_sr, uint32_t delay) noexcept nogil
