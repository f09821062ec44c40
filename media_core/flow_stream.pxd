from libc.stdint cimport uint32_t

from media_core.flow_state cimport Endpoint, FlowLimits, Listener, Loop, SSL
from media_core.flow_table cimport DialBody

cdef void stream_accept(Loop *loop, Listener *listener) noexcept nogil
cdef void stream_dial(Loop *loop, uint32_t index, uint32_t generation, DialBody *wanted) noexcept nogil
cdef void stream_serve(Loop *loop, uint32_t index) noexcept nogil
cdef void stream_send(Loop *loop, uint32_t index, const void *bytes, uint32_t count) noexcept nogil
cdef void stream_shut(Loop *loop, uint32_t index) noexcept nogil
cdef void stream_close(Loop *loop, uint32_t index, const char *reason, bint orderly) noexcept nogil
cdef void stream_tick(Loop *loop, uint32_t index) noexcept nogil
