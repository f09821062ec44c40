from media_core.flow_state cimport Loop

cdef int flows_run(Loop *loop) noexcept nogil
