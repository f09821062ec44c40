"""The leg table from the worker's side: a leg becomes what its Config says, whoever wrote that and whatever was interrupted.

Everything here can be killed anywhere and done again: the version applied is written last, a key is counted as taken only when its
context is whole, and the engine's Config is read as one consistent copy. A core that takes a table over applies what the one
before it had not come to, by the same way.
"""

from libc.stdint cimport int16_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from media_core.shared.abi cimport (
    LATCH_DOUBTED, LATCH_LOCKED, LATCH_OPEN, LEG_AWAY, LEG_CODECS, LEG_DESCRIBED, LEG_OPEN, NO_LEG, NO_PAYLOAD, SOCKET_CONNECTED, SOCKET_OPEN, SOCKET_UNFIT, Config,
    ConfigBlock, Key, Leg, command_ring, config_at, context_at, counters_at, leg_at, worker_of,
)
from media_core.shared.atomic cimport ACQUIRE, RELAXED, RELEASE, fence, load32, store32
from media_core.sound.codec cimport codec_at
from media_core.relay.relay cimport Worker
from media_core.shared.ring cimport Record, Ring, ring_front, ring_pop
from media_core.srtp.srtp cimport SRTP_IN, SRTP_OUT, srtp_adopt, srtp_ctx, srtp_direction, srtp_init, srtp_set_mki, srtp_wipe

cdef extern from "<sys/socket.h>" nogil:
    enum: MSG_DONTWAIT
    ssize_t recv(int fd, void *data, size_t room, int flags)
    struct sockaddr:
        pass
    int connect(int fd, const sockaddr *address, uint32_t length)
    int getsockname(int fd, sockaddr *address, uint32_t *length)

cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void *data, size_t length, unsigned flags)

cdef enum:
    DRAIN = 256                 # stale packets thrown away when a leg is opened


cdef bint read_config(ConfigBlock *block, Config *into, uint32_t *version) noexcept nogil:
    """A consistent copy; False when the engine writes too fast to be read (the command that follows brings us back)."""
    cdef int attempt
    for attempt in range(8):
        version[0] = load32(&block.version, ACQUIRE)
        into[0] = block.copies[version[0] & 1]
        fence(ACQUIRE)
        if load32(&block.version, RELAXED) == version[0]:
            return True
    return False


cdef void drain(Worker *worker, uint32_t index) noexcept nogil:
    """What arrived for the leg's last user is not for the next."""
    cdef uint8_t scrap[16]
    cdef int half, count
    for half in range(2):
        count = 0
        while count < DRAIN and recv(worker.sockets[2 * index + half], scrap, 16, MSG_DONTWAIT) >= 0:
            count += 1
        counters_at(worker.memory, worker.number).stray += count


cdef void leg_connect(Worker *worker, uint32_t index, Leg *leg) noexcept nogil:
    """The latch is locked: tell the kernel. It then drops what others send, and a send costs no look-up of the route.

    `connected` is written first: a core that dies in between leaves a leg that the next one connects or releases again."""
    cdef uint8_t local[32]
    cdef uint32_t room = sizeof(local)
    leg.connected = SOCKET_CONNECTED
    leg.connected_at = <uint32_t>leg.received.packets
    if connect(worker.sockets[2 * index], <const sockaddr *>leg.source.address, leg.source.length) != 0:
        leg_release(worker, index, leg, SOCKET_UNFIT)
    elif getsockname(worker.sockets[2 * index], <sockaddr *>local, &room) == 0 and family(local) == AF_INET:
        memcpy(&leg.local, local + 4, 4)


cdef void leg_release(Worker *worker, uint32_t index, Leg *leg, uint8_t then) noexcept nogil:
    """Let the socket hear everyone again; `then` is its state afterwards."""
    cdef uint8_t nobody[16]
    if leg.connected == SOCKET_CONNECTED:
        memset(nobody, 0, sizeof(nobody))  # AF_UNSPEC
        connect(worker.sockets[2 * index], <const sockaddr *>nobody, sizeof(nobody))
    leg.connected = then
    leg.local = 0


cdef void begin_leg(Worker *worker, uint32_t index, Leg *leg, Config *config) noexcept nogil:
    cdef uint8_t *after = <uint8_t *>&leg.port + sizeof(leg.port)
    cdef uint32_t identity[2]
    leg_release(worker, index, leg, SOCKET_OPEN)
    drain(worker, index)
    srtp_wipe(context_at(worker.memory, index, 0))
    srtp_wipe(context_at(worker.memory, index, 1))
    getrandom(identity, sizeof(identity), 0)
    memset(leg, 0, <uint8_t *>&leg.port - <uint8_t *>leg)  # never the port: the engine may be reading it just now
    memset(after, 0, <uint8_t *>leg + sizeof(Leg) - after)
    leg.peer = NO_LEG
    leg.telephone_event = -1
    leg.opened = worker.now
    leg.received.khz = 8
    leg.received.payload_type = NO_PAYLOAD
    leg.sent.ssrc = identity[0]
    leg.sent.sequence = identity[1] & 0x7FFF
    leg.sent.timestamp = identity[1]
    leg.generation = config.generation


cdef void settle_secured(Leg *leg) noexcept nogil:
    """The keys change now: what came and went until here was encrypted, or was not. Can be done twice."""
    if leg.secure_in:
        leg.secured_received += leg.received.packets - leg.keyed_received
    if leg.secure_out:
        leg.secured_sent += leg.sent.packets - leg.keyed_sent
    leg.keyed_received, leg.keyed_sent = leg.received.packets, leg.sent.packets


cdef uint8_t take_key(Worker *worker, uint32_t index, srtp_direction direction, const Key *key) noexcept nogil:
    """Key a context afresh; 1: it is to be used. A key the library refuses leaves a context that refuses every packet."""
    cdef srtp_ctx *context = context_at(worker.memory, index, direction)
    settle_secured(leg_at(worker.memory, index))
    srtp_wipe(context)
    if key.suite == 0:
        return 0
    srtp_init(worker.crypto, context, key.suite, key.material, key.key_length, key.material + key.key_length, key.salt_length, direction)
    srtp_set_mki(context, key.mki_length)
    return 1


cdef void take_clocks(Leg *leg, const Config *config) noexcept nogil:
    """The clocks of the codecs that were agreed on."""
    cdef uint32_t at
    if codec_at(config.codecs[0]) != NULL:
        leg.received.khz = <uint8_t>(codec_at(config.codecs[0]).clock // 1000)
    leg.received.payload_type = NO_PAYLOAD
    memset(leg.clock_khz, 0, LEG_CODECS)
    for at in range(LEG_CODECS):
        if codec_at(config.codecs[at]) != NULL:
            leg.clock_payloads[at] = config.codec_payloads[at]
            leg.clock_khz[at] = <uint8_t>(codec_at(config.codecs[at]).clock // 1000)


cdef void apply_config(Worker *worker, uint32_t index) noexcept nogil:
    """Make the leg what its Config says. May be killed anywhere and done again: `applied` is written last."""
    cdef Leg *leg = leg_at(worker.memory, index)
    cdef Config config
    cdef uint32_t version
    if not read_config(config_at(worker.memory, index), &config, &version) or leg.applied == version:
        return
    if leg.generation != config.generation:
        begin_leg(worker, index, leg, &config)
    leg.flags = config.flags
    if not config.flags & LEG_OPEN:
        leg_release(worker, index, leg, SOCKET_OPEN)
        leg.peer = NO_LEG
        settle_secured(leg)
        leg.secure_in = leg.secure_out = 0
        srtp_wipe(context_at(worker.memory, index, 0))
        srtp_wipe(context_at(worker.memory, index, 1))
        store32(&leg.applied, version, RELEASE)
        return
    if config.peer != NO_LEG and worker_of(worker.memory, config.peer) != worker.number:
        leg.flags |= LEG_AWAY
    leg.peer = config.peer
    leg.peer_generation = config.peer_generation
    leg.dsp = <uint8_t>(config.dsp % worker.memory.workers)
    leg.telephone_event = <int16_t>config.telephone_event
    memcpy(leg.payload_map, config.payload_map, 128)
    take_clocks(leg, &config)
    leg.signalling = config.signalling
    if config.flags & LEG_DESCRIBED:
        if leg.remote_version != config.remote_version or leg.describe_version != config.describe_version:
            leg_release(worker, index, leg, SOCKET_OPEN)
        if leg.remote_version != config.remote_version:
            leg.locked = LATCH_OPEN
            leg.rtcp_locked = 0
            leg.candidate_count = 0
            leg.source = config.remote
            leg.announced = config.remote
            leg.to = config.remote
            leg.source_rtcp = config.remote_rtcp
            leg.to_rtcp = config.remote_rtcp
            leg.remote_version = config.remote_version
        if leg.version_in != config.version_in:
            leg.secure_in = take_key(worker, index, SRTP_IN, &config.key_in)
            leg.version_in = config.version_in
        if leg.version_out != config.version_out:
            leg.secure_out = take_key(worker, index, SRTP_OUT, &config.key_out)
            leg.version_out = config.version_out
        if leg.describe_version != config.describe_version:
            if leg.locked == LATCH_LOCKED:
                leg.locked = LATCH_DOUBTED
            leg.candidate_count = 0
            leg.described = worker.now
            leg.silent = 0
            leg.describe_version = config.describe_version
    store32(&leg.applied, version, RELEASE)


cdef void adopt_legs(Worker *worker) noexcept nogil:
    """Catch up with everything a former core had not done yet."""
    cdef uint32_t index = worker.number
    cdef Leg *leg
    while index < worker.legs:
        leg = leg_at(worker.memory, index)
        if leg.secure_in:
            srtp_adopt(worker.crypto, context_at(worker.memory, index, 0))
        if leg.secure_out:
            srtp_adopt(worker.crypto, context_at(worker.memory, index, 1))
        apply_config(worker, index)
        if leg.connected == SOCKET_CONNECTED:  # does the socket know?
            if leg.locked == LATCH_LOCKED:
                leg_connect(worker, index, leg)
            else:
                leg_release(worker, index, leg, SOCKET_OPEN)
        index += worker.memory.workers


cdef void take_commands(Worker *worker) noexcept nogil:
    cdef Ring *ring = command_ring(worker.memory, worker.number)
    cdef Record *record = ring_front(ring)
    cdef uint32_t index
    while record != NULL:
        index = <uint32_t>record.id
        if index < worker.legs and worker_of(worker.memory, index) == worker.number:
            apply_config(worker, index)
        ring_pop(ring)
        record = ring_front(ring)
