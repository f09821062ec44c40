"""Resampling by a polyphase filter with fixed-point taps, for the pairs of rates that telephony and sound files have.

A pair of rates is a row: its filter is made once, when the pair is first asked for (those of the codecs when the module is
loaded), and never changes; a Resampler is the state of one stream through it. The prototype is a sinc under a Kaiser window, 24
zero crossings of the lower rate long: flat to 0.42 of the lower rate, 60 dB down at 0.56 of it, 1.5 ms of delay at 8 kHz.
"""

from libc.math cimport M_PI, fabs, sin, sqrt
from libc.stdint cimport int16_t, int32_t, uint32_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy, memmove, memset

from media_core.shared.atomic cimport ACQUIRE, RELEASE, load32, store32

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    pthread_mutex_t PTHREAD_MUTEX_INITIALIZER
    int pthread_mutex_init(pthread_mutex_t *mutex, const void *attributes)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)

cdef enum:
    CROSSINGS = 24
    PHASES = 640                # most phases of a filter: 44.1 -> 16 kHz has 160, 11.025 -> 16 kHz 640

cdef double CUTOFF = 0.94       # of half the lower rate
cdef double BETA = 6.5

cdef Filter filters[RESAMPLE_RATES]
cdef uint32_t filter_count = 0
cdef pthread_mutex_t making
pthread_mutex_init(&making, NULL)


cdef double bessel(double x) noexcept nogil:
    """Modified Bessel function of the first kind, order 0."""
    cdef double term = 1, total = 1
    cdef int k
    for k in range(1, 40):
        term *= (x / (2 * k)) * (x / (2 * k))
        total += term
    return total


cdef bint make_filter(Filter *f, uint32_t source, uint32_t target) noexcept nogil:
    cdef uint32_t a = source, b = target, phase, tap, lower = source if source < target else target
    cdef double span, at, value, total
    cdef double row[RESAMPLE_TAPS]
    cdef int16_t *coefficients
    while b:
        a, b = b, a % b
    f.up, f.down = target // a, source // a
    f.taps = (<uint32_t>(CROSSINGS * (<double>source / lower)) + 7) & ~<uint32_t>7
    if f.up > PHASES or f.taps > RESAMPLE_TAPS:
        return False
    coefficients = <int16_t *>calloc(f.up * f.taps, sizeof(int16_t))
    if coefficients == NULL:
        return False
    span = <double>f.taps / 2
    for phase in range(f.up):
        total = 0
        for tap in range(f.taps):
            at = <double>tap - span + 1 - <double>phase / f.up  # in input samples from the middle
            value = CUTOFF * lower / source
            if fabs(at) > 1e-9:
                value = sin(M_PI * at * value) / (M_PI * at)
            row[tap] = value * (bessel(BETA * sqrt(1 - (at / span) * (at / span))) / bessel(BETA) if fabs(at) < span else 0)
            total += row[tap]
        for tap in range(f.taps):
            value = row[tap] / total * 16384  # Q14: the sum of the taps' magnitudes stays below 4, so 32 bits hold any sum
            coefficients[phase * f.taps + tap] = <int16_t>(value + 0.5 if value > 0 else value - 0.5)
    f.coefficients = coefficients
    f.source, f.target = source, target
    return True


cdef const Filter *filter_of(uint32_t source, uint32_t target) noexcept nogil:
    """The row of this pair, made when it is missing; NULL: no such pair can be had."""
    cdef uint32_t at
    for at in range(load32(&filter_count, ACQUIRE)):
        if filters[at].source == source and filters[at].target == target:
            return &filters[at]
    pthread_mutex_lock(&making)
    at = 0
    while at < filter_count and not (filters[at].source == source and filters[at].target == target):
        at += 1
    if at == filter_count and (at == RESAMPLE_RATES or not make_filter(&filters[at], source, target)):
        pthread_mutex_unlock(&making)
        return NULL
    if at == filter_count:
        store32(&filter_count, at + 1, RELEASE)
    pthread_mutex_unlock(&making)
    return &filters[at]


cdef int resample_begin(Resampler *resampler, uint32_t source, uint32_t target) noexcept nogil:
    """Begin a stream. 0, or -1: there is no filter for this pair of rates."""
    memset(resampler, 0, sizeof(Resampler))
    if source == target:
        return 0
    if source < 6000 or source > 192000 or target < 6000 or target > 192000:
        return -1
    resampler.filter = filter_of(source, target)
    return 0 if resampler.filter != NULL else -1


cdef int resample(Resampler *resampler, const int16_t *samples, int count, int16_t *into) noexcept nogil:
    """count (<= RESAMPLE_BLOCK) samples in; returns how many came out: over time exactly count * target / source."""
    cdef const Filter *f = resampler.filter
    cdef uint32_t position = resampler.position, end, tap
    cdef int made = 0
    cdef int32_t total
    cdef const int16_t *x
    cdef const int16_t *c
    if f == NULL:
        memcpy(into, samples, count * sizeof(int16_t))
        return count
    memcpy(resampler.work + f.taps, samples, count * sizeof(int16_t))
    end = <uint32_t>count * f.up
    while position < end:
        x = resampler.work + 1 + position / f.up
        c = f.coefficients + (position % f.up) * f.taps
        total = 8192
        for tap in range(f.taps):
            total += <int32_t>x[tap] * c[tap]
        total >>= 14
        into[made] = <int16_t>(32767 if total > 32767 else -32768 if total < -32768 else total)
        made += 1
        position += f.down
    resampler.position = position - end
    memmove(resampler.work, resampler.work + count, f.taps * sizeof(int16_t))
    return made


for _source, _target in ((8000, 16000), (16000, 8000), (8000, 48000), (48000, 8000), (16000, 48000), (48000, 16000)):
    filter_of(_source, _target)


cdef class Stream:
    """A resampler for the tests: feed(samples) gives the samples of the other rate."""

    cdef Resampler resampler

    def __init__(self, uint32_t source, uint32_t target):
        if resample_begin(&self.resampler, source, target):
            raise ValueError(f"no filter from {source} to {target} Hz")

    def feed(self, samples):
        cdef int16_t block[RESAMPLE_BLOCK]
        cdef int16_t result[8 * RESAMPLE_BLOCK]
        cdef int at, count
        out = []
        samples = list(samples)
        for start in range(0, len(samples), 160):
            part = samples[start:start + 160]
            for at in range(len(part)):
                block[at] = part[at]
            count = resample(&self.resampler, block, <int>len(part), result)
            out.extend([result[at] for at in range(count)])
        return out
