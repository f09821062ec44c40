"""Encrypted calls in both directions, every packet opened and examined where it comes out: what a death of the core does to them.

Two sockets stand for all A and all B phones. A stream is sealed under its sender's key and must come out of the other leg's port,
authentic under the key the core has for that side, with the content of that stream, and with an index under which nothing was
sealed before: the extended index of every sealed packet is noted in a bit field, before it is opened. The schedule is open-loop;
the phases of the streams are spread evenly over the packet interval.
"""

import socket

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from media_core.relay.rtp cimport load16, load32, store16, store32
from media_core.srtp.srtp cimport (
    SRTP_AUTO, SRTP_CTX_SIZE, SRTP_IN, SRTP_OUT, srtp_ctx, srtp_engine, srtp_engine_create, srtp_engine_destroy, srtp_init, srtp_job,
    srtp_protect_batch, srtp_suite, srtp_unprotect_batch,
)

cdef extern from "<sys/socket.h>" nogil:
    enum: MSG_DONTWAIT
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        void *msg_name
        uint32_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
    struct mmsghdr:
        msghdr msg_hdr
        unsigned msg_len
    int sendmmsg(int fd, mmsghdr *messages, unsigned count, int flags)
    int recvmmsg(int fd, mmsghdr *messages, unsigned count, int flags, void *timeout)

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

cdef extern from "<time.h>" nogil:
    struct timespec:
        int64_t tv_sec
        int64_t tv_nsec
    enum: CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *time)
    int nanosleep(const timespec *time, timespec *left)

cdef enum:
    CHUNK = 64
    ROOM = 256
    PAYLOAD = 160
    SPAN = 1 << 17              # indices from its first one that a stream may use: 43 minutes
    SPAN_BYTES = SPAN >> 3
    SETTLE_NS = 200000000       # after so long without a packet the rest is lost

cdef struct Stream:
    uint8_t to[16]              # sockaddr_in
    uint32_t ssrc
    uint32_t ssrc_out           # what it comes out under
    uint32_t number             # packets sent
    uint32_t first              # extended index of the first
    uint32_t highest            # of those that came out
    uint32_t side
    uint64_t received
    uint64_t lates              # arrivals out of order
    uint64_t last               # ns: the last arrival, and the longest time between two
    uint64_t gap
    uint8_t used[SPAN_BYTES]    # bit n: something was sealed under index first + n


cdef uint64_t now_ns() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <uint64_t>time.tv_sec * 1000000000 + <uint64_t>time.tv_nsec


cdef bytes sockaddr(str host, int port):
    return (2).to_bytes(2, "little") + port.to_bytes(2, "big") + socket.inet_aton(host) + bytes(8)


cdef class CallLoad:
    """Streams added once; one run; its gaps may be taken by another thread meanwhile."""

    cdef Stream *streams
    cdef uint8_t *contexts      # sealing and opening, of each stream
    cdef uint32_t count, room
    cdef int32_t by_port[65536]
    cdef object sockets
    cdef int fds[2]
    cdef srtp_engine *crypto
    cdef readonly uint64_t refused      # by the kernel when sending
    cdef readonly uint64_t forged       # came out but did not open under the key
    cdef readonly uint64_t reused       # an index that was sealed under before
    cdef readonly uint64_t mixed        # opened, but the content of another stream, another SSRC than before, or damaged
    cdef readonly uint64_t unknown
    cdef int stopping
    cdef mmsghdr out[CHUNK]
    cdef iovec out_parts[CHUNK]
    cdef uint8_t out_data[CHUNK][ROOM]
    cdef mmsghdr into[CHUNK]
    cdef iovec into_parts[CHUNK]
    cdef uint8_t into_data[CHUNK][ROOM]
    cdef uint8_t into_from[CHUNK][16]
    cdef srtp_job jobs[CHUNK]
    cdef int32_t owner[CHUNK]

    def __init__(self, uint32_t room, str host="127.0.0.1"):
        """room: most streams."""
        self.room = room
        self.streams = <Stream *>calloc(room, sizeof(Stream))
        self.contexts = <uint8_t *>aligned_alloc(64, <size_t>room * 2 * SRTP_CTX_SIZE)
        self.crypto = srtp_engine_create(SRTP_AUTO)
        if self.streams == NULL or self.contexts == NULL or self.crypto == NULL:
            raise MemoryError
        memset(self.by_port, 0xFF, sizeof(self.by_port))
        self.sockets = []
        for side in range(2):
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            for name in (32, 33):  # SO_SNDBUFFORCE, SO_RCVBUFFORCE; without the privilege the limits of the system hold
                try:
                    s.setsockopt(socket.SOL_SOCKET, name, 1 << 25)
                except PermissionError:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 25)
            s.bind((host, 0))
            self.sockets.append(s)
            self.fds[side] = s.fileno()

    def __dealloc__(self):
        free(self.streams)
        free(self.contexts)
        if self.crypto != NULL:
            srtp_engine_destroy(self.crypto)

    def close(self):
        for s in self.sockets:
            s.close()

    def address(self, int side):
        """(host, port) of the phones of side 0 or 1."""
        return self.sockets[side].getsockname()

    cdef srtp_ctx *context(self, uint32_t at, uint32_t opening) noexcept nogil:
        return <srtp_ctx *>(self.contexts + (2 * <size_t>at + opening) * SRTP_CTX_SIZE)

    def add(self, int side, str host, int port, int comes_out_of, sealing, opening, uint16_t first):
        """A stream from `side` to the core's `port`, sealed with the key `sealing`; it comes from the port `comes_out_of`, to be opened
        with the key `opening`. Its first sequence number is `first`."""
        cdef uint32_t at = self.count
        cdef Stream *stream = &self.streams[at]
        if at == self.room:
            raise ValueError("no room for another stream")
        address = sockaddr(host, port)
        memcpy(stream.to, <const char *>address, 16)
        stream.side = side
        stream.ssrc = 0x20000000 + at
        stream.first = stream.highest = first
        for direction, crypto in ((SRTP_OUT, sealing), (SRTP_IN, opening)):
            if srtp_init(self.crypto, self.context(at, direction == SRTP_IN), srtp_suite(crypto.suite.encode()), crypto.key, len(crypto.key),
                         crypto.salt, len(crypto.salt), direction) != 0:
                raise ValueError("unusable key")
        self.by_port[comes_out_of] = at
        self.count += 1

    def take_gaps(self):
        """Of each stream since the last time asked: (the longest time between two arrivals, the time since the last), ms; -1: none came."""
        cdef uint32_t at
        out = []
        for at in range(self.count):
            now = now_ns()
            last, gap = self.streams[at].last, self.streams[at].gap
            self.streams[at].gap = 0
            out.append((gap / 1e6, max(0, now - last) / 1e6 if last else -1.0))
        return out

    def stop(self):
        self.stopping = 1

    def run(self, double rate):
        """Offer `rate` packets per second over all streams until stop() is called by another thread; what came of them."""
        cdef uint32_t at, wrapped = 0
        cdef uint64_t sent = 0, received = 0, lates = 0
        self.stopping = 0
        with nogil:
            seconds = self.drive(rate)
        for at in range(self.count):
            sent += self.streams[at].number
            received += self.streams[at].received
            lates += self.streams[at].lates
            wrapped += self.streams[at].highest >> 16 != 0
        return {"seconds": seconds, "sent": sent, "received": received, "reordered": lates, "wrapped": wrapped, "refused": self.refused,
                "forged": self.forged, "reused": self.reused, "mixed": self.mixed, "unknown": self.unknown}

    cdef double drive(self, double rate) noexcept nogil:
        cdef uint64_t begin = now_ns(), end, number = 0, due
        cdef double step = 1e9 / rate
        cdef timespec pause
        pause.tv_sec, pause.tv_nsec = 0, 200000
        while not self.stopping:
            due = <uint64_t>((now_ns() - begin) / step)
            while number < due:
                number = self.send(number, due)
                self.receive()
            if not self.receive():
                nanosleep(&pause, NULL)
        end = now_ns()
        rate = (end - begin) / 1e9
        while now_ns() < end + SETTLE_NS:  # what is still on its way
            if self.receive():
                end = now_ns()
            else:
                nanosleep(&pause, NULL)
        return rate

    cdef uint64_t send(self, uint64_t number, uint64_t due) noexcept nogil:
        """Up to one chunk of what is due, from the side whose turn it is; the number of the next packet."""
        cdef uint32_t count = 0, at
        cdef uint32_t side = self.streams[number % self.count].side
        cdef Stream *stream
        cdef uint8_t *p
        cdef int done
        while number < due and count < CHUNK:
            at = <uint32_t>(number % self.count)
            stream = &self.streams[at]
            if stream.side != side:
                break
            p = self.out_data[count]
            p[0], p[1] = 0x80, 8
            store16(p + 2, <uint16_t>(stream.first + stream.number))
            store32(p + 4, stream.number * PAYLOAD)
            store32(p + 8, stream.ssrc)
            fill(p + 12, at, stream.number)
            self.jobs[count].ctx = self.context(at, 0)
            self.jobs[count].buf = p
            self.jobs[count].len = 12 + PAYLOAD
            self.jobs[count].cap = ROOM
            self.out[count].msg_hdr.msg_name = stream.to
            stream.number += 1
            count += 1
            number += 1
        srtp_protect_batch(self.crypto, self.jobs, count)
        for at in range(count):
            self.out_parts[at].iov_base = self.out_data[at]
            self.out_parts[at].iov_len = self.jobs[at].len
            self.out[at].msg_hdr.msg_namelen = 16
            self.out[at].msg_hdr.msg_iov = &self.out_parts[at]
            self.out[at].msg_hdr.msg_iovlen = 1
        done = sendmmsg(self.fds[side], self.out, count, 0)
        if done < <int>count:
            self.refused += count - (done if done > 0 else 0)
        return number

    cdef uint32_t receive(self) noexcept nogil:
        cdef uint32_t total = 0, count
        cdef int side, got, at
        cdef int32_t index
        cdef uint64_t now
        for side in range(2):
            for at in range(CHUNK):
                self.into_parts[at].iov_base = self.into_data[at]
                self.into_parts[at].iov_len = ROOM
                self.into[at].msg_hdr.msg_name = self.into_from[at]
                self.into[at].msg_hdr.msg_namelen = 16
                self.into[at].msg_hdr.msg_iov = &self.into_parts[at]
                self.into[at].msg_hdr.msg_iovlen = 1
            got = recvmmsg(self.fds[side], self.into, CHUNK, MSG_DONTWAIT, NULL)
            now = now_ns()
            count = 0
            for at in range(got):
                index = self.by_port[load16(self.into_from[at] + 2)]
                if index < 0 or self.into[at].msg_len < 12 + PAYLOAD or self.streams[index].side == <uint32_t>side:
                    self.unknown += 1
                    continue
                self.note(&self.streams[index], self.into_data[at])
                self.jobs[count].ctx = self.context(index, 1)
                self.jobs[count].buf = self.into_data[at]
                self.jobs[count].len = self.into[at].msg_len
                self.jobs[count].cap = ROOM
                self.owner[count] = index
                count += 1
            srtp_unprotect_batch(self.crypto, self.jobs, count)
            for at in range(<int>count):
                self.judge(&self.streams[self.owner[at]], self.owner[at], &self.jobs[at], now)
            total += count
        return total

    cdef void note(self, Stream *stream, const uint8_t *sealed) noexcept nogil:
        """The index of a sealed packet, as its receiver reckons it; was anything sealed under it before?"""
        cdef uint32_t index = stream.highest + <uint32_t><int32_t><int16_t>(load16(sealed + 2) - <uint16_t>stream.highest)
        cdef uint32_t place = index - stream.first
        if place >= SPAN:
            self.unknown += 1
            return
        if stream.used[place >> 3] >> (place & 7) & 1:
            self.reused += 1
        stream.used[place >> 3] |= <uint8_t>(1 << (place & 7))
        if stream.received and <int32_t>(index - stream.highest) < 0:
            stream.lates += 1
        else:
            stream.highest = index

    cdef void judge(self, Stream *stream, uint32_t index, srtp_job *job, uint64_t now) noexcept nogil:
        cdef uint8_t wanted[PAYLOAD]
        if job.len != 12 + PAYLOAD:
            self.forged += 1
            return
        fill(wanted, index, load32(job.buf + 16))
        if stream.received == 0:
            stream.ssrc_out = load32(job.buf + 8)
        if memcmp(wanted, job.buf + 12, PAYLOAD) or load32(job.buf + 8) != stream.ssrc_out:
            self.mixed += 1
            return
        stream.received += 1
        if stream.last and now - stream.last > stream.gap:
            stream.gap = now - stream.last
        stream.last = now


cdef inline void fill(uint8_t *payload, uint32_t stream, uint32_t number) noexcept nogil:
    """What packet `number` of a stream says: the two numbers, then bytes that follow from them."""
    store32(payload, stream)
    store32(payload + 4, number)
    memset(payload + 8, <uint8_t>(stream * 7 + number), PAYLOAD - 8)


def flood(str host, int port, double seconds):
    """Send as many plausible RTP packets to one port as go out; their number."""
    cdef mmsghdr out[CHUNK]
    cdef iovec parts[CHUNK]
    cdef uint8_t packet[12 + PAYLOAD]
    cdef uint8_t to[16]
    cdef uint64_t sent = 0, end = now_ns() + <uint64_t>(seconds * 1e9)
    cdef int at, fd
    address = sockaddr(host, port)
    memcpy(to, <const char *>address, 16)
    memset(packet, 0xD5, sizeof(packet))
    packet[0], packet[1] = 0x80, 8
    memset(out, 0, sizeof(out))
    for at in range(CHUNK):
        parts[at].iov_base = packet
        parts[at].iov_len = sizeof(packet)
        out[at].msg_hdr.msg_name = to
        out[at].msg_hdr.msg_namelen = 16
        out[at].msg_hdr.msg_iov = &parts[at]
        out[at].msg_hdr.msg_iovlen = 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
        fd = source.fileno()
        with nogil:
            sent = pour(fd, out, end)
    return sent


cdef uint64_t pour(int fd, mmsghdr *out, uint64_t end) noexcept nogil:
    cdef uint64_t sent = 0
    cdef int done
    while now_ns() < end:
        done = sendmmsg(fd, out, CHUNK, 0)
        sent += done if done > 0 else 0
    return sent
