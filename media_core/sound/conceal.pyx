"""Packet loss concealment after ITU-T G.711 Appendix I, and the shortening of sound by whole pitch periods.

Lost sound is replaced by the last pitch period, repeated; after 10 ms by the last two, after 20 ms by the last three, so that it
does not buzz; from 10 ms on it fades, and is silent after 60 ms. When sound returns, the made-up one runs on beneath it for a
moment and is faded over. Unlike the appendix nothing is held back (no 3.75 ms of delay): the step between the last sample heard
and the first one repeated is spread over the next quarter period. Works at 8 and 16 kHz.

shorten() takes one pitch period out of running sound, where it is most like itself: how a jitter buffer gets rid of delay.
"""

from libc.math cimport sqrt
from libc.stdint cimport int16_t, int64_t, uint32_t
from libc.string cimport memcpy, memmove, memset

cdef enum:
    LONGEST_BLOCK = 1920


cdef void conceal_begin(Concealer *c, uint32_t rate) noexcept nogil:
    memset(c, 0, sizeof(Concealer))
    c.rate = rate


cdef double likeness(const int16_t *a, const int16_t *b, int count, int step) noexcept nogil:
    """Correlation of two stretches, -1 to 1; nearly silent ones are alike in nothing."""
    cdef int64_t product = 0, power_a = 0, power_b = 0
    cdef int at = 0
    while at < count:
        product += a[at] * b[at]
        power_a += a[at] * a[at]
        power_b += b[at] * b[at]
        at += step
    if power_a < count or power_b < count:
        return 0
    return product / sqrt(<double>power_a * <double>power_b)


cdef int pitch_before(const int16_t *end, uint32_t rate, int window) noexcept nogil:
    """The lag of 5 to 15 ms at which the last `window` samples before `end` are most like those before them."""
    cdef int least = rate / 200, most = rate * 15 / 1000, step = rate / 4000, lag, best
    cdef double found, highest = -2
    best = most
    lag = least
    while lag <= most:  # coarsely, then around the best
        found = likeness(end - window, end - window - lag, window, step)
        if found > highest:
            highest, best = found, lag
        lag += step
    least = best - step + 1 if best - step + 1 > least else least
    most = best + step - 1 if best + step - 1 < most else most
    for lag in range(least, most + 1):
        found = likeness(end - window, end - window - lag, window, 1)
        if found > highest:
            highest, best = found, lag
    return best


cdef void make_wave(Concealer *c, uint32_t periods) noexcept nogil:
    """The last `periods` pitch periods, their end blended into what stood before their beginning: they join when repeated."""
    cdef uint32_t quarter = c.period / 4, at
    cdef const int16_t *end = c.history + CONCEAL_HISTORY
    cdef float weight
    c.cycle = periods * c.period
    memcpy(c.wave, end - c.cycle, c.cycle * sizeof(int16_t))
    for at in range(quarter):
        weight = <float>(at + 1) / (quarter + 1)
        c.wave[c.cycle - quarter + at] = <int16_t>((1 - weight) * (end - quarter)[at] + weight * (end - c.cycle - quarter)[at])


cdef void synthesize(Concealer *c, int16_t *into, int count) noexcept nogil:
    """The next samples of made-up sound; what is heard is not changed."""
    cdef uint32_t ten = c.rate / 100, quarter
    cdef int at
    cdef float gain, value
    cdef const int16_t *end = c.history + CONCEAL_HISTORY
    for at in range(count):
        if c.lost == 0:
            c.period = pitch_before(end, c.rate, c.rate / 50)
            make_wave(c, 1)
            c.place = 0
            c.offset = <float>(end - 1)[0] - (end - c.cycle - 1)[0]
        elif (c.lost == ten or c.lost == 2 * ten):
            value = c.wave[c.place]
            make_wave(c, 1 + c.lost / ten)
            c.place = c.place % c.period
            c.offset = value - c.wave[c.place]
        if c.lost >= 6 * ten:
            into[at] = 0
            continue
        quarter = c.period / 4 + 1
        value = c.wave[c.place] + c.offset
        c.offset -= c.offset / quarter
        gain = 1 if c.lost < ten else 1 - <float>(c.lost - ten) / (5 * ten)
        value *= gain
        into[at] = <int16_t>(32767 if value > 32767 else -32768 if value < -32768 else value)
        c.place = c.place + 1 if c.place + 1 < c.cycle else 0
        c.lost += 1


cdef void remember(Concealer *c, const int16_t *samples, int count) noexcept nogil:
    if count >= CONCEAL_HISTORY:
        memcpy(c.history, samples + count - CONCEAL_HISTORY, sizeof(c.history))
    else:
        memmove(c.history, c.history + count, (CONCEAL_HISTORY - count) * sizeof(int16_t))
        memcpy(c.history + CONCEAL_HISTORY - count, samples, count * sizeof(int16_t))


cdef void conceal_lost(Concealer *c, int16_t *into, int count) noexcept nogil:
    """count samples in place of lost ones."""
    synthesize(c, into, count)


cdef void conceal_heard(Concealer *c, int16_t *samples, int count) noexcept nogil:
    """Sound has come: it is remembered, and where it follows a loss its beginning is blended with what was made up."""
    cdef int16_t tail[LONGEST_BLOCK]
    cdef int length, at
    cdef float weight
    if c.lost:
        length = c.rate / 250 + c.lost / 10  # 4 ms, and longer after a longer loss
        if length > <int>c.rate / 100:
            length = c.rate / 100
        if length > count:
            length = count
        synthesize(c, tail, length)
        for at in range(length):
            weight = <float>(at + 1) / (length + 1)
            samples[at] = <int16_t>(weight * samples[at] + (1 - weight) * tail[at])
        c.lost = 0
    remember(c, samples, count)


cdef int shorten(int16_t *samples, int count, uint32_t rate) noexcept nogil:
    """Take one pitch period (5 to 15 ms) out of `count` samples in place; returns how many are left. At least 35 ms are needed:
    of fewer, or where nothing is alike (unless it is silence), nothing is taken."""
    cdef int window = rate / 100, most = rate * 15 / 1000, lag, at
    cdef float weight
    cdef const int16_t *end
    if count < 2 * window + most:
        return count
    end = samples + count
    lag = pitch_before(end, rate, window)
    if likeness(end - window, end - window - lag, window, 1) < 0.5:
        for at in range(count - window - most, count):
            if samples[at] > 300 or samples[at] < -300:
                return count
    # [..., A of window, lag, window]: fade from the stretch before the lag into the last one
    for at in range(window):
        weight = <float>(at + 1) / (window + 1)
        samples[count - window - lag + at] = <int16_t>((1 - weight) * samples[count - window - lag + at] + weight * samples[count - window + at])
    return count - lag


cdef class Listener:
    """A Concealer for the tests."""

    cdef Concealer state

    def __init__(self, uint32_t rate):
        if rate not in (8000, 16000):
            raise ValueError("8000 or 16000 Hz")
        conceal_begin(&self.state, rate)

    def heard(self, samples):
        """Up to 1920 samples as they came; returns them as they are to be played."""
        cdef int16_t block[LONGEST_BLOCK]
        cdef int at, count = len(samples)
        if count > LONGEST_BLOCK:
            raise ValueError("too long")
        for at in range(count):
            block[at] = samples[at]
        conceal_heard(&self.state, block, count)
        return [block[at] for at in range(count)]

    def lost(self, int count):
        cdef int16_t block[LONGEST_BLOCK]
        cdef int at
        if count > LONGEST_BLOCK:
            raise ValueError("too long")
        conceal_lost(&self.state, block, count)
        return [block[at] for at in range(count)]


def shortened(samples, uint32_t rate):
    """What shorten() makes of up to 1920 samples."""
    cdef int16_t block[LONGEST_BLOCK]
    cdef int at, count = len(samples)
    if count > LONGEST_BLOCK:
        raise ValueError("too long")
    for at in range(count):
        block[at] = samples[at]
    count = shorten(block, count, rate)
    return [block[at] for at in range(count)]
