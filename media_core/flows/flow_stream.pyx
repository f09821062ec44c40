"""TCP and TLS connections once there is a socket (flow_connect): handshake, read, frame, write, close.

Sockets are watched edge-triggered once; Conn.readable and .writable remember what the kernel still has, and the run queue holds
the streams that have something to do, so a stream can be left alone (event ring full) and taken up again without a system call.
Each turn reads a bounded amount: a fast sender delays nobody for long. An idle stream owns no buffer.

Every way to hold a connection for nothing has its limit: time for the handshake, for the first message, until the client keeps it
(its phone has registered), for a message under way, silence, bytes the peer does not read and how long it does not read them, and a
peer that has vanished (TCP_USER_TIMEOUT, keepalive probes). How many there are is a matter of flow_places.

A peer that stops sending, or goes on with what is no SIP, has its earlier requests answered before the connection is closed (RFC 3261
§18.2.2); what it sends meanwhile is thrown away.
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove, strerror
from posix.unistd cimport close

from media_core.flows.flow_state cimport (
    PHASE_CONNECTING, PHASE_DRAINING, PHASE_HANDSHAKE, PHASE_NONE, PHASE_UP, REASON, RESERVE, SCRATCH, Conn, FlowLimits, emit,
    enqueue, entry_closed, entry_opened, full,
)
from media_core.flows.flow_places cimport NOWHERE, Place, places_enter, places_leave
from media_core.flows.flow_refusal cimport refusal_tell
from media_core.flows.flow_table cimport FLOW_RECEIVED, FlowBody, flow_at
from media_core.flows.framing cimport (
    FRAME_FINAL, FRAME_MESSAGE, FRAME_MORE, FRAME_PING, FRAME_REQUEST, frame_kind, frame_next, frame_reason,
)
from media_core.shared.ring cimport RING_MAX
from media_core.flows.tls cimport (
    TLS_FAILED, TLS_READ, TLS_WRITE, tls_close, tls_describe, tls_handshake, tls_read, tls_reason, tls_write,
)

cdef extern from "sys/socket.h" nogil:
    struct sockaddr:
        pass
    int getsockname(int fd, sockaddr *address, uint32_t *length)
    int getsockopt(int fd, int level, int name, void *value, uint32_t *length)
    ssize_t recv(int fd, void *place, size_t room, int flags)
    ssize_t send(int fd, const void *bytes, size_t count, int flags)
    const int SOL_SOCKET, SO_ERROR, MSG_NOSIGNAL

cdef enum:
    READS = 8   # reads of one stream in one turn


# ---- begin ----------------------------------------------------------------------------------------------------------

cdef bint connected(Loop *loop, uint32_t index) noexcept nogil:
    """The dialled socket became writable: connected or refused."""
    cdef Conn *conn = &loop.conn[index]
    cdef FlowBody *body = &flow_at(loop.area, index).body
    cdef int error = 0
    cdef uint32_t length = sizeof(int)
    if not conn.writable:
        return False
    if getsockopt(conn.fd, SOL_SOCKET, SO_ERROR, &error, &length) or error:
        stream_close(loop, index, strerror(error or errno), False)
        return False
    body.local.length = 28
    getsockname(conn.fd, <sockaddr *>body.local.address, &body.local.length)
    conn.since = loop.now
    conn.readable = 1
    if conn.ssl != NULL:
        conn.phase = PHASE_HANDSHAKE
    else:
        conn.phase = PHASE_UP
        entry_opened(loop, index, b"")
    return True


cdef bint handshaken(Loop *loop, uint32_t index) noexcept nogil:
    cdef Conn *conn = &loop.conn[index]
    cdef char text[REASON]
    cdef int status = tls_handshake(conn.ssl)
    if status == 1:
        loop.count.handshakes += 1
        conn.phase = PHASE_UP
        conn.since = loop.now
        tls_describe(conn.ssl, text, REASON)
        entry_opened(loop, index, text)
        return True
    if status == TLS_READ:
        conn.readable = 0
    elif status == TLS_WRITE:
        conn.writable = 0
    else:
        loop.count.handshakes_failed += 1
        refusal_tell(loop, index, NULL)
        tls_reason(conn.ssl, text, REASON)
        stream_close(loop, index, text, False)
    return False


# ---- serve ----------------------------------------------------------------------------------------------------------

cdef void stream_serve(Loop *loop, uint32_t index) noexcept nogil:
    """One turn of a stream from the run queue."""
    cdef Conn *conn = &loop.conn[index]
    if conn.phase == PHASE_NONE:
        return
    if (conn.phase == PHASE_CONNECTING or conn.phase == PHASE_HANDSHAKE) and full(loop, RESERVE):
        enqueue(loop, index)
        return
    if conn.phase == PHASE_CONNECTING and not connected(loop, index):
        return
    if conn.phase == PHASE_HANDSHAKE and not handshaken(loop, index):
        return
    if conn.out_length and conn.writable and not flush(loop, index):
        return
    if conn.phase == PHASE_DRAINING:
        if not conn.out_length:
            stream_close(loop, index, conn.ending, True)
        return
    if conn.phase == PHASE_UP and (conn.readable or conn.unparsed):
        read_on(loop, index)


cdef void read_on(Loop *loop, uint32_t index) noexcept nogil:
    cdef Conn *conn = &loop.conn[index]
    cdef uint8_t *place
    cdef uint32_t room
    cdef int turn, count
    if conn.unparsed:
        conn.unparsed = 0
        conn.partial_since = 0  # it was we who made it wait
        if not take_apart(loop, index, conn.in_bytes, conn.in_length):
            return
    for turn in range(READS):
        if conn.unparsed or full(loop, RESERVE):
            break
        if not conn.readable:
            return
        place, room = loop.scratch, SCRATCH
        if conn.in_length:
            room = 16384
            if not grow(&conn.in_bytes, &conn.in_room, conn.in_length + room):
                stream_close(loop, index, b"out of memory", False)
                return
            place = conn.in_bytes + conn.in_length
        count = receive(loop, index, place, room)
        if count <= 0:
            return
        if conn.ending != NULL:
            continue
        flow_at(loop.area, index).seen = loop.now
        if conn.in_length:
            conn.in_length += count
            place, count = conn.in_bytes, conn.in_length
        if not take_apart(loop, index, place, count):
            return
    enqueue(loop, index)


cdef int receive(Loop *loop, uint32_t index, uint8_t *place, uint32_t room) noexcept nogil:
    """Bytes read; 0: nothing there now, or the stream is closed."""
    cdef Conn *conn = &loop.conn[index]
    cdef char text[REASON]
    cdef int count
    if conn.ssl != NULL:
        count = tls_read(conn.ssl, place, room)
        if count == TLS_READ:
            conn.readable = 0
            return 0
        if count == TLS_WRITE:
            conn.writable = 0
            return 0
        if count == TLS_FAILED:
            tls_reason(conn.ssl, text, REASON)
            stream_close(loop, index, text, False)
            return 0
    else:
        count = <int>recv(conn.fd, place, room, 0)
        if count < 0:
            if errno == EAGAIN:
                conn.readable = 0
            elif errno != EINTR:
                stream_close(loop, index, strerror(errno), False)
            return 0
    if count == 0:
        conn.readable = 0
        stream_finish(loop, index, b"closed by the other side")
    return count


cdef bint take_apart(Loop *loop, uint32_t index, uint8_t *bytes, uint32_t count) noexcept nogil:
    """Tell the whole messages in `bytes` (the scratch, or all of in_bytes), keep the rest. False: the stream is closed."""
    cdef Conn *conn = &loop.conn[index]
    cdef uint32_t at = 0
    cdef bint ping = False
    cdef int status = FRAME_MORE
    while at < count:
        if full(loop, RESERVE):
            conn.unparsed = 1
            break
        status = frame_next(&conn.frame, bytes + at, count - at)
        if status == FRAME_MORE:
            break
        if status < 0:
            loop.count.framing += 1
            stream_finish(loop, index, frame_reason(status))
            return False
        if status == FRAME_MESSAGE:
            emit(loop, FLOW_RECEIVED, index, bytes + at, conn.frame.length)
            loop.count.messages_in += 1
            conn.spoken = 1
            conn.asked += frame_kind(bytes + at, conn.frame.length) == FRAME_REQUEST
        ping = ping or status == FRAME_PING
        conn.partial_since = 0
        at += conn.frame.length
    if not keep_rest(conn, bytes, at, count):
        stream_close(loop, index, b"out of memory", False)
        return False
    if conn.in_length and conn.partial_since == 0:
        conn.partial_since = loop.now
    if ping:
        stream_send(loop, index, b"\r\n", 2)
    return conn.phase != PHASE_NONE


cdef bint keep_rest(Conn *conn, uint8_t *bytes, uint32_t at, uint32_t count) noexcept nogil:
    cdef uint32_t rest = count - at
    if rest == 0:
        free(conn.in_bytes)
        conn.in_bytes = NULL
        conn.in_room = conn.in_length = 0
        return True
    if bytes == conn.in_bytes:
        if at:
            memmove(bytes, bytes + at, rest)
    else:
        if not grow(&conn.in_bytes, &conn.in_room, rest):
            return False
        memcpy(conn.in_bytes, bytes + at, rest)
    conn.in_length = rest
    return True


cdef bint grow(uint8_t **bytes, uint32_t *room, uint32_t wanted) noexcept nogil:
    cdef uint8_t *more
    if wanted <= room[0]:
        return True
    wanted = max(wanted, min(room[0] * 2, <uint32_t>(RING_MAX + 16384)))
    more = <uint8_t *>realloc(bytes[0], wanted)
    if more == NULL:
        return False
    bytes[0], room[0] = more, wanted
    return True


# ---- send -----------------------------------------------------------------------------------------------------------

cdef int put(Loop *loop, uint32_t index, const void *bytes, uint32_t count) noexcept nogil:
    """Bytes the kernel took, 0 when it takes none now; -1: the stream is closed."""
    cdef Conn *conn = &loop.conn[index]
    cdef char text[REASON]
    cdef int done
    if conn.ssl != NULL:
        done = tls_write(conn.ssl, bytes, count)
        if done > 0:
            return done
        if done == TLS_WRITE:
            conn.writable = 0
            return 0
        if done == TLS_READ:
            return 0
        tls_reason(conn.ssl, text, REASON)
        stream_close(loop, index, text, False)
        return -1
    done = <int>send(conn.fd, bytes, count, MSG_NOSIGNAL)
    if done >= 0:
        return done
    if errno == EAGAIN or errno == EINTR:
        conn.writable = errno == EINTR
        return 0
    stream_close(loop, index, strerror(errno), False)
    return -1


cdef bint flush(Loop *loop, uint32_t index) noexcept nogil:
    """Send what waits. False: the stream is closed."""
    cdef Conn *conn = &loop.conn[index]
    cdef int done
    while conn.out_length and conn.writable:
        done = put(loop, index, conn.out_bytes + conn.out_start, conn.out_length)
        if done < 0:
            return False
        if done == 0:
            break
        conn.out_start += done
        conn.out_length -= done
        conn.stalled_since = loop.now
    if conn.out_length == 0:
        free(conn.out_bytes)
        conn.out_bytes = NULL
        conn.out_room = conn.out_start = 0
        conn.stalled_since = 0
    return True


cdef void stream_send(Loop *loop, uint32_t index, const void *bytes, uint32_t count) noexcept nogil:
    """Send now or as soon as the kernel takes it. A peer that does not read gets its connection closed."""
    cdef Conn *conn = &loop.conn[index]
    if conn.phase == PHASE_NONE or conn.phase == PHASE_DRAINING:
        return
    if conn.asked and frame_kind(<const uint8_t *>bytes, count) == FRAME_FINAL:
        conn.asked -= 1
    if pass_on(loop, index, bytes, count) and conn.ending != NULL and conn.asked == 0:
        stream_shut(loop, index)


cdef bint pass_on(Loop *loop, uint32_t index, const void *bytes, uint32_t count) noexcept nogil:
    """To the kernel, or behind what it has not taken yet. False: the stream is closed."""
    cdef Conn *conn = &loop.conn[index]
    cdef int done = 0
    if conn.phase == PHASE_UP and conn.out_length == 0 and conn.writable:
        done = put(loop, index, bytes, count)
        if done < 0 or <uint32_t>done == count:
            return done >= 0
    if conn.out_length + count - done > loop.limits.write_bytes:
        stream_close(loop, index, b"the other side does not read", False)
        return False
    if conn.out_start:
        memmove(conn.out_bytes, conn.out_bytes + conn.out_start, conn.out_length)
        conn.out_start = 0
    if not grow(&conn.out_bytes, &conn.out_room, conn.out_length + count - done):
        stream_close(loop, index, b"out of memory", False)
        return False
    memcpy(conn.out_bytes + conn.out_length, <const uint8_t *>bytes + done, count - done)
    conn.out_length += count - done
    if conn.stalled_since == 0:
        conn.stalled_since = loop.now
    if conn.writable and conn.phase == PHASE_UP:
        enqueue(loop, index)
    return True


# ---- end ------------------------------------------------------------------------------------------------------------

cdef void stream_finish(Loop *loop, uint32_t index, const char *reason) noexcept nogil:
    """Nothing more is read of it: close once what was asked is answered. reason: a constant."""
    cdef Conn *conn = &loop.conn[index]
    if conn.ending != NULL:
        return
    conn.ending, conn.ending_since = reason, loop.now
    free(conn.in_bytes)
    conn.in_bytes = NULL
    conn.in_length = conn.in_room = 0
    conn.partial_since = 0
    if conn.asked == 0:
        stream_shut(loop, index)
    elif conn.readable:
        enqueue(loop, index)  # what is left unread would turn our close into a reset, and that would take the answer away


cdef void stream_shut(Loop *loop, uint32_t index) noexcept nogil:
    """Close once everything accepted for sending is out."""
    cdef Conn *conn = &loop.conn[index]
    if conn.ending == NULL:
        conn.ending, conn.ending_since = b"shut", loop.now
    if conn.phase != PHASE_UP:
        stream_close(loop, index, conn.ending, False)
    elif conn.out_length == 0:
        stream_close(loop, index, conn.ending, True)
    else:
        conn.phase = PHASE_DRAINING
        conn.since = loop.now
        enqueue(loop, index)


cdef void stream_close(Loop *loop, uint32_t index, const char *reason, bint orderly) noexcept nogil:
    """Release everything and tell FlowClosed. orderly: with TLS close_notify."""
    cdef Conn *conn = &loop.conn[index]
    if conn.phase == PHASE_NONE:
        return
    places_leave(&loop.unproved_streams, index)
    if conn.ssl != NULL:
        tls_close(conn.ssl, orderly)
        conn.ssl = NULL
    close(conn.fd)
    conn.fd = -1
    conn.phase = PHASE_NONE
    free(conn.in_bytes)
    free(conn.out_bytes)
    conn.in_bytes = conn.out_bytes = NULL
    conn.in_length = conn.in_room = conn.out_length = conn.out_start = conn.out_room = 0
    entry_closed(loop, index, reason)


cdef const char *overdue(Loop *loop, uint32_t index) noexcept nogil:
    """The limit of time a stream has reached, or NULL."""
    cdef Conn *conn = &loop.conn[index]
    cdef FlowLimits *limits = &loop.limits
    cdef uint64_t age = loop.now - conn.since
    cdef const Place *unproved = &loop.unproved_streams.place[index]
    if conn.phase == PHASE_CONNECTING:
        if age > limits.connect:
            return b"no answer"
        return NULL
    if conn.phase == PHASE_HANDSHAKE:
        if age > limits.handshake:
            return b"TLS handshake took too long"
        return NULL
    if conn.stalled_since and loop.now - conn.stalled_since > limits.write_stall:
        return b"the other side does not read"
    if conn.ending != NULL and loop.now - conn.ending_since > limits.answer:
        return conn.ending
    if conn.unparsed:
        return NULL  # waits for us
    if conn.partial_since and loop.now - conn.partial_since > limits.message:
        return b"message took too long"
    if conn.accepted and not conn.spoken and age > limits.first_message:
        return b"no message"
    if unproved.host != NOWHERE and loop.now - unproved.since > limits.unproved:
        return b"nobody has registered over it"
    if loop.now - flow_at(loop.area, index).seen > limits.idle:
        return b"silent for too long"
    return NULL


cdef void stream_tick(Loop *loop, uint32_t index) noexcept nogil:
    cdef const char *reason
    if loop.conn[index].phase == PHASE_NONE:
        return
    reason = overdue(loop, index)
    if reason != NULL:
        loop.count.timeouts += 1
        if loop.conn[index].phase == PHASE_HANDSHAKE:
            loop.count.handshakes_failed += 1
            refusal_tell(loop, index, b"took too long")
        stream_close(loop, index, reason, loop.conn[index].ending != NULL)


cdef void stream_keep(Loop *loop, uint32_t index, bint kept) noexcept nogil:
    flow_at(loop.area, index).kept = kept
    if kept:
        places_leave(&loop.unproved_streams, index)
    elif loop.conn[index].accepted:
        places_enter(&loop.unproved_streams, index, &flow_at(loop.area, index).body.remote, loop.now)
