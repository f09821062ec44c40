from libc.stdint cimport uint8_t, uint32_t

from media_core.flows.flow_table cimport Endpoint

cdef enum:
    STUN_ANSWER = 64            # bytes of the longest answer

cdef bint stun_is_request(const uint8_t *bytes, uint32_t count) noexcept nogil
cdef uint32_t stun_answer(const uint8_t *request, uint32_t count, const Endpoint *remote, uint8_t *into) noexcept nogil
