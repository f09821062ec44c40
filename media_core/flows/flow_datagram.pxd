from libc.stdint cimport uint32_t, uint64_t

from media_core.flows.flow_state cimport Endpoint, Listener, Loop
from media_core.flows.flow_table cimport DialBody

cdef uint64_t datagram_room() noexcept nogil
cdef void datagram_prepare(Listener *listener) noexcept nogil
cdef uint32_t datagram_find(Loop *loop, uint32_t listener, const Endpoint *remote) noexcept nogil
cdef void datagram_receive(Loop *loop, Listener *listener, uint32_t number) noexcept nogil
cdef void datagram_dial(Loop *loop, uint32_t index, uint32_t generation, DialBody *wanted) noexcept nogil
cdef bint datagram_adopt(Loop *loop, uint32_t index) noexcept nogil
cdef void datagram_send(Loop *loop, uint32_t index, const void *bytes, uint32_t count) noexcept nogil
cdef void datagram_keep(Loop *loop, uint32_t index, bint kept) noexcept nogil
cdef void datagram_close(Loop *loop, uint32_t index, const char *reason) noexcept nogil
