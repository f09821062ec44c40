# The memory of slots.pyx as it lies there: layout, and how slots that were made beside others come to count.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    LAYOUT = 1                  # its number: what a header, a half, the positions and the outbox look like
    PAGE = 4096
    LEG_BYTES = 8192            # octets of a half: an INVITE that was not answered, with its session's state
    CALL_BYTES = 20480          # 250 facts of up to 64 octets, the script and what it keeps
    LEAST_LEGS = 64
    MOST_CALLS = 32768
    MOST_LEGS = 4 * MOST_CALLS
    MOST_BYTES = 1 << 20        # of a half, in a header that is believed
    MOST_POSITIONS = 62
    OUTBOX_BYTES = 1 << 20

cdef struct Half:
    uint64_t stamp              # turn that wrote it; 0: nothing was written
    uint64_t length             # octets of the payload; 0 in the newer half: the slot was freed

cdef struct Positions:
    uint64_t stamp
    uint64_t count
    uint64_t values[MOST_POSITIONS]

cdef struct Outbox:             # messages follow: u64 flow, u64 length, octets, padding to 8
    uint64_t stamp
    uint64_t used
    uint8_t messages[OUTBOX_BYTES - 16]

cdef struct Place:              # where the slots of one kind are
    uint64_t slots
    uint64_t half_bytes
    uint64_t halves             # offset of Half[2] of slot 0
    uint64_t payloads           # offset of the payloads of slot 0

cdef struct Header:
    uint64_t magic
    uint32_t layout
    uint32_t calls
    uint64_t size
    Place legs
    Place call
    uint64_t positions          # offset
    uint64_t outbox             # offset
    uint64_t moved              # offset of the header that counts in place of this one; 0: this one does
    uint64_t failed             # 4 * the turn that a process could not commit + how badly (slots.pyx)
    # written at every turn
    uint64_t turn               # the counter: the last one that counts
    uint64_t left               # the last one whose messages have left


cdef uint64_t whole_pages(uint64_t size) noexcept
cdef uint64_t legs_of(uint64_t calls) noexcept
cdef void lay_out_slots(Header *header, uint64_t legs, uint64_t leg_bytes, uint64_t calls, uint64_t call_bytes) noexcept


cdef class Mapping:
    cdef uint8_t *first
    cdef Header *header         # that counts, or is about to
    cdef uint64_t size

    cdef Header *foot(self) noexcept
    cdef void clear_away(self) noexcept
    cdef void take_place(self) noexcept
    cdef void close(self) noexcept
    cdef Header *open(self) except NULL
