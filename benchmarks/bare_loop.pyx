"""The limit: receive and send through a datapath with nothing in between, as a process like the core's.

Packets that come in on port 2n go out of port 2n + 2 and the other way round, to one fixed address each: no check, no statistics,
no rewriting, no encryption. What a relay costs above this is its own doing.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from media_core.shared.abi cimport Endpoint, Header, NO_LEG
from media_core.relay.datapath_epoll cimport epoll_datapath
from media_core.relay.datapath_uring cimport uring_datapath
from media_core.relay.relay cimport Packet, Worker, clock_now


cdef extern from "<sys/socket.h>" nogil:
    struct sockaddr:
        pass
    int connect(int fd, const sockaddr *address, uint32_t length)


def run(int wake, int own_wake, sockets, to, str datapath):
    """sockets: descriptors, two per leg; to: a sockaddr_in per leg, where what leaves there goes. Runs until it is killed."""
    cdef uint32_t legs = len(sockets) // 2, at
    cdef int *fds = <int *>calloc(2 * legs, sizeof(int))
    cdef Endpoint *targets = <Endpoint *>calloc(legs, sizeof(Endpoint))
    cdef Header *header = <Header *>calloc(1, sizeof(Header))
    cdef Worker *worker = <Worker *>calloc(1, sizeof(Worker))
    cdef Packet *packet
    cdef int status
    if fds == NULL or targets == NULL or header == NULL or worker == NULL:
        raise MemoryError
    for at in range(2 * legs):
        fds[at] = sockets[at]
    for at in range(legs):
        address = to[at]
        memcpy(targets[at].address, <const char *>address, 16)
        targets[at].length = 16
        if connect(fds[2 * at], <const sockaddr *>targets[at].address, 16) != 0:
            raise OSError("a socket cannot be connected")
    header.workers = 1
    worker.memory, worker.sockets, worker.legs = header, fds, legs
    worker.core_wake, worker.wake, worker.raw = wake, own_wake, -1
    if datapath == "io_uring":
        worker.datapath = uring_datapath()
    else:
        worker.datapath = epoll_datapath()
    status = worker.datapath.open(worker)
    if status < 0:
        raise OSError(-status, "the datapath cannot be opened")
    with nogil:
        while True:
            worker.count = worker.datapath.collect(worker, 250)
            worker.now = clock_now()
            for at in range(worker.count):
                packet = &worker.batch[at]
                packet.out = packet.leg ^ 1
                packet.socket = 2 * packet.out
                packet.to = &targets[packet.out]
                packet.connected = 1
            worker.datapath.send(worker)
