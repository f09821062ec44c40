"""RTP and RTCP for test phones and tests; the relay uses the C face in rtp.pxd. Malformed packets raise ValueError."""

from collections.abc import Sequence
from typing import NamedTuple

class Header(NamedTuple):
    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes  # without padding

class Sender(NamedTuple):
    ssrc: int
    ntp: int  # 32.32 seconds since 1900
    rtp_time: int
    packets: int
    octets: int

class Report(NamedTuple):
    ssrc: int
    fraction_lost: int  # 1/256
    lost: int
    highest: int
    jitter: int  # timestamp units
    last_sr: int
    delay: int  # 1/65536 s

class Part(NamedTuple):
    """One packet of a compound."""

    type: int
    items: int  # RC, SC or FMT of the header
    data: bytes
    sender: Sender | None
    reports: tuple[Report, ...]

def classify(packet: bytes) -> str:
    """rtp, rtcp, stun, dtls, turn, zrtp or unknown (RFC 7983, RFC 5761)."""

def payload_offset(packet: bytes) -> int:
    """-1: not RTP."""

def parse(packet: bytes) -> Header: ...
def distance(a: int, b: int) -> int:
    """How far sequence number b is ahead of a, -32768..32767."""

def parse_rtcp(packet: bytes) -> list[Part]: ...
def build_report(ssrc: int, sender: Sender | None = None, reports: Sequence[Report] = ()) -> bytes:
    """SR, or RR without a sender."""

def build_cname(ssrc: int, name: bytes) -> bytes: ...
def build_bye(ssrc: int) -> bytes: ...

class Source:
    """Reception statistics of one sender (RFC 3550 A.1, A.3, A.8)."""

    def __init__(self, ssrc: int = 0) -> None: ...
    def update(self, sequence: int) -> str:
        """next, reordered, duplicate, restart, or bad (a jump not confirmed yet; not counted)."""
    def jitter_update(self, timestamp: int, arrival: int) -> None: ...
    def start(self, ssrc: int) -> None:
        """The SSRC changed."""
    def fraction_lost(self) -> int:
        """Since the last call, in 1/256."""
    @property
    def lost(self) -> int: ...
    @property
    def lost_before(self) -> int: ...
    @property
    def received(self) -> int: ...
    @property
    def reordered(self) -> int: ...
    @property
    def duplicates(self) -> int: ...
    @property
    def jitter(self) -> int:
        """In timestamp units."""
    @property
    def extended(self) -> int: ...
