"""SIP over UDP: each remote address on a listener is a flow.

The table is bounded, and senders' addresses can be forged: when it is full, a new source takes the place of an unproved flow
(flow_places). A flow the client keeps (a registered phone's) or has dialled is never evicted. Only when every entry is kept a new
source is dropped.

What cannot be SIP (STUN, the NULs and CRLF phones send as keepalive, RFC 5626 §4.4) makes no flow and no event. A double CRLF on a
flow that exists is answered with CRLF, a STUN binding request with the address it came from: to a kept flow always, to others at a
rate. CRLF before a message is left out (RFC 3261 §7.5). Where a listener is bound to no address, the address a datagram came to is the flow's local
address, and answers leave from it.
"""

from libc.errno cimport EACCES, EAGAIN, ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ENOPROTOOPT, errno
from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memcpy, memset, strerror
from posix.unistd cimport close

from media_core.flows.flow_state cimport (
    BATCH, NONE, SCRATCH, UDP, Endpoint, allowed, emit, entry_closed, entry_fill, entry_opened, full, take_free,
)
from media_core.flows.flow_places cimport places_enter, places_leave, places_victim
from media_core.flows.flow_table cimport FLOW_OPEN, FLOW_OPENING, FLOW_RECEIVED, FlowBody, FlowEntry, flow_at, hash_place, same_place
from media_core.sockets cimport (
    AF_INET, CMSG_DATA, CMSG_FIRSTHDR, CMSG_LEN, CMSG_NXTHDR, CMSG_SPACE, IP_PKTINFO, IPPROTO_IP, IPPROTO_IPV6, IPV6_PKTINFO, IPV6_RECVPKTINFO,
    MSG_DONTWAIT, MSG_NOSIGNAL, MSG_TRUNC, SOCK_CLOEXEC, SOCK_DGRAM, cmsghdr, connect, getsockname, in6_pktinfo, in_pktinfo, iovec, mmsghdr,
    msghdr, recvmmsg, sendmsg, setsockopt, sockaddr, socket,
)
from media_core.flows.stun cimport STUN_ANSWER, stun_answer, stun_is_request

cdef enum:
    CONTROL = 16        # words of ancillary data
    TURNS = 4           # batches of one listener in one turn
    ATTEMPTS = 3        # to send a datagram
    STUN_EVERY = 50     # ms between answers to one source that has not registered
    STUN_BURST = 40

cdef struct Batch:
    mmsghdr message[BATCH]
    iovec vector[BATCH]
    Endpoint remote[BATCH]
    uint64_t control[BATCH][CONTROL]
    uint8_t bytes[BATCH][SCRATCH]


cdef uint64_t datagram_room() noexcept nogil:
    """Bytes of Loop.batch."""
    return sizeof(Batch)


cdef void datagram_prepare(Listener *listener) noexcept nogil:
    """A listener without an address asks for the one each datagram came to."""
    cdef int yes = 1, at, end = 8 if listener.local.length == 16 else 24
    cdef int start = 4 if listener.local.length == 16 else 8
    listener.wildcard = 1
    for at in range(start, end):
        if listener.local.address[at]:
            listener.wildcard = 0
    if listener.wildcard:
        if listener.local.length == 16:
            setsockopt(listener.fd, IPPROTO_IP, IP_PKTINFO, &yes, sizeof(int))
        else:
            setsockopt(listener.fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &yes, sizeof(int))


# ---- the table by address --------------------------------------------------------------------------------------------

cdef uint32_t bucket_of(Loop *loop, uint32_t listener, const Endpoint *remote) noexcept nogil:
    return hash_place(loop.seed, listener + 1, remote, True) & loop.mask


cdef uint32_t find(Loop *loop, uint32_t listener, const Endpoint *remote, uint32_t bucket) noexcept nogil:
    cdef uint32_t index = loop.bucket[bucket]
    cdef FlowEntry *entry
    while index != NONE:
        entry = flow_at(loop.area, index)
        if entry.listener == listener and same_place(&entry.body.remote, remote, True):
            return index
        index = loop.peer[index].hash_next
    return NONE


cdef uint32_t datagram_find(Loop *loop, uint32_t listener, const Endpoint *remote) noexcept nogil:
    """The open flow to this address, or NONE."""
    return find(loop, listener, remote, bucket_of(loop, listener, remote))


cdef void enter(Loop *loop, uint32_t index, bint proved) noexcept nogil:
    cdef FlowEntry *entry = flow_at(loop.area, index)
    cdef uint32_t bucket = bucket_of(loop, entry.listener, &entry.body.remote)
    loop.peer[index].hash_next = loop.bucket[bucket]
    loop.peer[index].sent = 0
    loop.bucket[bucket] = index
    if not proved:
        places_enter(&loop.unproved_udp, index, &entry.body.remote, loop.now)


cdef uint32_t make_room(Loop *loop) noexcept nogil:
    """The index of a free UDP entry, or NONE."""
    cdef uint32_t victim
    if loop.free_udp_count == 0:
        victim = places_victim(&loop.unproved_udp, loop.now, loop.limits.grace)
        if victim == NONE:
            return NONE
        loop.count.evicted += 1
        datagram_close(loop, victim, b"made room for another source")
    return take_free(loop, True)  # NONE: the closing is still owed


# ---- receive --------------------------------------------------------------------------------------------------------

cdef void arrival(Listener *listener, msghdr *message, Endpoint *local) noexcept nogil:
    """The local address of a datagram."""
    cdef cmsghdr *control
    local[0] = listener.local
    if not listener.wildcard:
        return
    control = CMSG_FIRSTHDR(message)
    while control != NULL:
        if control.cmsg_level == IPPROTO_IP and control.cmsg_type == IP_PKTINFO:
            memcpy(local.address + 4, &(<in_pktinfo *>CMSG_DATA(control)).ipi_spec_dst, 4)
        elif control.cmsg_level == IPPROTO_IPV6 and control.cmsg_type == IPV6_PKTINFO:
            memcpy(local.address + 8, &(<in6_pktinfo *>CMSG_DATA(control)).ipi6_addr, 16)
        control = CMSG_NXTHDR(message, control)


cdef bint is_text(const uint8_t *bytes, uint32_t count) noexcept nogil:
    """May it be SIP? It begins with a letter (a method, or SIP/2.0) and is not absurdly short."""
    return count > 12 and (65 <= bytes[0] <= 90 or 97 <= bytes[0] <= 122)


cdef void datagram_receive(Loop *loop, Listener *listener, uint32_t number) noexcept nogil:
    """Take what waits; listener.pending stays set when there may be more. Streams keep a quarter of the event ring."""
    cdef Batch *batch = <Batch *>loop.batch
    cdef msghdr *header
    cdef int turn, n, count
    for turn in range(TURNS):
        for n in range(BATCH):
            header = &batch.message[n].msg_hdr
            batch.vector[n].iov_base = batch.bytes[n]
            batch.vector[n].iov_len = SCRATCH
            header.msg_name, header.msg_namelen = batch.remote[n].address, 28
            header.msg_iov, header.msg_iovlen = &batch.vector[n], 1
            header.msg_control, header.msg_controllen = batch.control[n], 8 * CONTROL
            header.msg_flags = 0
        count = recvmmsg(listener.fd, batch.message, BATCH, MSG_DONTWAIT, NULL)
        if count < 0:
            listener.pending = errno != EAGAIN
            return
        for n in range(count):
            header = &batch.message[n].msg_hdr
            batch.remote[n].length = header.msg_namelen
            receive(loop, listener, number, header, &batch.remote[n], batch.bytes[n], batch.message[n].msg_len)
        if count < BATCH:
            listener.pending = 0
            return


cdef bint keep_alive(Loop *loop, Listener *listener, uint32_t index, msghdr *header, const Endpoint *remote, const uint8_t *bytes,
                     uint32_t count) noexcept nogil:
    """Answer what is asked to keep a NAT's binding (RFC 5626 §4.4, §8). index: the flow of `remote`, or NONE. False: it was no such thing."""
    cdef uint8_t answer[STUN_ANSWER]
    cdef Endpoint local
    cdef uint32_t length
    if index != NONE and count == 4 and bytes[0] == 13 and bytes[1] == 10 and bytes[2] == 13 and bytes[3] == 10:
        transmit(loop, index, b"\r\n", 2)
        return True
    if header.msg_flags & MSG_TRUNC or not stun_is_request(bytes, count):
        return False
    if (index == NONE or not flow_at(loop.area, index).kept) and not allowed(loop, &loop.answers, remote, STUN_EVERY, STUN_BURST):
        return False
    length = stun_answer(bytes, count, remote, answer)
    if length:
        arrival(listener, header, &local)
        put(listener, remote, &local, answer, length)
        loop.count.keepalives += 1
    return length > 0


cdef void receive(Loop *loop, Listener *listener, uint32_t number, msghdr *header, Endpoint *remote, const uint8_t *bytes,
                  uint32_t count) noexcept nogil:
    cdef uint32_t bucket = bucket_of(loop, number, remote), index, blank = 0
    cdef FlowBody body
    while blank < count and (bytes[blank] == 13 or bytes[blank] == 10):
        blank += 1
    if header.msg_flags & MSG_TRUNC or not is_text(bytes + blank, count - blank):
        index = find(loop, number, remote, bucket)
        if index != NONE:
            flow_at(loop.area, index).seen = loop.now
        if not keep_alive(loop, listener, index, header, remote, bytes, count):
            loop.count.dropped_noise += 1
        return
    bytes, count = bytes + blank, count - blank
    if full(loop, loop.events.capacity // 4 + count):
        loop.count.dropped_full += 1
        return
    index = find(loop, number, remote, bucket)
    if index != NONE:
        flow_at(loop.area, index).seen = loop.now
    else:
        index = make_room(loop)
        if index == NONE:
            loop.count.dropped_table += 1
            return
        memset(&body, 0, sizeof(body))
        body.transport = UDP
        body.remote = remote[0]
        arrival(listener, header, &body.local)
        entry_fill(loop, index, flow_at(loop.area, index).generation + 1, FLOW_OPENING, number, &body)
        enter(loop, index, False)
        entry_opened(loop, index, NULL)
    loop.count.messages_in += 1
    emit(loop, FLOW_RECEIVED, index, bytes, count)


# ---- send and the rest ----------------------------------------------------------------------------------------------

cdef bint put(Listener *listener, const Endpoint *remote, const Endpoint *local, const void *bytes, uint32_t count) noexcept nogil:
    """One datagram. What ICMP said of an earlier one to somebody else fails the next call on the listener once: it is made again."""
    cdef uint64_t control[CONTROL]
    cdef msghdr message
    cdef iovec vector
    cdef cmsghdr *info
    cdef ssize_t sent
    cdef int attempt
    memset(&message, 0, sizeof(message))
    vector.iov_base, vector.iov_len = <void *>bytes, count
    message.msg_name, message.msg_namelen = <void *>remote.address, remote.length
    message.msg_iov, message.msg_iovlen = &vector, 1
    if listener.wildcard:
        memset(control, 0, sizeof(control))
        message.msg_control, message.msg_controllen = control, 8 * CONTROL
        info = CMSG_FIRSTHDR(&message)
        if listener.local.length == 16:
            info.cmsg_level, info.cmsg_type, info.cmsg_len = IPPROTO_IP, IP_PKTINFO, CMSG_LEN(sizeof(in_pktinfo))
            memcpy(&(<in_pktinfo *>CMSG_DATA(info)).ipi_spec_dst, local.address + 4, 4)
            message.msg_controllen = CMSG_SPACE(sizeof(in_pktinfo))
        else:
            info.cmsg_level, info.cmsg_type, info.cmsg_len = IPPROTO_IPV6, IPV6_PKTINFO, CMSG_LEN(sizeof(in6_pktinfo))
            memcpy(&(<in6_pktinfo *>CMSG_DATA(info)).ipi6_addr, local.address + 8, 16)
            message.msg_controllen = CMSG_SPACE(sizeof(in6_pktinfo))
    for attempt in range(ATTEMPTS):
        sent = sendmsg(listener.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent >= 0 or errno not in (ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ENOPROTOOPT, EACCES):
            break
    return sent == count


cdef bint transmit(Loop *loop, uint32_t index, const void *bytes, uint32_t count) noexcept nogil:
    cdef FlowEntry *entry = flow_at(loop.area, index)
    loop.peer[index].sent = loop.now
    return put(&loop.listener[entry.listener], &entry.body.remote, &entry.body.local, bytes, count)


cdef void datagram_send(Loop *loop, uint32_t index, const void *bytes, uint32_t count) noexcept nogil:
    """What the kernel does not take is lost and counted: SIP sends it again."""
    loop.count.dropped_send += not transmit(loop, index, bytes, count)


cdef bint route(Listener *listener, const Endpoint *remote, Endpoint *local) noexcept nogil:
    """The local address the kernel would send from, with the listener's port."""
    cdef Endpoint found
    cdef int fd, failed
    local[0] = listener.local
    if not listener.wildcard:
        return True
    fd = socket((<const uint16_t *>remote.address)[0], SOCK_DGRAM | SOCK_CLOEXEC, 0)
    if fd < 0:
        return False
    found.length = 28
    failed = (connect(fd, <const sockaddr *>remote.address, remote.length)
              or getsockname(fd, <sockaddr *>found.address, &found.length))
    close(fd)
    if failed:
        return False
    memcpy(local.address + 4, found.address + 4, 24)
    return True


cdef void datagram_dial(Loop *loop, uint32_t index, uint32_t generation, DialBody *wanted) noexcept nogil:
    """From the first UDP listener of the same family. The entry is free."""
    cdef FlowBody body
    cdef uint32_t number = 0
    memset(&body, 0, sizeof(body))
    body.transport = UDP
    body.remote = wanted.remote
    while number < loop.listeners and (loop.listener[number].transport != UDP
                                       or loop.listener[number].local.length != wanted.remote.length):
        number += 1
    entry_fill(loop, index, generation, FLOW_OPENING, number, &body)
    if number == loop.listeners:
        entry_closed(loop, index, b"no UDP socket of this address family")
        return
    if not route(&loop.listener[number], &wanted.remote, &flow_at(loop.area, index).body.local):
        entry_closed(loop, index, strerror(errno))
        return
    enter(loop, index, True)
    entry_opened(loop, index, NULL)


cdef bint datagram_adopt(Loop *loop, uint32_t index) noexcept nogil:
    """Take over the open flow of the loop before this one. False: its listener is not there any more."""
    cdef FlowEntry *entry = flow_at(loop.area, index)
    if (entry.state != FLOW_OPEN or entry.listener >= loop.listeners or loop.listener[entry.listener].transport != UDP
            or loop.listener[entry.listener].local.length != entry.body.remote.length):
        return False
    enter(loop, index, entry.kept or index < loop.area.dial_end)
    return True


cdef void datagram_keep(Loop *loop, uint32_t index, bint kept) noexcept nogil:
    flow_at(loop.area, index).kept = kept
    if kept:
        places_leave(&loop.unproved_udp, index)
    elif index >= loop.area.dial_end:
        places_enter(&loop.unproved_udp, index, &flow_at(loop.area, index).body.remote, loop.now)


cdef void datagram_close(Loop *loop, uint32_t index, const char *reason) noexcept nogil:
    cdef FlowEntry *entry = flow_at(loop.area, index)
    cdef uint32_t *place = &loop.bucket[bucket_of(loop, entry.listener, &entry.body.remote)]
    places_leave(&loop.unproved_udp, index)
    while place[0] != NONE:
        if place[0] == index:
            place[0] = loop.peer[index].hash_next
            break
        place = &loop.peer[place[0]].hash_next
    entry_closed(loop, index, reason)
