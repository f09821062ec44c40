# Where a leg's media is taken from and goes to.
from libc.stdint cimport uint32_t

from media_core.shared.abi cimport Leg
from media_core.relay.relay cimport Packet, Worker

cdef bint latch_admits(const Worker *worker, const Packet *packet, const Leg *leg) noexcept nogil
cdef bint latch_take(Worker *worker, const Packet *packet, Leg *leg) noexcept nogil
cdef void latch_lock(Worker *worker, const Packet *packet, Leg *leg) noexcept nogil
cdef void latch_rtcp(Worker *worker, const Packet *packet, Leg *leg) noexcept nogil
cdef void latch_look_after(Worker *worker, uint32_t index, Leg *leg) noexcept nogil
