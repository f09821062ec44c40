"""Making and mapping the shared memory that abi.pxd describes: once by the supervisor, then by every process that works on it."""

import fcntl
import os

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from media_core.shared.abi cimport (
    ABI_PAGE, ABI_VERSION, ABI_WORKERS, COMMAND_BYTES, CROSSING_BYTES, EVENT_BYTES, FLOW_COMMAND_BYTES, FLOW_EVENT_BYTES, ConfigBlock, Header, Leg,
    Player, Take, WorkerCounters, command_ring, counters_at, crossing_ring, event_ring, flow_area,
)
from media_core.shared.atomic cimport ACQUIRE, RELAXED, load32, load64
from media_core.flows.flow_table cimport flows_area_init, flows_area_size
from media_core.shared.ring cimport Ring, ring_init, ring_size
from media_core.srtp.srtp cimport SRTP_CTX_SIZE

cdef extern from "<sys/mman.h>" nogil:
    enum: PROT_READ, PROT_WRITE, MAP_SHARED, MADV_DONTDUMP
    void *MAP_FAILED
    void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)
    int munmap(void *address, size_t length)
    int madvise(void *address, size_t length, int advice)

cdef extern from "<time.h>" nogil:
    struct timespec:
        int64_t tv_sec
        int64_t tv_nsec
    enum: CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *time)

cdef uint64_t MAGIC = 0x656E6974696D6873


cdef uint64_t lay_out(Header *header, uint32_t legs, uint32_t flows, uint32_t workers) noexcept:
    """Fill in sizes and offsets; returns the whole size. Each area starts on its own page."""
    cdef uint64_t at = ABI_PAGE, size
    cdef uint64_t *places[12]
    cdef uint64_t sizes[12]
    cdef int area
    header.legs, header.flows, header.workers = legs, flows, workers
    header.flow_area_size = flows_area_size(flows)
    places[:] = [&header.counters, &header.commands, &header.events, &header.flow_commands, &header.flow_events,
                 &header.leg_table, &header.config_table, &header.player_table, &header.contexts, &header.flow_area, &header.take_table,
                 &header.crossings]
    sizes[:] = [workers * sizeof(WorkerCounters), (2 * workers + 1) * ring_size(COMMAND_BYTES), (workers + 1) * ring_size(EVENT_BYTES),
                ring_size(FLOW_COMMAND_BYTES), ring_size(FLOW_EVENT_BYTES), legs * sizeof(Leg), legs * sizeof(ConfigBlock),
                legs * sizeof(Player), <uint64_t>legs * 2 * SRTP_CTX_SIZE, header.flow_area_size, legs * sizeof(Take),
                workers * workers * ring_size(CROSSING_BYTES)]
    for area in range(12):
        places[area][0] = at
        at = (at + sizes[area] + ABI_PAGE - 1) & ~<uint64_t>(ABI_PAGE - 1)
    header.size = at
    return at


cdef Header *map_memory(int fd) except NULL:
    """The shared memory behind `fd`; ValueError when it is none or of another layout."""
    cdef uint64_t size = os.fstat(fd).st_size
    cdef void *place
    cdef Header *header
    if size < ABI_PAGE:
        raise ValueError("not a media memory: too small")
    place = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
    if place == MAP_FAILED:
        raise OSError("the media memory cannot be mapped")
    header = <Header *>place
    if header.magic != MAGIC or header.version != ABI_VERSION or header.size != size:
        munmap(place, size)
        raise ValueError("not a media memory of this layout version")
    madvise(<uint8_t *>place + header.leg_table, size - header.leg_table, MADV_DONTDUMP)  # keys stay out of core files
    return header


def create_memory(layout):
    """Make and initialise the shared memory (a sealed memfd); returns its file descriptor. ValueError: sizes out of bounds."""
    cdef Header header
    cdef Header *memory
    cdef uint32_t worker, taker
    cdef uint64_t size
    if not (1 <= layout.legs <= 32768 and 1 <= layout.flows <= 65536 and 1 <= layout.workers <= ABI_WORKERS):
        raise ValueError("legs 1..32768, flows 1..65536, workers 1..16")
    memset(&header, 0, sizeof(Header))
    header.magic, header.version = MAGIC, ABI_VERSION
    header.born = int.from_bytes(os.urandom(8), "little")
    size = lay_out(&header, layout.legs, layout.flows, layout.workers)
    fd = os.memfd_create("switchroom-media", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        os.pwrite(fd, (<char *>&header)[:sizeof(Header)], 0)
        memory = map_memory(fd)
    except BaseException:
        os.close(fd)
        raise
    for worker in range(2 * layout.workers + 1):
        ring_init(command_ring(memory, worker), COMMAND_BYTES)
    for worker in range(layout.workers + 1):
        ring_init(event_ring(memory, worker), EVENT_BYTES)
    for worker in range(layout.workers):
        for taker in range(layout.workers):
            ring_init(crossing_ring(memory, worker, taker), CROSSING_BYTES)
    ring_init(<Ring *>(<uint8_t *>memory + memory.flow_commands), FLOW_COMMAND_BYTES)
    ring_init(<Ring *>(<uint8_t *>memory + memory.flow_events), FLOW_EVENT_BYTES)
    flows_area_init(flow_area(memory), layout.flows)
    munmap(memory, size)
    return fd


cdef void unmap_memory(Header *memory) noexcept:
    munmap(memory, memory.size)


cdef class CoreView:
    """The core as the supervisor sees it: through the memory, read only, whoever holds the engine."""

    cdef Header *memory

    def __init__(self, int memory):
        self.memory = map_memory(memory)

    def __dealloc__(self):
        if self.memory != NULL:
            unmap_memory(self.memory)

    def heartbeat(self):
        """Pid of the core that has adopted the memory (0: none yet), and the age in seconds of the oldest beat of its threads.

        None: not every relay and DSP thread has begun. The flow thread counts from its first beat on; the one that reads and
        writes sound files does not, for a slow disk is no fault of the core.
        """
        cdef uint32_t pid = load32(&self.memory.pid, ACQUIRE), worker
        cdef uint64_t oldest = <uint64_t>-1, beat
        cdef timespec time
        for worker in range(self.memory.workers):
            oldest = min(oldest, load64(&counters_at(self.memory, worker).beat, RELAXED))
            oldest = min(oldest, load64(&counters_at(self.memory, worker).dsp_beat, RELAXED))
        if oldest == 0:
            return pid, None
        beat = load64(&flow_area(self.memory).beat, RELAXED)
        if beat:
            oldest = min(oldest, beat)
        clock_gettime(CLOCK_MONOTONIC, &time)
        return pid, max(0.0, time.tv_sec + time.tv_nsec / 1e9 - oldest / 1e9)

    def workers(self):
        return self.memory.workers

    def datapath(self):
        """Its datapath, and why it is not a better one; empty: no core has run."""
        return (<bytes>self.memory.datapath).decode()

    def cipher(self):
        """Its SRTP code and what that was held against when the core started, and whether all was well."""
        return (<bytes>self.memory.cipher).decode(errors="replace"), self.memory.cipher_differs == 0
