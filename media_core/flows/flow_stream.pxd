from libc.stdint cimport uint32_t

from media_core.flows.flow_state cimport Loop

cdef void stream_serve(Loop *loop, uint32_t index) noexcept nogil
cdef void stream_send(Loop *loop, uint32_t index, const void *bytes, uint32_t count) noexcept nogil
cdef void stream_shut(Loop *loop, uint32_t index) noexcept nogil
cdef void stream_keep(Loop *loop, uint32_t index, bint kept) noexcept nogil
cdef void stream_close(Loop *loop, uint32_t index, const char *reason, bint orderly) noexcept nogil
cdef void stream_tick(Loop *loop, uint32_t index) noexcept nogil
