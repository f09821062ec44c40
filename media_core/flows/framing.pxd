from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    FRAME_HEAD_MAX = 16384
    FRAME_BODY_MAX = 65536

cdef enum:  # what frame_next found
    FRAME_MORE = 0          # nothing whole yet: read on
    FRAME_MESSAGE = 1       # frame.length bytes from the beginning are one message
    FRAME_SKIP = 2          # frame.length bytes of CRLF from the beginning are to be thrown away
    FRAME_PING = 3          # as FRAME_SKIP, and they end a ping: answer CRLF
    FRAME_NOISE = -1        # this is not SIP
    FRAME_HEAD_LONG = -2
    FRAME_NO_LENGTH = -3
    FRAME_BAD_LENGTH = -4
    FRAME_BODY_LONG = -5

cdef struct Frame:          # memory between two calls on the same stream; zeroed when the stream begins
    uint32_t scanned        # bytes of the head looked at already
    uint32_t total          # length of the message once its head is known
    uint32_t crlf           # a CRLF was the last thing skipped
    uint32_t length         # result

cdef enum:  # what a message is to who counts the answers owed
    FRAME_REQUEST = 1
    FRAME_FINAL = 2         # a response that ends its transaction
    FRAME_OTHER = 3         # ACK, a provisional response

cdef int frame_kind(const uint8_t *bytes, uint32_t count) noexcept nogil
cdef int frame_next(Frame *frame, const uint8_t *bytes, uint32_t count) noexcept nogil
cdef const char *frame_reason(int status) noexcept nogil
