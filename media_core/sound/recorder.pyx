"""The recorder, and the thread that reads and writes sound files at low priority.

The workers copy the plain packets of recorded legs into a ring (a full one loses the copy and counts it, never the packet); this
thread decodes them, lays them on a timeline by their RTP timestamps, which begins where the recording began, and writes what is
older than a second. A gap is silence; a stream whose timestamps leave its arrival by more than 300 ms is laid anew.

The file is <path>.part until it is complete: then it is written out, fsync'ed and renamed, so a file of the final name is always
whole. A core that takes over reads what its predecessor had written and goes on behind it, in the same timeline. G.711 is recorded
at 8 kHz, everything else at 16 kHz. The ending of the path decides the format: .wav (16-bit PCM) or .ogg/.opus (Ogg/Opus).
"""

from libc.errno cimport errno
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset, strcmp, strlen, strrchr

from media_core.shared.abi cimport (
    COMMAND_RECORD, EVENT_RECORD_ENDED, LEG_CODECS, LEG_OPEN, SIDES_APART, SIDES_RECEIVED, ConfigBlock, EventBody, command_ring,
    config_at, event_ring, take_at,
)
from media_core.shared.atomic cimport ACQUIRE, RELAXED, RELEASE, fence, load32, store32
from media_core.sound.codec cimport CODEC_PCMA, CODEC_PCMU, CODEC_SAMPLES, codec_at, decoder_close, decoder_open
from media_core.relay.leg cimport read_config
from media_core.sound.player cimport (
    SF_FORMAT_OGG, SF_FORMAT_OPUS, SF_FORMAT_PCM_16, SF_FORMAT_WAV, SF_INFO, SF_TRUE, SFC_SET_UPDATE_HEADER_AUTO, SFM_READ, SFM_WRITE,
    sf_close, sf_command, sf_open_fd, sf_readf_short, sf_writef_short, sounds_fill,
)
from media_core.sound.resample cimport resample, resample_begin
from media_core.shared.ring cimport RING_WAKE, Record, Ring, ring_front, ring_payload, ring_pop, ring_push
from media_core.relay.rtp cimport rtp_header, rtp_parse
from media_core.relay.tap cimport Tap

cdef extern from "<sys/epoll.h>" nogil:
    enum: EPOLLIN, EPOLLET, EPOLL_CTL_ADD, EPOLL_CLOEXEC
    struct epoll_event:
        uint32_t events
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_wait(int epfd, epoll_event *events, int most, int timeout)

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd_write(int fd, uint64_t value)

cdef extern from "<fcntl.h>" nogil:
    enum: O_RDONLY, O_WRONLY, O_CREAT, O_TRUNC, O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_RDWR
    int open_file "open"(const char *path, int flags, ...)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)
    int fsync(int fd)
    int unlink(const char *path)

cdef extern from "<stdio.h>" nogil:
    int rename(const char *old, const char *new)

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
    STEP_MS = 100
    DUE = 1000                  # ms that late packets are waited for
    ASTRAY = 300                # ms
    NICE = 10

cdef uint64_t MILLION = 1000000


cdef uint64_t clock_now() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <uint64_t>time.tv_sec * 1000 * MILLION + <uint64_t>time.tv_nsec


# ---- files ---------------------------------------------------------------------------------------------------------------

cdef bint named(char *into, const char *path, const char *ending) noexcept nogil:
    cdef size_t length = strlen(path)
    if length + strlen(ending) + 1 > PATHS_ROOM:
        return False
    memcpy(into, path, length)
    memcpy(into + length, ending, strlen(ending) + 1)
    return True


cdef int file_format(const char *path) noexcept nogil:
    cdef const char *ending = strrchr(path, c'.')
    if ending != NULL and (strcmp(ending, b".ogg") == 0 or strcmp(ending, b".opus") == 0):
        return SF_FORMAT_OGG | SF_FORMAT_OPUS
    return SF_FORMAT_WAV | SF_FORMAT_PCM_16


cdef bint open_part(Recording *r, bint goes_on) noexcept nogil:
    """Begin <path>.part. goes_on: what a killed core has left is copied into it; it lies under <path>.old until that is done. It may have
    been complete, and its end not told yet."""
    cdef char part[PATHS_ROOM]
    cdef char old[PATHS_ROOM]
    cdef SF_INFO info
    cdef int before = -1
    if not named(part, r.path, b".part") or not named(old, r.path, b".old"):
        return False
    if goes_on:
        before = open_file(old, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        if before < 0 and (rename(part, old) == 0 or rename(r.path, old) == 0):
            before = open_file(old, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    r.fd = open_file(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
    if r.fd >= 0:
        memset(&info, 0, sizeof(SF_INFO))
        info.samplerate, info.channels, info.format = r.rate, r.channels, file_format(r.path)
        r.file = sf_open_fd(r.fd, SFM_WRITE, &info, 0)
    if r.file != NULL:
        sf_command(r.file, SFC_SET_UPDATE_HEADER_AUTO, NULL, SF_TRUE)
        if before >= 0:
            take_over(r, before)
    if before >= 0:
        close(before)
        if r.file != NULL:
            unlink(old)
    return r.file != NULL


cdef void take_over(Recording *r, int fd) noexcept nogil:
    """Copy what can be read of an unfinished file of the same kind."""
    cdef SF_INFO info
    cdef SNDFILE *old
    cdef int16_t frames[2 * 1024]
    cdef int64_t count
    memset(&info, 0, sizeof(SF_INFO))
    old = sf_open_fd(fd, SFM_READ, &info, 0)
    if old == NULL:
        return
    if info.channels == <int>r.channels and info.samplerate == <int>r.rate:
        count = sf_readf_short(old, frames, 1024)
        while count > 0:
            r.written += sf_writef_short(r.file, frames, count)
            count = sf_readf_short(old, frames, 1024)
    r.filled = r.written
    sf_close(old)


cdef bint close_part(Recording *r) noexcept nogil:
    """Complete the file and give it its name; False: that failed, <path>.part is what there is."""
    cdef char part[PATHS_ROOM]
    cdef char folder[PATHS_ROOM]
    cdef char *slash
    cdef int fd
    cdef bint done = sf_close(r.file) == 0 and fsync(r.fd) == 0
    r.file = NULL
    named(part, r.path, b".part")
    done = done and rename(part, r.path) == 0
    named(folder, r.path, b"")
    slash = strrchr(folder, c'/')
    if slash != NULL:
        slash[1] = 0
        fd = open_file(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if fd >= 0:
            done = fsync(fd) == 0 and done
            close(fd)
    return done


# ---- the timeline ----------------------------------------------------------------------------------------------------------

cdef inline int64_t place_at(const Recording *r, uint64_t time) noexcept nogil:
    return <int64_t>((time - r.began) // 1000 * r.rate // MILLION) if time > r.began else 0


cdef uint32_t codec_number(const Config *config, uint32_t payload_type) noexcept nogil:
    """The row of the codec table that this payload type means on this leg."""
    cdef int at
    for at in range(LEG_CODECS):
        if config.codecs[at] and config.codec_payloads[at] == payload_type:
            return config.codecs[at]
    return CODEC_PCMU if payload_type == 0 else CODEC_PCMA if payload_type == 8 else 0


cdef void lay(Recording *r, Side *side, const uint8_t *packet, uint32_t length, uint64_t arrival) noexcept nogil:
    """Decode a packet onto its side's timeline."""
    cdef int16_t decoded[CODEC_SAMPLES]
    cdef int16_t samples[2 * CODEC_SAMPLES + 16]
    cdef rtp_header header
    cdef uint32_t number
    cdef int count, at
    cdef int64_t place, now = place_at(r, arrival)
    if rtp_parse(packet, <int32_t>length, &header) < 0 or header.payload_type == <uint32_t>r.config.telephone_event:
        return
    number = codec_number(&r.config, header.payload_type)
    if decoder_open(&side.decoder, number):
        return
    count = side.decoder.codec.decode(&side.decoder, packet + header.offset, header.length, decoded)
    if count < 0:
        return
    if side.resampled_from != side.decoder.codec.rate:
        side.resampled_from = side.decoder.codec.rate
        resample_begin(&side.resampler, side.resampled_from, r.rate)
    count = resample(&side.resampler, decoded, count, samples)
    place = side.place + <int64_t><int32_t>(header.timestamp - side.timestamp) * r.rate // side.decoder.codec.clock
    if not side.begun or header.ssrc != side.ssrc or place - now > ASTRAY * r.rate // 1000 or now - place > ASTRAY * r.rate // 1000:
        place = now
        side.begun = 1
        side.ssrc = header.ssrc
    side.place, side.timestamp = place, header.timestamp
    if place < r.written or place + count > r.written + TIMELINE:
        return
    for at in range(count):
        side.samples[(place + at) % TIMELINE] = samples[at]
    if place + count > r.filled:
        r.filled = place + count


cdef bint write_out(Recording *r, int64_t upto) noexcept nogil:
    """Write the timeline up to `upto`, and clear it behind. False: the file takes no more."""
    cdef int16_t frames[2 * 800]
    cdef int64_t count
    cdef int32_t value
    cdef int at, spot
    while r.written < upto:
        count = upto - r.written if upto - r.written < 800 else 800
        for at in range(count):
            spot = <int>((r.written + at) % TIMELINE)
            if r.channels == 2:
                frames[2 * at], frames[2 * at + 1] = r.received.samples[spot], r.sent.samples[spot]
            else:
                value = r.received.samples[spot]
                if r.sides != SIDES_RECEIVED:
                    value += r.sent.samples[spot]
                frames[at] = <int16_t>(32767 if value > 32767 else -32768 if value < -32768 else value)
            r.received.samples[spot] = r.sent.samples[spot] = 0
        if sf_writef_short(r.file, frames, count) != count:
            return False
        r.written += count
    return True


# ---- recordings ------------------------------------------------------------------------------------------------------------

cdef void tell_over(Recorder *recorder, Take *take, uint64_t leg, uint32_t version, uint32_t milliseconds, bint failed, uint32_t serial) noexcept nogil:
    """It is over before anybody can hear of it; a core that takes over tells what was not told."""
    cdef EventBody body
    body.a, body.b, body.c = milliseconds, failed, serial
    take.length, take.failed = milliseconds, failed
    store32(&take.done, version, RELEASE)
    if ring_push(event_ring(recorder.memory, recorder.memory.workers), EVENT_RECORD_ENDED, leg, &body, sizeof(EventBody)) == RING_WAKE:
        eventfd_write(recorder.calls_wake, 1)
    store32(&take.told, version, RELEASE)


cdef bint read_take(Take *take, Take *into) noexcept nogil:
    cdef uint32_t version = load32(&take.version, ACQUIRE)
    if version & 1:
        return False
    memcpy(into, take, sizeof(Take))
    fence(ACQUIRE)
    return load32(&take.version, RELAXED) == version


cdef void end_recording(Recorder *recorder, uint32_t index, bint failed) noexcept nogil:
    cdef Recording *r = recorder.recordings[index]
    cdef Take *take = take_at(recorder.memory, index)
    if r.file != NULL:
        failed = not write_out(r, r.filled) or failed
        failed = not close_part(r) or failed
    if r.fd >= 0:
        close(r.fd)
    tell_over(recorder, take, r.leg, r.version, <uint32_t>(r.written * 1000 // r.rate), failed, r.serial)
    decoder_close(&r.received.decoder)
    decoder_close(&r.sent.decoder)
    free(r)
    recorder.recordings[index] = NULL
    recorder.count -= 1


cdef void begin_recording(Recorder *recorder, uint32_t index, const Take *take) noexcept nogil:
    cdef Recording *r = <Recording *>calloc(1, sizeof(Recording))
    cdef Take *shared = take_at(recorder.memory, index)
    cdef uint64_t leg = <uint64_t>take.generation << 32 | index
    cdef uint32_t version
    cdef int at
    cdef bint goes_on
    if r == NULL:
        tell_over(recorder, shared, leg, take.version, 0, True, take.serial)
        return
    recorder.recordings[index] = r
    recorder.count += 1
    r.leg, r.version, r.sides, r.limit, r.serial, r.fd = leg, take.version, take.sides, take.limit, take.serial, -1
    memcpy(r.path, take.path, PATHS_ROOM)
    r.path[PATHS_ROOM - 1] = 0
    r.channels = 2 if take.sides == SIDES_APART else 1
    read_config(config_at(recorder.memory, index), &r.config, &version)
    r.rate = 8000
    for at in range(LEG_CODECS):
        if codec_at(r.config.codecs[at]) != NULL and codec_at(r.config.codecs[at]).rate > 8000:
            r.rate = 16000
    goes_on = shared.began != 0
    if not goes_on:
        shared.began = clock_now()
    r.began = shared.began
    if not open_part(r, goes_on):
        end_recording(recorder, index, True)


cdef void look_at(Recorder *recorder, uint32_t index) noexcept nogil:
    """Make the recording of a leg what its Take says."""
    cdef Take take
    cdef Take *shared = take_at(recorder.memory, index)
    if index >= recorder.memory.usable or not read_take(shared, &take):
        return
    if shared.done == take.version and shared.told != take.version:
        tell_over(recorder, shared, <uint64_t>take.generation << 32 | index, take.version, take.length, take.failed != 0, take.serial)
    if recorder.recordings[index] != NULL and recorder.recordings[index].version != take.version:
        end_recording(recorder, index, False)
    if recorder.recordings[index] == NULL and take.version != shared.done and take.path[0]:
        begin_recording(recorder, index, &take)
    if recorder.recordings[index] != NULL and take.stopped:
        end_recording(recorder, index, False)


cdef void look_after(Recorder *recorder, uint32_t index, uint64_t now) noexcept nogil:
    """Write what is due; end what is at its limit, or whose leg has been closed."""
    cdef Recording *r = recorder.recordings[index]
    cdef uint32_t version
    cdef int64_t upto = place_at(r, now - DUE * MILLION), end
    if not read_config(config_at(recorder.memory, index), &r.config, &version):
        return
    end = <int64_t>r.limit * r.rate // 1000
    if r.limit and r.filled > end:
        r.filled = end
    if upto > r.filled:
        r.filled = upto if not r.limit or upto < end else end  # silence is part of it
    if not write_out(r, upto if upto < r.filled else r.filled):
        end_recording(recorder, index, True)
    elif r.config.generation != r.leg >> 32 or not r.config.flags & LEG_OPEN or (r.limit and upto >= end):
        end_recording(recorder, index, False)


cdef void take_packets(Recorder *recorder) noexcept nogil:
    cdef uint32_t worker, index
    cdef Record *record
    cdef Recording *r
    cdef Tap *copy
    for worker in range(recorder.memory.workers):
        record = ring_front(recorder.workers[worker].tees)
        while record != NULL:
            index = <uint32_t>record.id
            r = recorder.recordings[index] if index < recorder.memory.legs else NULL
            if r != NULL and r.leg == record.id and r.file != NULL and record.length >= sizeof(Tap):
                copy = <Tap *>ring_payload(record)
                lay(r, &r.sent if copy.sent else &r.received, <uint8_t *>(copy + 1), record.length - <uint32_t>sizeof(Tap), copy.arrival)
            ring_pop(recorder.workers[worker].tees)
            record = ring_front(recorder.workers[worker].tees)


cdef int files_run(Header *memory, Worker *workers, Shelf *shelf, int core_wake, int calls_wake, int *stopping) noexcept nogil:
    """The life of the files' thread: -errno when it cannot begin, 0 when told to stop (recordings are completed then)."""
    cdef Recorder recorder
    cdef Ring *commands = command_ring(memory, 2 * memory.workers)
    cdef Record *record
    cdef epoll_event event
    cdef uint32_t index, sounds = 0
    cdef uint64_t now
    cdef int epoll = epoll_create1(EPOLL_CLOEXEC), status = 0
    memset(&recorder, 0, sizeof(Recorder))
    recorder.memory, recorder.workers, recorder.shelf, recorder.calls_wake = memory, workers, shelf, calls_wake
    recorder.recordings = <Recording **>calloc(memory.legs, sizeof(Recording *))
    event.events = EPOLLIN | EPOLLET
    if recorder.recordings == NULL or epoll < 0 or epoll_ctl(epoll, EPOLL_CTL_ADD, core_wake, &event) \
            or epoll_ctl(epoll, EPOLL_CTL_ADD, shelf.wake, &event):
        status = -errno if errno else -12
    else:
        setpriority(PRIO_PROCESS, 0, NICE)
        for index in range(memory.usable):  # what a former core was recording
            look_at(&recorder, index)
    while status == 0 and not load32(<uint32_t *>stopping, RELAXED):
        epoll_wait(epoll, &event, 1, STEP_MS if sounds or recorder.count else -1)
        sounds = sounds_fill(shelf)
        take_packets(&recorder)  # what has come so far belongs to what is recorded so far
        record = ring_front(commands)
        while record != NULL:
            look_at(&recorder, <uint32_t>record.id)
            ring_pop(commands)
            record = ring_front(commands)
        now = clock_now()
        index = 0
        while recorder.count and index < memory.usable:
            if recorder.recordings[index] != NULL:
                look_after(&recorder, index, now)
            index += 1
    if recorder.recordings != NULL:
        for index in range(memory.legs):
            if recorder.recordings[index] != NULL:
                end_recording(&recorder, index, False)
    free(recorder.recordings)
    if epoll >= 0:
        close(epoll)
    return status
