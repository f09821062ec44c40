"""The SIP message scanner: finds the start line and the header fields of one received message (RFC 3261 §7, §25.1).

It copies nothing: a Scan holds offsets into the received bytes, ids of the known header names (compact forms included), and
makes a Python string only of the value somebody asks for. It knows grammar down to "name: value" and no further.

One canonical form, so that no two readers of a message can disagree (CVE-2020-28361 class):
- a line ends in CRLF; a bare CR or LF anywhere in the head, or a NUL, refuses the message;
- a name is a token; blanks between name and colon are allowed by the RFC and are not part of the name;
- continuation lines are joined by one space, blanks around a value are not part of it;
- bounds: message 65,535 bytes, header field 8,192, name 256, 100 fields.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memchr, memcpy, memset

# Canonical name and compact form (RFC 3261 §7.3.3 and the IANA registry). The place in the list gives the id.
HEADERS = (
    ("Via", "v"), ("From", "f"), ("To", "t"), ("Call-ID", "i"), ("CSeq", ""), ("Contact", "m"), ("Max-Forwards", ""),
    ("Content-Length", "l"), ("Content-Type", "c"), ("Route", ""), ("Record-Route", ""), ("Expires", ""), ("Require", ""),
    ("Supported", "k"), ("Allow", ""), ("Authorization", ""), ("Proxy-Authorization", ""), ("WWW-Authenticate", ""),
    ("Proxy-Authenticate", ""), ("Authentication-Info", ""), ("User-Agent", ""), ("Server", ""), ("Reason", ""),
    ("Session-Expires", "x"), ("Min-SE", ""), ("Refer-To", "r"), ("Referred-By", "b"), ("Replaces", ""), ("Event", "o"),
    ("Allow-Events", "u"), ("Subscription-State", ""), ("Subject", "s"), ("RAck", ""), ("RSeq", ""), ("Timestamp", ""),
    ("P-Asserted-Identity", ""), ("P-Preferred-Identity", ""), ("Remote-Party-ID", ""), ("Privacy", ""), ("Diversion", ""),
    ("History-Info", ""), ("Unsupported", ""), ("Proxy-Require", ""), ("Accept", ""), ("Accept-Contact", "a"),
    ("Reject-Contact", "j"), ("Request-Disposition", "d"), ("Identity", "y"), ("Content-Encoding", "e"), ("Warning", ""),
    ("Retry-After", ""), ("Alert-Info", ""), ("Call-Info", ""), ("Path", ""), ("Service-Route", ""), ("Date", ""),
    ("Min-Expires", ""), ("Content-Disposition", ""), ("In-Reply-To", ""), ("MIME-Version", ""), ("Allow-Refer", ""),
)

IDS = {name: index + 1 for index, (name, _) in enumerate(HEADERS)}
assert len(HEADERS) < MAX_IDS

cdef uint8_t TOKEN[256]       # characters of a token (RFC 3261 §25.1)
cdef uint8_t LOWER[256]
cdef uint8_t COMPACT[256]     # compact letter -> id
cdef uint8_t CHAIN_HEAD[256]  # hash of a name -> id
cdef uint8_t CHAIN_NEXT[MAX_IDS]
cdef uint8_t NAME_SIZE[MAX_IDS]
cdef char NAME_LOWER[MAX_IDS][32]
cdef list NAMES = [""] + [name for name, _ in HEADERS]


cdef inline unsigned int name_hash(const uint8_t* p, unsigned int size) noexcept nogil:
    return (size * 37 + LOWER[p[0]] * 7 + LOWER[p[size - 1]]) & 255


cdef void fill_tables():
    cdef int i
    cdef unsigned int h
    cdef bytes low
    memset(CHAIN_HEAD, 0, sizeof(CHAIN_HEAD))
    for i in range(256):
        LOWER[i] = i + 32 if 65 <= i <= 90 else i
        TOKEN[i] = i < 128 and (chr(i).isalnum() or chr(i) in "-.!%*_+`'~")
        COMPACT[i] = 0
    for i, (name, compact) in enumerate(HEADERS, 1):
        low = name.lower().encode()
        NAME_SIZE[i] = len(low)
        memcpy(NAME_LOWER[i], PyBytes_AS_STRING(low), len(low))
        h = name_hash(<const uint8_t*> NAME_LOWER[i], NAME_SIZE[i])
        CHAIN_NEXT[i] = CHAIN_HEAD[h]
        CHAIN_HEAD[h] = i
        if compact:
            COMPACT[ord(compact)] = COMPACT[ord(compact.upper())] = i

fill_tables()


cdef uint8_t name_id(const uint8_t* p, unsigned int size) noexcept nogil:
    cdef uint8_t i
    cdef unsigned int k
    if size == 1:
        return COMPACT[p[0]]
    i = CHAIN_HEAD[name_hash(p, size)]
    while i:
        if NAME_SIZE[i] == size:
            k = 0
            while k < size and LOWER[p[k]] == <uint8_t> NAME_LOWER[i][k]:
                k += 1
            if k == size:
                return i
        i = CHAIN_NEXT[i]
    return 0


cdef inline bint is_blank(uint8_t c) noexcept nogil:
    return c == 32 or c == 9


cdef bint is_sip_version(const uint8_t* p, unsigned int size) noexcept nogil:
    """SIP/digits.digits; which version is for the message layer to judge (505)."""
    cdef unsigned int k = 4
    cdef int dots = 0
    if size < 7 or LOWER[p[0]] != 115 or LOWER[p[1]] != 105 or LOWER[p[2]] != 112 or p[3] != 47:
        return False
    while k < size:
        if p[k] == 46:
            dots += 1
        elif p[k] < 48 or p[k] > 57:
            return False
        k += 1
    return dots == 1 and p[4] != 46 and p[size - 1] != 46


cdef int scan_start_line(Scan self, const uint8_t* p, unsigned int start, unsigned int end) noexcept nogil:
    """`METHOD SP uri SP version` or `version SP 3DIGIT SP reason`, single spaces (RFC 3261 §7.1, §7.2)."""
    cdef const uint8_t* gap = <const uint8_t*> memchr(p + start, 32, end - start)
    cdef unsigned int one, two, k
    if gap is NULL or gap == p + start:
        return SCAN_START_LINE
    one = gap - p
    gap = <const uint8_t*> memchr(p + one + 1, 32, end - one - 1)
    if gap is NULL or gap == p + one + 1:
        return SCAN_START_LINE
    two = gap - p
    self.line[0].start = start
    self.line[0].size = one - start
    self.line[1].start = one + 1
    self.line[1].size = two - one - 1
    self.line[2].start = two + 1
    self.line[2].size = end - two - 1
    if is_sip_version(p + start, one - start):
        self.is_response = True
        if two - one - 1 != 3:
            return SCAN_START_LINE
        for k in range(one + 1, two):
            if p[k] < 48 or p[k] > 57:
                return SCAN_START_LINE
        return SCAN_OK
    for k in range(start, one):
        if not TOKEN[p[k]]:
            return SCAN_START_LINE
    for k in range(one + 1, two):
        if p[k] <= 32 or p[k] == 127:
            return SCAN_START_LINE
    return SCAN_OK if is_sip_version(p + two + 1, end - two - 1) else SCAN_START_LINE


cdef int add_field(Scan self, const uint8_t* p, unsigned int start, unsigned int end, bint folded) noexcept nogil:
    """One header field, its CRLF excluded: p[start:end]."""
    cdef unsigned int k = start, name_end, value
    cdef field* f
    if end - start > MAX_HEAD_LINE:
        return SCAN_FIELD_TOO_LONG
    if self.count == MAX_FIELDS:
        return SCAN_TOO_MANY
    while k < end and TOKEN[p[k]]:
        k += 1
    name_end = k
    while k < end and is_blank(p[k]):
        k += 1
    if name_end == start or name_end - start > MAX_NAME or k == end or p[k] != 58:
        return SCAN_NAME
    value = k + 1
    while value < end and (is_blank(p[value]) or p[value] == 13 or p[value] == 10):
        value += 1
    while end > value and (is_blank(p[end - 1]) or p[end - 1] == 13 or p[end - 1] == 10):
        end -= 1
    f = &self.fields[self.count]
    self.count += 1
    f.name = start
    f.name_size = name_end - start
    f.value = value
    f.value_size = end - value
    f.folded = folded
    f.id = name_id(p + start, name_end - start)
    if self.count_of[f.id] == 0:
        self.first_of[f.id] = self.count
    self.count_of[f.id] += 1
    return SCAN_OK


cdef int scan_head(Scan self, const uint8_t* p, Py_ssize_t size) noexcept nogil:
    cdef unsigned int at = 0, start, end, total = size, lines = 0, feeds = 0, nul = 0, k
    cdef const uint8_t* found
    cdef bint first = True, folded
    cdef int status
    if size > MAX_MESSAGE:
        return SCAN_TOO_LARGE
    while at + 1 < total and p[at] == 13 and p[at + 1] == 10:  # RFC 3261 §7.5: CRLF before the start line is ignored
        at += 2
    if at >= total:
        return SCAN_EMPTY
    start = at
    k = at
    folded = False
    while True:
        found = <const uint8_t*> memchr(p + k, 13, total - k)
        if found is NULL:
            return SCAN_NO_END
        end = found - p
        if end + 1 >= total:
            return SCAN_NO_END
        if p[end + 1] != 10:
            return SCAN_LINE_END
        lines += 1
        if end == start:  # the empty line
            self.body_start = end + 2
            break
        if end + 2 < total and is_blank(p[end + 2]):
            if first:
                return SCAN_START_LINE
            folded = True
            k = end + 2
            if k - start > MAX_HEAD_LINE:
                return SCAN_FIELD_TOO_LONG
            continue
        if first:
            status = scan_start_line(self, p, start, end)
            first = False
        else:
            status = add_field(self, p, start, end, folded)
        if status != SCAN_OK:
            return status
        start = k = end + 2
        folded = False
    if first:
        return SCAN_EMPTY
    for k in range(at, self.body_start):  # compilers make vector code of this
        feeds += p[k] == 10
        nul += p[k] == 0
    if nul:
        return SCAN_NUL
    return SCAN_OK if feeds == lines else SCAN_LINE_END


cdef dict FAILURES = {
    SCAN_TOO_LARGE: (513, "the message is longer than 65535 bytes"),
    SCAN_NO_END: (400, "the header section does not end"),
    SCAN_LINE_END: (400, "a line does not end in CRLF"),
    SCAN_NUL: (400, "NUL in the header section"),
    SCAN_START_LINE: (400, "malformed start line"),
    SCAN_NAME: (400, "malformed header field"),
    SCAN_TOO_MANY: (400, "more than 100 header fields"),
    SCAN_FIELD_TOO_LONG: (400, "a header field is longer than 8192 bytes"),
    SCAN_EMPTY: (400, "no start line"),
}


class ScanError(ValueError):
    """The bytes are no SIP message. `status` is the response code that says so, `scan` what was found before the fault."""

    def __init__(self, status, reason, scan):
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.scan = scan


@cython.final
@cython.freelist(16)
cdef class Scan:
    """Offsets of one message; see the module."""

    cdef str _text(self, unsigned int start, unsigned int size):
        return PyUnicode_DecodeUTF8(PyBytes_AS_STRING(self.data) + start, size, b"surrogateescape")

    cdef str _value(self, int index):
        cdef field* f = &self.fields[index]
        cdef str text = self._text(f.value, f.value_size)
        if f.folded:
            text = " ".join([part.strip(" \t") for part in text.split("\r\n")])
        return text

    def start_line(self):
        """The three parts of the start line."""
        return (
            self._text(self.line[0].start, self.line[0].size),
            self._text(self.line[1].start, self.line[1].size),
            self._text(self.line[2].start, self.line[2].size),
        )

    def first(self, int id):
        """Value of the first field with this id, or None."""
        if id <= 0 or id >= MAX_IDS or self.count_of[id] == 0:
            return None
        return self._value(self.first_of[id] - 1)

    def every(self, int id):
        """Values of all fields with this id, in order."""
        cdef int i
        if id <= 0 or id >= MAX_IDS or self.count_of[id] == 0:
            return []
        return [self._value(i) for i in range(self.count) if self.fields[i].id == id]

    def number_of(self, int id):
        return self.count_of[id] if 0 < id < MAX_IDS else 0

    def named(self, str name):
        """Values of all fields with this name, for names without an id; any case."""
        cdef int i
        cdef str low = name.lower()
        return [
            self._value(i)
            for i in range(self.count)
            if self.fields[i].id == 0 and self._text(self.fields[i].name, self.fields[i].name_size).lower() == low
        ]

    def fields_list(self):
        """(canonical name, value) of every field; an unknown name is given as received."""
        cdef int i
        return [
            (
                NAMES[self.fields[i].id] if self.fields[i].id else self._text(self.fields[i].name, self.fields[i].name_size),
                self._value(i),
            )
            for i in range(self.count)
        ]

    def body(self):
        """What follows the empty line, whatever Content-Length says."""
        return self.data[self.body_start:]


def scan(bytes data not None):
    """Scan one message; ScanError if the bytes are none."""
    cdef Scan self = Scan.__new__(Scan)
    cdef int status
    self.data = data
    self.count = 0
    self.body_start = 0
    self.is_response = False
    memset(self.line, 0, sizeof(self.line))
    memset(self.first_of, 0, sizeof(self.first_of))
    memset(self.count_of, 0, sizeof(self.count_of))
    status = scan_head(self, <const uint8_t*> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    if status != SCAN_OK:
        code, reason = FAILURES[status]
        raise ScanError(code, reason, self)
    return self
