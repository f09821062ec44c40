from libc.stdint cimport uint32_t

from media_core.flows.flow_state cimport Listener, Loop
from media_core.flows.flow_table cimport DialBody

cdef void stream_accept(Loop *loop, Listener *listener) noexcept nogil
cdef void stream_dial(Loop *loop, uint32_t index, uint32_t generation, DialBody *wanted) noexcept nogil
