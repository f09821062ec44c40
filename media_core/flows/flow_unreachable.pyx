"""What ICMP says of UDP flows: a phone that was unplugged is told at once, not after the 32 s of a transaction (RFC 3261 §18.4).

The kernel puts ICMP errors into the listener's error queue (IP_RECVERR, ip(7)) with the address the datagram had gone to. Whoever can
send us packets can forge one, so an error counts for a flow that was sent to lately, once per sending, and tells only that: what is done
about it is the client's to judge. Errors share the listener's buffer with datagrams: when more come than ERRORS_A_TICK the kernel is
told to keep them, and to forget those that wait, until the next tick.
"""

from libc.errno cimport EACCES, ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ENOPROTOOPT, errno
from libc.stdint cimport uint64_t
from libc.string cimport memset

from media_core.flows.flow_datagram cimport datagram_find
from media_core.flows.flow_state cimport NONE, RESERVE, Endpoint, Peer, emit, full
from media_core.flows.flow_table cimport FLOW_UNREACHABLE
from media_core.sockets cimport (
    CMSG_DATA, CMSG_FIRSTHDR, CMSG_NXTHDR, IP_RECVERR, IPPROTO_IP, IPPROTO_IPV6, IPV6_RECVERR, MSG_DONTWAIT, MSG_ERRQUEUE,
    SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, cmsghdr, iovec, mmsghdr, msghdr, recvmmsg, setsockopt, sock_extended_err,
)

cdef enum:
    ERRORS = 16             # read at once
    TURNS = 4               # such readings in one turn
    ERRORS_A_TICK = 250     # of one listener
    LATELY = 5000           # ms since we sent: an address that does not answer ARP is given up by the kernel after 3 s
    CONTROL = 16            # words of ancillary data


cdef void unreachable_listen(Listener *listener, bint wanted) noexcept nogil:
    """Ask the kernel for errors, or not to have them; then it forgets those that wait."""
    cdef int value = wanted
    listener.deaf = not wanted
    listener.errors = 0
    if listener.local.length == 16:
        setsockopt(listener.fd, IPPROTO_IP, IP_RECVERR, &value, sizeof(int))
    else:
        setsockopt(listener.fd, IPPROTO_IPV6, IPV6_RECVERR, &value, sizeof(int))


cdef bint is_unreachable(msghdr *message) noexcept nogil:
    """Does a router or the far end itself say that nobody takes it? Too long a datagram, or one that lived too long, is another matter."""
    cdef cmsghdr *control = CMSG_FIRSTHDR(message)
    cdef sock_extended_err *error
    while control != NULL:
        if (control.cmsg_level == IPPROTO_IP and control.cmsg_type == IP_RECVERR
                or control.cmsg_level == IPPROTO_IPV6 and control.cmsg_type == IPV6_RECVERR):
            error = <sock_extended_err *>CMSG_DATA(control)
            return (error.ee_origin in (SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6)
                    and error.ee_errno in (ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ENOPROTOOPT, EACCES))
        control = CMSG_NXTHDR(message, control)
    return False


cdef void tell(Loop *loop, uint32_t number, const Endpoint *remote) noexcept nogil:
    cdef uint32_t index = datagram_find(loop, number, remote)
    cdef Peer *peer
    if index == NONE:
        return
    peer = &loop.peer[index]
    if peer.sent and loop.now - peer.sent <= LATELY and not full(loop, RESERVE):
        peer.sent = 0
        loop.count.unreachable += 1
        emit(loop, FLOW_UNREACHABLE, index, NULL, 0)


cdef void unreachable_read(Loop *loop, Listener *listener, uint32_t number) noexcept nogil:
    """Take what waits; listener.troubled stays set when there may be more."""
    cdef mmsghdr message[ERRORS]
    cdef uint64_t control[ERRORS][CONTROL]
    cdef Endpoint remote[ERRORS]
    cdef int turn, n, count
    for turn in range(TURNS):
        memset(message, 0, sizeof(message))
        for n in range(ERRORS):
            message[n].msg_hdr.msg_name, message[n].msg_hdr.msg_namelen = remote[n].address, 28
            message[n].msg_hdr.msg_control, message[n].msg_hdr.msg_controllen = control[n], 8 * CONTROL
        count = recvmmsg(listener.fd, message, ERRORS, MSG_ERRQUEUE | MSG_DONTWAIT, NULL)
        if count <= 0:
            listener.troubled = 0
            return
        for n in range(count):
            remote[n].length = message[n].msg_hdr.msg_namelen
            if is_unreachable(&message[n].msg_hdr):
                tell(loop, number, &remote[n])
        listener.errors += count
        if listener.errors > ERRORS_A_TICK:
            unreachable_listen(listener, False)
            listener.troubled = 0
            return
