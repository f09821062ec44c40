# The recorder: sides of a leg into a sound file.
from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t, uint64_t

from media_core.shared.abi cimport PATHS_ROOM, Config, Header, Take
from media_core.sound.codec cimport Decoder
from media_core.sound.player cimport SNDFILE, Shelf
from media_core.relay.relay cimport Worker
from media_core.sound.resample cimport Resampler

cdef enum:
    TIMELINE = 65536            # samples of a side that wait for late ones: 4 s at 16 kHz, a power of two

cdef struct Side:
    Decoder decoder
    Resampler resampler
    uint32_t resampled_from     # Hz; 0: not begun
    uint32_t ssrc
    uint32_t timestamp          # of the last packet, and where it stands
    int64_t place
    uint8_t begun
    int16_t samples[TIMELINE]

cdef struct Recording:
    uint64_t leg                # id
    uint32_t version            # of the Take
    uint32_t sides
    uint32_t limit              # ms
    uint32_t serial
    uint32_t rate               # Hz
    uint32_t channels
    uint64_t began              # ns
    int64_t written             # samples of each channel in the file
    int64_t filled              # end of what has come
    int fd
    SNDFILE *file
    Config config
    Side received
    Side sent
    char path[PATHS_ROOM]

cdef struct Recorder:
    Header *memory
    Worker *workers
    Shelf *shelf
    Recording **recordings      # by leg
    uint32_t count
    int calls_wake

cdef int files_run(Header *memory, Worker *workers, Shelf *shelf, int core_wake, int calls_wake, int *stopping) noexcept nogil
