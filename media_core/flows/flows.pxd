from media_core.flows.flow_state cimport Loop

cdef int flows_run(Loop *loop) noexcept nogil
