# C face of the SIP scanner: spans into one received message, no copies.
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    MAX_MESSAGE = 65535   # bytes of a whole message
    MAX_HEAD_LINE = 8192  # bytes of one header field with its continuation lines
    MAX_NAME = 256        # bytes of a header name
    MAX_FIELDS = 100      # header fields of a message
    MAX_IDS = 64          # known header names (ids are 1-based; 0 is an unknown name)

cdef enum scan_status:
    SCAN_OK = 0
    SCAN_TOO_LARGE = -1
    SCAN_NO_END = -2
    SCAN_LINE_END = -3
    SCAN_NUL = -4
    SCAN_START_LINE = -5
    SCAN_NAME = -6
    SCAN_TOO_MANY = -7
    SCAN_FIELD_TOO_LONG = -8
    SCAN_EMPTY = -9

cdef struct span:
    uint32_t start
    uint32_t size

cdef struct field:
    uint32_t name
    uint32_t value
    uint16_t name_size
    uint16_t value_size
    uint8_t id
    uint8_t folded

cdef class Scan:
    cdef readonly bytes data
    cdef span line[3]           # the three parts of the start line
    cdef field fields[MAX_FIELDS]
    cdef uint8_t first_of[MAX_IDS]  # index of the first field with this id, plus one
    cdef uint8_t count_of[MAX_IDS]
    cdef int count
    cdef readonly int body_start
    cdef readonly bint is_response
    cdef str _text(self, unsigned int start, unsigned int size)
    cdef str _value(self, int index)
