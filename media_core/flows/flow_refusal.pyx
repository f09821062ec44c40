"""What failed in a TLS handshake is told, so that a phone that cannot get in has a name and a reason, at a rate nobody outside can raise.

At most one a host in 10 s and five a second in all; the counter handshakes_failed counts every one. Who opens a connection and says
nothing (a monitor, a port scan) is not told of.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memset, strncpy

from media_core.flows.flow_state cimport RESERVE, Conn, allowed, emit, full, within
from media_core.flows.flow_table cimport FLOW_REFUSED, FLOW_TEXT, RefusalBody, flow_at
from media_core.flows.tls cimport tls_failure

cdef enum:
    HOST_EVERY = 10000      # ms
    ALL_EVERY = 200
    ALL_BURST = 10


cdef void refusal_tell(Loop *loop, uint32_t index, const char *detail) noexcept nogil:
    """The handshake of an accepted stream, which is not closed yet, has failed. detail: what OpenSSL cannot know, or NULL."""
    cdef Conn *conn = &loop.conn[index]
    cdef RefusalBody body
    cdef int reason
    memset(&body, 0, sizeof(body))
    reason = tls_failure(conn.ssl, body.detail, FLOW_TEXT) if conn.accepted else -1
    if reason < 0 or full(loop, RESERVE):
        return
    body.reason = reason
    body.remote = flow_at(loop.area, index).body.remote
    if detail != NULL:
        strncpy(body.detail, detail, FLOW_TEXT - 1)
    if allowed(loop, &loop.refusals, &body.remote, HOST_EVERY, 1) and within(&loop.refusals_in_all, loop.now, ALL_EVERY, ALL_BURST):
        emit(loop, FLOW_REFUSED, index, &body, sizeof(body))
