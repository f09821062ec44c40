# The flow area: what `calls` and the flows thread of `core` both see of the SIP sockets. Fixed-size, no pointer.
#
# How the pieces are started (for the engine and `serve`):
#   memory   flows_area_size(n) bytes at a 64-byte boundary, flows_area_init(area, n) once; a command and an event ring of at
#            least 256 KiB each.
#   core     FlowLoop(area, commands, events, core_wake, calls_wake, sip, tls) raises what is wrong with sockets and files at
#            once; run() leaves the GIL and returns after stop(), which any thread may call. Addresses are given as integers.
#   calls    FlowClient(area, commands, events, core_wake): dial, send, shut, keep, flow, flows, listeners, poll, counters.
# core_wake is watched edge-triggered and never read by anybody, so every thread of the core sees every signal. calls_wake is
# signalled when the event ring becomes non-empty, and once when the loop starts; whoever polls clears it before draining.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    FLOW_VERSION = 2
    FLOW_LISTENERS = 32
    FLOW_TEXT = 64
    FLOW_NAME = 256

cdef enum:  # FlowEntry.state; only the core changes it
    FLOW_FREE = 0
    FLOW_OPENING = 1    # dialled, not connected yet; or accepted, TLS handshake not done
    FLOW_OPEN = 2
    FLOW_OWED = 3       # closed, its FlowClosed did not fit into the event ring yet; text holds the reason

cdef enum:  # records on the command ring; id is the flow
    FLOW_DIAL = 1       # payload DialBody
    FLOW_SEND = 2       # payload: bytes
    FLOW_SHUT = 3
    FLOW_KEEP = 4       # payload: one byte, 0 or 1

cdef enum:  # RefusalBody.reason, a row of REFUSALS in flow_table.pyx
    REFUSAL_CIPHER = 0
    REFUSAL_VERSION = 1
    REFUSAL_NOT_TLS = 2
    REFUSAL_CERTIFICATE = 3
    REFUSAL_BROKEN = 4

cdef enum:  # records on the event ring; id is the flow
    FLOW_OPENED = 1     # payload FlowBody
    FLOW_RECEIVED = 2   # payload: bytes
    FLOW_CLOSED = 3     # payload: reason, text
    FLOW_UNREACHABLE = 4    # no payload
    FLOW_REFUSED = 5    # payload RefusalBody; the id is of no flow that anybody knows

cdef struct Endpoint:       # 32 bytes: a sockaddr_in or sockaddr_in6 as the kernel wants it
    uint8_t address[28]
    uint32_t length         # 0: none

cdef struct FlowBody:
    uint32_t transport
    uint32_t room
    Endpoint local
    Endpoint remote
    char text[FLOW_TEXT]    # TLS version and cipher, "" when plain

cdef struct DialBody:
    uint32_t transport
    uint32_t room
    Endpoint remote
    char server_name[FLOW_NAME]

cdef struct RefusalBody:    # a TLS handshake that failed
    Endpoint remote
    uint32_t reason
    uint32_t room
    char detail[FLOW_TEXT]

cdef struct FlowEntry:      # three cache lines, written by the core only
    uint32_t sequence       # odd: being written
    uint32_t generation
    uint32_t state
    uint32_t listener       # UDP: the listener it belongs to
    uint8_t kept
    uint8_t room[7]
    uint64_t seen           # ms, CLOCK_MONOTONIC: the last bytes from there
    FlowBody body

cdef struct FlowCounters:   # written by the core, since the memory was made
    uint64_t opened
    uint64_t closed
    uint64_t refused        # connections that found every place kept
    uint64_t messages_in
    uint64_t messages_out
    uint64_t dropped_full   # datagrams that found no room in the event ring
    uint64_t dropped_noise  # datagrams that are no SIP: STUN, NULs, garbage
    uint64_t dropped_table  # datagrams of new sources while every UDP entry is kept
    uint64_t dropped_send   # sends to flows that are gone or that the kernel refused
    uint64_t evicted        # unproved flows that made room for another
    uint64_t framing        # streams closed for bad framing
    uint64_t timeouts       # streams closed by a limit of time
    uint64_t handshakes     # TLS handshakes done
    uint64_t handshakes_failed
    uint64_t keepalives     # STUN requests answered
    uint64_t unreachable    # UDP flows ICMP said nobody takes datagrams at

cdef struct FlowArea:
    uint64_t magic
    uint32_t version
    uint32_t count
    uint32_t dial_end       # entries [0, dial_end) are dialled, [dial_end, udp_end) UDP, [udp_end, count) accepted streams
    uint32_t udp_end
    # written by the core
    uint32_t starts         # flow loops that have run on this memory
    uint32_t listeners
    uint32_t starved        # the event ring was full: the client signals core_wake when it has consumed
    uint32_t room1
    uint64_t beat           # ns: the loop was alive; 0: not yet under this core
    uint32_t room2[4]
    FlowBody listener[FLOW_LISTENERS]
    FlowCounters counters
    # written by the client
    uint32_t dialled        # generation of the last dialled flow
    uint32_t room3[15]

cdef uint64_t flows_area_size(uint32_t count) noexcept nogil
cdef int flows_area_init(FlowArea *area, uint32_t count) noexcept nogil
cdef bint flows_area_valid(const FlowArea *area, uint64_t room) noexcept nogil
cdef uint32_t endpoint_port(const Endpoint *place) noexcept nogil
cdef uint64_t hash_place(uint64_t seed, uint32_t salt, const Endpoint *place, bint port) noexcept nogil
cdef bint same_place(const Endpoint *a, const Endpoint *b, bint port) noexcept nogil
cdef int endpoint_set(Endpoint *place, str host, int port) except -1
cdef tuple endpoint_tuple(const Endpoint *place)

cdef inline FlowEntry *flow_at(FlowArea *area, uint32_t index) noexcept nogil:
    return <FlowEntry *>(area + 1) + index
