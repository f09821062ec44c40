"""The Python face of the media core (see docs/architecture.md, "The media face")."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

LegId = int  # index | generation << 32: a stale id is refused, never mistaken for a new leg
FlowId = int  # index | generation << 32

class Transport(IntEnum):
    UDP = 1
    TCP = 2
    TLS = 3

# ---- what the core is built from (supervisor and the core process) -------------------------------------------------

@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes fixed when the shared memory is made."""

    legs: int = 2000
    flows: int = 4096
    workers: int = 1

def create_memory(layout: Layout) -> int:
    """Make and initialise the shared memory (a sealed memfd); returns its file descriptor. Called once, by the supervisor."""

@dataclass(frozen=True, slots=True)
class SipSocket:
    fd: int  # bound (UDP) or listening (TCP, TLS) socket, owned by the supervisor
    transport: Transport

@dataclass(frozen=True, slots=True)
class TlsFiles:
    certificate: str  # PEM chain
    key: str  # PEM
    ticket_keys: bytes = b""  # 80 bytes: session tickets survive a restart of the core

def serve(
    memory: int,
    core_wake: int,
    calls_wake: int,
    *,
    sip: Sequence[SipSocket],
    tls: TlsFiles | None,
    rtp: Sequence[int],  # fds of bound UDP sockets, pairs: RTP at even index, its RTCP at the next
    datapath: str = "auto",
    stop: int,  # fd that becomes readable when the process has to end
) -> None:
    """Body of the core process: adopts the memory (also one left behind by a killed core) and runs until `stop` is readable.
    `core_wake` and `calls_wake` are eventfds: the first wakes the core for commands, the second wakes `calls` for events."""

# ---- what `calls` uses ---------------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class Crypto:
    """One direction's SDES key (RFC 4568 §6.1). suite is the SDP name, e.g. AES_CM_128_HMAC_SHA1_80."""

    suite: str
    key: bytes
    salt: bytes

@dataclass(frozen=True, slots=True)
class Remote:
    """What signalling says of the far end of a leg."""

    address: str
    port: int
    rtcp_port: int = 0  # 0: RTCP on the RTP port (RFC 5761)
    signalling: str = ""  # host the signalling comes from: the only other source media may be learned from
    send: bool = True  # we may send to it
    receive: bool = True  # it may send to us
    telephone_event: int = -1  # payload type, -1: none
    crypto_in: Crypto | None = None  # its sending key
    crypto_out: Crypto | None = None  # our sending key

@dataclass(frozen=True, slots=True)
class Leg:
    id: LegId
    port: int  # local RTP port; RTCP is port + 1

@dataclass(frozen=True, slots=True)
class Direction:
    packets: int
    bytes: int
    lost: int
    reordered: int
    duplicates: int
    jitter_ms: float
    last_seen_ms: int  # age of the last packet; -1: none yet
    rtcp_packets: int
    dropped_source: int  # wrong source address
    dropped_auth: int  # SRTP authentication or replay
    dropped_other: int

@dataclass(frozen=True, slots=True)
class LegStats:
    received: Direction
    sent: Direction  # lost and jitter_ms: what the far end's RTCP reports; dropped_other: refused by the kernel or by SRTP
    locked: bool  # source latched
    secure: bool  # SRTP both ways
    remote: tuple[str, int]  # where media really comes from / goes to

@dataclass(frozen=True, slots=True)
class FlowInfo:
    id: FlowId
    transport: Transport
    local: tuple[str, int]
    remote: tuple[str, int]
    cipher: str  # TLS version and cipher, "" when plain

@dataclass(frozen=True, slots=True)
class FlowOpened:
    flow: FlowInfo

@dataclass(frozen=True, slots=True)
class FlowReceived:
    flow: FlowId
    data: bytes  # one whole SIP message (streams are framed by Content-Length); keepalives are answered in the core

@dataclass(frozen=True, slots=True)
class FlowClosed:
    flow: FlowId
    reason: str

@dataclass(frozen=True, slots=True)
class MediaStarted:
    leg: LegId

@dataclass(frozen=True, slots=True)
class MediaSilent:
    leg: LegId
    seconds: int

@dataclass(frozen=True, slots=True)
class Digit:
    leg: LegId
    digit: str
    milliseconds: int

@dataclass(frozen=True, slots=True)
class PlayEnded:
    leg: LegId

@dataclass(frozen=True, slots=True)
class CoreStarted:
    """The core (re)started: legs go on by themselves, TLS and TCP flows of the old one are gone (a FlowClosed follows for each)."""

    generation: int
    datapath: str

Event = FlowOpened | FlowReceived | FlowClosed | MediaStarted | MediaSilent | Digit | PlayEnded | CoreStarted

class OutOfService(Exception):
    """A resource is missing (no free leg, ring full, core away)."""

class StaleHandle(Exception):
    """The leg or flow is closed already."""

class MediaEngine:
    """Commands down, events up; all calls return in microseconds and never block.

    The same memory may be re-attached by a new process: `flows()` and `legs()` then tell what is there.
    """

    def __init__(self, memory: int, core_wake: int, calls_wake: int) -> None: ...
    def fileno(self) -> int:
        """Readable when events wait."""
    def poll(self, limit: int = 256) -> list[Event]: ...
    # media
    def open(self, beside: LegId | None = None) -> Leg:
        """Reserve a leg with its RTP/RTCP ports; `beside` puts it on the worker of the other leg of its call."""
    def describe(self, leg: LegId, remote: Remote) -> None:
        """Tell or change the far end. Same crypto as before keeps the SRTP state; another key re-keys. ValueError: an address
        that media must not go to (multicast, broadcast, loopback for a phone elsewhere, our own ports), or an unusable key."""
    def connect(self, a: LegId, b: LegId, a_to_b: Mapping[int, int] = ..., b_to_a: Mapping[int, int] = ...) -> None:
        """Relay both ways, mapping payload types. connect(a, a) echoes."""
    def disconnect(self, leg: LegId) -> None: ...
    def play(self, leg: LegId, tones: Sequence[tuple[float, float, int]], payload_type: int) -> None:
        """Send tones ((frequency Hz, second frequency Hz or 0, milliseconds); 0, 0 is a pause) as G.711 of payload type 0 or 8; PlayEnded follows.
        It takes the place of what plays (one PlayEnded, for the last); no tones: only stops that."""
    def send_digits(self, leg: LegId, digits: str) -> None:
        """RFC 4733 events, or G.711 tones to a far end without telephone-event. ValueError: no digit, or neither is possible."""
    def stats(self, leg: LegId) -> LegStats: ...
    def close(self, leg: LegId) -> LegStats:
        """Idempotent; returns the final counters."""
    def legs(self) -> list[LegId]: ...
    # flows
    def dial(self, transport: Transport, host: str, port: int, *, server_name: str = "") -> FlowId: ...
    def send(self, flow: FlowId, data: bytes) -> None: ...
    def shut(self, flow: FlowId) -> None: ...
    def keep(self, flow: FlowId, kept: bool = True) -> None: ...
    def flow(self, flow: FlowId) -> FlowInfo: ...
    def flows(self) -> list[FlowInfo]: ...
    def listeners(self) -> list[FlowInfo]: ...
    # figures
    def counters(self) -> dict[str, int]:
        """legs, legs_free, rtp_ports, flows, packets_in, packets_out, dropped, stray (arrived at a free leg), events_lost,
        generation; flow_*: what FlowClient.counters holds."""
    def datapath(self) -> str: ...
