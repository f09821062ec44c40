from libc.stdint cimport uint32_t

from media_core.flows.flow_state cimport Listener, Loop

cdef void unreachable_listen(Listener *listener, bint wanted) noexcept nogil
cdef void unreachable_read(Loop *loop, Listener *listener, uint32_t number) noexcept nogil
