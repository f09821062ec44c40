"""SIP sockets as numbered flows of bytes: the one thread that owns all UDP listeners and TCP and TLS connections.

It waits in epoll, takes commands from one ring and tells events in another (flow_table), and leaves the interpreter alone. Streams
give whole SIP messages (framing); keepalives are answered here. When the client does not keep up, nothing is lost that need not be:
streams are not read, so their senders wait; datagrams are dropped and counted.

The table is in shared memory. A client that starts anew finds the flows there. A loop that starts on a used table (the core was
killed) tells FlowClosed for every stream, whose sockets died with the old process, and goes on with the UDP flows, whose listeners
belong to the supervisor.
"""

from libc.errno cimport EINTR, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from posix.unistd cimport close, write

import os
import socket
from typing import NamedTuple

from media_core.shared.atomic cimport RELAXED, RELEASE, store32, store64
from media_core.flows.flow_datagram cimport (
    datagram_adopt, datagram_close, datagram_dial, datagram_keep, datagram_prepare, datagram_receive, datagram_room, datagram_send,
)
from media_core.flows.flow_state cimport (
    NONE, RESERVE, SCRATCH, TAG_LISTENER, TAG_STOP, TAG_WAKE, UDP, Conn, FlowLimits, Listener, Peer, clock_ms, enqueue, entry_state, full, pay_owed,
)
from media_core.flows.flow_connect cimport stream_accept, stream_dial
from media_core.flows.flow_stream cimport stream_close, stream_keep, stream_send, stream_serve, stream_shut, stream_tick
from media_core.flows.flow_places cimport places_close, places_open
from media_core.flows.flow_table cimport (
    FLOW_DIAL, FLOW_FREE, FLOW_KEEP, FLOW_LISTENERS, FLOW_OPEN, FLOW_OPENING, FLOW_OWED, FLOW_SEND, FLOW_SHUT, DialBody, FlowArea,
    FlowEntry, endpoint_set, flow_at, flows_area_valid,
)
from media_core.flows.flow_unreachable cimport unreachable_listen, unreachable_read
from media_core.shared.ring cimport RING_MAX, Record, Ring, ring_empty, ring_front, ring_payload, ring_pop, ring_valid
from media_core.flows.tls cimport TlsContext

from media_core.records import Transport

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data:
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int what, int fd, epoll_event *event)
    int epoll_wait(int epoll, epoll_event *events, int room, int timeout)
    const uint32_t EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR, EPOLLET
    const int EPOLL_CTL_ADD, EPOLL_CLOEXEC

cdef extern from "malloc.h" nogil:
    int malloc_trim(size_t keep)

cdef uint32_t most_streams = 0  # since memory was given back last; a core has one loop

cdef enum:
    EVENTS = 256            # of one epoll_wait
    COMMANDS = 1024         # of one round
    CROWD = 256             # connections, from which on their memory is worth giving back
    STARVED_WAIT = 50       # ms between looks at a full event ring, should its reader's signal be lost with the reader


class Limits(NamedTuple):
    """What a peer may cost. Milliseconds, bytes; see flow_stream for what each protects against."""

    connect: int = 10_000
    handshake: int = 5_000
    first_message: int = 10_000
    message: int = 15_000
    idle: int = 7_200_000
    write_stall: int = 30_000
    unproved: int = 35_000
    grace: int = 5_000
    answer: int = 32_000
    tick: int = 500
    write_bytes: int = 262_144
    user_timeout: int = 30_000
    keepalive_seconds: int = 45


# ---- one round ------------------------------------------------------------------------------------------------------

cdef void sort_event(Loop *loop, epoll_event *event) noexcept nogil:
    """Remember what an event says; nothing is done yet."""
    cdef uint32_t tag = <uint32_t>event.data.u64
    cdef Conn *conn
    if tag == TAG_WAKE:
        return
    if tag == TAG_STOP:
        loop.stopping = True
    elif tag >= TAG_LISTENER:
        loop.listener[tag - TAG_LISTENER].pending = 1
        if event.events & EPOLLERR:
            loop.listener[tag - TAG_LISTENER].troubled = 1
    elif flow_at(loop.area, tag).generation == event.data.u64 >> 32:
        conn = &loop.conn[tag]
        if event.events & (EPOLLOUT | EPOLLHUP | EPOLLERR):
            conn.writable = 1
        if event.events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            conn.readable = 1
        enqueue(loop, tag)


cdef void obey(Loop *loop, Record *command) noexcept nogil:
    cdef uint32_t index = <uint32_t>command.id, generation = command.id >> 32
    cdef FlowEntry *entry
    cdef DialBody *wanted
    cdef bint udp
    if index >= loop.area.count:
        return
    entry = flow_at(loop.area, index)
    if command.type == FLOW_DIAL:
        # Another generation is there: told twice, or the client was restarted in between. Its FlowClosed comes anyway.
        if command.length != sizeof(DialBody) or index >= loop.area.dial_end or entry.state != FLOW_FREE:
            return
        wanted = <DialBody *>ring_payload(command)
        if wanted.transport == UDP:
            datagram_dial(loop, index, generation, wanted)
        else:
            stream_dial(loop, index, generation, wanted)
        return
    if entry.generation != generation or (entry.state != FLOW_OPEN and entry.state != FLOW_OPENING):
        loop.count.dropped_send += command.type == FLOW_SEND
        return
    udp = entry.body.transport == UDP
    if command.type == FLOW_SEND:
        loop.count.messages_out += 1
        if udp:
            datagram_send(loop, index, ring_payload(command), command.length)
        else:
            stream_send(loop, index, ring_payload(command), command.length)
    elif command.type == FLOW_SHUT:
        if udp:
            datagram_close(loop, index, b"shut")
        else:
            stream_shut(loop, index)
    elif command.type == FLOW_KEEP and command.length == 1:
        if udp:
            datagram_keep(loop, index, ring_payload(command)[0] != 0)
        else:
            stream_keep(loop, index, ring_payload(command)[0] != 0)


cdef void obey_all(Loop *loop) noexcept nogil:
    cdef Record *command
    cdef int n
    for n in range(COMMANDS):
        command = ring_front(loop.commands)
        if command == NULL:
            return
        obey(loop, command)
        ring_pop(loop.commands)


cdef void serve_streams(Loop *loop) noexcept nogil:
    """One turn for each stream in the queue."""
    cdef uint32_t turns = loop.run_count, index
    while turns:
        turns -= 1
        index = loop.run[loop.run_first]
        loop.run_first = (loop.run_first + 1) % loop.area.count
        loop.run_count -= 1
        loop.conn[index].queued = 0
        stream_serve(loop, index)


cdef bint serve_listeners(Loop *loop) noexcept nogil:
    """Is there more to take?"""
    cdef uint32_t n
    cdef Listener *listener
    cdef bint more = False
    for n in range(loop.listeners):
        listener = &loop.listener[n]
        if listener.troubled and listener.transport == UDP:
            unreachable_read(loop, listener, n)
            more = more or listener.troubled
        if listener.pending:
            if listener.transport == UDP:
                datagram_receive(loop, listener, n)
            else:
                stream_accept(loop, listener)
            more = more or listener.pending
    return more


cdef void give_back_memory(Loop *loop) noexcept nogil:
    """After a crowd of connections has gone: a TLS one takes some 13 kB, in pieces that the allocator would keep."""
    global most_streams
    cdef uint32_t streams = loop.area.count - loop.area.udp_end - loop.free_stream_count
    most_streams = max(most_streams, streams)
    if most_streams >= CROWD and streams <= most_streams // 2:
        malloc_trim(0)
        most_streams = streams


cdef void tick(Loop *loop) noexcept nogil:
    """Limits of time; connections that could not be accepted before."""
    cdef uint32_t index, n
    cdef uint64_t silence
    cdef FlowEntry *entry
    loop.next_tick = loop.now + loop.limits.tick
    store64(&loop.area.beat, 1000000 * loop.now, RELAXED)
    for index in range(loop.area.count):
        entry = flow_at(loop.area, index)
        if entry.state != FLOW_OPEN and entry.state != FLOW_OPENING:
            continue
        if entry.body.transport != UDP:
            stream_tick(loop, index)
        elif not entry.kept:
            silence = loop.limits.idle if index < loop.area.dial_end else loop.limits.unproved
            if loop.now - entry.seen > silence:
                datagram_close(loop, index, b"silent for too long")
    give_back_memory(loop)
    for n in range(loop.listeners):
        loop.listener[n].pending = 1
        loop.listener[n].errors = 0
        if loop.listener[n].deaf:
            unreachable_listen(&loop.listener[n], True)


cdef int flows_run(Loop *loop) noexcept nogil:
    """Until stop. 0, or errno when epoll fails."""
    cdef epoll_event events[EVENTS]
    cdef int count, n, timeout
    cdef bint more = True, starved
    cdef uint64_t one = 1
    loop.now = clock_ms()
    adopt(loop)
    if write(loop.calls_wake, &one, 8) != 8:
        return errno
    while not loop.stopping:
        starved = full(loop, RESERVE)
        timeout = <int>(loop.next_tick - loop.now) if loop.next_tick > loop.now else 0
        if starved:
            timeout = min(timeout, STARVED_WAIT)
        elif more:
            timeout = 0
        count = epoll_wait(loop.epoll, events, EVENTS, timeout)
        if count < 0 and errno != EINTR:
            return errno
        loop.now = clock_ms()
        for n in range(count):
            sort_event(loop, &events[n])
        obey_all(loop)
        if not full(loop, RESERVE):
            store32(&loop.area.starved, 0, RELEASE)
            if loop.owed:
                pay_owed(loop)
        serve_streams(loop)
        more = serve_listeners(loop)
        more = more or loop.run_count > 0 or not ring_empty(loop.commands)
        if loop.now >= loop.next_tick:
            tick(loop)
    return 0


# ---- begin and end --------------------------------------------------------------------------------------------------

cdef void adopt(Loop *loop) noexcept nogil:
    """Make the table and the loop's own books agree. A torn entry belongs to nobody but its FlowClosed is owed."""
    cdef uint32_t index
    cdef FlowEntry *entry
    loop.area.starts += 1
    for index in range(loop.area.count):
        entry = flow_at(loop.area, index)
        if entry.sequence & 1:
            entry.sequence += 1
            if entry.state != FLOW_FREE:
                entry_state(loop, index, FLOW_OWED, b"core restarted")
        if entry.state == FLOW_OPEN or entry.state == FLOW_OPENING:
            if entry.body.transport != UDP or not datagram_adopt(loop, index):
                entry_state(loop, index, FLOW_OWED, b"core restarted")
        if entry.state == FLOW_OWED:
            loop.owed += 1
        elif entry.state == FLOW_FREE and index >= loop.area.udp_end:
            loop.free_stream[loop.free_stream_count] = index
            loop.free_stream_count += 1
        elif entry.state == FLOW_FREE and index >= loop.area.dial_end:
            loop.free_udp[loop.free_udp_count] = index
            loop.free_udp_count += 1
    pay_owed(loop)


cdef void finish(Loop *loop) noexcept nogil:
    """An orderly end: what was sent goes out as far as the kernel takes it, peers are told."""
    cdef uint32_t index
    for index in range(loop.area.count):
        stream_close(loop, index, b"core stopped", True)


cdef class FlowLoop:
    """The flows thread: `run` leaves the interpreter and returns after `stop`, which any thread may call."""

    cdef Loop loop
    cdef object server
    cdef object before
    cdef object client
    cdef object sockets

    def __cinit__(self):
        memset(&self.loop, 0, sizeof(Loop))
        self.loop.epoll = self.loop.stop_wake = -1

    def __init__(self, uint64_t area, uint64_t commands, uint64_t events, int core_wake, int calls_wake, sip, tls, limits=None):
        """area, commands, events: addresses in the mapped memory. sip: SipSocket sequence, always in the same order.
        tls: TlsFiles or None (then TLS listeners are refused). ValueError, OSError: what cannot be used."""
        cdef Loop *loop = &self.loop
        loop.area = <FlowArea *>area
        loop.commands = <Ring *>commands
        loop.events = <Ring *>events
        if not flows_area_valid(loop.area, <uint64_t>-1):
            raise ValueError("no flow area here")
        if not ring_valid(loop.commands, <uint64_t>-1) or not ring_valid(loop.events, <uint64_t>-1):
            raise ValueError("no ring here")
        if loop.events.capacity < 4 * RING_MAX:
            raise ValueError("the event ring is too small")
        loop.count = &loop.area.counters
        self.set_limits(limits or Limits())
        self.client = TlsContext(False)
        loop.tls_client = (<TlsContext>self.client).context
        if tls is not None:
            self.renew(tls)
        self.make_books()
        loop.epoll = epoll_create1(EPOLL_CLOEXEC)
        if loop.epoll < 0:
            raise OSError(errno, os.strerror(errno))
        loop.wake, loop.calls_wake = core_wake, calls_wake
        loop.stop_wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.watch(loop.wake, TAG_WAKE)
        self.watch(loop.stop_wake, TAG_STOP)
        self.sockets = list(sip)
        if len(self.sockets) > FLOW_LISTENERS:
            raise ValueError(f"more than {FLOW_LISTENERS} SIP sockets")
        for number, given in enumerate(self.sockets):
            self.listen(number, given.fd, given.transport)
        store32(&loop.area.listeners, loop.listeners, RELEASE)

    cdef int set_limits(self, limits) except -1:
        cdef FlowLimits *own = &self.loop.limits
        own.connect, own.handshake, own.first_message = limits.connect, limits.handshake, limits.first_message
        own.message, own.idle, own.write_stall = limits.message, limits.idle, limits.write_stall
        own.unproved, own.grace, own.answer = limits.unproved, limits.grace, limits.answer
        own.tick, own.write_bytes = max(1, limits.tick), limits.write_bytes
        own.user_timeout, own.keepalive = limits.user_timeout, limits.keepalive_seconds
        return 0

    cdef int make_books(self) except -1:
        cdef Loop *loop = &self.loop
        cdef uint32_t count = loop.area.count, n
        loop.mask = (1 << int(count).bit_length()) - 1
        loop.seed = int.from_bytes(os.urandom(8), "little")
        loop.conn = <Conn *>calloc(count, sizeof(Conn))
        loop.peer = <Peer *>calloc(count, sizeof(Peer))
        loop.bucket = <uint32_t *>calloc(loop.mask + 1, sizeof(uint32_t))
        loop.free_udp = <uint32_t *>calloc(count, sizeof(uint32_t))
        loop.free_stream = <uint32_t *>calloc(count, sizeof(uint32_t))
        loop.run = <uint32_t *>calloc(count, sizeof(uint32_t))
        loop.scratch = <uint8_t *>calloc(SCRATCH, 1)
        loop.batch = calloc(datagram_room(), 1)
        if not (loop.conn and loop.peer and loop.bucket and loop.free_udp and loop.free_stream and loop.run
                and loop.scratch and loop.batch and places_open(&loop.unproved_udp, count, loop.seed)
                and places_open(&loop.unproved_streams, count, loop.seed)):
            raise MemoryError("flows")
        for n in range(loop.mask + 1):
            loop.bucket[n] = NONE
        return 0

    cdef int watch(self, int fd, uint64_t tag) except -1:
        """Edge-triggered: each signal and each arrival wakes once, whoever else watches the same descriptor."""
        cdef epoll_event event
        event.events = EPOLLIN | EPOLLET
        event.data.u64 = tag
        if epoll_ctl(self.loop.epoll, EPOLL_CTL_ADD, fd, &event):
            raise OSError(errno, os.strerror(errno))
        return 0

    cdef int listen(self, uint32_t number, int fd, transport) except -1:
        cdef Listener *listener = &self.loop.listener[number]
        if transport == Transport.TLS and self.server is None:
            raise ValueError("a TLS listener needs a certificate")
        os.set_blocking(fd, False)
        own = socket.socket(fileno=os.dup(fd))
        try:
            host, port = own.getsockname()[:2]
            if own.type != (socket.SOCK_DGRAM if transport == Transport.UDP else socket.SOCK_STREAM):
                raise ValueError(f"socket {fd} is not of the kind {transport.name} needs")
        finally:
            own.close()
        listener.fd, listener.transport, listener.pending = fd, transport, 1
        endpoint_set(&listener.local, host.partition("%")[0], port)
        if transport == Transport.UDP:
            datagram_prepare(listener)
            unreachable_listen(listener, True)
        self.watch(fd, TAG_LISTENER + number)
        memset(&self.loop.area.listener[number], 0, sizeof(self.loop.area.listener[number]))
        self.loop.area.listener[number].transport = transport
        self.loop.area.listener[number].local = listener.local
        self.loop.listeners = number + 1
        return 0

    def run(self):
        """OSError: the kernel refused to wait, a bug or an exhausted system."""
        cdef int error
        with nogil:
            error = flows_run(&self.loop)
            finish(&self.loop)
        if error:
            raise OSError(error, os.strerror(error))

    def renew(self, tls):
        """Handshakes from now on use what is in these files; connections keep what they began with. Any thread may call it, one at a time.
        ValueError: they cannot be used, and all stays as it is. The context before is held, for the loop may just be using it."""
        fresh = TlsContext(True, tls)
        self.before, self.server = self.server, fresh
        self.loop.tls_server = (<TlsContext>fresh).context

    def stop(self):
        os.eventfd_write(self.loop.stop_wake, 1)

    def __dealloc__(self):
        cdef Loop *loop = &self.loop
        if loop.epoll >= 0:
            close(loop.epoll)
        if loop.stop_wake >= 0:
            close(loop.stop_wake)
        free(loop.conn)
        free(loop.peer)
        free(loop.bucket)
        places_close(&loop.unproved_udp)
        places_close(&loop.unproved_streams)
        free(loop.free_udp)
        free(loop.free_stream)
        free(loop.run)
        free(loop.scratch)
        free(loop.batch)
