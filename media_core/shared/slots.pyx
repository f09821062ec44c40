"""The memory under a turn of `calls`: slots of legs and calls, what waited to be sent, and how far the rings were read.

A memfd of the supervisor, mapped by every `calls` process in turn, so it lives exactly as long as the product and is never on a disk
(slots hold SDES keys). Everything stands in two halves. What a turn writes goes into the older half, stamped with the number of
that turn, which is one above the counter; the newer half stays as it was. One aligned 8-byte store of the counter makes all of the
turn count at once. So a kill at any instruction leaves the last committed turn readable: whoever attaches takes of each pair the half
with the highest stamp not above the counter, and first clears what stands above it. No checksum is needed, for a killed process
leaves every store before the kill and none behind it, in the order of the program.

    Header (a page)      number of the layout, sizes, the counter, `left`
    Half[2] per slot     stamp, length: all that is read of slots that are not in use, so those take no memory
    payloads             per slot two halves, on their own pages; what is behind the length of a committed half is zero
    positions            two halves of stamp, count, numbers
    outbox               two halves of stamp, octets used, messages

Sizes are those of the header, whoever wrote it; slots that need more are made beside these and take their place (slot_memory.pyx).

Bytes only: what they mean is known above. A slot that has never been written or has been freed has no stamp and holds nothing.
"""

import heapq
import os

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from media_core.shared.atomic cimport RELEASE, fence, store64
from media_core.shared.slot_memory cimport (
    CALL_BYTES, LEG_BYTES, MOST_CALLS, MOST_POSITIONS, PAGE, Half, Header, Mapping, Outbox, Place, Positions, lay_out_slots, legs_of, whole_pages,
)


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

    cdef Mapping mapping
    cdef Place place
    cdef readonly uint64_t capacity
    cdef uint64_t used
    cdef list free_slots        # a heap
    cdef list leaving           # freed in this turn; wiped and free when it counts
    cdef bytearray claimed

    def __init__(self, Mapping mapping, bint calls):
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

    cdef Mapping mapping
    cdef readonly Area legs
    cdef readonly Area calls

    def __init__(self, int fd, uint64_t _at=0):
        cdef Positions *positions
        cdef Outbox *outbox
        cdef int number
        self.mapping = Mapping(fd, _at)
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
    def make(int fd, uint64_t calls, *, leg_bytes=LEG_BYTES, call_bytes=CALL_BYTES):
        """Make all slots anew, free, whatever the memory held. ValueError: calls is not 1 to 32768."""
        cdef Header header
        if not 1 <= calls <= MOST_CALLS:
            raise ValueError(f"calls are 1 to {MOST_CALLS}")
        lay_out_slots(&header, legs_of(calls), leg_bytes, calls, call_bytes)
        os.ftruncate(fd, 0)
        os.ftruncate(fd, header.size)
        os.pwrite(fd, (<char *>&header)[:sizeof(Header)], 0)

    @staticmethod
    def beside(int fd, uint64_t calls, Slots than=None):
        """Slots made anew behind what the memory holds, which counts until take_place(). They have room for so many calls, and nowhere less
        than those of `than`. ValueError: calls is not 1 to 32768."""
        cdef Header header
        cdef Header *least
        cdef uint64_t at, legs = legs_of(calls), leg_bytes = LEG_BYTES, call_bytes = CALL_BYTES
        if not 1 <= calls <= MOST_CALLS:
            raise ValueError(f"calls are 1 to {MOST_CALLS}")
        if than is not None:
            least = than.mapping.open()
            legs, leg_bytes = max(legs, least.legs.slots), max(leg_bytes, least.legs.half_bytes)
            calls, call_bytes = max(calls, least.call.slots), max(call_bytes, least.call.half_bytes)
        lay_out_slots(&header, legs, leg_bytes, calls, call_bytes)
        at = max(<uint64_t>PAGE, whole_pages(os.fstat(fd).st_size))
        os.ftruncate(fd, at + header.size + PAGE)
        os.pwrite(fd, (<char *>&header)[:sizeof(Header)], at)
        return Slots(fd, at)

    def take_place(self):
        """From now on these are the slots of the memory; what it held before is gone. What had been made so by another process stays so."""
        self.mapping.open()
        self.mapping.take_place()

    def suffice(self, uint64_t calls):
        """Are they as many and as large as slots would be made now for so many calls?"""
        cdef Header *header = self.mapping.open()
        return (header.legs.slots >= legs_of(calls) and header.call.slots >= calls
                and header.legs.half_bytes >= LEG_BYTES and header.call.half_bytes >= CALL_BYTES)

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

    @property
    def failure(self):
        """What a process before this one has said of the turn that comes next: see fail(). 0: nothing."""
        cdef Header *header = self.mapping.open()
        return header.failed & 3 if header.failed >> 2 == header.turn + 1 else 0

    def fail(self, bint alone):
        """The turn that comes next cannot be committed. 1: it has read several inputs, 2: one alone, so that this one is known."""
        cdef Header *header = self.mapping.open()
        store64(&header.failed, header.turn + 1 << 2 | 1 + alone, RELEASE)

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
