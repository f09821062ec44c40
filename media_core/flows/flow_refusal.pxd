from libc.stdint cimport uint32_t

from media_core.flows.flow_state cimport Loop

cdef void refusal_tell(Loop *loop, uint32_t index, const char *detail) noexcept nogil
