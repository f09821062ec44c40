"""The io_uring datapaths: one completion ring per worker for all its ports, no system call per packet.

Every socket has a multishot recvmsg armed that takes buffers from one provided-buffer ring; sends are queued and go to the kernel
with the same io_uring_enter that waits for the next packets. A UDP send copies at once, so its buffer is free when that call
returns; a connected socket's names no address. Needs Linux 6.1 (DEFER_TASKRUN, multishot recvmsg, sendto) and no privilege; raw system calls, so no library either.

Where the kernel can (6.12) and packets come densely, a wait gathers GATHER of them or GATHER_US microseconds' worth before it wakes
the worker: much of a packet's cost is the wake-up. A few calls need no saving, so their packets go on at once.

`raw` is the same with one receive instead of thousands: a socket that hears all ports of the worker's legs (receiver.py), for a machine
where that is allowed, over IPv4. Ports are looked up in a table. What is relayed to a connected far end leaves by the same
socket, with the headers written into the room of those it came with; all else by the ports' own sockets as ever.

Overload. A socket whose receive has ended because no buffer was left waits, with its packets in the socket, in a queue. While
completions are left over nothing new is taken in; when they are worked off, as many sockets of the queue are armed as surely find
buffers, and they come before those that are still armed. So a flooded port gets its turn and no more, and no work is thrown away.
"""

from libc.errno cimport ENODEV, ENOMEM, errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from media_core.shared.abi cimport counters_at, leg_at, worker_of
from media_core.shared.atomic cimport ACQUIRE, RELAXED, RELEASE, SEQ_CST, fence, load32, store16, store32
from media_core.relay.io_uring cimport (
    MAP_ANONYMOUS, MAP_FAILED, MAP_POPULATE, MAP_PRIVATE, MAP_SHARED, POLLIN, PROT_READ, PROT_WRITE, close, mmap, munmap, syscall,
    SYS_io_uring_enter, SYS_io_uring_register, SYS_io_uring_setup,
    IORING_SETUP_CQSIZE, IORING_SETUP_CLAMP, IORING_SETUP_R_DISABLED, IORING_SETUP_SINGLE_ISSUER, IORING_SETUP_DEFER_TASKRUN,
    IORING_ENTER_GETEVENTS, IORING_ENTER_EXT_ARG, IORING_REGISTER_FILES, IORING_REGISTER_PBUF_RING, IORING_REGISTER_ENABLE_RINGS,
    IORING_OP_SEND, IORING_OP_RECV, IORING_OP_RECVMSG, IORING_OP_POLL_ADD, IORING_RECV_MULTISHOT, IORING_POLL_ADD_MULTI, IOSQE_FIXED_FILE,
    IOSQE_BUFFER_SELECT, IOSQE_CQE_SKIP_SUCCESS, IORING_CQE_F_BUFFER, IORING_CQE_F_MORE, IORING_CQE_BUFFER_SHIFT, IORING_OFF_SQ_RING,
    IORING_OFF_SQES, io_uring_params, io_uring_sqe, io_uring_cqe, io_uring_buf_reg,
)
from media_core.relay.ipv4 cimport IPV4_HEADERS, Datagram, ipv4_read, ipv4_write
from media_core.relay.leg cimport family
from media_core.relay.relay cimport BATCH, COMMON_BUFFER, PACKET_LARGEST, PACKET_ROOM, Datapath, Packet, Worker
from media_core.relay.rtp cimport store16 as write16

cdef extern from "<sys/socket.h>" nogil:
    enum: AF_INET, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_TRUNC
    struct msghdr:
        void *msg_name
        uint32_t msg_namelen

cdef enum:
    SQ_ENTRIES = 1024
    CQ_ENTRIES = 8192
    BUFFERS = 1024              # a power of two; as few as do, so that the lines in use stay in the cache
    STRIDE = PACKET_ROOM + 64   # from buffer to buffer; a power of two would put all of them into the same few sets
    NAME_ROOM = 28
    PREFIX = 16 + NAME_ROOM     # struct io_uring_recvmsg_out and the address stand before the payload
    GATHER = 48
    GATHER_US = 500
    GATHER_MS = 1               # to wait at most while gathering: what other workers give wakes nobody then
    DENSE = 50                  # packets in LOOK_NS that make gathering worth while: 50 calls, each 100 a second both ways together
    LOOK_NS = 10000000
    FEATURE_MIN_TIMEOUT = 1 << 15
    KIND_RECEIVE = 0            # user_data >> 32
    KIND_SEND = 1
    KIND_WAKE = 2

cdef struct Buffer:             # struct io_uring_buf; the ring's tail stands in the first one's last field
    uint64_t address
    uint32_t length
    uint16_t id
    uint16_t tail

cdef struct Arrival:            # struct io_uring_recvmsg_out
    uint32_t name_length
    uint32_t control_length
    uint32_t payload_length
    uint32_t flags

cdef struct Timespec:           # struct __kernel_timespec
    int64_t seconds
    int64_t nanoseconds

cdef struct Waiting:            # struct io_uring_getevents_arg
    uint64_t mask
    uint32_t mask_size
    uint32_t least_us           # until then wait for all that were asked for, then for one; 0 before Linux 6.12
    uint64_t timeout

cdef struct State:
    int fd
    bint enabled
    bint gathers
    # submission and completion rings
    uint8_t *rings
    size_t rings_size
    io_uring_sqe *sqes
    size_t sqes_size
    uint32_t *sq_head
    uint32_t *sq_tail
    uint32_t *cq_head
    uint32_t *cq_tail
    io_uring_cqe *cqes
    uint32_t sq_mask
    uint32_t cq_mask
    uint32_t tail               # of the submission ring, ours
    uint32_t unsubmitted
    # buffers
    Buffer *provided
    uint8_t *data
    size_t data_size
    uint16_t provided_tail
    uint32_t held_count         # buffers of packets that are queued to be sent
    uint16_t held[4 * BATCH]
    uint32_t given              # buffers ever given to the kernel, and ever got back with a packet
    uint32_t arrived
    # how densely packets come
    uint32_t least              # to wait for
    uint32_t looked_come
    uint64_t look
    # sockets whose receive has ended: a queue
    uint32_t *unarmed
    uint32_t unarmed_room
    uint32_t unarmed_first
    uint32_t unarmed_count
    msghdr shape
    uint32_t *by_port           # raw: the port's socket + 1, 0: not ours; NULL: each port is listened to
    uint16_t *port_of           # raw: of each leg, as it stands in a packet


cdef inline uint32_t raw_place(const Worker *worker) noexcept nogil:
    """Where the raw socket stands among the registered ones."""
    return 2 * worker.legs + worker.number


cdef void submit(State *state) noexcept nogil:
    """Hand the queue over without taking completions in."""
    cdef int attempt
    store32(state.sq_tail, state.tail, RELEASE)
    for attempt in range(100):  # the kernel may take a part when it is short of memory
        syscall(SYS_io_uring_enter, state.fd, state.unsubmitted, 0, 0, NULL, 0)
        state.unsubmitted = state.tail - load32(state.sq_head, ACQUIRE)
        if state.unsubmitted == 0:
            break


cdef void enter(State *state, uint32_t least, int milliseconds) noexcept nogil:
    """Submit what is queued; with `least`, wait for so many completions, or for one, or for the time to pass."""
    cdef Waiting waiting
    cdef Timespec timeout
    memset(&waiting, 0, sizeof(Waiting))
    timeout.seconds = milliseconds // 1000
    timeout.nanoseconds = <int64_t>(milliseconds % 1000) * 1000000
    waiting.timeout = <uint64_t>&timeout
    if least > 1:
        waiting.least_us = GATHER_US
    store32(state.sq_tail, state.tail, RELEASE)
    syscall(SYS_io_uring_enter, state.fd, state.unsubmitted, least, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &waiting, sizeof(Waiting))
    # Every failure (time passed, a signal, a full completion ring) means the same here: look at what has come, then try again.
    state.unsubmitted = state.tail - load32(state.sq_head, ACQUIRE)
    if state.unsubmitted:
        submit(state)


cdef io_uring_sqe *next_entry(State *state) noexcept nogil:
    """A cleared submission entry; the queue is handed over first when it is full."""
    cdef io_uring_sqe *entry
    while state.tail - load32(state.sq_head, ACQUIRE) > state.sq_mask:
        submit(state)
    entry = &state.sqes[state.tail & state.sq_mask]
    memset(entry, 0, sizeof(io_uring_sqe))
    state.tail += 1
    state.unsubmitted += 1
    return entry


cdef void give_back(State *state, uint16_t buffer) noexcept nogil:
    cdef Buffer *slot = &state.provided[state.provided_tail & (BUFFERS - 1)]
    slot.address = <uint64_t>(state.data + <size_t>buffer * STRIDE)
    slot.length = PACKET_LARGEST + PREFIX
    slot.id = buffer
    state.provided_tail += 1
    state.given += 1


cdef void arm(State *state, uint32_t socket) noexcept nogil:
    cdef io_uring_sqe *entry = next_entry(state)
    entry.fd = socket
    entry.flags = IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT
    entry.ioprio = IORING_RECV_MULTISHOT
    if state.by_port != NULL:
        entry.opcode = IORING_OP_RECV
    else:
        entry.opcode = IORING_OP_RECVMSG
        entry.addr = <uint64_t>&state.shape
        entry.len = 1
    entry.user_data = <uint64_t>KIND_RECEIVE << 32 | socket


cdef void arm_wake(State *state, int fd) noexcept nogil:
    cdef io_uring_sqe *entry = next_entry(state)
    entry.opcode = IORING_OP_POLL_ADD
    entry.fd = fd
    entry.poll32_events = POLLIN
    entry.len = IORING_POLL_ADD_MULTI  # edge-triggered: each signal is one completion
    entry.user_data = <uint64_t>KIND_WAKE << 32 | <uint32_t>fd


cdef int map_rings(State *state, io_uring_params *params) noexcept nogil:
    cdef size_t submissions = params.sq_off.array + params.sq_entries * sizeof(uint32_t)
    cdef size_t completions = params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe)
    cdef uint32_t at
    cdef uint32_t *order
    cdef void *place
    state.rings_size = submissions if submissions > completions else completions
    place = mmap(NULL, state.rings_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, state.fd, IORING_OFF_SQ_RING)
    if place == MAP_FAILED:
        return -errno
    state.rings = <uint8_t *>place
    state.sqes_size = params.sq_entries * sizeof(io_uring_sqe)
    place = mmap(NULL, state.sqes_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, state.fd, IORING_OFF_SQES)
    if place == MAP_FAILED:
        return -errno
    state.sqes = <io_uring_sqe *>place
    state.sq_head = <uint32_t *>(state.rings + params.sq_off.head)
    state.sq_tail = <uint32_t *>(state.rings + params.sq_off.tail)
    state.sq_mask = (<uint32_t *>(state.rings + params.sq_off.ring_mask))[0]
    state.cq_head = <uint32_t *>(state.rings + params.cq_off.head)
    state.cq_tail = <uint32_t *>(state.rings + params.cq_off.tail)
    state.cq_mask = (<uint32_t *>(state.rings + params.cq_off.ring_mask))[0]
    state.cqes = <io_uring_cqe *>(state.rings + params.cq_off.cqes)
    order = <uint32_t *>(state.rings + params.sq_off.array)
    for at in range(params.sq_entries):
        order[at] = at
    state.tail = state.sq_tail[0]
    return 0


cdef int provide(State *state) noexcept nogil:
    """One area for the ring of buffers and the buffers, page-aligned."""
    cdef io_uring_buf_reg registration
    cdef size_t ring_size = BUFFERS * sizeof(Buffer)
    cdef void *place
    cdef uint32_t at
    state.data_size = ring_size + <size_t>BUFFERS * STRIDE
    place = mmap(NULL, state.data_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0)
    if place == MAP_FAILED:
        return -errno
    state.provided = <Buffer *>place
    state.data = <uint8_t *>place + ring_size
    memset(&registration, 0, sizeof(registration))
    registration.ring_addr = <uint64_t>place
    registration.ring_entries = BUFFERS
    if syscall(SYS_io_uring_register, state.fd, IORING_REGISTER_PBUF_RING, &registration, 1) < 0:
        return -errno
    for at in range(BUFFERS):
        give_back(state, <uint16_t>at)
    store16(&state.provided[0].tail, state.provided_tail, RELEASE)
    return 0


cdef int uring_open(Worker *worker) noexcept nogil:
    """Made disabled by the main thread, enabled by the worker's, which is then its single issuer."""
    cdef State *state = <State *>calloc(1, sizeof(State))
    cdef io_uring_params params
    cdef int status
    if state == NULL:
        return -ENOMEM
    worker.state = state
    state.fd = -1
    state.unarmed_room = 2 * worker.legs + 1
    state.unarmed = <uint32_t *>calloc(state.unarmed_room, sizeof(uint32_t))
    if state.unarmed == NULL:
        return -ENOMEM
    state.shape.msg_namelen = NAME_ROOM
    memset(&params, 0, sizeof(params))
    params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN
    params.cq_entries = CQ_ENTRIES
    state.fd = <int>syscall(SYS_io_uring_setup, SQ_ENTRIES, &params)
    if state.fd < 0:
        return -errno
    state.gathers = params.features & FEATURE_MIN_TIMEOUT != 0
    status = map_rings(state, &params)
    if status == 0:
        status = provide(state)
    if status == 0 and worker.legs and syscall(SYS_io_uring_register, state.fd, IORING_REGISTER_FILES, worker.sockets,
                                              2 * worker.legs + (worker.memory.workers if worker.raw >= 0 else 0)) < 0:
        status = -errno
    return status


cdef int raw_open(Worker *worker) noexcept nogil:
    cdef State *state
    cdef uint32_t leg
    cdef int status
    if worker.raw < 0 or family(worker.memory.local.address) != AF_INET:
        return -ENODEV
    status = uring_open(worker)
    if status < 0:
        return status
    state = <State *>worker.state
    state.by_port = <uint32_t *>calloc(65536, sizeof(uint32_t))
    state.port_of = <uint16_t *>calloc(worker.legs + 1, sizeof(uint16_t))
    if state.by_port == NULL or state.port_of == NULL:
        return -ENOMEM
    for leg in range(worker.legs):
        if worker_of(worker.memory, leg) == worker.number:
            state.by_port[leg_at(worker.memory, leg).port + 1 & 0xFFFF] = 2 * leg + 2
    for leg in range(worker.legs):
        if worker_of(worker.memory, leg) == worker.number:
            state.by_port[leg_at(worker.memory, leg).port] = 2 * leg + 1
        write16(<uint8_t *>&state.port_of[leg], <uint16_t>leg_at(worker.memory, leg).port)
    return 0


cdef void begin(Worker *worker, State *state) noexcept nogil:
    cdef uint32_t leg = worker.number
    syscall(SYS_io_uring_register, state.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0)
    state.enabled = True
    arm_wake(state, worker.core_wake)
    arm_wake(state, worker.wake)
    if state.by_port != NULL:
        arm(state, raw_place(worker))
        return
    while leg < worker.legs:
        arm(state, 2 * leg)
        arm(state, 2 * leg + 1)
        leg += worker.memory.workers


cdef void take_back(State *state) noexcept nogil:
    """The sends that held these buffers are done."""
    cdef uint32_t at
    for at in range(state.held_count):
        give_back(state, state.held[at])
    state.held_count = 0
    store16(&state.provided[0].tail, state.provided_tail, RELEASE)


cdef void arm_waiting(State *state) noexcept nogil:
    """Nothing is left over, so the free buffers are known: arm as many waiting sockets as find one for sure."""
    cdef uint32_t free_buffers = state.given - state.arrived
    while state.unarmed_count and free_buffers > 1:
        arm(state, state.unarmed[state.unarmed_first])
        state.unarmed_first = (state.unarmed_first + 1) % state.unarmed_room
        state.unarmed_count -= 1
        free_buffers -= 2


cdef inline bint arrived(Worker *worker, State *state, const io_uring_cqe *cqe, Packet *packet) noexcept nogil:
    """A receive completion; True: it brought a packet."""
    cdef uint32_t socket = <uint32_t>cqe.user_data
    cdef uint16_t buffer
    cdef uint8_t *data
    cdef Arrival *arrival
    if not cqe.flags & IORING_CQE_F_MORE:
        state.unarmed[(state.unarmed_first + state.unarmed_count) % state.unarmed_room] = socket
        state.unarmed_count += 1
    if not cqe.flags & IORING_CQE_F_BUFFER:
        return False
    state.arrived += 1
    buffer = <uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT)
    data = state.data + <size_t>buffer * STRIDE
    arrival = <Arrival *>data
    packet.data = data + PREFIX
    packet.source = data + sizeof(Arrival)
    packet.length = arrival.payload_length if cqe.res >= PREFIX and not arrival.flags & MSG_TRUNC else 0
    packet.leg = socket >> 1
    packet.rtcp_socket = socket & 1
    packet.buffer = buffer
    return True


cdef inline bint heard(Worker *worker, State *state, const io_uring_cqe *cqe, Packet *packet) noexcept nogil:
    """A completion of the raw socket; True: it brought a packet for one of our ports. The source is put where the IP header was."""
    cdef uint16_t buffer
    cdef uint32_t socket, bound
    cdef uint8_t *data
    cdef Datagram datagram
    if not cqe.flags & IORING_CQE_F_MORE:
        state.unarmed[(state.unarmed_first + state.unarmed_count) % state.unarmed_room] = raw_place(worker)
        state.unarmed_count += 1
    if not cqe.flags & IORING_CQE_F_BUFFER:
        return False
    state.arrived += 1
    buffer = <uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT)
    data = state.data + <size_t>buffer * STRIDE
    if cqe.res <= 0 or not ipv4_read(data, <uint32_t>cqe.res, &datagram):
        give_back(state, buffer)
        return False
    memcpy(&bound, worker.memory.local.address + 4, 4)  # the ports may be bound to one of this machine's addresses only
    socket = state.by_port[datagram.port]
    if not socket or bound and bound != datagram.destination:
        counters_at(worker.memory, worker.number).stray += 1
        give_back(state, buffer)
        return False
    memcpy(data, datagram.source, 8)
    packet.source = data
    packet.data = datagram.data
    packet.length = datagram.length if datagram.length <= PACKET_LARGEST else 0
    packet.leg = socket - 1 >> 1
    packet.rtcp_socket = socket - 1 & 1
    packet.buffer = buffer
    return True


cdef bint look_round(Worker *worker, State *state) noexcept nogil:
    """Do packets come densely? True: not any more, so who has not woken us has counted on a round that is still due."""
    cdef bint before = worker.gathers
    cdef uint32_t come = state.arrived + worker.taken_in
    store32(&worker.gathers, state.gathers and come - state.looked_come >= DENSE, RELAXED)
    fence(SEQ_CST)
    state.least = GATHER if worker.gathers else 1
    state.looked_come = come
    state.look = worker.now + LOOK_NS
    return before and not worker.gathers


cdef int uring_collect(Worker *worker, int milliseconds) noexcept nogil:
    cdef State *state = <State *>worker.state
    cdef uint32_t head, tail, count = 0
    cdef io_uring_cqe *cqe
    cdef Packet *packet
    if not state.enabled:
        begin(worker, state)
    head = state.cq_head[0]
    if head != load32(state.cq_tail, ACQUIRE):
        if state.tail != state.sq_tail[0]:
            submit(state)
        take_back(state)
    else:
        arm_waiting(state)
        if worker.now >= state.look and look_round(worker, state) or state.unarmed_count:
            milliseconds = 0
        enter(state, state.least if milliseconds else 0, GATHER_MS if worker.gathers and milliseconds else milliseconds)
        take_back(state)
    tail = load32(state.cq_tail, ACQUIRE)
    while head != tail and count < BATCH:
        cqe = &state.cqes[head & state.cq_mask]
        if cqe.user_data >> 32 == KIND_RECEIVE:
            packet = &worker.batch[count]
            count += heard(worker, state, cqe, packet) if state.by_port != NULL else arrived(worker, state, cqe, packet)
        elif cqe.user_data >> 32 == KIND_SEND:
            leg_at(worker.memory, <uint32_t>cqe.user_data).sent.failed += 1
        elif not cqe.flags & IORING_CQE_F_MORE:
            arm_wake(state, <int>cqe.user_data & 0x7FFFFFFF)
        head += 1
    store32(state.cq_head, head, RELEASE)
    return count


cdef void uring_send(Worker *worker) noexcept nogil:
    """Queue the batch's sends; the next collect hands them over before it waits."""
    cdef State *state = <State *>worker.state
    cdef uint32_t at, local
    cdef Packet *packet
    cdef io_uring_sqe *entry
    for at in range(worker.count):
        packet = &worker.batch[at]
        if packet.to == NULL:
            if packet.buffer != COMMON_BUFFER:
                give_back(state, <uint16_t>packet.buffer)
            continue
        entry = next_entry(state)
        entry.opcode = IORING_OP_SEND
        entry.flags = IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS
        entry.msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL
        local = 0 if state.by_port == NULL else leg_at(worker.memory, packet.out).local
        if local and packet.connected:
            ipv4_write(packet.data, packet.length, local, state.port_of[packet.out], packet.to.address)
            entry.fd = raw_place(worker)
            entry.addr = <uint64_t>(packet.data - IPV4_HEADERS)
            entry.len = packet.length + IPV4_HEADERS
        else:
            entry.fd = packet.socket
            entry.addr = <uint64_t>packet.data
            entry.len = packet.length
        if not packet.connected or entry.fd == <int32_t>raw_place(worker):
            entry.addr2 = <uint64_t>packet.to.address
            entry.addr_len = <uint16_t>packet.to.length
        entry.user_data = <uint64_t>KIND_SEND << 32 | packet.out
        if packet.buffer != COMMON_BUFFER:
            state.held[state.held_count] = <uint16_t>packet.buffer
            state.held_count += 1


cdef void uring_flush(Worker *worker) noexcept nogil:
    submit(<State *>worker.state)


cdef void uring_close(Worker *worker) noexcept nogil:
    cdef State *state = <State *>worker.state
    if state == NULL:
        return
    if state.fd >= 0:
        close(state.fd)
    if state.rings != NULL:
        munmap(state.rings, state.rings_size)
    if state.sqes != NULL:
        munmap(state.sqes, state.sqes_size)
    if state.provided != NULL:
        munmap(state.provided, state.data_size)
    free(state.unarmed)
    free(state.by_port)
    free(state.port_of)
    free(state)
    worker.state = NULL


cdef Datapath raw_datapath() noexcept nogil:
    cdef Datapath face = uring_datapath()
    face.name, face.open = b"raw", raw_open
    return face


cdef Datapath uring_datapath() noexcept nogil:
    cdef Datapath face
    face.name, face.open = b"io_uring", uring_open
    face.collect = uring_collect
    face.send = uring_send
    face.flush = uring_flush
    face.close = uring_close
    return face
