# The player's thread: makes the frames of what is to be played on legs and hands them to the workers.
from media_core.abi cimport Header
from media_core.relay cimport Worker

cdef int player_run(Header *memory, Worker *workers, int core_wake, int *stopping) noexcept nogil
