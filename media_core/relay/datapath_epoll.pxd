from media_core.relay.relay cimport Datapath

cdef Datapath epoll_datapath() noexcept nogil
