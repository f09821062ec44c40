"""SDP, read and written (RFC 8866), with SDES keys (RFC 4568), rtcp (RFC 3605) and rtcp-mux (RFC 5761).

Only what a telephone system must understand is taken apart: addresses, audio formats, direction, keys. Everything
else of an m-line is kept as text where it is of use and dropped otherwise: a B2BUA writes its own SDP.

Bounds: 64 kB, 8 m-lines, 64 formats an m-line, 256 attributes a section, 16 keys a section, a line of 1,024 characters.
`a=crypto` lines that make no sense are dropped one by one, as RFC 4568 §5.1.2 wants; any other fault is PeerError 400.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.sip.errors import PeerError

MAX_SIZE = 65535
MAX_LINE = 1024
MAX_MEDIA = 8
MAX_FORMATS = 64
MAX_ATTRIBUTES = 256
MAX_CRYPTO = 16

DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
REVERSED = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}

# suite -> bytes of key and salt (RFC 4568 §6.2, RFC 6188 §4, RFC 7714 §14.2)
SUITES: Mapping[str, tuple[int, int]] = {
    "AES_CM_128_HMAC_SHA1_80": (16, 14),
    "AES_CM_128_HMAC_SHA1_32": (16, 14),
    "AES_256_CM_HMAC_SHA1_80": (32, 14),
    "AES_256_CM_HMAC_SHA1_32": (32, 14),
    "AEAD_AES_128_GCM": (16, 12),
    "AEAD_AES_256_GCM": (32, 12),
}

# payload types that need no rtpmap (RFC 3551 §6)
STATIC: Mapping[int, tuple[str, int]] = {
    0: ("PCMU", 8000), 3: ("GSM", 8000), 4: ("G723", 8000), 8: ("PCMA", 8000), 9: ("G722", 8000), 13: ("CN", 8000),
    15: ("G728", 8000), 18: ("G729", 8000),
}  # fmt: skip

_NUMBER = re.compile(r"[0-9]{1,20}")
_RTPMAP = re.compile(r"([0-9]{1,3}) +([A-Za-z0-9\-.!%*_+`'~]{1,64})/([0-9]{1,8})(?:/([0-9]{1,2}))?")
_CRYPTO = re.compile(r"([0-9]{1,9})[ \t]+([A-Za-z0-9_]{1,64})[ \t]+inline:(\S+)(.*)")
_LIFETIME = re.compile(r"(?:2\^[0-9]{1,2}|[0-9]{1,20})")
_MKI = re.compile(r"[0-9]{1,20}:(?:[1-9][0-9]?|1[01][0-9]|12[0-8])")  # 1 to 128 octets (RFC 4568 section 6.1)
_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,254}")


@dataclass(frozen=True, slots=True)
class Format:
    """One payload type of an m-line. `name` is upper case, "" when nothing says what it is."""

    payload_type: int
    name: str = ""
    rate: int = 0
    channels: int = 1
    parameters: str = ""  # fmtp

    @property
    def is_event(self) -> bool:
        return self.name == "TELEPHONE-EVENT"

    def same_codec(self, other: Format) -> bool:
        return (self.name, self.rate, self.channels) == (other.name, other.rate, other.channels)


@dataclass(frozen=True, slots=True)
class CryptoLine:
    """`a=crypto`. The key never appears in repr."""

    tag: int
    suite: str
    key: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    session_parameters: str = ""
    mki: str = ""  # "value:length", tolerated, never sent

    @classmethod
    def parse(cls, text: str) -> CryptoLine | None:
        """None for a line that must be ignored: unknown suite, wrong key length, several keys, unknown parameters."""
        match = _CRYPTO.fullmatch(text.strip())
        if match is None:
            return None
        suite = match[2].upper()
        if suite not in SUITES or "," in match[3] or ";" in match[3]:
            return None
        key_salt, *rest = match[3].split("|")
        mki = ""
        for part in rest:
            if _MKI.fullmatch(part):
                mki = part
            elif not _LIFETIME.fullmatch(part):
                return None
        try:
            raw = base64.b64decode(key_salt + "=" * (-len(key_salt) % 4), validate=True)
        except (binascii.Error, ValueError):
            return None
        key_size, salt_size = SUITES[suite]
        if len(raw) != key_size + salt_size:
            return None
        parameters = match[4].strip()
        # an unknown parameter makes the line unusable (RFC 4568 §6.3); UNENCRYPTED_… would be no encryption at all
        if any(not word.startswith(("WSH=", "-")) for word in parameters.split()):
            return None
        return cls(int(match[1]), suite, raw[:key_size], raw[key_size:], parameters, mki)

    def __str__(self) -> str:
        return f"{self.tag} {self.suite} inline:{base64.b64encode(self.key + self.salt).decode()}"


@dataclass(frozen=True, slots=True)
class Media:
    """One m-line with its section. `address` is the effective connection address, "" when there is none."""

    kind: str  # audio, video, image, application, …
    port: int
    protocol: str  # RTP/AVP, RTP/SAVP, …
    formats: tuple[Format, ...] = ()
    other_formats: tuple[str, ...] = ()  # of m-lines that are not RTP
    address: str = ""
    direction: str = "sendrecv"
    rtcp_port: int = 0  # a=rtcp; 0: port + 1, or port with rtcp_mux
    rtcp_mux: bool = False
    ptime: int = 0  # milliseconds, 0: not said
    crypto: tuple[CryptoLine, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()  # the other ones, in order

    @property
    def held_by_address(self) -> bool:
        """Hold of RFC 2543: c=0.0.0.0."""
        return self.address in ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Session:
    """A whole description. `origin` is the o= line's (user, id, version, address)."""

    origin: tuple[str, int, int, str] = ("-", 0, 0, "0.0.0.0")
    name: str = "-"
    address: str = ""
    media: tuple[Media, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()

    def to_bytes(self) -> bytes:
        user, id, version, where = self.origin
        lines = ["v=0", f"o={user} {id} {version} IN {family(where)} {where}", f"s={self.name or '-'}"]
        if self.address:
            lines.append(f"c=IN {family(self.address)} {self.address}")
        lines.append("t=0 0")
        lines += [_attribute(name, value) for name, value in self.attributes]
        for media in self.media:
            lines += _media_lines(media, self.address)
        return ("\r\n".join(lines) + "\r\n").encode()


def family(address: str) -> str:
    return "IP6" if ":" in address else "IP4"


def _attribute(name: str, value: str) -> str:
    return f"a={name}:{value}" if value else f"a={name}"


def _media_lines(media: Media, session_address: str) -> list[str]:
    formats = [str(each.payload_type) for each in media.formats] or list(media.other_formats) or ["0"]
    lines = [f"m={media.kind} {media.port} {media.protocol} {' '.join(formats)}"]
    if media.port == 0:
        return lines
    if media.address and media.address != session_address:
        lines.append(f"c=IN {family(media.address)} {media.address}")
    for each in media.formats:
        if each.name:
            channels = f"/{each.channels}" if each.channels > 1 else ""
            lines.append(f"a=rtpmap:{each.payload_type} {_wire_name(each.name)}/{each.rate}{channels}")
        if each.parameters:
            lines.append(f"a=fmtp:{each.payload_type} {each.parameters}")
    if media.ptime:
        lines.append(f"a=ptime:{media.ptime}")
    if media.rtcp_port:
        lines.append(f"a=rtcp:{media.rtcp_port}")
    if media.rtcp_mux:
        lines.append("a=rtcp-mux")
    lines += [f"a=crypto:{line}" for line in media.crypto]
    lines += [_attribute(name, value) for name, value in media.attributes]
    if media.kind in ("audio", "video"):
        lines.append(f"a={media.direction}")
    return lines


def _wire_name(name: str) -> str:
    return "telephone-event" if name == "TELEPHONE-EVENT" else "opus" if name == "OPUS" else name


# ---- reading
class _Section:
    """Lines of the session or of one m-line, while reading."""

    def __init__(self, m_line: str) -> None:
        self.m_line = m_line
        self.address = ""
        self.attributes: list[tuple[str, str]] = []

    def first(self, name: str) -> str | None:
        return next((value for key, value in self.attributes if key == name), None)

    @property
    def direction(self) -> str | None:
        return next((key for key, value in self.attributes if key in DIRECTIONS and not value), None)


def parse(body: bytes) -> Session:
    """The description in `body`; PeerError 400 when it is none, 413 when it is too long, 488 over a bound."""
    if len(body) > MAX_SIZE:
        raise PeerError(413, "Session description too long")
    if b"\x00" in body:
        raise PeerError(400, "NUL in the session description")
    head = _Section("")
    sections = [head]
    origin = ("-", 0, 0, "0.0.0.0")
    name = "-"
    lines = body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines or lines[0].strip() != "v=0":
        raise PeerError(400, "No session description")
    for line in lines[1:]:
        line = line.strip(" \t\r")
        if len(line) > MAX_LINE or len(line) < 2 or line[1] != "=" or "\r" in line:
            raise PeerError(400, "Malformed session description")
        kind, value = line[0], line[2:].strip(" \t")
        section = sections[-1]
        if kind == "m":
            if len(sections) > MAX_MEDIA:
                raise PeerError(488, "Too many media lines")
            sections.append(_Section(value))
        elif kind == "c":
            section.address = _connection(value)
        elif kind == "a":
            if len(section.attributes) >= MAX_ATTRIBUTES:
                raise PeerError(488, "Too many attributes")
            key, _, argument = value.partition(":")
            section.attributes.append((key.lower() if key.lower() in DIRECTIONS else key, argument.strip(" \t")))
        elif kind == "o" and section is head:
            origin = _origin(value)
        elif kind == "s" and section is head:
            name = value or "-"
    media = tuple(_media(section, head) for section in sections[1:])
    return Session(origin, name, head.address, media, tuple(head.attributes))


def _origin(value: str) -> tuple[str, int, int, str]:
    words = value.split()
    if len(words) != 6 or not _NUMBER.fullmatch(words[1]) or not _NUMBER.fullmatch(words[2]):
        raise PeerError(400, "Malformed o= line")
    return words[0], int(words[1]), int(words[2]), words[5]


def _connection(value: str) -> str:
    words = value.split()
    if len(words) != 3 or words[0] != "IN" or words[1] not in ("IP4", "IP6"):
        raise PeerError(400, "Malformed c= line")
    address = words[2].partition("/")[0]
    if not _ADDRESS.fullmatch(address) and address != "::":
        raise PeerError(400, "Malformed c= line")
    return address


def _port(text: str) -> int:
    port = text.partition("/")[0]
    if not _NUMBER.fullmatch(port) or len(port) > 5 or int(port) > 65535:
        raise PeerError(400, "Malformed media port")
    return int(port)


def _media(section: _Section, head: _Section) -> Media:
    words = section.m_line.split()
    if len(words) < 4:
        raise PeerError(400, "Malformed m= line")
    kind, port, protocol = words[0].lower(), _port(words[1]), words[2]
    if "RTP/" in protocol.upper():
        protocol = protocol.upper()
    if len(words) - 3 > MAX_FORMATS:
        raise PeerError(488, "Too many formats")
    is_rtp = "RTP/" in protocol
    formats = _formats(words[3:], section) if is_rtp else ()
    rtcp = section.first("rtcp")
    ptime = section.first("ptime") or ""
    lines = [CryptoLine.parse(value) for key, value in section.attributes if key == "crypto"][:MAX_CRYPTO]
    known = {"rtpmap", "fmtp", "rtcp", "rtcp-mux", "crypto", "ptime", *DIRECTIONS}
    return Media(
        kind=kind,
        port=port,
        protocol=protocol,
        formats=formats,
        other_formats=() if is_rtp else tuple(words[3:]),
        address=section.address or head.address,
        direction=section.direction or head.direction or "sendrecv",
        rtcp_port=_port(rtcp.split()[0]) if rtcp else 0,
        rtcp_mux=section.first("rtcp-mux") is not None,
        ptime=int(ptime) if ptime.isascii() and ptime.isdigit() and len(ptime) < 5 else 0,
        crypto=tuple(line for line in lines if line is not None),
        attributes=tuple(pair for pair in section.attributes if pair[0] not in known),
    )


def _formats(words: list[str], section: _Section) -> tuple[Format, ...]:
    maps: dict[int, tuple[str, int, int]] = {}
    parameters: dict[int, str] = {}
    for key, value in section.attributes:
        if key == "rtpmap":
            match = _RTPMAP.fullmatch(value)
            if match is None or int(match[1]) > 127 or int(match[3]) == 0:
                raise PeerError(400, "Malformed rtpmap")
            maps[int(match[1])] = (match[2].upper(), int(match[3]), int(match[4] or 1) or 1)
        elif key == "fmtp":
            number, _, text = value.partition(" ")
            if number.isascii() and number.isdigit() and len(number) < 4:
                parameters[int(number)] = text.strip()
    found: dict[int, Format] = {}
    for payload_type in words:
        if not payload_type.isascii() or not payload_type.isdigit() or len(payload_type) > 3 or int(payload_type) > 127:
            raise PeerError(400, "Malformed payload type")
        pt = int(payload_type)
        name, rate, channels = maps.get(pt) or (*STATIC.get(pt, ("", 0)), 1)
        found.setdefault(pt, Format(pt, name, rate, channels, parameters.get(pt, "")))
    return tuple(found.values())
