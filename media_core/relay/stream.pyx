"""One RTP stream in, one out, and the RTCP between them.

The stream that comes in is counted (RFC 3550 A.1, A.8). The stream that goes out has one SSRC for the life of the leg and an
unbroken sequence, whatever feeds it: a far end, another one after a transfer, the player. So a receiver never sees a break, and
no SRTP index can come twice under one key. RTCP is translated accordingly (RFC 3550 sec. 7.2).
"""

from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from media_core.shared.abi cimport FOLLOWS_NOTHING, FOLLOWS_RELAYED, LEG_CODECS, Leg, Losses, Received, Sent
from media_core.relay.relay cimport Packet
from media_core.relay.report cimport report_taken
from media_core.relay.rtp cimport load16 as read16, load32 as read32, store16 as write16, store32 as write32

cdef enum:
    RESYNC = 3000               # a sequence number further away than this is a new beginning (RFC 3550 A.1)
    GMIN = 16                   # packets that must arrive in a row to end a burst of losses (RFC 3611 section 4.7.2)


cdef void stream_end_run(Losses *losses) noexcept nogil:
    """The run of losses is over: a burst if there were two at least."""
    cdef uint32_t length = losses.end - losses.begin + 1
    if losses.lost > 1:
        losses.bursts += 1
        losses.burst_lost += losses.lost
        losses.burst_packets += length
        losses.burst_longest = max(losses.burst_longest, length)
    losses.lost = 0


cdef void lose(Losses *losses, uint32_t first, uint32_t count) noexcept nogil:
    """Packets from extended sequence number `first` on are missing; what comes before GMIN others belongs to the same run."""
    if losses.lost and first - 1 - losses.end >= GMIN:
        stream_end_run(losses)
    if losses.lost == 0:
        losses.begin = first
    losses.end = first + count - 1
    losses.lost += count


cdef void find(Losses *losses, uint32_t at) noexcept nogil:
    """A missing packet was only late: it leaves the run."""
    if losses.lost and at - losses.begin <= losses.end - losses.begin:
        losses.lost -= 1
        losses.begin += at == losses.begin
        losses.end -= at == losses.end


cdef void take_clock(Leg *leg, uint8_t payload_type) noexcept nogil:
    """The packets are of another codec now: its clock may be another, too, and what is known of the jitter is put in its units."""
    cdef Received *r = &leg.received
    cdef int at
    r.payload_type = payload_type
    for at in range(LEG_CODECS):
        if leg.clock_khz[at] and leg.clock_payloads[at] == payload_type:
            if leg.clock_khz[at] != r.khz:
                r.jitter = r.jitter * leg.clock_khz[at] // r.khz
                r.khz = leg.clock_khz[at]
                r.transit = 0
            return


cdef bint stream_received(Leg *leg, Packet *packet, uint64_t now) noexcept nogil:
    """RFC 3550 A.1, A.8 on one packet; False: a duplicate."""
    cdef Received *r = &leg.received
    cdef uint16_t sequence = read16(packet.data + 2)
    cdef uint32_t ssrc = read32(packet.data + 8), transit, arrival
    cdef int32_t step = <int16_t>(sequence - <uint16_t>r.highest), difference
    if r.packets == 0 or ssrc != r.ssrc or step > RESYNC or step < -RESYNC:
        leg.ssrc_changes += r.packets != 0 and ssrc != r.ssrc
        stream_end_run(&leg.losses)
        r.ssrc = ssrc
        r.highest = ((r.highest >> 16) + 1) << 16 | sequence
        r.window = 1
        r.transit = 0
    elif step > 0:
        r.window = (r.window << step | 1) if step < 64 else 1
        if step > 1:
            r.lost += step - 1
            lose(&leg.losses, r.highest + 1, step - 1)
        r.highest += step
    elif step > -64:
        if r.window >> -step & 1:
            r.duplicates += 1
            return False
        r.window |= <uint64_t>1 << -step
        r.reordered += 1
        r.lost -= r.lost != 0
        find(&leg.losses, r.highest + step)
    else:
        leg.dropped_other += 1  # too late for anybody, and perhaps a duplicate
        return False
    r.packets += 1
    r.bytes += packet.length
    r.last = now
    if step >= 0 and (packet.data[1] & 0x7F) != leg.telephone_event:
        if (packet.data[1] & 0x7F) != r.payload_type:
            take_clock(leg, packet.data[1] & 0x7F)
        arrival = <uint32_t>(now / 1000 * r.khz / 1000)
        transit = arrival - read32(packet.data + 4)
        if r.transit and not packet.data[1] & 0x80:
            difference = <int32_t>(transit - r.transit)
            if difference < 0:
                difference = -difference
            r.jitter += difference - ((r.jitter + 8) >> 4)
        r.transit = transit | 1
    return True


cdef bint stream_renumber(Packet *packet, Sent *s, uint64_t now, uint32_t khz) noexcept nogil:
    """Fit a relayed packet into the outgoing stream; False: it belongs to what came before a change."""
    cdef uint32_t source = read32(packet.data + 8), timestamp = read32(packet.data + 4)
    cdef uint16_t sequence = read16(packet.data + 2), out
    if s.follows != FOLLOWS_RELAYED or s.source != source or not -RESYNC <= <int16_t>(sequence + s.sequence_shift - s.sequence) <= RESYNC:
        if s.follows == FOLLOWS_NOTHING:
            s.sequence = sequence - 1
            s.timestamp = timestamp
        else:
            s.timestamp += <uint32_t>((now - s.last) / 1000 * khz / 1000)
            packet.data[1] |= 0x80
        s.floor = s.sequence
        s.sequence_shift = s.sequence + 1 - sequence
        s.timestamp_shift = s.timestamp - timestamp
        s.source = source
        s.follows = FOLLOWS_RELAYED
    out = sequence + s.sequence_shift
    if <int16_t>(out - s.floor) <= 0:
        return False
    if <int16_t>(out - s.sequence) > 0:
        s.sequence = out
        s.timestamp = timestamp + s.timestamp_shift
        if <uint16_t>(out - s.floor) > 2 * RESYNC:  # the floor follows, or it would come round
            s.floor = out - RESYNC
    write16(packet.data + 2, out)
    write32(packet.data + 4, timestamp + s.timestamp_shift)
    write32(packet.data + 8, s.ssrc)
    return True


cdef bint stream_rtcp_in(Packet *packet, Leg *leg, uint64_t now) noexcept nogil:
    """The first half of a translator's duty (RFC 3550 §7.2): what the far end of `leg` reports about is leg.sent.ssrc, which came as
    leg.sent.source. False: malformed."""
    cdef uint32_t at = 0, end, size, blocks, block
    cdef bint relayed = leg.sent.follows == FOLLOWS_RELAYED
    cdef uint8_t kind
    cdef uint8_t *p
    while at + 8 <= packet.length:
        p = packet.data + at
        size = 4 * (read16(p + 2) + 1)
        end = at + size
        if p[0] >> 6 != 2 or end > packet.length or size < 8:
            return False
        kind = p[1]
        if kind == 200 or kind == 201:
            block = 28 if kind == 200 else 8
            blocks = p[0] & 31
            while blocks and block + 24 <= size:
                if read32(p + block) == leg.sent.ssrc:
                    report_taken(leg, now, read32(p + block + 4), read32(p + block + 12), read32(p + block + 16), read32(p + block + 20))
                if read32(p + block) == leg.sent.ssrc and relayed:
                    write32(p + block, leg.sent.source)
                    write16(p + block + 10, read16(p + block + 10) - leg.sent.sequence_shift)
                block += 24
                blocks -= 1
        elif (kind == 205 or kind == 206) and size >= 12 and read32(p + 8) == leg.sent.ssrc and relayed:
            write32(p + 8, leg.sent.source)
        at = end
    return at == packet.length


cdef void stream_rtcp_out(Packet *packet, Leg *out, uint64_t now) noexcept nogil:
    """The other half, of what has passed the first: towards `out` the far end's stream has out.sent.ssrc, and our timestamps."""
    cdef uint32_t at = 0, size
    cdef uint8_t kind
    cdef uint8_t *p
    while at + 8 <= packet.length:
        p = packet.data + at
        size = 4 * (read16(p + 2) + 1)
        kind = p[1]
        if at + size > packet.length:
            return
        if kind in (200, 201, 202, 203, 205, 206, 207) and read32(p + 4) == out.sent.source and out.sent.follows == FOLLOWS_RELAYED:
            write32(p + 4, out.sent.ssrc)
        if kind == 200 and size >= 28:
            out.sender_sr, out.sender_time = read32(p + 10), now
            write32(p + 16, read32(p + 16) + out.sent.timestamp_shift)
        at += size
