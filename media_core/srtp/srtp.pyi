"""SRTP and SRTCP for test phones and tests; the relay uses the C face in srtp.pxd."""

BACKENDS: dict[str, int]  # auto, ipsec-mb, openssl
SUITE_NAMES: tuple[str, ...]  # SDES names

def backend_name(backend: str = "auto") -> str:
    """What is picked on this machine, e.g. "ipsec-mb 1.3.0 avx512"; "" if that backend is not there."""

def disproved() -> str:
    """The multi-buffer library that is here but does not seal as OpenSSL does, e.g. "ipsec-mb 1.3.0 avx512"; "": there is none such."""

def key_lengths(suite: str) -> tuple[int, int]:
    """Octets of master key and master salt."""

def session_keys_of(
    suite: str, key: bytes, salt: bytes
) -> tuple[tuple[bytes, bytes, bytes], tuple[bytes, bytes, bytes]]:
    """For tests: (cipher key, authentication key, salt) of SRTP and of SRTCP (RFC 3711 4.3)."""

def run_batch(sessions: list[Session], packets: list[bytes]) -> list[bytes | int]:
    """Packet i through sessions[i], all of one direction, as one batch; a refused one gives its negative status."""

class Session:
    """One direction ("in": unprotect, "out": protect) of SRTP and SRTCP under one master key. Raises PacketRefused."""

    def __init__(
        self, suite: str, key: bytes, salt: bytes, direction: str, backend: str = "auto", mki_length: int = 0
    ) -> None: ...
    def protect(self, packet: bytes) -> bytes: ...
    def unprotect(self, packet: bytes) -> bytes: ...
    def protect_rtcp(self, packet: bytes) -> bytes: ...
    def unprotect_rtcp(self, packet: bytes) -> bytes: ...
    def set_session_keys(self, key: bytes, salt: bytes) -> None:
        """For tests: published vectors give session keys, of RTP and RTCP alike."""
    @property
    def backend(self) -> str: ...
    def index(self, ssrc: int) -> int | None:
        """Highest RTP index (ROC << 16 | SEQ) of an SSRC."""
    def set_index(self, ssrc: int, index: int) -> None:
        """For tests: as if the packets up to `index` had come."""
    def set_rtcp_index(self, ssrc: int, index: int) -> None: ...
    def roc(self, ssrc: int) -> int: ...
    def same(self, suite: str, key: bytes, salt: bytes) -> bool:
        """Was it made from these keys?"""
    def wipe(self) -> None: ...
    def memory(self) -> bytes:
        """For tests: the context as it stands in shared memory. Holds the keys."""
    def adopt(self, memory: bytes, sealing: bool = False) -> None:
        """For tests: go on from a context another engine left, `sealing` if it died in the middle of a packet."""
