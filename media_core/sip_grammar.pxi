# The grammar of the plain way (RFC 3261 section 25.1), in characters and spans of them; included by sip_plain.pyx.

cdef enum:
    MAX_PARAMETERS = 8
    MAX_CREDENTIALS = 20
    MAX_URI = 1024
    MAX_HOST = 255
    MAX_TAG = 255
    MAX_METHOD = 64
    MAX_CSEQ = 2147483647

    # what a character may stand in
    NAME = 1          # name of a parameter
    URI_VALUE = 2     # value of a parameter of a URI
    VALUE = 4         # value of a header's parameter
    USER = 8
    HOST = 16
    ALNUM = 32        # lower case
    DIGIT = 64
    TOKEN = 128
    WORD = 256        # display name without quotes
    LABEL = 512       # name of a parameter of credentials

cdef uint32_t KIND[256]

cdef struct parameter:
    span name
    span value  # size 0: none

cdef struct parameters:
    int count
    parameter each[MAX_PARAMETERS]

cdef struct plain_uri:
    span scheme
    span user
    span host
    int port
    parameters params

cdef struct plain_address:
    span display
    plain_uri uri
    parameters params
    span tag

cdef struct plain_via:
    span transport
    span host
    int port
    parameters params
    int rport     # which parameter, -1: none
    int received
    int branch


cdef void fill_tables():
    cdef int i
    for i in range(33, 127):
        letter = chr(i)
        lower, digit = "a" <= letter <= "z", "0" <= letter <= "9"
        alnum = lower or digit or "A" <= letter <= "Z"
        if lower or digit or letter in "-_.!~*'+":
            KIND[i] |= NAME
        if alnum or letter in "-_.!~*'()[]/:&+$":
            KIND[i] |= URI_VALUE
        if alnum or letter in "-.!%*_+`'~[]:":
            KIND[i] |= VALUE
        if alnum or letter in "-_.!~*'()&=+$,/":
            KIND[i] |= USER
        if lower or digit or letter in "._-":
            KIND[i] |= HOST
        if lower or digit:
            KIND[i] |= ALNUM
        if digit:
            KIND[i] |= DIGIT
        if lower or digit or letter in "-_":
            KIND[i] |= LABEL
        if alnum or letter in "-.!%*_+`'~":
            KIND[i] |= TOKEN | WORD
    KIND[32] |= WORD

fill_tables()


# ---- pieces; each reads p[at:end] and says where it ended, or -1
cdef inline int run(const uint8_t* p, int at, int end, uint32_t kind) noexcept nogil:
    while at < end and KIND[p[at]] & kind:
        at += 1
    return at


cdef inline void mark(span* part, int start, int end) noexcept nogil:
    part.start = start
    part.size = end - start


cdef inline bint is_text(const uint8_t* p, const span* part, const char* text, uint32_t size) noexcept nogil:
    return part.size == size and memcmp(p + part.start, text, size) == 0


cdef int read_number(const uint8_t* p, int at, int end, int digits, long long* value) noexcept nogil:
    """Up to so many digits, the first of several not 0."""
    cdef int stop = run(p, at, end, DIGIT), k
    if stop == at or stop - at > digits or (p[at] == 48 and stop - at > 1):
        return -1
    value[0] = 0
    for k in range(at, stop):
        value[0] = value[0] * 10 + p[k] - 48
    return stop


cdef int read_parameters(const uint8_t* p, int at, int end, uint32_t kind, parameters* found) noexcept nogil:
    """`;name` or `;name=value` as often as there are, no name twice."""
    cdef parameter* one
    cdef int stop, k
    found.count = 0
    while at < end and p[at] == 59:
        if found.count == MAX_PARAMETERS:
            return -1
        one = &found.each[found.count]
        at += 1
        stop = run(p, at, end, NAME)
        if stop == at:
            return -1
        mark(&one.name, at, stop)
        one.value.start = one.value.size = 0
        at = stop
        if at < end and p[at] == 61:
            stop = run(p, at + 1, end, kind)
            if stop == at + 1:
                return -1
            mark(&one.value, at + 1, stop)
            at = stop
        for k in range(found.count):
            if is_text(p, &found.each[k].name, <const char*> p + one.name.start, one.name.size):
                return -1
        found.count += 1
    return at


cdef int read_host(const uint8_t* p, int at, int end, span* host, int* port) noexcept nogil:
    cdef int start = at
    cdef long long number
    if at >= end or not KIND[p[at]] & ALNUM:
        return -1
    at = run(p, at, end, HOST)
    if not KIND[p[at - 1]] & ALNUM and p[at - 1] != 46:
        return -1
    mark(host, start, at)
    port[0] = 0
    if at < end and p[at] == 58:
        at = read_number(p, at + 1, end, 5, &number)
        if at < 0 or not 0 < number < 65536:
            return -1
        port[0] = <int> number
    return at if at - start <= MAX_HOST else -1


cdef int read_uri(const uint8_t* p, int at, int end, plain_uri* uri) noexcept nogil:
    cdef int start = at, stop
    if end - at < 5 or memcmp(p + at, b"sip", 3) != 0:
        return -1
    at += 4 if p[at + 3] == 115 else 3
    mark(&uri.scheme, start, at)
    if p[at] != 58:
        return -1
    at += 1
    uri.user.start = uri.user.size = 0
    stop = run(p, at, end, USER)
    if stop < end and p[stop] == 64:
        if stop == at:
            return -1
        mark(&uri.user, at, stop)
        at = stop + 1
    at = read_host(p, at, end, &uri.host, &uri.port)
    if at < 0:
        return -1
    at = read_parameters(p, at, end, URI_VALUE, &uri.params)
    return at if at - start <= MAX_URI else -1


cdef bint read_address(const uint8_t* p, int at, int end, plain_address* found) noexcept nogil:
    """A whole name-addr with its parameters; the tag is a token that is not too long."""
    cdef int start = at, k
    cdef parameter* one
    if at < end and p[at] == 34:
        at += 1
        while at < end and p[at] != 34:
            if p[at] < 32 or p[at] == 92 or p[at] == 127:
                return False
            at += 1
        mark(&found.display, start + 1, at)
        at += 1
        while at < end and p[at] == 32:
            at += 1
    else:
        at = run(p, at, end, WORD)
        mark(&found.display, start, at)
    if at >= end or p[at] != 60:
        return False
    at = read_uri(p, at + 1, end, &found.uri)
    if at < 0 or at >= end or p[at] != 62:
        return False
    if read_parameters(p, at + 1, end, VALUE, &found.params) != end:
        return False
    found.tag.start = found.tag.size = 0
    for k in range(found.params.count):
        one = &found.params.each[k]
        if is_text(p, &one.name, b"tag", 3):
            if one.value.size == 0 or one.value.size > MAX_TAG:
                return False
            if run(p, one.value.start, one.value.start + one.value.size, TOKEN) != one.value.start + one.value.size:
                return False
            found.tag = one.value
    return True


cdef bint read_cseq(const uint8_t* p, int at, int end, long long* number, span* method) noexcept nogil:
    at = read_number(p, at, end, 10, number)
    if at < 0 or number[0] > MAX_CSEQ or at + 1 >= end or p[at] != 32 or end - at - 1 > MAX_METHOD:
        return False
    mark(method, at + 1, end)
    return run(p, at + 1, end, TOKEN) == end


cdef bint read_via(const uint8_t* p, int at, int end, plain_via* via) noexcept nogil:
    cdef int stop, k
    cdef span* name
    if end - at < 8 or memcmp(p + at, b"SIP/2.0/", 8) != 0:
        return False
    at += 8
    stop = run(p, at, end, TOKEN)
    if stop == at or stop >= end or p[stop] != 32:
        return False
    mark(&via.transport, at, stop)
    at = read_host(p, stop + 1, end, &via.host, &via.port)
    if at < 0 or read_parameters(p, at, end, VALUE, &via.params) != end:
        return False
    via.rport = via.received = via.branch = -1
    for k in range(via.params.count):
        name = &via.params.each[k].name
        if is_text(p, name, b"rport", 5):
            via.rport = k
        elif is_text(p, name, b"received", 8):
            via.received = k
        elif is_text(p, name, b"branch", 6):
            via.branch = k
    return True
