# C face of the flat SRTP contexts. A context is a fixed-size, pointer-free record that lives in shared memory.
# Everything here is noexcept nogil and returns a status; errors.pyx turns a status into an exception.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    SRTP_CTX_SIZE = 1536      # bytes reserved per context in the leg table (srtp_ctx must fit)
    SRTP_MAX_TRAILER = 16 + 4 # longest tag plus SRTCP index; a packet buffer keeps this much tail room (MKI not sent)

cdef enum srtp_status:
    SRTP_OK = 0
    SRTP_BAD_PACKET = -1
    SRTP_AUTH_FAILED = -2
    SRTP_REPLAYED = -3
    SRTP_BAD_SUITE = -4
    SRTP_INDEX_EXHAUSTED = -5
