"""The latch: where a leg's media is taken from, and therefore sent to (RFC 4961 symmetric RTP without the RTPbleed hole).

What signalling announced comes first. It is believed at its first packet and stays the source for as long as it speaks. Somebody else is
believed only while the source says nothing:

    from                           before the first packet          later
    the announced address          at once                          at once, until the socket is connected to another
    another port of that host      after MOMENT of silence          after QUIET of silence
    the host of the signalling     at once (NAT)                    never
    any other                      never                            never
    anywhere, if it authenticates  at once                          after QUIET of silence

Without SRTP "believed" takes LEARN_PACKETS in sequence of one SSRC, but for the announced address. So whoever sits behind the same
address, or on the same host, gets nothing while the telephone speaks, and loses what he got when it begins; and a telephone whose NAT
gives it another port in mid-call, or that moves to another network under SRTP, is heard again within a second.

A socket is connected to a source that was announced; to one on another host once SETTLED has shown that the announced address stays
silent; to another port of the announced host never, for it may still speak. Silence disconnects it: somebody else may be the one to hear.
"""

from libc.stdint cimport int16_t, uint16_t, uint32_t, uint64_t

from media_core.shared.abi cimport LATCH_LOCKED, SOCKET_CONNECTED, SOCKET_OPEN, SOCKET_SHARED, SOCKET_UNFIT, Leg
from media_core.relay.leg cimport leg_release, same_endpoint, same_host, take_endpoint
from media_core.relay.relay cimport Packet, Worker
from media_core.relay.rtp cimport load16 as read16, load32 as read32, store16 as write16

cdef enum:
    LEARN_PACKETS = 4
    RESYNC = 100                # packets: one further behind is a new beginning, not a late one

cdef uint64_t MOMENT = 200000000        # ns
cdef uint64_t QUIET = 500000000
cdef uint64_t SETTLED = 5000000000
cdef uint64_t RTCP_QUIET = 15000000000  # three of its usual intervals


cdef inline uint64_t silence(const Worker *worker, const Leg *leg) noexcept nogil:
    """ns since the source was heard last, or since it was described."""
    cdef uint64_t since = leg.received.last if leg.received.last > leg.described else leg.described
    return worker.now - since if worker.now > since else 0


cdef bint latch_admits(const Worker *worker, const Packet *packet, const Leg *leg) noexcept nogil:
    """May this packet, which is not from the source, be looked at? With SRTP it has to authenticate then."""
    if packet.rtcp:
        if not leg.rtcp_locked and same_host(&leg.source, packet.source):
            return True
        return worker.now - leg.rtcp_last >= RTCP_QUIET and (leg.secure_in or same_host(&leg.source, packet.source))
    if leg.connected != SOCKET_CONNECTED and same_endpoint(&leg.announced, packet.source):
        return True
    if leg.locked == LATCH_LOCKED:
        return silence(worker, leg) >= QUIET and (leg.secure_in or same_host(&leg.source, packet.source))
    if leg.secure_in:
        return True
    if same_host(&leg.source, packet.source):
        return silence(worker, leg) >= MOMENT
    return same_host(&leg.signalling, packet.source)


cdef bint learned(const Packet *packet, Leg *leg) noexcept nogil:
    """One more packet of a candidate for the source; True once it is believed."""
    cdef uint32_t ssrc = read32(packet.data + 8)
    cdef uint16_t sequence = read16(packet.data + 2), step = <uint16_t>(sequence - leg.candidate_sequence)
    if leg.candidate_count and ssrc == leg.candidate_ssrc and 1 <= step <= 2 and same_endpoint(&leg.candidate, packet.source):
        leg.candidate_count += 1
    else:
        take_endpoint(&leg.candidate, packet.source)
        leg.candidate_ssrc = ssrc
        leg.candidate_count = 1
    leg.candidate_sequence = sequence
    return leg.candidate_count >= LEARN_PACKETS


cdef bint latch_take(Worker *worker, const Packet *packet, Leg *leg) noexcept nogil:
    """A packet that was admitted and, with SRTP, is genuine; True: it is from the source, which may just have become another."""
    cdef int16_t ahead = <int16_t>(read16(packet.data + 2) - <uint16_t>leg.received.highest)
    cdef bint late = leg.received.packets and read32(packet.data + 8) == leg.received.ssrc and -RESYNC < ahead <= 0
    if not latch_admits(worker, packet, leg):  # the latch has moved since it was asked, within this very batch
        leg.dropped_source += 1
        return False
    if not (leg.secure_in or same_endpoint(&leg.announced, packet.source)) and not learned(packet, leg):
        leg.dropped_source += 1
        return False
    if late and leg.locked == LATCH_LOCKED:  # it was on its way while the telephone moved
        leg.dropped_other += 1
        return False
    latch_lock(worker, packet, leg)
    return True


cdef void latch_lock(Worker *worker, const Packet *packet, Leg *leg) noexcept nogil:
    """Its sender is the source from now on."""
    cdef bint moved = not same_endpoint(&leg.source, packet.source)
    cdef bint muxed = same_endpoint(&leg.to, leg.to_rtcp.address), elsewhere = not same_host(&leg.source, packet.source)
    if moved and leg.connected == SOCKET_CONNECTED:
        leg_release(worker, packet.leg, leg, SOCKET_OPEN)
    take_endpoint(&leg.source, packet.source)
    leg.to = leg.source
    if moved and (muxed or elsewhere):
        leg.to_rtcp = leg.source
        if not muxed:
            write16(leg.to_rtcp.address + 2, <uint16_t>(read16(packet.source + 2) + 1))  # RFC 3550 section 11, until it is heard
        leg.source_rtcp = leg.to_rtcp
    if moved:
        leg.rtcp_locked = 0
        leg.source_changes += leg.locked == LATCH_LOCKED
    leg.locked = LATCH_LOCKED
    leg.latched = worker.now
    leg.candidate_count = 0
    if leg.connected != SOCKET_UNFIT:
        leg.connected = SOCKET_OPEN if same_endpoint(&leg.announced, leg.source.address) else SOCKET_SHARED


cdef void latch_rtcp(Worker *worker, const Packet *packet, Leg *leg) noexcept nogil:
    """RTCP that is genuine, as far as one can tell: reports go to where it comes from."""
    leg.rtcp_last = worker.now
    if leg.locked == LATCH_LOCKED and not (leg.rtcp_locked and same_endpoint(&leg.source_rtcp, packet.source)):
        take_endpoint(&leg.source_rtcp, packet.source)
        leg.to_rtcp = leg.source_rtcp
        leg.rtcp_locked = 1


cdef void latch_look_after(Worker *worker, uint32_t index, Leg *leg) noexcept nogil:
    """Once a second: connect what has settled, disconnect what is silent.

    UNFIT: not one packet came since it was connected, so the telephone sends to another of our addresses, perhaps."""
    if leg.connected == SOCKET_CONNECTED and silence(worker, leg) >= QUIET:
        leg_release(worker, index, leg, SOCKET_UNFIT if leg.connected_at == <uint32_t>leg.received.packets else SOCKET_OPEN)
    elif leg.connected == SOCKET_SHARED and worker.now - leg.latched >= SETTLED and not same_host(&leg.announced, leg.source.address):
        leg.connected = SOCKET_OPEN
