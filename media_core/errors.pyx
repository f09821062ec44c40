"""Exceptions of the media core's Python faces. Packet code returns a negative srtp_status; only a Python face turns it into one."""

from media_core.srtp.srtp cimport (
    SRTP_AUTH_FAILED,
    SRTP_BAD_PACKET,
    SRTP_BAD_SUITE,
    SRTP_FAILED,
    SRTP_INDEX_EXHAUSTED,
    SRTP_REPLAYED,
)


class PacketRefused(ValueError):
    """A packet was not taken. `status` is the negative srtp_status, `reason` one of the names below; the packet is unchanged."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.reason = REASONS.get(status, "unknown")
        super().__init__(self.reason)


REASONS = {
    SRTP_BAD_PACKET: "bad-packet",
    SRTP_AUTH_FAILED: "auth-failed",
    SRTP_REPLAYED: "replayed",
    SRTP_BAD_SUITE: "bad-suite",
    SRTP_INDEX_EXHAUSTED: "index-exhausted",
    SRTP_FAILED: "crypto-library-failed",
}


cdef int32_t raise_packet_error(int32_t status) except -1:
    """Pass a good status or length through, raise PacketRefused for a negative one."""
    if status < 0:
        raise PacketRefused(status)
    return status
