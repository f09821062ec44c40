# One 20 ms step of a conference.
from libc.stdint cimport int16_t, int32_t, uint8_t, uint32_t

cdef enum:
    MIX_SPEAKERS = 3            # so many are heard at once
    MIX_SAMPLES = 320           # 20 ms at 16 kHz

cdef struct Voice:              # a member's, kept from step to step
    float level                 # smoothed energy
    uint32_t hold               # steps it stays heard after it was last among the loudest
    uint8_t heard               # it is in the sum
    uint8_t before              # it was, in the step before
    int16_t sound[MIX_SAMPLES]  # what the member says in this step
    int16_t share[MIX_SAMPLES]  # what of it is in the sum

cdef struct Mix:
    float gain                  # below 1 while the sum is too loud
    float gain_before
    int32_t total[MIX_SAMPLES]

cdef void mix_sum(Mix *mix, Voice **voices, uint32_t count, int samples) noexcept nogil
cdef void mix_hear(const Mix *mix, const Voice *own, int samples, int16_t *into) noexcept nogil
