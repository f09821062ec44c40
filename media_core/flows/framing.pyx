"""Where one SIP message on a stream ends and the next begins (RFC 3261 §18.3, §20.14; keepalive: RFC 5626 §4.4.1).

A head of at most 16 kB up to the empty line, then Content-Length (compact form l) bytes, together at most 68 kB. Content-Length must be there, a plain
decimal number, and the same each time it is repeated: anything else would let two readers disagree about what a message is, so the
stream has to be closed. Between messages CRLF is skipped and a double CRLF is a ping. Whatever the splits of the stream are, the
result is the same; each byte of a head is looked at once.
"""

from libc.string cimport memcmp

from media_core.shared.ring cimport RING_MAX

cdef enum:
    CR = 13
    LF = 10
    SP = 32
    TAB = 9
    COLON = 58


cdef inline bint is_token(uint8_t c) noexcept nogil:
    """RFC 3261 §25.1 token: what a request or status line begins with."""
    return (48 <= c <= 57 or 65 <= c <= 90 or 97 <= c <= 122 or c == 45 or c == 46 or c == 33 or c == 37 or c == 42 or c == 95
            or c == 43 or c == 96 or c == 39 or c == 126)


cdef inline uint8_t lower(uint8_t c) noexcept nogil:
    return c | 32 if 65 <= c <= 90 else c


cdef bint is_content_length(const uint8_t *name, uint32_t length) noexcept nogil:
    cdef const char *full = b"content-length"
    cdef uint32_t i
    if length == 1:
        return lower(name[0]) == 108
    if length != 14:
        return False
    for i in range(14):
        if lower(name[i]) != <uint8_t>full[i]:
            return False
    return True


cdef long line_value(const uint8_t *line, uint32_t length) noexcept nogil:
    """The number a Content-Length line gives; -1: another header; FRAME_BAD_LENGTH. Folded lines are part of `line`."""
    cdef uint32_t colon = 0, end, at, digits = 0
    cdef long value = 0
    while colon < length and line[colon] != COLON:
        colon += 1
    end = colon
    while end and (line[end - 1] == SP or line[end - 1] == TAB):
        end -= 1
    if colon == length or not is_content_length(line, end):
        return -1
    at = colon + 1
    while at < length and (line[at] == SP or line[at] == TAB or line[at] == CR or line[at] == LF):
        at += 1
    while at < length and 48 <= line[at] <= 57:
        value = value * 10 + line[at] - 48
        at += 1
        digits += 1
        if digits > 9:
            return FRAME_BAD_LENGTH
    while at < length and (line[at] == SP or line[at] == TAB or line[at] == CR or line[at] == LF):
        at += 1
    return value if digits and at == length else FRAME_BAD_LENGTH


cdef long content_length(const uint8_t *head, uint32_t length) noexcept nogil:
    """head: from the start line to the empty line, that one included. The length, or a FRAME_ status."""
    cdef uint32_t start = 0, at
    cdef long found = FRAME_NO_LENGTH, value
    cdef bint first = True
    while start < length:
        at = start
        while at + 1 < length:
            if head[at] == CR and head[at + 1] == LF and not (at + 2 < length and (head[at + 2] == SP or head[at + 2] == TAB)):
                break
            at += 1
        if not first:
            value = line_value(head + start, at - start)
            if value == FRAME_BAD_LENGTH or (value >= 0 and found >= 0 and value != found):
                return FRAME_BAD_LENGTH
            if value >= 0:
                found = value
        first = False
        start = at + 2
    return found


cdef int frame_next(Frame *frame, const uint8_t *bytes, uint32_t count) noexcept nogil:
    """Look at the unconsumed bytes of a stream. After FRAME_MESSAGE, _SKIP or _PING drop frame.length bytes and call again."""
    cdef uint32_t at
    cdef long body
    if frame.total == 0:
        if count == 0:
            return FRAME_MORE
        if frame.scanned == 0:
            if bytes[0] == CR:
                if count == 1:
                    return FRAME_MORE
                if bytes[1] != LF:
                    return FRAME_NOISE
                frame.length = 2
                frame.crlf ^= 1
                return FRAME_SKIP if frame.crlf else FRAME_PING
            frame.crlf = 0
            if not is_token(bytes[0]):
                return FRAME_NOISE
        at = frame.scanned
        while at + 3 < count:
            if bytes[at] == CR and bytes[at + 1] == LF and bytes[at + 2] == CR and bytes[at + 3] == LF:
                break
            if bytes[at] == 0:
                return FRAME_NOISE
            at += 1
        if at + 4 > FRAME_HEAD_MAX:
            return FRAME_HEAD_LONG
        frame.scanned = at
        if at + 3 >= count:
            return FRAME_MORE
        body = content_length(bytes, at + 2)
        if body < 0:
            return <int>body
        if body > FRAME_BODY_MAX or at + 4 + body > RING_MAX:
            return FRAME_BODY_LONG
        frame.total = at + 4 + <uint32_t>body
    if count < frame.total:
        return FRAME_MORE
    frame.length = frame.total
    frame.total = frame.scanned = 0
    return FRAME_MESSAGE


cdef int frame_kind(const uint8_t *bytes, uint32_t count) noexcept nogil:
    """By the start line (RFC 3261 §7.1, §7.2); ACK is a request that has no response."""
    if count >= 12 and memcmp(bytes, b"SIP/2.0 ", 8) == 0:
        return FRAME_FINAL if 50 <= bytes[8] <= 54 else FRAME_OTHER
    return FRAME_OTHER if count >= 4 and memcmp(bytes, b"ACK ", 4) == 0 else FRAME_REQUEST


cdef const char *frame_reason(int status) noexcept nogil:
    if status == FRAME_HEAD_LONG:
        return b"head of a message longer than 16 kB"
    if status == FRAME_NO_LENGTH:
        return b"message without Content-Length"
    if status == FRAME_BAD_LENGTH:
        return b"bad Content-Length"
    if status == FRAME_BODY_LONG:
        return b"message too long"
    return b"not SIP"


cdef class Framer:
    """The framing of one stream on its own, for tests: feed(bytes) gives what became whole."""

    cdef Frame frame
    cdef bytes rest

    def __init__(self):
        self.rest = b""

    def feed(self, bytes data):
        """A list of messages (bytes), None for each ping. ValueError: the stream has to be closed, the text says why."""
        cdef int status
        cdef const uint8_t *place
        found = []
        self.rest += data
        while True:
            place = self.rest
            status = frame_next(&self.frame, place, <uint32_t>len(self.rest))
            if status == FRAME_MORE:
                return found
            if status < 0:
                raise ValueError((<bytes>frame_reason(status)).decode())
            if status == FRAME_MESSAGE:
                found.append(self.rest[:self.frame.length])
            elif status == FRAME_PING:
                found.append(None)
            self.rest = self.rest[self.frame.length:]
