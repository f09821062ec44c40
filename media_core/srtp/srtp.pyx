"""SRTP and SRTCP on flat contexts (RFC 3711, RFC 6188, RFC 7714).

Promises: an outgoing index is stored before it is used, so a process killed in the middle never lets the next one seal two
packets with one keystream; an outgoing packet whose index was used already is refused, whatever it carries; an incoming packet is
refused before it changes anything if it is malformed, replayed or not authentic, and its buffer is then as it was. Tags are
compared in constant time and keys wiped. Nothing here allocates after srtp_engine_create, takes a lock or follows a pointer found in
shared memory.

How: srtp_init derives session keys once and leaves round keys, GHASH tables and HMAC midstates in the context. A batch runs in passes:
check and index, AES-CTR burst, HMAC burst, finish; GCM packets go through in one call each. intel-ipsec-mb works where library and
processor have it, OpenSSL elsewhere and for the rare RTCP. Key data of ipsec-mb differs by processor, so a context remembers whose it
holds and any other engine derives it again from the session key, which always comes first.

An SSRC has its own index and replay window (of 128). Four are kept at once; one that had to make room is noted and refused from then
on, because starting it again at index 0 would repeat keystream (out) or let old packets in again (in).
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset, strcmp

from media_core.errors cimport raise_packet_error
from media_core.relay.rtp cimport RTCP_HEADER, RTP_HEADER, htobe32, htobe64, load16, load32, rtp_payload_offset, store32

cdef enum:
    SRTP_MAGIC = 0x53525450
    AUTH_KEY = 20             # octets of an HMAC-SHA1 key
    STREAM_RTP = 1
    STREAM_RTCP = 2
    WINDOW = 128
    MB_HMAC_LEAST = 5         # fewer packets than this are hashed one by one: a burst fills lanes that stay empty
    SUITES = 6
    LATE_START = 4096         # sequence numbers after a wrap at which a stream may first be heard: 80 s of 20 ms packets
    AHEAD = 6                 # contexts fetched ahead of the packet worked on
    PROOF = 20                # packets an engine is tried with; more than the widest burst has lanes

cdef uint64_t INDEX_LIMIT = <uint64_t>1 << 48
cdef uint32_t RTCP_INDEX_LIMIT = 0x7FFFFFFF
cdef uint32_t RTCP_E = 0x80000000

include "srtp_cipher.pxi"

cdef extern from *:
    void __atomic_signal_fence(int) nogil
    void __builtin_prefetch(const void *) nogil

# ---- suites ------------------------------------------------------------------------------------------------------------------

cdef struct suite_row:
    const char *name          # as in SDES (RFC 4568 6.2, RFC 6188 4, RFC 7714 14.2)
    uint8_t key_len
    uint8_t salt_len
    uint8_t gcm
    uint8_t tag_len
    uint8_t rtcp_tag_len      # HMAC_SHA1_32 keeps 80 bits for SRTCP (RFC 4568 6.2.2)

cdef suite_row[SUITES] suites
suites[0] = suite_row(b"AES_CM_128_HMAC_SHA1_80", 16, 14, 0, 10, 10)
suites[1] = suite_row(b"AES_CM_128_HMAC_SHA1_32", 16, 14, 0, 4, 10)
suites[2] = suite_row(b"AES_256_CM_HMAC_SHA1_80", 32, 14, 0, 10, 10)
suites[3] = suite_row(b"AES_256_CM_HMAC_SHA1_32", 32, 14, 0, 4, 10)
suites[4] = suite_row(b"AEAD_AES_128_GCM", 16, 12, 1, 16, 16)
suites[5] = suite_row(b"AEAD_AES_256_GCM", 32, 12, 1, 16, 16)


cdef int srtp_suite(const char *name) noexcept nogil:
    cdef int i
    for i in range(SUITES):
        if strcmp(suites[i].name, name) == 0:
            return i + 1
    return SRTP_BAD_SUITE


# ---- keys --------------------------------------------------------------------------------------------------------------------

cdef struct session_keys:     # what RFC 3711 4.3 derives from one master key; cipher keys are 16 or 32 octets, salts 14 or 12
    uint8_t cipher[2][32]     # [0] SRTP, [1] SRTCP
    uint8_t auth[2][AUTH_KEY]
    uint8_t salt[2][16]       # zero beyond the salt


cdef int derive(srtp_engine *engine, const suite_row *suite, const uint8_t *key, const uint8_t *salt, session_keys *out) noexcept nogil:
    """AES-CM PRF, key derivation rate 0 (RFC 3711 4.3.1, RFC 6188 3; RFC 7714 11 pads its 96-bit salt on the right)."""
    cdef uint8_t iv[16]
    cdef uint8_t *into[3]
    cdef int length[3]
    cdef int rtcp, i, status
    memset(out, 0, sizeof(session_keys))
    length[0], length[1], length[2] = suite.key_len, AUTH_KEY, suite.salt_len
    for rtcp in range(2):
        into[0], into[1], into[2] = out.cipher[rtcp], out.auth[rtcp], out.salt[rtcp]
        for i in range(3):
            memset(iv, 0, 16)
            memcpy(iv, salt, suite.salt_len)
            iv[7] ^= 3 * rtcp + i  # label: 0 cipher, 1 authentication, 2 salt; SRTCP 3, 4, 5
            status = ctr_one(engine, key, suite.key_len, iv, into[i], length[i])
            if status < 0:
                return status
    return 0


cdef void lay_out(srtp_engine *engine, srtp_ctx *ctx) noexcept nogil:
    """Expand the session key at the beginning of `cipher` for this engine."""
    cdef uint8_t key[32]
    memcpy(key, ctx.cipher, 32)
    if engine.mb != NULL:
        if ctx.gcm:
            mb_gcm_prepare(engine.mb, key, ctx.key_len, ctx.cipher)
        else:
            mb_expand(engine.mb, key, ctx.key_len, ctx.cipher, engine.scratch)
            OPENSSL_cleanse(engine.scratch, sizeof(engine.scratch))
    OPENSSL_cleanse(key, sizeof(key))
    ctx.layout = engine.layout


cdef int srtp_init(srtp_engine *engine, srtp_ctx *ctx, int suite, const uint8_t *key, int key_len,
                   const uint8_t *salt, int salt_len, srtp_direction direction) noexcept nogil:
    cdef session_keys keys
    cdef suite_row *row
    cdef int status
    srtp_wipe(ctx)
    if not 1 <= suite <= SUITES:
        return SRTP_BAD_SUITE
    row = &suites[suite - 1]
    if key_len != row.key_len or salt_len != row.salt_len:
        return SRTP_BAD_SUITE
    status = derive(engine, row, key, salt, &keys)
    if status == 0:
        ctx.suite = suite
        ctx.direction = direction
        ctx.gcm, ctx.key_len, ctx.tag_len, ctx.rtcp_tag_len = row.gcm, row.key_len, row.tag_len, row.rtcp_tag_len
        memcpy(ctx.salt, keys.salt[0], 16)
        memcpy(ctx.rtcp_salt, keys.salt[1], 16)
        memcpy(ctx.cipher, keys.cipher[0], 32)
        memcpy(ctx.rtcp_key, keys.cipher[1], 32)
        sha1_midstate(keys.auth[0], 0x36, ctx.inner)
        sha1_midstate(keys.auth[0], 0x5C, ctx.outer)
        sha1_midstate(keys.auth[1], 0x36, ctx.rtcp_inner)
        sha1_midstate(keys.auth[1], 0x5C, ctx.rtcp_outer)
        lay_out(engine, ctx)
        __atomic_signal_fence(5)
        ctx.magic = SRTP_MAGIC
    OPENSSL_cleanse(&keys, sizeof(keys))
    return status


cdef bint srtp_same(srtp_engine *engine, const srtp_ctx *ctx, int suite, const uint8_t *key, int key_len,
                    const uint8_t *salt, int salt_len) noexcept nogil:
    cdef session_keys keys
    cdef bint same
    if ctx.magic != SRTP_MAGIC or ctx.suite != suite or ctx.key_len != key_len or suites[suite - 1].salt_len != salt_len:
        return False
    same = (derive(engine, &suites[suite - 1], key, salt, &keys) == 0
            and CRYPTO_memcmp(keys.cipher[0], ctx.cipher, key_len) == 0
            and CRYPTO_memcmp(keys.cipher[1], ctx.rtcp_key, key_len) == 0
            and CRYPTO_memcmp(keys.salt[0], ctx.salt, 16) == 0)
    OPENSSL_cleanse(&keys, sizeof(keys))
    return same


cdef void srtp_set_mki(srtp_ctx *ctx, int octets) noexcept nogil:
    ctx.mki_len = octets if 0 <= octets <= 128 else 0  # RFC 4568 6.1: 1..128


cdef void srtp_wipe(srtp_ctx *ctx) noexcept nogil:
    ctx.magic = 0
    OPENSSL_cleanse(ctx, sizeof(srtp_ctx))


cdef void srtp_adopt(srtp_engine *engine, srtp_ctx *ctx) noexcept nogil:
    """Make a context left behind by another process safe: skip what may have been used, lay the keys out for this processor."""
    cdef int i
    if ctx.magic != SRTP_MAGIC:
        return
    if ctx.sealing:
        for i in range(SRTP_STREAMS):
            # index or window may be half written: close everything up to the highest index, and skip one outgoing SRTCP index
            ctx.streams[i].replay[0] = ctx.streams[i].replay[1] = ~<uint64_t>0
            ctx.streams[i].rtcp_replay[0] = ctx.streams[i].rtcp_replay[1] = ~<uint64_t>0
            if ctx.direction == SRTP_OUT and ctx.streams[i].rtcp_index < RTCP_INDEX_LIMIT:
                ctx.streams[i].rtcp_index += 1
        __atomic_signal_fence(5)
        ctx.sealing = 0
    if ctx.layout != engine.layout:
        lay_out(engine, ctx)


include "srtp_index.pxi"


# ---- RTP: passes of a batch --------------------------------------------------------------------------------------------------

cdef inline void prefetch(const srtp_job *job) noexcept nogil:
    """The lines of a context its packet will touch: state, midstates, one stream, round keys (GCM: hash keys at the table's end)."""
    cdef const uint8_t *ctx = <const uint8_t *>job.ctx
    cdef int line
    for line in range(3):
        __builtin_prefetch(ctx + 64 * line)
    for line in range(6, 9):
        __builtin_prefetch(ctx + 64 * line)
    __builtin_prefetch(job.buf)


cdef inline void hmac_all(srtp_engine *engine, uint32_t count) noexcept nogil:
    """Tags of the packets in hand, each over its text and the ROC that was put behind it."""
    cdef pending *p
    cdef uint32_t i
    if engine.mb != NULL and count >= MB_HMAC_LEAST:
        for i in range(count):
            p = &engine.batch[i]
            mb_hmac_set(&engine.jobs[i], p.job.ctx.inner, p.job.ctx.outer, p.job.buf, p.size + 4, p.tag)
        if mb_hmac_run(engine.mb, engine.jobs, count):
            return
    for i in range(count):
        p = &engine.batch[i]
        hmac_one(p.job.ctx.inner, p.job.ctx.outer, p.job.buf, p.size + 4, p.tag)


cdef void ctr_all(srtp_engine *engine, uint32_t count) noexcept nogil:
    """Counter mode over the payloads in hand; those refused (job.len < 0) are left alone."""
    cdef pending *p
    cdef uint32_t i, used
    cdef int key_len
    if engine.mb == NULL:
        for i in range(count):
            p = &engine.batch[i]
            if p.job.len >= 0 and ctr_one(engine, p.job.ctx.cipher, p.job.ctx.key_len, p.iv, p.job.buf + p.offset, p.size - p.offset) < 0:
                p.job.len = SRTP_FAILED
        return
    for key_len in range(16, 48, 16):
        used = 0
        for i in range(count):
            p = &engine.batch[i]
            if p.job.len >= 0 and p.job.ctx.key_len == key_len and p.size > p.offset:
                mb_ctr_set(&engine.jobs[used], p.job.ctx.cipher, key_len, p.iv, p.job.buf + p.offset, p.size - p.offset)
                used += 1
        if used and not mb_ctr_run(engine.mb, engine.jobs, used, key_len):
            for i in range(count):
                if engine.batch[i].job.ctx.key_len == key_len:
                    engine.batch[i].job.len = SRTP_FAILED


cdef void seal_waiting(srtp_engine *engine) noexcept nogil:
    cdef uint32_t count = engine.waiting, i
    cdef pending *p
    cdef srtp_job *job
    if count == 0:
        return
    engine.waiting = 0
    ctr_all(engine, count)
    for i in range(count):
        p = &engine.batch[i]
        store32(p.job.buf + p.size, <uint32_t>(p.index >> 16))
    hmac_all(engine, count)
    for i in range(count):
        p = &engine.batch[i]
        job = p.job
        memcpy(job.buf + p.size, p.tag, job.ctx.tag_len)
        if job.len >= 0:
            job.len = p.size + job.ctx.tag_len
    __atomic_signal_fence(5)
    for i in range(count):
        engine.batch[i].job.ctx.sealing = 0


cdef int32_t seal_gcm(srtp_engine *engine, srtp_job *job, int32_t offset, uint32_t ssrc, uint64_t index) noexcept nogil:
    cdef srtp_ctx *ctx = job.ctx
    cdef uint8_t iv[16]
    cdef int status = 0
    gcm_iv(ctx.salt, ssrc, index, iv)
    if engine.mb != NULL:
        mb_gcm(engine.mb, ctx.key_len, 1, ctx.cipher, job.buf + offset, job.len - offset, iv, job.buf, offset, job.buf + job.len)
    else:
        status = gcm_seal(engine, ctx.cipher, ctx.key_len, iv, job.buf, offset, job.buf + offset, job.len - offset, job.buf + job.len)
    __atomic_signal_fence(5)
    ctx.sealing = 0
    return job.len + 16 if status == 0 else status


cdef int32_t seal(srtp_engine *engine, srtp_job *job) noexcept nogil:
    """First pass over an outgoing packet: take its index. GCM: finish it. CM: leave it waiting and return its present length."""
    cdef srtp_ctx *ctx = job.ctx
    cdef int32_t offset = rtp_payload_offset(job.buf, job.len)
    cdef srtp_stream *stream
    cdef uint64_t index
    cdef uint32_t ssrc
    cdef pending *p
    cdef int status
    if ctx.magic != SRTP_MAGIC or ctx.direction != SRTP_OUT or offset < 0 or job.len + ctx.tag_len > job.cap:
        return SRTP_BAD_PACKET
    if ctx.layout != engine.layout:
        lay_out(engine, ctx)
    ssrc = load32(job.buf + 8)
    status = next_index(ctx, ssrc, load16(job.buf + 2), &index, &stream)
    if status < 0:
        return status
    ctx.sealing = 1
    __atomic_signal_fence(5)
    status = commit(ctx, ssrc, stream, index)
    if status < 0:
        ctx.sealing = 0
        return status
    __atomic_signal_fence(5)
    if ctx.gcm:
        return seal_gcm(engine, job, offset, ssrc, index)
    p = &engine.batch[engine.waiting]
    engine.waiting += 1
    p.job, p.index, p.size, p.offset = job, index, job.len, offset
    cm_iv(ctx.salt, ssrc, index, p.iv)
    return job.len


cdef void open_waiting(srtp_engine *engine) noexcept nogil:
    """Check the tags of the packets in hand, take their indices, decrypt those that stood."""
    cdef uint32_t count = engine.waiting, i
    cdef pending *p
    cdef srtp_job *job
    cdef srtp_ctx *ctx
    cdef srtp_stream *stream
    cdef uint64_t index
    cdef int status
    if count == 0:
        return
    engine.waiting = 0
    hmac_all(engine, count)
    for i in range(count):
        p = &engine.batch[i]
        job = p.job
        ctx = job.ctx
        memcpy(job.buf + p.size, p.saved, 4)
        if CRYPTO_memcmp(p.tag, job.buf + job.len - ctx.tag_len, ctx.tag_len) != 0:
            job.len = SRTP_AUTH_FAILED
            continue
        # again: the same packet may be twice in one batch
        stream = find_stream(ctx, p.ssrc)
        if stream != NULL and stream.state & STREAM_RTP and is_replay(stream.index, stream.replay, p.index):
            job.len = SRTP_REPLAYED
            continue
        status = accept(ctx, p.ssrc, stream, p.index)
        if status < 0:
            job.len = status
    ctr_all(engine, count)
    for i in range(count):
        if engine.batch[i].job.len >= 0:
            engine.batch[i].job.len = engine.batch[i].size


cdef int32_t open_gcm(srtp_engine *engine, srtp_job *job, int32_t size, int32_t offset, uint32_t ssrc, uint64_t index,
                      srtp_stream *stream) noexcept nogil:
    """`size`: without tag and MKI."""
    cdef srtp_ctx *ctx = job.ctx
    cdef uint8_t iv[16]
    cdef uint8_t tag[16]
    cdef int status
    gcm_iv(ctx.salt, ssrc, index, iv)
    if engine.mb != NULL:
        mb_gcm(engine.mb, ctx.key_len, 0, ctx.cipher, job.buf + offset, size - offset, iv, job.buf, offset, tag)
        status = SRTP_AUTH_FAILED if CRYPTO_memcmp(tag, job.buf + size, 16) else 0
    else:
        status = gcm_open(engine, ctx.cipher, ctx.key_len, iv, job.buf, offset, job.buf + offset, size - offset, job.buf + size)
    if status == 0:
        status = accept(ctx, ssrc, stream, index)
    if status < 0:
        gcm_undo(engine, ctx.cipher, ctx.key_len, iv, job.buf + offset, size - offset)
        return status
    return size


cdef int32_t open_packet(srtp_engine *engine, srtp_job *job, uint32_t first_roc) noexcept nogil:
    """First pass over an incoming packet. GCM: finish it. CM: leave it waiting and return its present length. `first_roc` is
    the ROC of a stream that has none yet."""
    cdef srtp_ctx *ctx = job.ctx
    cdef int32_t size = job.len - ctx.tag_len - ctx.mki_len
    cdef int32_t offset = rtp_payload_offset(job.buf, size)
    cdef srtp_stream *stream
    cdef uint64_t index
    cdef uint32_t ssrc
    cdef pending *p
    cdef int status
    if ctx.magic != SRTP_MAGIC or ctx.direction != SRTP_IN or offset < 0:
        return SRTP_BAD_PACKET
    if ctx.layout != engine.layout:
        lay_out(engine, ctx)
    ssrc = load32(job.buf + 8)
    status = next_index(ctx, ssrc, load16(job.buf + 2), &index, &stream)
    if status < 0:
        return status
    index += <uint64_t>first_roc << 16
    if ctx.gcm:
        return open_gcm(engine, job, size, offset, ssrc, index, stream)
    p = &engine.batch[engine.waiting]
    engine.waiting += 1
    p.job, p.index, p.ssrc, p.size, p.offset = job, index, ssrc, size, offset
    cm_iv(ctx.salt, ssrc, index, p.iv)
    memcpy(p.saved, job.buf + size, 4)
    store32(job.buf + size, <uint32_t>(index >> 16))
    return job.len


cdef inline bint is_first(const srtp_job *job) noexcept nogil:
    """Is this the first packet of its SSRC (so far as anybody can tell before it is checked)?"""
    cdef srtp_stream *stream
    if job.len < RTP_HEADER:
        return False
    stream = find_stream(job.ctx, load32(job.buf + 8))
    return stream == NULL or not stream.state & STREAM_RTP


cdef void open_first(srtp_engine *engine, srtp_job *job) noexcept nogil:
    """A stream's first packet sets the index all later ones are estimated from, so it goes through alone. If its sequence number has
    just wrapped, we may have missed the packets before, with the signalling or the source not settled yet: then the ROC is 1."""
    cdef int32_t size = job.len
    job.len = open_packet(engine, job, 0)
    open_waiting(engine)
    if job.len == SRTP_AUTH_FAILED and load16(job.buf + 2) < LATE_START:
        job.len = size
        job.len = open_packet(engine, job, 1)
        open_waiting(engine)


cdef void srtp_protect_batch(srtp_engine *engine, srtp_job *jobs, uint32_t count) noexcept nogil:
    cdef uint32_t i
    for i in range(min(count, <uint32_t>AHEAD)):
        prefetch(&jobs[i])
    for i in range(count):
        if i + AHEAD < count:
            prefetch(&jobs[i + AHEAD])
        jobs[i].len = seal(engine, &jobs[i])
        if engine.waiting == SRTP_BATCH:
            seal_waiting(engine)
    seal_waiting(engine)


cdef void srtp_unprotect_batch(srtp_engine *engine, srtp_job *jobs, uint32_t count) noexcept nogil:
    cdef uint32_t i
    for i in range(min(count, <uint32_t>AHEAD)):
        prefetch(&jobs[i])
    for i in range(count):
        if i + AHEAD < count:
            prefetch(&jobs[i + AHEAD])
        if is_first(&jobs[i]):
            open_waiting(engine)
            open_first(engine, &jobs[i])
            continue
        jobs[i].len = open_packet(engine, &jobs[i], 0)
        if engine.waiting == SRTP_BATCH:
            open_waiting(engine)
    open_waiting(engine)


cdef int32_t srtp_protect(srtp_engine *engine, srtp_ctx *ctx, uint8_t *buf, int32_t size, int32_t cap) noexcept nogil:
    cdef srtp_job job
    job.ctx, job.buf, job.len, job.cap = ctx, buf, size, cap
    job.len = seal(engine, &job)
    seal_waiting(engine)
    return job.len


cdef int32_t srtp_unprotect(srtp_engine *engine, srtp_ctx *ctx, uint8_t *buf, int32_t size) noexcept nogil:
    cdef srtp_job job
    job.ctx, job.buf, job.len, job.cap = ctx, buf, size, size
    if is_first(&job):
        open_first(engine, &job)
    else:
        job.len = open_packet(engine, &job, 0)
        open_waiting(engine)
    return job.len


include "srtp_rtcp.pxi"


# ---- engines: choosing and proving -------------------------------------------------------------------------------------------

cdef srtp_engine *srtp_engine_create(srtp_backend backend) noexcept nogil:
    cdef srtp_engine *engine = NULL
    cdef mb_manager *mb
    if backend != SRTP_OPENSSL:
        mb = mb_open()
        if mb != NULL:
            engine = engine_new(mb)
            if engine != NULL and not proves_itself(engine):
                srtp_engine_destroy(engine)
                engine = NULL
    if engine == NULL and backend != SRTP_IPSEC_MB:
        engine = engine_new(NULL)
    return engine


cdef bint proves_itself(srtp_engine *engine) noexcept nogil:
    """Does this engine seal like OpenSSL, in a full batch, with every suite? Asked once, before ipsec-mb may carry calls."""
    cdef srtp_engine *reference = engine_new(NULL)
    cdef srtp_ctx *ctx = <srtp_ctx *>aligned_alloc(64, 2 * SRTP_CTX_SIZE)
    cdef uint8_t texts[2][PROOF][256]
    cdef srtp_job jobs[PROOF]
    cdef uint8_t key[64]
    cdef int suite, side, i
    cdef bint good = reference != NULL and ctx != NULL
    for i in range(64):
        key[i] = 7 * i + 1
    for suite in range(1, SUITES + 1):
        if not good:
            break
        for side in range(2):
            good = good and srtp_init(reference if side else engine, &ctx[side], suite, key, suites[suite - 1].key_len, key + 40,
                                      suites[suite - 1].salt_len, SRTP_OUT) == 0
            memset(texts[side], 0, sizeof(texts[side]))
            for i in range(PROOF):
                texts[side][i][0] = 0x80
                texts[side][i][3] = i
                jobs[i].ctx, jobs[i].buf, jobs[i].len, jobs[i].cap = &ctx[side], texts[side][i], 12 + 9 * i, 256
            srtp_protect_batch(reference if side else engine, jobs, PROOF)
            for i in range(PROOF):
                good = good and jobs[i].len == 12 + 9 * i + suites[suite - 1].tag_len
        good = good and memcmp(texts[0], texts[1], sizeof(texts[0])) == 0
    if ctx != NULL:
        OPENSSL_cleanse(ctx, 2 * SRTP_CTX_SIZE)
    free(ctx)
    srtp_engine_destroy(reference)
    return good


include "srtp_session.pxi"
