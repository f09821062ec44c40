"""IPv4 and UDP headers (RFC 791, 768): read from whole packets, and written before a payload.

What the kernel gives a raw socket has passed its own checks of the IPv4 header and is in one piece; lengths are checked here all
the same. A datagram without a payload is one. The UDP checksum of what comes in is not looked at: the link has its own, and a
packet that never left this machine has none yet.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from media_core.relay.rtp cimport load16 as read16, store16 as write16

cdef extern from "<sys/socket.h>" nogil:
    enum: AF_INET

cdef enum:
    UDP = 17
    EXPEDITED = 46 << 2         # DSCP EF (RFC 4594): voice
    DONT_FRAGMENT = 0x40
    HOPS = 64


cdef bint ipv4_read(uint8_t *packet, uint32_t length, Datagram *into) noexcept nogil:
    """False: not a UDP datagram, or not a whole one."""
    cdef uint32_t header, size
    cdef uint16_t family = AF_INET
    if length < IPV4_HEADERS or packet[0] >> 4 != 4 or packet[9] != UDP:
        return False
    header = 4 * (packet[0] & 15)
    if header < 20 or length < header + 8:
        return False
    size = read16(packet + header + 4)
    if size < 8 or header + size > length:
        return False
    memcpy(into.source, &family, 2)
    memcpy(into.source + 2, packet + header, 2)
    memcpy(into.source + 4, packet + 12, 4)
    memcpy(&into.destination, packet + 16, 4)
    into.port = read16(packet + header + 2)
    into.data = packet + header + 8
    into.length = size - 8
    return True


cdef uint16_t checksum(const uint8_t *udp, uint32_t length, uint64_t total) noexcept nogil:
    """RFC 1071 over a datagram; `total` is the sum of the pseudo header (RFC 768). 0 would mean that there is none."""
    cdef uint32_t at = 0, word
    cdef uint16_t half
    while at + 4 <= length:
        memcpy(&word, udp + at, 4)
        total += word
        at += 4
    if at + 2 <= length:
        memcpy(&half, udp + at, 2)
        total += half
        at += 2
    if at < length:
        total += udp[at]
    total = <uint32_t>total + (total >> 32)
    total = (total & 0xFFFF) + (total >> 16 & 0xFFFF) + (total >> 32)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    half = <uint16_t>~total
    return half if half else 0xFFFF


cdef void ipv4_write(uint8_t *data, uint32_t length, uint32_t here, uint16_t port, const uint8_t *there) noexcept nogil:
    """Headers into the IPV4_HEADERS octets before `data`. here, port: as they stand in a packet; there: a sockaddr_in. The kernel completes
    length and checksum of the IPv4 header (raw(7)); of a datagram that is never in pieces the identification means nothing (RFC 6864), but
    0 would ask the kernel for one."""
    cdef uint8_t *ip = data - IPV4_HEADERS
    cdef uint8_t *udp = data - 8
    cdef uint32_t size = length + 8, to
    cdef uint16_t total
    memset(ip, 0, IPV4_HEADERS)
    memcpy(&to, there + 4, 4)
    ip[0], ip[1], ip[5], ip[6], ip[8], ip[9] = 0x45, EXPEDITED, 1, DONT_FRAGMENT, HOPS, UDP
    memcpy(ip + 12, &here, 4)
    memcpy(ip + 16, &to, 4)
    memcpy(udp, &port, 2)
    memcpy(udp + 2, there + 2, 2)
    write16(udp + 4, <uint16_t>size)
    total = checksum(udp, size, <uint64_t>here + to + (<uint64_t>UDP << 8) + (<uint64_t>(size & 0xFF) << 8 | size >> 8))
    memcpy(udp + 6, &total, 2)
