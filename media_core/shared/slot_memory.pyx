"""Mapping the memory of the slots (slots.pyx), whoever made it: its header says the number of its layout and its sizes.

A process that needs larger slots, or finds something it cannot read, makes its own behind what the memory holds. One aligned 8-byte store
in the first page (`moved`) makes them the ones that count. What was there before counts until then and is gone afterwards. A first page
that is none of ours may hold what a killed process has to find once more, so nothing of it is overwritten before the last page of the
memory, the foot, says where the slots are.
"""

import os

from libc.stdint cimport int64_t
from libc.string cimport memcmp, memset

from media_core.shared.atomic cimport RELEASE, store64

from media_core.records import SlotsMissing

cdef extern from "<sys/mman.h>" nogil:
    enum: PROT_READ, PROT_WRITE, MAP_SHARED, MADV_DONTDUMP, MADV_REMOVE
    void *MAP_FAILED
    void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)
    int munmap(void *address, size_t length)
    int madvise(void *address, size_t length, int advice)

cdef uint64_t MAGIC = 0x73746F6C53686353
cdef uint64_t _SIZES = <uint64_t>&(<Header *>NULL).moved  # octets of Header that say how large all is


cdef uint64_t whole_pages(uint64_t size) noexcept:
    return (size + PAGE - 1) & ~<uint64_t>(PAGE - 1)


cdef uint64_t _place(Place *place, uint64_t at, uint64_t slots, uint64_t half_bytes) noexcept:
    place.slots, place.half_bytes, place.halves = slots, half_bytes, at
    place.payloads = at + whole_pages(slots * 2 * sizeof(Half))
    return place.payloads + slots * 2 * half_bytes


cdef void lay_out_slots(Header *header, uint64_t legs, uint64_t leg_bytes, uint64_t calls, uint64_t call_bytes) noexcept:
    """Fill in all sizes and offsets; each part starts on its own page."""
    cdef uint64_t at
    memset(header, 0, sizeof(Header))
    header.magic, header.layout, header.calls = MAGIC, LAYOUT, <uint32_t>calls
    at = _place(&header.legs, PAGE, legs, leg_bytes)
    at = _place(&header.call, at, calls, call_bytes)
    header.positions = at
    header.outbox = at + whole_pages(2 * sizeof(Positions))
    header.size = header.outbox + 2 * sizeof(Outbox)


cdef uint64_t legs_of(uint64_t calls) noexcept:
    return max(<uint64_t>LEAST_LEGS, 2 * calls + calls // 2)


cdef bint _is_ours(Header *header) noexcept:
    return header.magic == MAGIC and header.layout == LAYOUT


cdef bint _is_bounded(Place *place, uint64_t most) noexcept:
    return 1 <= place.slots <= most and 0 < place.half_bytes <= MOST_BYTES and place.half_bytes % PAGE == 0


cdef bint _adds_up(Header *header, uint64_t room) noexcept:
    """Is this the header of slots that fit into `room` octets from it on?"""
    cdef Header expected
    if not _is_ours(header) or not _is_bounded(&header.legs, MOST_LEGS) or not _is_bounded(&header.call, MOST_CALLS):
        return False
    lay_out_slots(&expected, header.legs.slots, header.legs.half_bytes, header.call.slots, header.call.half_bytes)
    return expected.size <= room and memcmp(&expected, header, _SIZES) == 0


cdef class Mapping:
    """The mapped memory, held by Slots and its areas; NULL when closed."""

    def __init__(self, int fd, uint64_t at=0):
        """`at`: the header of slots that do not count yet; 0: those that do."""
        cdef void *place
        cdef uint64_t moved
        size = os.fstat(fd).st_size
        if size < PAGE:
            raise SlotsMissing("the memory holds no slots: it is empty")
        place = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if place == MAP_FAILED:
            raise OSError("the memory of the slots cannot be mapped")
        self.first, self.header, self.size = <uint8_t *>place, <Header *>place, size
        madvise(place, size, MADV_DONTDUMP)  # keys stay out of core files
        if not at:
            self.clear_away()
            if not _is_ours(self.header):
                raise SlotsMissing("the memory holds no slots of this layout")
        moved = at or self.header.moved
        if moved % PAGE or moved > size - PAGE or not _adds_up(<Header *>(self.first + moved), size - moved):
            raise SlotsMissing("the memory holds slots of other sizes")
        self.header = <Header *>(self.first + moved)

    cdef Header *foot(self) noexcept:
        return <Header *>(self.first + (self.size & ~<uint64_t>(PAGE - 1)) - PAGE)

    cdef void clear_away(self) noexcept:
        """Slots that have moved: the first page says so in our words, and of what was between it and them nothing is left."""
        cdef Header *root = <Header *>self.first
        cdef Header *foot = self.foot()
        if not _is_ours(root) and _is_ours(foot) and foot.moved:
            store64(&root.magic, 0, RELEASE)
            memset(self.first, 0, PAGE)
            root.layout, root.moved = foot.layout, foot.moved
            store64(&root.magic, MAGIC, RELEASE)
        if _is_ours(root) and PAGE < root.moved < self.size and root.moved % PAGE == 0:
            madvise(self.first + PAGE, root.moved - PAGE, MADV_REMOVE)

    cdef void take_place(self) noexcept:
        cdef Header *root = <Header *>self.first
        cdef Header *foot = self.foot()
        cdef uint64_t moved = <uint8_t *>self.header - self.first
        if not moved or root.moved == moved and _is_ours(root):
            return
        if _is_ours(root):
            store64(&root.moved, moved, RELEASE)
        else:
            foot.layout, foot.moved = LAYOUT, moved
            store64(&foot.magic, MAGIC, RELEASE)
        self.clear_away()

    def __dealloc__(self):
        self.close()

    cdef void close(self) noexcept:
        if self.header != NULL:
            munmap(self.first, self.size)
            self.header = NULL

    cdef Header *open(self) except NULL:
        if self.header == NULL:
            raise ValueError("the slots are closed")
        return self.header
