# The codecs: one row each, and the state of one stream through one.
from libc.stdint cimport int16_t, int32_t, uint8_t, uint32_t, uint64_t

from media_core.sound.conceal cimport Concealer

cdef enum:  # row numbers; they stand in the shared memory
    CODEC_NONE = 0
    CODEC_PCMU = 1
    CODEC_PCMA = 2
    CODEC_G722 = 3
    CODEC_OPUS = 4
    CODEC_CN = 5                # comfort noise (RFC 3389): only ever received, beside another codec
    CODEC_COUNT = 6

cdef enum:
    CODEC_FRAME_MS = 20
    CODEC_SAMPLES = 1920        # most samples of one packet: 120 ms at 16 kHz
    CODEC_BYTES = 320           # most bytes of one packet that is encoded

cdef struct Encoder
cdef struct Decoder

ctypedef int (*encoder_begin)(Encoder *) noexcept nogil
ctypedef void (*encoder_end)(Encoder *) noexcept nogil
ctypedef int (*encode_frame)(Encoder *, const int16_t *samples, int count, uint8_t *into) noexcept nogil
ctypedef int (*decoder_begin)(Decoder *) noexcept nogil
ctypedef void (*decoder_end)(Decoder *) noexcept nogil
ctypedef int (*decode_packet)(Decoder *, const uint8_t *data, int length, int16_t *into) noexcept nogil
ctypedef int (*conceal_packet)(Decoder *, const uint8_t *following, int length, int count, int16_t *into) noexcept nogil

cdef struct Codec:
    const char *name
    int payload_type            # static one (RFC 3551 §6), or -1
    uint32_t clock              # of its RTP timestamps, Hz
    uint32_t channels           # as SDP writes it
    uint32_t rate               # of its samples here, Hz
    encoder_begin begin_encoder # 0, or -1: no memory
    encode_frame encode         # 20 ms -> bytes, or -1
    encoder_end end_encoder
    decoder_begin begin_decoder
    decode_packet decode        # one packet -> samples, or -1: no packet of this codec
    conceal_packet conceal      # count samples in place of a lost packet; `following` is the one after it, or NULL
    decoder_end end_decoder

cdef struct Encoder:
    const Codec *codec          # NULL: not begun
    void *state
    uint32_t loss               # per cent, as last told

cdef struct Decoder:
    const Codec *codec
    void *state
    Concealer concealer         # of the codecs that have none of their own

cdef struct Noise:              # comfort noise
    uint32_t seed
    float level                 # amplitude
    float taps[16]              # reflection coefficients
    float memory[17]
    int order

cdef const Codec *codec_at(uint32_t number) noexcept nogil
cdef int encoder_open(Encoder *encoder, uint32_t number) noexcept nogil
cdef void encoder_close(Encoder *encoder) noexcept nogil
cdef void encoder_loss(Encoder *encoder, uint32_t percent) noexcept nogil
cdef int decoder_open(Decoder *decoder, uint32_t number) noexcept nogil
cdef void decoder_close(Decoder *decoder) noexcept nogil
cdef void noise_set(Noise *noise, const uint8_t *data, int length) noexcept nogil
cdef void noise_make(Noise *noise, int16_t *into, int count) noexcept nogil
cdef void recode_g711(uint8_t *data, uint32_t length, uint32_t payload_type) noexcept nogil
