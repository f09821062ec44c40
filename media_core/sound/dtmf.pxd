# DTMF in the sound: found, and made.
from libc.stdint cimport int16_t, uint32_t

cdef extern from "<spandsp.h>" nogil:
    ctypedef struct dtmf_rx_state_t:
        pass

cdef struct Detector:
    dtmf_rx_state_t *state      # NULL: not open
    uint32_t code               # RFC 4733 event + 1 of the key heard now, 0: none
    uint32_t began              # samples since detector_open
    uint32_t samples
    uint32_t ended              # event + 1 of a key that has ended and is not told yet
    uint32_t milliseconds       # how long it was pressed

cdef bint detector_open(Detector *d) noexcept nogil
cdef void detector_close(Detector *d) noexcept nogil
cdef void detector_feed(Detector *d, const int16_t *samples, int count) noexcept nogil
cdef void tone_make(float first, float second, uint32_t start, uint32_t length, uint32_t rate, int16_t *into, int count) noexcept nogil
cdef void digit_tones(uint32_t event, float *first, float *second) noexcept nogil
