# Included by srtp.pyx: packet index and replay window (RFC 3711 3.3), the SSRCs of a context, initialisation vectors. Stores that must
# not be reordered are fenced: another process may find the context after ours was killed at any instruction.

# ---- index, replay, streams --------------------------------------------------------------------------------------------------

cdef inline uint64_t estimate(uint64_t highest, uint16_t sequence) noexcept nogil:
    """The index a sequence number stands for (RFC 3711 3.3.1); INDEX_LIMIT or more: past the end of the key."""
    cdef uint64_t roc = highest >> 16
    cdef int32_t last = highest & 0xFFFF
    if last < 32768:
        if sequence - last > 32768 and roc > 0:
            roc -= 1
    elif last - 32768 > sequence:
        roc += 1
    return roc << 16 | sequence


cdef inline bint is_replay(uint64_t highest, const uint64_t *window, uint64_t index) noexcept nogil:
    if index > highest:
        return False
    cdef uint64_t behind = highest - index
    if behind >= WINDOW:
        return True
    return (window[behind >> 6] >> (behind & 63)) & 1


cdef inline void slide(uint64_t ahead, uint64_t *window) noexcept nogil:
    """Move a window by `ahead` > 0 and mark its new head."""
    if ahead < 64:
        window[1] = window[1] << ahead | window[0] >> (64 - ahead)
        window[0] = window[0] << ahead | 1
    elif ahead < WINDOW:
        window[1] = window[0] << (ahead - 64)
        window[0] = 1
    else:
        window[1] = 0
        window[0] = 1


cdef inline void note(srtp_stream *stream, uint64_t index) noexcept nogil:
    cdef uint64_t highest = stream.index
    if index > highest:
        stream.index = index
        __atomic_signal_fence(5)
        slide(index - highest, stream.replay)
    else:
        stream.replay[(highest - index) >> 6] |= <uint64_t>1 << ((highest - index) & 63)


cdef inline srtp_stream *find_stream(srtp_ctx *ctx, uint32_t ssrc) noexcept nogil:
    cdef srtp_stream *stream = &ctx.streams[ctx.current & (SRTP_STREAMS - 1)]
    if stream.ssrc == ssrc and stream.state:
        return stream
    cdef uint32_t i
    for i in range(SRTP_STREAMS):
        stream = &ctx.streams[i]
        if stream.ssrc == ssrc and stream.state:
            ctx.current = i
            ctx.tick += 1
            stream.used = ctx.tick
            return stream
    return NULL


cdef bint is_retired(const srtp_ctx *ctx, uint32_t ssrc) noexcept nogil:
    cdef uint32_t i
    for i in range(min(ctx.retired_count, <uint32_t>SRTP_RETIRED)):
        if ctx.retired[i] == ssrc:
            return True
    return False


cdef int new_stream(srtp_ctx *ctx, uint32_t ssrc, srtp_stream **out) noexcept nogil:
    """A slot for an SSRC not seen under this key, retiring the one unused for longest. Its state stays 0: the caller stores the
    first index and then the state, so that a slot is never found half made."""
    cdef uint32_t i, chosen = SRTP_STREAMS
    cdef srtp_stream *stream
    for i in range(SRTP_STREAMS):
        if ctx.streams[i].state == 0:
            chosen = i
            break
        if i != ctx.current and (chosen == SRTP_STREAMS or ctx.streams[i].used < ctx.streams[chosen].used):
            chosen = i
    stream = &ctx.streams[chosen]
    if stream.state:
        if ctx.direction == SRTP_OUT and ctx.retired_count >= SRTP_RETIRED:
            return SRTP_INDEX_EXHAUSTED  # forgetting one would allow its keystream again
        ctx.retired[ctx.retired_count % SRTP_RETIRED] = stream.ssrc
        __atomic_signal_fence(5)
        # the ring wraps for incoming SSRCs only
        ctx.retired_count = ctx.retired_count + 1 if ctx.retired_count < 2 * SRTP_RETIRED - 1 else SRTP_RETIRED
        stream.state = 0
        __atomic_signal_fence(5)
    memset(stream, 0, sizeof(srtp_stream))
    stream.ssrc = ssrc
    ctx.tick += 1
    stream.used = ctx.tick
    ctx.current = chosen
    out[0] = stream
    return 0


cdef inline int next_index(srtp_ctx *ctx, uint32_t ssrc, uint16_t sequence, uint64_t *index, srtp_stream **out) noexcept nogil:
    """The index of an RTP packet, refused if it was used or is too old. A NULL stream: the SSRC is new."""
    cdef srtp_stream *stream = find_stream(ctx, ssrc)
    out[0] = stream
    if stream == NULL:
        if is_retired(ctx, ssrc):
            return SRTP_REPLAYED
        index[0] = sequence
        return 0
    if not stream.state & STREAM_RTP:
        index[0] = sequence
        return 0
    index[0] = estimate(stream.index, sequence)
    if index[0] >= INDEX_LIMIT:
        return SRTP_INDEX_EXHAUSTED
    return SRTP_REPLAYED if is_replay(stream.index, stream.replay, index[0]) else 0


cdef int commit(srtp_ctx *ctx, uint32_t ssrc, srtp_stream *stream, uint64_t index) noexcept nogil:
    cdef int status
    if stream == NULL:
        status = new_stream(ctx, ssrc, &stream)
        if status < 0:
            return status
    if stream.state & STREAM_RTP:
        note(stream, index)
    else:
        stream.index = index
        stream.replay[0] = 1
        stream.replay[1] = 0
        __atomic_signal_fence(5)
        stream.state |= STREAM_RTP
    return 0


cdef inline int accept(srtp_ctx *ctx, uint32_t ssrc, srtp_stream *stream, uint64_t index) noexcept nogil:
    """commit for an incoming packet; `sealing` tells a successor of a window that may be half moved."""
    ctx.sealing = 1
    __atomic_signal_fence(5)
    cdef int status = commit(ctx, ssrc, stream, index)
    __atomic_signal_fence(5)
    ctx.sealing = 0
    return status


cdef int commit_rtcp(srtp_ctx *ctx, uint32_t ssrc, srtp_stream *stream, uint32_t index) noexcept nogil:
    cdef uint64_t highest
    cdef int status
    if stream == NULL:
        status = new_stream(ctx, ssrc, &stream)
        if status < 0:
            return status
    highest = stream.rtcp_index
    if not stream.state & STREAM_RTCP:
        stream.rtcp_index = index
        stream.rtcp_replay[0] = 1
        stream.rtcp_replay[1] = 0
    elif index > highest:
        stream.rtcp_index = index
        __atomic_signal_fence(5)
        slide(index - highest, stream.rtcp_replay)
    else:
        stream.rtcp_replay[(highest - index) >> 6] |= <uint64_t>1 << ((highest - index) & 63)
    __atomic_signal_fence(5)
    stream.state |= STREAM_RTCP
    return 0


# ---- initialisation vectors --------------------------------------------------------------------------------------------------

cdef inline void cm_iv(const uint8_t *salt, uint32_t ssrc, uint64_t index, uint8_t *iv) noexcept nogil:
    """salt * 2^16 XOR SSRC * 2^64 XOR index * 2^16 (RFC 3711 4.1.1)."""
    cdef uint64_t words[2]
    memcpy(words, salt, 16)
    words[0] ^= htobe64(ssrc)
    words[1] ^= htobe64(index << 16)
    memcpy(iv, words, 16)


cdef inline void gcm_iv(const uint8_t *salt, uint32_t ssrc, uint64_t index, uint8_t *iv) noexcept nogil:
    """00 00 SSRC ROC SEQ (SRTCP: 00 00 SSRC 00 00 index) XOR salt (RFC 7714 8.1, 9.1): both are a 48-bit index."""
    cdef uint64_t high
    cdef uint32_t low
    memcpy(&high, salt, 8)
    memcpy(&low, salt + 8, 4)
    high ^= htobe64(<uint64_t>ssrc << 16 | index >> 32)
    low ^= htobe32(<uint32_t>index)
    memcpy(iv, &high, 8)
    memcpy(iv + 8, &low, 4)
