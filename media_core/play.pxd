# What is played on a leg.
from media_core.line cimport Dsp, Line

cdef bint play_step(Dsp *dsp, Line *line) noexcept nogil
