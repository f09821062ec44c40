# Sound files read ahead of the DSP.
from libc.stdint cimport int16_t, int64_t, uint32_t, uint64_t

from media_core.shared.abi cimport PATHS_ROOM, Header, Request
from media_core.sound.resample cimport Resampler

cdef extern from "<sndfile.h>" nogil:
    ctypedef int64_t sf_count_t
    ctypedef struct SNDFILE:
        pass
    ctypedef struct SF_INFO:
        sf_count_t frames
        int samplerate
        int channels
        int format
        int sections
        int seekable
    enum:
        SFM_READ
        SFM_WRITE
        SF_FORMAT_WAV
        SF_FORMAT_OGG
        SF_FORMAT_PCM_16
        SF_FORMAT_OPUS
        SFC_SET_UPDATE_HEADER_AUTO
        SFC_SET_VBR_ENCODING_QUALITY
        SF_TRUE
    SNDFILE *sf_open_fd(int fd, int mode, SF_INFO *info, int close_descriptor)
    int sf_close(SNDFILE *file)
    sf_count_t sf_readf_short(SNDFILE *file, int16_t *into, sf_count_t frames)
    sf_count_t sf_writef_short(SNDFILE *file, const int16_t *samples, sf_count_t frames)
    sf_count_t sf_seek(SNDFILE *file, sf_count_t frames, int whence)
    int sf_command(SNDFILE *file, int command, void *data, int size)

cdef enum:
    SOUND_ROOM = 32768          # samples read ahead: 2 s at 16 kHz, a power of two
    SOUND_CHANNELS = 8          # most channels of a file

cdef enum:  # Sound.state; the DSP moves it to WANTED and to UNWANTED, the files' thread frees what is UNWANTED
    SOUND_WANTED = 1
    SOUND_UNWANTED = 2

cdef struct Sound:
    uint32_t state
    uint32_t rate               # Hz, of the samples wanted
    uint32_t looped
    uint32_t ended              # by the files' thread: nothing comes behind head
    uint32_t failed             # a file could not be read
    uint32_t path               # offset of the current path
    uint64_t skip               # samples that were played already
    uint64_t head               # by the files' thread
    uint64_t tail               # by the DSP
    uint64_t loop_made          # head when the list was begun again: an empty list must not turn for ever
    SNDFILE *file
    SF_INFO info
    int fd
    Resampler resampler
    char paths[PATHS_ROOM]
    int16_t samples[SOUND_ROOM]

cdef struct Shelf:              # shared by the DSPs and the files' thread
    Header *memory
    Sound **sounds              # by leg, NULL: none
    int wake                    # eventfd of the files' thread

cdef Sound *sound_begin(Shelf *shelf, uint32_t leg, const Request *request, uint32_t rate, uint64_t skip) noexcept nogil
cdef int sound_take(Sound *sound, int16_t *into, int count) noexcept nogil
cdef void sound_end(Shelf *shelf, Sound *sound) noexcept nogil
cdef uint32_t sounds_fill(Shelf *shelf) noexcept nogil
