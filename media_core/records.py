"""The records that cross the Python face of the media core: what goes in as arguments, what comes out as events.

Pure data, no behaviour. The engine and the flows build them; `media_core` exports them. Ids are index | generation << 32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

LegId = int
FlowId = int


class Transport(IntEnum):
    UDP = 1
    TCP = 2
    TLS = 3


# ---- what the core is built from (supervisor and the core process) -------------------------------------------------


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes fixed when the shared memory is made."""

    legs: int = 2000
    flows: int = 8192  # an eighth dialled, three over UDP, four over TCP and TLS: 2,000 phones and as many strangers
    workers: int = 1


@dataclass(frozen=True, slots=True)
class SipSocket:
    fd: int  # bound (UDP) or listening (TCP, TLS) socket, owned by the supervisor
    transport: Transport


@dataclass(frozen=True, slots=True)
class Proof:
    """What became of the cipher code when it was held against another one (proof.py)."""

    backend: str = "auto"  # what the core is to use: "auto", or "openssl" when that has failed
    words: str = ""  # for people: the code in use, and what it was held against
    good: bool = True


@dataclass(frozen=True, slots=True)
class TlsFiles:
    certificate: str  # PEM chain
    key: str  # PEM
    ticket_keys: bytes = b""  # 80 bytes: session tickets survive a restart of the core
    rsa_certificate: str = ""  # PEM chain of an RSA certificate for phones that know no other, and its key; used once both are there
    rsa_key: str = ""


# ---- what `calls` uses ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Crypto:
    """One direction's SDES key (RFC 4568 §6.1). suite is the SDP name, e.g. AES_CM_128_HMAC_SHA1_80."""

    suite: str
    key: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    mki_length: int = 0  # octets of MKI in its packets, which are read over; what we send has none


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
    # Bursts of losses (RFC 3611 §4.7.2): at least two packets lost, fewer than 16 in a row in between arrived.
    bursts: int = 0
    burst_lost: int = 0  # packets lost in them; the other losses stand alone
    burst_packets: int = 0  # length of all together, what arrived in between included
    burst_longest: int = 0  # length of the longest
    ssrc_changes: int = 0
    source_changes: int = 0  # how often it came from another address than before, without a word of signalling
    secured: int = 0  # packets of them that were SRTP


@dataclass(frozen=True, slots=True)
class FarReport:
    """What the far end said last (RTCP) of what we send to it."""

    age_ms: int
    lost: int  # packets since it began
    fraction_lost: float  # 0..1, since the report before
    jitter_ms: float
    round_trip_ms: float  # between us and it; 0.0: not known


@dataclass(frozen=True, slots=True)
class LegStats:
    received: Direction
    sent: Direction
    locked: bool  # source latched
    secure: bool  # SRTP both ways
    remote: tuple[str, int]  # where media really comes from / goes to
    reported: FarReport | None = None  # None: no report has come


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
class FlowUnreachable:
    """ICMP says that nobody takes what was last sent on this UDP flow (port, host or network unreachable). At most one per sending;
    the flow stays open. It can be forged by whoever sees that we send there."""

    flow: FlowId


@dataclass(frozen=True, slots=True)
class HandshakeFailed:
    """A TLS handshake that somebody began with us came to nothing. At most one per host in 10 s, and 5 a second in all.

    reason, and what `detail` says then:
        no common cipher     what is missing, in OpenSSL's words
        old version          the highest version that was offered: "TLS 1.1"
        not TLS              ""
        certificate refused  the alert: "unknown CA", "bad certificate", "certificate expired", ...
        broken off           what is known: the alert, "after our certificate", "took too long"
    """

    host: str
    port: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class MediaStarted:
    leg: LegId


@dataclass(frozen=True, slots=True)
class MediaSilent:
    leg: LegId
    seconds: int


@dataclass(frozen=True, slots=True)
class SsrcChanged:
    """The far end's stream has become another. At most once a second."""

    leg: LegId
    ssrc: int  # now
    changes: int  # since the last event


@dataclass(frozen=True, slots=True)
class AuthenticationFailed:
    """Packets to a leg do not fit its SRTP key: the first at once, then at most one event in 10 s. Replays are not counted here."""

    leg: LegId
    packets: int  # since the last event
    total: int
    source: tuple[str, int]  # of the first of them


@dataclass(frozen=True, slots=True)
class MediaQuality:
    """What came from the far end in the last 10 s was poor (3 % lost or 60 ms of jitter), or is good again."""

    leg: LegId
    lost: float  # 0..1
    jitter_ms: float
    poor: bool


@dataclass(frozen=True, slots=True)
class Digit:
    leg: LegId
    digit: str
    milliseconds: int


@dataclass(frozen=True, slots=True)
class PlayEnded:
    leg: LegId
    failed: bool = False  # a file could not be read
    serial: int = 0


@dataclass(frozen=True, slots=True)
class DigitsSent:
    """What send_digits was given a serial for is out."""

    leg: LegId
    serial: int


@dataclass(frozen=True, slots=True)
class RecordEnded:
    leg: LegId
    milliseconds: int
    failed: bool = False  # the file is not complete: what there is stands under <path>.part
    serial: int = 0


@dataclass(frozen=True, slots=True)
class CoreStarted:
    """The core (re)started: legs go on by themselves, TLS and TCP flows of the old one are gone (a FlowClosed follows for each)."""

    generation: int
    datapath: str


Event = (
    FlowOpened
    | FlowReceived
    | FlowClosed
    | FlowUnreachable
    | HandshakeFailed
    | MediaStarted
    | MediaSilent
    | MediaQuality
    | SsrcChanged
    | AuthenticationFailed
    | Digit
    | PlayEnded
    | DigitsSent
    | RecordEnded
    | CoreStarted
)


class OutOfService(Exception):
    """A resource is missing (no free leg, ring full, core away)."""


class StaleHandle(Exception):
    """The leg or flow is closed already."""


class SlotsMissing(Exception):
    """The memory holds no slots, or those of another layout: what was there is read by whoever knows it, then they are made anew."""
