"""The DSP: plays, transcoding, conferences and in-band keys, in one thread per worker at lower priority than the packet loop.

The worker copies packets of the legs concerned into a ring and never waits; this thread keeps them in jitter buffers and makes a
frame for every leg each 20 ms, which goes back over another ring and is numbered, sealed and sent by the worker. Legs are spread
over 20 phases of 1 ms, a room's members share one. A leg is the business of its own worker's DSP, but for legs of two workers that are
transcoded to each other, and for conferences: all of these are one DSP's, and each worker still receives for its legs, and sends.
`Config.dsp` says whose. When a leg moves to another DSP what plays on it goes with it (`Player.holder`). What a leg hears, in this order: what is played to it, its conference, the leg
it is connected to. A Line is what is known of a leg; it is allocated when sound begins to matter and rebuilt from the leg's
Config by a core that takes over (what was in the jitter buffer is lost, a play goes on where it was).

Keys: RFC 4733 events of a connected leg are passed on, or turned into tones for a far end that takes none; tones found in the sound
of a leg without telephone-event are told as events, and sent as events to the other leg if that takes them.
"""

from libc.errno cimport errno
from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from media_core.shared.abi cimport (
    COMMAND_PLAY, LEG_DESCRIBED, LEG_MIXED, LEG_MUTED, LEG_OPEN, LEG_SEND, LEG_SOUND, LEG_TAKEN, NO_LEG, Config, Leg,
    WorkerCounters, command_ring, config_at, counters_at, leg_at,
)
from media_core.shared.atomic cimport RELAXED, load32
from media_core.sound.codec cimport CODEC_COUNT, Encoder, codec_at, decoder_close, encoder_close, encoder_loss, encoder_open
from media_core.sound.dtmf cimport detector_close, digit_tones, tone_make
from media_core.sound.jitter cimport jitter_begin, jitter_put
from media_core.relay.leg cimport read_config
from media_core.sound.line cimport PHASES, Dsp, Line, Room, pull, rate_in, send_encoded, send_sound, sending_codec, stream_khz
from media_core.sound.mixer cimport MIX_SAMPLES, Voice, mix_hear, mix_sum
from media_core.sound.play cimport play_held, play_let_go, play_step, play_waits
from media_core.sound.player cimport sound_end
from media_core.relay.relay cimport Frame
from media_core.sound.resample cimport resample, resample_begin
from media_core.shared.ring cimport Record, Ring, ring_front, ring_payload, ring_pop
from media_core.relay.tap cimport Tap

cdef extern from "<sys/epoll.h>" nogil:
    enum: EPOLLIN, EPOLLET, EPOLL_CTL_ADD, EPOLL_CLOEXEC
    struct epoll_event:
        uint32_t events
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_wait(int epfd, epoll_event *events, int most, int timeout)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef extern from "<time.h>" nogil:
    struct timespec:
        int64_t tv_sec
        int64_t tv_nsec
    enum: CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *time)

cdef extern from "<unistd.h>" nogil:
    int nice(int more)

cdef extern from "<sys/prctl.h>" nogil:
    enum: PR_SET_NAME
    int prctl(int option, ...)

cdef enum:
    TICK_MS = 20
    TONE_SAMPLES = 160          # 20 ms at 8 kHz
    NICE = 3                    # behind the relay
    LOSS_STEPS = 250            # 5 s
    LONG_KEY = 0x7FFFFFFF
    LATE_MS = 200               # so far behind, steps are left out
    IDLE_MS = 500               # with nothing to do it beats so often
    ROOM_MEMBERS = 4096


cdef uint64_t milliseconds_now() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <uint64_t>time.tv_sec * 1000 + time.tv_nsec / 1000000


# ---- steps -------------------------------------------------------------------------------------------------------------------

cdef inline uint32_t phase_of(const Dsp *dsp, uint64_t id) noexcept nogil:
    return <uint32_t>id // dsp.memory.workers % PHASES


cdef inline bint may_send(const Line *line) noexcept nogil:
    return (line.config.flags & (LEG_DESCRIBED | LEG_SEND)) == (LEG_DESCRIBED | LEG_SEND)


cdef Line *connected(Dsp *dsp, const Line *line) noexcept nogil:
    """The leg whose sound this one gets, if the DSP brings it."""
    cdef Line *other
    if not line.config.flags & LEG_TAKEN or line.config.flags & LEG_MIXED or line.config.peer == NO_LEG:
        return NULL
    other = dsp.lines[line.config.peer]
    if other == NULL or other.id >> 32 != line.config.peer_generation:
        return NULL
    return other


cdef void bridge_step(Dsp *dsp, Line *line, Line *other) noexcept nogil:
    """What `other` says, to `line`."""
    cdef int16_t samples[MIX_SAMPLES]
    cdef float first = 0, second = 0
    cdef int count = pull(dsp, other, line, samples)
    cdef uint32_t rate = rate_in(other)
    if other.key.on and dsp.now > other.key.until:
        other.key.on = 0
    if line.playing or not may_send(line):
        return
    if other.key.on:
        if line.config.telephone_event >= 0:
            return  # the event packets stand for the sound
        if other.config.telephone_event >= 0:
            digit_tones(other.key.code, &first, &second)
            tone_make(first, second, (line.offset - other.key.offset) // (stream_khz(line) // 8), LONG_KEY, 8000, samples, TONE_SAMPLES)
            count, rate = TONE_SAMPLES, 8000
    if count:
        send_sound(dsp, line, rate, samples)


cdef void heed_loss(Dsp *dsp, Line *line) noexcept nogil:
    """Every 5 s: what the far end says it has lost decides on forward error correction."""
    cdef Leg *leg = leg_at(dsp.memory, <uint32_t>line.id)
    cdef uint32_t lost = leg.reported_lost - line.reported_lost
    cdef uint64_t sent = leg.sent.packets - line.reported_sent
    if sent and lost <= sent:
        encoder_loss(&line.encoder, <uint32_t>((100 * lost + sent - 1) // sent))
    line.reported_lost = leg.reported_lost
    line.reported_sent = leg.sent.packets


cdef void line_step(Dsp *dsp, Line *line) noexcept nogil:
    cdef int16_t samples[MIX_SAMPLES]
    cdef Line *other = connected(dsp, line)
    if line.playing and play_held(dsp, line) and not play_step(dsp, line):
        line.playing = 0
    if line.config.flags & LEG_MIXED:
        return
    if other != NULL:
        bridge_step(dsp, line, other)
    elif line.config.flags & LEG_SOUND:
        pull(dsp, line, NULL, samples)  # only looked into
    line.offset += TICK_MS * stream_khz(line)
    line.steps += 1
    if line.steps % LOSS_STEPS == 0:
        heed_loss(dsp, line)


cdef void room_enter(Dsp *dsp, Room *room, Line *line) noexcept nogil:
    """What a member says in this step, at the room's rate."""
    cdef int16_t samples[MIX_SAMPLES]
    cdef int16_t fitted[2 * MIX_SAMPLES + 8]
    cdef int count = pull(dsp, line, NULL, samples), need = room.rate // 50
    cdef uint32_t rate = rate_in(line)
    cdef int16_t *sound = samples
    line.speaking = count > 0 and not line.config.flags & LEG_MUTED
    if not line.speaking:
        memset(line.voice.sound, 0, sizeof(line.voice.sound))
        return
    if rate != room.rate:
        if line.enter_from != rate << 1 | (room.rate == 16000):
            line.enter_from = rate << 1 | (room.rate == 16000)
            resample_begin(&line.enter, rate, room.rate)
        count = resample(&line.enter, samples, count, fitted)
        sound = fitted
    memset(line.voice.sound, 0, sizeof(line.voice.sound))
    memcpy(line.voice.sound, sound, (count if count < need else need) * sizeof(int16_t))


cdef void room_send(Dsp *dsp, Room *room, Line *line, Frame *shared, int *made) noexcept nogil:
    """What a member hears. made[row]: length of what was encoded for all who hear the total, 0: not yet."""
    cdef int16_t samples[MIX_SAMPLES]
    cdef int16_t fitted[2 * MIX_SAMPLES + 8]
    cdef int16_t *sound = samples
    cdef int at = sending_codec(&line.config), count = room.rate // 50
    cdef uint32_t row
    cdef Encoder *encoder
    if at < 0 or line.playing or not may_send(line):
        return
    if line.voice.heard or line.voice.before:
        mix_hear(&room.mix, &line.voice, count, samples)
        send_sound(dsp, line, room.rate, samples)
        return
    row = line.config.codecs[at]
    encoder = &room.shared[row]
    if encoder_open(encoder, row):
        return
    if made[row] == 0:
        mix_hear(&room.mix, NULL, count, samples)
        if encoder.codec.rate != room.rate:
            if room.shared_from[row] != room.rate:
                room.shared_from[row] = room.rate
                resample_begin(&room.shared_fit[row], room.rate, encoder.codec.rate)
            count = resample(&room.shared_fit[row], samples, count, fitted)
            sound = fitted
        made[row] = encoder.codec.encode(encoder, sound, count, shared[row].data)
    if made[row] > 0:
        send_encoded(dsp, line, at, encoder.codec, &shared[row], made[row])


cdef void room_step(Dsp *dsp, Room *room) noexcept nogil:
    """One step of a conference. Nobody spoke for a second: the members still get (silent) sound, so that their networks stay open."""
    cdef Voice *voices[ROOM_MEMBERS]
    cdef Frame shared[CODEC_COUNT]
    cdef int made[CODEC_COUNT]
    cdef uint32_t count = 0
    cdef Line *line = room.members
    memset(made, 0, sizeof(made))
    while line != NULL and count < ROOM_MEMBERS:
        room_enter(dsp, room, line)
        voices[count] = &line.voice
        count += 1
        line = line.member
    mix_sum(&room.mix, voices, count, room.rate // 50)
    line = room.members
    while line != NULL:
        room_send(dsp, room, line, shared, made)
        line.offset += TICK_MS * stream_khz(line)
        line.steps += 1
        if line.steps % LOSS_STEPS == 0:
            heed_loss(dsp, line)
        line = line.member


# ---- lines and rooms -------------------------------------------------------------------------------------------------------

cdef Room *room_of(Dsp *dsp, uint32_t number, bint make) noexcept nogil:
    cdef Room *room = dsp.rooms
    while room != NULL and room.number != number:
        room = room.following
    if room == NULL and make:
        room = <Room *>calloc(1, sizeof(Room))
        if room != NULL:
            room.number = number
            room.rate = 8000
            room.following = dsp.rooms
            dsp.rooms = room
    return room


cdef void leave_room(Dsp *dsp, Line *line, uint32_t number) noexcept nogil:
    cdef Room *room = room_of(dsp, number, False)
    cdef Line **at
    cdef Room **place
    cdef int row
    if room == NULL:
        return
    at = &room.members
    while at[0] != NULL:
        if at[0] is line:
            at[0] = line.member
            line.member = NULL
            room.count -= 1
            break
        at = &at[0].member
    if room.members == NULL:
        place = &dsp.rooms
        while place[0] is not room:
            place = &place[0].following
        place[0] = room.following
        for row in range(CODEC_COUNT):
            encoder_close(&room.shared[row])
        free(room)
    else:
        set_rate(room)


cdef void set_rate(Room *room) noexcept nogil:
    """16 kHz as soon as one member's codec has more than the telephone's 4 kHz."""
    cdef Line *line = room.members
    cdef int at
    cdef uint32_t rate = 8000
    while line != NULL:
        at = sending_codec(&line.config)
        if at >= 0 and codec_at(line.config.codecs[at]).rate > rate:
            rate = codec_at(line.config.codecs[at]).rate
        line = line.member
    if rate != room.rate:
        room.rate = rate
        memset(room.shared_from, 0, sizeof(room.shared_from))


cdef void enter_room(Dsp *dsp, Line *line, uint32_t number) noexcept nogil:
    cdef Room *room = room_of(dsp, number, True)
    if room == NULL:
        return
    if room.count < ROOM_MEMBERS:
        memset(&line.voice, 0, sizeof(Voice))
        line.member = room.members
        room.members = line
        room.count += 1
    set_rate(room)


cdef void drop_line(Dsp *dsp, Line *line) noexcept nogil:
    cdef Line **at = &dsp.phases[phase_of(dsp, line.id)]
    if line.config.flags & LEG_MIXED:
        leave_room(dsp, line, line.config.room)
    while at[0] is not line:
        at = &at[0].following
    at[0] = line.following
    dsp.lines[<uint32_t>line.id] = NULL
    dsp.count -= 1
    if line.sound != NULL:
        sound_end(dsp.shelf, line.sound)
    play_let_go(dsp, line)
    decoder_close(&line.decoder)
    encoder_close(&line.encoder)
    detector_close(&line.detector)
    free(line)


cdef Line *make_line(Dsp *dsp, uint64_t id) noexcept nogil:
    cdef Line *line = <Line *>calloc(1, sizeof(Line))
    if line == NULL:
        return NULL
    line.id = id
    line.fresh = 1
    line.config.peer = NO_LEG
    line.config.telephone_event = -1
    jitter_begin(&line.jitter, 8000)
    line.following = dsp.phases[phase_of(dsp, id)]
    dsp.phases[phase_of(dsp, id)] = line
    dsp.lines[<uint32_t>id] = line
    dsp.count += 1
    return line


cdef void look_at(Dsp *dsp, uint32_t index, uint64_t play) noexcept nogil:
    """Make the line of a leg what its Config says. play: id of the leg that something is to be played on, 0: none."""
    cdef Config config
    cdef uint32_t version, clock
    cdef uint64_t id
    cdef Line *line = dsp.lines[index]
    cdef bint ours, plays
    cdef int at
    if not read_config(config_at(dsp.memory, index), &config, &version):
        return
    id = <uint64_t>config.generation << 32 | index
    ours = config.flags & LEG_OPEN and config.dsp == dsp.worker.number
    if line != NULL and (line.id != id or not ours):
        drop_line(dsp, line)
        line = NULL
    plays = ours and (play == id or line == NULL and play_waits(dsp, id))
    if not ours or (line == NULL and not plays and not config.flags & LEG_SOUND):
        return
    if line == NULL:
        line = make_line(dsp, id)
        if line == NULL:
            return
    if plays:
        line.playing = 1
    if line.version == version:
        return
    if line.config.flags & LEG_MIXED and (not config.flags & LEG_MIXED or line.config.room != config.room):
        leave_room(dsp, line, line.config.room)
        line.config.flags &= ~<uint32_t>LEG_MIXED
    if config.flags & LEG_MIXED and not line.config.flags & LEG_MIXED:
        line.config = config
        enter_room(dsp, line, config.room)
    line.config = config
    line.version = version
    at = sending_codec(&config)
    clock = codec_at(config.codecs[at]).clock if at >= 0 else 8000
    if line.jitter.clock != clock:
        jitter_begin(&line.jitter, clock)
        line.fifo_count = 0
    if not config.flags & LEG_SOUND and not line.playing:
        drop_line(dsp, line)


cdef void take_packets(Dsp *dsp) noexcept nogil:
    cdef uint32_t worker
    for worker in range(dsp.memory.workers):
        take_packets_of(dsp, dsp.worker.workers[worker].taps[dsp.worker.number])


cdef void take_packets_of(Dsp *dsp, Ring *ring) noexcept nogil:
    cdef Record *record = ring_front(ring)
    cdef Tap *copy
    cdef Line *line
    cdef const uint8_t *packet
    while record != NULL:
        line = dsp.lines[<uint32_t>record.id] if <uint32_t>record.id < dsp.memory.legs else NULL
        if line != NULL and line.id == record.id and record.length >= sizeof(Tap) + 12:
            copy = <Tap *>ring_payload(record)
            packet = <uint8_t *>(copy + 1)
            jitter_put(&line.jitter, packet, record.length - <uint32_t>sizeof(Tap), copy.arrival // 1000,
                       (packet[1] & 0x7F) == line.config.telephone_event)
        ring_pop(ring)
        record = ring_front(ring)


cdef void take_commands(Dsp *dsp) noexcept nogil:
    cdef Ring *commands = command_ring(dsp.memory, dsp.memory.workers + dsp.worker.number)
    cdef Record *record = ring_front(commands)
    while record != NULL:
        if <uint32_t>record.id < dsp.memory.usable:
            look_at(dsp, <uint32_t>record.id, record.id if record.type == COMMAND_PLAY else 0)
        ring_pop(commands)
        record = ring_front(commands)


cdef void phase_step(Dsp *dsp, uint32_t phase) noexcept nogil:
    """The steps of all that have theirs in this millisecond."""
    cdef Line *line = dsp.phases[phase]
    cdef Line *following
    cdef Room *room = dsp.rooms
    take_packets(dsp)
    while line != NULL:
        following = line.following
        if load32(&config_at(dsp.memory, <uint32_t>line.id).version, RELAXED) != line.version:
            look_at(dsp, <uint32_t>line.id, 0)  # the command is on its way; or it was lost
        line = following
    line = dsp.phases[phase]
    while line != NULL:
        following = line.following
        line_step(dsp, line)
        if not line.playing and not line.config.flags & LEG_SOUND:
            drop_line(dsp, line)
        line = following
    while room != NULL:
        if room.number % PHASES == phase:
            room_step(dsp, room)
        room = room.following


cdef int wait_until(const Dsp *dsp, uint64_t due) noexcept nogil:
    """Milliseconds until the next phase with something in it, or, with nothing at all, until the next beat."""
    cdef uint32_t ahead
    cdef uint64_t now = milliseconds_now()
    cdef const Room *room = dsp.rooms
    cdef bint some
    if dsp.count == 0:
        return IDLE_MS
    for ahead in range(PHASES):
        some = dsp.phases[(due + ahead) % PHASES] != NULL
        room = dsp.rooms
        while room != NULL and not some:
            some = room.number % PHASES == (due + ahead) % PHASES
            room = room.following
        if some:
            return <int>(due + ahead - now) if due + ahead > now else 0
    return PHASES


cdef void adopt(Dsp *dsp) noexcept nogil:
    """Begin with what a former core was doing."""
    cdef uint32_t index
    for index in range(dsp.memory.usable):
        look_at(dsp, index, 0)


cdef int dsp_run(Header *memory, Worker *worker, Shelf *shelf, int core_wake, int *stopping) noexcept nogil:
    """The life of a DSP's thread: -errno when it cannot begin, 0 when told to stop."""
    cdef Dsp dsp
    cdef WorkerCounters *counters = counters_at(memory, worker.number)
    cdef epoll_event event
    cdef uint64_t due, now
    cdef uint32_t index
    cdef int epoll = epoll_create1(EPOLL_CLOEXEC), status = 0
    cdef char name[6]
    memcpy(name, b"dsp-0", 6)
    memset(&dsp, 0, sizeof(Dsp))
    dsp.memory, dsp.worker, dsp.shelf = memory, worker, shelf
    dsp.lines = <Line **>calloc(memory.legs, sizeof(Line *))
    event.events = EPOLLIN | EPOLLET
    if dsp.lines == NULL or epoll < 0 or epoll_ctl(epoll, EPOLL_CTL_ADD, core_wake, &event):
        status = -errno if errno else -12
    else:
        name[4] += <char>(worker.number % 10)
        prctl(PR_SET_NAME, name)
        nice(NICE)  # of this thread only; a refusal costs nothing but fairness
        adopt(&dsp)
    due = milliseconds_now()
    while status == 0 and not load32(<uint32_t *>stopping, RELAXED):
        epoll_wait(epoll, &event, 1, wait_until(&dsp, due))
        take_commands(&dsp)
        now = milliseconds_now()
        counters.dsp_beat = 1000000 * now
        if dsp.count == 0:
            due = now
            continue
        if now > due + LATE_MS:
            counters.dsp_skipped += (now - due) // PHASES * dsp.count
            due = now
        while due <= now:
            dsp.now = due
            phase_step(&dsp, due % PHASES)
            due += 1
    if dsp.lines != NULL:
        for index in range(memory.legs):
            if dsp.lines[index] != NULL:
                drop_line(&dsp, dsp.lines[index])
    free(dsp.lines)
    if epoll >= 0:
        close(epoll)
    return status
