from media_core.relay cimport Datapath

cdef Datapath uring_datapath() noexcept nogil
