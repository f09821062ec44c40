"""SDP, read and written (RFC 8866), with SDES keys (RFC 4568), rtcp (RFC 3605) and rtcp-mux (RFC 5761).

Only what a telephone system must understand is taken apart: of audio lines that are switched on the address, formats, direction
and keys. Of other m-lines kind, port, protocol and formats are kept as text, to be declined with: a B2BUA writes its own SDP.

Deaf where nobody reads: o= b= t= and unknown lines, attributes that make no sense (RFC 4568 §5.1.2 wants that for a=crypto), blank
lines, NUL at the end, lines over 1,024 characters; `Session.skipped` counts what was passed over. What is wrong in an m-line or its
c= line is that line's `fault`: it matters if this is the line that is wanted, so whoever chooses it answers 400.

Bounds: 64 kB, 8 m-lines, 64 formats an m-line, 256 attributes a section, 16 keys a section; what is beyond is passed over, except
m-lines, which an answer has to repeat: 488.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from functools import lru_cache

from msgspec import Struct

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
_RTPMAP = re.compile(r"([0-9]{1,3})[ \t]+([A-Za-z0-9\-.!%*_+`'~]{1,64})/([0-9]{1,8})(?:/([0-9]{1,2}))?")
_CRYPTO = re.compile(r"([0-9]{1,9})[ \t]+([A-Za-z0-9_]{1,64})[ \t]+inline:(\S+)(.*)")
_LIFETIME = re.compile(r"(?:2\^[0-9]{1,2}|[0-9]{1,20})")
_MKI = re.compile(r"[0-9]{1,39}:([0-9]{1,3})")
MAX_MKI = 128  # octets, RFC 4568 §9.2
# Session parameters that change nothing here (RFC 4568 §6.3): a window hint, a key derivation rate of 0 (RFC 3711 §4.3.1: keys are
# derived once), and what begins with "-", which says of itself that it may be ignored.
_HARMLESS = re.compile(r"WSH=[0-9]{1,9}|KDR=0|-.*", re.I)
_ADDRESS = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_-]{0,254}")
_UNPRINTABLE = re.compile(r"[^!-~]")
_NOT_NEEDED = tuple(f"{letter}=" for letter in "tbriuepzk")  # types of lines that are known and say nothing to a call
NOBODY = ("-", 0, 0, "0.0.0.0")


class Format(Struct, frozen=True, array_like=True, gc=False):
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
        return self.name == other.name and self.rate == other.rate and self.channels == other.channels


class CryptoLine(Struct, frozen=True, array_like=True, gc=False):
    """`a=crypto`. The key never appears in repr."""

    tag: int
    suite: str
    key: bytes
    salt: bytes
    session_parameters: str = ""
    mki: str = ""  # "value:length": what the far end puts behind each packet (RFC 3711 §3.1); ours has none

    @property
    def mki_length(self) -> int:
        """Octets, 0 without MKI."""
        return int(self.mki.rpartition(":")[2] or 0)

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
            if (found := _MKI.fullmatch(part)) is not None and 0 < int(found[1]) <= MAX_MKI:
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
        # any other parameter makes the line unusable (RFC 4568 §6.3); UNENCRYPTED_… would be no encryption at all
        if not all(_HARMLESS.fullmatch(word) for word in parameters.split()):
            return None
        return cls(int(match[1]), suite, raw[:key_size], raw[key_size:], parameters, mki)

    def __repr__(self) -> str:
        return f"CryptoLine(tag={self.tag}, suite={self.suite!r})"

    def __str__(self) -> str:
        mki = f"|{self.mki}" if self.mki else ""
        return f"{self.tag} {self.suite} inline:{base64.b64encode(self.key + self.salt).decode()}{mki}"


class Media(Struct, frozen=True, array_like=True, gc=False):
    """One m-line with its section. `address` is the effective connection address, "" when there is none."""

    kind: str  # audio, video, image, application, …
    port: int
    protocol: str  # RTP/AVP, RTP/SAVP, …
    formats: tuple[Format, ...] = ()
    other_formats: tuple[str, ...] = ()  # of m-lines that were not taken apart
    address: str = ""
    direction: str = "sendrecv"
    rtcp_port: int = 0  # a=rtcp; 0: port + 1, or port with rtcp_mux
    rtcp_mux: bool = False
    ptime: int = 0  # milliseconds, 0: not said
    crypto: tuple[CryptoLine, ...] = ()
    fault: str = ""  # why this line cannot be read, "" when it can

    @property
    def held_by_address(self) -> bool:
        """Hold of RFC 2543: c=0.0.0.0."""
        return self.address in ("0.0.0.0", "::")


class Session(Struct, frozen=True, gc=False):
    """A whole description. `origin` is the o= line's (user, id, version, address)."""

    origin: tuple[str, int, int, str] = NOBODY
    name: str = "-"
    address: str = ""
    media: tuple[Media, ...] = ()
    skipped: int = 0  # lines that made no sense and were passed over

    def to_bytes(self) -> bytes:
        user, id, version, where = self.origin
        lines = ["v=0", f"o={user} {id} {version} IN {family(where)} {where}", f"s={self.name or '-'}"]
        if self.address:
            lines.append(f"c=IN {family(self.address)} {self.address}")
        lines.append("t=0 0")
        for media in self.media:
            lines += _media_lines(media, self.address)
        return ("\r\n".join(lines) + "\r\n").encode()


def family(address: str) -> str:
    return "IP6" if ":" in address else "IP4"


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
    if media.kind in ("audio", "video"):
        lines.append(f"a={media.direction}")
    return lines


def _wire_name(name: str) -> str:
    return "telephone-event" if name == "TELEPHONE-EVENT" else "opus" if name == "OPUS" else name


# ---- reading
_KNOWN = {"rtpmap", "fmtp", "rtcp", "rtcp-mux", "crypto", "ptime", *DIRECTIONS}


class _Section:
    """Lines of the session or of one m-line, while reading."""

    def __init__(self, m_line: str) -> None:
        self.m_line = m_line
        self.connection = ""  # the c= line
        self.attributes: dict[str, list[str]] = {}  # of the known ones: all values
        self.direction = ""  # the first
        self.room = MAX_ATTRIBUTES

    def take(self, text: str) -> bool:
        """One more attribute; False when there is no room for it."""
        key, _, value = text.partition(":")
        if key not in _KNOWN and (key := key.strip(" \t").lower()) not in _KNOWN:
            return True
        if not self.room:
            return False
        self.room -= 1
        if not value and not self.direction and key in DIRECTIONS:
            self.direction = key
        self.attributes.setdefault(key, []).append(value.strip(" \t"))
        return True

    def every(self, name: str) -> list[str]:
        return self.attributes.get(name, [])

    def first(self, name: str) -> str:
        """"" without one."""
        found = self.attributes.get(name)
        return found[0] if found else ""


def parse(body: bytes) -> Session:
    """The description in `body`; PeerError 400 when it is none, 413 when it is too long, 488 with too many m-lines."""
    if len(body) > MAX_SIZE:
        raise PeerError(413, "Session description too long")
    head = section = _Section("")
    sections = [head]
    origin, name = NOBODY, "-"
    skipped = 0
    text = body.decode("utf-8", "replace")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    has_begun = False
    for raw in lines:
        line = raw.strip(" \t\x00")
        if not line:
            continue
        if not has_begun:
            if line != "v=0":
                break
            has_begun = True
            continue
        kind, value = line[:2], line[2:].strip(" \t")
        if kind == "m=":
            if len(sections) > MAX_MEDIA:
                raise PeerError(488, "Too many media lines")
            sections.append(section := _Section(value))
        elif kind == "c=":
            section.connection = section.connection or value
        elif len(line) > MAX_LINE or "\x00" in line:
            skipped += 1
        elif kind == "a=":
            skipped += not section.take(value)
        elif kind == "o=" and (found := _origin(value)) is not None:
            origin = found
        elif kind == "s=" and section is head:
            name = value or "-"
        else:
            skipped += kind not in _NOT_NEEDED
    if not has_begun:
        raise PeerError(400, "No session description")
    try:
        address = _connection(head.connection)
    except PeerError:
        address = ""  # a line that needs it says so itself
    return Session(origin, name, address, tuple([_media(section, head) for section in sections[1:]]), skipped)


def _origin(value: str) -> tuple[str, int, int, str] | None:
    """None when it makes no sense: nobody but a reader of traces looks at it."""
    words = value.split()
    if len(words) != 6 or not _NUMBER.fullmatch(words[1]) or not _NUMBER.fullmatch(words[2]):
        return None
    return words[0], int(words[1]), int(words[2]), words[5]


def _connection(value: str) -> str:
    """The address of a c= line; "" without one."""
    words = value.split()
    if not words:
        return ""
    if len(words) != 3 or words[0].upper() != "IN" or words[1].upper() not in ("IP4", "IP6"):
        raise PeerError(400, "Malformed c= line")
    address = words[2].partition("/")[0]
    if not _ADDRESS.fullmatch(address):
        raise PeerError(400, "Malformed c= line")
    return address


def _port(text: str) -> int | None:
    port = text.partition("/")[0]
    return int(port) if _NUMBER.fullmatch(port) and len(port) <= 5 and int(port) <= 65535 else None


def _words(m_line: str) -> list[str]:
    words = m_line.split(None, MAX_FORMATS + 3)[: MAX_FORMATS + 3]
    if m_line.isascii() and m_line.isprintable():
        return [word[:64] for word in words]
    return [_UNPRINTABLE.sub("", word)[:64] for word in words]


def _media(section: _Section, head: _Section) -> Media:
    words = _words(section.m_line)
    kind, number, protocol = words[:3] if len(words) > 2 else (*words, "", "", "")[:3]
    kind, protocol = kind.lower() or "audio", protocol.upper() if "RTP/" in protocol.upper() else protocol
    port = _port(number)
    fault, address = "", ""
    formats: tuple[Format, ...] = ()
    if len(words) < 4 or port is None or "\x00" in section.m_line:
        fault = "Malformed m= line"
    elif kind == "audio" and port and "RTP/" in protocol:
        try:
            address = _connection(section.connection or head.connection)
            formats = _formats(words[3:], section)
        except PeerError as error:
            fault, address = error.reason, ""
    if not formats:
        return Media(kind, port or 0, protocol or "RTP/AVP", other_formats=tuple(words[3:]), fault=fault)
    rtcp = section.first("rtcp").split()
    ptime = section.first("ptime")
    return Media(
        kind,
        port or 0,
        protocol,
        formats,
        (),
        address,
        section.direction or head.direction or "sendrecv",
        (_port(rtcp[0]) or 0) if rtcp else 0,
        "rtcp-mux" in section.attributes,
        int(ptime) if ptime.isascii() and ptime.isdigit() and len(ptime) < 5 else 0,
        tuple([line for value in section.every("crypto")[:MAX_CRYPTO] if (line := CryptoLine.parse(value)) is not None]),
    )


@lru_cache(1024)
def _rtpmap(value: str) -> tuple[int, str, int, int] | None:
    """Payload type, name, rate, channels; the same few in every call."""
    match = _RTPMAP.fullmatch(value)
    if match is None or int(match[1]) > 127 or int(match[3]) == 0:
        return None
    return int(match[1]), match[2].upper(), int(match[3]), int(match[4] or 1) or 1


def _formats(words: list[str], section: _Section) -> tuple[Format, ...]:
    maps: dict[int, tuple[str, int, int]] = {}
    parameters: dict[int, str] = {}
    for value in section.every("rtpmap"):
        if (known := _rtpmap(value)) is not None:
            maps[known[0]] = known[1:]
    for value in section.every("fmtp"):
        number, _, text = value.partition(" ")
        if number.isascii() and number.isdigit() and len(number) < 4:
            parameters[int(number)] = text.strip()
    found: dict[int, Format] = {}
    for payload_type in words:
        if payload_type.isascii() and payload_type.isdigit() and len(payload_type) < 4 and (pt := int(payload_type)) <= 127:
            name, rate, channels = maps.get(pt) or (*STATIC.get(pt, ("", 0)), 1)
            found.setdefault(pt, Format(pt, name, rate, channels, parameters.get(pt, "")))
    if not found:
        raise PeerError(400, "Malformed payload type")
    return tuple(found.values())
