"""The Python face of the media core (see docs/architecture.md, "The media face"). Its records are told field by field in records.py."""

from collections.abc import Mapping, Sequence

from media_core.records import AuthenticationFailed as AuthenticationFailed
from media_core.records import Codec as Codec
from media_core.records import CoreStarted as CoreStarted
from media_core.records import Crypto as Crypto
from media_core.records import Digit as Digit
from media_core.records import DigitsSent as DigitsSent
from media_core.records import Direction as Direction
from media_core.records import Event as Event
from media_core.records import FarReport as FarReport
from media_core.records import FlowClosed as FlowClosed
from media_core.records import FlowId as FlowId
from media_core.records import FlowInfo as FlowInfo
from media_core.records import FlowOpened as FlowOpened
from media_core.records import FlowReceived as FlowReceived
from media_core.records import FlowUnreachable as FlowUnreachable
from media_core.records import HandshakeFailed as HandshakeFailed
from media_core.records import Layout as Layout
from media_core.records import Leg as Leg
from media_core.records import LegId as LegId
from media_core.records import LegStats as LegStats
from media_core.records import MediaQuality as MediaQuality
from media_core.records import MediaSilent as MediaSilent
from media_core.records import MediaStarted as MediaStarted
from media_core.records import OutOfService as OutOfService
from media_core.records import PlayEnded as PlayEnded
from media_core.records import Proof as Proof
from media_core.records import RecordEnded as RecordEnded
from media_core.records import Remote as Remote
from media_core.records import SipSocket as SipSocket
from media_core.records import SlotsMissing as SlotsMissing
from media_core.records import SsrcChanged as SsrcChanged
from media_core.records import StaleHandle as StaleHandle
from media_core.records import TlsFiles as TlsFiles
from media_core.records import Transport as Transport
from media_core.shared.slots import Area as Area
from media_core.shared.slots import Slots as Slots
from media_core.shared.slots import create_slots as create_slots

def create_memory(layout: Layout) -> int:
    """Make and initialise the shared memory (a sealed memfd); returns its file descriptor. Called once, by the supervisor."""

def serve(
    memory: int,
    core_wake: int,
    calls_wake: int,
    *,
    sip: Sequence[SipSocket],
    tls: TlsFiles | None,
    rtp: Sequence[int],  # fds of bound UDP sockets, pairs: RTP at even index, its RTCP at the next; dealt to the workers by their ports
    raw: Sequence[int] = (),  # fds of sockets that hear them, one per worker (receiver.open_receivers)
    datapath: str = "auto",
    proof: Proof = ...,
    stop: int,  # fd that becomes readable when the process has to end
    renewed: int = -1,  # eventfd: the files of `tls` have changed; new handshakes use them, connections keep what they began with
) -> None:
    """Body of the core process: adopts the memory (also one left behind by a killed core) and runs until `stop` is readable.
    `core_wake` and `calls_wake` are eventfds: the first wakes the core for commands, the second wakes `calls` for events."""

class CoreView:
    """The core as the supervisor sees it: through the memory, read only, whoever holds the engine."""

    def __init__(self, memory: int) -> None: ...
    def heartbeat(self) -> tuple[int, float | None]:
        """Pid of the core that has adopted the memory (0: none yet), and the age in seconds of the oldest beat of its threads
        (relay, DSP, SIP flows; they beat at least every 0.5 s). None: not every one has begun."""
    def workers(self) -> int: ...
    def datapath(self) -> str: ...
    def cipher(self) -> tuple[str, bool]:
        """Its SRTP code and what that was held against when the core started, and whether all was well."""

class MediaEngine:
    """Commands down, events up; all calls return in microseconds and never block.

    The same memory may be re-attached by a new process: `flows()` and `legs()` then tell what is there.
    """

    def __init__(self, memory: int, core_wake: int, calls_wake: int) -> None: ...
    def fileno(self) -> int:
        """Readable when events wait."""
    def cork(self) -> None:
        """Wake the core for all that is commanded from now on once, at uncork(). A thread of it that is awake takes it before."""
    def uncork(self) -> None: ...
    def poll(self, limit: int = 256) -> list[Event]:
        """Up to `limit` events behind those that it has given already. They stay in the rings until consumed()."""
    def positions(self) -> tuple[int, ...]:
        """How far poll has read; what resume takes."""
    def consumed(self) -> None:
        """Drop the events that poll has given. Whoever sleeps on fileno() calls this after his last poll."""
    def resume(self, positions: Sequence[int]) -> None:
        """Go on from the positions() of an engine whose process has died: the events before them are not read again. Those of another
        memory, and (), change nothing: reading begins with what was not consumed."""
    # media
    def owns(self, port: int) -> bool:
        """Whether this is one of our RTP or RTCP ports."""
    def open(self, beside: LegId | None = None) -> Leg:
        """Reserve a leg with its RTP/RTCP ports; `beside` prefers the worker of the other leg of its call, which costs less."""
    def describe(self, leg: LegId, remote: Remote, *, anew: bool = True) -> None:
        """Tell or change the far end. With anew=False (here, in connect and in mix) nothing at all happens where all is so already. Same crypto as before keeps the SRTP state; another key re-keys. ValueError: an address
        that media must not go to (multicast, broadcast, loopback for a phone elsewhere, our own ports), or an unusable key."""
    def connect(
        self, a: LegId, b: LegId, a_to_b: Mapping[int, int] = ..., b_to_a: Mapping[int, int] = ..., *, anew: bool = True
    ) -> None:
        """Relay both ways, mapping payload types. connect(a, a) echoes. Where both legs' codecs are known, what is not in a
        mapping is found out: the same codec is relayed, G.711 changes its law on the way, and when one leg may send what the
        other does not take, the DSP transcodes both ways (both ends then hear the codec named first in their own list)."""
    def mix(self, leg: LegId, room: int, *, muted: bool = False, anew: bool = True) -> None:
        """Into the conference `room` (a number > 0 of the caller's choosing), or change whether it is heard there; out of it by
        disconnect or connect. ValueError: no codec that we have."""
    def disconnect(self, leg: LegId) -> None: ...
    # A serial (1 to 2**32 - 1) says which play, digits or recording of the leg this is. The one that the leg was given last goes on, or tells
    # its end once more when it has ended, also after a kill of this process or of the core. An end may then be told twice.
    def play(
        self, leg: LegId, tones: Sequence[tuple[float, float, int]], payload_type: int, *, serial: int = 0
    ) -> None:
        """Send tones ((frequency Hz, second frequency Hz or 0, milliseconds); 0, 0 is a pause) in the codec of this payload type (0, 8
        or one of the leg's); PlayEnded follows. It takes the place of what plays (one PlayEnded, for the last); no tones: only stops that."""
    def play_files(
        self, leg: LegId, paths: Sequence[str], payload_type: int, *, loop: bool = False, serial: int = 0
    ) -> None:
        """Sound files (WAV, Ogg/Opus, FLAC, MP3; any rate), one after the other; as play(). Absolute paths, 2000 octets together."""
    def record(self, leg: LegId, path: str, *, sides: str = "both", seconds: int = 0, serial: int = 0) -> None:
        """Record what the leg receives and is sent into <path>, .wav or .ogg/.opus; RecordEnded follows when it is complete. sides:
        "both" in one channel, "received" only, or "apart" in two. seconds: at most so long. It takes the place of a recording
        in progress; an empty path only ends that. Closing the leg ends it too."""
    def send_digits(self, leg: LegId, digits: str, *, serial: int = 0) -> None:
        """RFC 4733 events, or G.711 tones to a far end without telephone-event; with a serial DigitsSent follows. It takes the place of what
        plays, whose end is told. ValueError: no digit, or neither is possible."""
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
        """legs, legs_free, rtp_ports, flows, packets_in, packets_out, dropped, stray (arrived at a free leg),
        crossed (given from one worker to another), crossing_lost (that found the ring to it full), events_lost,
        dsp_lost, recorder_lost (packets that found the DSP's or the recorder's ring full), dsp_skipped (steps of 20 ms left out), generation; flow_*: what FlowClient.counters holds."""
    def datapath(self) -> str: ...
