"""Sound files for the DSP: WAV, Ogg/Opus and whatever else libsndfile reads, decoded ahead by the files' thread.

The DSP begins a Sound on a leg and takes samples out of its ring, 20 ms at a time, without waiting; the files' thread opens the
files one after the other, mixes their channels to one, brings them to the rate wanted and keeps up to two seconds in the ring. A
Sound belongs to the files' thread, except for `tail` and the wish to end it. What cannot be read is left out and reported.
"""

from libc.errno cimport errno
from libc.stdint cimport int16_t, int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, strlen

from media_core.shared.atomic cimport ACQUIRE, RELAXED, RELEASE, load32, load64, store32, store64
from media_core.sound.resample cimport RESAMPLE_BLOCK, resample, resample_begin

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd_write(int fd, uint64_t value)

cdef extern from "<fcntl.h>" nogil:
    enum: O_RDONLY, O_NONBLOCK, O_CLOEXEC
    int open_file "open"(const char *path, int flags)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef extern from "<sys/stat.h>" nogil:
    struct stat_t "stat":
        unsigned st_mode
    int fstat(int fd, stat_t *status)
    bint S_ISREG(unsigned mode)

cdef enum:
    CHUNK = 480                 # frames read at a time: at most 1,920 samples come of them


cdef Sound *sound_begin(Shelf *shelf, uint32_t leg, const Request *request, uint32_t rate, uint64_t skip) noexcept nogil:
    """Ask for the files of a request; NULL: the leg's last one is still being put away (try again), or no memory."""
    cdef Sound *sound
    if load64(<uint64_t *>&shelf.sounds[leg], ACQUIRE) != 0:
        return NULL
    sound = <Sound *>calloc(1, sizeof(Sound))
    if sound == NULL:
        return NULL
    sound.rate = rate
    sound.skip = skip
    sound.looped = request.kind == 3  # REQUEST_LOOPED
    sound.fd = -1
    memcpy(sound.paths, request.paths, PATHS_ROOM - 2)
    store32(&sound.state, SOUND_WANTED, RELEASE)
    store64(<uint64_t *>&shelf.sounds[leg], <uint64_t>sound, RELEASE)
    eventfd_write(shelf.wake, 1)
    return sound


cdef int sound_take(Sound *sound, int16_t *into, int count) noexcept nogil:
    """count samples, padded with silence at the end. 1; 0: not there yet; -1: it is over; -2: over, and a file could not be read."""
    cdef uint64_t tail = sound.tail, ready
    cdef uint32_t ended = load32(&sound.ended, ACQUIRE)
    cdef int at
    ready = load64(&sound.head, ACQUIRE) - tail
    if ready < <uint64_t>count:
        if not ended:
            return 0
        if ready == 0:
            return -2 if sound.failed else -1
    for at in range(count):
        into[at] = sound.samples[(tail + at) % SOUND_ROOM] if <uint64_t>at < ready else 0
    store64(&sound.tail, tail + (count if <uint64_t>count < ready else ready), RELEASE)
    return 1


cdef void sound_end(Shelf *shelf, Sound *sound) noexcept nogil:
    """The DSP wants no more of it, and does not look at it again."""
    store32(&sound.state, SOUND_UNWANTED, RELEASE)
    eventfd_write(shelf.wake, 1)


# ---- the files' thread -------------------------------------------------------------------------------------------------

cdef void shut(Sound *sound) noexcept nogil:
    if sound.file != NULL:
        sf_close(sound.file)
        sound.file = NULL
    if sound.fd >= 0:
        close(sound.fd)
        sound.fd = -1


cdef bint open_next(Sound *sound) noexcept nogil:
    """Open the file at `path`; False: there is none, or it cannot be read."""
    cdef stat_t status
    sound.fd = open_file(sound.paths + sound.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    if sound.fd < 0 or fstat(sound.fd, &status) or not S_ISREG(status.st_mode):
        return False
    sound.info.format = 0
    sound.file = sf_open_fd(sound.fd, SFM_READ, &sound.info, 0)
    if sound.file == NULL or not 1 <= sound.info.channels <= SOUND_CHANNELS:
        return False
    return resample_begin(&sound.resampler, sound.info.samplerate, sound.rate) == 0


cdef void next_path(Sound *sound) noexcept nogil:
    shut(sound)
    sound.path += <uint32_t>strlen(sound.paths + sound.path) + 1
    if sound.paths[sound.path] == 0:
        if sound.looped and sound.head > sound.loop_made:
            sound.path = 0
            sound.loop_made = sound.head
        else:
            store32(&sound.ended, 1, RELEASE)


cdef void read_ahead(Sound *sound) noexcept nogil:
    """Fill the ring."""
    cdef int16_t frames[CHUNK * SOUND_CHANNELS]
    cdef int16_t mono[CHUNK]
    cdef int16_t made[RESAMPLE_BLOCK * 2]
    cdef int count, at, channel, channels
    cdef int32_t total
    cdef uint64_t head
    while not sound.ended and SOUND_ROOM - (sound.head - load64(&sound.tail, ACQUIRE)) >= sizeof(made) / sizeof(int16_t):
        if sound.paths[sound.path] == 0:
            store32(&sound.ended, 1, RELEASE)
            return
        if sound.file == NULL and not open_next(sound):
            sound.failed = 1
            next_path(sound)
            continue
        count = <int>sf_readf_short(sound.file, frames, CHUNK)
        if count <= 0:
            next_path(sound)
            continue
        channels = sound.info.channels
        for at in range(count):
            total = 0
            for channel in range(channels):
                total += frames[at * channels + channel]
            mono[at] = <int16_t>(total // channels)
        count = resample(&sound.resampler, mono, count, made)
        head = sound.head
        for at in range(count):
            if sound.skip:
                sound.skip -= 1
                continue
            sound.samples[head % SOUND_ROOM] = made[at]
            head += 1
        store64(&sound.head, head, RELEASE)


cdef uint32_t sounds_fill(Shelf *shelf) noexcept nogil:
    """Read ahead for every Sound, put away those that are not wanted any more; returns how many there are."""
    cdef uint32_t leg, count = 0
    cdef Sound *sound
    for leg in range(shelf.memory.usable):
        sound = shelf.sounds[leg]
        if sound == NULL:
            continue
        if load32(&sound.state, ACQUIRE) == SOUND_UNWANTED:
            shut(sound)
            store64(<uint64_t *>&shelf.sounds[leg], 0, RELEASE)
            free(sound)
            continue
        count += 1
        read_ahead(sound)
    return count
