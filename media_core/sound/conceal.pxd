# What is heard in place of lost sound, and sound made shorter without being heard.
from libc.stdint cimport int16_t, uint32_t

cdef enum:
    CONCEAL_HISTORY = 800       # 50 ms at 16 kHz
    CONCEAL_PITCH = 240         # longest pitch period: 15 ms at 16 kHz

cdef struct Concealer:
    uint32_t rate               # 8000 or 16000
    uint32_t lost               # samples concealed in a row
    uint32_t period             # pitch period in samples
    uint32_t cycle              # samples in what is repeated: one to three periods
    uint32_t place              # in it
    float offset                # dies away: from the last sample heard to the first repeated one
    int16_t history[CONCEAL_HISTORY]
    int16_t wave[3 * CONCEAL_PITCH]

cdef void conceal_begin(Concealer *c, uint32_t rate) noexcept nogil
cdef void conceal_heard(Concealer *c, int16_t *samples, int count) noexcept nogil
cdef void conceal_lost(Concealer *c, int16_t *into, int count) noexcept nogil
cdef int shorten(int16_t *samples, int count, uint32_t rate) noexcept nogil
