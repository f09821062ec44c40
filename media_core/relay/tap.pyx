"""What the packet loop does for sound: copies of plain packets for the DSP and the recorder, and A-law to mu-law and back.

Both readers look into their rings by themselves, so a copy costs no signal; a full ring costs the copy, which is counted, and never
the packet.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from media_core.shared.abi cimport LEG_COPIED, LEG_RECORDED, LEG_TAKEN, Leg, WorkerCounters, counters_at
from media_core.sound.codec cimport recode_g711
from media_core.relay.leg cimport leg_id
from media_core.shared.ring cimport Ring, ring_commit, ring_reserve
from media_core.relay.rtp cimport rtp_payload_offset


cdef void copy_into(Ring *ring, uint64_t *lost, Packet *packet, uint64_t id, uint64_t now, uint32_t sent) noexcept nogil:
    cdef Tap *copy = <Tap *>ring_reserve(ring, sizeof(Tap) + packet.length)
    if copy == NULL:
        lost[0] += 1
        return
    copy.arrival = now
    copy.sent = sent
    memcpy(<uint8_t *>(copy + 1), packet.data, packet.length)
    ring_commit(ring, 0, id, sizeof(Tap) + packet.length)


cdef void tap_received(Worker *worker, Packet *packet, Leg *leg) noexcept nogil:
    """A packet that came in on a leg: to whom its flags say."""
    cdef WorkerCounters *counters = counters_at(worker.memory, worker.number)
    if leg.flags & (LEG_TAKEN | LEG_COPIED):
        copy_into(worker.taps[leg.dsp], &counters.dsp_lost, packet, leg_id(leg, packet.leg), worker.now, 0)
    if leg.flags & LEG_RECORDED:
        copy_into(worker.tees, &counters.recorder_lost, packet, leg_id(leg, packet.leg), worker.now, 0)


cdef void tap_sent(Worker *worker, Packet *packet, Leg *leg) noexcept nogil:
    """A packet that goes out on a recorded leg, before it is sealed."""
    copy_into(worker.tees, &counters_at(worker.memory, worker.number).recorder_lost, packet, leg_id(leg, packet.out), worker.now, 1)


cdef void change_law(Packet *packet) noexcept nogil:
    """G.711 from A to mu or back, in place."""
    cdef int32_t offset = rtp_payload_offset(packet.data, <int32_t>packet.length)
    if offset > 0:
        recode_g711(packet.data + offset, packet.length - offset, packet.data[1] & 0x7F)
