"""One RTP stream in, one out, and the RTCP between them.

The stream that comes in is counted (RFC 3550 A.1, A.8). The stream that goes out has one SSRC for the life of the leg and an
unbroken sequence, whatever feeds it: a far end, another one after a transfer, the player. So a receiver never sees a break, and
no SRTP index can come twice under one key. RTCP is translated accordingly (RFC 3550 sec. 7.2).
"""

from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from media_core.abi cimport FOLLOWS_NOTHING, FOLLOWS_RELAYED, Leg, Received, Sent
from media_core.relay cimport Packet
from media_core.rtp cimport load16 as read16, load32 as read32, store16 as write16, store32 as write32

cdef enum:
    RESYNC = 3000               # a sequence number further away than this is a new beginning (RFC 3550 A.1)


cdef bint stream_received(Leg *leg, Packet *packet, uint64_t now) noexcept nogil:
    """RFC 3550 A.1, A.8 on one packet; False: a duplicate."""
    cdef Received *r = &leg.received
    cdef uint16_t sequence = read16(packet.data + 2)
    cdef uint32_t ssrc = read32(packet.data + 8), transit, arrival
    cdef int32_t step = <int16_t>(sequence - <uint16_t>r.highest), difference
    if r.packets == 0 or ssrc != r.ssrc or step > RESYNC or step < -RESYNC:
        r.ssrc = ssrc
        r.highest = ((r.highest >> 16) + 1) << 16 | sequence
        r.window = 1
        r.transit = 0
    elif step > 0:
        r.window = (r.window << step | 1) if step < 64 else 1
        r.lost += step - 1
        r.highest += step
    elif step > -64:
        if r.window >> -step & 1:
            r.duplicates += 1
            return False
        r.window |= <uint64_t>1 << -step
        r.reordered += 1
        r.lost -= r.lost != 0
    else:
        leg.dropped_other += 1  # too late for anybody, and perhaps a duplicate
        return False
    r.packets += 1
    r.bytes += packet.length
    r.last = now
    if step >= 0 and (packet.data[1] & 0x7F) != leg.telephone_event:
        arrival = <uint32_t>(now / 1000 * r.clock / 1000000)
        transit = arrival - read32(packet.data + 4)
        if r.transit and not packet.data[1] & 0x80:
            difference = <int32_t>(transit - r.transit)
            if difference < 0:
                difference = -difference
            r.jitter += difference - ((r.jitter + 8) >> 4)
        r.transit = transit | 1
    return True


cdef bint stream_renumber(Packet *packet, Sent *s, uint64_t now, uint32_t clock) noexcept nogil:
    """Fit a relayed packet into the outgoing stream; False: it belongs to what came before a change."""
    cdef uint32_t source = read32(packet.data + 8), timestamp = read32(packet.data + 4)
    cdef uint16_t sequence = read16(packet.data + 2), out
    if s.follows != FOLLOWS_RELAYED or s.source != source or not -RESYNC <= <int16_t>(sequence + s.sequence_shift - s.sequence) <= RESYNC:
        if s.follows == FOLLOWS_NOTHING:
            s.sequence = sequence - 1
            s.timestamp = timestamp
        else:
            s.timestamp += <uint32_t>((now - s.last) / 1000 * clock / 1000000)
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


cdef bint stream_translate_rtcp(Packet *packet, Leg *leg, Leg *out) noexcept nogil:
    """A translator's duty (RFC 3550 §7.2): the SSRCs, and the sequence and timestamps that we renumber. False: malformed.

    Towards `out` the far end's stream has out.sent.ssrc; what the far end reports about is leg.sent.ssrc, which came from
    out's far end as leg.sent.source.
    """
    cdef uint32_t at = 0, end, size, blocks, block
    cdef uint8_t kind
    cdef uint8_t *p
    while at + 8 <= packet.length:
        p = packet.data + at
        size = 4 * (read16(p + 2) + 1)
        end = at + size
        if p[0] >> 6 != 2 or end > packet.length or size < 8:
            return False
        kind = p[1]
        if kind in (200, 201, 202, 203, 205, 206, 207) and read32(p + 4) == out.sent.source and out.sent.follows == FOLLOWS_RELAYED:
            write32(p + 4, out.sent.ssrc)
        if kind == 200 and size >= 28:
            write32(p + 16, read32(p + 16) + out.sent.timestamp_shift)
        if kind == 200 or kind == 201:
            block = 28 if kind == 200 else 8
            blocks = p[0] & 31
            while blocks and block + 24 <= size:
                if read32(p + block) == leg.sent.ssrc:
                    leg.reported_lost = read32(p + block + 4) & 0xFFFFFF
                    leg.reported_jitter = read32(p + block + 12)
                if read32(p + block) == leg.sent.ssrc and leg.sent.follows == FOLLOWS_RELAYED:
                    write32(p + block, leg.sent.source)
                    write16(p + block + 10, read16(p + block + 10) - leg.sent.sequence_shift)
                block += 24
                blocks -= 1
        elif (kind == 205 or kind == 206) and size >= 12 and read32(p + 8) == leg.sent.ssrc and leg.sent.follows == FOLLOWS_RELAYED:
            write32(p + 8, leg.sent.source)
        at = end
    return at == packet.length
