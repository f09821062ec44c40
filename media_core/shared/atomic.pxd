"""C11 atomics as the compiler's builtins: the one place that declares them (shared memory, no Python object involved)."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from * nogil:
    const int RELAXED "__ATOMIC_RELAXED"
    const int ACQUIRE "__ATOMIC_ACQUIRE"
    const int RELEASE "__ATOMIC_RELEASE"
    const int SEQ_CST "__ATOMIC_SEQ_CST"
    uint8_t load8 "__atomic_load_n"(const uint8_t *place, int order)
    uint32_t load32 "__atomic_load_n"(const uint32_t *place, int order)
    uint64_t load64 "__atomic_load_n"(const uint64_t *place, int order)
    void store8 "__atomic_store_n"(uint8_t *place, uint8_t value, int order)
    void store16 "__atomic_store_n"(uint16_t *place, uint16_t value, int order)
    void store32 "__atomic_store_n"(uint32_t *place, uint32_t value, int order)
    void store64 "__atomic_store_n"(uint64_t *place, uint64_t value, int order)
    uint32_t add32 "__atomic_fetch_add"(uint32_t *place, uint32_t value, int order)
    uint64_t add64 "__atomic_fetch_add"(uint64_t *place, uint64_t value, int order)
    bint swap32 "__atomic_compare_exchange_n"(uint32_t *place, uint32_t *expected, uint32_t value, bint weak, int success, int failure)
    void fence "__atomic_thread_fence"(int order)
