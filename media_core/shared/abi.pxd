# The shared memory: what `calls` and `core` both see. Fixed-size records, indices and generations, never a pointer.
#
# Who writes what. The engine (in calls) writes Config and Request blocks and posts on the command rings; the core writes Leg,
# Progress, the SRTP contexts and the event rings. The Header's sizes never change. A command only says "look at this leg again":
# the worker compares the versions in Config and Leg, so a command may be lost or repeated, and a new core finds by itself what
# the old one had not done yet.
from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from media_core.flows.flow_table cimport Endpoint, FlowArea
from media_core.shared.ring cimport Ring
from media_core.srtp.srtp cimport SRTP_CTX_SIZE, srtp_ctx

cdef enum:
    ABI_VERSION = 6
    ABI_PAGE = 4096
    ABI_WORKERS = 16            # most workers
    NO_LEG = 0xFFFFFFFF
    NO_PAYLOAD = 0xFF
    KEY_ROOM = 48               # longest SDES key with its salt: 32 + 14
    PLAY_ITEMS = 60             # most tones or digits in one request
    ITEM_TONE = 0xFF            # Item.event of a tone; else the RFC 4733 event
    LEG_CODECS = 8              # most codecs of a leg
    PATHS_ROOM = 2016           # bytes of the paths in one request
    COMMAND_BYTES = 1 << 18     # data bytes of a command ring
    EVENT_BYTES = 1 << 18       # of a worker's event ring
    CROSSING_BYTES = 1 << 19    # of a ring from one worker to another: 100 ms of 500 calls
    FLOW_COMMAND_BYTES = 1 << 21
    FLOW_EVENT_BYTES = 1 << 22

cdef enum:  # Request.kind
    REQUEST_TONES = 0           # EVENT_PLAY_ENDED follows
    REQUEST_DIGITS = 1          # EVENT_DIGITS_SENT follows if it has a serial
    REQUEST_FILES = 2           # EVENT_PLAY_ENDED follows
    REQUEST_LOOPED = 3          # files, again and again

cdef enum:  # Config.flags
    LEG_OPEN = 1
    LEG_DESCRIBED = 2
    LEG_SEND = 4                # we may send to the far end
    LEG_RECEIVE = 8             # it may send to us
    LEG_LOCAL = 16              # loopback addresses are allowed
    LEG_TAKEN = 32              # what it receives goes to the DSP, not to the peer's far end
    LEG_COPIED = 64             # to both
    LEG_RECORDED = 128          # what is received and sent goes to the recorder, too
    LEG_MIXED = 256             # in the conference `room`
    LEG_MUTED = 512             # is not heard there
    LEG_LISTENED = 1024         # keys are to be found in its sound
    LEG_SOUND = 32 | 64 | 256   # the DSP has to do with it
    LEG_AWAY = 2048             # in Leg.flags only: the peer is another worker's

cdef enum:  # PayloadMap: the other law of G.711 there
    OTHER_LAW = 0x80

cdef enum:  # Take.sides
    SIDES_BOTH = 0              # one channel with both sides
    SIDES_RECEIVED = 1          # one channel, what the leg receives
    SIDES_APART = 2             # two channels: received left, sent right

cdef enum:  # Sent.follows: what the outgoing stream is made of now
    FOLLOWS_NOTHING = 0
    FOLLOWS_RELAYED = 1
    FOLLOWS_PLAYER = 2
    FOLLOWS_DSP = 3

cdef enum:  # Leg.locked
    LATCH_OPEN = 0
    LATCH_LOCKED = 1
    LATCH_DOUBTED = 2           # described again: whoever speaks first there has it

cdef enum:  # Leg.connected: is the RTP socket connect()ed to `source`?
    SOCKET_OPEN = 0
    SOCKET_CONNECTED = 1        # the kernel lets nobody else in, and sends without looking for a route
    SOCKET_UNFIT = 2            # it was, and nothing more came: left open until the leg is described again
    SOCKET_SHARED = 3           # the announced address may still claim it (latch.pyx)

cdef enum:  # type of a record on a worker's command ring; id is the leg
    COMMAND_SYNC = 1            # Config has changed
    COMMAND_PLAY = 2            # Request has changed (a DSP's ring)
    COMMAND_RECORD = 3          # Take has changed (the recorder's ring)

cdef enum:  # type of a record on a ring from one worker to another (crossing.pyx); id is the leg it leaves on
    CROSSING_RTP = 1
    CROSSING_RTCP = 2

cdef enum:  # type of a record on a worker's event ring; id is the leg, the payload an EventBody
    EVENT_CORE_STARTED = 1
    EVENT_MEDIA_STARTED = 2
    EVENT_MEDIA_SILENT = 3
    EVENT_DIGIT = 4
    EVENT_PLAY_ENDED = 5
    EVENT_RECORD_ENDED = 6
    EVENT_SSRC = 7
    EVENT_FORGED = 8
    EVENT_QUALITY = 9
    EVENT_DIGITS_SENT = 10

cdef enum:  # EventBody.b of EVENT_QUALITY
    QUALITY_POOR = 1 << 31

cdef struct EventBody:
    uint32_t a                  # generation of the core | seconds | code of the digit | SSRC | packets since the last | loss in 1/1000
    uint32_t b                  # milliseconds | 1: it failed | changes since the last | packets in all | jitter in 0.1 ms, QUALITY_POOR
    uint32_t c                  # serial of what was played, sent or recorded

cdef struct Key:
    uint8_t suite               # srtp suite, 0: plain
    uint8_t key_length
    uint8_t salt_length
    uint8_t mki_length          # octets of MKI in its packets (RFC 3711 section 3.1), 0: none
    uint8_t material[KEY_ROOM]  # master key followed by the salt

cdef struct Config:             # what signalling says of a leg; written by the engine as a whole
    uint32_t generation
    uint32_t flags
    uint32_t peer               # leg that gets what this one receives, NO_LEG, or itself: echo
    uint32_t peer_generation
    Endpoint remote
    Endpoint remote_rtcp
    Endpoint signalling         # port 0; length 0: media is learned from the signalled address only
    int32_t telephone_event     # payload type or -1
    uint32_t remote_version     # changes with the far end's address: the latch is opened
    uint32_t describe_version   # changes with every describe: the latch may move if the old source has gone
    uint32_t version_in         # changes with the key
    uint32_t version_out
    Key key_in                  # its sending key
    Key key_out                 # ours
    uint8_t payload_map[128]    # payload type here -> at the peer; OTHER_LAW is added where G.711 changes its law
    uint32_t room               # number of the conference
    uint32_t dsp                # which DSP has to do with it: the leg's own worker's, or the one where its peer or its conference is
    uint8_t codecs[LEG_CODECS]  # rows of the codec table, and their payload types; the first is what we send. 0: the list is over
    uint8_t codec_payloads[LEG_CODECS]

cdef struct ConfigBlock:        # copies[version & 1] is valid; the other one is being written
    uint32_t version
    uint32_t room[15]
    Config copies[2]

cdef struct Item:               # one tone, pause or digit
    float first                 # Hz, 0: none
    float second
    uint32_t milliseconds
    uint32_t event              # ITEM_TONE or an RFC 4733 event code

cdef struct Request:            # what is to be played; odd version: being written
    uint32_t version
    uint32_t generation
    uint32_t count              # 0: stop
    uint32_t payload_type       # to send
    uint32_t kind               # REQUEST_*
    uint32_t serial             # of whoever asked; 0: none
    uint32_t room[2]
    Item items[PLAY_ITEMS]
    char paths[PATHS_ROOM]      # files, each ended by a zero byte

cdef struct Progress:           # written by the player
    uint32_t version            # the request it is on
    uint32_t item
    uint32_t sample             # within the item
    uint32_t done               # version of the last request that ended
    uint32_t kind               # of the request it is on
    uint32_t offset             # samples since the request began
    uint32_t serial             # of the request it is on
    uint32_t failed             # 1: a file of the last request that ended could not be read

cdef struct Player:
    Request request
    Progress progress
    uint32_t told               # by the worker: version of the last request whose end it has told
    uint32_t holder             # number of the DSP that writes Progress + 1, 0: none does
    uint32_t room[6]

cdef struct Take:               # what is to be recorded of a leg; odd version: being written
    uint32_t version
    uint32_t generation
    uint32_t done               # by the recorder: version of the last one that is over
    uint32_t sides              # SIDES_*
    uint32_t limit              # ms, 0: none
    uint32_t serial             # of whoever asked; 0: none
    uint64_t began              # by the recorder: ns; 0: not begun. A later core goes on with the file
    uint32_t stopped            # 1: it shall end
    uint32_t length             # by the recorder: ms of the last one that is over
    uint32_t failed             # and whether its file is not complete
    uint32_t told               # by the recorder: version of the last one whose end it has told
    char path[PATHS_ROOM]

cdef struct Received:           # one cache line, written once per packet received
    uint64_t packets
    uint64_t bytes
    uint64_t last               # ns, CLOCK_MONOTONIC
    uint64_t window             # bit n: highest - n was seen
    uint32_t ssrc
    uint32_t highest            # extended sequence number
    uint32_t transit            # RFC 3550 A.8
    uint32_t jitter             # times 16, timestamp units
    uint32_t lost
    uint32_t reordered
    uint32_t duplicates
    uint8_t khz                 # of the timestamps
    uint8_t payload_type        # khz is that of; NO_PAYLOAD: of the first codec
    uint16_t room

cdef struct Losses:             # RFC 3611 section 4.7.2, see stream.pyx; written when a packet is missing
    uint32_t begin              # extended sequence numbers of the first and the last lost packet of the run in progress
    uint32_t end
    uint32_t lost               # of the run
    uint32_t bursts             # runs that have ended, of two lost packets at least
    uint32_t burst_lost         # packets lost in them
    uint32_t burst_packets      # their length
    uint32_t burst_longest

cdef struct Sent:               # one cache line, written once per packet sent
    uint64_t packets
    uint64_t bytes
    uint64_t last
    uint32_t rtcp
    uint32_t failed             # the kernel refused it
    uint32_t ssrc               # ours, the same for the life of the leg
    uint32_t source             # SSRC of the stream behind it
    uint32_t timestamp          # last one sent
    uint32_t timestamp_shift    # out = in + shift
    uint16_t sequence           # highest one sent
    uint16_t sequence_shift
    uint16_t floor              # nothing at or below it is sent: another source had it
    uint8_t follows             # FOLLOWS_*
    uint8_t injecting           # the player holds the stream: relayed packets wait outside
    uint32_t base               # timestamp at which the player began
    uint8_t payload_type        # of the last packet
    uint8_t room[3]

cdef struct Leg:                # what the packet loop reads and writes
    # line 0: is the packet welcome
    uint32_t generation
    uint32_t flags              # of Config
    uint32_t peer
    uint32_t peer_generation
    Endpoint source             # where media is expected from: signalled, or latched
    uint8_t locked              # source is what media really came from
    uint8_t started             # MediaStarted was told
    uint8_t secure_in
    uint8_t secure_out
    int16_t telephone_event
    uint8_t connected           # SOCKET_*
    uint8_t dsp                 # of Config
    uint32_t local              # our IPv4 address towards a connected far end, as it stands in a packet; else 0
    uint32_t silent             # seconds of silence told
    # line 1: where to send
    Endpoint to
    Endpoint to_rtcp
    # lines 2 and 3
    Received received
    Sent sent
    # lines 4 and 5
    uint8_t payload_map[128]
    # line 6: learning
    Endpoint candidate
    uint32_t candidate_ssrc
    uint16_t candidate_sequence
    uint16_t candidate_count
    uint32_t remote_version     # of Config, as applied
    uint32_t describe_version
    uint32_t version_in
    uint32_t version_out
    uint32_t port               # local RTP port
    uint64_t described          # ns
    # line 7: rare
    uint64_t dropped_source
    uint64_t dropped_auth
    uint64_t dropped_other
    uint64_t opened             # ns; 0: never
    uint32_t digit              # code + 1 of the key being pressed, 0: none
    uint32_t digit_timestamp
    uint32_t digit_duration     # timestamp units
    uint32_t digit_told
    uint64_t digit_last         # ns
    uint32_t rtcp_received
    uint32_t rtcp_locked
    # line 8
    Endpoint signalling
    Endpoint source_rtcp
    # line 9: what the far end's RTCP says of what we send
    uint32_t reported_lost
    uint32_t reported_jitter    # timestamp units
    uint64_t reported           # ns
    uint32_t reporter_sr        # the middle of the NTP time in its last sender report
    uint32_t report_lost        # what stood in our last report
    uint64_t reporter_time      # ns: when that came
    uint64_t report_time        # ns: when ours went
    uint32_t report_expected
    uint32_t connected_at       # packets received when the socket was connected
    uint64_t sender_time        # ns: when the last sender report went to it
    uint32_t sender_sr          # the middle of the NTP time in that
    uint32_t round_trip         # us
    # line 10
    Losses losses
    uint32_t ssrc_changes
    uint8_t clock_payloads[LEG_CODECS]  # of its codecs, and their clocks; 0: the list is over
    uint8_t clock_khz[LEG_CODECS]
    uint64_t digit_room         # ns: how far ahead of its time the last key was (notice.pyx)
    uint32_t reported_fraction  # of 256
    uint32_t ssrc_told          # of the changes
    # line 11: notices; times are seconds
    uint32_t forged             # packets that failed authentication
    uint32_t forged_told
    uint32_t forged_at
    uint32_t quality_at         # 0: nothing yet
    uint32_t quality_packets    # what stood there then
    uint32_t quality_lost
    uint32_t quality_poor
    uint32_t applied            # ConfigBlock.version this was made from; written last
    Endpoint forged_source      # of the first since the last notice
    # line 13: the latch (latch.pyx)
    Endpoint announced          # where signalling says that media comes from
    uint64_t latched            # ns: when `source` was believed
    uint64_t rtcp_last          # ns: when RTCP came last
    uint32_t source_changes     # how often the source has become another, by the way
    uint32_t latch_room[3]
    # line 14: what was encrypted; received.packets and sent.packets when the keys were last changed, and the SRTP packets until then
    uint64_t keyed_received
    uint64_t keyed_sent
    uint64_t secured_received
    uint64_t secured_sent
    uint64_t secured_room[4]

cdef struct WorkerCounters:     # one per worker, its own lines
    uint64_t packets_in
    uint64_t packets_out
    uint64_t dropped
    uint64_t stray              # arrived at a free leg
    uint64_t batches
    uint64_t beat               # ns: the packet loop was alive; 0: not yet under this core
    uint64_t dsp_lost           # packets that found the DSP's ring full
    uint64_t recorder_lost      # the recorder's
    uint64_t dsp_skipped        # steps of 20 ms left out because the DSP was late
    uint64_t dsp_beat           # ns: the DSP was alive; 0: not yet under this core
    uint64_t crossed            # packets given to other workers, for their legs
    uint64_t crossing_lost      # that found the other worker's ring full
    uint64_t room[4]

cdef struct Header:
    uint64_t magic
    uint32_t version
    uint32_t legs
    uint32_t flows
    uint32_t workers
    uint64_t size
    # offsets from the beginning of the memory
    uint64_t counters           # WorkerCounters[workers]
    uint64_t commands           # Ring per worker, then one per DSP, then the recorder's
    uint64_t events             # Ring per worker, then the recorder's
    uint64_t flow_commands
    uint64_t flow_events
    uint64_t leg_table
    uint64_t config_table
    uint64_t player_table
    uint64_t contexts           # SRTP: in and out of leg 0, in and out of leg 1, ...
    uint64_t flow_area
    uint64_t flow_area_size
    uint64_t take_table
    uint64_t born               # a number drawn when it was made: positions in the rings of another memory mean nothing here
    uint64_t crossings          # Ring from worker n to worker m at n * workers + m
    uint64_t room[5]
    # written by the core
    uint32_t generation         # how many cores have adopted this memory
    uint32_t usable             # legs that have sockets
    uint32_t pid
    uint32_t room2
    Endpoint local              # address the RTP sockets are bound to
    char datapath[64]           # its name, and why a better one is not to be had
    char cipher[192]            # the SRTP code in use, and what it was held against at the start of the core (proof.py)
    uint32_t cipher_differs     # 1: what the core had chosen was not as it should be, and another is used
    uint32_t room3

cdef inline Leg *leg_at(Header *memory, uint32_t index) noexcept nogil:
    return <Leg *>(<uint8_t *>memory + memory.leg_table) + index

cdef inline ConfigBlock *config_at(Header *memory, uint32_t index) noexcept nogil:
    return <ConfigBlock *>(<uint8_t *>memory + memory.config_table) + index

cdef inline Player *player_at(Header *memory, uint32_t index) noexcept nogil:
    return <Player *>(<uint8_t *>memory + memory.player_table) + index

cdef inline srtp_ctx *context_at(Header *memory, uint32_t index, uint32_t outgoing) noexcept nogil:
    return <srtp_ctx *>(<uint8_t *>memory + memory.contexts + (2 * <uint64_t>index + outgoing) * SRTP_CTX_SIZE)

cdef inline Take *take_at(Header *memory, uint32_t index) noexcept nogil:
    return <Take *>(<uint8_t *>memory + memory.take_table) + index

cdef inline FlowArea *flow_area(Header *memory) noexcept nogil:
    return <FlowArea *>(<uint8_t *>memory + memory.flow_area)

cdef inline WorkerCounters *counters_at(Header *memory, uint32_t worker) noexcept nogil:
    return <WorkerCounters *>(<uint8_t *>memory + memory.counters) + worker

cdef inline Ring *command_ring(Header *memory, uint32_t worker) noexcept nogil:
    """worker + memory.workers: its DSP's; 2 * memory.workers: the recorder's."""
    return <Ring *>(<uint8_t *>memory + memory.commands + worker * (sizeof(Ring) + COMMAND_BYTES))

cdef inline Ring *crossing_ring(Header *memory, uint32_t giver, uint32_t taker) noexcept nogil:
    return <Ring *>(<uint8_t *>memory + memory.crossings + (giver * memory.workers + taker) * (sizeof(Ring) + CROSSING_BYTES))

cdef inline uint32_t worker_of(const Header *memory, uint32_t index) noexcept nogil:
    return index % memory.workers

cdef inline Ring *event_ring(Header *memory, uint32_t worker) noexcept nogil:
    return <Ring *>(<uint8_t *>memory + memory.events + worker * (sizeof(Ring) + EVENT_BYTES))
