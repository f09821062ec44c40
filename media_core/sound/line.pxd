# A leg as the DSP knows it, and the DSP itself.
from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t, uint64_t

from media_core.shared.abi cimport Config, Header
from media_core.sound.codec cimport CODEC_COUNT, CODEC_SAMPLES, Codec, Decoder, Encoder, Noise
from media_core.sound.dtmf cimport Detector
from media_core.sound.jitter cimport Jitter
from media_core.sound.mixer cimport Mix, Voice
from media_core.sound.player cimport Shelf, Sound
from media_core.relay.relay cimport Frame, Worker
from media_core.sound.resample cimport Resampler

cdef enum:
    PHASES = 20                 # a leg has its step in one of 20 milliseconds
    FIFO = 2 * CODEC_SAMPLES

cdef struct Key:                # a key press on its way to the other leg
    uint8_t on
    uint8_t code
    uint32_t timestamp          # of the stream it came in
    uint32_t offset             # in the stream it goes out in
    uint32_t duration           # 1/8000 s
    uint64_t until              # ms: nothing heard of it since means that it is over

cdef struct Line:               # what the DSP knows of a leg
    uint64_t id
    Line *following             # of the same phase
    Line *member                # of the same room
    uint32_t version            # of the ConfigBlock
    uint8_t playing
    uint8_t fresh               # nothing was sent yet
    Config config
    # what comes in
    Jitter jitter
    Decoder decoder
    Noise noise
    uint8_t noisy               # comfort noise fills the silence
    uint32_t quiet              # steps in a row without a packet
    uint32_t packet_samples     # of the last packet
    uint64_t shortened          # ms
    int fifo_count
    int16_t fifo[FIFO]
    Key key
    Detector detector
    Resampler narrow            # to the detector's 8 kHz
    uint32_t narrow_from
    # what goes out
    Encoder encoder
    Resampler fit               # to the encoder's rate
    uint32_t fit_from
    uint32_t fit_to
    uint32_t offset             # timestamp units of the stream
    uint32_t reported_lost      # by the far end, when last looked at
    uint64_t reported_sent
    uint32_t steps
    Sound *sound
    # in a room
    Resampler enter             # to the room's rate
    uint32_t enter_from
    Voice voice
    uint8_t speaking            # sound came in this step

cdef struct Room:
    uint32_t number
    uint32_t rate
    uint32_t count
    Room *following
    Line *members
    Mix mix
    Encoder shared[CODEC_COUNT] # for those who are not in the sum
    Resampler shared_fit[CODEC_COUNT]
    uint32_t shared_from[CODEC_COUNT]

cdef struct Dsp:
    Header *memory
    Worker *worker
    Shelf *shelf
    Line **lines                # by leg
    Line *phases[PHASES]
    Room *rooms
    uint32_t count              # lines
    uint64_t now                # ms

cdef bint hand_over(Dsp *dsp, Line *line, uint32_t type, const Frame *frame) noexcept nogil
cdef uint32_t codec_of(const Config *config, uint32_t payload_type) noexcept nogil
cdef int sending_codec(const Config *config) noexcept nogil
cdef uint32_t stream_khz(const Line *line) noexcept nogil
cdef int encode(Line *line, uint32_t number, uint32_t rate, int16_t *samples, uint8_t *into) noexcept nogil
cdef void send_sound(Dsp *dsp, Line *line, uint32_t rate, int16_t *samples) noexcept nogil
cdef void send_encoded(Dsp *dsp, Line *line, int at, const Codec *codec, Frame *frame, int length) noexcept nogil
cdef uint32_t rate_in(const Line *line) noexcept nogil
cdef int pull(Dsp *dsp, Line *line, Line *other, int16_t *into) noexcept nogil
