"""The body of the core process: adopt the memory, choose the datapath, run the threads until told to stop.

One thread per worker for packets, one for the SIP flows, and at lower priority one per worker for sound (DSP) and one for sound
files; each is a Python thread that leaves the interpreter at once and never comes back before the end. The main thread only waits.
"""

import os
import select
import socket
import sys
import threading

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset, strncpy

from media_core.shared.abi cimport Endpoint, Header, Player, counters_at, flow_area, leg_at, player_at
from media_core.shared.atomic cimport RELAXED, RELEASE, store32
from media_core.relay.datapath_epoll cimport epoll_datapath
from media_core.relay.datapath_uring cimport raw_datapath, uring_datapath
from media_core.sound.dsp cimport dsp_run
from media_core.shared.memory cimport map_memory
from media_core.sound.player cimport Shelf, Sound
from media_core.sound.recorder cimport files_run
from media_core.relay.relay cimport BATCH, HEADROOM, PACKET_ROOM, ROOMS, Datapath, Worker, worker_run
from media_core.shared.ring cimport Ring, ring_init, ring_size
from media_core.srtp.srtp cimport SRTP_AUTO, SRTP_OPENSSL, srtp_engine_create, srtp_engine_destroy, srtp_engine_name

from media_core.receiver import dealt
from media_core.records import Proof

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd_write(int fd, unsigned long value)

DATAPATHS = ("raw", "io_uring", "epoll")  # best first; all workers have the same one

cdef extern from "<sys/socket.h>" nogil:
    enum: AF_INET, SOL_SOCKET, SO_RCVBUF
    int setsockopt(int fd, int level, int name, const void *value, unsigned length)

cdef extern from "<sys/prctl.h>" nogil:
    enum: PR_SET_NAME
    int prctl(int option, ...)

cdef enum:
    PORT_QUEUE = 106496         # octets of a port's own queue, the kernel's usual; next to nothing while the raw socket hears for it
    FRAME_BYTES = 1 << 20       # ring from a DSP to its worker
    TAP_BYTES = 1 << 21         # from a worker to its DSP
    TEE_BYTES = 1 << 24         # to the recorder: two seconds of 160 recorded calls while the disk is busy


cdef class _Core:
    """What the threads of one core share; lives as long as serve()."""

    cdef Header *memory
    cdef Worker *workers
    cdef int *sockets
    cdef int stopping
    cdef Shelf shelf
    cdef list threads
    cdef object sip           # the FlowLoop, if there are SIP sockets
    cdef object ended         # eventfd: a thread ended by itself
    cdef list failures

    def __cinit__(self):
        self.memory = NULL
        self.workers = NULL
        self.sockets = NULL
        self.stopping = 0
        self.threads = []
        self.sip = None
        self.ended = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.failures = []

    def __dealloc__(self):
        cdef uint32_t number, dsp
        if self.workers != NULL:
            for number in range(self.memory.workers):
                if self.workers[number].crypto != NULL:
                    srtp_engine_destroy(self.workers[number].crypto)
                for dsp in range(self.memory.workers):
                    free(self.workers[number].frames[dsp])
                    free(self.workers[number].taps[dsp])
                free(self.workers[number].tees)
                free(self.workers[number].made)
        free(self.workers)
        free(self.shelf.sounds)
        free(self.sockets)

    def adopt(self, int memory, rtp, raw):
        """Take the memory over and give each leg its sockets."""
        cdef uint32_t index, usable
        cdef Player *player
        self.memory = map_memory(memory)
        usable = min(self.memory.legs, len(rtp) // 2)
        self.sockets = <int *>calloc(2 * usable + self.memory.workers, sizeof(int))
        if self.sockets == NULL:
            raise MemoryError
        pairs = sorted((_local(rtp[2 * at], &self.memory.local), rtp[2 * at], rtp[2 * at + 1]) for at in range(usable))
        for index, (port, media, control) in enumerate(dealt(pairs, self.memory.workers)):
            self.sockets[2 * index], self.sockets[2 * index + 1] = media, control
            leg_at(self.memory, index).port = port
        for index in range(self.memory.workers):
            self.sockets[2 * usable + index] = raw[index] if len(raw) == self.memory.workers else -1
        self.memory.generation += 1
        for index in range(self.memory.workers):  # before the pid: until each thread beats, this core is starting, not hung
            counters_at(self.memory, index).beat = counters_at(self.memory, index).dsp_beat = 0
        for index in range(self.memory.legs):
            player = player_at(self.memory, index)
            player.holder = 0
            if player.told != player.progress.done:  # its end was on the way to the worker
                player.progress.done = player.told
        flow_area(self.memory).beat = 0
        store32(&self.memory.pid, os.getpid(), RELEASE)
        store32(&self.memory.usable, usable, RELEASE)

    def make_workers(self, int core_wake, int calls_wake, proof):
        cdef uint32_t number
        cdef Worker *worker
        cdef bint whole
        self.workers = <Worker *>calloc(self.memory.workers, sizeof(Worker))
        if self.workers == NULL:
            raise MemoryError
        for number in range(self.memory.workers):
            worker = &self.workers[number]
            worker.memory = self.memory
            worker.sockets = self.sockets
            worker.stopping = &self.stopping
            worker.workers = self.workers
            worker.raw = self.sockets[2 * self.memory.usable + number]
            worker.core_wake = core_wake
            worker.calls_wake = calls_wake
            worker.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            worker.number = number
            worker.legs = self.memory.usable
            worker.crypto = srtp_engine_create(SRTP_OPENSSL if proof.backend == "openssl" else SRTP_AUTO)
            worker.made = <uint8_t *>calloc(ROOMS * BATCH, HEADROOM + PACKET_ROOM)
            whole = worker.crypto != NULL and worker.made != NULL and _make_ring(&worker.tees, TEE_BYTES)
            for dsp in range(self.memory.workers):
                whole = whole and _make_ring(&worker.frames[dsp], FRAME_BYTES) and _make_ring(&worker.taps[dsp], TAP_BYTES)
            if not whole:
                raise MemoryError
        memset(self.memory.cipher, 0, sizeof(self.memory.cipher))
        strncpy(self.memory.cipher, (proof.words or srtp_engine_name(self.workers[0].crypto).decode()).encode(), sizeof(self.memory.cipher) - 1)
        self.memory.cipher_differs = not proof.good
        self.shelf.memory = self.memory
        self.shelf.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.shelf.sounds = <Sound **>calloc(self.memory.legs, sizeof(Sound *))
        if self.shelf.sounds == NULL:
            raise MemoryError

    def open(self, wanted):
        """Give the workers the best datapath this kernel has, or the one asked for. OSError: it is not to be had."""
        if wanted not in ("auto", *DATAPATHS):
            raise ValueError(f"no datapath {wanted!r}: {', '.join(DATAPATHS)} or auto")
        names = DATAPATHS if wanted == "auto" else (wanted,)
        refused = []
        for name in names:
            status = self.try_datapath(name)
            if status == 0:
                text = f"{name}" + "".join(f" (no {reason})" for reason in refused)
                memset(self.memory.datapath, 0, sizeof(self.memory.datapath))
                strncpy(self.memory.datapath, text.encode(), sizeof(self.memory.datapath) - 1)
                return
            refused.append(f"{name}: {os.strerror(-status)}")
        raise OSError(-status, f"datapath {'; '.join(refused)}")

    cdef int try_datapath(self, name):
        """0, or -errno; then nothing of it is left."""
        cdef uint32_t number, opened
        cdef int status
        for number in range(self.memory.workers):
            if name == "raw":
                self.workers[number].datapath = raw_datapath()
            elif name == "io_uring":
                self.workers[number].datapath = uring_datapath()
            else:
                self.workers[number].datapath = epoll_datapath()
            status = self.workers[number].datapath.open(&self.workers[number])
            if status < 0:
                for opened in range(number + 1):
                    self.workers[opened].datapath.close(&self.workers[opened])
                return status
        self.queue(1 if name == "raw" else PORT_QUEUE)
        return 0

    cdef void queue(self, int octets):
        """Room for what arrives at the ports themselves."""
        cdef uint32_t at
        for at in range(2 * self.memory.usable):
            setsockopt(self.sockets[at], SOL_SOCKET, SO_RCVBUF, &octets, sizeof(int))

    def listen(self, int core_wake, int calls_wake, sip, tls):
        """Take the SIP sockets; raises what is wrong with them or with the TLS files."""
        from media_core.flows.flows import FlowLoop

        self.sip = FlowLoop(<size_t>flow_area(self.memory), <size_t>self.memory + self.memory.flow_commands,
                            <size_t>self.memory + self.memory.flow_events, core_wake, calls_wake, sip, tls)

    def run(self, uint32_t number):
        cdef Worker *worker = &self.workers[number]
        name = f"relay-{number}".encode()
        prctl(PR_SET_NAME, <const char *>name)
        with nogil:
            worker_run(worker)
            worker.datapath.close(worker)

    def process(self, uint32_t number, int core_wake):
        cdef int status
        with nogil:
            status = dsp_run(self.memory, &self.workers[number], &self.shelf, core_wake, &self.stopping)
        if status < 0:
            raise OSError(-status, os.strerror(-status))

    def keep_files(self, int core_wake, int calls_wake):
        cdef int status
        with nogil:
            status = files_run(self.memory, self.workers, &self.shelf, core_wake, calls_wake, &self.stopping)
        if status < 0:
            raise OSError(-status, os.strerror(-status))

    def guard(self, body, *arguments):
        """A thread that ends before it was told to ends the process: the supervisor starts another."""
        try:
            body(*arguments)
            if not self.stopping:
                raise RuntimeError("ended by itself")
        except Exception as error:
            self.failures.append(f"{threading.current_thread().name}: {error!r}")
        finally:
            os.eventfd_write(self.ended, 1)

    def start(self, core_wake):
        bodies = [("files", self.keep_files, core_wake, self.workers[0].calls_wake)]
        if self.sip is not None:
            bodies.append(("flows", self.sip.run))
        for number in range(self.memory.workers):
            bodies.append((f"relay-{number}", self.run, number))
            bodies.append((f"dsp-{number}", self.process, number, core_wake))
        for name, *body in bodies:
            thread = threading.Thread(target=self.guard, args=body, name=name)
            thread.start()
            self.threads.append(thread)

    def wait(self, stop, renewed, tls):
        """Until the end; meanwhile the certificate is read again whenever `renewed` says so."""
        ending = select.poll()
        for fd in (stop, self.ended, renewed):
            if fd >= 0:
                ending.register(fd, select.POLLIN)
        while [fd for fd, _ in ending.poll()] == [renewed]:
            os.eventfd_read(renewed)
            if self.sip is not None and tls is not None:
                try:
                    self.sip.renew(tls)
                except ValueError as error:  # calls go on with the one before
                    sys.stderr.write(f"the renewed certificate cannot be used: {error}\n")

    def check(self):
        if self.failures:
            raise RuntimeError("; ".join(self.failures))

    def stop(self, int core_wake):
        store32(<uint32_t *>&self.stopping, 1, RELEASE)
        eventfd_write(core_wake, 1)
        if self.sip is not None:
            self.sip.stop()
        for thread in self.threads:
            thread.join()


cdef bint _make_ring(Ring **into, uint32_t octets) noexcept:
    into[0] = <Ring *>calloc(1, ring_size(octets))
    return into[0] != NULL and ring_init(into[0], octets) == 0


cdef uint32_t _local(int fd, Endpoint *into):
    """Port of a bound socket; its address goes into `into`."""
    with socket.socket(fileno=os.dup(fd)) as bound:
        host, port = bound.getsockname()[:2]
        packed = socket.inet_pton(bound.family, host)
        address = int(bound.family).to_bytes(2, "little") + bytes(2) + (bytes(4) if len(packed) == 16 else b"") + packed
    memset(into, 0, sizeof(Endpoint))
    for at, byte in enumerate(address):
        into.address[at] = byte
    into.length = 16 if len(packed) == 4 else 28
    return port


def serve(memory, core_wake, calls_wake, *, sip, tls, rtp, raw=(), datapath="auto", proof=Proof(), stop, renewed=-1):
    """Body of the core process: adopts the memory (also one left behind by a killed core) and runs until `stop` is readable."""
    core = _Core()
    core.adopt(memory, rtp, raw)
    core.make_workers(core_wake, calls_wake, proof)
    core.open(datapath)
    if sip:
        core.listen(core_wake, calls_wake, sip, tls)
    core.start(core_wake)
    try:
        core.wait(stop, renewed, tls)
    finally:
        core.stop(core_wake)
    core.check()
