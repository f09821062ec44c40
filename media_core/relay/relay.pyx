"""The packet loop: what a worker thread does, whichever datapath brings the packets.

A batch goes through passes, so that memory fetched for one packet arrives while the others are looked at: prefetch, check (is it
RTP or RTCP, from the right source), open (SRTP), commit (statistics, latch), act (where to, renumber), seal (SRTP), send. No
Python, no lock, no allocation; one clock read per batch.

Whose packets are taken is latch.pyx's to say; with SRTP only those that authenticate.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from media_core.shared.abi cimport (
    EVENT_CORE_STARTED, EVENT_DIGIT, EVENT_MEDIA_SILENT, EVENT_MEDIA_STARTED, FOLLOWS_DSP, FOLLOWS_NOTHING,
    FOLLOWS_PLAYER, LATCH_LOCKED, LEG_AWAY, LEG_COPIED, LEG_DESCRIBED, LEG_OPEN, LEG_RECEIVE, LEG_RECORDED, LEG_SEND, LEG_TAKEN, NO_LEG, OTHER_LAW,
    SOCKET_CONNECTED, SOCKET_OPEN, EventBody, Leg, Sent, WorkerCounters, config_at, context_at, counters_at, event_ring, leg_at,
    player_at,
)
from media_core.shared.atomic cimport RELAXED, RELEASE, load32, store32
from media_core.relay.crossing cimport Crossing, crossing_wanted, cross_in, cross_out, cross_wake, crossings_wait
from media_core.relay.latch cimport latch_admits, latch_lock, latch_look_after, latch_rtcp, latch_take
from media_core.relay.leg cimport adopt_legs, apply_config, known_host, leg_connect, leg_id, same_endpoint, take_commands
from media_core.relay.relay cimport (
    BATCH, COMMON_BUFFER, DROPPED, ELSEWHERE, FRAME_AUDIO, FRAME_DIGIT, FRAME_END, FRAME_EVENT, MADE, PACKET_ROOM, ROOM_FRAMES,
    ROOM_REPORTS, WELCOME, Frame, Packet, Worker, common_room,
)
from media_core.relay.notice cimport notice_forged, notice_key, notice_leg
from media_core.relay.report cimport report_read, report_write
from media_core.shared.ring cimport RING_WAKE, Record, ring_empty, ring_front, ring_payload, ring_pop, ring_push
from media_core.relay.rtp cimport load16 as read16, load32 as read32, store16 as write16, store32 as write32
from media_core.srtp.srtp cimport (
    SRTP_AUTH_FAILED, SRTP_REPLAYED, srtp_ctx, srtp_protect_batch, srtp_protect_rtcp, srtp_unprotect_batch, srtp_unprotect_rtcp,
)
from media_core.relay.tap cimport change_law, tap_received, tap_sent
from media_core.relay.stream cimport stream_received, stream_renumber, stream_rtcp_in, stream_rtcp_out

cdef extern from "<time.h>" nogil:
    struct timespec:
        int64_t tv_sec
        int64_t tv_nsec
    enum: CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *time)

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd_write(int fd, uint64_t value)

cdef extern from * nogil:
    void prefetch "__builtin_prefetch"(const void *place, int write, int locality)

cdef enum:
    SLICES = 4                  # the table is gone through once a second, in so many slices
    SILENT = 10                 # seconds without a packet until it is told
    DIGIT_LOST_MS = 300         # a key whose end packets were lost ends after this silence

cdef uint64_t SECOND = 1000000000


cdef uint64_t clock_now() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <uint64_t>time.tv_sec * SECOND + <uint64_t>time.tv_nsec


# ---- events -----------------------------------------------------------------------------------------------------------

cdef void worker_event(Worker *worker, uint32_t type, uint64_t id, uint32_t a, uint32_t b) noexcept nogil:
    """Tell `calls`. A full ring drops the event and counts it; state is in the leg table anyway."""
    cdef EventBody body
    body.a, body.b, body.c = a, b, 0
    worker_tell(worker, type, id, &body)


cdef void worker_tell(Worker *worker, uint32_t type, uint64_t id, const EventBody *body) noexcept nogil:
    if ring_push(event_ring(worker.memory, worker.number), type, id, body, sizeof(EventBody)) == RING_WAKE:
        eventfd_write(worker.calls_wake, 1)


# ---- check --------------------------------------------------------------------------------------------------------------

cdef inline uint8_t check(Worker *worker, Packet *packet, Leg *leg) noexcept nogil:
    """Is this packet welcome? Counts it where it is not."""
    cdef uint8_t kind
    if not leg.flags & LEG_OPEN:
        counters_at(worker.memory, worker.number).stray += 1
        return DROPPED
    if packet.length < 12 or packet.data[0] >> 6 != 2:
        if packet.length < 8 or packet.data[0] >> 6 != 2:
            leg.dropped_other += 1
            return DROPPED
    kind = packet.data[1]
    packet.rtcp = 192 <= kind <= 223  # RFC 5761 §4
    if not packet.rtcp and (packet.rtcp_socket or packet.length < 12):
        leg.dropped_other += 1
        return DROPPED
    if not leg.flags & LEG_RECEIVE:
        leg.dropped_other += 1
        return DROPPED
    if not packet.rtcp:
        if same_endpoint(&leg.source, packet.source):
            return WELCOME
    elif same_endpoint(&leg.source_rtcp, packet.source):
        return WELCOME
    if latch_admits(worker, packet, leg):
        return ELSEWHERE
    leg.dropped_source += 1
    return DROPPED


# ---- commit -------------------------------------------------------------------------------------------------------------

cdef void end_digit(Worker *worker, Leg *leg, uint32_t index) noexcept nogil:
    if leg.digit and not leg.digit_told:
        worker_event(worker, EVENT_DIGIT, leg_id(leg, index), leg.digit - 1, leg.digit_duration * 1000 / 8000)
        leg.digit_told = 1


cdef void take_digit(Worker *worker, Leg *leg, Packet *packet) noexcept nogil:
    """RFC 4733 §2.5: all packets of one key press carry one timestamp; the end is sent three times."""
    cdef uint32_t header = 12 + 4 * (packet.data[0] & 15), timestamp = read32(packet.data + 4)
    cdef uint8_t *body = packet.data + header
    if packet.data[0] & 0x10 or packet.length < header + 4 or body[0] > 15:
        return
    if not leg.digit or leg.digit_timestamp != timestamp:
        if not notice_key(leg, worker.now):
            return
        end_digit(worker, leg, packet.leg)
        leg.digit = body[0] + 1
        leg.digit_timestamp = timestamp
        leg.digit_told = 0
        leg.digit_duration = 0
    leg.digit_last = worker.now
    if not leg.digit_told:
        if read16(body + 2) > leg.digit_duration:
            leg.digit_duration = read16(body + 2)
        if body[1] & 0x80:
            end_digit(worker, leg, packet.leg)


cdef inline bint commit(Worker *worker, Packet *packet, Leg *leg) noexcept nogil:
    """The packet is genuine (as far as one can tell): latch, statistics, events. False: goes no further."""
    if packet.rtcp:
        leg.rtcp_received += 1
        latch_rtcp(worker, packet, leg)
        return True
    if not same_endpoint(&leg.source, packet.source):
        if not latch_take(worker, packet, leg):
            return False
    elif leg.locked != LATCH_LOCKED:
        latch_lock(worker, packet, leg)
    if not stream_received(leg, packet, worker.now):
        return False
    if leg.connected == SOCKET_OPEN:
        leg_connect(worker, packet.leg, leg)
    if not leg.started or leg.silent:
        leg.started = 1
        leg.silent = 0
        worker_event(worker, EVENT_MEDIA_STARTED, leg_id(leg, packet.leg), 0, 0)
    if (packet.data[1] & 0x7F) == leg.telephone_event:
        take_digit(worker, leg, packet)
    return True


# ---- act ----------------------------------------------------------------------------------------------------------------

cdef inline void rtcp_socket(Packet *packet, const Leg *out) noexcept nogil:
    """RFC 5761: from the RTP port when the far end takes both on one."""
    cdef bint muxed = same_endpoint(&out.to, out.to_rtcp.address)
    packet.socket = 2 * packet.out + (0 if muxed else 1)
    packet.connected = muxed and out.connected == SOCKET_CONNECTED


cdef inline void act(Worker *worker, Packet *packet, Leg *leg) noexcept nogil:
    """What came in on a leg: where does it go, and as what."""
    cdef Leg *out
    cdef uint8_t payload_type
    if leg.flags & (LEG_TAKEN | LEG_COPIED | LEG_RECORDED) and not packet.rtcp:
        tap_received(worker, packet, leg)
    if leg.flags & LEG_TAKEN and packet.rtcp:
        report_read(packet, leg, worker.now)
    if leg.peer == NO_LEG or leg.flags & LEG_TAKEN:
        return
    if not packet.rtcp:
        payload_type = leg.payload_map[packet.data[1] & 0x7F]
        if payload_type & OTHER_LAW:
            change_law(packet)
        packet.data[1] = (packet.data[1] & 0x80) | (payload_type & 0x7F)
    elif leg.peer == packet.leg or not stream_rtcp_in(packet, leg, worker.now):
        return
    if leg.flags & LEG_AWAY:
        cross_out(worker, packet, leg)
        return
    out = leg_at(worker.memory, leg.peer)
    if out.generation == leg.peer_generation:
        packet.out = leg.peer
        depart(worker, packet, out, leg.received.khz)


cdef inline void depart(Worker *worker, Packet *packet, Leg *out, uint32_t khz) noexcept nogil:
    """A packet for `out`, one of our legs, made here or relayed; khz: of the timestamps of what is relayed."""
    if (out.flags & (LEG_OPEN | LEG_DESCRIBED | LEG_SEND)) != (LEG_OPEN | LEG_DESCRIBED | LEG_SEND):
        return
    if packet.rtcp:
        if out.to_rtcp.length == 0:
            return
        stream_rtcp_out(packet, out, worker.now)
        packet.to = &out.to_rtcp
        rtcp_socket(packet, out)
        out.sent.rtcp += 1
        return
    if packet.verdict != MADE:
        if out.sent.injecting or not stream_renumber(packet, &out.sent, worker.now, khz):
            return
    out.sent.payload_type = packet.data[1] & 0x7F
    packet.to = &out.to
    packet.socket = 2 * packet.out
    packet.connected = out.connected == SOCKET_CONNECTED
    out.sent.packets += 1
    out.sent.bytes += packet.length
    out.sent.last = worker.now
    if out.flags & LEG_RECORDED:
        tap_sent(worker, packet, out)


# ---- SRTP ---------------------------------------------------------------------------------------------------------------

cdef void open_packets(Worker *worker) noexcept nogil:
    """Authenticate and decrypt what came in on secure legs; what fails is dropped and counted."""
    cdef uint32_t at, count = 0
    cdef int32_t length
    cdef Packet *packet
    cdef srtp_ctx *context
    for at in range(worker.count):
        packet = &worker.batch[at]
        if not packet.verdict or not leg_at(worker.memory, packet.leg).secure_in:
            continue
        context = context_at(worker.memory, packet.leg, 0)
        if packet.rtcp:
            length = srtp_unprotect_rtcp(worker.crypto, context, packet.data, packet.length)
            opened(worker, packet, length)
        else:
            worker.jobs[count].ctx = context
            worker.jobs[count].buf = packet.data
            worker.jobs[count].len = packet.length
            worker.jobs[count].cap = PACKET_ROOM
            worker.jobs_packet[count] = <uint8_t>at
            count += 1
    if count:
        srtp_unprotect_batch(worker.crypto, worker.jobs, count)
        for at in range(count):
            opened(worker, &worker.batch[worker.jobs_packet[at]], worker.jobs[at].len)


cdef inline void opened(Worker *worker, Packet *packet, int32_t length) noexcept nogil:
    """Strangers cannot know the key, so what they send is a matter of their address: it says nothing of the telephone's key."""
    cdef Leg *leg
    cdef bint elsewhere
    if length >= 0:
        packet.length = length
        return
    leg = leg_at(worker.memory, packet.leg)
    elsewhere = packet.verdict == ELSEWHERE
    packet.verdict = DROPPED
    if elsewhere and not known_host(leg, packet.source):
        leg.dropped_source += 1
    elif length == SRTP_AUTH_FAILED or length == SRTP_REPLAYED:
        leg.dropped_auth += 1
        if length == SRTP_AUTH_FAILED:
            notice_forged(worker, packet, leg)
    else:
        leg.dropped_other += 1


cdef void seal_packets(Worker *worker) noexcept nogil:
    """Encrypt what goes out on secure legs. Nothing that could not be sealed is sent."""
    cdef uint32_t at, count = 0
    cdef int32_t length
    cdef Packet *packet
    cdef srtp_ctx *context
    for at in range(worker.count):
        packet = &worker.batch[at]
        if packet.to == NULL or not leg_at(worker.memory, packet.out).secure_out:
            continue
        context = context_at(worker.memory, packet.out, 1)
        if packet.rtcp:
            length = srtp_protect_rtcp(worker.crypto, context, packet.data, packet.length, PACKET_ROOM)
            sealed(worker, packet, length)
        else:
            worker.jobs[count].ctx = context
            worker.jobs[count].buf = packet.data
            worker.jobs[count].len = packet.length
            worker.jobs[count].cap = PACKET_ROOM
            worker.jobs_packet[count] = <uint8_t>at
            count += 1
    if count:
        srtp_protect_batch(worker.crypto, worker.jobs, count)
        for at in range(count):
            sealed(worker, &worker.batch[worker.jobs_packet[at]], worker.jobs[at].len)


cdef inline void sealed(Worker *worker, Packet *packet, int32_t length) noexcept nogil:
    if length >= 0:
        packet.length = length
    else:
        packet.to = NULL
        leg_at(worker.memory, packet.out).sent.failed += 1


# ---- what the DSP makes ----------------------------------------------------------------------------------------------

cdef bint make_packet(Worker *worker, Packet *packet, Leg *leg, uint32_t index, Record *record) noexcept nogil:
    """The next packet of the leg's outgoing stream from a frame; False: there is nothing to send."""
    cdef Frame *frame = <Frame *>ring_payload(record)
    cdef Sent *s = &leg.sent
    cdef EventBody *body = <EventBody *>frame.data
    cdef int32_t payload_type = leg.telephone_event if record.type == FRAME_EVENT else frame.payload_type
    if record.type == FRAME_END:
        s.injecting = 0
        if frame.told:
            worker_tell(worker, frame.told, leg_id(leg, index), body)
        store32(&player_at(worker.memory, index).told, body.a, RELEASE)
        return False
    if record.type == FRAME_DIGIT:
        worker_event(worker, EVENT_DIGIT, leg_id(leg, index), body.a, body.b)
        return False
    if frame.stream and s.injecting:
        return False
    if frame.first or (s.follows != FOLLOWS_DSP if frame.stream else not s.injecting):
        s.injecting = not frame.stream
        s.base = s.timestamp - frame.offset
        if s.follows != FOLLOWS_NOTHING:
            s.base += <uint32_t>((worker.now - s.last) / 1000 * frame.khz / 1000)
            frame.marker = 1 if record.type == FRAME_AUDIO else frame.marker
    s.follows = FOLLOWS_DSP if frame.stream else FOLLOWS_PLAYER
    if record.type != FRAME_AUDIO and record.type != FRAME_EVENT or payload_type < 0:
        return False
    s.sequence += 1
    s.timestamp = s.base + frame.offset
    packet.data = common_room(worker, ROOM_FRAMES)
    packet.data[0] = 0x80
    packet.data[1] = <uint8_t>(frame.marker << 7 | payload_type)
    write16(packet.data + 2, s.sequence)
    write32(packet.data + 4, s.timestamp)
    write32(packet.data + 8, s.ssrc)
    memcpy(packet.data + 12, frame.data, frame.length)
    packet.length = 12 + frame.length
    packet.leg = packet.out = index
    packet.buffer = COMMON_BUFFER
    packet.rtcp = 0
    packet.verdict = MADE
    packet.to = NULL
    return True


cdef void send_batch(Worker *worker) noexcept nogil:
    """Seal and send what has been put together here."""
    cdef uint32_t at, sent = 0
    if not worker.count:
        return
    for at in range(worker.count):
        sent += worker.batch[at].to != NULL
    seal_packets(worker)
    worker.datapath.send(worker)
    counters_at(worker.memory, worker.number).packets_out += sent


cdef void send_frames(Worker *worker) noexcept nogil:
    """One batch of the DSPs' frames; more wait for the next round. A leg that has just moved to another DSP wants no more sound of the
    one before, but is told what that has to tell."""
    cdef Record *record
    cdef Leg *leg
    cdef uint32_t index, dsp
    worker.count = 0
    for dsp in range(worker.memory.workers):
        record = ring_front(worker.frames[dsp])
        while record != NULL and worker.count < BATCH:
            index = <uint32_t>record.id
            leg = leg_at(worker.memory, index)
            if (leg_id(leg, index) == record.id and leg.flags & LEG_OPEN
                    and (leg.dsp == dsp or record.type == FRAME_END or record.type == FRAME_DIGIT)
                    and make_packet(worker, &worker.batch[worker.count], leg, index, record)):
                depart(worker, &worker.batch[worker.count], leg, 0)
                worker.count += 1
            ring_pop(worker.frames[dsp])
            record = ring_front(worker.frames[dsp])
    send_batch(worker)


cdef void send_crossings(Worker *worker) noexcept nogil:
    """One batch of what other workers have received for our legs; more wait for the next round."""
    cdef Crossing crossings[BATCH]
    cdef Leg *leg
    cdef uint32_t at
    worker.count = 0
    while worker.count < BATCH and cross_in(worker, &worker.batch[worker.count], &crossings[worker.count]):
        leg = leg_at(worker.memory, worker.batch[worker.count].out)
        prefetch(leg, 0, 3)
        prefetch(&leg.to, 0, 3)
        prefetch(&leg.sent, 1, 3)
        worker.count += 1
    for at in range(worker.count):
        leg = leg_at(worker.memory, worker.batch[at].out)
        if crossing_wanted(&crossings[at], leg):
            depart(worker, &worker.batch[at], leg, crossings[at].khz)
    send_batch(worker)


cdef bint frames_wait(const Worker *worker) noexcept nogil:
    cdef uint32_t dsp
    for dsp in range(worker.memory.workers):
        if not ring_empty(worker.frames[dsp]):
            return True
    return False


# ---- the loop -----------------------------------------------------------------------------------------------------------

cdef void relay_batch(Worker *worker) noexcept nogil:
    cdef uint32_t at, dropped = 0, sent = 0
    cdef Packet *packet
    cdef Leg *leg
    cdef WorkerCounters *counters = counters_at(worker.memory, worker.number)
    for at in range(worker.count):
        leg = leg_at(worker.memory, worker.batch[at].leg)
        prefetch(leg, 0, 3)
        prefetch(&leg.received, 1, 3)
    for at in range(worker.count):
        packet = &worker.batch[at]
        leg = leg_at(worker.memory, packet.leg)
        packet.to = NULL
        packet.out = packet.leg
        packet.rtcp = 0
        packet.verdict = check(worker, packet, leg)
        if packet.verdict and leg.peer != NO_LEG:
            prefetch(&leg.payload_map[packet.data[1] & 0x7F], 0, 3)
            if not leg.flags & LEG_AWAY:
                leg = leg_at(worker.memory, leg.peer)
                prefetch(leg, 0, 3)
                prefetch(&leg.to, 0, 3)
                prefetch(&leg.sent, 1, 3)
    open_packets(worker)
    for at in range(worker.count):
        packet = &worker.batch[at]
        leg = leg_at(worker.memory, packet.leg)
        if packet.verdict and commit(worker, packet, leg):
            act(worker, packet, leg)
    seal_packets(worker)
    for at in range(worker.count):
        if worker.batch[at].to != NULL:
            sent += 1
        if not worker.batch[at].verdict:
            dropped += 1
    cross_wake(worker)
    counters.packets_in += worker.count
    counters.packets_out += sent
    counters.dropped += dropped
    counters.batches += 1


cdef void look_after(Worker *worker, uint32_t index) noexcept nogil:
    """Once a second for each leg: a command that found no room in the ring, silence, and keys whose end was lost."""
    cdef Leg *leg = leg_at(worker.memory, index)
    cdef uint64_t since
    cdef uint32_t seconds, told
    if leg.applied != load32(&config_at(worker.memory, index).version, RELAXED):
        apply_config(worker, index)
    if not leg.flags & LEG_OPEN:
        return
    if leg.digit and not leg.digit_told and worker.now - leg.digit_last > <uint64_t>DIGIT_LOST_MS * 1000000:
        end_digit(worker, leg, index)
    notice_leg(worker, leg, index)
    latch_look_after(worker, index, leg)
    if (leg.flags & (LEG_DESCRIBED | LEG_RECEIVE)) != (LEG_DESCRIBED | LEG_RECEIVE):
        leg.described = worker.now
        return
    since = leg.received.last if leg.received.last > leg.described else leg.described
    if worker.now < since:
        return
    seconds = <uint32_t>((worker.now - since) / SECOND)
    told = leg.silent
    if seconds >= SILENT and (told == 0 or (told < 30 <= seconds) or (told < 60 <= seconds) or seconds >= told + 60):
        leg.silent = seconds
        worker_event(worker, EVENT_MEDIA_SILENT, leg_id(leg, index), seconds, 0)


cdef void report(Worker *worker, uint32_t index) noexcept nogil:
    """RTCP of a leg whose streams begin and end here, when it is due, into the batch."""
    cdef Leg *leg = leg_at(worker.memory, index)
    cdef Packet *packet = &worker.batch[worker.count]
    cdef int32_t length
    if (leg.flags & (LEG_OPEN | LEG_DESCRIBED | LEG_SEND | LEG_TAKEN)) != (LEG_OPEN | LEG_DESCRIBED | LEG_SEND | LEG_TAKEN):
        return
    packet.data = common_room(worker, ROOM_REPORTS)
    length = report_write(leg, worker.now, packet.data, PACKET_ROOM)
    if length <= 0 or leg.to_rtcp.length == 0:
        return
    packet.length = <uint32_t>length
    packet.leg = packet.out = index
    packet.buffer = COMMON_BUFFER
    packet.rtcp = 1
    packet.verdict = MADE
    packet.to = &leg.to_rtcp
    rtcp_socket(packet, leg)
    leg.sent.rtcp += 1
    worker.count += 1


cdef void housekeeping(Worker *worker) noexcept nogil:
    cdef uint32_t slice = worker.legs / (SLICES * worker.memory.workers) + 1, step
    worker.tick = worker.now + SECOND / SLICES
    counters_at(worker.memory, worker.number).beat = worker.now
    worker.count = 0
    for step in range(slice):
        if worker.cursor >= worker.legs:
            worker.cursor = worker.number
            break
        look_after(worker, worker.cursor)
        if worker.count < BATCH:
            report(worker, worker.cursor)
        worker.cursor += worker.memory.workers
    if worker.count:
        seal_packets(worker)
        worker.datapath.send(worker)


cdef int worker_run(Worker *worker) noexcept nogil:
    """The life of a worker thread. The datapath is open. Returns when `stopping` is set."""
    cdef bint waits = True      # something is left for the next round: it must not sleep
    cdef bint crosses = worker.memory.workers > 1
    worker.now = clock_now()
    worker.cursor = worker.number
    adopt_legs(worker)
    if worker.number == 0:
        worker_event(worker, EVENT_CORE_STARTED, 0, worker.memory.generation, 0)
    eventfd_write(worker.calls_wake, 1)  # in case the core before this one died between an event and its signal
    while not load32(<uint32_t *>worker.stopping, RELAXED):
        worker.count = worker.datapath.collect(worker, 0 if waits else 1000 / SLICES)
        worker.now = clock_now()
        take_commands(worker)
        if worker.count:
            relay_batch(worker)
            worker.datapath.send(worker)
        if frames_wait(worker):
            send_frames(worker)
        if crosses and crossings_wait(worker):
            send_crossings(worker)
        waits = frames_wait(worker) or crosses and crossings_wait(worker)
        if worker.now >= worker.tick:
            worker.datapath.flush(worker)
            housekeeping(worker)
    return 0
