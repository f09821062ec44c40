"""Where TCP and TLS flows come from: accepted on a listener or dialled. flow_stream takes over once there is a socket.

Accepted connections are limited in all: when there is no place or no descriptor left, an unproved one makes room (flow_places). When
all are kept, what comes is closed at once, so that nobody waits for an answer that does not come; without a descriptor it waits in the
kernel, and the tick tries again.
"""

from libc.errno cimport EAGAIN, ECONNABORTED, EINPROGRESS, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memset, strerror
from posix.unistd cimport close

from media_core.flows.flow_state cimport (
    NONE, PHASE_CONNECTING, PHASE_HANDSHAKE, PHASE_UP, RESERVE, TLS, Conn, enqueue, entry_closed, entry_fill, entry_opened, full,
    take_free,
)
from media_core.flows.flow_places cimport places_enter, places_victim
from media_core.flows.flow_stream cimport stream_close
from media_core.flows.flow_table cimport FLOW_OPENING, Endpoint, FlowBody, flow_at
from media_core.flows.tls cimport SSL, tls_close, tls_open

cdef extern from "sys/socket.h" nogil:
    struct sockaddr:
        pass
    int accept4(int fd, sockaddr *address, uint32_t *length, int flags)
    int socket(int family, int kind, int protocol)
    int connect(int fd, const sockaddr *address, uint32_t length)
    int getsockname(int fd, sockaddr *address, uint32_t *length)
    int setsockopt(int fd, int level, int name, const void *value, uint32_t length)
    const int SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC, SOL_SOCKET, SO_KEEPALIVE

cdef extern from "netinet/in.h" nogil:
    const int IPPROTO_TCP

cdef extern from "netinet/tcp.h" nogil:
    const int TCP_NODELAY, TCP_USER_TIMEOUT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data:
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data data
    int epoll_ctl(int epoll, int what, int fd, epoll_event *event)
    const uint32_t EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLET
    const int EPOLL_CTL_ADD

cdef enum:
    ACCEPTS = 64    # connections taken in one turn


cdef void tune(Loop *loop, int fd) noexcept nogil:
    """A peer that has vanished is found while we send (user timeout) and while we do not (probes)."""
    cdef int yes = 1, value
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(int))
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &loop.limits.user_timeout, sizeof(int))
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(int))
    value = loop.limits.keepalive
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &value, sizeof(int))
    value = 10
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &value, sizeof(int))
    value = 3
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &value, sizeof(int))


cdef int watch(Loop *loop, uint32_t index, uint32_t generation, int fd) noexcept nogil:
    cdef epoll_event event
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET
    event.data.u64 = index | <uint64_t>generation << 32
    return epoll_ctl(loop.epoll, EPOLL_CTL_ADD, fd, &event)


cdef void begin(Loop *loop, uint32_t index, int fd, uint8_t phase, bint accepted) noexcept nogil:
    cdef Conn *conn = &loop.conn[index]
    cdef uint8_t queued = conn.queued
    memset(conn, 0, sizeof(Conn))
    conn.queued = queued
    conn.fd = fd
    conn.phase = phase
    conn.accepted = accepted
    conn.readable = conn.writable = 1
    conn.since = loop.now


cdef void stream_accept(Loop *loop, Listener *listener) noexcept nogil:
    """Take what waits; listener.pending stays set when there may be more."""
    cdef FlowBody body
    cdef uint32_t turn
    cdef int fd
    for turn in range(ACCEPTS):
        if full(loop, RESERVE):
            return
        memset(&body, 0, sizeof(body))
        body.remote.length = 28
        fd = accept4(listener.fd, <sockaddr *>body.remote.address, &body.remote.length, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd < 0:
            if errno in (EINTR, ECONNABORTED):
                continue
            if errno in (EMFILE, ENFILE) and make_room(loop):
                continue
            listener.pending = 0 if errno in (EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM) else listener.pending
            return
        body.transport = listener.transport
        body.local.length = 28
        getsockname(fd, <sockaddr *>body.local.address, &body.local.length)
        if not take(loop, fd, &body):
            loop.count.refused += 1
            close(fd)


cdef bint make_room(Loop *loop) noexcept nogil:
    """Close an unproved connection. False: there is none."""
    cdef uint32_t victim = places_victim(&loop.unproved_streams, loop.now, loop.limits.grace)
    if victim == NONE:
        return False
    loop.count.evicted += 1
    stream_close(loop, victim, b"made room for another source", False)
    return True


cdef bint take(Loop *loop, int fd, FlowBody *body) noexcept nogil:
    cdef uint32_t index, generation
    cdef SSL *ssl = NULL
    if loop.free_stream_count == 0 and not (make_room(loop) and loop.free_stream_count):
        return False
    index = loop.free_stream[loop.free_stream_count - 1]
    generation = flow_at(loop.area, index).generation + 1
    if body.transport == TLS:
        ssl = tls_open(loop.tls_server, fd, True, NULL)
        if ssl == NULL:
            return False
    if watch(loop, index, generation, fd):
        if ssl != NULL:
            tls_close(ssl, False)
        return False
    take_free(loop, False)
    tune(loop, fd)
    begin(loop, index, fd, PHASE_HANDSHAKE if ssl != NULL else PHASE_UP, True)
    entry_fill(loop, index, generation, FLOW_OPENING, NONE, body)
    loop.conn[index].ssl = ssl
    places_enter(&loop.unproved_streams, index, &body.remote, loop.now)
    if ssl == NULL:
        entry_opened(loop, index, b"")
    enqueue(loop, index)
    return True


cdef void stream_dial(Loop *loop, uint32_t index, uint32_t generation, DialBody *wanted) noexcept nogil:
    """The entry is free. What goes wrong at once is told as FlowClosed too."""
    cdef FlowBody body
    cdef Conn *conn = &loop.conn[index]
    cdef int fd
    memset(&body, 0, sizeof(body))
    body.transport = wanted.transport
    body.remote = wanted.remote
    entry_fill(loop, index, generation, FLOW_OPENING, NONE, &body)
    fd = socket((<uint16_t *>body.remote.address)[0], SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0:
        entry_closed(loop, index, strerror(errno))
        return
    tune(loop, fd)
    begin(loop, index, fd, PHASE_CONNECTING, False)
    conn.readable = conn.writable = 0
    if connect(fd, <sockaddr *>body.remote.address, body.remote.length) and errno != EINPROGRESS:
        stream_close(loop, index, strerror(errno), False)
    elif watch(loop, index, generation, fd):
        stream_close(loop, index, b"cannot watch the socket", False)
    elif body.transport == TLS:
        wanted.server_name[sizeof(wanted.server_name) - 1] = 0
        conn.ssl = tls_open(loop.tls_client, fd, False, wanted.server_name)
        if conn.ssl == NULL:
            stream_close(loop, index, b"TLS: cannot begin", False)
