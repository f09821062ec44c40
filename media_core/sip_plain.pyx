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

include "sip_grammar.pxi"

cdef int VIA = IDS["Via"], FROM = IDS["From"], TO = IDS["To"], CALL_ID = IDS["Call-ID"], CSEQ = IDS["CSeq"]
cdef int MAX_FORWARDS = IDS["Max-Forwards"], CONTENT_LENGTH = IDS["Content-Length"], RECORD_ROUTE = IDS["Record-Route"]
cdef uint8_t AT_MOST_ONE[MAX_IDS]
cdef int SINGLES = 0



def once(names):
    """Say of which header fields a plain message has one at most; sip/message knows them."""
    global SINGLES
    SINGLES = 0
    for name in names:
        AT_MOST_ONE[SINGLES] = IDS[name]
        SINGLES += 1


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


def split_credentials(str text not None):
    """The parameters of a plain list `name=value, name="value"` as Digest has them, None for another one."""
    cdef int size = 0, at = 0, start, stop
    cdef const uint8_t* p = ascii(text, &size)
    cdef dict made = {}
    cdef span name, value
    if p is NULL:
        return None
    while at < size:
        stop = run(p, at, size, LABEL)
        if stop == at or stop + 1 >= size or p[stop] != 61:
            return None
        mark(&name, at, stop)
        at = start = stop + 1
        if p[at] == 34:
            start = at = at + 1
            while at < size and 32 <= p[at] < 127 and p[at] != 34 and p[at] != 92:
                at += 1
            if at >= size or p[at] != 34:
                return None
            mark(&value, start, at)
            at += 1
        else:
            at = run(p, at, size, TOKEN)
            if at == start:
                return None
            mark(&value, start, at)
        key = text_of(p, &name)
        if key in made or len(made) >= MAX_CREDENTIALS:
            return None
        made[key] = text_of(p, &value)
        if at < size:
            if p[at] != 44:
                return None
            at += 1
            while at < size and p[at] == 32:
                at += 1
            if at == size:
                return None
    return made


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


cdef inline bint breaks(const char* p, Py_ssize_t size) noexcept:
    return memchr(p, 13, size) is not NULL or memchr(p, 10, size) is not NULL or memchr(p, 0, size) is not NULL


def lines(list headers not None):
    """Header fields, (name, value) each, as lines; None when one is not ASCII or would be more than one line."""
    cdef Py_ssize_t size = 0
    cdef tuple pair
    cdef str name, value
    cdef char* at
    for pair in headers:
        name, value = pair
        if not PyUnicode_IS_ASCII(name) or not PyUnicode_IS_ASCII(value):
            return None
        if breaks(<const char*> PyUnicode_DATA(name), len(name)) or breaks(<const char*> PyUnicode_DATA(value), len(value)):
            return None
        size += len(name) + len(value) + 4
    cdef bytes made = PyBytes_FromStringAndSize(NULL, size)
    at = PyBytes_AS_STRING(made)
    for pair in headers:
        name, value = pair
        at = put(at, PyUnicode_DATA(name), len(name))
        at = put(at, b": ", 2)
        at = put(at, PyUnicode_DATA(value), len(value))
        at = put(at, b"\r\n", 2)
    return made
