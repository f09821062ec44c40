from media_core.relay cimport Datapath

cdef Datapath epoll_datapath() noexcept nogil
