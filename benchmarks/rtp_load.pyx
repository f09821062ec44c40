"""An RTP/SRTP load: thousands of paced streams through a relay, with sequence and delay checked where they come out.

Two sockets stand for all phones of the A side and of the B side; a stream is a relay port to send to and the relay port its
packets come out of. The streams' phases are spread evenly over the packet interval, so that no relay sees a burst that phones
would not make. The schedule is open-loop: a send that is late counts as late and its delay is measured from when it was due.
"""

import socket

from libc.errno cimport errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from media_core.srtp.srtp cimport (
    SRTP_AUTO, SRTP_CTX_SIZE, SRTP_OUT, srtp_ctx, srtp_engine, srtp_engine_create, srtp_engine_destroy, srtp_init, srtp_job,
    srtp_protect_batch, srtp_suite,
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
    HISTORY = 1024              # send times kept per stream
    BUCKETS = 100000            # of 1 µs
    PAYLOAD = 160
    LATE_NS = 2000000
    SETTLE_NS = 50000000        # after so long without a packet the rest is lost

cdef struct Stream:
    uint8_t to[16]              # sockaddr_in
    uint32_t ssrc
    uint32_t timestamp
    uint16_t sequence
    uint16_t expected           # next one to come out
    uint8_t side
    uint8_t seen
    uint64_t sent
    uint64_t received
    uint64_t reordered
    uint64_t due[HISTORY]


cdef uint64_t now_ns() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <uint64_t>time.tv_sec * 1000000000 + <uint64_t>time.tv_nsec


cdef class Load:
    """Streams added once, run as often as wanted."""

    cdef Stream *streams
    cdef readonly uint32_t count  # streams added
    cdef uint32_t room
    cdef int32_t by_port[65536]
    cdef object sockets
    cdef int fds[2]
    cdef uint8_t *contexts
    cdef uint8_t *secure
    cdef srtp_engine *crypto
    cdef uint32_t *histogram
    cdef uint64_t late, refused, unknown
    cdef mmsghdr out[CHUNK]
    cdef iovec out_parts[CHUNK]
    cdef uint8_t out_data[CHUNK][ROOM]
    cdef srtp_job jobs[CHUNK]
    cdef mmsghdr into[CHUNK]
    cdef iovec into_parts[CHUNK]
    cdef uint8_t into_data[CHUNK][ROOM]
    cdef uint8_t into_from[CHUNK][16]

    def __init__(self, uint32_t room, str host="127.0.0.1"):
        """room: most streams."""
        self.room = room
        self.streams = <Stream *>calloc(room, sizeof(Stream))
        self.contexts = <uint8_t *>aligned_alloc(64, <size_t>room * SRTP_CTX_SIZE)
        self.secure = <uint8_t *>calloc(room, 1)
        self.histogram = <uint32_t *>calloc(BUCKETS, 4)
        self.crypto = srtp_engine_create(SRTP_AUTO)
        if self.streams == NULL or self.contexts == NULL or self.secure == NULL or self.histogram == NULL or self.crypto == NULL:
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
        free(self.secure)
        free(self.histogram)
        if self.crypto != NULL:
            srtp_engine_destroy(self.crypto)

    def close(self):
        for s in self.sockets:
            s.close()

    def address(self, int side):
        """(host, port) that phones of side 0 or 1 send from and receive at."""
        return self.sockets[side].getsockname()

    def add(self, int side, str host, int port, int comes_out_of, str suite="", bytes key=b"", bytes salt=b""):
        """A stream from `side` to the relay's port; its packets come from the relay's port `comes_out_of`."""
        cdef Stream *stream = &self.streams[self.count]
        if self.count == self.room:
            raise ValueError("no room for another stream")
        address = (2).to_bytes(2, "little") + port.to_bytes(2, "big") + socket.inet_aton(host) + bytes(8)
        memcpy(stream.to, <const char *>address, 16)
        stream.side = side
        stream.ssrc = 0x10000000 + self.count
        stream.sequence = <uint16_t>(1000 + self.count)
        self.by_port[comes_out_of] = self.count
        if suite:
            if srtp_init(self.crypto, <srtp_ctx *>(self.contexts + <size_t>self.count * SRTP_CTX_SIZE), srtp_suite(suite.encode()), key,
                         len(key), salt, len(salt), SRTP_OUT) != 0:
                raise ValueError("unusable key")
            self.secure[self.count] = 1
        self.count += 1

    def run(self, double seconds, double rate):
        """Offer `rate` packets per second over all streams; what came out, and how late (µs)."""
        cdef uint32_t at
        cdef uint64_t sent = 0, received = 0, reordered = 0
        for at in range(self.count):
            self.streams[at].sent = self.streams[at].received = self.streams[at].reordered = 0
        memset(self.histogram, 0, BUCKETS * 4)
        self.late = self.refused = self.unknown = 0
        with nogil:
            spent = self.drive(seconds, rate)
        for at in range(self.count):
            sent += self.streams[at].sent
            received += self.streams[at].received
            reordered += self.streams[at].reordered
        return {"sent": sent, "received": received, "reordered": reordered, "late": self.late, "refused": self.refused,
                "unknown": self.unknown, "seconds": spent, **self.quantiles(received)}

    cdef dict quantiles(self, uint64_t total):
        cdef uint64_t passed = 0
        cdef uint32_t at
        out = {}
        wanted = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)]
        for at in range(BUCKETS):
            passed += self.histogram[at]
            while wanted and passed >= wanted[0][1] * total:
                out[f"delay_us_{wanted.pop(0)[0]}"] = at
        return out

    cdef double drive(self, double seconds, double rate) noexcept nogil:
        cdef uint64_t begin = now_ns(), end = begin + <uint64_t>(seconds * 1e9), now = begin, number = 0, due
        cdef double step = 1e9 / rate
        cdef timespec pause
        pause.tv_sec, pause.tv_nsec = 0, 20000
        while now < end:
            due = <uint64_t>((now - begin) / step)
            while number < due:
                number = self.send(begin, step, number, due)
                self.receive()
            if not self.receive():
                nanosleep(&pause, NULL)
            now = now_ns()
        end = now
        pause.tv_nsec = 200000
        while now_ns() < end + SETTLE_NS:  # what is still on its way
            if self.receive():
                end = now_ns()
            else:
                nanosleep(&pause, NULL)
        return (now - begin) / 1e9

    cdef uint64_t send(self, uint64_t begin, double step, uint64_t number, uint64_t due) noexcept nogil:
        """Up to one chunk of what is due, from the side whose turn it is; the number of the next packet."""
        cdef uint32_t count = 0, secure = 0, at
        cdef uint8_t side = self.streams[number % self.count].side
        cdef Stream *stream
        cdef uint8_t *p
        cdef uint64_t now = now_ns(), when
        cdef int done
        while number < due and count < CHUNK:
            at = <uint32_t>(number % self.count)
            stream = &self.streams[at]
            if stream.side != side:
                break
            when = begin + <uint64_t>(number * step)
            if now > when + LATE_NS:
                self.late += 1
            p = self.out_data[count]
            p[0], p[1] = 0x80, 8
            p[2], p[3] = <uint8_t>(stream.sequence >> 8), <uint8_t>stream.sequence
            p[4], p[5], p[6], p[7] = <uint8_t>(stream.timestamp >> 24), <uint8_t>(stream.timestamp >> 16), <uint8_t>(stream.timestamp >> 8), <uint8_t>stream.timestamp
            p[8], p[9], p[10], p[11] = <uint8_t>(stream.ssrc >> 24), <uint8_t>(stream.ssrc >> 16), <uint8_t>(stream.ssrc >> 8), <uint8_t>stream.ssrc
            memset(p + 12, 0xD5, PAYLOAD)
            if self.secure[at]:
                self.jobs[secure].ctx = <srtp_ctx *>(self.contexts + <size_t>at * SRTP_CTX_SIZE)
                self.jobs[secure].buf = p
                self.jobs[secure].len = 12 + PAYLOAD
                self.jobs[secure].cap = ROOM
                secure += 1
            self.out_parts[count].iov_base = p
            self.out_parts[count].iov_len = 12 + PAYLOAD
            self.out[count].msg_hdr.msg_name = stream.to
            self.out[count].msg_hdr.msg_namelen = 16
            self.out[count].msg_hdr.msg_iov = &self.out_parts[count]
            self.out[count].msg_hdr.msg_iovlen = 1
            stream.due[stream.sequence % HISTORY] = when
            stream.sequence += 1
            stream.timestamp += PAYLOAD
            stream.sent += 1
            count += 1
            number += 1
        if secure:
            srtp_protect_batch(self.crypto, self.jobs, secure)
            for at in range(count):  # all streams of a side are alike: jobs and packets correspond
                self.out_parts[at].iov_len = self.jobs[at].len
        done = sendmmsg(self.fds[side], self.out, count, 0)
        if done < <int>count:
            self.refused += count - (done if done > 0 else 0)
        return number

    cdef uint32_t receive(self) noexcept nogil:
        cdef uint32_t total = 0
        cdef int side, got, at
        cdef Stream *stream
        cdef int32_t index
        cdef uint16_t sequence
        cdef int64_t delay
        cdef uint64_t now
        cdef uint8_t *p
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
            for at in range(got):
                p = self.into_data[at]
                index = self.by_port[self.into_from[at][2] << 8 | self.into_from[at][3]]
                if index < 0 or self.into[at].msg_len < 12 + PAYLOAD:
                    self.unknown += 1
                    continue
                stream = &self.streams[index]
                sequence = <uint16_t>(p[2] << 8 | p[3])
                if stream.seen and <uint16_t>(sequence - stream.expected) >= 0x8000:
                    stream.reordered += 1
                stream.seen = 1
                stream.expected = sequence + 1
                stream.received += 1
                delay = <int64_t>(now - stream.due[sequence % HISTORY]) / 1000
                self.histogram[0 if delay < 0 else delay if delay < BUCKETS else BUCKETS - 1] += 1
            total += got if got > 0 else 0
        return total
