# C face of the flat SRTP contexts. A context is a fixed-size, pointer-free record that lives in shared memory, one per
# direction and leg; it holds the RTP and the RTCP state of every SSRC of that direction. Everything here is noexcept nogil
# and returns a status; errors.pyx turns a status into an exception. A context belongs to one thread at a time.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    SRTP_CTX_SIZE = 1856      # bytes of a context: 29 lines of 64, an odd number so that a table of them spreads over the cache sets
    SRTP_MAX_TRAILER = 16 + 4 # longest tag plus SRTCP index; a packet buffer keeps this much tail room (no MKI is sent)
    SRTP_STREAMS = 4          # SSRCs whose state is kept at once
    SRTP_RETIRED = 93         # SSRCs that are over and never come back under this key
    SRTP_BATCH = 64           # packets worked on together; longer batches are cut

cdef enum srtp_status:
    SRTP_OK = 0
    SRTP_BAD_PACKET = -1      # not RTP/RTCP, too short, no tail room, context not set up
    SRTP_AUTH_FAILED = -2
    SRTP_REPLAYED = -3        # seen before or older than the window; outgoing: this index was used already
    SRTP_BAD_SUITE = -4       # suite, key or salt length unknown
    SRTP_INDEX_EXHAUSTED = -5 # the key is used up: 2^48 RTP or 2^31 RTCP packets, or too many SSRCs sent with it
    SRTP_FAILED = -6          # the crypto library refused (out of memory)

cdef enum srtp_direction:
    SRTP_IN = 0               # unprotect with it
    SRTP_OUT = 1              # protect with it

cdef enum srtp_backend:
    SRTP_AUTO = 0
    SRTP_IPSEC_MB = 1
    SRTP_OPENSSL = 2

cdef struct srtp_stream:      # one SSRC, one cache line
    uint32_t ssrc
    uint32_t state            # STREAM_RTP | STREAM_RTCP seen; 0: the slot is free
    uint64_t index            # highest RTP index (ROC << 16 | SEQ)
    uint64_t replay[2]        # 128 indices up to `index`, bit 0 of [0] is `index` itself
    uint64_t used             # ctx.tick of its last appearance as a new stream, for eviction
    uint32_t rtcp_index       # highest SRTCP index
    uint32_t spare
    uint64_t rtcp_replay[2]

cdef struct srtp_ctx:
    # line 0: read for every packet
    uint32_t magic            # SRTP_MAGIC while it holds keys
    uint8_t suite
    uint8_t direction
    uint8_t sealing           # an index is being stored, or is stored and its outgoing packet not finished
    uint8_t mki_len           # octets of MKI expected on receive
    uint8_t gcm
    uint8_t key_len
    uint8_t tag_len
    uint8_t rtcp_tag_len
    uint32_t layout           # whose key data `cipher` holds (library version, architecture); another engine derives it again
    uint64_t tick
    uint8_t salt[16]
    uint8_t rtcp_salt[16]
    uint32_t current          # slot used last
    uint32_t spare0
    # line 1: HMAC-SHA1 states after the inner and outer key block
    uint32_t inner[5]
    uint32_t outer[5]
    uint8_t spare1[24]
    srtp_stream streams[SRTP_STREAMS]
    uint8_t cipher[1024]      # AES round keys (CM), or the AEAD's key data; the session key itself is always first
    # cold
    uint8_t rtcp_key[32]
    uint32_t rtcp_inner[5]
    uint32_t rtcp_outer[5]
    uint32_t retired_count
    uint32_t retired[SRTP_RETIRED]

cdef struct srtp_engine       # scratch and library handles of one thread of one process

cdef struct srtp_job:         # one packet of a batch
    srtp_ctx *ctx
    uint8_t *buf
    int32_t len               # in: length of the packet; out: its new length or a negative srtp_status
    int32_t cap               # octets usable at buf

# engines: one per worker thread. NULL if the backend is not there (SRTP_AUTO always succeeds, short of memory).
cdef srtp_engine *srtp_engine_create(srtp_backend backend) noexcept nogil
cdef void srtp_engine_destroy(srtp_engine *engine) noexcept nogil
cdef const char *srtp_engine_name(const srtp_engine *engine) noexcept nogil   # e.g. "ipsec-mb 1.3.0 avx512"

# keys. `suite` is the number srtp_suite gives for an SDES name; lengths are checked. ROC starts at 0.
cdef int srtp_suite(const char *name) noexcept nogil                          # > 0, or SRTP_BAD_SUITE
cdef int srtp_init(srtp_engine *engine, srtp_ctx *ctx, int suite, const uint8_t *key, int key_len,
                   const uint8_t *salt, int salt_len, srtp_direction direction) noexcept nogil
cdef bint srtp_same(srtp_engine *engine, const srtp_ctx *ctx, int suite, const uint8_t *key, int key_len,
                    const uint8_t *salt, int salt_len) noexcept nogil         # was it made from these very keys?
cdef void srtp_set_mki(srtp_ctx *ctx, int octets) noexcept nogil              # a=crypto "|mki:len" of the sender; init clears it
cdef void srtp_wipe(srtp_ctx *ctx) noexcept nogil
cdef void srtp_adopt(srtp_engine *engine, srtp_ctx *ctx) noexcept nogil       # after its process died; call once per context

# one packet, in place. New length, or a negative srtp_status; a refused incoming packet is left as it was.
cdef int32_t srtp_protect(srtp_engine *engine, srtp_ctx *ctx, uint8_t *buf, int32_t size, int32_t cap) noexcept nogil
cdef int32_t srtp_unprotect(srtp_engine *engine, srtp_ctx *ctx, uint8_t *buf, int32_t size) noexcept nogil
cdef int32_t srtp_protect_rtcp(srtp_engine *engine, srtp_ctx *ctx, uint8_t *buf, int32_t size, int32_t cap) noexcept nogil
cdef int32_t srtp_unprotect_rtcp(srtp_engine *engine, srtp_ctx *ctx, uint8_t *buf, int32_t size) noexcept nogil

# many packets, any mix of contexts and suites; the same result as one by one, in order (only the reason may differ when a packet
# is both stale and forged)
cdef void srtp_protect_batch(srtp_engine *engine, srtp_job *jobs, uint32_t count) noexcept nogil
cdef void srtp_unprotect_batch(srtp_engine *engine, srtp_job *jobs, uint32_t count) noexcept nogil
