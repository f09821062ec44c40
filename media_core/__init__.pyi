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
class Codec:
    """One of the codecs agreed on with the far end. name as in SDP: PCMU, PCMA, G722, opus, CN; others can only be relayed."""

    name: str
    payload_type: int

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
    codecs: tuple[Codec, ...] = ()  # what was agreed on, the one we send first; empty: unknown, then nothing is transcoded
    find_digits: bool = False  # look for DTMF tones in its sound (needs codecs)

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
    failed: bool = False  # a file could not be read

@dataclass(frozen=True, slots=True)
class RecordEnded:
    leg: LegId
    milliseconds: int
    failed: bool = False  # the file is not complete: what there is stands under <path>.part

@dataclass(frozen=True, slots=True)
class CoreStarted:
    """The core (re)started: legs go on by themselves, TLS and TCP flows of the old one are gone (a FlowClosed follows for each)."""

    generation: int
    datapath: str

Event = FlowOpened | FlowReceived | FlowClosed | MediaStarted | MediaSilent | Digit | PlayEnded | RecordEnded | CoreStarted

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
        """Relay both ways, mapping payload types. connect(a, a) echoes. Where both legs' codecs are known, what is not in a
        mapping is found out: the same codec is relayed, G.711 changes its law on the way, and when one leg may send what the
        other does not take, the DSP transcodes both ways (both ends then hear the codec named first in their own list)."""
    def mix(self, leg: LegId, room: int, *, muted: bool = False) -> None:
        """Into the conference `room` (a number > 0 of the caller's choosing), or change whether it is heard there; out of it by
        disconnect or connect. ValueError: no codec that we have, or other members are on another worker (open them beside)."""
    def disconnect(self, leg: LegId) -> None: ...
    def play(self, leg: LegId, tones: Sequence[tuple[float, float, int]], payload_type: int) -> None:
        """Send tones ((frequency Hz, second frequency Hz or 0, milliseconds); 0, 0 is a pause) in the codec of this payload type (0, 8
        or one of the leg's); PlayEnded follows. It takes the place of what plays (one PlayEnded, for the last); no tones: only stops that."""
    def play_files(self, leg: LegId, paths: Sequence[str], payload_type: int, *, loop: bool = False) -> None:
        """Sound files (WAV, Ogg/Opus, FLAC, MP3; any rate), one after the other; as play(). Absolute paths, 2000 octets together."""
    def record(self, leg: LegId, path: str, *, sides: str = "both", seconds: int = 0) -> None:
        """Record what the leg receives and is sent into <path>, .wav or .ogg/.opus; RecordEnded follows when it is complete. sides:
        "both" in one channel, "received" only, or "apart" in two. seconds: at most so long. It takes the place of a recording
        in progress; an empty path only ends that. Closing the leg ends it too."""
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
        dsp_lost, recorder_lost (packets that found the DSP's or the recorder's ring full), dsp_skipped (steps of 20 ms left out), generation; flow_*: what FlowClient.counters holds."""
    def datapath(self) -> str: ...
