"""The memory under a turn of `calls`: slots of legs and calls, what waited to be sent, and how far the rings were read.

A memfd of the supervisor, mapped by every `calls` process in turn, so it lives exactly as long as the product and is never on a disk
(slots hold SDES keys). Everything stands in two halves. What a turn writes goes into the older half, stamped with the number of
that turn, which is one above the counter; the newer half stays as it was. One aligned 8-byte store of the counter makes all of the
turn count at once. So a kill at any instruction leaves the last committed turn readable: whoever attaches takes of each pair the half
with the highest stamp not above the counter, and first clears what stands above it. No checksum is needed, for a killed process
leaves every store before the kill and none behind it, in the order of the program.

    Header (a page)      sizes, the counter, `left`
    Half[2] per slot     stamp, length: all that is read of slots that are not in use, so those take no memory
    payloads             per slot two halves, on their own pages; what is behind the length of a committed half is zero
    positions            two halves of stamp, count, numbers
    outbox               two halves of stamp, octets used, messages

Bytes only: what they mean is known above. A slot that has never been written or has been freed has no stamp and holds nothing.
"""

import heapq
import os

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from media_core.shared.atomic cimport RELEASE, fence, store64

from media_core.records import SlotsMissing

cdef extern from "<sys/mman.h>" nogil:
    enum: PROT_READ, PROT_WRITE, MAP_SHARED, MADV_DONTDUMP
    void *MAP_FAILED
    void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)
    int munmap(void *address, size_t length)
    int madvise(void *address, size_t length, int advice)

cdef enum:
    VERSION = 1                 # of the layout
    PAGE = 4096
    LEG_BYTES = 8192            # octets of a half: an INVITE that was not answered, with its session's state
    CALL_BYTES = 20480          # 250 facts of up to 64 octets, the script and what it keeps
    LEAST_LEGS = 64
    MOST_CALLS = 32768
    MOST_POSITIONS = 62
    OUTBOX_BYTES = 1 << 20

cdef uint64_t MAGIC = 0x73746F6C53686353

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
    uint32_t version
    uint32_t calls
    uint64_t size
    Place legs
    Place call
    uint64_t positions          # offset
    uint64_t outbox             # offset
    uint64_t room[2]
    # written at every turn
    uint64_t turn               # the counter: the last one that counts
    uint64_t left               # the last one whose messages have left


cdef uint64_t _pages(uint64_t size) noexcept:
    return (size + PAGE - 1) & ~<uint64_t>(PAGE - 1)


cdef uint64_t _place(Place *place, uint64_t at, uint64_t slots, uint64_t half_bytes) noexcept:
    place.slots, place.half_bytes, place.halves = slots, half_bytes, at
    place.payloads = at + _pages(slots * 2 * sizeof(Half))
    return place.payloads + slots * 2 * half_bytes


cdef void _lay_out(Header *header, uint64_t calls) noexcept:
    """Fill in all sizes and offsets; each part starts on its own page."""
    cdef uint64_t at
    memset(header, 0, sizeof(Header))
    header.magic, header.version, header.calls = MAGIC, VERSION, <uint32_t>calls
    at = _place(&header.legs, PAGE, max(<uint64_t>LEAST_LEGS, 2 * calls + calls // 2), LEG_BYTES)
    at = _place(&header.call, at, calls, CALL_BYTES)
    header.positions = at
    header.outbox = at + _pages(2 * sizeof(Positions))
    header.size = header.outbox + 2 * sizeof(Outbox)


cdef class _Mapping:
    """The mapped memory, held by Slots and its areas; NULL when closed."""

    cdef Header *header
    cdef uint64_t size

    def __init__(self, int fd):
        cdef Header expected
        cdef void *place
        size = os.fstat(fd).st_size
        if size < PAGE:
            raise SlotsMissing("the memory holds no slots: it is empty")
        place = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if place == MAP_FAILED:
            raise OSError("the memory of the slots cannot be mapped")
        self.header, self.size = <Header *>place, size
        madvise(place, size, MADV_DONTDUMP)  # keys stay out of core files
        if self.header.magic != MAGIC or self.header.version != VERSION:
            raise SlotsMissing("the memory holds no slots of this layout")
        _lay_out(&expected, self.header.calls)
        if not 1 <= self.header.calls <= MOST_CALLS or expected.size > self.size or memcmp(&expected, self.header, _FIXED):
            raise SlotsMissing("the memory holds slots of other sizes")

    def __dealloc__(self):
        self.close()

    cdef void close(self) noexcept:
        if self.header != NULL:
            munmap(self.header, self.size)
            self.header = NULL

    cdef Header *open(self) except NULL:
        if self.header == NULL:
            raise ValueError("the slots are closed")
        return self.header


cdef uint64_t _FIXED = <uint64_t>&(<Header *>NULL).turn  # octets of Header that never change


cdef inline uint8_t *_at(Header *header, uint64_t offset) noexcept:
    return <uint8_t *>header + offset


cdef inline bint _for_turn(uint64_t *first, uint64_t *second, uint64_t turn) noexcept:
    """Which of two halves with these stamps this turn writes: the one it has written already, else the older. That is above the
    counter before anything else of it changes."""
    cdef bint newest = second[0] > first[0]
    cdef uint64_t *stamps[2]
    stamps[0], stamps[1] = first, second
    if stamps[newest][0] == turn:
        return newest
    store64(stamps[not newest], turn, RELEASE)
    fence(RELEASE)
    return not newest


cdef inline int _counting(uint64_t first, uint64_t second, uint64_t turn) noexcept:
    """Which of two halves with these stamps counts: the newest that is not above the counter; -1: none."""
    if first > turn:
        first = 0
    if second > turn:
        second = 0
    return -1 if not first | second else second > first


cdef class Area:
    """Slots of one kind: legs, or calls. They are claimed lowest first, so that few pages are ever touched."""

    cdef _Mapping mapping
    cdef Place place
    cdef readonly uint64_t capacity
    cdef uint64_t used
    cdef list free_slots        # a heap
    cdef list leaving           # freed in this turn; wiped and free when it counts
    cdef bytearray claimed

    def __init__(self, _Mapping mapping, bint calls):
        """Takes over what counts, and clears what does not."""
        cdef Half *halves
        cdef uint64_t slot
        self.mapping = mapping
        self.place = mapping.open().call if calls else mapping.open().legs
        self.capacity = self.place.half_bytes
        self.free_slots, self.leaving, self.claimed = [], [], bytearray(self.place.slots)
        for slot in range(self.place.slots):
            halves = self.halves(slot)
            if halves[0].stamp | halves[1].stamp:
                self.clear_uncommitted(slot)
            if self.newest(slot).length:
                self.claimed[slot] = 1
                self.used += 1
            else:
                self.wipe(slot)
                self.free_slots.append(slot)

    cdef inline Half *halves(self, uint64_t slot) noexcept:
        return <Half *>_at(self.mapping.header, self.place.halves) + 2 * slot

    cdef inline uint8_t *payload(self, Half *half) noexcept:
        return _at(self.mapping.header, self.place.payloads) + (half - self.halves(0)) * self.place.half_bytes

    cdef inline Half *newest(self, uint64_t slot) noexcept:
        cdef Half *halves = self.halves(slot)
        return halves + (halves[1].stamp > halves[0].stamp)

    cdef void clear_uncommitted(self, uint64_t slot) noexcept:
        cdef Half *half
        cdef int number
        for number in range(2):
            half = self.halves(slot) + number
            if half.stamp > self.mapping.header.turn or half.length > self.place.half_bytes:
                memset(self.payload(half), 0, self.place.half_bytes)
                half.length = 0
                store64(&half.stamp, 0, RELEASE)

    cdef void wipe(self, uint64_t slot) noexcept:
        """Leave nothing of a slot that was freed. The older half first: until the end the newer one says that it was freed."""
        cdef Half *halves = self.halves(slot)
        cdef Half *half
        cdef bint newest = halves[1].stamp > halves[0].stamp
        cdef int step
        for step in range(2):
            half = halves + (newest if step else not newest)
            if half.stamp:
                memset(self.payload(half), 0, half.length)
                half.length = 0
                store64(&half.stamp, 0, RELEASE)

    cdef int write_half(self, uint64_t slot, const char *payload, uint64_t length) except -1:
        """`length` octets into the half of this turn, zeros behind."""
        cdef Half *halves = self.halves(slot)
        cdef Half *half = halves + _for_turn(&halves[0].stamp, &halves[1].stamp, self.mapping.header.turn + 1)
        cdef uint8_t *place = self.payload(half)
        if length:
            memcpy(place, payload, length)
        if half.length > length:
            memset(place + length, 0, half.length - length)
        half.length = length
        return 0

    cdef int require(self, uint64_t slot) except -1:
        self.mapping.open()
        if slot >= self.place.slots or not self.claimed[slot]:
            raise ValueError(f"slot {slot} is not claimed")
        return 0

    cdef committed(self):
        for slot in self.leaving:
            self.wipe(slot)
            heapq.heappush(self.free_slots, slot)
        self.leaving.clear()

    @property
    def slots(self):
        """How many there are."""
        return self.place.slots

    def __len__(self):
        """Slots with a payload."""
        return self.used

    def __iter__(self):
        """(slot, payload) of every slot in use, lowest first, as committed and with what this turn wrote."""
        cdef uint64_t slot
        cdef Half *half
        found = []
        self.mapping.open()
        for slot in range(self.place.slots):
            half = self.newest(slot)
            if half.length:
                found.append((slot, PyBytes_FromStringAndSize(<char *>self.payload(half), half.length)))
        return iter(found)

    def claim(self):
        """A free slot, None when all are taken."""
        if not self.free_slots:
            return None
        slot = heapq.heappop(self.free_slots)
        self.claimed[slot] = 1
        return slot

    def write(self, uint64_t slot, bytes payload not None):
        """What the slot shall hold from the next commit on. False: it does not fit (or is empty), and what it held stays."""
        cdef uint64_t length = PyBytes_GET_SIZE(payload)
        cdef Half *half
        self.require(slot)
        if not 0 < length <= self.capacity:
            return False
        half = self.newest(slot)
        if half.length == 0:
            self.used += 1
        elif half.length == length and memcmp(self.payload(half), PyBytes_AsString(payload), length) == 0:
            return True
        self.write_half(slot, PyBytes_AsString(payload), length)
        return True

    def free(self, uint64_t slot):
        """From the next commit on the slot is free and wiped. ValueError: it is not claimed."""
        self.require(slot)
        self.claimed[slot] = 0
        if self.newest(slot).length:
            self.used -= 1
            self.write_half(slot, NULL, 0)
        self.leaving.append(slot)


cdef class Slots:
    """The memory of the turn, held by one process at a time."""

    cdef _Mapping mapping
    cdef readonly Area legs
    cdef readonly Area calls

    def __init__(self, int fd):
        cdef Positions *positions
        cdef Outbox *outbox
        cdef int number
        self.mapping = _Mapping(fd)
        self.legs = Area(self.mapping, False)
        self.calls = Area(self.mapping, True)
        for number in range(2):
            positions, outbox = self.positions_at(number), self.outbox_at(number)
            if positions.stamp > self.mapping.header.turn:
                positions.stamp = 0
            if outbox.stamp > self.mapping.header.turn:
                outbox.stamp = 0

    cdef inline Positions *positions_at(self, int number) noexcept:
        return <Positions *>_at(self.mapping.header, self.mapping.header.positions) + number

    cdef inline Outbox *outbox_at(self, int number) noexcept:
        return <Outbox *>_at(self.mapping.header, self.mapping.header.outbox) + number

    @staticmethod
    def make(int fd, uint64_t calls):
        """Make all slots anew, free, whatever the memory held. ValueError: calls is not 1 to 32768."""
        cdef Header header
        if not 1 <= calls <= MOST_CALLS:
            raise ValueError(f"calls are 1 to {MOST_CALLS}")
        _lay_out(&header, calls)
        os.ftruncate(fd, 0)
        os.ftruncate(fd, header.size)
        os.pwrite(fd, (<char *>&header)[:sizeof(Header)], 0)

    @property
    def turn(self):
        """The number of the last commit."""
        return self.mapping.open().turn

    @property
    def positions(self):
        """What the last commit said of the rings; () before the first."""
        cdef Positions *positions
        cdef int half
        self.mapping.open()
        half = _counting(self.positions_at(0).stamp, self.positions_at(1).stamp, self.turn)
        if half < 0:
            return ()
        positions = self.positions_at(half)
        return tuple([positions.values[at] for at in range(min(positions.count, <uint64_t>MOST_POSITIONS))])

    @property
    def unsent(self):
        """Messages of the last committed turn, (flow, message), until left() is called after it."""
        cdef Header *header = self.mapping.open()
        cdef Outbox *outbox
        cdef uint64_t at = 0, length
        cdef uint8_t *place
        cdef int half = _counting(self.outbox_at(0).stamp, self.outbox_at(1).stamp, header.turn)
        found = []
        if half < 0 or header.left == header.turn:
            return found
        outbox = self.outbox_at(half)
        if outbox.stamp != header.turn or outbox.used > sizeof(outbox.messages):
            return found
        while at < outbox.used:
            place = outbox.messages + at
            length = (<uint64_t *>place)[1]
            found.append(((<uint64_t *>place)[0], PyBytes_FromStringAndSize(<char *>place + 16, length)))
            at += 16 + (length + 7 & ~<uint64_t>7)
        return found

    def commit(self, positions, messages):
        """Make the turn count: what was written and freed in both areas, these positions of the rings, and these messages
        (flow, message), of which as many as fit into 1 MiB are there for a later process to send again."""
        cdef Header *header = self.mapping.open()
        cdef uint64_t turn = header.turn + 1
        self._put_positions(turn, positions)
        if messages:
            self._put_messages(turn, messages)
        store64(&header.turn, turn, RELEASE)
        self.legs.committed()
        self.calls.committed()

    cdef _put_positions(self, uint64_t turn, positions):
        cdef Positions *into
        cdef uint64_t at = 0
        if len(positions) > MOST_POSITIONS:
            raise ValueError(f"positions are at most {MOST_POSITIONS}")
        into = self.positions_at(_for_turn(&self.positions_at(0).stamp, &self.positions_at(1).stamp, turn))
        for value in positions:
            into.values[at] = value
            at += 1
        into.count = at

    cdef _put_messages(self, uint64_t turn, messages):
        cdef Outbox *into = self.outbox_at(_for_turn(&self.outbox_at(0).stamp, &self.outbox_at(1).stamp, turn))
        cdef uint64_t at = 0, length
        cdef bytes message
        for flow, message in messages:
            length = len(message)
            if at + 16 + length + 7 > sizeof(into.messages):
                break
            (<uint64_t *>(into.messages + at))[0] = flow
            (<uint64_t *>(into.messages + at))[1] = length
            memcpy(into.messages + at + 16, PyBytes_AsString(message), length)
            at += 16 + (length + 7 & ~<uint64_t>7)
        into.used = at

    def left(self):
        """The messages of the last commit are where the core sees them."""
        cdef Header *header = self.mapping.open()
        store64(&header.left, header.turn, RELEASE)

    def close(self):
        """Unmap; the slots stay for the next process."""
        self.mapping.close()


def create_slots(calls):
    """A memory for the slots of so many calls; returns its file descriptor. Called once, by the supervisor."""
    fd = os.memfd_create("switchroom-slots", os.MFD_CLOEXEC)
    try:
        Slots.make(fd, calls)
    except BaseException:
        os.close(fd)
        raise
    return fd
