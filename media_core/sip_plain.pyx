"""What a call needs of a SIP message that is written the plain way, read straight from the received bytes (RFC 3261 §25.1).

The plain way is a part of the grammar that has one spelling: written again by sip/uri and sip/message it is the same text. Nearly
every phone writes so. Names and hosts are in lower case, nothing is escaped, folded or listed twice, parameters are tokens, a display
name is a quoted string without escapes or plain words, one Via entry. Of such a message everything a transaction and a dialog rely
on is checked and read here in one go; a message or address written otherwise gives None and is for the reader that knows the whole
grammar. Both readers agree on all that is plain: tests/sip/test_plain.py holds them against each other.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy

from media_core.sip_scan cimport MAX_IDS, Scan, field, span

from media_core.sip_scan import IDS

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)
    void* PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

cdef enum:
    MAX_PARAMETERS = 8
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

cdef int VIA = IDS["Via"], FROM = IDS["From"], TO = IDS["To"], CALL_ID = IDS["Call-ID"], CSEQ = IDS["CSeq"]
cdef int MAX_FORWARDS = IDS["Max-Forwards"], CONTENT_LENGTH = IDS["Content-Length"], RECORD_ROUTE = IDS["Record-Route"]
cdef uint8_t AT_MOST_ONE[MAX_IDS]
cdef int SINGLES = 0


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
        if alnum or letter in "-.!%*_+`'~":
            KIND[i] |= TOKEN | WORD
    KIND[32] |= WORD

fill_tables()


def once(names):
    """Say of which header fields a plain message has one at most; sip/message knows them."""
    global SINGLES
    SINGLES = 0
    for name in names:
        AT_MOST_ONE[SINGLES] = IDS[name]
        SINGLES += 1


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


# ---- to Python
cdef inline str text_of(const uint8_t* p, const span* part):
    return PyUnicode_DecodeUTF8(<const char*> p + part.start, part.size, b"surrogateescape")


cdef dict params_of(const uint8_t* p, const parameters* found):
    cdef int k
    cdef dict made = {}
    for k in range(found.count):
        made[text_of(p, &found.each[k].name)] = text_of(p, &found.each[k].value) if found.each[k].value.size else ""
    return made


cdef tuple uri_of(const uint8_t* p, const plain_uri* uri):
    return text_of(p, &uri.scheme), text_of(p, &uri.user), text_of(p, &uri.host), uri.port, params_of(p, &uri.params)


cdef tuple via_of(const uint8_t* p, const plain_via* via):
    return text_of(p, &via.transport).upper(), text_of(p, &via.host), via.port, params_of(p, &via.params)


cdef inline const uint8_t* ascii(str text, int* size):
    """The characters of a text that has no others; NULL for one that has."""
    if not PyUnicode_IS_ASCII(text) or PyUnicode_GET_LENGTH(text) > 65535:
        return NULL
    size[0] = <int> PyUnicode_GET_LENGTH(text)
    return <const uint8_t*> PyUnicode_DATA(text)


def split_uri(str text not None):
    """(scheme, user, host, port, params) of a plain SIP URI, None for another one."""
    cdef plain_uri found
    cdef int size = 0
    cdef const uint8_t* p = ascii(text, &size)
    if p is NULL or read_uri(p, 0, size, &found) != size:
        return None
    return uri_of(p, &found)


def split_address(str text not None):
    """(what split_uri gives, display name, params) of a plain name-addr, None for another one."""
    cdef plain_address found
    cdef int size = 0
    cdef const uint8_t* p = ascii(text, &size)
    if p is NULL or not read_address(p, 0, size, &found):
        return None
    return uri_of(p, &found.uri), text_of(p, &found.display).strip(), params_of(p, &found.params)


def split_via(str text not None):
    """(transport, host, port, params) of a plain Via entry, None for another one."""
    cdef plain_via found
    cdef int size = 0
    cdef const uint8_t* p = ascii(text, &size)
    if p is NULL or not read_via(p, 0, size, &found):
        return None
    return via_of(p, &found)


cdef inline field* only(Scan scan, int id) noexcept:
    """The one field with this id; NULL when there is none, several or a folded one."""
    cdef field* f
    if scan.count_of[id] != 1:
        return NULL
    f = &scan.fields[scan.first_of[id] - 1]
    return NULL if f.folded else f


cdef bint small_number(Scan scan, int id, int digits, long long most, long long* value) noexcept:
    """A field that may be missing (value as it was) and else is a plain number."""
    cdef field* f
    if scan.count_of[id] == 0:
        return True
    f = only(scan, id)
    cdef const uint8_t* p = <const uint8_t*> PyBytes_AS_STRING(scan.data)
    return f is not NULL and read_number(p, f.value, f.value + f.value_size, digits, value) == f.value + f.value_size and value[0] <= most


def head(Scan scan not None):
    """(Via as transport, host, port, params; Call-ID; CSeq as number, method; From tag; To tag; octets of the body) of a plain
    message, None for another one. A request has a plain Request-URI too, its method is the CSeq's, and From has a tag where a
    branch is RFC 3261's."""
    cdef const uint8_t* p = <const uint8_t*> PyBytes_AS_STRING(scan.data)
    cdef field* via_field = only(scan, VIA)
    cdef field* from_field = only(scan, FROM)
    cdef field* to_field = only(scan, TO)
    cdef field* call_id = only(scan, CALL_ID)
    cdef field* cseq = only(scan, CSEQ)
    cdef plain_via via
    cdef plain_address from_, to
    cdef plain_uri uri
    cdef span method
    cdef long long number = 0, hops = 70, length = PyBytes_GET_SIZE(scan.data) - scan.body_start, there = length
    cdef int k
    if via_field is NULL or from_field is NULL or to_field is NULL or call_id is NULL or cseq is NULL:
        return None
    for k in range(SINGLES):
        if scan.count_of[AT_MOST_ONE[k]] > 1:
            return None
    if not is_text(p, &scan.line[0 if scan.is_response else 2], b"SIP/2.0", 7):
        return None
    if not read_via(p, via_field.value, via_field.value + via_field.value_size, &via):
        return None
    if not read_address(p, from_field.value, from_field.value + from_field.value_size, &from_):
        return None
    if not read_address(p, to_field.value, to_field.value + to_field.value_size, &to):
        return None
    if not small_number(scan, MAX_FORWARDS, 3, 255, &hops) or not small_number(scan, CONTENT_LENGTH, 6, there, &length):
        return None
    for k in range(call_id.value, call_id.value + call_id.value_size):
        if p[k] <= 32 or p[k] >= 127:
            return None
    if not 0 < call_id.value_size <= MAX_TAG:
        return None
    if not read_cseq(p, cseq.value, cseq.value + cseq.value_size, &number, &method):
        return None
    if scan.is_response:
        if not 49 <= p[scan.line[1].start] <= 54:
            return None
    else:
        if not is_text(p, &method, <const char*> p + scan.line[0].start, scan.line[0].size):
            return None
        if read_uri(p, scan.line[1].start, scan.line[1].start + scan.line[1].size, &uri) != <int> (scan.line[1].start + scan.line[1].size):
            return None
        if from_.tag.size == 0 and via.branch >= 0 and via.params.each[via.branch].value.size >= 7:
            return None
    cdef span id
    mark(&id, call_id.value, call_id.value + call_id.value_size)
    return (
        via_of(p, &via),
        text_of(p, &id),
        (number, text_of(p, &method)),
        text_of(p, &from_.tag),
        text_of(p, &to.tag),
        length,
    )


# ---- writing
def stamped_via(Scan scan not None, str host not None, int port):
    """The value of the topmost Via of a plain message with the address it came from (RFC 3261 §18.2.1, RFC 3581 §4): rport where it
    was asked for, received where it differs from sent-by or rport was asked for. None where either is there already."""
    cdef const uint8_t* p = <const uint8_t*> PyBytes_AS_STRING(scan.data)
    cdef field* f = only(scan, VIA)
    cdef plain_via via
    cdef int middle
    if f is NULL or not read_via(p, f.value, f.value + f.value_size, &via) or via.received >= 0:
        return None
    cdef bytes value = scan.data[f.value:f.value + f.value_size]
    if via.rport < 0:
        return value if text_of(p, &via.host) == host.lower() else b"%b;received=%b" % (value, host.encode())
    if via.params.each[via.rport].value.size:
        return None
    middle = via.params.each[via.rport].name.start + 5 - f.value
    return b"%b=%d%b;received=%b" % (value[:middle], port, value[middle:], host.encode())


cdef inline char* put(char* at, const void* from_, Py_ssize_t size) noexcept nogil:
    memcpy(at, from_, size)
    return at + size


cdef struct echoed:
    const char* name
    int size
    int id

cdef echoed ECHOED[5]
ECHOED[0] = echoed(b"Record-Route: ", 14, RECORD_ROUTE)
ECHOED[1] = echoed(b"From: ", 6, FROM)
ECHOED[2] = echoed(b"To: ", 4, TO)
ECHOED[3] = echoed(b"Call-ID: ", 9, CALL_ID)
ECHOED[4] = echoed(b"CSeq: ", 6, CSEQ)


def echo(Scan scan not None, bytes via not None, bytes tag not None, bint routes):
    """What an answer repeats of a plain request, as lines (RFC 3261 §8.2.6.2): Via as given, Record-Route with `routes`, From, To with
    `tag` behind it, Call-ID, CSeq. None when a line of it is folded."""
    cdef const char* p = PyBytes_AS_STRING(scan.data)
    cdef Py_ssize_t size = 5 + PyBytes_GET_SIZE(via) + 2 + PyBytes_GET_SIZE(tag)
    cdef int k, i
    cdef field* f
    for k in range(0 if routes else 1, 5):
        for i in range(scan.count):
            f = &scan.fields[i]
            if f.id == ECHOED[k].id:
                if f.folded:
                    return None
                size += ECHOED[k].size + f.value_size + 2
    cdef bytes made = PyBytes_FromStringAndSize(NULL, size)
    cdef char* at = PyBytes_AS_STRING(made)
    at = put(at, b"Via: ", 5)
    at = put(at, PyBytes_AS_STRING(via), PyBytes_GET_SIZE(via))
    at = put(at, b"\r\n", 2)
    for k in range(0 if routes else 1, 5):
        for i in range(scan.count):
            f = &scan.fields[i]
            if f.id == ECHOED[k].id:
                at = put(at, ECHOED[k].name, ECHOED[k].size)
                at = put(at, p + f.value, f.value_size)
                if f.id == TO:
                    at = put(at, PyBytes_AS_STRING(tag), PyBytes_GET_SIZE(tag))
                at = put(at, b"\r\n", 2)
    return made
