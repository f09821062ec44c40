"""The reference datapath: one UDP socket per port, level-triggered epoll, one recvfrom and one sendto per packet.

Works on any kernel without privileges. At most one packet per socket and round is taken, so a flooded port delays the others by
one packet, never by its queue. The wake-up descriptors are edge-triggered and never read: each signal wakes every thread once.
"""

from libc.errno cimport errno
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from media_core.shared.abi cimport leg_at
from media_core.relay.relay cimport BATCH, DROPPED, PACKET_LARGEST, PACKET_ROOM, Datapath, Packet, Worker

cdef extern from "<sys/epoll.h>" nogil:
    enum: EPOLLIN, EPOLLET, EPOLL_CTL_ADD, EPOLL_CLOEXEC
    ctypedef union epoll_data_t:
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_wait(int epfd, epoll_event *events, int most, int timeout)

cdef extern from "<sys/socket.h>" nogil:
    enum: MSG_DONTWAIT, MSG_NOSIGNAL, MSG_TRUNC
    struct sockaddr:
        pass
    ssize_t recvfrom(int fd, void *data, size_t room, int flags, sockaddr *source, uint32_t *length)
    ssize_t sendto(int fd, const void *data, size_t length, int flags, const sockaddr *to, uint32_t to_length)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef enum:
    WAKE = 0xFFFFFFFF
    SOURCE_ROOM = 32

cdef struct State:
    int epoll
    epoll_event ready[BATCH]
    uint8_t sources[BATCH][SOURCE_ROOM]
    uint8_t data[BATCH][PACKET_ROOM]


cdef int epoll_open(Worker *worker) noexcept nogil:
    cdef State *state = <State *>calloc(1, sizeof(State))
    cdef epoll_event event
    cdef uint32_t leg, half
    if state == NULL:
        return -12
    worker.state = state
    state.epoll = epoll_create1(EPOLL_CLOEXEC)
    if state.epoll < 0:
        return -errno
    event.events = EPOLLIN | EPOLLET
    event.data.u64 = WAKE
    if epoll_ctl(state.epoll, EPOLL_CTL_ADD, worker.core_wake, &event) or epoll_ctl(state.epoll, EPOLL_CTL_ADD, worker.wake, &event):
        return -errno
    event.events = EPOLLIN
    leg = worker.number
    while leg < worker.legs:
        for half in range(2):
            event.data.u64 = leg * 2 + half
            if epoll_ctl(state.epoll, EPOLL_CTL_ADD, worker.sockets[leg * 2 + half], &event):
                return -errno
        leg += worker.memory.workers
    return 0


cdef int epoll_collect(Worker *worker, int milliseconds) noexcept nogil:
    cdef State *state = <State *>worker.state
    cdef int ready = epoll_wait(state.epoll, state.ready, BATCH, milliseconds), at
    cdef uint32_t count = 0, length, socket
    cdef ssize_t got
    cdef Packet *packet
    for at in range(ready):
        if state.ready[at].data.u64 == WAKE:
            continue
        socket = <uint32_t>state.ready[at].data.u64
        length = SOURCE_ROOM
        got = recvfrom(worker.sockets[socket], state.data[count], PACKET_LARGEST, MSG_DONTWAIT | MSG_TRUNC, <sockaddr *>state.sources[count], &length)
        if got < 0:
            continue
        packet = &worker.batch[count]
        packet.data = state.data[count]
        packet.source = state.sources[count]
        packet.length = <uint32_t>got if got <= PACKET_LARGEST else 0
        packet.leg = socket >> 1
        packet.rtcp_socket = socket & 1
        packet.buffer = count
        count += 1
    return count


cdef void epoll_send(Worker *worker) noexcept nogil:
    cdef uint32_t at
    cdef Packet *packet
    for at in range(worker.count):
        packet = &worker.batch[at]
        if packet.to != NULL and sendto(worker.sockets[packet.socket], packet.data, packet.length, MSG_DONTWAIT | MSG_NOSIGNAL,
                                        NULL if packet.connected else <const sockaddr *>packet.to.address,
                                        0 if packet.connected else packet.to.length) < 0:
            leg_at(worker.memory, packet.out).sent.failed += 1


cdef void epoll_flush(Worker *worker) noexcept nogil:
    """Nothing is ever queued."""


cdef void epoll_close(Worker *worker) noexcept nogil:
    cdef State *state = <State *>worker.state
    if state != NULL:
        if state.epoll >= 0:
            close(state.epoll)
        free(state)
        worker.state = NULL


cdef Datapath epoll_datapath() noexcept nogil:
    cdef Datapath face
    face.name = b"epoll"
    face.open = epoll_open
    face.collect = epoll_collect
    face.send = epoll_send
    face.flush = epoll_flush
    face.close = epoll_close
    return face
