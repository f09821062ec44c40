# Included by srtp.pyx: the Python face, for the test phones and the tests. Packets of calls never come this way.

BACKENDS = {"auto": SRTP_AUTO, "ipsec-mb": SRTP_IPSEC_MB, "openssl": SRTP_OPENSSL}
SUITE_NAMES = tuple(suites[i].name.decode() for i in range(SUITES))


def backend_name(backend: str = "auto") -> str:
    """What srtp_engine_create picks, e.g. "ipsec-mb 1.3.0 avx512"; "" if that backend is not there."""
    cdef srtp_engine *engine = srtp_engine_create(BACKENDS[backend])
    if engine == NULL:
        return ""
    name = srtp_engine_name(engine).decode()
    srtp_engine_destroy(engine)
    return name


def disproved() -> str:
    """The multi-buffer library that is here but does not seal as OpenSSL does, e.g. "ipsec-mb 1.3.0 avx512"; "": there is none such."""
    cdef mb_manager *mb = mb_open()
    cdef srtp_engine *engine = engine_new(mb) if mb != NULL else NULL
    if engine == NULL:
        return ""
    name = "" if proves_itself(engine) else srtp_engine_name(engine).decode()
    srtp_engine_destroy(engine)
    return name


def key_lengths(suite: str) -> tuple[int, int]:
    """Octets of master key and master salt of an SDES suite name."""
    cdef suite_row row = suites[SUITE_NAMES.index(suite)]
    return row.key_len, row.salt_len


def session_keys_of(suite: str, key: bytes, salt: bytes) -> tuple[tuple[bytes, bytes, bytes], tuple[bytes, bytes, bytes]]:
    """For tests: (cipher key, authentication key, salt) of SRTP and of SRTCP (RFC 3711 4.3)."""
    cdef session_keys keys
    cdef suite_row row = suites[SUITE_NAMES.index(suite)]
    cdef srtp_engine *engine = srtp_engine_create(SRTP_OPENSSL)
    if len(key) != row.key_len or len(salt) != row.salt_len or engine == NULL:
        raise ValueError("wrong length")
    derive(engine, &row, key, salt, &keys)
    srtp_engine_destroy(engine)
    return tuple((keys.cipher[i][: row.key_len], keys.auth[i][:AUTH_KEY], keys.salt[i][: row.salt_len]) for i in range(2))


def run_batch(sessions: list[Session], packets: list[bytes]) -> list[bytes | int]:
    """Packet i through sessions[i] (all of one direction), as one batch; a refused packet has its negative status in its place."""
    cdef list rooms = [bytearray(packet) + bytes(SRTP_MAX_TRAILER) for packet in packets]
    cdef uint32_t count = len(packets), i
    cdef bytearray memory = bytearray(sizeof(srtp_job) * <size_t>max(count, <uint32_t>1))
    cdef srtp_job *jobs = <srtp_job *><uint8_t *>memory
    cdef Session session
    if len(sessions) != count:
        raise ValueError("one session for every packet")
    if count == 0:
        return []
    for i in range(count):
        session = sessions[i]
        jobs[i].ctx, jobs[i].buf, jobs[i].len = session.ctx, <uint8_t *>(<bytearray>rooms[i]), len(packets[i])
        jobs[i].cap = jobs[i].len + SRTP_MAX_TRAILER
    session = sessions[0]
    if session.direction == SRTP_OUT:
        srtp_protect_batch(session.engine, jobs, count)
    else:
        srtp_unprotect_batch(session.engine, jobs, count)
    return [bytes(rooms[i][: jobs[i].len]) if jobs[i].len >= 0 else jobs[i].len for i in range(count)]


cdef class Session:
    """One direction of SRTP under one master key."""

    cdef srtp_engine *engine
    cdef srtp_ctx *ctx
    cdef srtp_direction direction

    def __cinit__(self, *arguments, **options):
        self.ctx = <srtp_ctx *>aligned_alloc(64, SRTP_CTX_SIZE)
        if self.ctx == NULL:
            raise MemoryError
        memset(self.ctx, 0, SRTP_CTX_SIZE)

    def __init__(self, suite: str, key: bytes, salt: bytes, direction: str, backend: str = "auto", mki_length: int = 0):
        if direction not in ("in", "out"):
            raise ValueError(f"direction is 'in' or 'out', not {direction!r}")
        if BACKENDS.get(backend) is None:
            raise ValueError(f"no backend {backend!r}")
        srtp_engine_destroy(self.engine)
        self.engine = srtp_engine_create(BACKENDS[backend])
        if self.engine == NULL:
            raise NotImplementedError(f"backend {backend} is not available on this machine")
        self.direction = SRTP_OUT if direction == "out" else SRTP_IN
        cdef bytes name = suite.encode()
        raise_packet_error(srtp_init(self.engine, self.ctx, srtp_suite(name), key, len(key), salt, len(salt), self.direction))
        srtp_set_mki(self.ctx, mki_length)

    def __dealloc__(self):
        if self.ctx != NULL:
            srtp_wipe(self.ctx)
        free(self.ctx)
        srtp_engine_destroy(self.engine)

    def protect(self, packet: bytes) -> bytes:
        """Seal one RTP packet. Raises PacketRefused."""
        return self.run(packet, srtp_protect_one)

    def unprotect(self, packet: bytes) -> bytes:
        return self.run(packet, srtp_unprotect_one)

    def protect_rtcp(self, packet: bytes) -> bytes:
        return self.run(packet, srtp_protect_rtcp)

    def unprotect_rtcp(self, packet: bytes) -> bytes:
        return self.run(packet, srtp_unprotect_rtcp_one)

    cdef bytes run(self, bytes packet, int32_t (*operation)(srtp_engine *, srtp_ctx *, uint8_t *, int32_t, int32_t) noexcept nogil):
        cdef int32_t size = len(packet), cap = size + SRTP_MAX_TRAILER, status
        cdef bytearray room = bytearray(packet) + bytes(SRTP_MAX_TRAILER)
        cdef uint8_t *buf = room
        with nogil:
            status = operation(self.engine, self.ctx, buf, size, cap)
        if status < 0 and self.direction == SRTP_IN and room[:size] != packet:
            raise AssertionError("a refused packet was changed")
        return bytes(room[:raise_packet_error(status)])

    def set_session_keys(self, key: bytes, salt: bytes) -> None:
        """For tests: published vectors give session keys, of RTP and RTCP alike."""
        if len(key) != self.ctx.key_len or len(salt) > 14:
            raise ValueError("wrong length")
        memset(self.ctx.salt, 0, 16)
        memcpy(self.ctx.salt, <const uint8_t *>salt, len(salt))
        memcpy(self.ctx.rtcp_salt, self.ctx.salt, 16)
        memcpy(self.ctx.cipher, <const uint8_t *>key, len(key))
        memcpy(self.ctx.rtcp_key, <const uint8_t *>key, len(key))
        lay_out(self.engine, self.ctx)

    @property
    def backend(self) -> str:
        return srtp_engine_name(self.engine).decode()

    def index(self, ssrc: int) -> int | None:
        """Highest RTP index (ROC << 16 | SEQ) of an SSRC."""
        cdef srtp_stream *stream = find_stream(self.ctx, ssrc)
        return None if stream == NULL or not stream.state & STREAM_RTP else stream.index

    def set_index(self, ssrc: int, index: int) -> None:
        """For tests: as if the packets up to `index` had come."""
        cdef srtp_stream *stream = find_stream(self.ctx, ssrc)
        if stream == NULL:
            raise_packet_error(new_stream(self.ctx, ssrc, &stream))
        stream.index = index
        stream.replay[0] = stream.replay[1] = ~<uint64_t>0
        stream.state |= STREAM_RTP

    def set_rtcp_index(self, ssrc: int, index: int) -> None:
        """For tests: as if the SRTCP packets up to `index` had come."""
        cdef srtp_stream *stream = find_stream(self.ctx, ssrc)
        if stream == NULL:
            raise_packet_error(new_stream(self.ctx, ssrc, &stream))
        stream.rtcp_index = index
        stream.rtcp_replay[0] = stream.rtcp_replay[1] = ~<uint64_t>0
        stream.state |= STREAM_RTCP

    def roc(self, ssrc: int) -> int:
        index = self.index(ssrc)
        return 0 if index is None else index >> 16

    def same(self, suite: str, key: bytes, salt: bytes) -> bool:
        """Was it made from these keys?"""
        cdef bytes name = suite.encode()
        return srtp_same(self.engine, self.ctx, srtp_suite(name), key, len(key), salt, len(salt))

    def wipe(self) -> None:
        srtp_wipe(self.ctx)

    def memory(self) -> bytes:
        """For tests: the context as it stands in shared memory. Holds the keys."""
        return (<uint8_t *>self.ctx)[:SRTP_CTX_SIZE]

    def adopt(self, memory: bytes, sealing: bool = False) -> None:
        """For tests: go on from a context another engine left behind, `sealing` if it died in the middle of a packet."""
        if len(memory) != SRTP_CTX_SIZE:
            raise ValueError("not a context")
        memcpy(self.ctx, <const uint8_t *>memory, SRTP_CTX_SIZE)
        self.ctx.sealing = sealing
        self.direction = <srtp_direction>self.ctx.direction
        srtp_adopt(self.engine, self.ctx)


cdef int32_t srtp_protect_one(srtp_engine *engine, srtp_ctx *ctx, uint8_t *buf, int32_t size, int32_t cap) noexcept nogil:
    return srtp_protect(engine, ctx, buf, size, cap)


cdef int32_t srtp_unprotect_one(srtp_engine *engine, srtp_ctx *ctx, uint8_t *buf, int32_t size, int32_t cap) noexcept nogil:
    return srtp_unprotect(engine, ctx, buf, size)


cdef int32_t srtp_unprotect_rtcp_one(srtp_engine *engine, srtp_ctx *ctx, uint8_t *buf, int32_t size, int32_t cap) noexcept nogil:
    return srtp_unprotect_rtcp(engine, ctx, buf, size)
