# From one sampling rate to another, in blocks.
from libc.stdint cimport int16_t, uint32_t

cdef enum:
    RESAMPLE_TAPS = 192         # longest filter of one phase
    RESAMPLE_BLOCK = 1920       # most samples that go in at once: 120 ms at 16 kHz, 40 ms at 48 kHz
    RESAMPLE_RATES = 16         # pairs of rates in use at the same time

cdef struct Filter:
    uint32_t source             # Hz
    uint32_t target
    uint32_t up                 # target / source in lowest terms: up / down
    uint32_t down
    uint32_t taps               # of one phase, a multiple of 8
    const int16_t *coefficients # up * taps, Q14

cdef struct Resampler:
    const Filter *filter        # NULL: both rates are the same, samples are copied
    uint32_t position           # of the next output, in 1/up of an input sample
    int16_t work[RESAMPLE_TAPS + RESAMPLE_BLOCK]

cdef int resample_begin(Resampler *resampler, uint32_t source, uint32_t target) noexcept nogil
cdef int resample(Resampler *resampler, const int16_t *samples, int count, int16_t *into) noexcept nogil
