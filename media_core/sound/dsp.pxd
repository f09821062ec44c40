# The DSP's thread: one per worker, at lower priority, for everything that has to do with sound.
from media_core.shared.abi cimport Header
from media_core.sound.player cimport Shelf
from media_core.relay.relay cimport Worker

cdef int dsp_run(Header *memory, Worker *worker, Shelf *shelf, int core_wake, int *stopping) noexcept nogil
