"""The N-1 mixer: everyone hears the sum of the loudest speakers without himself.

The sum is 32 bits wide and only packed once, per listener: total minus own share. Of many members the three loudest by smoothed
energy (alpha 0.5) are in it, each held for 160 ms after it was among them; who comes or goes is faded over one step, so nothing
clicks. When the sum would not fit into 16 bits all of it is turned down at once, and up again slowly: it is never cut off.
A listener who is not in the sum hears exactly the total, so one encoding serves all such listeners of a codec.
"""

from libc.math cimport sqrt
from libc.stdint cimport int16_t, int32_t, int64_t, uint32_t
from libc.string cimport memset

cdef enum:
    HOLD = 8                    # steps
    QUIET = 30                  # amplitude below which nobody is a speaker
    RAMP = 32                   # samples over which the gain moves


cdef void measure(Voice *voice, int samples) noexcept nogil:
    cdef int64_t energy = 0
    cdef int at
    for at in range(samples):
        energy += <int32_t>voice.sound[at] * voice.sound[at]
    voice.level += 0.5 * (<float>sqrt(<double>energy / samples) - voice.level)


cdef void choose(Voice **voices, uint32_t count) noexcept nogil:
    """Mark who is in the sum: the loudest now, and who was lately as long as there is room."""
    cdef uint32_t at, place
    cdef Voice *best
    for at in range(count):
        voices[at].before = voices[at].heard
        voices[at].heard = 0
        voices[at].hold -= voices[at].hold != 0
    for place in range(MIX_SPEAKERS):
        best = NULL
        for at in range(count):
            if not voices[at].heard and voices[at].level >= QUIET and (best == NULL or voices[at].level > best.level):
                best = voices[at]
        if best == NULL:
            break
        best.heard = 1
        best.hold = HOLD
    for at in range(count):  # the tail of a word, when a louder one came in between
        if voices[at].hold and voices[at].level >= QUIET:
            voices[at].heard = 1


cdef int32_t larger(int32_t a, int32_t b) noexcept nogil:
    return a if a > b else b


cdef int32_t loudest(const int32_t *total, const int16_t *share, int samples) noexcept nogil:
    """The largest magnitude of the total without this share (or with all)."""
    cdef int32_t most = 0, value
    cdef int at
    for at in range(samples):
        value = total[at] - (share[at] if share != NULL else 0)
        most = larger(most, value if value >= 0 else -value)
    return most


cdef void mix_sum(Mix *mix, Voice **voices, uint32_t count, int samples) noexcept nogil:
    """Sum up what `count` members say; each one's `sound` is filled (silence where nothing came)."""
    cdef uint32_t member
    cdef int at
    cdef int32_t peak, head, value
    cdef Voice *voice
    memset(mix.total, 0, sizeof(mix.total))
    for member in range(count):
        measure(voices[member], samples)
    choose(voices, count)
    for member in range(count):
        voice = voices[member]
        if not voice.heard and not voice.before:
            continue
        for at in range(samples):
            value = voice.sound[at]
            if not voice.before:
                value = value * (at + 1) // samples
            elif not voice.heard:
                value = value * (samples - at - 1) // samples
            voice.share[at] = <int16_t>value
            mix.total[at] += value
    peak = loudest(mix.total, NULL, samples)
    head = loudest(mix.total, NULL, RAMP)
    for member in range(count):
        if voices[member].heard or voices[member].before:
            peak = larger(peak, loudest(mix.total, voices[member].share, samples))
            head = larger(head, loudest(mix.total, voices[member].share, RAMP))
    mix.gain_before = mix.gain if mix.gain > 0 else 1
    mix.gain = mix.gain_before + 0.05
    if mix.gain > 1:
        mix.gain = 1
    if peak * mix.gain > 32767:
        mix.gain = <float>32767 / peak
    if head * mix.gain_before > 32767:  # no time to turn it down slowly
        mix.gain_before = mix.gain


cdef void mix_hear(const Mix *mix, const Voice *own, int samples, int16_t *into) noexcept nogil:
    """What a member hears: own is its voice, or NULL for one who is not in the sum."""
    cdef int at
    cdef int32_t value
    cdef float gain
    cdef bint without = own != NULL and (own.heard or own.before)
    for at in range(samples):
        value = mix.total[at] - (own.share[at] if without else 0)
        if mix.gain < 1 or mix.gain_before < 1:
            gain = mix.gain
            if at < RAMP:
                gain = mix.gain_before + (mix.gain - mix.gain_before) * at / RAMP
            value = <int32_t>(value * gain)
        into[at] = <int16_t>(32767 if value > 32767 else -32768 if value < -32768 else value)


cdef class Room:
    """A mixer for the tests: step(sounds) gives what each one hears, and who is in the sum."""

    cdef Mix mix
    cdef Voice voices[64]
    cdef uint32_t count

    def __init__(self, uint32_t count):
        if not 1 <= count <= 64:
            raise ValueError("1 to 64 members")
        memset(&self.mix, 0, sizeof(Mix))
        memset(self.voices, 0, sizeof(self.voices))
        self.count = count

    def step(self, sounds):
        cdef Voice *members[64]
        cdef int16_t into[MIX_SAMPLES]
        cdef uint32_t member
        cdef int at, samples = len(sounds[0])
        if len(sounds) != self.count or samples > MIX_SAMPLES or any(len(sound) != samples for sound in sounds):
            raise ValueError("one sound of the same length for each member")
        for member in range(self.count):
            members[member] = &self.voices[member]
            for at in range(samples):
                self.voices[member].sound[at] = sounds[member][at]
        mix_sum(&self.mix, members, self.count, samples)
        out = []
        for member in range(self.count):
            mix_hear(&self.mix, members[member], samples, into)
            out.append([into[at] for at in range(samples)])
        return out

    @property
    def heard(self):
        return [bool(self.voices[at].heard) for at in range(self.count)]
