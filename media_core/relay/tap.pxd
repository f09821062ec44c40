# Copies of plain packets for the DSP and the recorder; and G.711 changing its law on the way.
from libc.stdint cimport uint32_t, uint64_t

from media_core.shared.abi cimport Leg
from media_core.relay.relay cimport Packet, Worker

cdef struct Tap:                # id is the leg; the packet follows, in clear
    uint64_t arrival            # ns
    uint32_t sent               # 1: going out on the leg
    uint32_t room

cdef void tap_received(Worker *worker, Packet *packet, Leg *leg) noexcept nogil
cdef void tap_sent(Worker *worker, Packet *packet, Leg *leg) noexcept nogil
cdef void change_law(Packet *packet) noexcept nogil
