"""STUN on the SIP port: a phone with "outbound" asks where its packets come from, and keeps its NAT's binding so (RFC 5626 §4.4.2, §8).

Binding requests with the magic cookie (RFC 5389) are answered, nothing else; there are no credentials and no state. An answer is
the header and one attribute, with FINGERPRINT when the request had it: 24 octets more than the shortest request over IPv6 at most, so
nobody makes a worthwhile flood of it.
"""

from libc.stdint cimport uint16_t
from libc.string cimport memcpy

from media_core.relay.rtp cimport load16, store16
from media_core.flows.flow_table cimport endpoint_set

cdef enum:
    REQUEST = 0x0001            # binding
    SUCCESS = 0x0101
    ERROR = 0x0111
    HEADER = 20
    LONGEST = 548               # RFC 5389 §7.1: what passes everywhere in one piece
    MUST_KNOW = 0x8000          # attributes below have to be understood
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008  # not for us: we give our answer to everybody
    XOR_MAPPED_ADDRESS = 0x0020
    FINGERPRINT = 0x8028
    MOST_UNKNOWN = 4            # told of

cdef uint32_t COOKIE = 0x2112A442
cdef uint32_t FINGERPRINT_XOR = 0x5354554E
cdef uint32_t CRC_POLYNOMIAL = 0xEDB88320


cdef uint32_t load32(const uint8_t *bytes) noexcept nogil:
    return <uint32_t>load16(bytes) << 16 | load16(bytes + 2)


cdef void store32(uint8_t *bytes, uint32_t value) noexcept nogil:
    store16(bytes, value >> 16)
    store16(bytes + 2, value & 0xFFFF)


cdef uint32_t fingerprint(const uint8_t *bytes, uint32_t count) noexcept nogil:
    """RFC 5389 §15.5: the CRC-32 of ITU V.42 of what stands before, with a constant."""
    cdef uint32_t crc = 0xFFFFFFFF, at
    cdef int bit
    for at in range(count):
        crc ^= bytes[at]
        for bit in range(8):
            crc = crc >> 1 ^ (CRC_POLYNOMIAL if crc & 1 else <uint32_t>0)
    return ~crc ^ FINGERPRINT_XOR


cdef bint stun_is_request(const uint8_t *bytes, uint32_t count) noexcept nogil:
    return (HEADER <= count <= LONGEST and count % 4 == 0 and load16(bytes) == REQUEST and load16(bytes + 2) == count - HEADER
            and load32(bytes + 4) == COOKIE)


cdef uint32_t add_address(uint8_t *into, const Endpoint *remote) noexcept nogil:
    """XOR-MAPPED-ADDRESS (RFC 5389 §15.2) behind the header `into` begins with, whose cookie and transaction it is mixed with."""
    cdef uint8_t *at = into + HEADER
    cdef uint32_t size = 4 if remote.length == 16 else 16, n
    cdef const uint8_t *address = remote.address + (4 if size == 4 else 8)
    store16(at, XOR_MAPPED_ADDRESS)
    store16(at + 2, 4 + size)
    store16(at + 4, 1 if size == 4 else 2)
    store16(at + 6, load16(remote.address + 2) ^ COOKIE >> 16)
    for n in range(size):
        at[8 + n] = address[n] ^ into[4 + n]
    return 8 + size


cdef uint32_t add_unknown(uint8_t *into, const uint16_t *unknown, uint32_t count) noexcept nogil:
    """ERROR-CODE 420 and the attributes we do not know (RFC 5389 §15.6, §15.9), padded by repeating the last."""
    cdef uint8_t *at = into + HEADER
    cdef uint32_t n, padded = (count + 1) & ~1
    store16(at, ERROR_CODE)
    store16(at + 2, 4)
    store32(at + 4, 4 << 8 | 20)
    store16(at + 8, UNKNOWN_ATTRIBUTES)
    store16(at + 10, 2 * count)
    for n in range(padded):
        store16(at + 12 + 2 * n, unknown[min(n, count - 1)])
    return 12 + 2 * padded


cdef uint32_t stun_answer(const uint8_t *request, uint32_t count, const Endpoint *remote, uint8_t *into) noexcept nogil:
    """The answer to what stun_is_request; `into` has STUN_ANSWER bytes. 0: malformed, or damaged on the way: none."""
    cdef uint16_t unknown[MOST_UNKNOWN]
    cdef uint32_t at = HEADER, strange = 0, length, size
    cdef uint16_t kind
    cdef bint signed = False
    while at + 4 <= count:
        kind, size = load16(request + at), load16(request + at + 2)
        if signed or at + 4 + size > count:
            return 0
        if kind == FINGERPRINT:
            if size != 4 or load32(request + at + 4) != fingerprint(request, at):
                return 0
            signed = True
        elif kind < MUST_KNOW and kind not in (USERNAME, MESSAGE_INTEGRITY) and strange < MOST_UNKNOWN:
            unknown[strange] = kind
            strange += 1
        at += 4 + ((size + 3) & ~3)
    memcpy(into, request, HEADER)
    store16(into, ERROR if strange else SUCCESS)
    length = HEADER + (add_unknown(into, unknown, strange) if strange else add_address(into, remote))
    if signed:
        store16(into + 2, length + 8 - HEADER)
        store16(into + length, FINGERPRINT)
        store16(into + length + 2, 4)
        store32(into + length + 4, fingerprint(into, length))
        length += 8
    store16(into + 2, length - HEADER)
    return length


# ---- for tests ------------------------------------------------------------------------------------------------------

def answer(bytes request not None, str host, int port):
    """What a request from there is answered with; None: nothing."""
    cdef const uint8_t *place = request
    cdef uint8_t into[STUN_ANSWER]
    cdef Endpoint remote
    cdef uint32_t length
    endpoint_set(&remote, host, port)
    if not stun_is_request(place, <uint32_t>len(request)):
        return None
    length = stun_answer(place, <uint32_t>len(request), &remote, into)
    return into[:length] if length else None
