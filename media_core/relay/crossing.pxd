# Packets on their way from the worker that received them to the one that sends them.
from libc.stdint cimport uint32_t, uint64_t

from media_core.shared.abi cimport LEG_OPEN, LEG_TAKEN, Leg
from media_core.relay.relay cimport Packet, Worker

cdef struct Crossing:           # id is the index of the leg it leaves on; the packet follows, in clear
    uint64_t source             # the leg it came in on
    uint32_t generation         # of the leg it leaves on
    uint32_t khz                # of the packet's timestamps

cdef void cross_out(Worker *worker, const Packet *packet, const Leg *leg) noexcept nogil
cdef void cross_wake(Worker *worker) noexcept nogil
cdef bint cross_in(Worker *worker, Packet *packet, Crossing *crossing) noexcept nogil
cdef bint crossings_wait(const Worker *worker) noexcept nogil

cdef inline bint crossing_wanted(const Crossing *crossing, const Leg *leg) noexcept nogil:
    """Is the leg it leaves on still the one it was sent to, and connected to the one that it came in on?"""
    return (leg.generation == crossing.generation and leg.flags & (LEG_OPEN | LEG_TAKEN) == LEG_OPEN
            and leg.peer == <uint32_t>crossing.source and leg.peer_generation == crossing.source >> 32)
