/* The only place that sees intel-ipsec-mb. It fills the library's job records, so that srtp.pyx stays free of their layout, and
 * answers "not here" where the library was not installed when we were built. All functions work in place and on flat keys. */
#ifndef MEDIA_CORE_MULTIBUFFER_H
#define MEDIA_CORE_MULTIBUFFER_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && __has_include(<intel-ipsec-mb.h>)
#include <intel-ipsec-mb.h>

typedef IMB_MGR mb_manager;
typedef IMB_JOB mb_job;

/* A manager whose self test passed and that has AES instructions, or NULL. */
static inline mb_manager *mb_open(void) {
    mb_manager *manager = alloc_mb_mgr(0);
    IMB_ARCH arch = IMB_ARCH_NONE;
    if (manager == NULL) return NULL;
    init_mb_mgr_auto(manager, &arch);
    if (imb_get_errno(manager) != 0 || arch < IMB_ARCH_SSE || !(manager->features & IMB_FEATURE_AESNI) ||
        ((manager->features & IMB_FEATURE_SELF_TEST) && !(manager->features & IMB_FEATURE_SELF_TEST_PASS)) ||
        sizeof(struct gcm_key_data) > 1024) {
        free_mb_mgr(manager);
        return NULL;
    }
    return manager;
}

static inline void mb_close(mb_manager *manager) { free_mb_mgr(manager); }

static inline const char *mb_version(void) { return imb_get_version_str(); }

static inline const char *mb_arch(const mb_manager *manager) {
    static const char *const names[] = {"none", "noaesni", "sse", "avx", "avx2", "avx512"};
    return manager->used_arch < sizeof(names) / sizeof(names[0]) ? names[manager->used_arch] : "other";
}

/* Changes whenever key data of another library version, architecture or feature set could differ. Never 0. */
static inline uint32_t mb_layout(const mb_manager *manager) {
    uint64_t mixed = (uint64_t)imb_get_version() << 40 ^ (uint64_t)manager->used_arch << 32 ^ manager->features;
    return (uint32_t)((mixed * 0x9E3779B97F4A7C15u) >> 32) | 1;
}

static inline void mb_expand(mb_manager *manager, const uint8_t *key, int key_len, uint8_t *round_keys, uint8_t *scratch) {
    (key_len == 32 ? manager->keyexp_256 : manager->keyexp_128)(key, round_keys, scratch);
}

static inline void mb_gcm_prepare(mb_manager *manager, const uint8_t *key, int key_len, uint8_t *key_data) {
    (key_len == 32 ? manager->gcm256_pre : manager->gcm128_pre)(key, (struct gcm_key_data *)key_data);
}

static inline void mb_gcm(mb_manager *manager, int key_len, int seal, const uint8_t *key_data, uint8_t *text, int32_t size,
                          const uint8_t *iv, const uint8_t *aad, int32_t aad_len, uint8_t *tag) {
    struct gcm_context_data context;
    aes_gcm_enc_dec_t run = seal ? (key_len == 32 ? manager->gcm256_enc : manager->gcm128_enc)
                                 : (key_len == 32 ? manager->gcm256_dec : manager->gcm128_dec);
    run((const struct gcm_key_data *)key_data, &context, text, text, (uint64_t)size, iv, aad, (uint64_t)aad_len, tag, 16);
}

static inline void mb_ctr_set(mb_job *job, const uint8_t *round_keys, int key_len, const uint8_t *iv, uint8_t *text, int32_t size) {
    job->enc_keys = round_keys;
    job->dec_keys = round_keys;
    job->key_len_in_bytes = (uint64_t)key_len;
    job->src = text;
    job->dst = text;
    job->cipher_start_src_offset_in_bytes = 0;
    job->msg_len_to_cipher_in_bytes = (uint64_t)size;
    job->iv = iv;
    job->iv_len_in_bytes = 16;
}

static inline int mb_ctr_run(mb_manager *manager, mb_job *jobs, uint32_t count, int key_len) {
    return manager->submit_cipher_burst_nocheck(manager, jobs, count, IMB_CIPHER_CNTR, IMB_DIR_ENCRYPT,
                                                key_len == 32 ? IMB_KEY_256_BYTES : IMB_KEY_128_BYTES) == count;
}

/* The library writes whole tags: 20 octets at `tag`. */
static inline void mb_hmac_set(mb_job *job, const uint32_t *inner, const uint32_t *outer, const uint8_t *text, int32_t size, uint8_t *tag) {
    job->src = text;
    job->hash_start_src_offset_in_bytes = 0;
    job->msg_len_to_hash_in_bytes = (uint64_t)size;
    job->u.HMAC._hashed_auth_key_xor_ipad = (const uint8_t *)inner;
    job->u.HMAC._hashed_auth_key_xor_opad = (const uint8_t *)outer;
    job->auth_tag_output = tag;
    job->auth_tag_output_len_in_bytes = 20;
}

static inline int mb_hmac_run(mb_manager *manager, mb_job *jobs, uint32_t count) {
    return manager->submit_hash_burst_nocheck(manager, jobs, count, IMB_AUTH_HMAC_SHA_1) == count;
}

#else

typedef struct { char absent; } mb_manager;
typedef struct { char absent; } mb_job;

static inline mb_manager *mb_open(void) { return NULL; }
static inline void mb_close(mb_manager *manager) { (void)manager; }
static inline const char *mb_version(void) { return ""; }
static inline const char *mb_arch(const mb_manager *manager) { (void)manager; return ""; }
static inline uint32_t mb_layout(const mb_manager *manager) { (void)manager; return 1; }
static inline void mb_expand(mb_manager *m, const uint8_t *k, int n, uint8_t *r, uint8_t *s) { (void)m, (void)k, (void)n, (void)r, (void)s; }
static inline void mb_gcm_prepare(mb_manager *m, const uint8_t *k, int n, uint8_t *d) { (void)m, (void)k, (void)n, (void)d; }
static inline void mb_gcm(mb_manager *m, int n, int e, const uint8_t *k, uint8_t *t, int32_t s, const uint8_t *i, const uint8_t *a,
                          int32_t l, uint8_t *g) {
    (void)m, (void)n, (void)e, (void)k, (void)t, (void)s, (void)i, (void)a, (void)l, (void)g;
}
static inline void mb_ctr_set(mb_job *j, const uint8_t *k, int n, const uint8_t *i, uint8_t *t, int32_t s) {
    (void)j, (void)k, (void)n, (void)i, (void)t, (void)s;
}
static inline int mb_ctr_run(mb_manager *m, mb_job *j, uint32_t c, int n) { (void)m, (void)j, (void)c, (void)n; return 0; }
static inline void mb_hmac_set(mb_job *j, const uint32_t *i, const uint32_t *o, const uint8_t *t, int32_t s, uint8_t *g) {
    (void)j, (void)i, (void)o, (void)t, (void)s, (void)g;
}
static inline int mb_hmac_run(mb_manager *m, mb_job *j, uint32_t c) { (void)m, (void)j, (void)c; return 0; }

#endif
#endif
