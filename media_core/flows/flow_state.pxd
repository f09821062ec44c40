# What the parts of the flows thread share: the loop, its tables beside the shared one, and the events up.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from media_core.flows.flow_places cimport Places
from media_core.flows.flow_table cimport Endpoint, FlowArea, FlowBody, FlowCounters, FlowEntry, FLOW_LISTENERS
from media_core.flows.framing cimport Frame
from media_core.shared.ring cimport RING_MAX, Ring
from media_core.flows.tls cimport SSL, SSL_CTX

cdef enum:
    NONE = 0xFFFFFFFF           # no index
    SCRATCH = 65536             # bytes of a read, and of a datagram
    BATCH = 16                  # datagrams received at once
    REASON = 120
    SOURCES = 1024              # whose rate is looked after; two that fall together share it
    RESERVE = 2 * (RING_MAX + 32)   # free bytes of the event ring below which nothing is read
    TAG_LISTENER = 0x80000000   # epoll data below TAG: a flow's index, its generation above
    TAG_WAKE = 0xFFFFFFFE
    TAG_STOP = 0xFFFFFFFF
    UDP = 1                     # Transport
    TCP = 2
    TLS = 3

cdef enum:  # Conn.phase
    PHASE_NONE = 0
    PHASE_CONNECTING = 1
    PHASE_HANDSHAKE = 2
    PHASE_UP = 3
    PHASE_DRAINING = 4          # shut: waits until what was sent is out

cdef struct FlowLimits:         # milliseconds, bytes
    uint64_t connect
    uint64_t handshake
    uint64_t first_message
    uint64_t message            # from the first byte of a message to its last
    uint64_t idle
    uint64_t write_stall
    uint64_t unproved           # a stream that nobody has registered over; silence of such a UDP flow
    uint64_t grace              # a younger one is not the first to make room
    uint64_t answer             # for what was asked before the other side stopped sending
    uint64_t tick
    uint32_t write_bytes
    uint32_t user_timeout
    uint32_t keepalive          # seconds until the first TCP probe

cdef struct Conn:               # a stream, at the index of its entry
    int fd
    SSL *ssl
    uint8_t phase
    uint8_t readable            # not known to be empty (edge-triggered)
    uint8_t writable
    uint8_t queued              # in the run queue
    uint8_t accepted
    uint8_t spoken              # has carried a message
    uint8_t unparsed            # whole messages may wait in in_bytes: the event ring was full
    uint32_t asked              # requests that have no final response yet
    const char *ending          # why it is closed once they have; NULL: it is not
    uint32_t in_length
    uint32_t in_room
    uint32_t out_start
    uint32_t out_length
    uint32_t out_room
    uint8_t *in_bytes           # begin of a message that is not whole
    uint8_t *out_bytes          # accepted for sending, not taken by the kernel yet
    uint64_t since              # ms: begin of the phase
    uint64_t partial_since      # ms; 0: no message is under way
    uint64_t stalled_since      # ms; 0: nothing waits for the kernel
    uint64_t ending_since       # ms
    Frame frame

cdef struct Peer:               # a UDP flow, at the index of its entry
    uint32_t hash_next
    uint64_t sent               # ms: the last datagram to it, 0: none since ICMP told of it

cdef struct Rate:               # what is allowed a source, see allowed()
    uint64_t until[SOURCES]     # ms

cdef struct Listener:
    int fd
    uint32_t transport
    uint8_t pending             # may have something to accept or to receive
    uint8_t wildcard            # bound to no address: the local address is told per datagram
    uint8_t troubled            # ICMP errors may wait
    uint8_t deaf                # to them, until the next tick: too many came
    uint32_t errors             # since the last tick
    Endpoint local

cdef struct Loop:
    FlowArea *area
    FlowCounters *count
    Ring *commands
    Ring *events
    int epoll
    int wake
    int calls_wake
    int stop_wake
    bint stopping
    FlowLimits limits
    SSL_CTX *tls_server
    SSL_CTX *tls_client
    uint64_t now                # ms, CLOCK_MONOTONIC, once per round
    uint64_t next_tick
    uint64_t seed
    uint32_t listeners
    Listener listener[FLOW_LISTENERS]
    Conn *conn                  # [area.count]
    Peer *peer                  # [area.count]
    uint32_t *bucket            # [mask + 1] UDP flows by address
    uint32_t mask
    uint32_t *free_udp          # stacks of free indices
    uint32_t *free_stream
    uint32_t free_udp_count
    uint32_t free_stream_count
    Places unproved_udp
    Places unproved_streams
    Rate answers                # to STUN
    Rate refusals               # told of failed handshakes
    uint64_t refusals_in_all
    uint32_t *run               # ring of streams to be served
    uint32_t run_first
    uint32_t run_count
    uint32_t owed               # entries in FLOW_OWED
    uint8_t *scratch            # [SCRATCH]
    void *batch                 # the datagrams' own

cdef uint64_t clock_ms() noexcept nogil
cdef uint64_t id_of(Loop *loop, uint32_t index) noexcept nogil
cdef bint full(Loop *loop, uint64_t reserve) noexcept nogil
cdef int emit(Loop *loop, uint32_t type, uint32_t index, const void *payload, uint32_t length) noexcept nogil
cdef void entry_fill(Loop *loop, uint32_t index, uint32_t generation, uint32_t state, uint32_t listener, const FlowBody *body) noexcept nogil
cdef void entry_state(Loop *loop, uint32_t index, uint32_t state, const char *text) noexcept nogil
cdef void entry_opened(Loop *loop, uint32_t index, const char *text) noexcept nogil
cdef void entry_closed(Loop *loop, uint32_t index, const char *reason) noexcept nogil
cdef void pay_owed(Loop *loop) noexcept nogil
cdef void enqueue(Loop *loop, uint32_t index) noexcept nogil
cdef bint allowed(Loop *loop, Rate *rate, const Endpoint *source, uint64_t every, uint64_t burst) noexcept nogil
cdef bint within(uint64_t *until, uint64_t now, uint64_t every, uint64_t burst) noexcept nogil
cdef uint32_t take_free(Loop *loop, bint udp) noexcept nogil
