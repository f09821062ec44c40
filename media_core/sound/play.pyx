"""What is played on a leg: tones, digits, sound files; 20 ms at a time.

A request stands in the leg's Player block together with how far it has come, so a core that takes over goes on in the middle of a
tone or a file; and whether its end was told, so that is told, too. A digit is an RFC 4733 event (an update every 20 ms, the end three times) or, towards a far end that takes none, the
two tones. Progress counts in 1/8000 s whatever the codec.
"""

from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from media_core.shared.abi cimport (
    EVENT_DIGITS_SENT, EVENT_PLAY_ENDED, ITEM_TONE, REQUEST_DIGITS, REQUEST_FILES, REQUEST_LOOPED, EventBody, Item, Player, Progress, Request, leg_at, player_at,
)
from media_core.shared.atomic cimport ACQUIRE, RELAXED, RELEASE, fence, load32, store32, swap32
from media_core.sound.codec cimport codec_at
from media_core.sound.dtmf cimport tone_make
from media_core.sound.line cimport codec_of, encode, hand_over
from media_core.sound.mixer cimport MIX_SAMPLES
from media_core.sound.player cimport sound_begin, sound_end, sound_take
from media_core.relay.relay cimport FRAME_AUDIO, FRAME_END, FRAME_EVENT, FRAME_PAUSE, Frame

cdef enum:
    PLAY_RATE = 8000            # Progress counts in it
    FRAME_SAMPLES = 160         # 20 ms of it


cdef bint read_request(Player *player, Request *into) noexcept nogil:
    """A consistent copy; False: it is being written (a command follows when that is done)."""
    cdef uint32_t version = load32(&player.request.version, ACQUIRE)
    if version & 1:
        return False
    memcpy(into, &player.request, sizeof(Request))
    fence(ACQUIRE)
    return load32(&player.request.version, RELAXED) == version


cdef inline uint8_t end_of(uint32_t kind, uint32_t serial) noexcept nogil:
    """The event that tells of the end of such a request; 0: none."""
    if kind != REQUEST_DIGITS:
        return EVENT_PLAY_ENDED
    return EVENT_DIGITS_SENT if serial else 0


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


cdef bint play_over(Dsp *dsp, Line *line, Progress *progress, Frame *frame, uint32_t failed) noexcept nogil:
    """What `progress` is on has ended. False: the worker is far behind, to be tried again. It is done before anybody can hear of it: who
    has heard, and asks once more, is told once more."""
    cdef EventBody *body = <EventBody *>frame.data
    cdef uint32_t before = progress.done
    cdef bint handed
    frame.told = end_of(progress.kind, progress.serial)
    frame.length = sizeof(EventBody)
    body.a, body.b, body.c = progress.version, failed, progress.serial
    progress.failed = failed
    store32(&progress.done, progress.version, RELEASE)
    handed = hand_over(dsp, line, FRAME_END, frame)
    frame.length = frame.told = 0
    if not handed:
        store32(&progress.done, before, RELEASE)
        return False
    if line.sound != NULL:
        sound_end(dsp.shelf, line.sound)
        line.sound = NULL
    return True


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


cdef void begin_request(Dsp *dsp, Line *line, Progress *progress, const Request *request, Frame *frame) noexcept nogil:
    """Another request than before: what was playing is over (told only where the new one will tell another kind of end, or none)."""
    cdef uint8_t end = end_of(progress.kind, progress.serial)
    if line.sound != NULL:
        sound_end(dsp.shelf, line.sound)
        line.sound = NULL
    if progress.version != progress.done and end and end != end_of(request.kind, request.serial):
        play_over(dsp, line, progress, frame, 0)
    progress.item = progress.sample = progress.offset = 0
    progress.kind = request.kind
    progress.serial = request.serial
    progress.version = request.version
    frame.first = 1


cdef void play_item(Dsp *dsp, Line *line, const Request *request, uint32_t number, Frame *frame) noexcept nogil:
    """The next 20 ms of a tone, a pause or a digit."""
    cdef Progress *progress = &player_at(dsp.memory, <uint32_t>line.id).progress
    cdef const Item *item = &request.items[progress.item]
    cdef int16_t samples[MIX_SAMPLES]
    cdef uint32_t length = samples_of(item)
    cdef int made
    if item.event != ITEM_TONE:
        event_frames(dsp, line, item, progress, frame, length)
    elif request.kind == REQUEST_DIGITS and item.first == 0:
        hand_over(dsp, line, FRAME_PAUSE, frame)
    else:
        tone_make(item.first, item.second, progress.sample, item.milliseconds * (PLAY_RATE / 1000), PLAY_RATE, samples, FRAME_SAMPLES)
        made = encode(line, number, PLAY_RATE, samples, frame.data)
        frame.length = <uint16_t>(made if made > 0 else 0)
        hand_over(dsp, line, FRAME_AUDIO if made > 0 else FRAME_PAUSE, frame)
    progress.sample += FRAME_SAMPLES
    progress.offset += FRAME_SAMPLES
    if progress.sample >= length:
        progress.item += 1
        progress.sample = 0


cdef bint play_step(Dsp *dsp, Line *line) noexcept nogil:
    """The next 20 ms of what is played on a leg; False: nothing is."""
    cdef Player *player = player_at(dsp.memory, <uint32_t>line.id)
    cdef Progress *progress = &player.progress
    cdef Request request
    cdef Frame frame
    cdef uint32_t number
    cdef int made
    if not read_request(player, &request):
        return True
    memset(&frame, 0, sizeof(Frame) - sizeof(frame.data))
    frame.khz = 8
    if request.generation != line.id >> 32 or leg_at(dsp.memory, <uint32_t>line.id).generation > request.generation:
        return False
    if progress.version != request.version:
        begin_request(dsp, line, progress, &request, &frame)
    elif progress.done == request.version:
        return False
    number = codec_of(&line.config, request.payload_type)
    if codec_at(number) == NULL or progress.item >= request.count:
        return not play_over(dsp, line, progress, &frame, 0)
    frame.khz = <uint8_t>(codec_at(number).clock // 1000)
    frame.offset = progress.offset * frame.khz / 8
    frame.payload_type = <uint8_t>request.payload_type
    frame.marker = frame.first
    if request.kind == REQUEST_FILES or request.kind == REQUEST_LOOPED:
        made = play_sound(dsp, line, &request, number, &frame)
        if made < 0:
            return not play_over(dsp, line, progress, &frame, made == -2)
        frame.length = <uint16_t>made
        hand_over(dsp, line, FRAME_AUDIO if made else FRAME_PAUSE, &frame)
        progress.offset += FRAME_SAMPLES if made else 0
        return True
    play_item(dsp, line, &request, number, &frame)
    return True


cdef bint play_waits(const Dsp *dsp, uint64_t id) noexcept nogil:
    """Is there something to be played on the leg that another DSP, or another core, has begun or not come to?"""
    cdef Player *player = player_at(dsp.memory, <uint32_t>id)
    return player.request.generation == id >> 32 and load32(&player.request.version, RELAXED) != player.progress.done


cdef bint play_held(const Dsp *dsp, const Line *line) noexcept nogil:
    """Is what plays on the leg ours to go on with? Not while the DSP that the leg was with until now has not let go of it."""
    cdef uint32_t *holder = &player_at(dsp.memory, <uint32_t>line.id).holder
    cdef uint32_t nobody = 0
    return load32(holder, RELAXED) == dsp.worker.number + 1 or swap32(holder, &nobody, dsp.worker.number + 1, False, ACQUIRE, RELAXED)


cdef void play_let_go(const Dsp *dsp, const Line *line) noexcept nogil:
    """What plays on the leg, if something does, is another DSP's to go on with."""
    cdef uint32_t *holder = &player_at(dsp.memory, <uint32_t>line.id).holder
    if load32(holder, RELAXED) == dsp.worker.number + 1:
        store32(holder, 0, RELEASE)
