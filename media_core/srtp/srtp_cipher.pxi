# Included by srtp.pyx: engines, and the cipher operations on one packet. Keys are raw session keys or key data of ipsec-mb;
# OpenSSL's algorithms are fetched once per engine and its contexts live as long as the engine, because implicit fetching and
# allocation are what makes EVP slow. HMAC-SHA1 runs OpenSSL's SHA-1 from a stored midstate, which EVP cannot do.

cdef extern from *:
    """
    #define OPENSSL_API_COMPAT 0x10100000L
    """

cdef extern from "<openssl/evp.h>" nogil:
    ctypedef struct EVP_CIPHER:
        pass
    ctypedef struct EVP_CIPHER_CTX:
        pass
    EVP_CIPHER *EVP_CIPHER_fetch(void *library, const char *name, const char *properties)
    void EVP_CIPHER_free(EVP_CIPHER *)
    EVP_CIPHER_CTX *EVP_CIPHER_CTX_new()
    void EVP_CIPHER_CTX_free(EVP_CIPHER_CTX *)
    int EVP_CipherInit_ex2(EVP_CIPHER_CTX *, const EVP_CIPHER *, const uint8_t *key, const uint8_t *iv, int encrypt, const void *params)
    int EVP_CipherUpdate(EVP_CIPHER_CTX *, uint8_t *out, int *written, const uint8_t *data, int size)
    int EVP_CipherFinal_ex(EVP_CIPHER_CTX *, uint8_t *out, int *written)
    int EVP_CIPHER_CTX_ctrl(EVP_CIPHER_CTX *, int command, int argument, void *pointer)
    int EVP_CTRL_AEAD_GET_TAG
    int EVP_CTRL_AEAD_SET_TAG

cdef extern from "<openssl/crypto.h>" nogil:
    int CRYPTO_memcmp(const void *, const void *, size_t)
    void OPENSSL_cleanse(void *, size_t)

cdef extern from "<openssl/sha.h>" nogil:
    ctypedef struct SHA_CTX:
        uint32_t h0, h1, h2, h3, h4
        uint32_t Nl, Nh
        uint32_t num
    int SHA1_Init(SHA_CTX *)
    int SHA1_Update(SHA_CTX *, const void *, size_t)
    int SHA1_Final(uint8_t *, SHA_CTX *)

cdef extern from "multibuffer.h" nogil:
    ctypedef struct mb_manager:
        pass
    ctypedef struct mb_job:
        pass
    mb_manager *mb_open()
    void mb_close(mb_manager *)
    const char *mb_version()
    const char *mb_arch(const mb_manager *)
    uint32_t mb_layout(const mb_manager *)
    void mb_expand(mb_manager *, const uint8_t *key, int key_len, uint8_t *round_keys, uint8_t *scratch)
    void mb_gcm_prepare(mb_manager *, const uint8_t *key, int key_len, uint8_t *key_data)
    void mb_gcm(mb_manager *, int key_len, int seal, const uint8_t *key_data, uint8_t *text, int32_t size,
                const uint8_t *iv, const uint8_t *aad, int32_t aad_len, uint8_t *tag)
    void mb_ctr_set(mb_job *, const uint8_t *round_keys, int key_len, const uint8_t *iv, uint8_t *text, int32_t size)
    int mb_ctr_run(mb_manager *, mb_job *, uint32_t count, int key_len)
    void mb_hmac_set(mb_job *, const uint32_t *inner, const uint32_t *outer, const uint8_t *text, int32_t size, uint8_t *tag)
    int mb_hmac_run(mb_manager *, mb_job *, uint32_t count)

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)
    void free(void *)

cdef enum:
    MAX_PACKET = 4096         # longest RTCP packet whose unencrypted form is checked under GCM (it has to be copied)

cdef struct pending:          # a CM packet between the passes of a batch
    srtp_job *job
    uint64_t index
    uint32_t ssrc
    int32_t size              # of what is authenticated, without ROC
    int32_t offset            # of the payload
    uint8_t iv[16]
    uint8_t tag[24]           # 20 octets are written
    uint8_t saved[4]          # what the ROC displaced

cdef struct srtp_engine:
    uint8_t scratch[256]      # first: the library stores whole vectors to it, so it has to be aligned
    mb_manager *mb            # NULL: OpenSSL does everything
    uint32_t layout           # 0: raw session keys
    EVP_CIPHER_CTX *ctr[2]    # by key length: 128, 256
    EVP_CIPHER_CTX *gcm[2]
    char name[48]
    uint32_t waiting          # in `batch`
    pending batch[SRTP_BATCH]
    mb_job jobs[SRTP_BATCH]
    uint8_t aad[MAX_PACKET]


cdef EVP_CIPHER_CTX *cipher_context(const char *name) noexcept nogil:
    cdef EVP_CIPHER *algorithm = EVP_CIPHER_fetch(NULL, name, NULL)
    cdef EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new()
    if algorithm == NULL or context == NULL or not EVP_CipherInit_ex2(context, algorithm, NULL, NULL, 1, NULL):
        EVP_CIPHER_CTX_free(context)
        context = NULL
    EVP_CIPHER_free(algorithm)  # the context holds its own reference
    return context


cdef srtp_engine *engine_new(mb_manager *mb) noexcept nogil:
    """An engine on `mb` (which it owns from now on), or on OpenSSL alone if NULL."""
    cdef size_t size = (sizeof(srtp_engine) + 63) & ~<size_t>63
    cdef srtp_engine *engine = <srtp_engine *>aligned_alloc(64, size)
    if engine == NULL:
        if mb != NULL:
            mb_close(mb)
        return NULL
    memset(engine, 0, size)
    engine.mb = mb
    engine.layout = mb_layout(mb) if mb != NULL else 0
    engine.ctr[0] = cipher_context("AES-128-CTR")
    engine.ctr[1] = cipher_context("AES-256-CTR")
    engine.gcm[0] = cipher_context("AES-128-GCM")
    engine.gcm[1] = cipher_context("AES-256-GCM")
    if mb != NULL:
        snprintf(engine.name, sizeof(engine.name), "ipsec-mb %s %s", mb_version(), mb_arch(mb))
    else:
        snprintf(engine.name, sizeof(engine.name), "openssl %s", OpenSSL_version(OPENSSL_VERSION_STRING))
    if engine.ctr[0] == NULL or engine.ctr[1] == NULL or engine.gcm[0] == NULL or engine.gcm[1] == NULL:
        srtp_engine_destroy(engine)
        return NULL
    return engine


cdef extern from "<openssl/crypto.h>" nogil:
    const char *OpenSSL_version(int)
    int OPENSSL_VERSION_STRING

cdef extern from "<stdio.h>" nogil:
    int snprintf(char *, size_t, const char *, ...)


cdef void srtp_engine_destroy(srtp_engine *engine) noexcept nogil:
    if engine == NULL:
        return
    cdef int i
    for i in range(2):
        EVP_CIPHER_CTX_free(engine.ctr[i])
        EVP_CIPHER_CTX_free(engine.gcm[i])
    if engine.mb != NULL:
        mb_close(engine.mb)
    OPENSSL_cleanse(engine, sizeof(srtp_engine))
    free(engine)


cdef const char *srtp_engine_name(const srtp_engine *engine) noexcept nogil:
    return engine.name


cdef int ctr_one(srtp_engine *engine, const uint8_t *key, int key_len, const uint8_t *iv, uint8_t *text, int32_t size) noexcept nogil:
    """AES counter mode in place. 0, or SRTP_FAILED."""
    cdef EVP_CIPHER_CTX *context = engine.ctr[key_len == 32]
    cdef int written
    if size == 0:
        return 0
    if not EVP_CipherInit_ex2(context, NULL, key, iv, 1, NULL) or not EVP_CipherUpdate(context, text, &written, text, size):
        return SRTP_FAILED
    return 0


cdef int gcm_seal(srtp_engine *engine, const uint8_t *key, int key_len, const uint8_t *iv, const uint8_t *aad, int32_t aad_len,
                  uint8_t *text, int32_t size, uint8_t *tag) noexcept nogil:
    cdef EVP_CIPHER_CTX *context = engine.gcm[key_len == 32]
    cdef int written
    if (not EVP_CipherInit_ex2(context, NULL, key, iv, 1, NULL)
            or not EVP_CipherUpdate(context, NULL, &written, aad, aad_len)
            or (size and not EVP_CipherUpdate(context, text, &written, text, size))
            or not EVP_CipherFinal_ex(context, text + size, &written)
            or not EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, tag)):
        return SRTP_FAILED
    return 0


cdef int gcm_open(srtp_engine *engine, const uint8_t *key, int key_len, const uint8_t *iv, const uint8_t *aad, int32_t aad_len,
                  uint8_t *text, int32_t size, const uint8_t *tag) noexcept nogil:
    """Decrypts in place; what it wrote is meaningless after SRTP_AUTH_FAILED and undone by the caller."""
    cdef EVP_CIPHER_CTX *context = engine.gcm[key_len == 32]
    cdef int written
    cdef uint8_t expected[16]
    memcpy(expected, tag, 16)
    if (not EVP_CipherInit_ex2(context, NULL, key, iv, 0, NULL)
            or not EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, 16, expected)
            or not EVP_CipherUpdate(context, NULL, &written, aad, aad_len)
            or (size and not EVP_CipherUpdate(context, text, &written, text, size))):
        return SRTP_FAILED
    return 0 if EVP_CipherFinal_ex(context, expected, &written) else SRTP_AUTH_FAILED


cdef void gcm_undo(srtp_engine *engine, const uint8_t *key, int key_len, const uint8_t *iv, uint8_t *text, int32_t size) noexcept nogil:
    """Put the ciphertext back after a failed gcm_open: GCM is counter mode from block 2."""
    cdef uint8_t counter[16]
    memcpy(counter, iv, 12)
    store32(counter + 12, 2)
    ctr_one(engine, key, key_len, counter, text, size)


cdef void sha1_midstate(const uint8_t *key, uint8_t pad, uint32_t *state) noexcept nogil:
    cdef uint8_t block[64]
    cdef SHA_CTX sha
    cdef int i
    memset(block, pad, 64)
    for i in range(AUTH_KEY):
        block[i] ^= key[i]
    SHA1_Init(&sha)
    SHA1_Update(&sha, block, 64)
    state[0], state[1], state[2], state[3], state[4] = sha.h0, sha.h1, sha.h2, sha.h3, sha.h4
    OPENSSL_cleanse(block, 64)
    OPENSSL_cleanse(&sha, sizeof(sha))


cdef inline void sha1_resume(SHA_CTX *sha, const uint32_t *state) noexcept nogil:
    sha.h0, sha.h1, sha.h2, sha.h3, sha.h4 = state[0], state[1], state[2], state[3], state[4]
    sha.Nl = 512  # bits hashed: the key block
    sha.Nh = 0
    sha.num = 0


cdef void hmac_one(const uint32_t *inner, const uint32_t *outer, const uint8_t *text, int32_t size, uint8_t *tag) noexcept nogil:
    """HMAC-SHA1 from midstates; 20 octets at `tag`."""
    cdef SHA_CTX sha
    SHA1_Init(&sha)
    sha1_resume(&sha, inner)
    SHA1_Update(&sha, text, size)
    SHA1_Final(tag, &sha)
    sha1_resume(&sha, outer)
    SHA1_Update(&sha, tag, 20)
    SHA1_Final(tag, &sha)
