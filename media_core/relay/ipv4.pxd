# IPv4 and UDP headers, for the socket that hears and sends whole packets.
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    IPV4_HEADERS = 20 + 8       # what ipv4_write puts before the payload

cdef struct Datagram:
    uint8_t source[8]           # the beginning of a sockaddr_in: family, port, address
    uint32_t destination        # as it stands in the packet
    uint16_t port               # of the destination
    uint8_t *data               # the payload, within the packet
    uint32_t length

cdef bint ipv4_read(uint8_t *packet, uint32_t length, Datagram *into) noexcept nogil
cdef void ipv4_write(uint8_t *data, uint32_t length, uint32_t here, uint16_t port, const uint8_t *there) noexcept nogil
