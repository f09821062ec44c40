# One RTP stream in, one out, and the RTCP between them.
from libc.stdint cimport uint32_t, uint64_t

from media_core.shared.abi cimport Leg, Losses, Sent
from media_core.relay.relay cimport Packet

cdef bint stream_received(Leg *leg, Packet *packet, uint64_t now) noexcept nogil
cdef bint stream_renumber(Packet *packet, Sent *s, uint64_t now, uint32_t khz) noexcept nogil
cdef bint stream_rtcp_in(Packet *packet, Leg *leg, uint64_t now) noexcept nogil
cdef void stream_rtcp_out(Packet *packet, Leg *out, uint64_t now) noexcept nogil
cdef void stream_end_run(Losses *losses) noexcept nogil
