"""What one leg agrees with its phone: codecs, direction, addresses, SRTP keys (RFC 3264, RFC 4568). Pure.

Each leg of a call negotiates by itself, so what a phone is told comes from us alone: our address, our keys, our version numbers.
Encryption follows the extension's policy and never outruns the signalling: keys are taken and given only where the leg's
signalling is TLS, because a key in clear protects nothing. "required" refuses an offer without; "off" one that insists;
"preferred" takes what comes and offers SRTP first. A key is made per leg and suite and kept as long as the leg lives; a phone that
sends a new one re-keys its direction only.

One audio m-line is used; others are declined by port 0, their number and order kept (RFC 3264 §6).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import media_core
from appliance.model import Encrypt
from appliance.sip import sdp
from appliance.sip.errors import PeerError
from appliance.sip.sdp import CryptoLine, Format, Media, Session

# Offered where nothing is known of the other side (late offers). The order is the preference.
CODECS: tuple[Format, ...] = (
    Format(9, "G722", 8000),
    Format(8, "PCMA", 8000),
    Format(0, "PCMU", 8000),
    Format(101, "TELEPHONE-EVENT", 8000, 1, "0-16"),
)
# What a service of our own can send and understand.
OWN: tuple[Format, ...] = tuple(format for format in CODECS if format.name in ("PCMA", "PCMU", "TELEPHONE-EVENT"))

# The mandatory suite first: it is the one every phone has, and some look only at the first line.
SUITES = ("AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM", "AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_32")
_PLAIN, _SECURE = ("RTP/AVP", "RTP/AVPF"), ("RTP/SAVP", "RTP/SAVPF")


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The m-line in use of a remote description."""

    index: int
    media: Media
    crypto: CryptoLine | None  # the phone's key


class Negotiation:
    def __init__(
        self,
        *,
        host: str,
        port: int,
        signalling: str,
        encrypt: Encrypt,
        tls: bool,
        session_id: int,
        random: Callable[[int], bytes],
    ) -> None:
        self._host = host
        self._port = port
        self._signalling = signalling  # host the signalling comes from
        self._may_encrypt = tls and encrypt != "off"
        self._must_encrypt = encrypt == "required"
        self._offer_secure = self._may_encrypt
        self._id = session_id
        self._version = 0
        self._random = random
        self._keys: dict[str, CryptoLine] = {}  # suite -> our key
        self._local: Session | None = None  # both of the last completed exchange
        self._chosen: _Chosen | None = None
        self._offered: Session | None = None  # ours, waits for the answer
        self._pending: tuple[Session, _Chosen] | None = None  # theirs, waits for our answer

    # ---- what is agreed
    @property
    def has_offer(self) -> bool:
        return self._pending is not None

    @property
    def agreed(self) -> bool:
        return self._local is not None and self._chosen is not None

    @property
    def local_direction(self) -> str:
        return self._local_media.direction if self.agreed else "sendrecv"

    @property
    def remote_direction(self) -> str:
        """As the phone last said it, whether by offer or answer."""
        return _direction(self._chosen.media) if self._chosen is not None else "sendrecv"

    @property
    def secure(self) -> bool:
        return self.agreed and self._chosen is not None and self._chosen.crypto is not None

    def formats(self) -> tuple[Format, ...]:
        """The payload types the phone wants to receive, of codecs both sides have; the phone's preference first."""
        if self._chosen is None:
            return ()
        local = self._local_media.formats
        return tuple(each for each in self._chosen.media.formats if any(each.same_codec(ours) for ours in local))

    def offered_formats(self) -> tuple[Format, ...]:
        """What the phone's waiting offer has."""
        return tuple(each for each in self._pending[1].media.formats if each.name) if self._pending is not None else ()

    def local_type(self, format: Format) -> int | None:
        """The payload type under which the phone sends us this codec."""
        return next((ours.payload_type for ours in self._local_media.formats if ours.same_codec(format)), None)

    def remote(self) -> media_core.Remote:
        """For the media core. Only when something is agreed."""
        assert self._chosen is not None
        media, ours = self._chosen.media, self._local_media
        theirs = _direction(media)
        event = next((each.payload_type for each in self.formats() if each.is_event and each.rate == 8000), -1)
        key = self._keys[self._chosen.crypto.suite] if self._chosen.crypto is not None else None
        return media_core.Remote(
            address=media.address if not media.held_by_address else self._signalling,
            port=media.port,
            rtcp_port=0 if media.rtcp_mux else media.rtcp_port or min(media.port + 1, 65535),
            signalling=self._signalling,
            send=ours.direction in ("sendrecv", "sendonly") and theirs in ("sendrecv", "recvonly"),
            receive=ours.direction in ("sendrecv", "recvonly") and theirs in ("sendrecv", "sendonly"),
            telephone_event=event,
            crypto_in=_crypto(self._chosen.crypto),
            crypto_out=_crypto(key),
        )

    # ---- we offer
    def offer(self, formats: Sequence[Format], direction: str) -> bytes:
        secure = self.secure if self.agreed else self._offer_secure
        crypto: list[CryptoLine] = []
        if secure:
            current = (
                self._chosen.crypto.suite if self._chosen is not None and self._chosen.crypto is not None else None
            )
            suites = (current,) if current is not None else SUITES
            crypto = [self._key(suite, tag) for tag, suite in enumerate(suites, 1)]
        protocol = "RTP/SAVP" if secure else "RTP/AVP"
        if self.agreed and self._chosen is not None:
            protocol = self._chosen.media.protocol
        media = Media(
            "audio", self._port, protocol, _numbered(formats), (), self._host, direction, crypto=tuple(crypto)
        )
        self._offered = self._session(self._with_declined(media))
        return self._offered.to_bytes()

    def without_encryption(self) -> bool:
        """After a refusal: offer plainly next time. False when that is not allowed or changes nothing."""
        if not self._offer_secure or self._must_encrypt:
            return False
        self._offer_secure = False
        return True

    def take_answer(self, body: bytes) -> None:
        """PeerError 488 when it does not fit our offer; what was agreed before stays."""
        if self._offered is None:
            raise PeerError(400, "An answer nobody waits for")
        answer = sdp.parse(body)
        index = len(self._offered.media) - 1 if not self.agreed else self._index
        if len(answer.media) <= index:
            raise PeerError(488, "The answer has too few media lines")
        ours, theirs = self._offered.media[index], answer.media[index]
        if theirs.port == 0 or theirs.kind != "audio":
            raise PeerError(488, "The phone declined the audio")
        self._check_address(theirs)
        crypto = None
        if ours.crypto:
            crypto = next((line for line in theirs.crypto if any(line.suite == our.suite for our in ours.crypto)), None)
            if crypto is None:
                raise PeerError(488, "The phone answered without encryption")
        if not any(each.same_codec(our) for each in theirs.formats for our in ours.formats if not each.is_event):
            raise PeerError(488, "No common codec")
        self._local, self._chosen, self._offered = self._offered, _Chosen(index, theirs, crypto), None

    # ---- the phone offers
    def take_offer(self, body: bytes) -> None:
        """PeerError 488 with the reason when nothing in it can be taken."""
        offer = sdp.parse(body)
        why = PeerError(488, "No audio offered")
        for index, media in enumerate(offer.media):
            if media.kind != "audio" or media.port == 0:
                continue
            try:
                self._pending = offer, _Chosen(index, media, self._judge(media))
                return
            except PeerError as error:
                why = error
        raise why

    def _judge(self, media: Media) -> CryptoLine | None:
        """The key to use for this m-line, None for plain RTP; PeerError 488 when it must not be used."""
        self._check_address(media)
        usable = next((line for line in media.crypto if line.suite in SUITES), None)
        if media.protocol in _SECURE:
            if not self._may_encrypt:
                raise PeerError(488, "SRTP needs TLS signalling and an extension that may encrypt")
            if usable is None:
                raise PeerError(488, "No SRTP suite in common")
            return usable
        if media.protocol not in _PLAIN:
            raise PeerError(488, f"{media.protocol} is not supported")
        if usable is not None and self._may_encrypt:  # "optional" SRTP of many phones
            return usable
        if self._must_encrypt:
            raise PeerError(488, "The extension requires encryption: turn on SRTP in the phone")
        return None

    def answer(self, codecs: Iterable[Format], direction: str) -> bytes:
        """Our answer to the waiting offer, with the codecs named that it has too (in the offer's numbers and order)."""
        if self._pending is None:
            raise PeerError(488, "Nothing was offered")
        offer, chosen = self._pending
        wanted = list(codecs)
        formats = tuple(each for each in chosen.media.formats if any(each.same_codec(other) for other in wanted))
        if not any(not each.is_event for each in formats):
            raise PeerError(488, "No common codec")
        crypto: tuple[CryptoLine, ...] = ()
        if chosen.crypto is not None:
            crypto = (self._key(chosen.crypto.suite, chosen.crypto.tag),)
        theirs = _direction(chosen.media)
        direction = _intersect(direction, sdp.REVERSED[theirs])
        media = Media(
            "audio", self._port, chosen.media.protocol, formats, (), self._host, direction, rtcp_mux=chosen.media.rtcp_mux, crypto=crypto
        )  # fmt: skip
        lines = [_declined(each) for each in offer.media]
        lines[chosen.index] = media
        self._local, self._chosen, self._pending = self._session(tuple(lines)), chosen, None
        return self._local.to_bytes()

    def forget(self) -> None:
        """The exchange under way has failed: all is as it was (RFC 3264 §4)."""
        self._offered = self._pending = None

    # ---- survival
    def dump(self) -> tuple[int, int, bytes, bytes, int, dict[str, bytes]]:
        remote = (
            Session(media=tuple(Media("audio", 0, "RTP/AVP") for _ in range(self._index)) + (self._chosen.media,))
            if self._chosen
            else None
        )
        keys = {suite: str(line).encode() for suite, line in self._keys.items()}
        return (
            self._id, self._version, self._local.to_bytes() if self._local else b"", remote.to_bytes() if remote else b"",
            self._chosen.crypto.tag if self._chosen and self._chosen.crypto else 0, keys,
        )  # fmt: skip

    def restore(self, dumped: tuple[int, int, bytes, bytes, int, dict[str, bytes]]) -> None:
        self._id, self._version, local, remote, tag, keys = dumped
        self._keys = {
            suite: line for suite, text in keys.items() if (line := CryptoLine.parse(text.decode())) is not None
        }
        if local and remote:
            self._local = sdp.parse(local)
            media = sdp.parse(remote).media
            crypto = next((line for line in media[-1].crypto if line.tag == tag), None)
            self._chosen = _Chosen(len(media) - 1, media[-1], crypto)

    # ---- pieces
    @property
    def _index(self) -> int:
        return self._chosen.index if self._chosen is not None else 0

    @property
    def _local_media(self) -> Media:
        assert self._local is not None
        return self._local.media[min(self._index, len(self._local.media) - 1)]

    def _session(self, media: tuple[Media, ...]) -> Session:
        self._version += 1
        return Session(("-", self._id, self._version, self._host), "-", self._host, media)

    def _with_declined(self, media: Media) -> tuple[Media, ...]:
        """In a later offer every m-line there ever was is still there (RFC 3264 §8)."""
        if self._local is None:
            return (media,)
        lines = [_declined(each) for each in self._local.media]
        lines[self._index] = media
        return tuple(lines)

    def _key(self, suite: str, tag: int) -> CryptoLine:
        if suite not in self._keys:
            key, salt = sdp.SUITES[suite]
            raw = self._random(key + salt)
            self._keys[suite] = CryptoLine(tag, suite, raw[:key], raw[key:])
        self._keys[suite] = replace(self._keys[suite], tag=tag)
        return self._keys[suite]

    def _check_address(self, media: Media) -> None:
        """Media goes to a plain host address only; to this very machine only for a phone that lives on it."""
        if media.held_by_address:
            return
        try:
            address = ipaddress.ip_address(media.address)
            home = ipaddress.ip_address(self._signalling)
        except ValueError:
            raise PeerError(488, "The media address is no IP address") from None
        if address.is_multicast or address.is_reserved or (address.is_loopback and not home.is_loopback):
            raise PeerError(488, "The media address cannot be used")
        if str(address) == "255.255.255.255":
            raise PeerError(488, "The media address cannot be used")


def _direction(media: Media) -> str:
    return "inactive" if media.held_by_address else media.direction


def _intersect(one: str, other: str) -> str:
    sends = all(each in ("sendrecv", "sendonly") for each in (one, other))
    receives = all(each in ("sendrecv", "recvonly") for each in (one, other))
    return flags(sends, receives)


def flags(sends: bool, receives: bool) -> str:
    return ("sendrecv" if receives else "sendonly") if sends else ("recvonly" if receives else "inactive")


def _declined(media: Media) -> Media:
    return Media(media.kind, 0, media.protocol, media.formats[:1], media.other_formats[:1])


def _numbered(formats: Iterable[Format]) -> tuple[Format, ...]:
    """Each codec and each payload type once."""
    found: list[Format] = []
    for each in formats:
        if not any(each.payload_type == other.payload_type or each.same_codec(other) for other in found):
            found.append(each)
    return tuple(found)


def _crypto(line: CryptoLine | None) -> media_core.Crypto | None:
    return media_core.Crypto(line.suite, line.key, line.salt) if line is not None else None
