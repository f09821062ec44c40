# Included by srtp.pyx: SRTCP (RFC 3711 3.4, RFC 7714 9). One packet at a time and always through OpenSSL from the session key: there are
# a few per call and minute.

cdef int32_t srtp_protect_rtcp(srtp_engine *engine, srtp_ctx *ctx, uint8_t *buf, int32_t size, int32_t cap) noexcept nogil:
    cdef srtp_stream *stream
    cdef uint32_t ssrc, index = 0
    cdef uint8_t iv[16]
    cdef uint8_t aad[RTCP_HEADER + 4]
    cdef uint8_t tag[20]
    cdef int status
    if (ctx.magic != SRTP_MAGIC or ctx.direction != SRTP_OUT or size < RTCP_HEADER or (buf[0] & 0xC0) != 0x80
            or size + 4 + ctx.rtcp_tag_len > cap):
        return SRTP_BAD_PACKET
    ssrc = load32(buf + 4)
    stream = find_stream(ctx, ssrc)
    if stream == NULL and is_retired(ctx, ssrc):
        return SRTP_REPLAYED
    if stream != NULL and stream.state & STREAM_RTCP:
        if stream.rtcp_index >= RTCP_INDEX_LIMIT:
            return SRTP_INDEX_EXHAUSTED
        index = stream.rtcp_index + 1
    ctx.sealing = 1
    __atomic_signal_fence(5)
    status = commit_rtcp(ctx, ssrc, stream, index)
    __atomic_signal_fence(5)
    if status == 0 and ctx.gcm:
        memcpy(aad, buf, RTCP_HEADER)
        store32(aad + RTCP_HEADER, RTCP_E | index)
        gcm_iv(ctx.rtcp_salt, ssrc, index, iv)
        status = gcm_seal(engine, ctx.rtcp_key, ctx.key_len, iv, aad, sizeof(aad), buf + RTCP_HEADER, size - RTCP_HEADER, buf + size)
        store32(buf + size + 16, RTCP_E | index)
    elif status == 0:
        cm_iv(ctx.rtcp_salt, ssrc, index, iv)
        status = ctr_one(engine, ctx.rtcp_key, ctx.key_len, iv, buf + RTCP_HEADER, size - RTCP_HEADER)
        store32(buf + size, RTCP_E | index)
        hmac_one(ctx.rtcp_inner, ctx.rtcp_outer, buf, size + 4, tag)
        memcpy(buf + size + 4, tag, ctx.rtcp_tag_len)
    __atomic_signal_fence(5)
    ctx.sealing = 0
    return size + 4 + ctx.rtcp_tag_len if status == 0 else status


cdef int open_rtcp_gcm(srtp_engine *engine, const srtp_ctx *ctx, uint8_t *buf, int32_t plain, uint32_t ssrc, uint32_t word) noexcept nogil:
    cdef uint8_t iv[16]
    cdef int status
    gcm_iv(ctx.rtcp_salt, ssrc, word & RTCP_INDEX_LIMIT, iv)
    if not word & RTCP_E:  # authenticated only: all of it is associated data, with the index behind (RFC 7714 9.3)
        if plain + 4 > MAX_PACKET:
            return SRTP_BAD_PACKET
        memcpy(engine.aad, buf, plain)
        store32(engine.aad + plain, word)
        return gcm_open(engine, ctx.rtcp_key, ctx.key_len, iv, engine.aad, plain + 4, engine.scratch, 0, buf + plain)
    memcpy(engine.aad, buf, RTCP_HEADER)
    store32(engine.aad + RTCP_HEADER, word)
    status = gcm_open(engine, ctx.rtcp_key, ctx.key_len, iv, engine.aad, RTCP_HEADER + 4, buf + RTCP_HEADER, plain - RTCP_HEADER, buf + plain)
    if status < 0:
        gcm_undo(engine, ctx.rtcp_key, ctx.key_len, iv, buf + RTCP_HEADER, plain - RTCP_HEADER)
    return status


cdef int32_t srtp_unprotect_rtcp(srtp_engine *engine, srtp_ctx *ctx, uint8_t *buf, int32_t size) noexcept nogil:
    cdef int32_t plain = size - 4 - ctx.mki_len - ctx.rtcp_tag_len
    cdef srtp_stream *stream
    cdef uint32_t ssrc, word, index
    cdef uint8_t iv[16]
    cdef uint8_t tag[20]
    cdef int status
    if ctx.magic != SRTP_MAGIC or ctx.direction != SRTP_IN or plain < RTCP_HEADER or (buf[0] & 0xC0) != 0x80:
        return SRTP_BAD_PACKET
    # CM: text, E|index, MKI, tag. GCM: text, tag, E|index, MKI.
    word = load32(buf + plain + (16 if ctx.gcm else 0))
    index = word & RTCP_INDEX_LIMIT
    ssrc = load32(buf + 4)
    stream = find_stream(ctx, ssrc)
    if stream == NULL:
        if is_retired(ctx, ssrc):
            return SRTP_REPLAYED
    elif stream.state & STREAM_RTCP and is_replay(stream.rtcp_index, stream.rtcp_replay, index):
        return SRTP_REPLAYED
    if ctx.gcm:
        status = open_rtcp_gcm(engine, ctx, buf, plain, ssrc, word)
    else:
        hmac_one(ctx.rtcp_inner, ctx.rtcp_outer, buf, plain + 4, tag)
        status = SRTP_AUTH_FAILED if CRYPTO_memcmp(tag, buf + size - ctx.rtcp_tag_len, ctx.rtcp_tag_len) else 0
        if status == 0 and word & RTCP_E:
            cm_iv(ctx.rtcp_salt, ssrc, index, iv)
            status = ctr_one(engine, ctx.rtcp_key, ctx.key_len, iv, buf + RTCP_HEADER, plain - RTCP_HEADER)
    if status == 0:
        ctx.sealing = 1
        __atomic_signal_fence(5)
        status = commit_rtcp(ctx, ssrc, stream, index)
        __atomic_signal_fence(5)
        ctx.sealing = 0
    return plain if status == 0 else status
