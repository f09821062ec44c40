# What is played on a leg.
from libc.stdint cimport uint64_t

from media_core.sound.line cimport Dsp, Line

cdef bint play_step(Dsp *dsp, Line *line) noexcept nogil
cdef bint play_waits(const Dsp *dsp, uint64_t id) noexcept nogil
cdef bint play_held(const Dsp *dsp, const Line *line) noexcept nogil
cdef void play_let_go(const Dsp *dsp, const Line *line) noexcept nogil
