"""A leg as the DSP knows it: what it says out of its jitter buffer, and what it is sent.

pull() gives the next 20 ms of what a leg says: decoded, concealed where packets are missing, shortened where there is more delay than
needed, comfort noise in silence; keys are passed on, told, or found in it. send_sound() encodes 20 ms for its far end. Frames go to
the worker, who numbers, seals and sends them.
"""

from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove, memset

from media_core.shared.abi cimport LEG_CODECS, LEG_LISTENED, Config, EventBody, worker_of
from media_core.sound.codec cimport (
    CODEC_CN, CODEC_PCMA, CODEC_PCMU, Codec, codec_at, decoder_open, encoder_open, noise_make, noise_set,
)
from media_core.sound.conceal cimport shorten
from media_core.sound.dtmf cimport detector_feed, detector_open
from media_core.sound.jitter cimport JITTER_IDLE, JITTER_LOST, JITTER_PACKET, Slot, jitter_excess, jitter_skip, jitter_take
from media_core.sound.mixer cimport MIX_SAMPLES
from media_core.relay.relay cimport FRAME_AUDIO, FRAME_DIGIT, FRAME_EVENT, Frame, Worker
from media_core.sound.resample cimport resample, resample_begin
from media_core.shared.ring cimport RING_WAKE, Ring, ring_push

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd_write(int fd, uint64_t value)

cdef enum:
    SILENT_STEPS = 50           # a second without a packet: nothing is sent any more
    KEY_LOST_MS = 100           # a key whose end packets were lost ends after this
    SHORTEN_MS = 100            # at most so often
    EXCESS_SMALL = 25000        # microseconds of delay too much: shorten
    EXCESS_LARGE = 200000       # throw packets away
    KEY_STEP = 160              # 20 ms, 1/8000 s


# ---- out: frames for the worker --------------------------------------------------------------------------------------------

cdef bint hand_over(Dsp *dsp, Line *line, uint32_t type, const Frame *frame) noexcept nogil:
    """To the leg's worker; False: it is far behind."""
    cdef Worker *worker = &dsp.worker.workers[worker_of(dsp.memory, <uint32_t>line.id)]
    cdef Ring *ring = worker.frames[dsp.worker.number]
    cdef int result = ring_push(ring, type, line.id, frame, <uint32_t>(sizeof(Frame) - sizeof(frame.data)) + frame.length)
    if result == RING_WAKE:
        eventfd_write(worker.wake, 1)
    return result >= 0


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
            line.key.duration += KEY_STEP
            for count in range(3):
                send_key(dsp, other, &line.key, False, 0x8A)
        line.key.on = 0
        line.detector.ended = 0
    if line.detector.code and passed:
        if not line.key.on:
            line.key.offset, line.key.duration, line.key.code = other.offset, 0, <uint8_t>(line.detector.code - 1)
        line.key.duration += KEY_STEP
        line.key.until = dsp.now + KEY_LOST_MS
        send_key(dsp, other, &line.key, not line.key.on, 10)
        line.key.on = 1
