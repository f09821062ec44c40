from libc.stdint cimport uint32_t, uint64_t

from media_core.shared.abi cimport Leg
from media_core.relay.relay cimport Packet, Worker

cdef bint notice_key(Leg *leg, uint64_t now) noexcept nogil
cdef void notice_forged(Worker *worker, const Packet *packet, Leg *leg) noexcept nogil
cdef void notice_leg(Worker *worker, Leg *leg, uint32_t index) noexcept nogil
