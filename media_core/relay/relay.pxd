# The packet loop's types, and the face every datapath has.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from media_core.shared.abi cimport ABI_WORKERS, Endpoint, Header
from media_core.shared.ring cimport Ring
from media_core.srtp.srtp cimport srtp_engine, srtp_job

cdef enum:
    BATCH = 64
    PACKET_ROOM = 2048          # bytes of a packet buffer, tail room for the SRTP trailer included
    PACKET_LARGEST = 1900       # longer datagrams are dropped
    HEADROOM = 64               # bytes before a packet in the worker's own room: the raw datapath writes the headers there
    COMMON_BUFFER = -1          # Packet.buffer of a packet in the worker's own room: made here, or come from another worker

cdef enum:  # of Worker.made, in batches
    ROOM_FRAMES = 0
    ROOM_REPORTS = 1
    ROOM_CROSSINGS = 2
    ROOMS = 3

cdef enum:  # Packet.verdict
    DROPPED = 0
    WELCOME = 1
    ELSEWHERE = 2               # welcome, though not from the known source
    MADE = 3                    # by the player

cdef struct Packet:
    uint8_t *data
    const uint8_t *source       # sockaddr as the kernel gave it
    uint32_t length
    uint32_t leg                # it came in on
    uint32_t out                # it leaves on; NO_LEG: nowhere
    int32_t buffer              # the datapath's
    uint8_t rtcp
    uint8_t rtcp_socket         # came in on the RTCP socket
    uint8_t verdict
    uint8_t connected           # its socket is connected to `to`
    uint32_t socket             # to send on: index into the worker's sockets
    const Endpoint *to          # NULL: not sent

cdef struct Worker

ctypedef int (*datapath_open)(Worker *) noexcept nogil
ctypedef void (*datapath_step)(Worker *) noexcept nogil
ctypedef int (*datapath_collect)(Worker *, int milliseconds) noexcept nogil

cdef struct Datapath:
    const char *name
    datapath_open open          # 0, or -errno: this kernel will not have it
    datapath_collect collect    # waits, fills batch, returns their number
    datapath_step send          # sends every packet of the batch that has a `to`, takes all buffers back
    datapath_step flush         # what is queued to be sent leaves now: a socket's far end is about to change
    datapath_step close

cdef struct Worker:
    Header *memory
    const int *sockets          # of leg n: RTP 2n, RTCP 2n + 1
    Datapath datapath
    void *state                 # the datapath's
    int *stopping
    Worker *workers             # all of them, by number
    Ring *frames[ABI_WORKERS]   # from each DSP
    Ring *taps[ABI_WORKERS]     # to each DSP
    Ring *tees                  # to the recorder
    int raw                     # hears the ports of its legs (receiver.py); -1: there is none, each port is listened to
    int core_wake
    int calls_wake
    int wake                    # of this worker alone: frames, or packets from another worker
    uint32_t gathers            # packets come so densely that it looks round within a millisecond: nobody need wake it
    uint32_t taken_in           # packets that came from other workers
    uint8_t wakes[ABI_WORKERS]  # other workers that have to be woken at the end of the batch
    uint32_t number
    uint32_t legs               # with sockets
    uint32_t turn               # which of the other workers is looked at first
    uint32_t cursor             # housekeeping goes round the table in slices
    uint64_t now                # ns, CLOCK_MONOTONIC, read once per batch
    uint64_t tick
    uint32_t count
    Packet batch[BATCH]
    uint8_t *made               # COMMON_BUFFERs, ROOM_*: a batch of each kind, for sends may be queued
    srtp_engine *crypto
    srtp_job jobs[BATCH]
    uint8_t jobs_packet[BATCH]  # which packet of the batch the job is

cdef enum:  # type of a record from the player
    FRAME_AUDIO = 1
    FRAME_EVENT = 2             # RFC 4733
    FRAME_END = 3               # the request is over
    FRAME_PAUSE = 4             # nothing to send: holds the stream
    FRAME_DIGIT = 5             # a key was found in the leg's sound: an EventBody

cdef struct Frame:              # id is the leg
    uint32_t offset             # timestamp units since the request or the stream began
    uint8_t payload_type
    uint8_t marker
    uint8_t first               # of a request
    uint8_t told                # FRAME_END: the event that is due; its EventBody is in the data, `a` the version of the request
    uint16_t length
    uint8_t stream              # part of a stream that the DSP makes for as long as the leg is connected; plays go before it
    uint8_t khz                 # of the timestamps
    uint8_t data[320]


cdef inline uint8_t *common_room(Worker *worker, uint32_t kind) noexcept nogil:
    """Room for the next packet of the batch, with room for the headers of IP before it."""
    return worker.made + (<size_t>kind * BATCH + worker.count) * (HEADROOM + PACKET_ROOM) + HEADROOM

cdef uint64_t clock_now() noexcept nogil  # ns, CLOCK_MONOTONIC
cdef int worker_run(Worker *worker) noexcept nogil
cdef void worker_event(Worker *worker, uint32_t type, uint64_t id, uint32_t a, uint32_t b) noexcept nogil
