from media_core.relay.relay cimport Datapath

cdef Datapath uring_datapath() noexcept nogil
cdef Datapath raw_datapath() noexcept nogil
