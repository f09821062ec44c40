"""The player: tones and digits as 20 ms frames, from its own thread at lower priority than the packet loop.

A request stands in the leg's Player block together with how far it has come, so a core that takes over goes on in the middle of a
tone. Frames go to the leg's worker over a ring; the worker numbers, seals and sends them. A digit is an RFC 4733 event (an update
every 20 ms, the end three times) or, towards a far end that takes none, the two tones. G.711 by table (ITU-T G.711).
"""

from libc.errno cimport errno
from libc.math cimport M_PI, sin
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from media_core.abi cimport (
    ITEM_TONE, LEG_OPEN, REQUEST_TONES, Header, Item, Leg, Player, Progress, Request, command_ring, config_at, leg_at, player_at,
)
from media_core.atomic cimport ACQUIRE, RELAXED, RELEASE, fence, load32, store32
from media_core.relay cimport FRAME_AUDIO, FRAME_END, FRAME_EVENT, FRAME_PAUSE, Frame, Worker
from media_core.ring cimport RING_WAKE, Record, Ring, ring_front, ring_pop, ring_push

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
    RATE = 8000
    FRAME_SAMPLES = 160
    TICK_MS = 20
    RAMP = 40                   # samples a tone takes to rise and to fall, against clicks
    LEVEL = 4100                # amplitude of each of two tones; a single one is a little louder
    NICE = 5

cdef uint8_t a_law[8192]        # by the upper 13 bits of a sample
cdef uint8_t mu_law[16384]      # by the upper 14 bits


cdef uint8_t encode_a(int sample) noexcept:
    """One 13-bit sample, -4096..4095."""
    cdef int mask = 0xD5 if sample >= 0 else 0x55, exponent = 0, magnitude = sample if sample >= 0 else -sample - 1
    if magnitude < 32:
        return <uint8_t>((magnitude >> 1) ^ mask)
    while magnitude >> (exponent + 5) > 0:
        exponent += 1
    return <uint8_t>((exponent << 4 | (magnitude >> exponent) & 15) ^ mask)


cdef uint8_t encode_mu(int sample) noexcept:
    """One 14-bit sample, -8192..8191."""
    cdef int mask = 0xFF if sample >= 0 else 0x7F, exponent = 0, magnitude = (sample if sample >= 0 else -sample) + 33
    if magnitude > 8191:
        magnitude = 8191
    while magnitude >> (exponent + 6) > 0:
        exponent += 1
    return <uint8_t>((exponent << 4 | (magnitude >> (exponent + 1)) & 15) ^ mask)


cdef void make_tables() noexcept:
    cdef int value
    for value in range(-4096, 4096):
        a_law[value & 8191] = encode_a(value)
    for value in range(-8192, 8192):
        mu_law[value & 16383] = encode_mu(value)


make_tables()


def g711(samples, int payload_type):
    """16-bit samples as G.711 octets of payload type 0 or 8; for the tests."""
    return bytes(a_law[(sample >> 3) & 8191] if payload_type == 8 else mu_law[(sample >> 2) & 16383] for sample in samples)


cdef uint64_t milliseconds_now() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <uint64_t>time.tv_sec * 1000 + time.tv_nsec / 1000000


cdef bint read_request(Player *player, Request *into) noexcept nogil:
    """A consistent copy; False: it is being written (a command follows when that is done)."""
    cdef uint32_t version = load32(&player.request.version, ACQUIRE)
    if version & 1:
        return False
    memcpy(into, &player.request, sizeof(Request))
    fence(ACQUIRE)
    return load32(&player.request.version, RELAXED) == version


cdef void hand_over(Worker *workers, Header *memory, uint64_t leg, uint32_t type, const Frame *frame) noexcept nogil:
    cdef Worker *worker = &workers[<uint32_t>leg % memory.workers]
    if ring_push(worker.frames, type, leg, frame, sizeof(Frame)) == RING_WAKE:
        eventfd_write(worker.frames_wake, 1)


cdef inline uint32_t samples_of(const Item *item) noexcept nogil:
    """Whole frames, so that each frame belongs to one item."""
    return (item.milliseconds * (RATE / 1000) + FRAME_SAMPLES - 1) / FRAME_SAMPLES * FRAME_SAMPLES


cdef void tone_frame(const Item *item, uint32_t start, uint32_t payload_type, uint8_t *into) noexcept nogil:
    cdef uint32_t at, n, length = item.milliseconds * (RATE / 1000)
    cdef double value, level = LEVEL if item.second > 0 else LEVEL * 1.4
    cdef int16_t sample
    for at in range(FRAME_SAMPLES):
        n = start + at
        value = 0
        if n < length:
            if item.first > 0:
                value += sin(2 * M_PI * item.first * n / RATE)
            if item.second > 0:
                value += sin(2 * M_PI * item.second * n / RATE)
            if n < RAMP:
                value *= <double>n / RAMP
            if length - n < RAMP:
                value *= <double>(length - n) / RAMP
        sample = <int16_t>(value * level)
        into[at] = a_law[(sample >> 3) & 8191] if payload_type == 8 else mu_law[(sample >> 2) & 16383]


cdef bint play_frame(Header *memory, Worker *workers, uint64_t leg) noexcept nogil:
    """The next 20 ms of a leg; False: it has nothing (more) to play."""
    cdef Player *player = player_at(memory, <uint32_t>leg)
    cdef Progress *progress = &player.progress
    cdef Request request
    cdef Item *item
    cdef Frame frame
    cdef uint32_t length, played
    if not read_request(player, &request):
        return True
    memset(&frame, 0, 16)
    if request.generation != leg >> 32 or leg_at(memory, <uint32_t>leg).generation > request.generation:
        return False
    if progress.version != request.version:
        frame.told = progress.version != progress.done and progress.kind == REQUEST_TONES and request.kind != REQUEST_TONES
        if frame.told:
            hand_over(workers, memory, leg, FRAME_END, &frame)
        progress.item = progress.sample = progress.offset = 0
        progress.kind = request.kind
        progress.version = request.version
        frame.first = 1
    elif progress.done == request.version:
        return False
    if progress.item >= request.count:
        frame.told = request.kind == REQUEST_TONES
        hand_over(workers, memory, leg, FRAME_END, &frame)
        progress.done = request.version
        return False
    item = &request.items[progress.item]
    frame.told = 0
    frame.offset = progress.offset
    frame.payload_type = <uint8_t>request.payload_type
    frame.marker = frame.first
    length = samples_of(item)
    if item.event != ITEM_TONE:
        event_frames(memory, workers, leg, item, progress, &frame, length)
    elif request.kind != REQUEST_TONES and item.first == 0:
        hand_over(workers, memory, leg, FRAME_PAUSE, &frame)
    else:
        tone_frame(item, progress.sample, request.payload_type, frame.data)
        frame.length = FRAME_SAMPLES
        hand_over(workers, memory, leg, FRAME_AUDIO, &frame)
    progress.sample += FRAME_SAMPLES
    progress.offset += FRAME_SAMPLES
    if progress.sample >= length:
        progress.item += 1
        progress.sample = 0
    return True


cdef void event_frames(Header *memory, Worker *workers, uint64_t leg, const Item *item, const Progress *progress, Frame *frame,
                       uint32_t length) noexcept nogil:
    """RFC 4733 §2.5.1: the timestamp is that of the beginning, the duration grows, the end is sent three times."""
    cdef uint32_t duration = progress.sample + FRAME_SAMPLES
    cdef int copy, copies = 3 if duration >= length else 1
    frame.offset = progress.offset - progress.sample
    frame.marker = progress.sample == 0
    frame.data[0] = <uint8_t>item.event
    frame.data[1] = 10 | (0x80 if duration >= length else 0)
    frame.data[2] = <uint8_t>(duration >> 8)
    frame.data[3] = <uint8_t>duration
    frame.length = 4
    for copy in range(copies):
        hand_over(workers, memory, leg, FRAME_EVENT, frame)
        frame.marker = frame.first = 0


cdef int player_run(Header *memory, Worker *workers, int core_wake, int *stopping) noexcept nogil:
    """The life of the player's thread: -errno when it cannot begin, 0 when told to stop."""
    cdef Ring *commands = command_ring(memory, memory.workers)
    cdef uint64_t *active = <uint64_t *>calloc(memory.legs, sizeof(uint64_t))
    cdef uint8_t *playing = <uint8_t *>calloc(memory.legs, 1)
    cdef uint32_t count = 0, index, kept
    cdef uint64_t due = milliseconds_now(), now
    cdef epoll_event event
    cdef Record *record
    cdef int epoll = epoll_create1(EPOLL_CLOEXEC), status = 0
    event.events = EPOLLIN | EPOLLET
    if active == NULL or playing == NULL or epoll < 0 or epoll_ctl(epoll, EPOLL_CTL_ADD, core_wake, &event):
        status = -errno if errno else -12
    else:
        setpriority(PRIO_PROCESS, 0, NICE)  # of this thread only; a refusal costs nothing but fairness
        for index in range(memory.usable):  # what a former core was playing
            active[count] = <uint64_t>player_at(memory, index).request.generation << 32 | index
            if player_at(memory, index).request.version != player_at(memory, index).progress.done:
                playing[index] = 1
                count += 1
    while status == 0 and not load32(<uint32_t *>stopping, RELAXED):
        now = milliseconds_now()
        epoll_wait(epoll, &event, 1, -1 if count == 0 else <int>(due - now) if due > now else 0)
        record = ring_front(commands)
        while record != NULL:
            index = <uint32_t>record.id
            if index < memory.usable:
                if not playing[index]:
                    if count == 0:
                        due = milliseconds_now()
                    playing[index] = 1
                    active[count] = record.id
                    count += 1
                else:
                    for kept in range(count):
                        if <uint32_t>active[kept] == index:
                            active[kept] = record.id
            ring_pop(commands)
            record = ring_front(commands)
        now = milliseconds_now()
        if count == 0 or now < due:
            continue
        due = due + TICK_MS if now - due < 200 else now + TICK_MS
        kept = 0
        for index in range(count):
            if play_frame(memory, workers, active[index]):
                active[kept] = active[index]
                kept += 1
            else:
                playing[<uint32_t>active[index]] = 0
        count = kept
    free(active)
    free(playing)
    if epoll >= 0:
        close(epoll)
    return status
