"""DTMF (ITU-T Q.23, Q.24) in the sound itself: detection by libspandsp's Goertzel receiver, and tones.

The detector takes 8 kHz and works in blocks of 102 samples; a key counts once two blocks agree and ends when two do not. The tone
maker serves every rate; a tone rises and falls over 5 ms, against clicks.
"""

from libc.math cimport M_PI, sin
from libc.stdint cimport int16_t, uint32_t
from libc.string cimport memset

cdef extern from "<spandsp.h>" nogil:
    ctypedef void (*tone_report_func_t)(void *user, int code, int level, int delay)
    dtmf_rx_state_t *dtmf_rx_init(dtmf_rx_state_t *state, void *callback, void *user)
    int dtmf_rx_free(dtmf_rx_state_t *state)
    int dtmf_rx(dtmf_rx_state_t *state, const int16_t *samples, int count)
    void dtmf_rx_set_realtime_callback(dtmf_rx_state_t *state, tone_report_func_t callback, void *user)
    void dtmf_rx_parms(dtmf_rx_state_t *state, int filter_dialtone, float twist, float reverse_twist, float threshold)

cdef enum:
    RATE = 8000
    BLOCK = 102

cdef float LEVEL = 4100         # amplitude of each of two tones; a single one is a little louder
cdef const char *KEYS = "0123456789*#ABCD"
cdef float *ROWS = [697, 770, 852, 941]
cdef float *COLUMNS = [1209, 1336, 1477, 1633]
cdef const char *PAD = "123A456B789C*0#D"


cdef void digit_tones(uint32_t event, float *first, float *second) noexcept nogil:
    """The two tones of an RFC 4733 event 0..15."""
    cdef uint32_t at
    for at in range(16):
        if PAD[at] == KEYS[event & 15]:
            first[0], second[0] = ROWS[at // 4], COLUMNS[at % 4]


cdef void report(void *user, int code, int level, int delay) noexcept nogil:
    cdef Detector *d = <Detector *>user
    cdef uint32_t at
    if d.code:
        d.ended = d.code
        d.milliseconds = (d.samples - d.began + BLOCK) * 1000 // RATE  # the first of two blocks had passed when it was told
        d.code = 0
    for at in range(16):
        if code and code == KEYS[at]:
            d.code = at + 1
            d.began = d.samples


cdef bint detector_open(Detector *d) noexcept nogil:
    memset(d, 0, sizeof(Detector))
    d.state = dtmf_rx_init(NULL, NULL, NULL)
    if d.state == NULL:
        return False
    dtmf_rx_set_realtime_callback(d.state, report, d)
    dtmf_rx_parms(d.state, 1, 8, 4, -38)
    return True


cdef void detector_close(Detector *d) noexcept nogil:
    if d.state != NULL:
        dtmf_rx_free(d.state)
    memset(d, 0, sizeof(Detector))


cdef void detector_feed(Detector *d, const int16_t *samples, int count) noexcept nogil:
    """8 kHz sound; then look at `code` and `ended`."""
    cdef int at = 0, part
    while at < count:  # in blocks, so that the duration is right
        part = count - at if count - at < BLOCK else BLOCK
        d.samples += part
        dtmf_rx(d.state, samples + at, part)
        at += part


cdef void tone_make(float first, float second, uint32_t start, uint32_t length, uint32_t rate, int16_t *into, int count) noexcept nogil:
    """Samples start .. start + count of a tone of `length` samples; 0 Hz is none, behind its end is silence."""
    cdef uint32_t n, ramp = rate // 200
    cdef int at
    cdef double value, level = LEVEL if second > 0 else LEVEL * 1.4
    for at in range(count):
        n = start + at
        value = 0
        if n < length:
            if first > 0:
                value += sin(2 * M_PI * first * n / rate)
            if second > 0:
                value += sin(2 * M_PI * second * n / rate)
            if n < ramp:
                value *= <double>n / ramp
            if length - n < ramp:
                value *= <double>(length - n) / ramp
        into[at] = <int16_t>(value * level)


cdef class Receiver:
    """A detector for the tests: feed(samples) gives the (key, milliseconds) that have ended."""

    cdef Detector state

    def __init__(self):
        if not detector_open(&self.state):
            raise MemoryError

    def __dealloc__(self):
        detector_close(&self.state)

    def feed(self, samples):
        cdef int16_t block[160]
        cdef int at, count
        out = []
        samples = list(samples)
        for start in range(0, len(samples), 160):
            part = samples[start:start + 160]
            count = <int>len(part)
            for at in range(count):
                block[at] = part[at]
            detector_feed(&self.state, block, count)
            if self.state.ended:
                out.append((chr(KEYS[self.state.ended - 1]), self.state.milliseconds))
                self.state.ended = 0
        return out

    @property
    def pressed(self):
        """The key that is heard now, or None."""
        return chr(KEYS[self.state.code - 1]) if self.state.code else None


def tone(double first, double second, int milliseconds, int rate):
    """The samples of a tone."""
    cdef int16_t block[160]
    cdef int at
    length = milliseconds * rate // 1000
    out = []
    for start in range(0, length, 160):
        tone_make(first, second, start, length, rate, block, 160)
        out.extend([block[at] for at in range(min(160, length - start))])
    return out


def digit(key, int milliseconds, int rate):
    """The samples of a key's two tones."""
    cdef float first = 0, second = 0
    digit_tones("0123456789*#ABCD".index(key), &first, &second)
    return tone(first, second, milliseconds, rate)
