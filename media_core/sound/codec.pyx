"""The codec table: G.711 A and µ, G.722, Opus, and comfort noise.

A codec is a row: name, static payload type, RTP clock, sampling rate inside, and what begins, encodes, decodes and conceals. Rates
inside are 8 kHz (G.711) and 16 kHz (G.722; Opus, whose packets may carry more). Nothing is allocated between begin and end.

G.711 by table (ITU-T G.711), A to µ and back by a table of 256. G.722 at 64 kbit/s (its RTP clock is 8 kHz: RFC 3551 §4.5.2) by
libspandsp. Opus (RFC 6716, 7587) by libopus: mono, 24 kbit/s, complexity 5; forward error correction is switched on while the far
end reports loss, and used when the packet after a lost one is there. Comfort noise (RFC 3389): level and spectrum are honoured; we
send none, because what we make is never silence-suppressed.
"""

from libc.math cimport pow as power
from libc.stdint cimport int16_t, int32_t, uint8_t, uint32_t
from libc.string cimport memcpy, memset

from media_core.sound.conceal cimport conceal_begin, conceal_heard, conceal_lost

cdef extern from "<opus/opus.h>" nogil:
    ctypedef struct OpusEncoder:
        pass
    ctypedef struct OpusDecoder:
        pass
    enum:
        OPUS_OK
        OPUS_APPLICATION_VOIP
    OpusEncoder *opus_encoder_create(int32_t rate, int channels, int application, int *error)
    void opus_encoder_destroy(OpusEncoder *encoder)
    int32_t opus_encode(OpusEncoder *encoder, const int16_t *samples, int count, unsigned char *into, int32_t room)
    OpusDecoder *opus_decoder_create(int32_t rate, int channels, int *error)
    void opus_decoder_destroy(OpusDecoder *decoder)
    int opus_decode(OpusDecoder *decoder, const unsigned char *data, int32_t length, int16_t *into, int room, int fec)
    int opus_encoder_ctl(OpusEncoder *encoder, int request, int32_t value)
    enum:
        OPUS_SET_BITRATE_REQUEST
        OPUS_SET_COMPLEXITY_REQUEST
        OPUS_SET_INBAND_FEC_REQUEST
        OPUS_SET_PACKET_LOSS_PERC_REQUEST

cdef extern from "<spandsp.h>" nogil:
    ctypedef struct g722_encode_state_t:
        pass
    ctypedef struct g722_decode_state_t:
        pass
    g722_encode_state_t *g722_encode_init(g722_encode_state_t *state, int rate, int options)
    int g722_encode_free(g722_encode_state_t *state)
    int g722_encode(g722_encode_state_t *state, uint8_t *into, const int16_t *samples, int count)
    g722_decode_state_t *g722_decode_init(g722_decode_state_t *state, int rate, int options)
    int g722_decode_free(g722_decode_state_t *state)
    int g722_decode(g722_decode_state_t *state, int16_t *into, const uint8_t *data, int length)

cdef enum:
    OPUS_BITRATE = 24000
    OPUS_COMPLEXITY = 5
    G722_BITRATE = 64000
    OPUS_TOO_LARGE = 1275       # RFC 6716 §3.4


# ---- G.711 -----------------------------------------------------------------------------------------------------------

cdef uint8_t a_law[8192]        # by the upper 13 bits of a sample
cdef uint8_t mu_law[16384]      # by the upper 14 bits
cdef int16_t a_linear[256]
cdef int16_t mu_linear[256]
cdef uint8_t a_to_mu[256]
cdef uint8_t mu_to_a[256]


cdef uint8_t encode_a(int sample) noexcept:
    """One 13-bit sample, -4096..4095."""
    cdef int mask = 0xD5 if sample >= 0 else 0x55, exponent = 0, magnitude = sample if sample >= 0 else -sample - 1
    if magnitude < 32:
        return <uint8_t>((magnitude >> 1) ^ mask)
    while magnitude >> (exponent + 5) > 0:
        exponent += 1
    return <uint8_t>((exponent << 4 | (magnitude >> exponent) & 15) ^ mask)


cdef uint8_t encode_mu(int sample) noexcept:
    """One 14-bit sample, -8192..8191."""
    cdef int mask = 0xFF if sample >= 0 else 0x7F, exponent = 0, magnitude = (sample if sample >= 0 else -sample) + 33
    if magnitude > 8191:
        magnitude = 8191
    while magnitude >> (exponent + 6) > 0:
        exponent += 1
    return <uint8_t>((exponent << 4 | (magnitude >> (exponent + 1)) & 15) ^ mask)


cdef int16_t decode_a(uint8_t octet) noexcept:
    """16 bits; the middle of the interval."""
    cdef int code = octet ^ 0x55, exponent = code >> 4 & 7, magnitude = (code & 15) << 4 | 8
    if exponent:
        magnitude = (magnitude + 0x100) << (exponent - 1)
    return <int16_t>(magnitude if code & 0x80 else -magnitude)


cdef int16_t decode_mu(uint8_t octet) noexcept:
    cdef int code = ~octet & 0xFF, magnitude = (((code & 15) << 3) + 132 << (code >> 4 & 7)) - 132
    return <int16_t>(-magnitude if code & 0x80 else magnitude)


cdef void make_tables() noexcept:
    cdef int value
    for value in range(-4096, 4096):
        a_law[value & 8191] = encode_a(value)
    for value in range(-8192, 8192):
        mu_law[value & 16383] = encode_mu(value)
    for value in range(256):
        a_linear[value] = decode_a(<uint8_t>value)
        mu_linear[value] = decode_mu(<uint8_t>value)
    for value in range(256):
        a_to_mu[value] = mu_law[(a_linear[value] >> 2) & 16383]
        mu_to_a[value] = a_law[(mu_linear[value] >> 3) & 8191]


make_tables()


cdef void recode_g711(uint8_t *data, uint32_t length, uint32_t payload_type) noexcept nogil:
    """From payload type 0 (µ) to A, from 8 (A) to µ, in place."""
    cdef const uint8_t *table = &mu_to_a[0] if payload_type == 0 else &a_to_mu[0]
    cdef uint32_t at
    for at in range(length):
        data[at] = table[data[at]]


cdef int no_encoder_state(Encoder *encoder) noexcept nogil:
    return 0


cdef void drop_encoder_state(Encoder *encoder) noexcept nogil:
    pass


cdef int concealer_state(Decoder *decoder) noexcept nogil:
    conceal_begin(&decoder.concealer, decoder.codec.rate)
    return 0


cdef void drop_decoder_state(Decoder *decoder) noexcept nogil:
    pass


cdef int a_encode(Encoder *encoder, const int16_t *samples, int count, uint8_t *into) noexcept nogil:
    cdef int at
    for at in range(count):
        into[at] = a_law[(samples[at] >> 3) & 8191]
    return count


cdef int mu_encode(Encoder *encoder, const int16_t *samples, int count, uint8_t *into) noexcept nogil:
    cdef int at
    for at in range(count):
        into[at] = mu_law[(samples[at] >> 2) & 16383]
    return count


cdef int a_decode(Decoder *decoder, const uint8_t *data, int length, int16_t *into) noexcept nogil:
    cdef int at
    if length <= 0 or length > CODEC_SAMPLES:
        return -1
    for at in range(length):
        into[at] = a_linear[data[at]]
    conceal_heard(&decoder.concealer, into, length)
    return length


cdef int mu_decode(Decoder *decoder, const uint8_t *data, int length, int16_t *into) noexcept nogil:
    cdef int at
    if length <= 0 or length > CODEC_SAMPLES:
        return -1
    for at in range(length):
        into[at] = mu_linear[data[at]]
    conceal_heard(&decoder.concealer, into, length)
    return length


cdef int conceal_by_pitch(Decoder *decoder, const uint8_t *following, int length, int count, int16_t *into) noexcept nogil:
    conceal_lost(&decoder.concealer, into, count)
    return count


# ---- G.722 -----------------------------------------------------------------------------------------------------------

cdef int g722_begin_encoder(Encoder *encoder) noexcept nogil:
    encoder.state = g722_encode_init(NULL, G722_BITRATE, 0)
    return 0 if encoder.state != NULL else -1


cdef void g722_end_encoder(Encoder *encoder) noexcept nogil:
    g722_encode_free(<g722_encode_state_t *>encoder.state)


cdef int g722_encode_frame(Encoder *encoder, const int16_t *samples, int count, uint8_t *into) noexcept nogil:
    return g722_encode(<g722_encode_state_t *>encoder.state, into, samples, count)


cdef int g722_begin_decoder(Decoder *decoder) noexcept nogil:
    conceal_begin(&decoder.concealer, decoder.codec.rate)
    decoder.state = g722_decode_init(NULL, G722_BITRATE, 0)
    return 0 if decoder.state != NULL else -1


cdef void g722_end_decoder(Decoder *decoder) noexcept nogil:
    g722_decode_free(<g722_decode_state_t *>decoder.state)


cdef int g722_decode_packet(Decoder *decoder, const uint8_t *data, int length, int16_t *into) noexcept nogil:
    cdef int count
    if length <= 0 or 2 * length > CODEC_SAMPLES:
        return -1
    count = g722_decode(<g722_decode_state_t *>decoder.state, into, data, length)
    conceal_heard(&decoder.concealer, into, count)
    return count


# ---- Opus --------------------------------------------------------------------------------------------------------------

cdef int opus_begin_encoder(Encoder *encoder) noexcept nogil:
    cdef int error = 0
    cdef OpusEncoder *opus = opus_encoder_create(encoder.codec.rate, 1, OPUS_APPLICATION_VOIP, &error)
    if opus == NULL or error != OPUS_OK:
        return -1
    opus_encoder_ctl(opus, OPUS_SET_BITRATE_REQUEST, OPUS_BITRATE)
    opus_encoder_ctl(opus, OPUS_SET_COMPLEXITY_REQUEST, OPUS_COMPLEXITY)
    encoder.state = opus
    return 0


cdef void opus_end_encoder(Encoder *encoder) noexcept nogil:
    opus_encoder_destroy(<OpusEncoder *>encoder.state)


cdef int opus_encode_frame(Encoder *encoder, const int16_t *samples, int count, uint8_t *into) noexcept nogil:
    cdef int length = opus_encode(<OpusEncoder *>encoder.state, samples, count, into, CODEC_BYTES)
    return length if length > 0 else -1


cdef int opus_begin_decoder(Decoder *decoder) noexcept nogil:
    cdef int error = 0
    decoder.state = opus_decoder_create(decoder.codec.rate, 1, &error)
    return 0 if decoder.state != NULL and error == OPUS_OK else -1


cdef void opus_end_decoder(Decoder *decoder) noexcept nogil:
    opus_decoder_destroy(<OpusDecoder *>decoder.state)


cdef int opus_decode_packet(Decoder *decoder, const uint8_t *data, int length, int16_t *into) noexcept nogil:
    cdef int count
    if length <= 0 or length > 6 * OPUS_TOO_LARGE:
        return -1
    count = opus_decode(<OpusDecoder *>decoder.state, data, length, into, CODEC_SAMPLES, 0)
    return count if count > 0 else -1


cdef int opus_conceal(Decoder *decoder, const uint8_t *following, int length, int count, int16_t *into) noexcept nogil:
    cdef int made = -1
    if following != NULL and length > 0:
        made = opus_decode(<OpusDecoder *>decoder.state, following, length, into, count, 1)
    if made < 0:
        made = opus_decode(<OpusDecoder *>decoder.state, NULL, 0, into, count, 0)
    if made < 0:
        memset(into, 0, count * sizeof(int16_t))
        made = count
    return made


# ---- comfort noise -----------------------------------------------------------------------------------------------------

cdef void noise_set(Noise *noise, const uint8_t *data, int length) noexcept nogil:
    """What a comfort noise packet says: the level in -dBov, then reflection coefficients (RFC 3389 §3). Empty: nothing changes."""
    cdef int at, order = length - 1 if length <= 17 else 16
    cdef float left = 1
    if length < 1:
        return
    noise.order = order
    for at in range(order):
        noise.taps[at] = (<float>data[1 + at] - 127) * 258 / 32768
        left *= 1 - noise.taps[at] * noise.taps[at]
    # white noise of the amplitude that the filter brings to the level wanted; uniform: its power is a third of the peak's square
    noise.level = <float>(32767 * power(10, -<double>(data[0] & 127) / 20) * power(3 * <double>(left if left > 0.001 else 0.001), 0.5))
    if noise.seed == 0:
        noise.seed = 0x2545F491


cdef void noise_make(Noise *noise, int16_t *into, int count) noexcept nogil:
    """The noise: white, through the all-pole lattice of the coefficients."""
    cdef int at, tap
    cdef float value
    for at in range(count):
        noise.seed ^= noise.seed << 13
        noise.seed ^= noise.seed >> 17
        noise.seed ^= noise.seed << 5
        value = noise.level * (<float><int32_t>noise.seed / 2147483648.0)
        tap = noise.order - 1
        while tap >= 0:
            value -= noise.taps[tap] * noise.memory[tap]
            noise.memory[tap + 1] = noise.memory[tap] + noise.taps[tap] * value
            tap -= 1
        noise.memory[0] = value
        into[at] = <int16_t>(32767 if value > 32767 else -32768 if value < -32768 else value)


# ---- the table -----------------------------------------------------------------------------------------------------------

cdef Codec table[CODEC_COUNT]
memset(table, 0, sizeof(table))
table[CODEC_PCMU] = Codec(b"PCMU", 0, 8000, 1, 8000, no_encoder_state, mu_encode, drop_encoder_state,
                          concealer_state, mu_decode, conceal_by_pitch, drop_decoder_state)
table[CODEC_PCMA] = Codec(b"PCMA", 8, 8000, 1, 8000, no_encoder_state, a_encode, drop_encoder_state,
                          concealer_state, a_decode, conceal_by_pitch, drop_decoder_state)
table[CODEC_G722] = Codec(b"G722", 9, 8000, 1, 16000, g722_begin_encoder, g722_encode_frame, g722_end_encoder,
                          g722_begin_decoder, g722_decode_packet, conceal_by_pitch, g722_end_decoder)
table[CODEC_OPUS] = Codec(b"opus", -1, 48000, 2, 16000, opus_begin_encoder, opus_encode_frame, opus_end_encoder,
                          opus_begin_decoder, opus_decode_packet, opus_conceal, opus_end_decoder)
table[CODEC_CN] = Codec(b"CN", 13, 8000, 1, 8000, NULL, NULL, NULL, NULL, NULL, NULL, NULL)


cdef const Codec *codec_at(uint32_t number) noexcept nogil:
    """The row, or NULL when there is none that codes sound."""
    if number >= CODEC_COUNT or table[number].encode == NULL:
        return NULL
    return &table[number]


cdef int encoder_open(Encoder *encoder, uint32_t number) noexcept nogil:
    """0; -1: no such codec, or no memory. What was open is closed; a codec that is open already goes on."""
    cdef const Codec *codec = codec_at(number)
    if encoder.codec != NULL and encoder.codec == codec:
        return 0
    encoder_close(encoder)
    if codec == NULL:
        return -1
    encoder.codec = codec
    if codec.begin_encoder(encoder):
        encoder.codec = NULL
        return -1
    return 0


cdef void encoder_close(Encoder *encoder) noexcept nogil:
    if encoder.codec != NULL:
        encoder.codec.end_encoder(encoder)
    memset(encoder, 0, sizeof(Encoder))


cdef void encoder_loss(Encoder *encoder, uint32_t percent) noexcept nogil:
    """What the far end reports of its loss: a codec that can protect itself does so."""
    if encoder.codec == NULL or encoder.codec.encode != opus_encode_frame or encoder.loss == percent:
        return
    encoder.loss = percent
    opus_encoder_ctl(<OpusEncoder *>encoder.state, OPUS_SET_INBAND_FEC_REQUEST, percent != 0)
    opus_encoder_ctl(<OpusEncoder *>encoder.state, OPUS_SET_PACKET_LOSS_PERC_REQUEST, percent if percent < 30 else 30)


cdef int decoder_open(Decoder *decoder, uint32_t number) noexcept nogil:
    """As encoder_open."""
    cdef const Codec *codec = codec_at(number)
    if decoder.codec != NULL and decoder.codec == codec:
        return 0
    decoder_close(decoder)
    if codec == NULL:
        return -1
    decoder.codec = codec
    if codec.begin_decoder(decoder):
        decoder.codec = NULL
        return -1
    return 0


cdef void decoder_close(Decoder *decoder) noexcept nogil:
    if decoder.codec != NULL:
        decoder.codec.end_decoder(decoder)
    memset(decoder, 0, sizeof(Decoder))


# ---- Python ----------------------------------------------------------------------------------------------------------------

NUMBERS = {table[number].name.decode(): number for number in range(CODEC_PCMU, CODEC_COUNT)}
CLOCKS = {table[number].name.decode(): table[number].clock for number in range(CODEC_PCMU, CODEC_COUNT)}


cdef class Coder:
    """One stream through one codec, both ways, for tests and benchmarks."""

    cdef Encoder encoder
    cdef Decoder decoder
    cdef readonly int rate

    def __init__(self, name):
        if encoder_open(&self.encoder, NUMBERS[name]) or decoder_open(&self.decoder, NUMBERS[name]):
            raise ValueError(f"{name} codes no sound")
        self.rate = self.encoder.codec.rate

    def __dealloc__(self):
        encoder_close(&self.encoder)
        decoder_close(&self.decoder)

    def loss(self, uint32_t percent):
        encoder_loss(&self.encoder, percent)

    def encode(self, samples):
        """20 ms of samples as one packet's payload."""
        cdef int16_t block[CODEC_SAMPLES]
        cdef uint8_t into[CODEC_BYTES]
        cdef int at, count = len(samples), length
        if count != self.rate // 50:
            raise ValueError("20 ms at a time")
        for at in range(count):
            block[at] = samples[at]
        length = self.encoder.codec.encode(&self.encoder, block, count, into)
        if length < 0:
            raise ValueError("not encoded")
        return bytes(into[:length])

    def decode(self, const unsigned char[::1] payload):
        """The samples of a packet. ValueError: no packet of this codec."""
        cdef int16_t into[CODEC_SAMPLES]
        cdef int at, count = -1
        if payload.shape[0]:
            count = self.decoder.codec.decode(&self.decoder, &payload[0], <int>payload.shape[0], into)
        if count < 0:
            raise ValueError("no packet of this codec")
        return [into[at] for at in range(count)]

    def conceal(self, const unsigned char[::1] following=None):
        """20 ms in place of a lost packet."""
        cdef int16_t into[CODEC_SAMPLES]
        cdef int at, count, room = self.rate // 50
        if following is None or not following.shape[0]:
            count = self.decoder.codec.conceal(&self.decoder, NULL, 0, room, into)
        else:
            count = self.decoder.codec.conceal(&self.decoder, &following[0], <int>following.shape[0], room, into)
        return [into[at] for at in range(count)]


def recoded(bytes payload, int payload_type):
    """G.711 of the other law: from payload type 0 to 8, from 8 to 0."""
    cdef bytearray data = bytearray(payload)
    recode_g711(data, <uint32_t>len(data), payload_type)
    return bytes(data)


def noise(const unsigned char[::1] payload, int count):
    """Samples of the comfort noise that a payload asks for."""
    cdef Noise state
    cdef int16_t block[160]
    cdef int at
    memset(&state, 0, sizeof(Noise))
    if payload.shape[0]:
        noise_set(&state, &payload[0], <int>payload.shape[0])
    out = []
    while len(out) < count:
        noise_make(&state, block, 160)
        out.extend([block[at] for at in range(160)])
    return out[:count]


def g711(samples, int payload_type):
    """16-bit samples as G.711 octets of payload type 0 or 8."""
    return bytes(a_law[(sample >> 3) & 8191] if payload_type == 8 else mu_law[(sample >> 2) & 16383] for sample in samples)
