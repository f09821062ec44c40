"""The DSP: plays, transcoding, conferences and in-band keys, in one thread per worker at lower priority than the packet loop.

The worker copies packets of the legs concerned into a ring and never waits; this thread keeps them in jitter buffers and makes a
frame for every leg each 20 ms, which goes back over another ring and is numbered, sealed and sent by the worker. Legs are spread
over 20 phases of 1 ms, a room's members share one. What a leg hears, in this order: what is played to it, its conference, the leg
it is connected to. A Line is what is known of a leg; it is allocated when sound begins to matter and rebuilt from the leg's
Config by a core that takes over (what was in the jitter buffer is lost, a play goes on where it was).

Keys: RFC 4733 events of a connected leg are passed on, or turned into tones for a far end that takes none; tones found in the sound
of a leg without telephone-event are told as events, and sent as events to the other leg if that takes them.
"""

from libc.errno cimport errno
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove, memset

from media_core.abi cimport (
    ITEM_TONE, LEG_CODECS, LEG_DESCRIBED, LEG_LISTENED, LEG_MIXED, LEG_MUTED, LEG_OPEN, LEG_SEND, LEG_SOUND, LEG_TAKEN, NO_LEG,
    REQUEST_DIGITS, REQUEST_FILES, REQUEST_LOOPED, REQUEST_TONES, EventBody, Item, Leg, Player, Progress, Request, WorkerCounters,
    command_ring, config_at, counters_at, leg_at, player_at,
)
from media_core.atomic cimport ACQUIRE, RELAXED, fence, load32
from media_core.codec cimport (
    CODEC_BYTES, CODEC_CN, CODEC_PCMA, CODEC_PCMU, Codec, codec_at, decoder_close, decoder_open, encoder_close, encoder_loss,
    encoder_open, noise_make, noise_set,
)
from media_core.conceal cimport shorten
from media_core.dtmf cimport detector_close, detector_feed, detector_open, digit_tones, tone_make
from media_core.jitter cimport (
    JITTER_IDLE, JITTER_LATE, JITTER_LOST, JITTER_PACKET, Slot, jitter_begin, jitter_excess, jitter_put, jitter_skip, jitter_take,
)
from media_core.mixer cimport MIX_SAMPLES, mix_hear, mix_sum
from media_core.leg cimport read_config
from media_core.player cimport sound_begin, sound_end, sound_take
from media_core.relay cimport FRAME_AUDIO, FRAME_DIGIT, FRAME_END, FRAME_EVENT, FRAME_PAUSE, Frame
from media_core.resample cimport resample, resample_begin
from media_core.ring cimport RING_WAKE, Record, Ring, ring_front, ring_payload, ring_pop, ring_push
from media_core.tap cimport Tap

cdef extern from "<sys/epoll.h>" nogil:
    enum: EPOLLIN, EPOLLET, EPOLL_CTL_ADD, EPOLL_CLOEXEC
    struct epoll_event:
        uint32_t events
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_wait(int epfd, epoll_event *events, int most, int timeout)

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd_write(int fd, uint64_t value)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef extern from "<time.h>" nogil:
    struct timespec:
        int64_t tv_sec
        int64_t tv_nsec
    enum: CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *time)

cdef extern from "<sys/resource.h>" nogil:
    enum: PRIO_PROCESS
    int setpriority(int which, unsigned who, int value)

cdef enum:
    PLAY_RATE = 8000            # Progress counts in it
    FRAME_SAMPLES = 160         # 20 ms of it
    TICK_MS = 20
    NICE = 5
    SILENT_STEPS = 50           # a second without a packet: nothing is sent any more
    KEY_LOST_MS = 100           # a key whose end packets were lost ends after this
    SHORTEN_MS = 100            # at most so often
    EXCESS_SMALL = 25000        # microseconds of delay too much: shorten
    EXCESS_LARGE = 200000       # throw packets away
    LOSS_STEPS = 250            # 5 s
    LONG_KEY = 0x7FFFFFFF
    LATE_MS = 200               # so far behind, steps are left out
    ROOM_MEMBERS = 4096


cdef uint64_t milliseconds_now() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <uint64_t>time.tv_sec * 1000 + time.tv_nsec / 1000000


# ---- out: frames for the worker --------------------------------------------------------------------------------------------

cdef void hand_over(Dsp *dsp, Line *line, uint32_t type, const Frame *frame) noexcept nogil:
    if ring_push(dsp.worker.frames, type, line.id, frame, <uint32_t>(sizeof(Frame) - sizeof(frame.data)) + frame.length) == RING_WAKE:
        eventfd_write(dsp.worker.frames_wake, 1)


cdef uint32_t codec_of(const Config *config, uint32_t payload_type) noexcept nogil:
    """The row of the codec table that this payload type means on this leg; 0: none."""
    cdef int at
    for at in range(LEG_CODECS):
        if config.codecs[at] and config.codec_payloads[at] == payload_type:
            return config.codecs[at]
    return CODEC_PCMU if payload_type == 0 else CODEC_PCMA if payload_type == 8 else 0


cdef int sending_codec(const Config *config) noexcept nogil:
    """Which of the leg's codecs we send in: the first that there is; -1: none."""
    cdef int at
    for at in range(LEG_CODECS):
        if config.codecs[at] == 0:
            break
        if codec_at(config.codecs[at]) != NULL:
            return at
    return -1


cdef int encode(Line *line, uint32_t number, uint32_t rate, int16_t *samples, uint8_t *into) noexcept nogil:
    """20 ms of sound at `rate` in the leg's codec; -1: it cannot be had."""
    cdef int16_t fitted[2 * MIX_SAMPLES + 8]
    cdef int count = rate // 50
    if encoder_open(&line.encoder, number):
        return -1
    if line.encoder.codec.rate != rate:
        if line.fit_from != rate or line.fit_to != line.encoder.codec.rate:
            if resample_begin(&line.fit, rate, line.encoder.codec.rate):
                return -1
            line.fit_from, line.fit_to = rate, line.encoder.codec.rate
        count = resample(&line.fit, samples, count, fitted)
        samples = fitted
    return line.encoder.codec.encode(&line.encoder, samples, count, into)


cdef void send_sound(Dsp *dsp, Line *line, uint32_t rate, int16_t *samples) noexcept nogil:
    """The next 20 ms of the leg's stream."""
    cdef int at = sending_codec(&line.config), length
    cdef Frame frame
    if at < 0:
        return
    length = encode(line, line.config.codecs[at], rate, samples, frame.data)
    if length > 0:
        send_encoded(dsp, line, at, line.encoder.codec, &frame, length)


cdef void send_encoded(Dsp *dsp, Line *line, int at, const Codec *codec, Frame *frame, int length) noexcept nogil:
    """A payload in frame.data, in the leg's codec number `at`."""
    frame.offset = line.offset
    frame.payload_type = line.config.codec_payloads[at]
    frame.marker = frame.first = line.fresh
    frame.told = 0
    frame.length = <uint16_t>length
    frame.stream = 1
    frame.khz = <uint8_t>(codec.clock // 1000)
    line.fresh = 0
    hand_over(dsp, line, FRAME_AUDIO, frame)


cdef uint32_t stream_khz(const Line *line) noexcept nogil:
    cdef int at = sending_codec(&line.config)
    return codec_at(line.config.codecs[at]).clock // 1000 if at >= 0 else 8


cdef void send_key(Dsp *dsp, Line *line, const Key *key, bint first, uint8_t flags) noexcept nogil:
    """One RFC 4733 packet of a key press that belongs to the leg's stream."""
    cdef Frame frame
    memset(&frame, 0, sizeof(Frame) - sizeof(frame.data))
    frame.offset = key.offset
    frame.first, line.fresh = line.fresh, 0
    frame.marker = first
    frame.stream = 1
    frame.khz = <uint8_t>stream_khz(line)
    frame.data[0], frame.data[1] = key.code, flags
    frame.data[2], frame.data[3] = <uint8_t>(key.duration >> 8), <uint8_t>key.duration
    frame.length = 4
    hand_over(dsp, line, FRAME_EVENT, &frame)


# ---- plays -------------------------------------------------------------------------------------------------------------------

cdef bint read_request(Player *player, Request *into) noexcept nogil:
    """A consistent copy; False: it is being written (a command follows when that is done)."""
    cdef uint32_t version = load32(&player.request.version, ACQUIRE)
    if version & 1:
        return False
    memcpy(into, &player.request, sizeof(Request))
    fence(ACQUIRE)
    return load32(&player.request.version, RELAXED) == version


cdef inline bint tells_end(uint32_t kind) noexcept nogil:
    return kind != REQUEST_DIGITS


cdef inline uint32_t samples_of(const Item *item) noexcept nogil:
    """Whole frames, so that each frame belongs to one item."""
    return (item.milliseconds * (PLAY_RATE / 1000) + FRAME_SAMPLES - 1) / FRAME_SAMPLES * FRAME_SAMPLES


cdef void event_frames(Dsp *dsp, Line *line, const Item *item, const Progress *progress, Frame *frame, uint32_t length) noexcept nogil:
    """RFC 4733 §2.5.1: the timestamp is that of the beginning, the duration grows, the end is sent three times."""
    cdef uint32_t duration = progress.sample + FRAME_SAMPLES
    cdef int copy, copies = 3 if duration >= length else 1
    frame.offset -= progress.sample * frame.khz / 8
    frame.marker = progress.sample == 0
    frame.data[0] = <uint8_t>item.event
    frame.data[1] = 10 | (0x80 if duration >= length else 0)
    frame.data[2] = <uint8_t>(duration >> 8)
    frame.data[3] = <uint8_t>duration
    frame.length = 4
    for copy in range(copies):
        hand_over(dsp, line, FRAME_EVENT, frame)
        frame.marker = frame.first = 0


cdef void play_over(Dsp *dsp, Line *line, Progress *progress, Frame *frame, uint32_t failed) noexcept nogil:
    """The play that `progress` is on has ended."""
    cdef EventBody *body = <EventBody *>frame.data
    frame.told = tells_end(progress.kind)
    frame.length = sizeof(EventBody)
    body.a, body.b = 0, failed
    hand_over(dsp, line, FRAME_END, frame)
    frame.length = frame.told = 0
    if line.sound != NULL:
        sound_end(dsp.shelf, line.sound)
        line.sound = NULL


cdef int play_sound(Dsp *dsp, Line *line, const Request *request, uint32_t number, Frame *frame) noexcept nogil:
    """20 ms out of a file into the frame: its length; 0: not there yet; -1: over; -2: over, and a file could not be read."""
    cdef int16_t samples[MIX_SAMPLES]
    cdef uint32_t rate = codec_at(number).rate
    cdef Progress *progress = &player_at(dsp.memory, <uint32_t>line.id).progress
    cdef int got
    if line.sound == NULL:
        line.sound = sound_begin(dsp.shelf, <uint32_t>line.id, request, rate, <uint64_t>progress.offset * rate // PLAY_RATE)
        return 0
    got = sound_take(line.sound, samples, rate // 50)
    if got <= 0:
        return got
    got = encode(line, number, rate, samples, frame.data)
    return got if got > 0 else 0


cdef bint play_step(Dsp *dsp, Line *line) noexcept nogil:
    """The next 20 ms of what is played on a leg; False: nothing is."""
    cdef Player *player = player_at(dsp.memory, <uint32_t>line.id)
    cdef Progress *progress = &player.progress
    cdef int16_t samples[MIX_SAMPLES]
    cdef Request request
    cdef Item *item
    cdef Frame frame
    cdef uint32_t length = 0, number
    cdef int made
    if not read_request(player, &request):
        return True
    memset(&frame, 0, sizeof(Frame) - sizeof(frame.data))
    frame.khz = 8
    if request.generation != line.id >> 32 or leg_at(dsp.memory, <uint32_t>line.id).generation > request.generation:
        return False
    if progress.version != request.version:
        if line.sound != NULL:
            sound_end(dsp.shelf, line.sound)
            line.sound = NULL
        if progress.version != progress.done and tells_end(progress.kind) and not tells_end(request.kind):
            play_over(dsp, line, progress, &frame, 0)
        progress.item = progress.sample = progress.offset = 0
        progress.kind = request.kind
        progress.version = request.version
        frame.first = 1
    elif progress.done == request.version:
        return False
    number = codec_of(&line.config, request.payload_type)
    if codec_at(number) == NULL or progress.item >= request.count:
        play_over(dsp, line, progress, &frame, 0)
        progress.done = request.version
        return False
    frame.khz = <uint8_t>(codec_at(number).clock // 1000)
    frame.offset = progress.offset * frame.khz / 8
    frame.payload_type = <uint8_t>request.payload_type
    frame.marker = frame.first
    if request.kind == REQUEST_FILES or request.kind == REQUEST_LOOPED:
        made = play_sound(dsp, line, &request, number, &frame)
        if made < 0:
            play_over(dsp, line, progress, &frame, made == -2)
            progress.done = request.version
            return False
        frame.length = <uint16_t>made
        hand_over(dsp, line, FRAME_AUDIO if made else FRAME_PAUSE, &frame)
        progress.offset += FRAME_SAMPLES if made else 0
        return True
    item = &request.items[progress.item]
    length = samples_of(item)
    if item.event != ITEM_TONE:
        event_frames(dsp, line, item, progress, &frame, length)
    elif not tells_end(request.kind) and item.first == 0:
        hand_over(dsp, line, FRAME_PAUSE, &frame)
    else:
        tone_make(item.first, item.second, progress.sample, item.milliseconds * (PLAY_RATE / 1000), PLAY_RATE, samples, FRAME_SAMPLES)
        made = encode(line, number, PLAY_RATE, samples, frame.data)
        frame.length = <uint16_t>(made if made > 0 else 0)
        hand_over(dsp, line, FRAME_AUDIO if made > 0 else FRAME_PAUSE, &frame)
    progress.sample += FRAME_SAMPLES
    progress.offset += FRAME_SAMPLES
    if progress.sample >= length:
        progress.item += 1
        progress.sample = 0
    return True


# ---- in: from packets to sound ---------------------------------------------------------------------------------------------

cdef uint32_t rate_in(const Line *line) noexcept nogil:
    """Hz of what `pull` gives."""
    cdef int at
    if line.decoder.codec != NULL:
        return line.decoder.codec.rate
    at = sending_codec(&line.config)
    return codec_at(line.config.codecs[at]).rate if at >= 0 else 8000


cdef void take_key(Dsp *dsp, Line *line, const Slot *slot, Line *other) noexcept nogil:
    """A packet of a key press, at its place in the stream; `other` is the leg it is for, or NULL."""
    cdef bint first = not line.key.timestamp or slot.timestamp != line.key.timestamp
    cdef bint over
    if slot.length < 4 or slot.data[0] > 15:
        return
    over = slot.data[1] & 0x80
    if first:
        line.key.timestamp = slot.timestamp if slot.timestamp else 1
        line.key.offset = other.offset if other != NULL else 0
    line.key.code = slot.data[0]
    line.key.duration = slot.data[2] << 8 | slot.data[3]
    line.key.on = not over
    line.key.until = dsp.now + KEY_LOST_MS
    if other != NULL and other.config.telephone_event >= 0:
        send_key(dsp, other, &line.key, first, slot.data[1])


cdef void take_packet(Line *line, const Slot *slot) noexcept nogil:
    """Decode a packet behind what waits already."""
    cdef uint32_t number = codec_of(&line.config, slot.payload_type)
    cdef const Codec *before = line.decoder.codec
    cdef int count
    if slot.payload_type == 13 or number == CODEC_CN:
        noise_set(&line.noise, slot.data, slot.length)
        line.noisy = 1
        return
    if decoder_open(&line.decoder, number):
        return
    if before != NULL and before.rate != line.decoder.codec.rate:
        line.fifo_count = 0
    line.noisy = 0
    count = line.decoder.codec.decode(&line.decoder, slot.data, slot.length, line.fifo + line.fifo_count)
    if count > 0:
        line.fifo_count += count
        line.packet_samples = count
        line.quiet = 0


cdef void fill_in(Line *line, int count, Slot *following) noexcept nogil:
    """count samples in place of what has not come."""
    cdef const uint8_t *data = NULL
    cdef int length = 0
    if following != NULL and codec_at(codec_of(&line.config, following.payload_type)) == line.decoder.codec:
        data, length = following.data, following.length
    if line.noisy or line.decoder.codec == NULL:
        if line.noisy:
            noise_make(&line.noise, line.fifo + line.fifo_count, count)
        else:
            memset(line.fifo + line.fifo_count, 0, count * sizeof(int16_t))
    else:
        count = line.decoder.codec.conceal(&line.decoder, data, length, count, line.fifo + line.fifo_count)
    line.fifo_count += count


cdef int pull(Dsp *dsp, Line *line, Line *other, int16_t *into) noexcept nogil:
    """The next 20 ms of what a leg says, at rate_in(): their number, 0 when it says nothing. Asked exactly once in each 20 ms."""
    cdef int need, kind, round
    cdef uint64_t now = dsp.now * 1000
    cdef int64_t excess = jitter_excess(&line.jitter, now)
    cdef Slot *slot = NULL
    while excess > EXCESS_LARGE:
        jitter_skip(&line.jitter)
        excess = jitter_excess(&line.jitter, now)
    for round in range(64):
        need = rate_in(line) // 50
        if line.fifo_count >= need:
            break
        kind = jitter_take(&line.jitter, now, &slot)
        if kind == JITTER_PACKET and slot.event:
            take_key(dsp, line, slot, other)
        elif kind == JITTER_PACKET:
            take_packet(line, slot)
        elif kind == JITTER_LOST:
            fill_in(line, line.packet_samples if line.packet_samples else need, slot if slot != NULL and not slot.event else NULL)
        else:
            line.quiet += 1
            if kind == JITTER_IDLE and line.fifo_count == 0 and (line.quiet > SILENT_STEPS and not line.noisy or line.decoder.codec == NULL):
                return 0
            fill_in(line, need - line.fifo_count, NULL)
    need = rate_in(line) // 50
    if line.fifo_count < need:
        memset(line.fifo + line.fifo_count, 0, (need - line.fifo_count) * sizeof(int16_t))
        line.fifo_count = need
    if excess > EXCESS_SMALL and dsp.now - line.shortened >= SHORTEN_MS:
        give_back(dsp, line, need)
    memcpy(into, line.fifo, need * sizeof(int16_t))
    line.fifo_count -= need
    memmove(line.fifo, line.fifo + need, line.fifo_count * sizeof(int16_t))
    if line.config.flags & LEG_LISTENED:
        listen(dsp, line, into, need, other)
    return need


cdef void give_back(Dsp *dsp, Line *line, int need) noexcept nogil:
    """There is more delay than needed: take the next packet too and shorten both by a pitch period."""
    cdef Slot *slot = NULL
    if line.fifo_count < 2 * need and jitter_take(&line.jitter, dsp.now * 1000, &slot) == JITTER_PACKET and not slot.event:
        take_packet(line, slot)
    line.fifo_count = shorten(line.fifo, line.fifo_count, rate_in(line))
    if line.fifo_count < need:
        fill_in(line, need - line.fifo_count, NULL)
    line.shortened = dsp.now


cdef void listen(Dsp *dsp, Line *line, const int16_t *samples, int count, Line *other) noexcept nogil:
    """Look for keys in what a leg says; tell them, and pass them on as events where the other leg takes these."""
    cdef int16_t narrow[MIX_SAMPLES]
    cdef uint32_t rate = rate_in(line)
    cdef Frame frame
    cdef EventBody *body = <EventBody *>frame.data
    cdef bint passed = other != NULL and other.config.telephone_event >= 0
    if line.detector.state == NULL and not detector_open(&line.detector):
        return
    if rate != 8000:
        if line.narrow_from != rate:
            line.narrow_from = rate
            resample_begin(&line.narrow, rate, 8000)
        count = resample(&line.narrow, samples, count, narrow)
        samples = narrow
    detector_feed(&line.detector, samples, count)
    if line.detector.ended:
        memset(&frame, 0, sizeof(Frame) - sizeof(frame.data))
        frame.length = sizeof(EventBody)
        body.a, body.b = line.detector.ended - 1, line.detector.milliseconds
        hand_over(dsp, line, FRAME_DIGIT, &frame)
        if passed and line.key.on:
            line.key.duration += FRAME_SAMPLES
            for count in range(3):
                send_key(dsp, other, &line.key, False, 0x8A)
        line.key.on = 0
        line.detector.ended = 0
    if line.detector.code and passed:
        if not line.key.on:
            line.key.offset, line.key.duration, line.key.code = other.offset, 0, <uint8_t>(line.detector.code - 1)
        line.key.duration += FRAME_SAMPLES
        line.key.until = dsp.now + KEY_LOST_MS
        send_key(dsp, other, &line.key, not line.key.on, 10)
        line.key.on = 1


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
            tone_make(first, second, (line.offset - other.key.offset) // (stream_khz(line) // 8), LONG_KEY, 8000, samples, FRAME_SAMPLES)
            count, rate = FRAME_SAMPLES, 8000
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
    if line.playing and not play_step(dsp, line):
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
    cdef int at
    if not read_config(config_at(dsp.memory, index), &config, &version):
        return
    id = <uint64_t>config.generation << 32 | index
    if line != NULL and (line.id != id or not config.flags & LEG_OPEN):
        drop_line(dsp, line)
        line = NULL
    if not config.flags & LEG_OPEN or (line == NULL and play != id and not config.flags & LEG_SOUND):
        return
    if line == NULL:
        line = make_line(dsp, id)
        if line == NULL:
            return
    if play == id:
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
    cdef Ring *ring = dsp.worker.taps
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
            look_at(dsp, <uint32_t>record.id, record.id if record.type == 2 else 0)  # COMMAND_PLAY
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
    """Milliseconds until the next phase with something in it; -1: there is nothing at all."""
    cdef uint32_t ahead
    cdef uint64_t now = milliseconds_now()
    cdef const Room *room = dsp.rooms
    cdef bint some
    if dsp.count == 0:
        return -1
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
    cdef uint32_t index = dsp.worker.number
    cdef Player *player
    while index < dsp.memory.usable:
        player = player_at(dsp.memory, index)
        look_at(dsp, index, <uint64_t>player.request.generation << 32 | index if player.request.version != player.progress.done else 0)
        index += dsp.memory.workers


cdef int dsp_run(Header *memory, Worker *worker, Shelf *shelf, int core_wake, int *stopping) noexcept nogil:
    """The life of a DSP's thread: -errno when it cannot begin, 0 when told to stop."""
    cdef Dsp dsp
    cdef WorkerCounters *counters = counters_at(memory, worker.number)
    cdef epoll_event event
    cdef uint64_t due, now
    cdef uint32_t index
    cdef int epoll = epoll_create1(EPOLL_CLOEXEC), status = 0
    memset(&dsp, 0, sizeof(Dsp))
    dsp.memory, dsp.worker, dsp.shelf = memory, worker, shelf
    dsp.lines = <Line **>calloc(memory.legs, sizeof(Line *))
    event.events = EPOLLIN | EPOLLET
    if dsp.lines == NULL or epoll < 0 or epoll_ctl(epoll, EPOLL_CTL_ADD, core_wake, &event):
        status = -errno if errno else -12
    else:
        setpriority(PRIO_PROCESS, 0, NICE)  # of this thread only; a refusal costs nothing but fairness
        adopt(&dsp)
    due = milliseconds_now()
    while status == 0 and not load32(<uint32_t *>stopping, RELAXED):
        epoll_wait(epoll, &event, 1, wait_until(&dsp, due))
        take_commands(&dsp)
        now = milliseconds_now()
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
