"""What is told of a stream without being asked, at a rate that nobody outside can raise.

What happens is counted where it happens; once a second the worker looks at the leg and tells the count. So a leg makes at most one
event a second about changes of its SSRC, one in FORGED_SECONDS about packets that fail authentication (the first at once), one in
QUALITY_SECONDS about its quality while that is poor and one when it is good again, and KEYS_A_SECOND keys, whatever is sent to it.
"""

from libc.stdint cimport uint32_t, uint64_t

from media_core.shared.abi cimport EVENT_FORGED, EVENT_QUALITY, EVENT_SSRC, QUALITY_POOR, Leg, Received
from media_core.relay.leg cimport leg_id, take_endpoint
from media_core.relay.relay cimport Packet, Worker, worker_event

cdef enum:
    FORGED_SECONDS = 10
    QUALITY_SECONDS = 10
    QUALITY_PACKETS = 50        # fewer in that time say nothing: on hold, or silence is not sent
    POOR_LOSS = 30              # of 1000: audible
    POOR_JITTER = 600           # in 0.1 ms: more than the usual jitter buffer of a telephone takes
    KEYS_A_SECOND = 20          # RFC 4733 section 2.5.2.3: a key takes 40 ms at least, and its pause
    KEYS_AT_ONCE = 16           # held up on the way, they may come so many together

cdef uint64_t SECOND = 1000000000


cdef bint notice_key(Leg *leg, uint64_t now) noexcept nogil:
    """Is it time for another key? A leaky bucket: `digit_room` is when it will be empty."""
    if leg.digit_room < now:
        leg.digit_room = now
    if leg.digit_room - now >= SECOND * KEYS_AT_ONCE // KEYS_A_SECOND:
        return False
    leg.digit_room += SECOND // KEYS_A_SECOND
    return True


cdef void tell_forged(Worker *worker, Leg *leg, uint32_t index) noexcept nogil:
    worker_event(worker, EVENT_FORGED, leg_id(leg, index), leg.forged - leg.forged_told, leg.forged)
    leg.forged_told = leg.forged
    leg.forged_at = <uint32_t>(worker.now // SECOND)


cdef void notice_forged(Worker *worker, const Packet *packet, Leg *leg) noexcept nogil:
    """A packet from the right place failed authentication. The first is told at once."""
    if leg.forged == leg.forged_told:
        take_endpoint(&leg.forged_source, packet.source)
    leg.forged += 1
    if leg.forged == 1:
        tell_forged(worker, leg, packet.leg)


cdef void judge(Worker *worker, Leg *leg, uint32_t index, uint32_t seconds) noexcept nogil:
    """The quality of what the far end has sent since the last look."""
    cdef Received *r = &leg.received
    cdef uint32_t packets = <uint32_t>r.packets - leg.quality_packets, jitter, loss
    cdef uint32_t lost = r.lost - leg.quality_lost if r.lost > leg.quality_lost else 0
    cdef bint first = leg.quality_at == 0
    leg.quality_at = seconds
    leg.quality_packets, leg.quality_lost = <uint32_t>r.packets, r.lost
    if first or packets < QUALITY_PACKETS:
        return
    loss = <uint32_t>(<uint64_t>lost * 1000 // (packets + lost))
    jitter = (r.jitter >> 4) * 10 // r.khz
    if loss >= POOR_LOSS or jitter >= POOR_JITTER:
        leg.quality_poor = 1
        worker_event(worker, EVENT_QUALITY, leg_id(leg, index), loss, jitter | <uint32_t>QUALITY_POOR)
    elif leg.quality_poor:
        leg.quality_poor = 0
        worker_event(worker, EVENT_QUALITY, leg_id(leg, index), loss, jitter)


cdef void notice_leg(Worker *worker, Leg *leg, uint32_t index) noexcept nogil:
    """Once a second for each open leg."""
    cdef uint32_t seconds = <uint32_t>(worker.now // SECOND)
    if leg.forged != leg.forged_told and seconds - leg.forged_at >= FORGED_SECONDS:
        tell_forged(worker, leg, index)
    if leg.ssrc_changes != leg.ssrc_told:
        worker_event(worker, EVENT_SSRC, leg_id(leg, index), leg.received.ssrc, leg.ssrc_changes - leg.ssrc_told)
        leg.ssrc_told = leg.ssrc_changes
    if leg.received.packets and seconds - leg.quality_at >= QUALITY_SECONDS:
        judge(worker, leg, index, seconds)
