"""Packets for a leg of another worker.

A leg's outgoing stream (sequence, SRTP index, RTCP) is only ever touched by the worker the leg belongs to. So whoever receives a packet
for another worker's leg opens it, counts it and puts it, in clear, into the ring to that worker, which numbers, seals and sends it. There
is one ring for each two workers and direction, in the shared memory: a core that takes over sends what lies there. A packet is taken
out before it is worked on, so one is lost at a death rather than sealed twice. A worker is woken once a batch, and only when it had
emptied the ring and is not gathering packets anyhow (datapath_uring.pyx). A full ring costs the packet, which is counted, and holds up nobody.

A packet that was on its way while its leg was connected to somebody else is of no use to the new one and is dropped.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from media_core.shared.abi cimport CROSSING_RTCP, CROSSING_RTP, Leg, WorkerCounters, counters_at, crossing_ring, worker_of
from media_core.shared.atomic cimport RELAXED, load32
from media_core.relay.leg cimport leg_id
from media_core.relay.relay cimport COMMON_BUFFER, PACKET_LARGEST, ROOM_CROSSINGS, WELCOME, common_room
from media_core.shared.ring cimport RING_WAKE, Record, Ring, ring_commit, ring_empty, ring_front, ring_pop, ring_reserve

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd_write(int fd, uint64_t value)


cdef void cross_out(Worker *worker, const Packet *packet, const Leg *leg) noexcept nogil:
    """Give the packet to the worker of the leg's peer."""
    cdef uint32_t taker = worker_of(worker.memory, leg.peer), length = <uint32_t>sizeof(Crossing) + packet.length
    cdef Ring *ring = crossing_ring(worker.memory, worker.number, taker)
    cdef WorkerCounters *counters = counters_at(worker.memory, worker.number)
    cdef Crossing *crossing = <Crossing *>ring_reserve(ring, length)
    if crossing == NULL:
        counters.crossing_lost += 1
        return
    counters.crossed += 1
    crossing.source = leg_id(leg, packet.leg)
    crossing.generation = leg.peer_generation
    crossing.khz = leg.received.khz
    memcpy(<uint8_t *>(crossing + 1), packet.data, packet.length)
    if ring_commit(ring, CROSSING_RTCP if packet.rtcp else CROSSING_RTP, leg.peer, length) == RING_WAKE:
        worker.wakes[taker] = 1


cdef void cross_wake(Worker *worker) noexcept nogil:
    """At the end of a batch: wake those who had nothing in their rings."""
    cdef uint32_t taker
    for taker in range(worker.memory.workers):
        if worker.wakes[taker]:
            worker.wakes[taker] = 0
            if not load32(&worker.workers[taker].gathers, RELAXED):  # behind the fence of ring_commit
                eventfd_write(worker.workers[taker].wake, 1)


cdef bint crossings_wait(const Worker *worker) noexcept nogil:
    """Has another worker given us something?"""
    cdef uint32_t giver
    for giver in range(worker.memory.workers):
        if not ring_empty(crossing_ring(worker.memory, giver, worker.number)):
            return True
    return False


cdef inline bint copied(Worker *worker, Packet *packet, Crossing *crossing, const Record *record) noexcept nogil:
    """A record into the room of the batch's next packet; False: it makes no sense."""
    cdef uint32_t index = <uint32_t>record.id, length = record.length - <uint32_t>sizeof(Crossing)
    if record.length < sizeof(Crossing) or length > PACKET_LARGEST or index >= worker.legs or worker_of(worker.memory, index) != worker.number:
        return False
    crossing[0] = (<const Crossing *>(record + 1))[0]
    packet.data = common_room(worker, ROOM_CROSSINGS)
    memcpy(packet.data, <const uint8_t *>(record + 1) + sizeof(Crossing), length)
    packet.length = length
    packet.leg = packet.out = index
    packet.buffer = COMMON_BUFFER
    packet.rtcp = record.type == CROSSING_RTCP
    packet.verdict = WELCOME
    packet.to = NULL
    return True


cdef bint cross_in(Worker *worker, Packet *packet, Crossing *crossing) noexcept nogil:
    """The next packet that another worker has received for one of our legs, into the batch; False: there is none.

    The others take turns, packet by packet, so that nobody's flood keeps another waiting."""
    cdef uint32_t step
    cdef Ring *ring
    cdef Record *record
    cdef bint good = False
    for step in range(worker.memory.workers):
        ring = crossing_ring(worker.memory, worker.turn, worker.number)
        worker.turn = worker.turn + 1 if worker.turn + 1 < worker.memory.workers else 0
        record = ring_front(ring)
        while record != NULL:
            good = copied(worker, packet, crossing, record)
            ring_pop(ring)
            if good:
                worker.taken_in += 1
                return True
            record = ring_front(ring)
    return False
